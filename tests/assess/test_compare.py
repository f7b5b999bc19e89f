"""skyquilt compare on releases with known differences, against numpy and scipy.

    test_compare.py PROGRAM
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom

import h5py
import numpy as np
from scipy import stats

import releases

PROGRAM = os.path.abspath(sys.argv.pop(1))


def mad(x):
    return 1.4826 * np.median(abs(x - np.median(x)))


def block_p(part, whole, null=0.0):
    """Two-sided probability of a ratio over blocks."""
    n = len(part)
    ratio = part.sum() / whole.sum()
    error = np.sqrt(n / (n - 1) * ((part - ratio * whole) ** 2).sum()) / whole.sum()
    if ratio == null:
        return 1.0
    with np.errstate(divide="ignore"):
        return max(2 * stats.t.sf(abs(np.float64(ratio - null) / error), n - 1), 2.0 ** (1 - n))


def copy(cat):
    return {k: v.copy() for k, v in cat.items()}


class Compare(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.cat = releases.sky()
        releases.write(cls.path("a.h5"), cls.cat)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder.name, name)

    def call(self, a, b, *options, expected=0):
        out = self.path("compare.json")
        done = subprocess.run([PROGRAM, "compare", self.path(a), self.path(b), "--json", out, *options],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, expected, done.stdout + done.stderr)
        with open(out) as file:
            return json.load(file), done.stdout

    def areas_of(self, report):
        return {e["area"] for e in report["exceeded"]} - {""}

    def changed(self, cat, expected=2, *options, **keys):
        releases.write(self.path("b.h5"), cat, **keys)
        return self.call("a.h5", "b.h5", *options, expected=expected)

    def quantity(self, report, name, table=0):
        return next(q for q in report["tables"][table]["quantities"] if q["name"] == name)

    def column(self, report, name, table=0):
        return next(c for c in report["tables"][table]["columns"] if c["name"] == name)

    def test_itself(self):
        report, text = self.call("a.h5", "a.h5")
        table = report["tables"][0]
        self.assertEqual(report["exceeded"], [])
        for part in [table["all"], *table["bins"], *table["areas"], *table["patches"]]:
            self.assertEqual(part["vanished"] + part["appeared"], 0)
            self.assertEqual(part["matched"], part["rows_a"])
            self.assertEqual(part["rows_a"], part["rows_b"])
        self.assertEqual(len(table["areas"]), 3)
        self.assertEqual(len(table["patches"]), 48)
        for q in table["quantities"]:
            for s in [q["all"], *q["bins"], *q["areas"]]:
                if s["n"]:
                    self.assertEqual((s["median"], s["mean"], s["scatter"], s["error"]), (0, 0, 0, 0), q["name"])
            self.assertEqual(q["all"]["p"], 1)
        for c in table["columns"]:
            self.assertEqual([d["distance"] for d in c["drift"]], [0], c["name"])
        self.assertIn("0 thresholds exceeded", text)
        self.assertNotIn("-0.0000", text)

    def test_rows_at_one_place_match_themselves(self):
        cat = copy(self.cat)
        cat["ra"][1:4] = cat["ra"][0]
        cat["dec"][1:4] = cat["dec"][0]
        releases.write(self.path("same.h5"), cat)
        report, _ = self.call("same.h5", "same.h5")
        self.assertEqual(report["tables"][0]["all"]["matched"], len(cat["ra"]))
        self.assertEqual(self.quantity(report, "flux_r")["all"]["mean"], 0)

    def test_magnitudes_of_one_tile(self):
        cat = copy(self.cat)
        here = cat["tile"] == 1
        for band in releases.BANDS:
            cat["flux_" + band][here] *= 10 ** -0.02
        report, text = self.changed(cat)
        self.assertEqual(self.areas_of(report), {"tile-1"})
        self.assertEqual({e["threshold"] for e in report["exceeded"]}, {"flux_shift"})
        entry = next(e for e in report["exceeded"] if e["what"] == "flux_r")
        self.assertAlmostEqual(entry["value"], 0.05, places=5)
        self.assertLess(entry["q"], 1e-6)
        self.assertIn("tile-1: flux_r: flux_shift 0.05 > 0.02 mag", text)
        by_tile = {a["area"]: a for a in self.quantity(report, "flux_r")["areas"]}
        self.assertEqual(by_tile["tile-0"]["median"], 0)
        self.assertEqual(by_tile["tile-0"]["p"], 1)
        shifts = [p["shift_mag"] for p in report["tables"][0]["patches"] if p["area"] == "tile-1"]
        np.testing.assert_allclose(shifts, 0.05, atol=1e-5)

    def test_seeing_of_one_tile(self):
        cat = copy(self.cat)
        for band in releases.BANDS:
            cat["fwhm_" + band][cat["tile"] == 2] *= 1.1
        report, _ = self.changed(cat)
        self.assertEqual(self.areas_of(report), {"tile-2"})
        self.assertEqual({e["what"] for e in report["exceeded"]}, {"fwhm_g", "fwhm_r"})

    def test_noise_alone_exceeds_nothing(self):
        rng = np.random.default_rng(8)
        for _ in range(5):
            cat = copy(self.cat)
            n = len(cat["ra"])
            cat["ra"] += rng.normal(0, 0.03, n) / 3600
            cat["dec"] += rng.normal(0, 0.03, n) / 3600
            for band in releases.BANDS:
                cat["flux_" + band] += (0.3 * rng.normal(0, 1, n) * cat[f"flux_{band}_err"]).astype("f4")
            cat["radius"] *= np.exp(rng.normal(0, 0.05, n)).astype("f4")
            drop = rng.random(n) > 0.01
            self.changed({k: v[drop] for k, v in cat.items()}, 0)

    def test_statistics_are_those_of_numpy(self):
        rng = np.random.default_rng(3)
        cat = copy(self.cat)
        n = len(cat["ra"])
        dra, ddec = rng.normal(0.02, 0.04, n), rng.normal(0, 0.05, n)
        cat["ra"] += dra / 3600 / np.cos(np.radians(cat["dec"]))
        cat["dec"] += ddec / 3600
        factor = 10 ** (-0.4 * rng.normal(0.01, 0.1, n))
        cat["flux_r"] = (cat["flux_r"] * factor).astype("f4")
        cat["star_probability"] = np.clip(cat["star_probability"] + rng.normal(0, 0.2, n), 0, 1).astype("f4")
        gone = rng.random(n) < 0.03
        fresh = {k: v[:40].copy() for k, v in cat.items()}
        fresh["dec"] += 0.003 * rng.uniform(1, 2, 40)
        releases.write(self.path("b.h5"), {k: np.concatenate([v[~gone], fresh[k]]) for k, v in cat.items()})
        report, _ = self.call("a.h5", "b.h5", "--match", "0.5", "--bins", "16,0.5", expected=2)
        table, old, new = report["tables"][0], self.cat, cat
        self.assertLess(abs(table["all"]["vanished"] - gone.sum()), 3)
        self.assertLess(abs(table["all"]["appeared"] - 40), 3)
        keep = ~gone
        for name, d in (("ra", dra), ("dec", ddec)):
            got = self.quantity(report, name)["all"]
            self.assertAlmostEqual(got["median"], np.median(d[keep]), places=3)
            self.assertAlmostEqual(got["scatter"], mad(d[keep]), places=3)
        mag = -2.5 * np.log10(new["flux_r"].astype("f8") / old["flux_r"])
        got = self.quantity(report, "flux_r")
        self.assertAlmostEqual(got["all"]["median"], np.median(mag[keep]), places=3)
        self.assertAlmostEqual(got["all"]["mean"], np.mean(mag[keep]), places=3)
        self.assertAlmostEqual(got["all"]["scatter"], mad(mag[keep]), places=3)
        self.assertLess(abs(got["all"]["error"] / (1.2533 * mad(mag) / np.sqrt(n)) - 1), 0.25)
        pull = (new["flux_r"].astype("f8") - old["flux_r"]) / np.hypot(new["flux_r_err"], old["flux_r_err"])
        self.assertAlmostEqual(self.quantity(report, "flux_r pull")["all"]["scatter"], mad(pull[keep]), delta=0.01)
        for t, area in enumerate(got["areas"]):
            use = keep & (old["tile"] == t)
            self.assertAlmostEqual(area["median"], np.median(mag[use]), delta=0.003)
        magnitude = 31.4 - 2.5 * np.log10(old["flux_r"])
        for b in got["bins"]:
            use = keep & (magnitude >= b["low"]) & (magnitude < b["high"])
            self.assertLessEqual(abs(b["n"] - use.sum()), 2)
            if b["n"] > 50:
                self.assertAlmostEqual(b["median"], np.median(mag[use]), delta=0.01)
        flips = ((old["star_probability"] >= 0.5) != (new["star_probability"] >= 0.5))[keep].sum()
        self.assertLess(abs(table["all"]["class_flips"] - flips), 3)
        with h5py.File(self.path("b.h5")) as file:
            for name in ("flux_r", "flux_g", "radius", "flags"):
                b = file["catalog/" + name][:]
                for drift in self.column(report, name)["drift"]:
                    t = drift["area"]
                    use = slice(None) if not t else old["tile"] == int(t[-1])
                    other = slice(None) if not t else file["catalog/tile"][:] == int(t[-1])
                    expected = stats.ks_2samp(old[name][use], b[other])
                    self.assertAlmostEqual(drift["distance"], expected.statistic, places=8)
        # The adjustment: monotonic in p, and as defined.
        p, q = [], []
        for part in [table["all"], *table["areas"]]:
            for test in ("change", "unmatched", "flipped"):
                p.append(part[test]["p"]), q.append(part[test]["q"])
        order = np.argsort(p)
        self.assertTrue((np.diff(np.array(q)[order]) >= 0).all())
        self.assertTrue(all(a <= b <= 1 for a, b in zip(p, q)))

    def test_counts_of_one_tile(self):
        rng = np.random.default_rng(4)
        keep = (self.cat["tile"] != 0) | (rng.random(len(self.cat["ra"])) > 0.3)
        report, _ = self.changed({k: v[keep] for k, v in self.cat.items()})
        self.assertEqual(self.areas_of(report), {"tile-0"})
        entry = next(e for e in report["exceeded"] if e["threshold"] == "count_change" and e["area"])
        self.assertAlmostEqual(entry["value"], keep.sum() / 600 - 3, places=6)

    def test_tiles_have_other_numbers(self):
        """The same release with its tiles in another order: names count, not numbers."""
        number = np.array([2, 0, 1], dtype=np.uint32)
        cat = copy(self.cat)
        cat["patch"] = (cat["patch"] % 16 + 16 * number[cat["tile"]]).astype(np.uint64)
        cat["tile"] = number[cat["tile"]]
        report, _ = self.changed(cat, 0, names=["tile-1", "tile-2", "tile-0"])
        self.assertEqual(len(report["tables"][0]["areas"]), 3)
        self.assertEqual(len(report["tables"][0]["patches"]), 48)
        for patch in report["tables"][0]["patches"]:
            self.assertEqual((patch["rows_a"], patch["appeared"]), (patch["rows_b"], 0))

    def test_tables_without_positions(self):
        rng = np.random.default_rng(6)
        n = 400
        a = {"id": rng.permutation(n).astype("i8"), "value": rng.normal(0, 1, n), "kind": rng.integers(0, 3, n)}
        order = rng.permutation(n)[:390]
        noise = np.where(rng.random(n) < 0.7, 0.05, -0.05)
        b = {k: v[order] for k, v in a.items()}
        b["value"] = b["value"] + noise[order]
        releases.write(self.path("ka.h5"), None, extra={"spectra": a})
        releases.write(self.path("kb.h5"), None, extra={"spectra": b})
        report, _ = self.call("ka.h5", "kb.h5")
        table = report["tables"][0]
        self.assertEqual((table["sky"], table["pairing"]), (False, "equal id"))
        self.assertEqual((table["all"]["matched"], table["all"]["vanished"]), (390, 10))
        got = self.quantity(report, "value")["all"]
        d = noise[order]
        self.assertAlmostEqual(got["median"], 0.05, places=9)
        # Every row is a block of its own here.
        self.assertAlmostEqual(np.log(got["p"]), np.log(block_p(np.sign(d), np.ones(390))), places=6)
        drift = self.column(report, "value")["drift"][0]
        self.assertAlmostEqual(drift["p"], self.ks_by_rows(a, b), places=9)
        # The same number of rows and no key: by number. Another number: counted only.
        for name in ("ka", "kb"):
            with h5py.File(self.path(name + ".h5"), "r+") as file:
                del file["spectra/id"], file["spectra/kind"]
        report, _ = self.call("ka.h5", "kb.h5")
        self.assertIn("none", report["tables"][0]["pairing"])
        self.assertEqual(report["tables"][0]["all"]["matched"], 0)
        report, _ = self.call("ka.h5", "ka.h5")
        self.assertEqual(report["tables"][0]["pairing"], "equal row number")
        self.assertEqual(self.quantity(report, "value")["all"]["mean"], 0)

    def ks_by_rows(self, a, b):
        n, m = len(a["id"]), len(b["id"])
        both = np.sort(np.concatenate([a["value"], b["value"]]))
        p = []
        for k in range(1, 20):
            at = both[(n + m) * k // 20]
            f = (both <= at).mean()
            part, whole = np.zeros(n), np.zeros(n)
            np.add.at(part, a["id"], -((a["value"] <= at) - f) / n)
            np.add.at(part, b["id"], ((b["value"] <= at) - f) / m)
            np.add.at(whole, np.concatenate([a["id"], b["id"]]), 1 / (n + m))
            p.append(block_p(part, whole))
        return min(1, 19 * min(p))

    def test_maps(self):
        rng = np.random.default_rng(9)
        a = rng.normal(0, 1, (2, 60, 80)).astype("f4")
        a[0, :5] = np.nan
        b = a.copy()
        b[1, 20:30, 40:50] += 0.5
        b[0, 10, 10] = np.nan
        releases.write(self.path("ma.h5"), None, maps={"kappa": a})
        releases.write(self.path("mb.h5"), None, maps={"kappa": b})
        report, _ = self.call("ma.h5", "ma.h5")
        self.assertEqual([m["different"] for m in report["maps"]], [0, 0])
        self.assertEqual([m["rms"] for m in report["maps"]], [0, 0])
        report, text = self.call("ma.h5", "mb.h5", expected=2)
        first, second = report["maps"]
        self.assertEqual((first["missing_a"], first["missing_b"], first["pixels"]), (0, 1, 80 * 55 - 1))
        self.assertEqual(second["different"], 100)
        d = b[1].astype("f8") - a[1]
        self.assertAlmostEqual(second["mean"], d.mean(), places=7)
        self.assertAlmostEqual(second["rms"], np.sqrt((d ** 2).mean()), places=7)
        self.assertAlmostEqual(second["relative"], np.sqrt((d ** 2).mean() / (a[1].astype("f8") ** 2).mean()), places=6)
        self.assertEqual([(e["table"], e["what"]) for e in report["exceeded"]], [("kappa", "plane 1")])
        self.assertIn("kappa: x 45, y 26: plane 1", text)
        releases.write(self.path("mc.h5"), None, maps={"kappa": b[:1]})
        report, _ = self.call("ma.h5", "mc.h5", expected=2)
        self.assertEqual(report["exceeded"][0]["what"], "shape")

    def test_thresholds(self):
        cat = copy(self.cat)
        cat["dec"][cat["tile"] == 1] += 0.1 / 3600
        releases.write(self.path("b.h5"), cat)
        report, _ = self.call("a.h5", "b.h5", expected=2)
        self.assertEqual([(e["area"], e["what"]) for e in report["exceeded"]], [("tile-1", "dec")])
        with open(self.path("limits.yaml"), "w") as out:
            out.write("position_shift: 0.2\n")
        report, _ = self.call("a.h5", "b.h5", "--thresholds", self.path("limits.yaml"))
        self.assertEqual(report["thresholds"]["position_shift"], 0.2)
        with open(self.path("limits.yaml"), "w") as out:
            out.write("position_shift: 0.2\nflux_shfit: 1\n")
        done = subprocess.run([PROGRAM, "compare", self.path("a.h5"), self.path("b.h5"), "--thresholds",
                               self.path("limits.yaml")], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("limits.yaml:2: flux_shfit", done.stderr)

    def test_what_one_release_lacks_is_named(self):
        cat = copy(self.cat)
        cat["new"] = cat.pop("radius")
        report, text = self.changed(cat, 0, extra=None)
        self.assertEqual(report["tables"][0]["only_a"], ["radius"])
        self.assertEqual(report["tables"][0]["only_b"], ["new"])
        self.assertIn("only in A: radius", text)
        report, _ = self.changed(self.cat, 2, extra={"more": {"id": np.arange(3)}})
        self.assertEqual(report["only_b"], ["more"])

    def test_plain_catalogues(self):
        """No tiles, no patches, columns at the top."""
        for name, shift in (("pa", 0), ("pb", 0.06)):
            with h5py.File(self.path(name + ".h5"), "w") as out:
                for column in ("ra", "dec", "flux_r"):
                    out[column] = self.cat[column] * (10 ** (-0.4 * shift) if column == "flux_r" else 1)
        report, _ = self.call("pa.h5", "pb.h5", expected=2)
        self.assertEqual([(e["what"], e["threshold"], e["area"]) for e in report["exceeded"]],
                         [("flux_r", "flux_shift", "")])
        self.assertEqual(report["tables"][0]["areas"], [])

    def test_maps_are_drawn(self):
        cat = copy(self.cat)
        cat["flux_r"][cat["tile"] == 1] *= 0.9
        hostile = '<script>"&\'\x01'
        releases.write(self.path("ha.h5"), self.cat, hostile=hostile)
        releases.write(self.path("hb.h5"), cat, hostile=hostile)
        self.call("ha.h5", "hb.h5", "--maps", self.path("maps"), expected=2)
        names = sorted(os.listdir(self.path("maps")))
        self.assertEqual(names, [f"catalog-{k}.svg" for k in ("counts", "drift", "flux", "position")])
        for name in names:
            with open(self.path("maps/" + name)) as file:
                text = file.read()
            self.assertNotIn("<script", text)
            drawing = xml.dom.minidom.parseString(text)
            outlines = [p.getAttribute("stroke") for p in drawing.getElementsByTagName("polygon")]
            self.assertEqual(sorted(outlines), ["#666666", "#666666", "#e00000"])

    def test_empty(self):
        empty = {k: v[:0] for k, v in self.cat.items()}
        with h5py.File(self.path("a.h5")) as a, h5py.File(self.path("e.h5"), "w") as e:
            for name in a:
                a.copy(name, e)
            for name, values in empty.items():
                attributes = dict(e["catalog/" + name].attrs)
                del e["catalog/" + name]
                e["catalog/" + name] = values
                e["catalog/" + name].attrs.update(attributes)
        report, _ = self.call("e.h5", "e.h5", "--maps", self.path("none"))
        self.assertEqual(report["tables"][0]["all"]["rows_a"], 0)
        report, _ = self.call("a.h5", "e.h5", expected=2)
        self.assertEqual(report["tables"][0]["all"]["vanished"], 1800)

    def test_bad_input(self):
        with open(self.path("text.h5"), "w") as out:
            out.write("not HDF5\n")
        with h5py.File(self.path("nothing.h5"), "w") as out:
            out["x/y"] = [1.0]
        cases = [
            (["a.h5"], 1, "two releases"),
            (["a.h5", "a.h5", "a.h5"], 1, "two releases"),
            (["a.h5", "none.h5"], 4, "none.h5"),
            (["a.h5", "text.h5"], 1, "not an HDF5 file"),
            (["a.h5", "nothing.h5"], 1, ""),
            (["a.h5", "a.h5", "--match", "-1"], 1, "match"),
            (["a.h5", "a.h5", "--match", "x"], 1, "not a number"),
            (["a.h5", "a.h5", "--bins", "3"], 1, "LOW,STEP"),
            (["a.h5", "a.h5", "--table", "none"], 1, "none"),
            (["a.h5", "a.h5", "--json", "no/x.json"], 4, "no/x.json"),
            (["a.h5", "a.h5", "--maps", "no/x"], 4, "no/x"),
            (["a.h5", "a.h5", "--thresholds", "no.yaml"], 1, "no.yaml"),
            (["a.h5", "a.h5", "--wrong"], 1, "unknown option"),
        ]
        for arguments, code, message in cases:
            done = subprocess.run([PROGRAM, "compare", *arguments, "--quiet"], capture_output=True, text=True,
                                  check=False, cwd=self.folder.name)
            self.assertEqual(done.returncode, code, (arguments, done.stderr))
            self.assertIn(message, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_help(self):
        done = subprocess.run([PROGRAM, "compare", "--help"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0)
        for part in ("NAME\n", "SIGNIFICANCE\n", "KEYS OF THE THRESHOLDS\n", "EXIT CODES\n", "flux_shift"):
            self.assertIn(part, done.stdout)


if __name__ == "__main__":
    unittest.main()
