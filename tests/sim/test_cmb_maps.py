"""Surveys of the polarised CMB by `skyquilt simulate` (preset cmb): spectra against CAMB's, the signs and the frame of Q and
U, the true kappa, splits, masks, beams and noise; the same files for any number of ranks.

Usage: test_cmb_maps.py SKYQUILT [FIELDS]
"""
import hashlib
import os
import subprocess
import sys
import tempfile

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

PROGRAM, FIELDS = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 16
COSMOLOGY = os.path.join(os.environ["SQ_SOURCE"], "tools", "cosmologies", "mnu-0.30")
ARCMIN = np.radians(1 / 60)
EDGES = np.array([100, 400, 700, 1000, 1500, 2000, 3000])
ENV = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMP_NUM_THREADS="1")


def simulate(name, ranks=1, code=0, options=(), **keys):
    with open(name + ".yaml", "w") as f:
        f.write("preset: cmb\n" + "".join(f"{k}: {v}\n" for k, v in keys.items()))
    launch = ["mpirun", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run(launch + [PROGRAM, "simulate", name + ".yaml", "--output", name, "--quiet", *options], env=ENV,
                          capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stderr


def read(name, field, kind):
    with fits.open(f"{name}/field-{field:03d}-{kind}.fits") as hdus:
        return {h.header["EXTNAME"]: h.data.astype(float) for h in hdus}, WCS(hdus[0].header)


def theory(kind):
    """C_l at every l, from rows of D_l."""
    from scipy.interpolate import CubicSpline
    path = f"{COSMOLOGY}-{kind}.txt"
    with open(path) as f:
        names = f.readlines()[1].split()[2:]
    rows = np.loadtxt(path)
    l = np.arange(2, int(rows[-1, 0]) + 1)
    out = {}
    for name, column in zip(names, rows.T[1:]):
        ll = l * (l + 1.0)
        out[name] = np.concatenate([[0, 0], CubicSpline(rows[:, 0], column)(l) * 2 * np.pi / (ll ** 2 if name == "PP" else ll)])
    return out


class Plane:
    def __init__(self, side, pixel):
        f = np.fft.fftfreq(side, pixel * ARCMIN) * 2 * np.pi
        self.ly, self.lx = np.meshgrid(f, f, indexing="ij")
        self.l = np.hypot(self.ly, self.lx)
        self.norm = (pixel * ARCMIN / side) ** 2

    def eb(self, q, u):
        """Of Q and U about the x axis."""
        p = np.exp(-2j * np.arctan2(self.ly, self.lx))
        a, b = np.fft.fft2(q + 1j * u) * p, np.fft.fft2(q - 1j * u) * p.conj()
        return (a + b) / 2, (a - b) / 2j

    def mean(self, values):
        return np.array([values[(self.l >= a) & (self.l < b)].mean() for a, b in zip(EDGES[:-1], EDGES[1:])])

    def power(self, a, b):
        return self.mean((a * b.conj()).real * self.norm)

    def expected(self, cl):
        return self.mean(np.interp(self.l, np.arange(len(cl)), cl))


def to_plane(q, u, wcs):
    """From about north to about the plane's x axis, which points west, by the direction of the y axis on the sky."""
    y, x = np.mgrid[:q.shape[0], :q.shape[1]].astype(float)
    ra0, dec0 = wcs.wcs_pix2world(x, y - 0.01, 0)
    ra1, dec1 = wcs.wcs_pix2world(x, y + 0.01, 0)
    east = ((ra1 - ra0 + 180) % 360 - 180) * np.cos(np.radians(0.5 * (dec0 + dec1)))
    p = -(q + 1j * u) * np.exp(-2j * np.arctan2(east, dec1 - dec0))
    return p.real, p.imag


def test_spectra():
    """Of many fields of another cosmology than the fiducial one; the true kappa, and what it does to the maps."""
    side, pixel, fwhm = 448, 2, 3
    simulate("spectra", fields=FIELDS, side=side, pixel=pixel, fwhm=f"[{fwhm}]", noise="[0]", depth=0, seed=3,
             spectra=f"{COSMOLOGY}-lenspotentialCls.txt")
    plane, lensed = Plane(side, pixel), theory("lensedCls")
    sigma = fwhm * ARCMIN / np.sqrt(8 * np.log(2))
    beam = np.exp(-0.5 * plane.l * (plane.l + 1) * sigma ** 2)
    sums = {}
    for field in range(FIELDS):
        maps, wcs = read("spectra", field, "150")
        assert sorted(maps) == ["I", "Q", "U", "ivar"] and (maps["ivar"] == 0).all()
        t = np.fft.fft2(maps["I"]) / beam
        e, b = (x / beam for x in plane.eb(*to_plane(maps["Q"], maps["U"], wcs)))
        kappa = np.fft.fft2(read("spectra", field, "kappa")[0]["kappa"])
        for name, x, y in (("TT", t, t), ("EE", e, e), ("BB", b, b), ("TE", t, e), ("KK", kappa, kappa), ("EB", e, b), ("TB", t, b)):
            sums.setdefault(name, []).append(plane.power(x, y))
    phi = theory("lenspotentialCls")["PP"]
    lensed["KK"] = phi * np.arange(len(phi)) ** 4.0 / 4
    mean = {k: np.mean(v, 0) for k, v in sums.items()}
    for name in ("TT", "EE", "BB", "KK"):
        ratio = mean[name] / plane.expected(lensed[name])
        print(f"{name} over CAMB: {np.round(ratio, 3)}, scatter of the mean "
              f"{np.round(np.std(sums[name], 0, ddof=1) / np.sqrt(FIELDS) / mean[name], 3)}")
        assert (np.abs(ratio - 1) < 0.03).all(), name
    for name, want in (("TE", plane.expected(lensed["TE"])), ("EB", 0), ("TB", 0)):
        scale = np.sqrt(mean[name[0] * 2] * mean[name[1] * 2])
        off = (mean[name] - want) / scale
        print(f"{name}: correlation less CAMB's {np.round(off, 4)}")
        assert (np.abs(off) < 0.03).all(), name
    # Unlensed maps of the same skies: no B, so Q and U are in the frame they are said to be in.
    simulate("unlensed", fields=1, side=side, pixel=pixel, fwhm=f"[{fwhm}]", noise="[0]", depth=0, seed=3, amplitude=0, dec=70)
    maps, wcs = read("unlensed", 0, "150")
    e, b = plane.eb(*to_plane(maps["Q"], maps["U"], wcs))
    leak = (plane.power(b, b) / plane.power(e, e))[:4]
    e, raw = plane.eb(-maps["Q"], -maps["U"])
    print(f"B over E power of an unlensed field at dec 70: {leak}, with no rotation {(plane.power(raw, raw) / plane.power(e, e))[:4]}")
    assert (leak < 1e-3).all() and np.abs(read("unlensed", 0, "kappa")[0]["kappa"]).max() == 0


def test_noise():
    """Two splits: the same sky, noise sqrt 2 times the level's in each, sqrt 2 of that in Q and U, above it at low l."""
    side, pixel = 256, 2
    simulate("noise", side=side, pixel=pixel, noise="[4]", splits=2, depth=0.2, knee="[900]", polarisation_knee="[0]", seed=5)
    (one, _), (two, _) = (read("noise", 0, f"150-split{k}") for k in range(2))
    assert np.array_equal(one["ivar"], two["ivar"]) and one["ivar"].std() > 0.1 * one["ivar"].mean()
    sigma = 1 / np.sqrt(one["ivar"])
    assert abs(np.exp(np.log(sigma * pixel).mean()) / (4 * np.sqrt(2)) - 1) < 0.1
    plane = Plane(side, pixel)
    for name, factor in (("Q", np.sqrt(2)), ("U", np.sqrt(2)), ("I", 1)):
        difference = (one[name] - two[name]) / np.sqrt(2) / sigma / factor
        modes = np.fft.fft2(difference) / side
        low, high = ((abs(modes) ** 2)[(plane.l > a) & (plane.l < b)].mean() for a, b in ((100, 400), (3000, 5000)))
        print(f"{name}: noise power over white {low:.2f} at l 100-400, {high:.3f} at 3000-5000")
        assert abs(high - 1) < 0.06 and (low > 5 if name == "I" else abs(low - 1) < 0.25)
    for name in "IQU":
        assert np.corrcoef(one[name].ravel(), two[name].ravel())[0, 1] > 0.3


def contents(folder):
    return {f: hashlib.sha256(open(os.path.join(folder, f), "rb").read()).hexdigest() for f in sorted(os.listdir(folder))}


def test_ranks():
    """A survey with everything: the same from one rank, from three, and after files were lost; masks hold the sources."""
    keys = dict(side=128, pixel=2, fields=3, ra=0, dec=3, projection="car", ghz="[95, 150]", fwhm="[2, 1.4]", noise="[9, 6]",
                knee="[0, 500]", polarisation_knee="[0, 300]", slope="[3, 3]", splits=2, tsz=1, dust=1, radio=1, mass_min=3e14,
                radio_min=5, catalogue=20, hole_radius=8, holes=1)
    simulate("one", **keys)
    simulate("three", ranks=3, **keys)
    files = contents("one")
    assert len(files) == 3 * (2 * 2 + 3) + 2 + 3, sorted(files)
    assert files == contents("three")
    for lost in ("field-001-kappa.fits", "field-002-95-split1.fits", "field-000-mask.fits"):
        os.unlink("one/" + lost)
    simulate("one", ranks=2, **keys)
    assert files == contents("one")
    sources = fits.getdata("one/sources.fits")
    mask = [read("one", k, "mask") for k in range(3)]
    hidden = 0
    for ra, dec, _ in sources:
        for values, wcs in mask:
            x, y = (int(v) for v in np.round(wcs.all_world2pix(ra, dec, 0)))
            values = values["mask"]
            if 0 <= y < values.shape[0] and 0 <= x < values.shape[1] and np.isfinite(values[y, x]):
                assert values[y, x] == 0
                hidden += 1
    share = [1 - np.nanmean(v["mask"]) for v, _ in mask]
    print(f"{hidden} sources, share of the fields in holes {np.round(share, 3)}")
    assert hidden == len(sources) > 0 and 0.02 < np.mean(share) < 0.2
    # Foregrounds change I and leave the CMB's Q, U and kappa.
    simulate("bare", **{**keys, "tsz": 0, "dust": 0, "radio": 0, "velocity": 0, "catalogue": 0})
    with_all, bare = (read(name, 1, "150-split1")[0] for name in ("one", "bare"))
    seen = np.isfinite(bare["Q"])
    assert np.nanstd(with_all["I"] - bare["I"]) > 3 and np.nanstd(with_all["Q"] - bare["Q"]) < 1
    assert np.corrcoef(with_all["Q"][seen], bare["Q"][seen])[0, 1] > 0.99
    assert np.array_equal(*(read(name, 1, "kappa")[0]["kappa"] for name in ("one", "bare")), equal_nan=True)


def test_refused():
    for keys, what in (({"lensing": "gaussian"}, "polarisation"), ({"spectra": os.devnull}, "null"),
                       ({"polarisation_knee": "[1, 2]"}, "polarisation_knee"), ({"splits": 0}, "splits"),
                       ({"spectra": COSMOLOGY + "-lensedCls.txt"}, "PP"), ({"cmb": 0}, "polarisation")):
        said = simulate("bad", code=1, side=64, **keys)
        assert what in said and len(said.splitlines()) == 1, said


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    test_noise()
    test_ranks()
    test_refused()
    test_spectra()
    os.chdir("/")
