#!/usr/bin/python3
"""Check the completeness formula by clusters injected into noise of the depth, mask and beam of a real survey.

usage: tools/check_act_injections.py [--seed N] [--skies N] [--ranks N]

  --seed N    of noise and clusters (default 1)
  --skies N   simulated maps of 120 deg^2 (default 12)
  --ranks N   of the program (default 2)

From the ACTPol map of noise of y0 (148 GHz, 0.5' CEA, in the shared data, act_e-d56) a part with the deepest and shallow
regions is cut out. The white noise under which the matched filter, with the lensed CMB, has that noise of y0 is drawn, and
clusters of Arnaud's profile through the survey's measured beam are put in, 45' apart, theta500 of 1, 2.4 and 5', y0 of 2 to 9
times the noise. `skyquilt run` filters it under the survey's masks. The fraction of clusters found above S/N 5 is compared with
0.5 erfc[(5 - sqrt(q^2 + 3)) / sqrt 2], q = y0 over its noise, in bins of q and by size, by chi^2; and, without clusters, the noise that the release states
with the survey's map.

Records tools/results/act_injections.json. SQ_PROGRAM and SQ_SHARED say where program and data are.
Exit codes: 0 every row holds, 1 not; 0 without the data, which is said.
"""
import argparse
import gzip
import os
import re
import shutil
import sys
import time

import h5py
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from scipy.spatial import cKDTree
from scipy.special import erfc, j0
from scipy.stats import chi2

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import evaluate_common as common
from sz_formulas import ARCMIN, TCMB, arnaud_transform, sz

DATA = os.path.join(common.SHARED, "data/mm/act_e-d56")
SPECTRUM = os.path.join(common.SHARED, "data/mm/spectra/camb_planck2018_lensed.txt")
GHZ, PIXEL = 148.0, 0.5
WHOLE, PART = (2400, 500, 1320, 1320), (2500, 700, 640, 640)     # column, row, width, height: 121 and 28 deg^2
SIZES, APART, Q = (1.0, 2.4, 5.0), 45.0, (2.0, 9.0)
BINS = np.array([2, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 9])
THRESHOLD, NEAR, CLEAR = 5.0, 1.5, 6.0                           # S/N; arcmin to a candidate, and to what is masked
LMIN, LMAX = 300, 20000
SCALES = tuple(0.5 * 30 ** (k / 11) for k in range(12))          # the program's, arcmin
REFERENCE = SCALES[5]                                            # 2.35', that of the survey's map is 2.4'
OVER = "noise over the survey's"


def unit_vectors(ra, dec):
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], -1)


class Instrument:
    """Beam, spectra and what follows for a cluster in white noise."""

    def __init__(self):
        with gzip.open(os.path.join(DATA, "profile_AR1_2009_pixwin_130224.txt.gz"), "rt") as f:
            self.profile = np.loadtxt(f) * [60, 1]               # arcmin
        r, v = self.profile[:, 0] * ARCMIN, self.profile[:, 1]
        self.ell = np.concatenate([np.arange(1, 400), np.arange(400, LMAX + 1, 20)])
        beam = np.array([np.trapz(v * r * j0(l * r), r) for l in self.ell])
        self.beam = beam / np.trapz(v * r, r)
        table = np.loadtxt(SPECTRUM)
        self.cmb = np.interp(self.ell, table[:, 0], table[:, 1]) * 2 * np.pi / (self.ell * (self.ell + 1.0))
        self.signal = 1e6 * TCMB * sz(GHZ)
        self.gas = arnaud_transform()

    def transform(self, theta):
        """Of the profile of unit y0 through the beam; theta500 in arcmin."""
        t = theta * ARCMIN
        return t * t * np.interp(np.log(self.ell * t), np.log(self.gas[0]), self.gas[1]) * self.beam

    def sigma(self, theta, white):
        """Noise of y0 in white noise of so many uK-arcmin."""
        use = self.ell >= LMIN
        shape = (self.signal * self.transform(theta)) ** 2 * self.ell / (2 * np.pi)
        noise = self.cmb * self.beam ** 2 + (np.asarray(white)[..., None] * ARCMIN) ** 2
        return np.trapz((shape / noise)[..., use], self.ell[use], axis=-1) ** -0.5

    def white(self, sigma):
        """The white noise under which the noise of y0 at 2.4' is sigma."""
        levels = np.geomspace(1, 400, 200)
        return np.interp(np.log(sigma), np.log(self.sigma(2.4, levels)), levels)

    def stamp(self, theta):
        """Radius in arcmin and temperature there of a cluster of unit y0."""
        r = np.concatenate([[0], np.geomspace(0.05, 5 * theta + 8, 400)])
        shape = self.ell * self.transform(theta) / (2 * np.pi)
        return r, self.signal * np.array([np.trapz(shape * j0(self.ell * x * ARCMIN), self.ell) for x in r])


