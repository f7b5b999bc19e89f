"""The commands index, plan, run, reduce, status and bench scheduler: manuals, exit codes, one clear line for what is wrong.

Usage: test_commands.py MAKE_TILES   (environment: SQ_PROGRAM)
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import h5py

PROGRAM, MAKE = os.environ["SQ_PROGRAM"], sys.argv[1]
ENV = dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_ALLOW_RUN_AS_ROOT="1",
           OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_io="romio321")
checks = 0


def check(good, message):
    global checks
    checks += 1
    if not good:
        sys.exit(f"FAILED: {message}")


def call(*words, ranks=0, expected=0):
    command = (["mpirun", "-n", str(ranks)] if ranks else []) + [PROGRAM, *words]
    p = subprocess.run(command, env=ENV, timeout=120, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check(p.returncode == expected, f"{' '.join(words)}: exit {p.returncode} instead of {expected}\n{p.stdout}{p.stderr}")
    return p.stdout, p.stderr


def one_line(error, word, what):
    lines = [line for line in error.strip().splitlines() if line.startswith("skyquilt")]
    check(len(lines) == 1 and word in lines[0], f"{what}: {error}")


def main():
    top = tempfile.mkdtemp(prefix="skyquilt-commands-")
    try:
        for command in (["index"], ["plan"], ["run"], ["reduce"], ["status"], ["bench", "scheduler"]):
            out, _ = call(*command, "--help")
            for part in ("NAME\n", "SYNOPSIS\n", "DESCRIPTION\n", "EXIT CODES\n"):
                check(part in out, f"{command}: manual without {part}")
            call(*command, "--nonsense", expected=1)
        for command in ("index", "plan", "run", "reduce", "status"):
            _, error = call(command, expected=1)
            one_line(error, "--help", command)
        # Configurations that are wrong.
        for text, word in (("probe: catalog\nmodle: x\n", "did you mean 'model'"), ("probe: 'a\n", "not YAML"),
                           ("probe: catalog\ntiles: [/nonexistent/tiles]\nmodel: m.onnx\n", "")):
            path = f"{top}/bad.yaml"
            with open(path, "w") as f:
                f.write(text)
            for command in ("run", "plan"):
                extra = ["--output", f"{top}/out"] if command == "run" else []
                p = subprocess.run([PROGRAM, command, path, *extra], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                check(p.returncode in (1, 4) and (not word or p.returncode == 1), f"{command} {text!r}: exit {p.returncode}")
                one_line(p.stderr, word, text)
        # What plan scans goes to TMPDIR.
        missing = f"{top}/no-such-folder"
        p = subprocess.run([PROGRAM, "plan", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           env=dict(ENV, TMPDIR=missing, OMPI_MCA_orte_tmpdir_base=top))
        check(p.returncode == 4, f"plan without a TMPDIR: exit {p.returncode}\n{p.stderr}")
        one_line(p.stderr, missing, "plan without a TMPDIR")
        _, error = call("run", f"{top}/absent.yaml", expected=1)
        one_line(error, "absent.yaml", "no configuration")
        # The index: the same for any number of ranks; bad tiles are named and left out.
        tiles = f"{top}/tiles"
        os.mkdir(tiles)
        subprocess.run([MAKE, tiles], check=True)
        call("index", "--output", f"{top}/a.h5", tiles)
        out, _ = call("index", "--output", f"{top}/b.h5", tiles, ranks=3)
        check("6 tiles, 0 left out" in out, out)
        with open(f"{top}/a.h5", "rb") as f, open(f"{top}/b.h5", "rb") as g:
            check(f.read() == g.read(), "the index depends on ranks")
        os.truncate(f"{tiles}/t01-r.fits", 4000)
        os.truncate(f"{tiles}/t12-g.fits", 0)
        out, error = call("index", "--output", f"{top}/c.h5", tiles, ranks=2, expected=2)
        named = [line for line in error.splitlines() if line.startswith("skyquilt index:")]
        check(len(named) == 2 and "t01" in named[0] and "t12" in named[1], f"bad tiles: {error}")
        check("4 tiles, 2 left out" in out, out)
        os.mkdir(f"{top}/nothing")
        call("index", "--output", f"{top}/d.h5", f"{top}/nothing", expected=1)
        check(not os.path.exists(f"{top}/d.h5"), "an index of nothing")
        os.mkdir(f"{top}/bad")
        open(f"{top}/bad/t00-r.fits", "w").close()
        call("index", "--output", f"{top}/d.h5", f"{top}/bad", expected=2)
        check(not os.path.exists(f"{top}/d.h5"), "an index of bad tiles")
        call("index", "--output", f"{top}/no/such/folder/e.h5", tiles, expected=4)
        # The scheduler's bench, real messages with sleeping tasks.
        out, _ = call("bench", "scheduler", "--seconds", "0.02", "--tasks", "60", "--messages", "500", "--json", ranks=3)
        result = json.loads(out)
        check(result["workers"] == 2 and result["tasks"] == 60 and 0.1 < result["efficiency"] <= 1.01, out)
        check(result["messages_per_second"] > 100, out)
        # Status.
        _, error = call("status", top, expected=1)
        one_line(error, "is not the output folder", "status")
        _, error = call("status", "--exit-code", top, expected=1)
        print(f"{checks} checks passed")
    finally:
        shutil.rmtree(top, ignore_errors=True)


main()
