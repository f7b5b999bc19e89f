"""The catalog probe through the whole program: a simulated tile with the committed network, by one rank and by three.

The release is the same bit for bit; bright sources are found once each, also on the seams between patches; intervals,
errors and check columns agree with each other and with the truth; a missing band and broken models are handled.

Usage: test_probe.py   (environment: SQ_PROGRAM, SQ_SOURCE)
"""
import os
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np
from astropy.io import fits
from scipy.spatial import cKDTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fake_model import fake_model

PROGRAM = os.environ["SQ_PROGRAM"]
MODEL = os.path.join(os.environ["SQ_SOURCE"], "tools", "models", "sdss.onnx")
ENV = dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_ALLOW_RUN_AS_ROOT="1",
           OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_io="romio321", OMPI_MCA_btl="self,vader")


def skyquilt(*arguments, ranks=1, code=0):
    launch = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run(launch + [PROGRAM, *arguments], env=ENV, capture_output=True, text=True)
    assert done.returncode == code, f"{arguments}: exit code {done.returncode}\n{done.stderr[-2000:]}"
    return done.stderr


def configure(folder, name, tiles, model=MODEL, **more):
    path = os.path.join(folder, name + ".yaml")
    with open(path, "w") as f:
        f.write(f"probe: catalog\ntiles: [{tiles}]\nmodel: {model}\nprecision: fp32\noutput: {name}\n")
        f.writelines(f"{k}: {v}\n" for k, v in more.items())
    return path


def read(path):
    with h5py.File(path) as f:
        return {k: v[:] for k, v in f["catalog"].items()}


def datasets(path):
    """Everything but /run, as bytes."""
    out = {}
    with h5py.File(path) as f:
        f.visititems(lambda n, o: out.__setitem__(n, o[()]) if isinstance(o, h5py.Dataset)
                     and not n.startswith("run/") else None)
    return out


def test_ranks(folder, sky):
    one, three = configure(folder, "one", sky, patch="{core: 128}"), configure(folder, "three", sky, patch="{core: 128}")
    skyquilt("run", one, "--quiet")
    skyquilt("run", three, "--quiet", ranks=3)
    a, b = (datasets(os.path.join(folder, n, "release.h5")) for n in ("one", "three"))
    assert a.keys() == b.keys()
    different = [n for n in a if np.asarray(a[n]).tobytes() != np.asarray(b[n]).tobytes()]
    assert not different, f"differ between 1 and 3 ranks: {different[:5]}"


def plane(c, dec0):
    return np.column_stack([c["ra"] * np.cos(np.radians(dec0)), c["dec"]]) * 3600


def test_science(folder, sky):
    found = read(os.path.join(folder, "one", "release.h5"))
    with h5py.File(os.path.join(sky, "truth.h5")) as f:
        truth = {k: f[k][:] for k in ("ra", "dec", "x", "y", "flux_r", "star")}
    dec0 = truth["dec"].mean()
    bright = (truth["flux_r"] > 10 ** (0.4 * (31.4 - 21))) & (abs(truth["x"] - 255.5) < 250) & (abs(truth["y"] - 255.5) < 250)
    mine, theirs = cKDTree(plane(found, dec0)), plane(truth, dec0)
    distance, row = mine.query(theirs[bright])
    assert bright.sum() > 10
    assert (distance < 0.6).mean() > 0.85, f"{(distance < 0.6).mean():.2f} of r < 21 found"
    seam = np.minimum(abs((found["x"] + 0.5) % 64), abs(64 - (found["x"] + 0.5) % 64)) < 3
    assert seam.any()
    pairs = mine.query_pairs(0.5)
    assert len(pairs) <= 0.01 * len(found["ra"]), f"{len(pairs)} pairs within 0.5 arcsec"
    good = distance < 0.6
    ratio = np.log(found["flux_r"][row[good]] / truth["flux_r"][bright][good])
    assert abs(np.median(ratio)) < 0.1 and np.median(abs(ratio)) < 0.2, (np.median(ratio), np.median(abs(ratio)))
    stars = good & (truth["star"][bright] == 1)
    if stars.any():
        psf = np.log(found["psf_flux_r"][row[stars]] / truth["flux_r"][bright][stars])
        assert abs(np.median(psf)) < 0.1


