"""One flipped bit anywhere is found by `verify`, which says in which file: release, shards, ledger, phase file, run.yaml, tile
index, pixels of the input and model.

Usage: test_bits.py MAP_RUN MAKE_TILES   (environment: SQ_PROGRAM; SQ_FLIPS: flips in all [112]; SQ_SEED)
"""
import os
import random
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from astropy.io import fits

from survey import ENV, map_survey, tile_survey

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "catalog"))
from fake_model import fake_model  # noqa: E402

MAP_RUN, MAKE = sys.argv[1:3]
PROGRAM = os.environ["SQ_PROGRAM"]
FLIPS = int(os.environ.get("SQ_FLIPS", "112"))
found = 0


def call(*words, expected=0, what=""):
    p = subprocess.run(words, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if p.returncode != expected:
        sys.exit(f"FAILED: {what}{' '.join(words)}: exit {p.returncode} instead of {expected}\n{p.stdout}{p.stderr}")
    return p.stderr


def everywhere(path):
    return [(0, os.path.getsize(path))]


def pixels(path):
    """Where the values of image and variance lie in a FITS file. (Of a mask only the bits that have a meaning are read, one NaN
    is as good as another, and cfitsio takes denormal numbers for 0.)"""
    with fits.open(path) as f:
        return [(h.fileinfo()["datLoc"] + 4 * int(k), 4) for h in f if h.name in ("IMAGE", "VARIANCE")
                for k in np.flatnonzero(np.isfinite(h.data) & (abs(h.data) > 1e-30))]


def flips(rng, count, path, verify, places=everywhere):
    """Flip single bits, one after another; the time of the file stays, as it does when a disk decays."""
    global found
    call(*verify)
    times, where = os.stat(path), places(path)
    for _ in range(count):
        start, size = rng.choice(where)
        at, bit = start + rng.randrange(size), rng.randrange(8)
        with open(path, "r+b") as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 1 << bit]))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        error = call(*verify, expected=4, what=f"{path}, byte {at}, bit {bit}: ")
        if os.path.basename(path) not in error:
            sys.exit(f"FAILED: {path}: byte {at}, bit {bit}: found, but the file is not named:\n{error}")
        with open(path, "r+b") as f:
            f.seek(at)
            f.write(bytes([byte]))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        found += 1
    call(*verify)


def share(part):
    return max(1, round(FLIPS * part / 112))


def main():
    rng = random.Random(int(os.environ.get("SQ_SEED", "1")))
    top = tempfile.mkdtemp(prefix="skyquilt-bits-")
    try:
        maps = f"{top}/maps"
        call(MAP_RUN, map_survey(f"{top}/maps.yaml"), maps, expected=2)
        segment = max((f"{maps}/shards/{n}" for n in os.listdir(f"{maps}/shards")), key=os.path.getsize)
        for path, count in ((f"{maps}/release.h5", 30), (segment, 20), (f"{maps}/ledger", 16), (f"{maps}/phase-0", 6), (f"{maps}/run.yaml", 8)):
            flips(rng, share(count), path, [MAP_RUN, "verify", maps])
        sky, tiles = f"{top}/sky", f"{top}/tiles"
        os.mkdir(sky)
        call(MAKE, sky)
        call(MAP_RUN, tile_survey(f"{top}/tiles.yaml", sky), tiles)
        flips(rng, share(12), f"{tiles}/tiles.h5", [MAP_RUN, "verify", tiles])
        flips(rng, share(4), f"{tiles}/tiles.h5", [PROGRAM, "verify", f"{tiles}/tiles.h5"])
        for name in ("t00-r.fits", "t12-r.fits"):
            flips(rng, share(4), f"{sky}/{name}", [MAP_RUN, "verify", "--inputs", tiles], pixels)
        # A network: its bytes, although the run with it has nothing to find.
        with open(f"{top}/model.onnx", "wb") as f:
            f.write(fake_model("u,g,r,i,z", "r"))
        with open(f"{top}/sky.yaml", "w") as f:
            f.write("preset: sdss\nseed: 3\ntile_nx: 128\ntile_ny: 128\n")
        call(PROGRAM, "simulate", f"{top}/sky.yaml", "--output", f"{top}/optical", "--quiet")
        with open(f"{top}/net.yaml", "w") as f:
            f.write(f"probe: catalog\ntiles: ['{top}/optical']\nmodel: '{top}/model.onnx'\nprecision: fp32\n")
        call(PROGRAM, "run", f"{top}/net.yaml", "--output", f"{top}/net", "--quiet")
        flips(rng, share(8), f"{top}/model.onnx", [PROGRAM, "verify", "--inputs", f"{top}/net"])
        print(f"{found} of {found} flipped bits found")
    finally:
        shutil.rmtree(top, ignore_errors=True)


main()
