#!/usr/bin/python3
"""The measures of tools/cluster_metrics.py on skies whose answer is known."""
import os
import sys
import unittest

import numpy as np

sys.path.insert(0, os.path.join(os.environ.get("SQ_SOURCE", os.path.join(os.path.dirname(__file__), "..", "..")),
                                "tools"))
import cluster_metrics as metrics   # noqa: E402


def make_sky(seed, halos=400, purity=0.5, side=8.0):
    """Wanted halos on a lattice; a candidate beside each, and false ones between; scores separate them."""
    rng = np.random.default_rng(seed)
    n = int(np.sqrt(halos))
    grid = (np.arange(n) + 0.5) / n * side - side / 2
    dec, ra = (a.ravel() for a in np.meshgrid(grid, grid))
    false = int(len(ra) * (1 - purity) / purity)
    step = side / n
    fra, fdec = rng.choice(grid, false) + step / 2, rng.choice(grid, false) + step / 2
    return {"halo_ra": ra, "halo_dec": dec, "mass": np.full(len(ra), 3e14), "z": np.full(len(ra), 0.5),
            "ra": np.append(ra + 0.5 / 60, fra), "dec": np.append(dec, fdec),
            "score": np.append(rng.uniform(1, 2, len(ra)), rng.uniform(0, 1, false))}


class Metrics(unittest.TestCase):
    def test_perfect_order_has_completeness_one(self):
        score, right, total = metrics.candidates([make_sky(1), make_sky(2)], "score", 1.0)
        self.assertEqual(total, 800)
        self.assertEqual(right.sum(), 800)
        self.assertEqual(metrics.completeness_at(score, right, total, 0.999), 1.0)
        self.assertEqual(metrics.best_f1(score, right, total), 1.0)

    def test_radius_decides(self):
        self.assertEqual(metrics.candidates([make_sky(1)], "score", 0.4)[1].sum(), 0)

    def test_one_halo_is_found_once(self):
        sky = {"halo_ra": np.array([10.0]), "halo_dec": np.array([0.0]), "mass": np.array([3e14]),
               "z": np.array([0.5]), "ra": np.array([10.0, 10.005]), "dec": np.zeros(2),
               "score": np.array([1.0, 2.0])}
        self.assertEqual(list(metrics.match(sky, sky["score"], 1.0)), [-1, 0])
        score, right, total = metrics.candidates([sky], "score", 1.0)
        self.assertEqual((right.sum(), total), (1, 1))

    def test_light_and_near_halos_are_not_wanted(self):
        sky = make_sky(3)
        sky["mass"][::2] = 1e14
        sky["z"][1::4] = 0.2
        _, right, total = metrics.candidates([sky], "score", 1.0)
        self.assertEqual((right.sum(), total), (100, 100))
        _, right, total = metrics.candidates([sky], "score", 1.0, real=True)
        self.assertEqual((right.sum(), total), (400, 400))

    def test_random_scores_have_the_purity_of_the_sample(self):
        rng = np.random.default_rng(4)
        right = rng.random(20000) < 0.3
        _, purity, completeness = metrics.curve(rng.random(20000), right, right.sum())
        self.assertAlmostEqual(purity[-1], 0.3, delta=0.02)
        self.assertAlmostEqual(purity[10000], 0.3, delta=0.02)
        self.assertEqual(completeness[-1], 1.0)

    def test_frozen_threshold(self):
        score, right, total = metrics.candidates([make_sky(5)], "score", 1.0)
        threshold = metrics.threshold_at(score, right, total, 0.9)
        purity, completeness, f1 = metrics.at_threshold(score, right, total, threshold)
        self.assertGreaterEqual(purity, 0.9)
        self.assertEqual(completeness, 1.0)
        self.assertAlmostEqual(f1, 2 * purity / (1 + purity))

    def test_cells_agree_with_an_equal_area_projection(self):
        from astropy.wcs import WCS
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---ZEA", "DEC--ZEA"]
        wcs.wcs.crval, wcs.wcs.cdelt, wcs.wcs.crpix = [350.0, -50.0], [0.1, 0.1], [40.5, 40.5]
        y, x = (a.ravel() for a in np.mgrid[0:80:7, 0:80:7])
        ra, dec = wcs.all_pix2world(x, y, 0)
        for a, d, i, j in zip(ra, dec, x, y):
            one = {"halo_ra": np.array([a]), "halo_dec": np.array([d]), "mass": np.array([3e14]),
                   "z": np.array([0.5]), "ra": np.array([a]), "dec": np.array([d]), "score": np.array([2.0])}
            score, label = metrics.cells(one, "score", 6.0, (350.0, -50.0), 8.0)
            self.assertEqual(list(np.flatnonzero(label)), [j * 80 + i])
            self.assertEqual(score[j * 80 + i], 2.0)

    def test_combinations(self):
        sky = {"a": np.array([3.0, 2.0, 1.0]), "b": np.array([3.0, 1.0, 2.0])}
        product = metrics.rank_product(sky, "a", "b")
        self.assertEqual(int(np.argmax(product)), 0)
        self.assertAlmostEqual(product[1], product[2])
        rng = np.random.default_rng(6)
        first, second = rng.random(3000), rng.random(3000)
        right = (first > 0.6) & (second > 0.7)
        f1, t1, t2 = metrics.best_and(first, second, right, right.sum())
        self.assertGreater(f1, 0.97)
        self.assertAlmostEqual(t1, 0.6, delta=0.02)
        self.assertAlmostEqual(t2, 0.7, delta=0.02)

    def test_calibration(self):
        rng = np.random.default_rng(7)
        p = rng.random(40000)
        right = rng.random(40000) < p
        self.assertLess(metrics.expected_calibration_error(p, right), 0.012)
        self.assertGreater(metrics.expected_calibration_error(np.sqrt(p), right), 0.1)
        for row in metrics.reliability(p, right, np.linspace(0, 1, 11)):
            self.assertLess(abs(row["predicted"] - row["frequency"]), 5 * row["error"])

    def test_bootstrap_error_is_that_of_the_mean(self):
        rng = np.random.default_rng(8)
        skies = list(rng.normal(size=200))
        value, error = metrics.bootstrap(np.mean, skies)
        self.assertAlmostEqual(value, np.mean(skies))
        self.assertAlmostEqual(error, 1 / np.sqrt(200), delta=0.012)


if __name__ == "__main__":
    unittest.main(verbosity=2)