def test_columns(folder):
    c = read(os.path.join(folder, "one", "release.h5"))
    for band in "ugriz":
        q = [c[f"flux_{band}_{s}"] for s in ("q025", "q05", "q16", "q25", "q50", "q75", "q84", "q95", "q975")]
        assert all((low < high).all() for low, high in zip(q[:-1], q[1:]))
        sigma = np.log(c[f"flux_{band}_q84"] / c[f"flux_{band}_q16"]) / (2 * 0.9944578832097532)
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=3e-3)
        close(c[f"mag_{band}_err"], 1.0857362 * sigma)
        close(c[f"flux_mean_{band}"], c[f"flux_{band}_q50"] * np.exp(sigma ** 2 / 2))
        close(31.4 - 2.5 * np.log10(c[f"flux_{band}"]), c[f"mag_{band}"])
    assert ((c["detection_probability"] >= 0.5) & (c["detection_probability"] <= 1)).all()
    assert ((c["star_probability"] >= 0) & (c["star_probability"] <= 1)).all()
    assert (c["blendedness"] >= -1e-6).all() and c["blendedness"].max() > 0.5 > np.median(c["blendedness"])
    assert np.median(c["ood_score"]) < 1 and (c["ood_score"] > 0.2).all()
    assert (c["sky_r"] > 0).all() and (np.hypot(c["psf_e1_r"], c["psf_e2_r"]) < 0.2).all() and c["psf_e1_r"].any()
    np.testing.assert_allclose(c["mag_g"] - c["mag_r"], c["colour_g_r"], atol=1e-4)
    np.testing.assert_allclose(c["ra_err"], 0.396 * c["x_err"], rtol=0.3)
    assert (c["ra_dec_cov"] ** 2 <= c["ra_err"] ** 2 * c["dec_err"] ** 2 * 1.001).all()


def test_draws_and_counts(folder, sky):
    """Joint draws agree with the posteriors of the catalogue, expected counts with both, by one rank and by three."""
    draws, nside = 12, 65536
    extra = dict(patch="{core: 128}", catalog=f"{{samples: {draws}, expected_nside: {nside}}}", seed=5)
    skyquilt("run", configure(folder, "draws", sky, **extra), "--quiet")
    skyquilt("run", configure(folder, "draws3", sky, **extra), "--quiet", ranks=3)
    a, b = (datasets(os.path.join(folder, n, "release.h5")) for n in ("draws", "draws3"))
    assert a.keys() == b.keys() and all(np.asarray(a[n]).tobytes() == np.asarray(b[n]).tobytes() for n in a)
    with h5py.File(os.path.join(folder, "draws", "release.h5")) as f:
        drawn = {k: v[:] for k, v in f["samples"].items()}
        counts = {k: v[:] for k, v in f["expected_counts"].items()}
    found = read(os.path.join(folder, "draws", "release.h5"))
    plain = read(os.path.join(folder, "one", "release.h5"))
    assert all(np.array_equal(found[k], plain[k], equal_nan=True) for k in plain), "draws change the catalogue"
    # The tile is 512 pixels of 0.396 arcsec; cells of a patch's core add up to its area, masks aside.
    assert abs(counts["area"].sum() / (512 * 0.396 / 60) ** 2 - 1) < 0.02
    number, total = np.bincount(drawn["sample"], minlength=draws), counts["expected"].sum()
    sigma = np.sqrt(counts["variance"].sum())
    assert len(number) == draws and len(set(number)) > 1
    # Cells are not independent, given the context: a draw scatters by more than their sum.
    assert abs(number.mean() - total) < 4 * sigma, (number.mean(), total, sigma)
    # Isolated bright sources are in every draw, scattered by their errors.
    good = (found["detection_probability"] > 0.999) & (found["snr"] > 30) & (found["blendedness"] < 0.1)
    assert good.sum() > 20
    tree, z = cKDTree(plane(found, 2.0)[good]), []
    distance, row = tree.query(plane(drawn, 2.0), distance_upper_bound=1.0)
    near = np.isfinite(distance)
    seen = np.zeros((draws, good.sum()))
    np.add.at(seen, (drawn["sample"][near], row[near]), 1)
    assert (seen >= 1).mean() > 0.97, (seen >= 1).mean()
    z = (np.log(drawn["flux_r"][near] / found["flux_r"][good][row[near]])
         / (found["mag_r_err"][good][row[near]] / 1.0857362))
    x = (drawn["x"][near] - found["x"][good][row[near]]) / found["x_err"][good][row[near]]
    for name, v in (("flux", z), ("x", x)):
        width = 0.5 * (np.quantile(v, 0.84) - np.quantile(v, 0.16))
        assert abs(np.median(v)) < 0.25 and 0.8 < width < 1.25, (name, np.median(v), width)
    stars = drawn["star"] == 1
    assert np.isnan(drawn["radius"][stars]).all() and np.isfinite(drawn["radius"][~stars]).all()


