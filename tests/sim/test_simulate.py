"""The command `skyquilt simulate`: the same output for any number of ranks, resuming, and errors in one line."""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

PROGRAM = os.environ.get("SQ_PROGRAM", "skyquilt")
SKY = "preset: sdss\ntile_nx: 220\ntile_ny: 180\ntiles_x: 3\ntiles_y: 2\noverlap: 30\nseed: 4\n"


def run(*arguments, ranks=1, code=0):
    launcher = ["mpirun", "-n", str(ranks), "--oversubscribe"] if ranks > 1 else []
    done = subprocess.run(launcher + [PROGRAM, "simulate", *arguments], capture_output=True, text=True)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done


def contents(folder):
    return {f: hashlib.sha256(open(os.path.join(folder, f), "rb").read()).hexdigest()
            for f in sorted(os.listdir(folder))}


def same_for_any_ranks(work, sky):
    one, three = os.path.join(work, "one"), os.path.join(work, "deep/er/three")
    run(sky, "--output", one)
    run(sky, "--output", three, ranks=3)
    files = contents(one)
    assert len(files) == 6 * 6 + 2, sorted(files)
    assert files == contents(three)
    # Lost files come back, the others stay as they are.
    kept = os.path.getmtime(os.path.join(one, "tile-000-000-r.fits"))
    os.unlink(os.path.join(one, "tile-002-001-psf.fits"))
    run(sky, "--output", one)
    assert contents(one) == files
    assert os.path.getmtime(os.path.join(one, "tile-000-000-r.fits")) == kept
    return one


