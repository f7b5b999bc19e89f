"""A run over tiles: every source once across patches, overlapping tiles and RA = 0; and bad input costs its own tile only.

Usage: test_tiles.py MAP_RUN MAKE_TILES
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np
from astropy.wcs import WCS

RUN, MAKE = sys.argv[1:3]
ENV = dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_ALLOW_RUN_AS_ROOT="1",
           OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_io="romio321")
WIDTH, HEIGHT, SCALE = 580, 305, 0.2 / 3600
checks = 0


def check(good, message):
    global checks
    checks += 1
    if not good:
        sys.exit(f"FAILED: {message}")


def config(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


def run(ranks, yaml, output, expected):
    command = [RUN, yaml, output] if ranks == 1 else ["mpirun", "-n", str(ranks), RUN, yaml, output]
    done = subprocess.run(command, env=ENV, timeout=120, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    check(done.returncode == expected, f"{yaml}, {ranks} ranks: exit {done.returncode} instead of {expected}\n{done.stdout}")
    with open(f"{output}/exit.json") as f:
        check(json.load(f)["exit_code"] == expected, f"{yaml}: exit.json")
    return done.stdout


def rows(folder, group):
    with h5py.File(f"{folder}/release.h5", "r") as f:
        return {k: f[group][k][()] for k in f[group]}


def same_release(a, b):
    names = []
    with h5py.File(f"{a}/release.h5", "r") as f, h5py.File(f"{b}/release.h5", "r") as g:
        f.visititems(lambda n, o: names.append(n) if isinstance(o, h5py.Dataset) and not n.startswith("run/") else None)
        return all(n in g and np.asarray(f[n][()]).tobytes() == np.asarray(g[n][()]).tobytes() for n in names)


def truth(tiles):
    x, y, flux = np.loadtxt(f"{tiles}/truth.txt", unpack=True)
    w = WCS(naxis=2)
    w.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    w.wcs.crval = [0.0, 1.0]
    w.wcs.crpix = [WIDTH / 2 + 1, HEIGHT / 2 + 1]
    w.wcs.cd = [[-SCALE, 0], [0, SCALE]]
    ra, dec = w.all_pix2world(x, y, 0)
    return x, y, ra, dec


def match(ra, dec, ra0, dec0):
    """Number of rows at each true place, by brute force on the sphere."""
    def unit(a, d):
        a, d = np.radians(a), np.radians(d)
        return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], -1)
    distance = np.linalg.norm(unit(ra0, dec0)[:, None] - unit(ra, dec)[None], axis=-1)
    return (distance < np.radians(0.5 / 3600)).sum(1)


def main():
    top = tempfile.mkdtemp(prefix="skyquilt-tiles-")
    try:
        tiles = f"{top}/tiles"
        os.mkdir(tiles)
        subprocess.run([MAKE, tiles], check=True)
        x, y, ra0, dec0 = truth(tiles)
        base = f"probe: testtile\ntiles: ['{tiles}']\nreference: r\n"
        for core in (64, 37, 150):
            yaml = config(f"{top}/c{core}.yaml", base + f"patch: {{core: {core}}}\n")
            run(1 if core == 37 else 3, yaml, f"{top}/c{core}", 0)
            got = rows(f"{top}/c{core}", "spots")
            found = match(got["ra"], got["dec"], ra0, dec0)
            check((found == 1).all(), f"core {core}: {np.sum(found == 0)} sources lost, {np.sum(found > 1)} twice")
            check(len(got["ra"]) == len(ra0), f"core {core}: {len(got['ra'])} rows for {len(ra0)} sources")
            check("depth" not in got, "a hidden column in the release")
        check((got["ra"] > 359).sum() > 50 and (got["ra"] < 1).sum() > 50, "sources on both sides of RA = 0")
        yaml = f"{top}/c64.yaml"
        run(2, yaml, f"{top}/again", 0)
        check(same_release(f"{top}/c64", f"{top}/again"), "2 ranks differ from 3")
        # Selections.
        select = config(f"{top}/select.yaml", base + "select: [t00, t12]\n")
        run(1, select, f"{top}/select", 0)
        check(len(rows(f"{top}/select", "tiles")["name"]) == 2, "two selected tiles")
        region = config(f"{top}/region.yaml", base + "region: [0.0148, 0.0152, 0.9937, 0.9940]\n")
        run(1, region, f"{top}/region", 0)
        check(list(rows(f"{top}/region", "tiles")["name"]) == [b"t00"], "one tile in the region")
        for box, names in (("[359.9, 0.1, 0.9, 1.1]", 6), ("[359.985, 359.986, 1.0, 1.001]", [b"t02", b"t12"])):
            region = config(f"{top}/region.yaml", base + f"region: {box}\n")
            run(1, region, f"{top}/region{len(box)}", 0)
            found = list(rows(f"{top}/region{len(box)}", "tiles")["name"])
            check(names in (found, len(found)), f"tiles {found} in {box}")
        # Configurations that cannot be run: one line, exit 1, nothing made.
        for text, word in ((base + "select: [t99]\n", "t99"), (base + "region: [200, 201, 0, 1]\n", "selected"),
                           (base + "region: [1, 2, 3]\n", "region"), ("probe: nothing\n", "nothing"),
                           ("probe: testtile\n", "index"), (base + "index: x.h5\n", "not both"),
                           (base + "bands: [r, r]\n", "twice"), (base + "bands: [waytoolong]\n", "band"),
                           (base + "thresold: 0.5\n", "threshold"), (base + "execution: {deadline: 0}\n", "deadline")):
            bad = config(f"{top}/bad.yaml", text)
            p = subprocess.run([RUN, bad, f"{top}/bad"], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            check(p.returncode == 1 and word in p.stdout, f"{text!r}: exit {p.returncode}\n{p.stdout}")
            check(not os.path.exists(f"{top}/bad/release.h5"), "a release of a bad configuration")
        # Bad tiles: each costs its own.
        def spoil(name, act, ranks=1, left_out=False, reason=None):
            copy = f"{top}/spoiled"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(tiles, copy)
            yaml = config(f"{top}/{name}.yaml", base.replace(tiles, copy))
            out = f"{top}/{name}"
            if left_out:
                act(copy)
                text = run(ranks, yaml, out, 2)
                lines = [line for line in text.splitlines() if "left out" in line]
                check(len(lines) == 1 and "t11" in lines[0] and "could not be read" in text, f"{name}: one line a bad tile\n{text}")
                check(len(rows(out, "tiles")["name"]) == 5, f"{name}: five good tiles")
                with open(f"{out}/tiles.bad") as f:
                    check(f.read().startswith("t11\t"), f"{name}: tiles.bad")
                run(1, yaml, out, 2)
                return
            # Make the index first, as a run that was stopped at once would.
            stop = config(f"{top}/{name}-stop.yaml", base.replace(tiles, copy) + "execution: {walltime: 0.000001}\n")
            run(1, stop, out, 3)
            act(copy)
            run(ranks, yaml, out, 2)
            failed, patches = rows(out, "failures"), rows(out, "patches")
            check((failed["tile"] == 4).all() and len(failed["tile"]) == (patches["tile"] == 4).sum(), f"{name}: failures")
            check((patches["state"][patches["tile"] != 4] == 0).all(), f"{name}: the other tiles")
            check(reason in failed["reason"][0].decode(), f"{name}: reason {failed['reason'][0]}")
            got = rows(out, "spots")
            inside = (x < 175) | (x > 405) | (y < 130)
            found = match(got["ra"], got["dec"], ra0[inside], dec0[inside])
            check((found == 1).all(), f"{name}: sources of the other tiles: {np.sum(found != 1)}")

        def cut(size):
            def act(folder):
                path = f"{folder}/t11-r.fits"
                with open(path, "r+b") as f:
                    f.truncate(size(os.path.getsize(path)))
            return act
        spoil("gone", lambda d: os.remove(f"{d}/t11-g.fits"), reason="t11-g.fits")
        spoil("truncated", cut(lambda n: n // 2), ranks=3, reason="t11-r.fits")
        spoil("other", lambda d: shutil.copy(f"{d}/t00-r.fits", f"{d}/t11-r.fits"), reason="t11-r.fits")
        spoil("emptied", cut(lambda n: 0), reason="t11-r.fits")
        spoil("empty", cut(lambda n: 0), left_out=True)
        spoil("head", cut(lambda n: 1500), left_out=True, ranks=3)

        def garbage(folder):
            with open(f"{folder}/t11-r.fits", "wb") as f:
                f.write(np.random.default_rng(1).bytes(50000))
        spoil("garbage", garbage, left_out=True)
        # A tile without one of the bands is in the index, and its patches fail with that reason.
        copy = f"{top}/one_band"
        shutil.copytree(tiles, copy)
        os.remove(f"{copy}/t11-g.fits")
        run(2, config(f"{top}/one_band.yaml", base.replace(tiles, copy)), f"{top}/one_band_out", 2)
        failed = rows(f"{top}/one_band_out", "failures")
        check((failed["tile"] == 4).all() and b"g" in failed["reason"][0], "a missing band")
        # A folder that cannot be written to, and one that is no folder.
        file = config(f"{top}/file", "x")
        p = subprocess.run([RUN, yaml, f"{file}/out"], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        check(p.returncode == 4, f"output in a file: exit {p.returncode}\n{p.stdout}")
        print(f"{checks} checks passed")
    finally:
        shutil.rmtree(top, ignore_errors=True)


main()
