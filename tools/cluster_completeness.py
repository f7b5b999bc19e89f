#!/usr/bin/python3
"""Check the table completeness(M, z) of a release by injections into the maps, and compare it with the halos of a simulated sky.

usage: tools/cluster_completeness.py [SURVEY] [--release RELEASE] [--rounds N] [--snr X] [--seed N] [--ranks N]

SURVEY is a folder of `skyquilt simulate` with the preset mm; without it two fields of 291 deg^2 are simulated.

  --release RELEASE  of a run over it, for the halos (default: the run without injected clusters)
  --rounds N         of injections into every map (default 2)
  --snr X            of candidates, min_snr of the runs (default 5)
  --seed N           of the clusters (default 1)
  --ranks N          of the program (default 2)

Clusters of random M500 and z, with y0 from the relation that the release assumes and its scatter, round and of Arnaud's profile, are
put at random places into the maps, 60' apart, through the beams; the maps are filtered, and a cluster is found when a candidate
that the untouched maps do not have there as strong lies within 1.5'. In bins of mass and redshift the number found stands beside the sum of the table.
The table knows no neighbours: halos come in pairs and groups, of which the filter makes one candidate (within 2'), and are of other shapes. What
that costs is the difference between halos and table, which is recorded and not judged.

Records tools/results/cluster_completeness.json. Exit codes: 0 table and injections agree, 1 not.
"""
import argparse
import glob
import os
import re
import shutil
import sys
import time

import h5py
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from scipy.interpolate import RegularGridInterpolator
from scipy.spatial import cKDTree
from scipy.special import j0
from scipy.stats import chi2

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster_metrics as cm
import evaluate_common as common
from sz_formulas import ARCMIN, TCMB, arnaud_transform, sz

GHZ = (95, 150, 220)
AMPLITUDE, SLOPE, SCATTER = 4.95e-5, 1.08, 0.2        # y0 = A E^2 (M500 / 3e14)^slope: the program's defaults
H, OM = 0.71, 0.264
APART, NEAR, MARGIN = 60.0, 1.5, 40.0                 # arcmin: between clusters, to a candidate, from the map's edge
MASSES = np.array([0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 6.0]) * 1e14
REDSHIFTS = np.array([0.15, 0.4, 0.8, 1.4])


def columns(path, group):
    with h5py.File(path) as f:
        return {k: v[:] for k, v in f[group].items()}


def efunc(z):
    return np.sqrt(OM * (1 + z) ** 3 + 1 - OM)


def theta500(m500, z):
    """Arcmin."""
    steps = np.linspace(0, 1, 400)[:, None] * z
    distance = 299792.458 / (100 * H) * np.trapz(1 / efunc(steps), steps, axis=0) / (1 + z)
    return np.cbrt(3 * m500 / (4 * np.pi * 500 * 2.77536627e11 * H ** 2 * efunc(z) ** 2)) / distance / ARCMIN


def expected(release):
    """The table as a function of M500 and z; NaN outside."""
    t = columns(release, "completeness")
    mass, z = np.unique(t["m500"]), np.unique(t["z"])
    f = RegularGridInterpolator((np.log(mass), z), t["completeness"].reshape(len(mass), len(z)), bounds_error=False)
    return lambda m, at: f(np.stack([np.log(m), at], 1))


def tabulate(mass, z, found, p):
    """Rows by mass and redshift: number, found, the table's sum and its binomial error."""
    rows = []
    for i in range(len(MASSES) - 1):
        for k in range(len(REDSHIFTS) - 1):
            here = (mass >= MASSES[i]) & (mass < MASSES[i + 1]) & (z >= REDSHIFTS[k]) & (z < REDSHIFTS[k + 1])
            here &= np.isfinite(p)
            if here.sum() >= 5:
                rows.append({"m500": MASSES[i:i + 2].tolist(), "z": REDSHIFTS[k:k + 2].tolist(), "n": int(here.sum()),
                             "found": int(found[here].sum()), "expected": float(p[here].sum()),
                             "error": float(np.sqrt((p * (1 - p))[here].sum()))})
    return rows


