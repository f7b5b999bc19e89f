"""The lensing probe on maps of one patch: HEALPix at full resolution with the network, splits, and what is out of domain.

Usage: test_probe_maps.py SKYQUILT SKY_TOOL

Each sky is a little smaller than a patch, whose border is masked anyway, so that no neighbour has enough of it.
"""
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np
from astropy.io import fits

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from skies import Sky, release_grid

PROGRAM, TOOL = map(os.path.abspath, sys.argv[1:3])
MODEL = os.path.join(os.environ["SQ_SOURCE"], "tools", "models", "lensing.onnx")
ENV = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1")
EB, NETWORK = 4, 8
SPECTRUM, OUT_OF_DOMAIN = 8, 32


def run(name, patch, model="", simulations=2, **keys):
    """The one patch: facts, bandpowers of both, by bins."""
    with open(name + ".yaml", "w") as f:
        f.write(f"probe: lensing\noutput: {name}\npatch: {patch}\n" + (f"model: {model}\n" if model else "") + "lensing:\n")
        f.writelines(f"  {k}: {v}\n" for k, v in dict(keys, simulations=simulations, amplitude="false", pixel_window="false").items())
    done = subprocess.run([PROGRAM, "run", name + ".yaml", "--quiet"], env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with h5py.File(name + "/release.h5") as f:
        quality, rows = ({k: v[:] for k, v in f[g].items()} for g in ("quality", "bandpowers"))
    one = np.flatnonzero(quality["area"] > 0)
    assert len(one) == 1, quality["area"]
    facts = {k: v[one[0]] for k, v in quality.items()}
    print(name, {k: round(float(facts[k]), 3) for k in (
        "area", "iterations", "tt_ratio", "ee_ratio", "bb_ratio", "te_ratio", "lensing_ratio", "lensing_ratio_err", "flags")})
    return facts, lambda a: {k: v[(rows["method_a"] == a) & (rows["method_b"] == a)] for k, v in rows.items()}


def correlation(sky, name, plane, low, high, width):
    """rho of the release's map with the truth in a square about (0, 0), under a Hanning window."""
    with h5py.File(name + "/release.h5") as f:
        ra, dec = release_grid(f["maps/kappa"])
        kappa = f["maps/kappa"][plane].astype(float)
    inside = lambda x: np.abs((x + 180) % 360 - 180) < width / 2
    cut = np.ix_(inside(dec[:, 0]), inside(ra[0]))
    truth, got = sky.at(ra[cut], dec[cut]), kappa[cut]
    assert np.isfinite(got).all() and np.isfinite(truth).all()
    window = np.outer(*map(np.hanning, got.shape))
    l = [2 * np.pi * np.fft.fftfreq(n, np.radians(4 / 60)) for n in got.shape]
    m = (np.hypot(l[0][:, None], l[1]) >= low) & (np.hypot(l[0][:, None], l[1]) < high)
    a, b = np.fft.fft2(got * window)[m], np.fft.fft2(truth * window)[m]
    return (a * b.conj()).real.sum() / np.sqrt((abs(a) ** 2).sum() * (abs(b) ** 2).sum())


# ---- full resolution, HEALPix ----

FULL = dict(lmin=100, lmax=3000, edge=30, map_pixel=4, fwhm=1, methods="[eb, network]")
PATCH = "{core: 96, halo: 16}"  # of 2.34375', 5 deg


def healpix(path, sky, level, nside=4096):
    """A partial RING map of the equatorial belt: the sky at the pixels' centres and white noise, uK-arcmin in T."""
    from scipy.ndimage import map_coordinates
    half = 0.5 * sky.side * sky.pixel / 60 - 0.2
    ring = np.arange(2 * nside - int(nside * np.radians(half)) * 2, 2 * nside + int(nside * np.radians(half)) * 2)
    j = np.arange(4 * nside)
    ra = (j[None] + 0.5 * ((ring[:, None] - nside + 1) % 2)) * 90 / nside
    dec = np.degrees(np.arcsin(4 / 3 - 2 * ring / (3 * nside)))[:, None] + 0 * ra
    pixel = 2 * nside * (nside - 1) + (ring[:, None] - nside) * 4 * nside + j[None]
    keep = (np.abs((ra + 180) % 360 - 180) < half) & (np.abs(dec) < half)
    ra, dec, pixel = ra[keep], dec[keep], pixel[keep]
    x, y = sky.wcs.wcs_world2pix(ra, dec, 0)
    rng, side = np.random.default_rng(5), np.degrees(np.sqrt(np.pi / 3) / nside) * 60
    columns = [fits.Column("PIXEL", "J", array=pixel)]
    for k, (name, plane) in enumerate(zip(("TEMPERATURE", "Q_POLARISATION", "U_POLARISATION"), (sky.t, *sky.iau()))):
        noise = (np.sqrt(2) if k else 1) * level / side * rng.standard_normal(len(ra))
        columns.append(fits.Column(name, "E", unit="uK", array=map_coordinates(plane, [y, x], order=5) + noise))
    table = fits.BinTableHDU.from_columns(columns)
    table.header.update(PIXTYPE="HEALPIX", ORDERING="RING", INDXSCHM="EXPLICIT", OBJECT="PARTIAL", NSIDE=nside, COORDSYS="C",
                        POLCCONV="IAU")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)