class Survey:
    """A part of the survey: noise of y0, where to look, and the geometry."""

    def __init__(self, part):
        x, y, nx, ny = part
        path = os.path.join(DATA, "RMSMap_Arnaud_M2e14_z0p4.fits.gz")
        header, cut = fits.getheader(path), (slice(y, y + ny), slice(x, x + nx))
        self.wcs = WCS(header)
        self.wcs.wcs.crpix = np.array(self.wcs.wcs.crpix) - (x, y)
        self.rms = fits.getdata(path)[cut].astype(float)
        masks = [fits.getdata(os.path.join(DATA, n + ".fits.gz"))[cut] for n in ("areaMask", "pointSourceMask")]
        self.look = (self.rms > 0) & (np.minimum(*masks) > 0.5)
        self.shape = ny, nx
        self.ra, self.dec = self.wcs.wcs_pix2world(*np.meshgrid(np.arange(nx), np.arange(ny)), 0)

    def write(self, path, plane, unit):
        header = self.wcs.to_header()
        header["BUNIT"] = unit
        fits.writeto(path, plane.astype("f4"), header, overwrite=True)


def draw_noise(survey, instrument, white, rng):
    """CMB through the beam and white noise, uK."""
    ny, nx = survey.shape
    step = PIXEL * ARCMIN
    l = 2 * np.pi * np.hypot(np.fft.fftfreq(ny, step)[:, None], np.fft.rfftfreq(nx, step))
    root = np.interp(l, instrument.ell, np.sqrt(instrument.cmb) * instrument.beam, right=0)
    root[0, 0] = 0
    cmb = np.fft.irfft2(np.fft.rfft2(rng.normal(size=survey.shape)) * root / step, survey.shape)
    return cmb + rng.normal(size=survey.shape) * white / PIXEL


def place(survey, instrument, white, rng):
    """Clusters on a jittered grid: x, y, theta500, y0."""
    step, (ny, nx) = APART / PIXEL, survey.shape
    x, y = (a.ravel() + rng.uniform(-step / 8, step / 8, a.size) for a in
            np.meshgrid(np.arange(step / 2, nx, step), np.arange(step / 2, ny, step)))
    theta = rng.choice(SIZES, x.size)
    q = rng.uniform(*Q, x.size)
    level = white[np.clip(y, 0, ny - 1).astype(int), np.clip(x, 0, nx - 1).astype(int)]
    sigma = np.array([instrument.sigma(t, w) for t, w in zip(theta, level)])
    keep = level < white.max()
    return x[keep], y[keep], theta[keep], (q * sigma)[keep]


