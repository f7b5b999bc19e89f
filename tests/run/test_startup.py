"""Start-up does not ask the file system more on account of more tiles: system calls of every rank, counted by strace.

Three ranks start on surveys of 4 and of 16 tiles and stop before the first patch. Rank 0 opens the index and the
network, once; the others open neither, and no rank looks at a file of the survey.

Usage: test_startup.py   (environment: SQ_PROGRAM, SQ_SOURCE)
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

PROGRAM = os.environ["SQ_PROGRAM"]
MODEL = os.path.join(os.environ["SQ_SOURCE"], "tools", "models", "sdss.onnx")
RANKS, FEW, MANY = 3, 4, 16
SLACK = 24  # calls of the message passing library that come and go
ENV = dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_ALLOW_RUN_AS_ROOT="1",
           OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_io="romio321")
PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')


def run(*command, code=0):
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"


def can_trace(top):
    if not shutil.which("strace"):
        return False
    return subprocess.run(["strace", "-o", f"{top}/try", "true"], capture_output=True).returncode == 0


def survey(top, tiles):
    """So many copies of one tile, an index of them, and a configuration that starts no patch."""
    folder = f"{top}/survey{tiles}"
    for t in range(tiles):
        shutil.copytree(f"{top}/sky", f"{folder}/f{t:02d}", ignore=shutil.ignore_patterns("truth*"))
    run(PROGRAM, "index", folder, "--output", f"{folder}/index.h5", "--quiet")
    with open(f"{folder}/run.yaml", "w") as f:
        f.write(f"probe: catalog\nindex: {folder}/index.h5\nmodel: {MODEL}\noutput: {folder}/out\n"
                "execution: {walltime: 0.000001}\n")
    return folder


def trace(folder):
    """The paths that each rank's system calls name, a list a rank."""
    line = f'exec strace -f -qq -e trace=%file -o {folder}/trace.$OMPI_COMM_WORLD_RANK "$@"'
    run("mpirun", "-n", str(RANKS), "sh", "-c", line, "sh", PROGRAM, "run", f"{folder}/run.yaml", "--quiet", code=3)
    ranks = []
    for r in range(RANKS):
        with open(f"{folder}/trace.{r}") as f:
            ranks.append([m.group(1) for m in map(PATH.search, f) if m])
    return ranks


def counts(folder, paths):
    return {"network": paths.count(MODEL), "index": paths.count(f"{folder}/index.h5"),
            "survey": sum(p.startswith(f"{folder}/f") for p in paths),
            "output": sum(p.startswith(f"{folder}/out") for p in paths), "all": len(paths)}


def main(top):
    if not can_trace(top):
        print("skipped: strace is missing or may not trace")
        sys.exit(77)
    with open(f"{top}/sky.yaml", "w") as f:
        f.write("preset: sdss\nseed: 5\ntile_nx: 128\ntile_ny: 128\n")
    run(PROGRAM, "simulate", f"{top}/sky.yaml", "--output", f"{top}/sky", "--quiet")
    found = {}
    for tiles in (FEW, MANY):
        folder = survey(top, tiles)
        found[tiles] = [counts(folder, paths) for paths in trace(folder)]
        for r, c in enumerate(found[tiles]):
            print(f"{tiles} tiles, rank {r}: " + ", ".join(f"{k} {n}" for k, n in c.items()))
    for tiles, ranks in found.items():
        assert ranks[0]["network"] == 1, f"{tiles} tiles: rank 0 names the network {ranks[0]['network']} times"
        for r, c in enumerate(ranks):
            assert c["survey"] == 0, f"{tiles} tiles: rank {r} looks at files of the survey"
            assert r == 0 or c["network"] == c["index"] == 0, f"{tiles} tiles: rank {r} opens the network or the index"
    for few, many in zip(found[FEW], found[MANY]):
        assert few["index"] == many["index"]
        assert many["all"] <= few["all"] + SLACK, f"{many['all']} calls with {MANY} tiles, {few['all']} with {FEW}"


with tempfile.TemporaryDirectory(prefix="skyquilt-startup-") as place:
    main(place)
