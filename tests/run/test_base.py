"""A run that takes patches over from an earlier release: the release is that of a full recomputation, bit for bit.

Usage: test_base.py MAP_RUN MAKE_TILES   (environment: SQ_PROGRAM, SQ_SOURCE)
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np
from astropy.io import fits

PROGRAM, SOURCE = os.environ["SQ_PROGRAM"], os.environ["SQ_SOURCE"]
MAP, MAKE = sys.argv[1:3]
sys.path.insert(0, os.path.join(SOURCE, "tests", "catalog"))
from fake_model import fake_model
from releases import contents

ENV = dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_ALLOW_RUN_AS_ROOT="1",
           OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_io="romio321", OMPI_MCA_btl="self,vader")
checks = 0


def check(good, message):
    global checks
    checks += 1
    if not good:
        sys.exit(f"FAILED: {message}")


def call(*words, program=MAP, ranks=1, expected=0):
    command = (["mpirun", "-n", str(ranks)] if ranks > 1 else []) + [program, *words]
    p = subprocess.run(command, env=ENV, timeout=120, capture_output=True, text=True)
    check(p.returncode == expected, f"{' '.join(words)}: exit {p.returncode} instead of {expected}\n{p.stdout}{p.stderr}")
    return p.stdout + p.stderr


def write(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


def same(a, b, what):
    want, got = contents(f"{a}/release.h5"), contents(f"{b}/release.h5")
    check(want.keys() == got.keys(), f"{what}: other datasets")
    check(not [n for n in want if want[n] != got[n]], f"{what}: {[n for n in want if want[n] != got[n]]} differ")


def counts(folder):
    with open(f"{folder}/exit.json") as f:
        return json.load(f)["counts"]


def redone(folder):
    """Tiles (numbers) with patches that were computed, and how many patches."""
    with h5py.File(f"{folder}/release.h5") as f:
        computed = f["run/tasks/taken_over"][()] == 0
        return sorted(set(f["patches/tile"][computed])), int(computed.sum())


def plan(s, base, text=None):
    """What plan says, as a dict and a text."""
    words = ["plan", s.yaml(text), "--base", f"{base}/release.h5", "--measure", "0"]
    return (json.loads(call(*words, "--json", program=s.program).splitlines()[-1])["base"],
            call(*words, "--verbose", program=s.program))


def change_pixels(path, add=300.0, rows=slice(40, 60)):
    with fits.open(path) as f:
        for hdu in f:
            if hdu.data is not None and getattr(hdu.data, "ndim", 0) == 2 and hdu.data.dtype.kind == "f":
                hdu.data[rows, 50:90] += add
                break
        f.writeto(path, overwrite=True)


class Survey:
    """A configuration with its folders; every run with a base is compared with one without."""

    def __init__(self, top, text, program):
        self.top, self.text, self.program, self.n, self.whole = top, text, program, 0, {}

    def touched(self):
        """The tiles are others now: what was computed from them in full is out of date."""
        self.whole = {}

    def yaml(self, text=None):
        self.n += 1
        return write(f"{self.top}/{self.n}.yaml", text or self.text)

    def full(self, name, text=None, ranks=1, expected=0):
        call("run", self.yaml(text), "--output", f"{self.top}/{name}", "--quiet", program=self.program, ranks=ranks, expected=expected)
        return f"{self.top}/{name}"

    def from_base(self, base, what, text=None, ranks=1, taken=None, expected=0, warning=None, tiles=None):
        new = f"{self.top}/{what}"
        if text not in self.whole:
            self.whole[text] = self.full(f"{what}-whole", text, expected=expected)
        said = call("run", self.yaml(text), "--output", new, "--base", f"{base}/release.h5", program=self.program,
                    ranks=ranks, expected=expected)
        same(self.whole[text], new, what)
        c = counts(new)
        if tiles is not None:
            check(redone(new)[0] == tiles, f"{what}: tiles {redone(new)[0]} were computed instead of {tiles}")
        if taken is not None:
            check(c["taken_over"] == taken, f"{what}: {c['taken_over']} of {c['done']} taken over instead of {taken}\n{said}")
        check(redone(new)[1] + c["taken_over"] == c["total"], f"{what}: /run/tasks/taken_over")
        check(not warning or warning in said, f"{what}: no '{warning}'\n{said}")
        check(not os.path.exists(f"{new}/base.index"), f"{what}: base.index is left")
        return new


def tile_cases(top):
    tiles = f"{top}/tiles"
    os.mkdir(tiles)
    subprocess.run([MAKE, tiles], check=True)
    s = Survey(top, f"probe: testtile\ntiles: ['{tiles}']\nreference: r\npatch: {{core: 37}}\nexecution: {{archive: true}}\n", MAP)
    old = s.full("old", ranks=2)
    total = counts(old)["total"]
    with h5py.File(f"{old}/release.h5") as f:
        check((f["run/archive/length"][()] > 0).all(), "an archive of all patches")
        per_tile = np.bincount(f["patches/tile"][()])
    # The archive is no part of what is compared.
    plain = s.full("plain", s.text.replace("archive: true", "archive: false"))
    same(old, plain, "archive or not")

    new = s.from_base(old, "nothing", taken=total, ranks=3)
    call("verify", new)
    s.from_base(new, "again", taken=total)  # a run that took all over is a base itself
    # Each mtime changes, no pixel: all is read, and all is taken over.
    for name in os.listdir(tiles):
        os.utime(f"{tiles}/{name}", (1e9, 1e9))
    s.touched()
    touched = s.from_base(old, "touched", taken=total, ranks=2)
    # Pixels of one tile: only patches that see them are computed.
    change_pixels(f"{tiles}/t01-r.fits")
    s.touched()
    with h5py.File(f"{touched}/release.h5") as f:
        names = [n.decode() for n in f["tiles/name"][()]]
    said, table = plan(s, touched)
    changed = s.from_base(touched, "pixels", ranks=3, tiles=[names.index("t01")])
    n = redone(changed)[1]
    check(said["input"] == n and said["taken over"] == total - n and f"{n} input" in table and "t01" in table
          and "t00" not in table, f"plan: {said}\n{table}")
    check(0 < redone(changed)[1] < per_tile[names.index("t01")], "patches far from the change are taken over")
    # Another configuration: nothing is the same, which is said.
    core = s.text.replace("core: 37", "core: 40")
    s.from_base(changed, "configuration", core, taken=0, warning="configuration")
    check(plan(s, changed, core)[0]["taken over"] == 0, "plan of another configuration")
    # A tile less, so that all patches behind it have other numbers; then it is new again.
    less = s.text + "select: [t00, t02, t10, t11, t12]\n"
    check(plan(s, changed, less)[0]["new"] == 0, "plan with a tile less")
    fewer = s.from_base(changed, "less", less, taken=total - per_tile[names.index("t01")], ranks=3)
    s.from_base(fewer, "more", taken=counts(fewer)["total"], ranks=2, tiles=[names.index("t01")])

    # Shards gone: the archive; both gone: refused in one line.
    alone = f"{top}/alone"
    os.mkdir(alone)
    shutil.copy(f"{changed}/release.h5", alone)
    s.from_base(alone, "archive", taken=total, ranks=3)
    shutil.copy(f"{plain}/release.h5", alone)
    said = call("run", s.yaml(), "--output", f"{top}/refused", "--base", f"{alone}/release.h5", expected=1)
    check("no archive" in said and not os.path.exists(f"{top}/refused/release.h5"), said)
    said = call("run", s.yaml(), "--output", f"{top}/refused2", "--base", f"{top}/none.h5", expected=4)
    check("none.h5" in said, said)
    # A record of the base is damaged: in a shard, in the archive.
    for where in ("shards", "archive"):
        bad = f"{top}/bad-{where}"
        shutil.copytree(changed, bad)
        if where == "archive":
            shutil.rmtree(f"{bad}/shards")
            with h5py.File(f"{bad}/release.h5", "r+") as f:
                f["run/archive/records"][int(f["run/archive/offset"][5]) + 200] ^= 1
        else:
            name = max(os.listdir(f"{bad}/shards"), key=lambda n: os.path.getsize(f"{bad}/shards/{n}"))
            with open(f"{bad}/shards/{name}", "r+b") as f:
                f.seek(200)
                byte = f.read(1)[0]
                f.seek(200)
                f.write(bytes([byte ^ 1]))
        s.from_base(bad, f"damaged-{where}", taken=total - 1, ranks=2, warning="computed again")
    # A tile whose files change between index and run fails as it does without a base.
    lost = f"{top}/lost"
    shutil.copytree(tiles, lost)
    call("index", "--output", f"{top}/lost.h5", lost)
    with open(f"{lost}/t11-g.fits", "r+b") as f:
        f.truncate(os.path.getsize(f"{lost}/t11-g.fits") // 2)
    failing = s.text.replace(f"tiles: ['{tiles}']", f"index: '{top}/lost.h5'")
    broken = s.from_base(changed, "failing", failing, expected=2, ranks=2)
    check(counts(broken)["failed"] > 0, "patches of the truncated tile fail")
    # Patches that failed before are computed.
    shutil.copy2(f"{tiles}/t11-g.fits", f"{lost}/t11-g.fits")
    s.touched()
    call("index", "--output", f"{top}/lost.h5", lost)
    said = plan(s, broken, failing)[0]
    check(said["failed before"] == counts(broken)["failed"], f"plan of failures: {said}")
    s.from_base(broken, "mended", failing, ranks=3, taken=counts(broken)["done"])
    return s, changed


def kill_case(top, s, base):
    """Killed in the middle, again and again with other numbers of ranks: the same release."""
    out = f"{top}/killed"
    whole = s.full("killed-whole")
    for seconds in (0.35, 0.5, 0.65):
        p = subprocess.Popen([MAP, "run", s.yaml(), "--output", out, "--base", f"{base}/release.h5", "--quiet"], env=ENV)
        time.sleep(seconds)
        p.send_signal(signal.SIGKILL)
        p.wait()
    call("run", s.yaml(), "--output", out, "--base", f"{base}/release.h5", "--quiet", ranks=3)
    same(whole, out, "killed")
    check(counts(out)["taken_over"] == counts(out)["total"], f"killed: {counts(out)}")
    check(json.loads(call("status", "--json", out))["taken_over"] >= counts(out)["total"], "status")


def map_case(top):
    """Two phases: later ones depend on the file of the first."""
    s = Survey(top, "probe: testmap\ntestmap: {noise: 0.5}\n", MAP)
    old = s.full("map-old", ranks=2)
    total = counts(old)["total"]
    s.from_base(old, "map-same", taken=total, ranks=3)
    # Another input of one patch. Too faint for a peak: the file of the first phase is the same, and what does not see
    # it is taken over. Bright: the file is another, and the whole second phase is computed.
    for name, value in (("faint", 0.5), ("bright", 30)):
        ENV["SQ_TEST_SPOT"] = f"110,110,{value}"
        s.touched()
        new = s.from_base(old, f"map-{name}", ranks=2)
        with h5py.File(f"{new}/release.h5") as f, h5py.File(f"{old}/release.h5") as g:
            phase, taken = f["patches/phase"][()], f["run/tasks/taken_over"][()] == 1
            check((f["run/phase_files"][()] == g["run/phase_files"][()]) == (name == "faint"), f"{name}: the phase file")
        first, second = ((~taken[phase == p]).sum() for p in (0, 1))
        check(1 <= first <= 4, f"{name}: {first} patches of the first phase computed")
        # Three realisations of each patch.
        check(second in ((3, 6, 9, 12) if name == "faint" else [(phase == 1).sum()]), f"{name}: {second} of the second phase")
        del ENV["SQ_TEST_SPOT"]
    s.touched()
    s.from_base(old, "map-seed", "probe: testmap\nseed: 2\ntestmap: {noise: 0.5}\n", taken=0, warning="configuration")


def catalog_case(top):
    """The program itself with a network: another model, and one tile changed."""
    tiles = f"{top}/tiles"
    with open(f"{top}/fake.onnx", "wb") as f:
        f.write(fake_model("g,r", "r"))
    s = Survey(top, f"probe: catalog\ntiles: ['{tiles}']\nmodel: fake.onnx\nprecision: fp32\nthreshold: 0.4\n", PROGRAM)
    old = s.full("cat-old", ranks=3)
    total = counts(old)["total"]
    check(counts(old)["rows"] > 100, f"the survey: {counts(old)}")
    change_pixels(f"{tiles}/t10-g.fits")
    s.touched()
    new = s.from_base(old, "cat-pixels", ranks=3)
    check(0 < redone(new)[1] < total / 3, f"cat-pixels: {redone(new)}")
    s.from_base(new, "cat-threshold", s.text.replace("0.4", "0.45"), taken=0, warning="configuration")
    with open(f"{top}/other.onnx", "wb") as f:
        f.write(fake_model("g,r", "r", extra={"version": "2"}))
    s.from_base(new, "cat-model", s.text.replace("fake.onnx", "other.onnx"), taken=0, warning="model")


def main():
    top = tempfile.mkdtemp(prefix="skyquilt-base-")
    try:
        s, base = tile_cases(top)
        kill_case(top, s, base)
        map_case(top)
        catalog_case(top)
        print(f"{checks} checks passed")
    finally:
        shutil.rmtree(top, ignore_errors=True)


main()