def inject(survey, instrument, temperature, clusters):
    ny, nx = survey.shape
    stamps = {t: instrument.stamp(t) for t in SIZES}
    for x, y, theta, y0 in zip(*clusters):
        r, value = stamps[theta]
        reach = int(r[-1] / PIXEL * 1.02) + 1
        rows, columns = (slice(max(0, int(c) - reach), min(n, int(c) + reach + 2)) for c, n in ((y, ny), (x, nx)))
        ra, dec = survey.wcs.wcs_pix2world(x, y, 0)
        p = unit_vectors(survey.ra[rows, columns], survey.dec[rows, columns])
        apart = 2 * np.arcsin(np.linalg.norm(p - unit_vectors(ra, dec), axis=-1) / 2) / ARCMIN
        temperature[rows, columns] += y0 * np.interp(apart, r, value, right=0)


def run(folder, survey, instrument, temperature, white, ranks):
    """The release of the program over the map."""
    survey.write(os.path.join(folder, "map.fits"), np.where(survey.rms > 0, temperature, np.nan), "uK")
    survey.write(os.path.join(folder, "ivar.fits"), np.where(survey.rms > 0, (PIXEL / white) ** 2, 0), "uK^-2")
    survey.write(os.path.join(folder, "look.fits"), survey.look, "")
    np.savetxt(os.path.join(folder, "beam.txt"), instrument.profile[::5], "%.6f %.8g")
    with open(os.path.join(folder, "run.yaml"), "w") as f:
        f.write(f"probe: clusters\noutput: out\npatch: {{core: 512, halo: 64}}\nclusters:\n  ghz: [{GHZ}]\n  maps: [map.fits]\n"
                f"  weights: [ivar.fits]\n  mask: look.fits\n  beams: [beam.txt]\n  pixel_window: false\n  map_pixel: 1\n"
                f"  lmin: {LMIN}\n  lmax: {LMAX}\n  source_snr: 1000\n")
    out = os.path.join(folder, "out")
    shutil.rmtree(out, ignore_errors=True)
    common.run("run", os.path.join(folder, "run.yaml"), "--output", out, "--quiet", ranks=ranks)
    return os.path.join(out, "release.h5")


def stated_noise(release, ra, dec, theta):
    """The release's noise of y0 at places, for clusters of theta500: its map at the reference scale, and how the nearest
    patch's noise goes with scale."""
    with h5py.File(release) as f:
        plane = f["maps/y0_noise"][:].squeeze()
        text = f["maps/y0_noise"].attrs["description"]
        area = {k: v[:] for k, v in f["area"].items()}
    text = text.decode() if isinstance(text, bytes) else text
    ra0, step, dec0 = (float(v) for v in re.search(r"ra = (\S+) - (\S+) column, dec = (\S+) \+", text).groups())
    column = np.rint(((ra0 - ra) % 360) / step).astype(int) % plane.shape[1]
    sigma = plane[np.rint((dec - dec0) / step).astype(int), column].astype(float)
    rows = area["area"] > 0
    nearest = cKDTree(unit_vectors(area["ra"][rows], area["dec"][rows])).query(unit_vectors(ra, dec))[1]
    by_scale = np.log([area[f"y0_noise_{s:02d}"][rows][nearest] for s in range(len(SCALES))])
    at = [np.interp(np.log([t, REFERENCE]), np.log(SCALES), by_scale[:, i]) for i, t in enumerate(theta)]
    return sigma * np.exp([a - b for a, b in at])


def look_up(survey, release, clusters):
    """Of the clusters away from what is masked: q from the release's noise, theta500, whether found."""
    x, y, theta, y0 = clusters
    ra, dec = survey.wcs.wcs_pix2world(x, y, 0)
    ny, nx = survey.shape
    dark = np.argwhere(~survey.look)
    away = np.minimum(np.minimum(x, nx - 1 - x), np.minimum(y, ny - 1 - y)) * PIXEL > CLEAR
    if len(dark):
        away &= cKDTree(dark).query(np.stack([y, x], 1))[0] * PIXEL > CLEAR
    q = y0 / stated_noise(release, ra % 360, dec, theta)
    c = common.read_columns(release, ("ra", "dec", "snr"), "clusters")
    tree = cKDTree(unit_vectors(c["ra"], c["dec"])[c["snr"] >= THRESHOLD])
    found = tree.query(unit_vectors(ra, dec))[0] < NEAR * ARCMIN
    use = away & np.isfinite(q)
    return q[use], theta[use], found[use]


