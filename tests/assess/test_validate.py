"""skyquilt validate against the same comparison written with numpy and scipy, and its bad input.

    test_validate.py PROGRAM
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import norm

PROGRAM = os.path.abspath(sys.argv.pop(1))
MATCH = 0.6
QUANTILES = {"q05": 0.05, "q16": 0.16, "q50": 0.5, "q84": 0.84, "q95": 0.95}


def make_sky(seed=4, n=4000):
    """Truth in two overlapping tiles, and a catalogue of it with known flaws."""
    rng = np.random.default_rng(seed)
    truth = {"ra": rng.uniform(149.9, 150.1, n), "dec": rng.uniform(1.9, 2.1, n)}
    mag = rng.uniform(17, 24, n)
    truth["flux_r"] = 10 ** (-0.4 * (mag - 31.4))
    truth["flux_g"] = truth["flux_r"] * 10 ** (-0.4 * rng.normal(0.6, 0.3, n))
    truth["star"] = (rng.random(n) < 0.4).astype(np.uint8)
    truth["radius"] = np.where(truth["star"], 0, rng.gamma(3, 0.3, n))
    truth["tile"] = (truth["ra"] > 150).astype(np.int32)
    seen = rng.random(n) < 1 / (1 + np.exp((mag - 23) * 3))
    cat = {k: v[seen].copy() for k, v in truth.items() if k != "tile"}
    m = seen.sum()
    star = cat.pop("star")
    cat["ra"] += rng.normal(0, 0.1, m) / 3600 / np.cos(np.radians(2))
    cat["dec"] += rng.normal(0.02, 0.1, m) / 3600
    cat["ra_err"], cat["dec_err"] = np.full(m, 0.1), np.full(m, 0.2)
    cat["ra_dec_cov"] = np.full(m, 0.005)
    for band in "gr":
        error = 0.05 * cat["flux_" + band] + 60
        cat["flux_" + band] += rng.normal(0, 1, m) * error
        for name, p in QUANTILES.items():
            cat[f"flux_{band}_{name}"] = cat["flux_" + band] + error * norm.ppf(p)
    cat["radius"] += rng.normal(0, 0.1, m)
    cat["colour_g_r"] = -2.5 * np.log10(np.maximum(cat["flux_g"], 1) / np.maximum(cat["flux_r"], 1))
    cat["star_probability"] = np.clip(star * 0.5 + rng.normal(0.25, 0.2, m), 0, 1)
    cat["detection_probability"] = rng.uniform(0.3, 1, m)
    false = m // 8
    for name in cat:
        cat[name] = np.concatenate([cat[name], rng.permutation(cat[name])[:false]])
    cat["ra"][m:] = rng.uniform(149.9, 150.1, false)
    cat["dec"][m:] = rng.uniform(1.9, 2.1, false)
    both = rng.random(n) < 0.2
    truth = {k: np.concatenate([v, v[both]]) for k, v in truth.items()}
    truth["tile"][n:] = 2
    return truth, cat


def write(path, columns, group="", corners=None):
    with h5py.File(path, "w") as out:
        for name, values in columns.items():
            out[group + name] = values
        for error in ("ra_err", "dec_err"):
            if error in columns:
                out[group + error].attrs["units"] = "arcsec"
        if corners is not None:
            for k, (ra, dec) in enumerate(corners):
                out[f"tiles/ra{k}"], out[f"tiles/dec{k}"] = [ra], [dec]


def mag_of(flux):
    with np.errstate(all="ignore"):
        return np.where(flux > 0, 31.4 - 2.5 * np.log10(flux), np.inf)


def oracle(truth, cat, threshold, inside):
    """Counts, pairs and masks by numpy."""
    _, first = np.unique(truth["ra"], return_index=True)
    t = {k: v[np.sort(first)] for k, v in truth.items()}
    c = {k: v[cat["detection_probability"] >= threshold] for k, v in cat.items()}

    def vectors(s):
        a, d = np.radians(s["ra"]), np.radians(s["dec"])
        return np.c_[np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)]

    limit = 2 * np.sin(np.radians(MATCH / 3600) / 2)
    d1, i1 = cKDTree(vectors(c)).query(vectors(t))
    d2, i2 = cKDTree(vectors(t)).query(vectors(c))
    t["ok"] = (d1 <= limit) & (i2[i1] == np.arange(len(d1)))
    c["ok"] = (d2 <= limit) & (i1[i2] == np.arange(len(d2)))
    t["partner"] = i1
    t["mag"], c["mag"] = mag_of(t["flux_r"]), mag_of(c["flux_r"])
    t["in"], c["in"] = inside(t), inside(c)
    return t, c


class Validate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.truth, cls.cat = make_sky()
        write(cls.path("truth.h5"), cls.truth)
        write(cls.path("release.h5"), cls.cat, "catalog/")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder.name, name)

    def run_it(self, release="release.h5", *options, truth="truth.h5"):
        out = self.path("report.json")
        done = subprocess.run([PROGRAM, "validate", self.path(release), "--truth", self.path(truth),
                               "--json", out, *options], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(out) as report:
            return json.load(report), done.stdout

    def check_counts(self, report, t, c):
        for entry in report["bins"] + report["brighter"]:
            low = -np.inf if entry["low"] is None else entry["low"]
            tm = t["in"] & (t["mag"] >= low) & (t["mag"] < entry["high"])
            cm = c["in"] & (c["mag"] >= low) & (c["mag"] < entry["high"])
            self.assertEqual(entry["truth"], tm.sum())
            self.assertEqual(entry["matched"], (tm & t["ok"]).sum())
            self.assertEqual(entry["found"], cm.sum())
            self.assertEqual(entry["right"], (cm & c["ok"]).sum())
            if not tm.any() or not cm.any():
                continue
            recall, precision = t["ok"][tm].mean(), c["ok"][cm].mean()
            self.assertAlmostEqual(entry["f1"]["value"],
                                   2 * recall * precision / (recall + precision), places=7)

    def test_counts(self):
        report, table = self.run_it()
        t, c = oracle(self.truth, self.cat, 0.5, lambda s: np.isfinite(s["ra"]))
        self.assertGreater(len(report["bins"]), 10)
        self.check_counts(report, t, c)
        self.assertIn("completeness", table)
        error = report["summary"]["completeness"]["error"]
        p, n = report["summary"]["completeness"]["value"], report["summary"]["truth"]
        self.assertLess(abs(error / np.sqrt(p * (1 - p) / n) - 1), 0.5)

    def test_footprint_and_margin(self):
        corners = [(149.95, 1.95), (150.05, 1.95), (150.05, 2.05), (149.95, 2.05)]
        write(self.path("tile.h5"), self.cat, "catalog/", corners)
        report, _ = self.run_it("tile.h5", "--margin", "0")

        def inside(s):
            return (abs(s["ra"] - 150) < 0.05) & (abs(s["dec"] - 2) < 0.05)
        t, c = oracle(self.truth, self.cat, 0.5, inside)
        # An edge of constant declination is no great circle: a few sources may change sides.
        self.assertLessEqual(abs(report["truth_used"] - t["in"].sum()), 1)
        wide, _ = self.run_it("tile.h5", "--margin", "18")

        def deep(s):
            return (abs(s["ra"] - 150) < 0.045) & (abs(s["dec"] - 2) < 0.045)
        self.assertLessEqual(abs(wide["truth_used"] - deep(t).sum()), 1)
        region, _ = self.run_it("release.h5", "--region",
                                ",".join(f"{v}" for corner in corners for v in corner))
        self.assertEqual(region["truth_used"], report["truth_used"])
        self.assertEqual(region["summary"]["matched"], report["summary"]["matched"])

    def test_residuals_and_intervals(self):
        report, _ = self.run_it("release.h5", "--limit", "22.5")
        t, c = oracle(self.truth, self.cat, 0.5, lambda s: np.isfinite(s["ra"]))
        use = t["ok"] & (t["mag"] < 22.5)
        got = {q["name"]: q for q in report["quantities"]}
        self.assertEqual(set(got), {"ra", "dec", "position", "flux_r", "flux_g", "radius", "colour_g_r"})
        partner = t["partner"][use]
        error = 0.05 * t["flux_r"][use] + 60

        flux = c["flux_r"][partner] - t["flux_r"][use]
        self.check_median(got["flux_r"]["all"], flux / t["flux_r"][use])
        # The quantiles say which sigma the catalogue claims, around the measured value.
        sigma = (c["flux_r_q84"] - c["flux_r_q50"])[partner] / norm.ppf(0.84)
        for level in (50, 68, 90, 95):
            inside = abs(flux) <= sigma * norm.ppf(0.5 + level / 200)
            self.assertAlmostEqual(got["flux_r"]["all"]["coverage"][str(level)]["value"],
                                   inside.mean(), delta=0.002)
        self.assertLess(abs(got["flux_r"]["all"]["pull_mad"]["value"] - 1), 0.1)
        self.assertLess(abs(np.std(flux / error) - 1), 0.1)

        dec = (c["dec"][partner] - t["dec"][use]) * 3600
        self.check_median(got["dec"]["all"], dec)
        self.assertEqual(got["dec"]["intervals"], "gaussian")
        self.assertAlmostEqual(got["dec"]["all"]["coverage"]["68"]["value"],
                               (abs(dec) <= 0.2 * norm.ppf(0.84)).mean(), delta=0.002)
        ra = (c["ra"][partner] - t["ra"][use]) * 3600 * np.cos(np.radians(t["dec"][use]))
        self.check_median(got["ra"]["all"], ra)

        # Inside the ellipse of probability P: chi^2 with 2 degrees of freedom below -2 ln(1 - P).
        inverse = np.linalg.inv([[0.01, 0.005], [0.005, 0.04]])
        chi2 = np.einsum("in,ij,jn->n", [ra, dec], inverse, [ra, dec])
        for level in (50, 68, 90, 95):
            self.assertAlmostEqual(got["position"]["all"]["coverage"][str(level)]["value"],
                                   (chi2 <= -2 * np.log(1 - level / 100)).mean(), delta=0.002)

        galaxy = t["star"][use] == 0
        self.check_median(got["radius"]["all"], (c["radius"][partner] - t["radius"][use])[galaxy])
        self.assertEqual(got["radius"]["intervals"], "none")
        true_colour = -2.5 * np.log10(t["flux_g"][use] / t["flux_r"][use])
        self.check_median(got["colour_g_r"]["all"], c["colour_g_r"][partner] - true_colour)

    def check_median(self, entry, residual):
        self.assertEqual(entry["n"], len(residual))
        median = np.median(residual)
        self.assertAlmostEqual(entry["median"]["value"], median, delta=1e-8 + 1e-6 * abs(median))
        self.assertAlmostEqual(entry["mad"]["value"], 1.4826 * np.median(abs(residual - median)),
                               delta=1e-6)

    def test_classes_and_reliability(self):
        report, _ = self.run_it()
        t, c = oracle(self.truth, self.cat, 0.5, lambda s: np.isfinite(s["ra"]))
        score, star = c["star_probability"][t["partner"][t["ok"]]], t["star"][t["ok"]] == 1
        above = (score[star][:, None] > score[~star]) + 0.5 * (score[star][:, None] == score[~star])
        self.assertAlmostEqual(report["star_galaxy"]["auc"]["value"], above.mean(), places=7)
        self.assertEqual(len(report["star_galaxy"]["roc"]), 101)
        self.assertEqual(report["star_galaxy"]["roc"][-1], [1, 1])
        self.assertAlmostEqual(report["star_galaxy"]["roc"][50][1], (score[star] >= 0.5).mean(), places=7)
        self.assertAlmostEqual(report["summary"]["class_accuracy"]["value"],
                               ((score >= 0.5) == star).mean(), places=7)

        _, c = oracle(self.truth, self.cat, -1, lambda s: np.isfinite(s["ra"]))
        p, ok = c["detection_probability"], c["ok"]
        gap = 0
        for k, entry in enumerate(report["reliability"]["bins"]):
            use = np.clip((p * 10).astype(int), 0, 9) == k
            self.assertEqual(entry["n"], use.sum())
            if use.any():
                self.assertAlmostEqual(entry["probability"], p[use].mean(), places=7)
                self.assertAlmostEqual(entry["fraction"], ok[use].mean(), places=7)
                gap += use.sum() * abs(p[use].mean() - ok[use].mean())
        self.assertAlmostEqual(report["reliability"]["calibration_error"]["value"], gap / len(p), places=7)
        self.assertAlmostEqual(report["reliability"]["expected"], p.sum(), delta=1e-4)

    def test_magnitude_tolerance(self):
        loose, _ = self.run_it()
        strict, _ = self.run_it("release.h5", "--tolerance", "0.05")
        self.assertLess(strict["summary"]["matched"], loose["summary"]["matched"])

    def test_flagged_rows_are_left_out(self):
        flags = np.arange(len(self.cat["ra"])) % 8
        write(self.path("flags.h5"), {**self.cat, "flags": flags.astype(np.uint32)}, "catalog/")
        report, _ = self.run_it("flags.h5", "--reject", "6")
        keep = (flags & 6) == 0
        t, c = oracle(self.truth, {k: v[keep] for k, v in self.cat.items()}, 0.5,
                      lambda s: np.isfinite(s["ra"]))
        self.check_counts(report, t, c)

    def test_same_seed_same_bytes(self):
        first = json.dumps(self.run_it("release.h5", "--seed", "9")[0])
        self.assertEqual(first, json.dumps(self.run_it("release.h5", "--seed", "9")[0]))
        self.assertNotEqual(first, json.dumps(self.run_it("release.h5", "--seed", "8")[0]))

    def test_empty_catalogue(self):
        write(self.path("empty.h5"), {k: v[:0] for k, v in self.cat.items()}, "catalog/")
        report, _ = self.run_it("empty.h5")
        self.assertEqual(report["summary"]["matched"], 0)
        self.assertEqual(report["summary"]["completeness"]["value"], 0)
        self.assertIsNone(report["summary"]["purity"]["value"])

    def test_bad_input(self):
        write(self.path("far.h5"), {"ra": [10.0], "dec": [80.0], "flux_r": [1e4]}, "",
              [(10, 80), (10.1, 80), (10.1, 80.1)] + [(10, 80.1)])
        write(self.path("nodec.h5"), {"ra": self.cat["ra"]}, "catalog/")
        write(self.path("noflux.h5"), {k: self.cat[k] for k in ("ra", "dec")}, "catalog/")
        with open(self.path("text.h5"), "w") as out:
            out.write("not HDF5\n")
        cases = [
            (["release.h5"], 1, "--truth"),
            (["--truth", "truth.h5"], 1, "one release"),
            (["release.h5", "--truth", "none.h5"], 4, "none.h5"),
            (["text.h5", "--truth", "truth.h5"], 1, "not an HDF5 file"),
            (["nodec.h5", "--truth", "truth.h5"], 1, "dec"),
            (["noflux.h5", "--truth", "truth.h5"], 1, "flux_r"),
            (["far.h5", "--truth", "truth.h5"], 1, "no true source"),
            (["release.h5", "--truth", "truth.h5", "--band", "Y"], 1, "flux_Y"),
            (["release.h5", "--truth", "truth.h5", "--table", "none"], 1, "none/ra"),
            (["release.h5", "--truth", "truth.h5", "--match", "0"], 1, "match"),
            (["release.h5", "--truth", "truth.h5", "--match", "x"], 1, "not a number"),
            (["release.h5", "--truth", "truth.h5", "--limit", "20", "--bright", "21"], 1, "limit"),
            (["release.h5", "--truth", "truth.h5", "--region", "1,2,3,4"], 1, "corners"),
            (["release.h5", "--truth", "truth.h5", "--bins", "20"], 1, "LOW,STEP"),
            (["release.h5", "--truth", "truth.h5", "--seed", "-1"], 1, "whole number"),
            (["release.h5", "--truth", "truth.h5", "--json", "none/x.json"], 4, "none/x.json"),
            (["release.h5", "--truth", "truth.h5", "--reject", "1"], 1, "flags"),
            (["release.h5", "--truth", "truth.h5", "--wrong"], 1, "unknown option"),
        ]
        for arguments, code, message in cases:
            done = subprocess.run([PROGRAM, "validate", *arguments], capture_output=True, text=True,
                                  check=False, cwd=self.folder.name)
            self.assertEqual(done.returncode, code, (arguments, done.stderr))
            self.assertIn(message, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_help(self):
        done = subprocess.run([PROGRAM, "validate", "--help"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0)
        self.assertIn("EXIT CODES", done.stdout)


if __name__ == "__main__":
    unittest.main()