def test_healpix():
    """A map at nside 4096 serves l up to 3000: the patch's powers are those expected and kappa is that of the sky. Beam,
    interpolation and pixels together are as a beam of just below 2', the most that the network knows."""
    sky = Sky(TOOL, ".", side=256, pixel=1.171875, seed=11, fwhm=0.8, noise=0, centre=(0, 0))
    healpix("healpix.fits", sky, 1)
    facts, rows = run("healpix", PATCH, model=MODEL, maps="[healpix.fits]", noise=1, **dict(FULL, fwhm=0.8))
    for k in ("tt_ratio", "ee_ratio", "bb_ratio"):
        assert abs(facts[k] - 1) < 0.2, k
    assert not facts["flags"] & (SPECTRUM | OUT_OF_DOMAIN) and abs(facts["lensing_ratio"] - 1) < 4 * facts["lensing_ratio_err"]
    for plane, method in enumerate((EB, NETWORK)):
        got, expected = correlation(sky, "healpix", plane, 300, 500, 3.4), rows(method)["rho"][2]
        print(f"method {method}: rho {got:.3f} in L 300-500, expected {expected:.3f}")
        assert got > expected - 0.15
    return sky


def test_domain():
    """Lensing that no network has seen."""
    sky = Sky(TOOL, ".", side=112, pixel=2.34375, seed=12, fwhm=1, noise=1, amplitude=2.5, centre=(0, 0))
    sky.write("strong.fits")
    facts, _ = run("strong", PATCH, model=MODEL, maps="[strong.fits]", noise=1, **FULL)
    assert facts["flags"] & OUT_OF_DOMAIN and facts["lensing_ratio"] > 1.3


# ---- splits ----

def test_splits():
    """Four splits whose noise is not what is said: their spectra without noise bias do not mind."""
    sky = Sky(TOOL, ".", side=96, pixel=5, seed=13, fwhm=1.5, noise=0, centre=(0, 0))
    rng, clean = np.random.default_rng(7), (sky.t, sky.q, sky.u)
    for k in range(4):
        sky.t, sky.q, sky.u = (m + 12 / 5 * (np.sqrt(2) if i else 1) * rng.standard_normal(m.shape) for i, m in enumerate(clean))
        sky.write(f"split{k}.fits")
    _, rows = run("splits", "{core: 88, halo: 8}", maps="[split0.fits, split1.fits, split2.fits, split3.fits]", noise=8.5,
                      fwhm=1.5, pixel=5, lmax=1200, edge=40, map_pixel=0, bins="[60, 150, 300, 500, 800]", methods="[eb]", simulations=6)
    own = rows(EB)
    blind = (own["power"] - own["noise_sims"] - own["n1"]) / own["transfer_a"] ** 2
    split, blind = (((x - own["signal"]) / own["kappa_err"]) for x in (own["kappa_split"], blind))
    print(f"pulls of splits {split.round(1)}, with the noise that was said {blind.round(1)}")
    assert abs(split.mean()) < 2 and blind.mean() > 3


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        test_splits()
        test_domain()
        test_healpix()
        os.chdir("/")


if __name__ == "__main__":
    main()
