"""skyquilt bench lensing: estimates of given maps against stored ones of other codes, and what it refuses.

Usage: test_bench_lensing.py SKYQUILT
"""
import json
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

sys.path.insert(0, os.path.join(os.environ["SQ_SOURCE"], "tools"))
from peers.flat_sky import Grid, Spectra, correlation, write  # noqa: E402

PROGRAM = os.path.abspath(sys.argv[1])
CMB = os.path.join(os.environ["SQ_SHARED"], "data", "cmb")


def bench(*args):
    done = subprocess.run([PROGRAM, "bench", "lensing", *map(str, args)], capture_output=True, text=True, timeout=100)
    return done.returncode, done.stdout, done.stderr


def test_refused():
    with h5py.File("bad.h5", "w") as f:
        f["maps"], f["spectra"] = np.zeros((1, 3, 16, 16)), np.zeros((11, 3001))
        f.attrs.update(pixel=2.0, lmin=100.0, lmax=3000.0)
    for args, code, part in (([], 1, "IN.h5"), (["none.h5"], 4, "none.h5"), (["bad.h5"], 1, "spectra [12]"),
                             (["bad.h5", "--repeats", "0"], 1, "--repeats"), (["bad.h5", "--nothing"], 1, "--nothing")):
        got, out, err = bench(*args)
        assert got == code and out == "" and part in err, (args, got, err)
    code, out, _ = bench("--help")
    assert code == 0 and "EXIT CODES" in out


def test_stored():
    """TT, EE, TB and EB of four observed patches; TE has the same weight too. MV is what the five make."""
    path = os.path.join(CMB, "fixtures", "patches_nP1.0_128.npz")
    if not os.path.exists(path):
        print("skipped: no data")
        return
    with np.load(path) as f:
        observed, stored, pixel = f["obs_TQU"], f["qe_kappa_TT_TE_EE_TB_EB"], float(f["dx_arcmin"])
    grid = Grid(observed.shape[-1], pixel)
    spectra = Spectra(os.path.join(CMB, "ffp10"), np.sqrt(0.5), 1, 1, gradient=False)
    beam = np.where(grid.ell <= spectra.lmax, grid.at(spectra.beam), np.inf)
    write("in.h5", np.fft.irfft2(np.fft.rfft2(observed) / beam), grid, spectra)
    code, out, err = bench("in.h5", "--output", "out.h5", "--repeats", 1)
    assert code == 0, err
    times = json.loads(out)
    assert len(times["estimate"]) == 1 and times["estimate"][0] > 0 and times["n0"][0] > 0
    with h5py.File("out.h5") as f:
        own, n0 = f["kappa"][:], f["n0"][:]
    for e, name in enumerate(("TT", "TE", "EE", "TB", "EB")):
        rho = min(correlation(grid, a[e], b[e], 100, 2000) for a, b in zip(own, stored))
        slope = np.mean([(a[e] * b[e]).sum() / (a[e] ** 2).sum() for a, b in zip(low(grid, own), low(grid, stored))])
        print(f"{name}: 1 - correlation {1 - rho:.1e}, ratio {slope:.5f}")
        assert rho > 0.99999 and abs(slope - 1) < 2e-3, name
    inside = (grid.ell >= 100) & (grid.ell <= 2000)
    assert (n0[5][inside] < n0[:5, inside].min(0)).all()


def low(grid, maps):
    return np.fft.irfft2(np.fft.rfft2(maps) * ((grid.ell >= 100) & (grid.ell < 2000)))


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    test_refused()
    test_stored()
    os.chdir("/")