def test_missing_band(folder, sky):
    """A tile without one band still has a catalogue; the band's check columns are NaN and flagged."""
    fewer = os.path.join(folder, "fewer")
    shutil.copytree(sky, fewer)
    gone = [n for n in os.listdir(fewer) if n.endswith("-u.fits")]
    for n in gone:
        os.remove(os.path.join(fewer, n))
    skyquilt("run", configure(folder, "gap", fewer), "--quiet")
    c, full = read(os.path.join(folder, "gap", "release.h5")), read(os.path.join(folder, "one", "release.h5"))
    assert len(c["ra"]) > 0.7 * len(full["ra"])
    assert np.isnan(c["psf_flux_u"]).all() and (c["flags_u"] & 1).all() and np.isfinite(c["flux_u"]).all()
    assert np.median(c["mag_u_err"]) > np.median(full["mag_u_err"])


def test_shift(folder, sky):
    """Pixels moved by 2 against the network's cells of 4 pixels: the same bright sources, within their errors."""
    moved = os.path.join(folder, "moved")
    os.makedirs(moved)
    for name in sorted(os.listdir(sky)):
        if name.endswith("-psf.fits"):
            shutil.copy(os.path.join(sky, name), moved)
        elif name.endswith(".fits"):
            with fits.open(os.path.join(sky, name)) as hdus:
                for hdu in hdus:
                    if hdu.data is not None and hdu.data.ndim == 2:
                        hdu.data = np.roll(hdu.data, (-2, -2), (0, 1))
                    for key in ("CRPIX1", "CRPIX2"):
                        if key in hdu.header:
                            hdu.header[key] -= 2
                    for key in ("CHECKSUM", "DATASUM"):
                        hdu.header.pop(key, None)
                hdus.writeto(os.path.join(moved, name))
    skyquilt("run", configure(folder, "shift", moved), "--quiet")
    skyquilt("run", configure(folder, "still", sky), "--quiet")
    a, b = (read(os.path.join(folder, n, "release.h5")) for n in ("still", "shift"))
    inside = (abs(a["x"] - 255) < 240) & (abs(a["y"] - 255) < 240) & (a["mag_r"] < 21.5)
    distance, row = cKDTree(plane(b, 2.0)).query(plane(a, 2.0)[inside])
    assert inside.sum() > 20 and (distance < 0.6).mean() > 0.95, (inside.sum(), (distance < 0.6).mean())
    change = abs(a["mag_r"][inside] - b["mag_r"][row])[distance < 0.6] / a["mag_r_err"][inside][distance < 0.6]
    assert np.median(change) < 1


def test_models(folder, sky):
    """A model that does not fit is refused with the key that is wrong."""
    cases = [({"kind": "clusters"}, (), "clusters"), ({}, ("tile",), "skyquilt.tile"), ({"halo": "x"}, (), "skyquilt.halo"),
             ({"head": "64"}, (), "head"), ({"reference": "y"}, (), "skyquilt.reference"),
             ({"calibration": "c"}, (), "calibration_knots"), ({"slot_size": "9"}, (), "skyquilt.slot_size")]
    for extra, drop, word in cases:
        path = os.path.join(folder, "bad.onnx")
        with open(path, "wb") as f:
            f.write(fake_model("u,g,r,i,z", "r", extra, drop))
        text = skyquilt("run", configure(folder, "bad", sky, path), "--quiet", code=1)
        assert word in text, f"{extra} {drop}: {text}"
    text = skyquilt("run", configure(folder, "bad", sky, patch="{core: 100, halo: 30}"), "--quiet", code=1)
    assert "multiple" in text, text


with tempfile.TemporaryDirectory() as place:
    sky_file, sky_folder = os.path.join(place, "sky.yaml"), os.path.join(place, "sky")
    with open(sky_file, "w") as out:
        out.write("preset: sdss\nseed: 31\ntile_nx: 512\ntile_ny: 512\ngalaxy_density: 25000\nstar_density: 12000\n")
    skyquilt("simulate", sky_file, "--output", sky_folder, "--quiet")
    test_ranks(place, sky_folder)
    test_science(place, sky_folder)
    test_columns(place)
    test_draws_and_counts(place, sky_folder)
    test_missing_band(place, sky_folder)
    test_shift(place, sky_folder)
    test_models(place, sky_folder)
print("catalog probe: ranks, science, columns, missing band, shift and models checked")