def truth_is_on_the_tiles(folder):
    with h5py.File(os.path.join(folder, "truth.h5"), "r") as f:
        t = {k: f[k][:] for k in f}
        assert f["ra"].attrs["units"] in ("deg", b"deg")
        assert all("description" in f[k].attrs for k in f)
    assert len(np.unique(t["flux_r"])) == len(t["flux_r"]) > 50
    for tile in range(6):
        with fits.open(os.path.join(folder, "tile-%03d-%03d-r.fits" % (tile % 3, tile // 3))) as h:
            image, wcs = h[1].data, WCS(h[1].header)
            sigma = np.sqrt(np.median(h[3].data))
        m = t["tile"] == tile
        x, y = wcs.all_world2pix(t["ra"][m], t["dec"][m], 0)
        assert np.abs(x - t["x"][m]).max() < 1e-6 and np.abs(y - t["y"][m]).max() < 1e-6
        # The brightest source of the tile shows at its place.
        k = np.argmax(t["flux_r"][m])
        if t["flux_r"][m][k] > 200 * sigma and 2 < x[k] < 217 and 2 < y[k] < 177:
            i, j = int(round(y[k])), int(round(x[k]))
            assert image[i - 2:i + 3, j - 2:j + 3].max() > 3 * sigma, (tile, x[k], y[k])


def training_is_a_stream(work, sky):
    whole, part = os.path.join(work, "whole.h5"), os.path.join(work, "part.h5")
    run(sky, "--training", whole, "--samples", "6", "--side", "32", "--quiet")
    done = run(sky, "--training", part, "--samples", "2", "--first", "4", "--side", "32", "--seed", "4")
    assert "2 patches" in done.stderr
    with h5py.File(whole, "r") as a, h5py.File(part, "r") as b:
        assert sorted(a) == sorted(b)
        for name in a:
            assert np.array_equal(a[name][4:6], b[name][:]), name


def errors(work, sky):
    def says(text, *arguments, code, ranks=1):
        done = run(*arguments, code=code, ranks=ranks)
        lines = [l for l in done.stderr.splitlines() if l.startswith("skyquilt simulate: ")]
        assert len(lines) == 1 and text in lines[0], done.stderr

    out = os.path.join(work, "out")
    bad = os.path.join(work, "bad.yaml")
    for text, what in (("preset: sdss\nsedd: 1\n", "bad.yaml:2"), ("tile_nx: big\n", "tile_nx"),
                       ("preset: hst\n", "preset"), ("faint_limit: 12\n", "faint_limit"),
                       ("preset: lsst\nyears: 2\nyears_low: 3\n", "years_low"), ("overlap: 5000\n", "overlap"), ("cosmics: -1\n", "cosmics")):
        open(bad, "w").write(text)
        says(what, bad, "--output", out, code=1)
    says("bad.yaml", bad, "--output", out, code=1, ranks=2)
    says("SKY.yaml", "--output", out, code=1)
    says("--output", sky, code=1)
    says("--seed", sky, "--output", out, "--seed", "-3", code=1)
    says("--colour", sky, "--output", out, "--colour", "red", code=1)
    says("value is missing", sky, "--output", code=1)
    says("nowhere.yaml", os.path.join(work, "nowhere.yaml"), "--output", out, code=1)
    says("multiple", sky, "--training", os.path.join(work, "x.h5"), "--side", "33", code=1)
    says("x.h5", sky, "--training", os.path.join(work, "none/x.h5"), code=4)
    open(os.path.join(work, "file"), "w").write("")
    says("file", sky, "--output", os.path.join(work, "file/under"), code=4)


def other_survey(work, sky, folder):
    done = run(sky, "--output", folder, "--seed", "5", code=1)
    assert "another survey" in done.stderr


def keys_of(name):
    source = open(os.path.join(os.environ["SQ_SOURCE"], name)).read()
    keys = [re.match(r'\s*(?:(?:REAL|INT|BOOL|CHOICE)\("?|\{")(\w+)', line) for line in source.splitlines()]
    return [k.group(1) for k in keys if k and k.group(1) not in ("NULL", "key", "member")]


def help_names_every_key():
    text = run("--help").stdout
    optical, mm, cmb = (keys_of("src/" + f) for f in ("sim/config.c", "sim/mm.c", "lensing/training.c"))
    assert len(optical) > 30 and "beam_files" in mm and "projection" in mm
    for key in set(optical + cmb + [k for k in mm if k in text]):
        assert text.count(" %s:" % key) == 2 * (key in optical) + 2 * (key in mm) + (key in cmb), key


def mm_survey(work):
    sky, one, two = (os.path.join(work, n) for n in ("mm.yaml", "mm1", "mm2"))
    beam = os.path.join(work, "beam.txt")
    open(beam, "w").write("".join("%d %.6g\n" % (l, np.exp(-l * l / 4e7)) for l in range(0, 20000, 5)))
    keys = "fields: 3\nside: 128\nmass_min: 1e14\nra: 0\ndec: 3\ncatalogue: 5\nprojection: %s\n"
    open(sky, "w").write("preset: mm\nseed: 9\nknee: [1200, 0, 800]\nbeam_files: [%s, '', '']\n" % beam + keys % "car")
    run(sky, "--output", one)
    run(sky, "--output", two, ranks=3)
    files = contents(one)
    assert len(files) == 3 * 4 + 3 + 3, sorted(files)
    assert files == contents(two)
    os.unlink(os.path.join(one, "field-001-95.fits"))
    os.unlink(os.path.join(one, "field-002-truth.h5"))
    run(sky, "--output", one, ranks=2)
    assert contents(one) == files
    with h5py.File(os.path.join(one, "truth.h5"), "r") as f:
        halos = {k: f["halos"][k][:] for k in f["halos"]}
        assert f["halos/theta500"].attrs["units"] in ("arcmin", b"arcmin") and f["sources/flux"].shape[0] > 3
    with fits.open(os.path.join(one, "field-000-150.fits")) as h:
        wcs, names = WCS(h[0].header), [x.header["EXTNAME"] for x in h]
        assert names == ["I", "ivar"] and [x.header["BUNIT"] for x in h] == ["uK", "uK^-2"]
        assert np.isnan(h[0].data).any() == (h[1].data == 0).any()
    m = halos["field"] == 0
    assert halos["ra"][m].min() < 1 and halos["ra"][m].max() > 359
    x, y = wcs.all_world2pix(halos["ra"][m], halos["dec"][m], 0)
    assert np.abs(x - halos["x"][m]).max() < 1e-6 and np.abs(y - halos["y"][m]).max() < 1e-6
    # Truth alone is the same truth.
    run(sky, "--output", os.path.join(work, "mm3"), "--truth-only")
    assert contents(os.path.join(work, "mm3"))["truth.h5"] == files["truth.h5"]
    done = run(sky, "--output", one, "--seed", "5", code=1)
    assert "another survey" in done.stderr
    for text, what in (("fhwm: [1]\n", "mm.yaml:2"), ("fwhm: [1]\n", "fwhm"), ("side: 130\n", "side"),
                       ("projection: hpx\n", "projection"), ("beam_files: [a, b]\n", "beam_files"),
                       ("beam_files: [nowhere, '', '']\n", "nowhere"), ("fields: 900\nside: 4096\n", "fields")):
        open(sky, "w").write("preset: mm\n" + text)
        done = run(sky, "--output", os.path.join(work, "mm4"), "--truth-only", code=1)
        assert what in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def main():
    work = tempfile.mkdtemp(prefix="sq_simulate_")
    try:
        sky = os.path.join(work, "sky.yaml")
        open(sky, "w").write(SKY)
        folder = same_for_any_ranks(work, sky)
        truth_is_on_the_tiles(folder)
        other_survey(work, sky, folder)
        training_is_a_stream(work, sky)
        errors(work, sky)
        mm_survey(work)
        help_names_every_key()
    finally:
        shutil.rmtree(work)
    print("simulate: passed")


if __name__ == "__main__":
    sys.exit(main())
