"""skyquilt report: one page that is complete, well-formed, and harmless whatever the names in the release.

    test_report.py PROGRAM
"""
import html.parser
import json
import os
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np

import releases

PROGRAM = os.path.abspath(sys.argv.pop(1))
HOSTILE = '<script>alert(1)</script>"\' onload=x &amp; \x01'
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(html.parser.HTMLParser):
    """Every element is closed in order; notes elements, attributes and texts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:], self.getpos())
        self.open.pop()

    def handle_data(self, data):
        self.texts.append(data)


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.cat = releases.sky()
        releases.write(cls.path("a.h5"), cls.cat, failed=[3, 20])

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder.name, name)

    def page(self, release, *options):
        done = subprocess.run([PROGRAM, "report", self.path(release), *options], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(done.stdout.strip(), encoding="utf-8") as file:
            text = file.read()
        page = Page(text)
        self.assertEqual(page.open, [])
        # Alone: no scripts, nothing that is fetched.
        self.assertFalse({"script", "link", "img", "iframe", "object", "image", "use"} & set(page.elements))
        for name, value in page.attributes:
            self.assertFalse(name.startswith("on"), name)
            self.assertNotIn(name, ("src", "href", "xlink:href"))
            if name != "xmlns":
                self.assertNotIn("://", value or "")
        self.assertNotIn("url(", text)
        self.assertNotIn("@import", text)
        return text, page

    def test_all_parts(self):
        subprocess.run([PROGRAM, "compare", self.path("a.h5"), self.path("a.h5"), "--quiet", "--json",
                        self.path("compare.json")], check=True, capture_output=True)
        with h5py.File(self.path("truth.h5"), "w") as out:
            for name in ("ra", "dec", "flux_r", "flux_g"):
                out[name] = self.cat[name]
            out["star"] = (self.cat["star_probability"] > 0.5).astype("u1")
        subprocess.run([PROGRAM, "validate", self.path("a.h5"), "--truth", self.path("truth.h5"), "--quiet", "--json",
                        self.path("validate.json")], check=True, capture_output=True)
        text, page = self.page("a.h5", "--compare", self.path("compare.json"), "--validate",
                               self.path("validate.json"), "--title", "Data release 1")
        for part in ("<h1>Data release 1</h1>", "Footprint", "Time", "Failures", "Against the truth", "Provenance",
                     "Against another release", "No threshold is exceeded.", "46 done, 2 failed", "bad pixels",
                     "completeness 1.0000"):
            self.assertIn(part, text)
        # 48 patches and 3 tiles twice in the footprint, the failed ones in red.
        polygons = text[text.index("Footprint"):text.index("<h2>catalog")]
        self.assertEqual(polygons.count("<polygon"), 48 + 2 * 3)
        self.assertEqual(polygons.count('fill="#d8342b" stroke="#ffffff"'), 2)
        self.assertIn("tile-1, patch 20: failed, 3 rows", text)
        # The seconds: 48 tasks with 0.5 s, and 0.1 s of waiting.
        self.assertIn("24.0 s at work, 4.8 s waiting", text)

    def test_hostile_texts(self):
        releases.write(self.path("hostile.h5"), self.cat, hostile=HOSTILE, failed=[1], extra={"t" + HOSTILE.replace("/", ""): {
            "id": np.arange(3)}}, maps={"m" + HOSTILE.replace("/", ""): np.ones((1, 4, 4), "f4")})
        with open(self.path("hostile.json"), "w") as out:
            json.dump({"exceeded": [{"table": HOSTILE, "area": HOSTILE, "what": HOSTILE, "value": 1}],
                       "a": HOSTILE, "tables": [{"name": HOSTILE, "quantities": [{"name": HOSTILE, "unit": HOSTILE}]}],
                       "brighter": [], "band": HOSTILE, "summary": 3, "bins": [{"low": 1, "high": "x"}],
                       "quantities": [{"name": HOSTILE, "all": {"coverage": {"50": {"value": 0.5}}}}]}, out)
        text, page = self.page("hostile.h5", "--title", HOSTILE, "--compare", self.path("hostile.json"),
                               "--validate", self.path("hostile.json"))
        self.assertNotIn("<script", text)
        self.assertNotIn("\x01", text)
        self.assertIn("<script>alert(1)</script>", "".join(page.texts))

    def test_maps_without_tables(self):
        rng = np.random.default_rng(2)
        values = rng.normal(0, 1, (2, 200, 300)).astype("f4")
        values[0, :50] = np.nan
        releases.write(self.path("maps.h5"), None, maps={"kappa": values, "tiny": np.ones((1, 1, 3), "f4")}, failed=[5])
        text, _ = self.page("maps.h5", "--output", self.path("maps-page.html"))
        self.assertIn("kappa, plane 1: 300 x 200", text)
        self.assertIn("A square a task", text)
        self.assertGreater(text.count("<rect"), 8000)

    def test_lensing(self):
        rho = {5: (0.95, 0.8, 0.5), 8: (0.98, 0.9, 0.7), 9: (0.0, 0.0, 0.0)}
        rows = [(a, b, *edges, np.sqrt(rho[a][k] * rho[b][k])) for a in rho for b in rho if b >= a
                for k, edges in enumerate(((60.0, 200.0), (200.0, 500.0), (500.0, 900.0)))]
        a, b, low, high, value = map(np.array, zip(*rows))
        survey = {"method_a": a.astype("i4"), "method_b": b.astype("i4"), "l_min": low, "l_max": high, "rho": value,
                  "transfer": 0.81 + 0 * value, "signal": 1e-8 + 0 * low, "snr": 10 * value ** 2,
                  "snr_mv": np.where(a == 8, 1.25, 1.0), "snr_iterated": 0.9 + 0 * value}
        patches = {"method_a": survey["method_a"], "method_b": survey["method_b"], "l_min": low, "area": 1 + 0 * low,
                   "noise": 2e-9 + 0 * low, "n1": 0 * low, "transfer_a": 0.9 + 0 * low, "transfer_b": 0.9 + 0 * low}
        rng = np.random.default_rng(3)
        path = self.path("lensing.h5")
        releases.write(path, None, maps={"kappa": rng.normal(0, 0.1, (2, 80, 90)).astype("f4")}, planes="mv,network",
                       extra={"survey": survey, "bandpowers": patches})
        with h5py.File(path, "a") as out:
            out["survey/method_a"].attrs["description"] = np.bytes_("0: tt, 5: mv, 6: qen (QE of delensed maps), 8: network, 9: curl")
        text, _ = self.page("lensing.h5")
        part = text[text.index("<h2>Lensing methods"):]
        self.assertEqual((part.count("<td>network</td>"), part.count("curl")), (3, 0))
        self.assertIn('<td>mv</td><td class="n">200 to 500</td><td class="n">0.8000</td><td class="n">0.900</td>'
                      '<td class="n">6.400</td><td class="n">1.000</td><td class="n">0.900</td>', part)
        self.assertIn("network, L 500 to 900: 1.25", part)
        self.assertIn("kappa, network: 90 x 80", part)
        self.assertNotIn("Lensing methods", self.page("a.h5")[0])
        plot = os.path.join(os.environ["SQ_SOURCE"], "tools", "plot")
        subprocess.run([plot, "lensing", path, self.path("lensing.png"), "--side", "5"], check=True, capture_output=True)
        self.assertGreater(os.path.getsize(self.path("lensing.png")), 20000)
        done = subprocess.run([plot, "lensing", path, self.path("none.png"), "--methods", "map"], capture_output=True, text=True,
                              check=False)
        self.assertEqual((done.returncode, done.stderr.strip()[-11:]), (1, "mv, network"))

    def test_empty_table(self):
        releases.write(self.path("none.h5"), None, extra={"catalog": {k: v[:0] for k, v in self.cat.items()}})
        text, _ = self.page("none.h5")
        self.assertIn("0 rows", text)

    def test_bad_input(self):
        with h5py.File(self.path("other.h5"), "w") as out:
            out["x"] = [1.0]
        with open(self.path("bad.json"), "w") as out:
            out.write("{\n\"a\": tru}\n")
        with open(self.path("wrong.json"), "w") as out:
            out.write("{}\n")
        cases = [
            ([], 1, "no RELEASE"),
            (["a.h5", "b.h5"], 1, "unexpected"),
            (["none/a.h5"], 4, "none/a.h5"),
            (["other.h5"], 1, "not a release"),
            (["a.h5", "--validate", "bad.json"], 1, "bad.json:2"),
            (["a.h5", "--validate", "wrong.json"], 1, "not the right report"),
            (["a.h5", "--compare", "none.json"], 4, "none.json"),
            (["a.h5", "--output", "none/a.html"], 4, "none/a.html"),
        ]
        for arguments, code, message in cases:
            done = subprocess.run([PROGRAM, "report", *arguments], capture_output=True, text=True, check=False,
                                  cwd=self.folder.name)
            self.assertEqual(done.returncode, code, (arguments, done.stderr))
            self.assertIn(message, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertFalse([n for n in os.listdir(self.folder.name) if n.endswith(".partial")])

    def test_help(self):
        done = subprocess.run([PROGRAM, "report", "--help"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0)
        self.assertIn("EXIT CODES", done.stdout)


if __name__ == "__main__":
    unittest.main()