def formula(q):
    return 0.5 * erfc((THRESHOLD - np.sqrt(q * q + 3)) / np.sqrt(2))


def tabulate(q, found):
    """Rows of q, clusters, found, expected and its binomial error; chi^2 and its degrees of freedom."""
    rows, total = [], 0.0
    for low, high in zip(BINS[:-1], BINS[1:]):
        here = (q >= low) & (q < high)
        if here.sum() < 10:
            continue
        p = formula(q[here])
        error = np.sqrt((p * (1 - p)).sum())
        rows.append({"q": [float(low), float(high)], "n": int(here.sum()), "found": int(found[here].sum()),
                     "expected": float(p.sum()), "error": float(error)})
        total += ((found[here].sum() - p.sum()) / max(error, 0.5)) ** 2
    return rows, total, len(rows)


def measure(folder, part, skies, seed, ranks):
    """q, theta500 and found of the clusters of several skies; and the release's noise over the survey's at some pixels, of
    another sky, which has none."""
    instrument, survey = Instrument(), Survey(part)
    white = instrument.white(np.where(survey.rms > 0, survey.rms, survey.rms.max()))
    rng, results = np.random.default_rng(seed), []
    for _ in range(skies):
        temperature = draw_noise(survey, instrument, white, rng)
        clusters = place(survey, instrument, white, rng)
        inject(survey, instrument, temperature, clusters)
        results.append(look_up(survey, run(folder, survey, instrument, temperature, white, ranks), clusters))
    release = run(folder, survey, instrument, draw_noise(survey, instrument, white, rng), white, ranks)
    some = np.argwhere(survey.look)[::997]
    at = survey.ra[tuple(some.T)] % 360, survey.dec[tuple(some.T)]
    ratio = stated_noise(release, *at, np.full(len(some), 2.4)) / survey.rms[tuple(some.T)]
    return [np.concatenate(a) for a in zip(*results)], ratio[np.isfinite(ratio)]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--skies", type=int, default=12)
    p.add_argument("--ranks", type=int, default=2)
    options = p.parse_args()
    if not os.path.exists(DATA):
        print("skipped: no shared data")
        return
    begin, criteria = time.monotonic(), common.Criteria()
    folder = common.work_folder("act-")
    try:
        (q, theta, found), ratio = measure(folder, WHOLE, options.skies, options.seed, options.ranks)
    finally:
        shutil.rmtree(folder)
    tables = {OVER: {str(k): float(np.percentile(ratio, k)) for k in (5, 50, 95)}}
    criteria.add("noise of y0, release over survey, median: off by", abs(np.median(ratio) - 1), 0.03, least=False)
    for name, here in (("all sizes", q > 0), *((f"theta500 {t}'", theta == t) for t in SIZES)):
        rows, value, n = tabulate(q[here], found[here])
        tables[name] = {"bins": rows, "chi2": value, "degrees": n, "p": float(chi2.sf(value, n))}
        common.say(f"{name}: chi^2 {value:.1f} for {n} bins")
        for row in rows:
            common.say("  q {q[0]:3.1f}-{q[1]:3.1f}: found {found} of {n}, expected {expected:.1f} +- {error:.1f}".format(**row))
        criteria.add(f"p of chi^2, completeness formula, {name}", chi2.sf(value, n), 0.01)
    common.say(f"noise over the survey's, percentiles: {tables[OVER]}")
    common.record("act_injections", options.seed, criteria, tables, seconds=time.monotonic() - begin)
    common.finish(criteria)


if __name__ == "__main__":
    main()
