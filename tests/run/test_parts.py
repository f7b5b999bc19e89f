"""A survey computed in parts by separate executions: the release made of all parts is that of a single run, bit for bit.

Usage: test_parts.py MAKE_TILES   (environment: SQ_PROGRAM, SQ_SOURCE)
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

PROGRAM, SOURCE, MAKE = os.environ["SQ_PROGRAM"], os.environ["SQ_SOURCE"], sys.argv[1]
sys.path.insert(0, os.path.join(SOURCE, "tests", "catalog"))
from fake_model import fake_model
from releases import contents

ENV = dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_btl="self,vader")
checks = 0


def check(good, message):
    global checks
    checks += 1
    if not good:
        sys.exit(f"FAILED: {message}")


def call(*words, ranks=1, expected=0):
    command = (["mpirun", "-n", str(ranks)] if ranks > 1 else []) + [PROGRAM, *words]
    p = subprocess.run(command, env=ENV, timeout=120, capture_output=True, text=True)
    check(p.returncode == expected, f"{' '.join(words)}: exit {p.returncode} instead of {expected}\n{p.stdout}{p.stderr}")
    return p.stdout + p.stderr


def same(a, b, what):
    want, got = contents(f"{a}/release.h5"), contents(f"{b}/release.h5")
    check(want.keys() == got.keys(), f"{what}: other datasets")
    check(not [n for n in want if want[n] != got[n]], f"{what}: {[n for n in want if want[n] != got[n]]} differ")


def counts(folder):
    with open(f"{folder}/exit.json") as f:
        return json.load(f)["counts"]


def main():
    top = tempfile.mkdtemp(prefix="skyquilt-parts-")
    try:
        os.mkdir(f"{top}/tiles")
        subprocess.run([MAKE, f"{top}/tiles"], check=True)
        with open(f"{top}/fake.onnx", "wb") as f:
            f.write(fake_model("g,r", "r"))
        call("index", "--output", f"{top}/tiles.h5", f"{top}/tiles")
        yaml = f"{top}/run.yaml"
        with open(yaml, "w") as f:
            f.write("probe: catalog\nindex: tiles.h5\nmodel: fake.onnx\nprecision: fp32\nthreshold: 0.4\noutput: whole\n")
        # One tile is damaged after it was indexed: its patches fail, in every history alike.
        os.truncate(f"{top}/tiles/t11-r.fits", 20000)
        call("run", yaml, "--quiet", ranks=3, expected=2)
        whole = counts(f"{top}/whole")
        check(whole["failed"] > 0 and whole["done"] > 20 and whole["rows"] > 100, f"the survey: {whole}")

        out = f"{top}/split"
        check(call("run", "--check", yaml, "--output", out, "--part", "2/4").strip() == f"{out}/part-2-of-4", "--check")
        check(not os.path.exists(out), "--check made something")
        for part, ranks in ((3, 3), (1, 1), (2, 2)):
            code = call("run", yaml, "--output", out, "--part", f"{part}/4", "--quiet", ranks=ranks,
                        expected=2 if part == 3 else 0)
            check(not os.path.exists(f"{out}/part-{part}-of-4/release.h5"), f"part {part} made a release: {code}")
        # What is missing is named, and nothing is made.
        text = call("reduce", yaml, "--output", out, "--parts", "4", ranks=3, expected=3)
        check("part 4 has not begun" in text and "part 3" not in text, text)
        # The last part in two executions: stopped at once, then resumed.
        call("run", yaml, "--output", out, "--part", "4/4", "--quiet", "--walltime", "0.000001", expected=3)
        text = call("reduce", yaml, "--output", out, "--parts", "4", expected=3)
        check("part 4 has" in text and "tasks open" in text, text)
        check(not os.path.exists(f"{out}/release.h5"), "a release of incomplete parts")
        text = call("run", yaml, "--output", out, "--part", "4/4", expected=2)
        check(f"{out}/part-4-of-4: complete" in text, text)
        sums = [counts(f"{out}/part-{i}-of-4") for i in (1, 2, 3, 4)]
        for key in ("total", "done", "failed"):
            check(sum(s[key] for s in sums) == whole[key], f"{key} of the parts: {sums}, of the whole: {whole}")
        check(max(s["total"] for s in sums) - min(s["total"] for s in sums) <= 1, f"parts of unequal size: {sums}")
        call("reduce", yaml, "--output", out, "--parts", "4", "--quiet", ranks=3, expected=2)
        same(f"{top}/whole", out, "four parts")
        call("verify", out)
        # Merged again, by one rank; and the merged folder is an output folder like any other.
        call("reduce", yaml, "--output", out, "--parts", "4", "--quiet", expected=2)
        same(f"{top}/whole", out, "merged again")
        shutil.rmtree(f"{out}/part-1-of-4")
        call("reduce", yaml, "--output", out, "--quiet", expected=2)
        same(f"{top}/whole", out, "without the parts")
        # A part that was computed anew: its segments have the names of those that were merged before.
        call("run", yaml, "--output", out, "--part", "1/4", "--quiet")
        call("reduce", yaml, "--output", out, "--parts", "4", "--quiet", expected=2)
        same(f"{top}/whole", out, "with one part anew")
        call("run", yaml, "--output", out, "--quiet", expected=2)

        # A part computed for another split, and one of another configuration.
        out = f"{top}/mixed"
        os.mkdir(out)
        for part in (1, 2):
            shutil.copytree(f"{top}/split/part-2-of-4", f"{out}/part-{part}-of-2")
        text = call("reduce", yaml, "--output", out, "--parts", "2", expected=4)
        check("part 2 of 2" in text and "is not of this part" in text, text)
        shutil.rmtree(f"{out}/shards")
        os.remove(f"{out}/ledger")
        with open(f"{top}/other.yaml", "w") as f:
            f.write(open(yaml).read().replace("0.4", "0.45"))
        text = call("reduce", f"{top}/other.yaml", "--output", out, "--parts", "2", expected=1)
        check("part 1 of 2" in text and "another configuration" in text, text)
        # More parts than patches.
        most = f"{top}/most"
        call("run", yaml, "--output", most, "--part", "9999/9999", "--quiet")
        check(counts(f"{most}/part-9999-of-9999")["total"] == 0, "an empty part")
        for wrong in ("0/4", "5/4", "1", "1/4x", "a/b", "1/10000"):
            check("I/N" in call("run", yaml, "--part", wrong, expected=1), wrong)
        check("--parts" in call("reduce", yaml, "--parts", "0", expected=1), "no parts")
        with open(f"{top}/scan.yaml", "w") as f:
            f.write(open(yaml).read().replace("index: tiles.h5", "tiles: [tiles]"))
        check("index" in call("run", f"{top}/scan.yaml", "--part", "1/2", expected=1), "parts of a scan")
        print(f"{checks} checks passed")
    finally:
        shutil.rmtree(top, ignore_errors=True)


main()