def of_halos(release, survey, snr):
    """The same of a survey's halos: one to one within NEAR, heavier halos first."""
    found, table, parts = columns(release, "clusters"), expected(release), []
    strong = found["snr"] >= snr
    for truth in sorted(glob.glob(os.path.join(survey, "field-*-truth.h5"))):
        field = Field(survey, re.search(r"field-(\d+)-truth", truth).group(1))
        halo = columns(truth, "halos")
        use = (halo["m500"] > MASSES[0]) & field.inside(halo["ra"], halo["dec"])
        sky = {"ra": found["ra"][strong], "dec": found["dec"][strong], "halo_ra": halo["ra"][use], "halo_dec": halo["dec"][use],
               "mass": halo["mvir"][use], "z": halo["z"][use]}
        matched = cm.match(sky, found["snr"][strong], NEAR)
        hit = np.zeros(use.sum(), bool)
        hit[matched[matched >= 0]] = True
        parts.append((halo["m500"][use], halo["z"][use], hit, table(halo["m500"][use], halo["z"][use])))
    return tabulate(*(np.concatenate(a) for a in zip(*parts)))


class Field:
    """The maps of one field."""

    def __init__(self, survey, number):
        self.path = {g: os.path.join(survey, f"field-{number}-{g}.fits") for g in GHZ}
        header = fits.getheader(self.path[150])
        self.wcs, self.side = WCS(header), header["NAXIS1"]

    def inside(self, ra, dec):
        x, y = self.wcs.wcs_world2pix(ra, dec, 0)
        edge = MARGIN / 0.5
        return (np.minimum(x, y) > edge) & (np.maximum(x, y) < self.side - 1 - edge)


class Stamps:
    """Temperatures of clusters of unit y0 by radius, for theta500 on a grid."""

    def __init__(self, survey):
        self.theta, gas = np.geomspace(0.3, 12, 60), arnaud_transform()
        self.radius = np.concatenate([[0], np.geomspace(0.05, 40, 500)])
        ell = np.concatenate([np.arange(1, 400), np.arange(400, 24001, 20)])
        bessel = j0(ell * self.radius[:, None] * ARCMIN)
        self.value = {}
        for ghz in GHZ:
            beam = np.interp(ell, *np.loadtxt(os.path.join(survey, f"beam-{ghz}.txt")).T)
            rows = []
            for theta in self.theta * ARCMIN:
                shape = theta ** 2 * np.interp(np.log(ell * theta), np.log(gas[0]), gas[1]) * beam * ell / (2 * np.pi)
                rows.append(1e6 * TCMB * sz(ghz) * np.trapz(shape * bessel, ell, axis=1))
            self.value[ghz] = np.array(rows)

    def at(self, ghz, theta, radius):
        k = np.interp(np.log(theta), np.log(self.theta), np.arange(len(self.theta)))
        i = min(int(k), len(self.theta) - 2)
        row = self.value[ghz][i] + (k - i) * (self.value[ghz][i + 1] - self.value[ghz][i])
        return np.interp(radius, self.radius, row, right=0)


def draw(field, rng):
    """x, y, M500, z, y0, theta500 of clusters on a jittered grid."""
    step, first = APART / 0.5, MARGIN / 0.5 + 0.25 * APART / 0.5
    axis = np.arange(first, field.side - first, step)
    x, y = (a.ravel() + rng.uniform(-step / 4, step / 4, a.size) for a in np.meshgrid(axis, axis))
    m = np.exp(rng.uniform(np.log(MASSES[0]), np.log(MASSES[-1]), x.size))
    z = rng.uniform(REDSHIFTS[0], REDSHIFTS[-1], x.size)
    y0 = AMPLITUDE * efunc(z) ** 2 * (m / 3e14) ** SLOPE * np.exp(SCATTER * rng.normal(size=x.size))
    return x, y, m, z, y0, theta500(m, z)


def inject(field, stamps, clusters, folder):
    """The field's maps with clusters, written into a folder."""
    for ghz, path in field.path.items():
        with fits.open(path) as hdus:
            for hdu in hdus:
                for card in ("CHECKSUM", "DATASUM"):
                    hdu.header.remove(card, ignore_missing=True)
            for x, y, _, _, y0, theta in zip(*clusters):
                reach = int(min(40, 5 * theta + 8) / 0.5)
                rows, cols = (slice(max(0, int(c) - reach), min(field.side, int(c) + reach + 2)) for c in (y, x))
                v, u = np.mgrid[rows, cols]
                hdus[0].data[rows, cols] += (y0 * stamps.at(ghz, theta, np.hypot(u - x, v - y) * 0.5)).astype("f4")
            hdus.writeto(os.path.join(folder, os.path.basename(path)), overwrite=True)


def run(folder, survey, maps, snr, ranks):
    with open(survey + "/sky.yaml") as f:
        averaged = "beams: false" in f.read()
    with open(os.path.join(folder, "run.yaml"), "w") as f:
        f.write("probe: clusters\nclusters:\n" f"  ghz: {list(GHZ)}\n  maps: [{', '.join(f'{maps}/field-*-{g}.fits' for g in GHZ)}]\n"
                f"  beams: [{', '.join(f'{survey}/beam-{g}.txt' for g in GHZ)}]\n  pixel_window: {str(averaged).lower()}\n"
                f"  map_pixel: 0\n  min_snr: {snr}\n")
    out = os.path.join(folder, "out")
    shutil.rmtree(out, ignore_errors=True)
    common.run("run", os.path.join(folder, "run.yaml"), "--output", out, "--quiet", ranks=ranks)
    return os.path.join(out, "release.h5")


def look_up(ra, dec, before, after):
    """Which places have a candidate within NEAR that was not there as strong before, and which the sky itself leaves free."""
    place = cm.unit_vectors(ra, dec)
    tree, old = (cKDTree(cm.unit_vectors(c["ra"], c["dec"])) for c in (after, before))
    found = np.zeros(len(place), bool)
    for k, (new, was) in enumerate(zip(tree.query_ball_point(place, cm.chord(NEAR)), old.query_ball_point(place, cm.chord(NEAR)))):
        strongest = max((before["snr"][i] for i in was), default=0)
        found[k] = any(after["snr"][i] > strongest + 0.5 for i in new)
    return found


def of_injections(survey, folder, rounds, snr, seed, ranks):
    """Rows as `tabulate`, and the release without injected clusters."""
    survey = os.path.abspath(survey)
    plain = os.path.join(folder, "plain")
    os.makedirs(plain)
    release = run(plain, survey, survey, snr, ranks)
    before, table, stamps, parts = columns(release, "clusters"), expected(release), Stamps(survey), []
    rng = np.random.default_rng(seed)
    numbers = sorted(re.search(r"field-(\d+)-truth", p).group(1) for p in glob.glob(os.path.join(survey, "field-*-truth.h5")))
    maps = os.path.join(folder, "maps")
    os.makedirs(maps)
    for _ in range(rounds):
        drawn = {}
        for number in numbers:
            field = Field(survey, number)
            drawn[number] = field, draw(field, rng)
            inject(field, stamps, drawn[number][1], maps)
        after = columns(run(folder, survey, maps, snr, ranks), "clusters")
        for field, (x, y, m, z, *_) in drawn.values():
            ra, dec = field.wcs.wcs_pix2world(x, y, 0)
            parts.append((m, z, look_up(ra, dec, before, after), table(m, z)))
    return tabulate(*(np.concatenate(a) for a in zip(*parts))), release


def say(name, rows):
    common.say(f"{name}: M500 [1e14 Msun], z, number, found, table")
    for r in rows:
        common.say("  {:3.1f}-{:3.1f} {:4.2f}-{:4.2f} {:6d} {:7.3f} {:7.3f} +- {:.3f}".format(
            *np.array(r["m500"]) / 1e14, *r["z"], r["n"], r["found"] / r["n"], r["expected"] / r["n"], r["error"] / r["n"]))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("survey", nargs="?")
    p.add_argument("--release")
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--snr", type=float, default=5)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--ranks", type=int, default=2)
    o = p.parse_args()
    begin, criteria = time.monotonic(), common.Criteria()
    folder = common.work_folder("completeness-")
    survey = o.survey or os.path.join(folder, "survey")
    try:
        if not o.survey:
            with open(survey + ".yaml", "w") as f:
                f.write("preset: mm\nseed: 20263\nfields: 2\nside: 2048\n")
            common.run("simulate", survey + ".yaml", "--output", survey, "--quiet", ranks=o.ranks)
        rows, release = of_injections(survey, folder, o.rounds, o.snr, o.seed, o.ranks)
        halos = of_halos(o.release or release, survey, o.snr)
    finally:
        shutil.rmtree(folder)
    say("injected", rows)
    say("halos", halos)
    value = sum(((r["found"] - r["expected"]) / max(r["error"], 0.5)) ** 2 for r in rows)
    criteria.add("p of chi^2, table against injections", chi2.sf(value, len(rows)), 0.01)
    criteria.add("mean difference, table against injections", abs(sum(r["found"] - r["expected"] for r in rows)) /
                 sum(r["n"] for r in rows), 0.03, least=False)
    common.record("cluster_completeness", o.seed, criteria, {"injected": rows, "halos": halos, "snr": o.snr, "chi2": value},
                  seconds=time.monotonic() - begin)
    common.finish(criteria)


if __name__ == "__main__":
    main()
