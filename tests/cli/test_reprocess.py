"""A simulated survey processed again after one tile changed: compare names that tile and no other, report shows it.
And a release of maps: its page.

    test_reprocess.py MAP_RUN   (environment: SQ_PROGRAM, SQ_SOURCE)
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from astropy.io import fits

PROGRAM, SOURCE = os.environ["SQ_PROGRAM"], os.environ["SQ_SOURCE"]
MAP_RUN = os.path.abspath(sys.argv.pop(1))
SKY = "preset: sdss\nseed: 7\ntile_nx: 300\ntile_ny: 300\ntiles_x: 3\ntiles_y: 1\noverlap: 32\n"


class Reprocess(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="skyquilt-reprocess-")
        cls.simulate("sky", SKY)
        cls.process("sky")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder, ignore_errors=True)

    @classmethod
    def path(cls, *names):
        return os.path.join(cls.folder, *names)

    @classmethod
    def call(cls, *words, expected=0):
        done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=False, cwd=cls.folder)
        assert done.returncode == expected, (words, done.returncode, done.stdout[-2000:], done.stderr)
        return done.stdout

    @classmethod
    def simulate(cls, name, config):
        with open(cls.path(name + ".yaml"), "w") as out:
            out.write(config)
        cls.call("simulate", name + ".yaml", "--output", name, "--quiet")

    @classmethod
    def process(cls, name):
        with open(cls.path(name + "-run.yaml"), "w") as out:
            out.write(f"probe: catalog\nindex: {name}.h5\nmodel: {SOURCE}/tools/models/sdss.onnx\n")
        cls.call("index", "--output", name + ".h5", name)
        cls.call("run", name + "-run.yaml", "--output", "out-" + name, "--quiet")

    def compare(self, name):
        self.call("compare", "out-sky/release.h5", f"out-{name}/release.h5", "--json", name + ".json", "--maps",
                  "maps-" + name, expected=2)
        with open(self.path(name + ".json")) as file:
            report = json.load(file)
        self.assertEqual(len(os.listdir(self.path("maps-" + name))), 4)
        return report

    def named(self, report):
        return {e["area"] for e in report["exceeded"]} - {""}

    def test_the_same(self):
        out = self.call("compare", "out-sky/release.h5", "out-sky/release.h5")
        self.assertIn("0 thresholds exceeded", out)

    def test_fainter_by_a_twentieth(self):
        shutil.copytree(self.path("sky"), self.path("fainter"))
        factor = 10 ** -0.02
        for band in "ugriz":
            with fits.open(self.path("fainter", f"tile-001-000-{band}.fits"), mode="update") as hdus:
                hdus["IMAGE"].data *= factor
                hdus["VARIANCE"].data *= factor ** 2
        with fits.open(self.path("fainter", "tile-001-000-psf.fits"), mode="update") as hdus:
            hdus["SKY"].data *= factor
        self.process("fainter")
        report = self.compare("fainter")
        self.assertEqual(self.named(report), {"tile-001-000"})
        shift = {e["what"]: e["value"] for e in report["exceeded"] if e["threshold"] == "flux_shift"}
        self.assertAlmostEqual(shift["psf_flux_r"], 0.05, delta=0.005)
        self.assertTrue({"flux_g", "flux_r", "flux_i"} & set(shift))
        self.call("report", "out-fainter/release.h5", "--compare", "fainter.json")
        with open(self.path("out-fainter", "release.html")) as file:
            self.assertIn("tile-001-000", file.read())

    def test_seeing_worse_by_a_tenth(self):
        self.simulate("blurred", SKY + "seeing: 1.1\n")
        shutil.copytree(self.path("sky"), self.path("mixed"))
        for name in os.listdir(self.path("blurred")):
            if name.startswith("tile-002-000-"):
                shutil.copy(self.path("blurred", name), self.path("mixed", name))
        self.process("mixed")
        report = self.compare("mixed")
        self.assertEqual(self.named(report), {"tile-002-000"})
        drifted = {e["what"] for e in report["exceeded"] if e["threshold"] == "drift"}
        self.assertTrue({"fwhm_" + band for band in "ugriz"} <= drifted)

    def test_maps(self):
        with open(self.path("map.yaml"), "w") as out:
            out.write("probe: testmap\nseed: 5\nprecision: fp32\ntestmap: {fail_every: 17}\n")
        subprocess.run([MAP_RUN, self.path("map.yaml"), self.path("map")], check=False, capture_output=True)
        release = self.path("map", "release.h5")
        out = self.call("compare", release, release)
        self.assertIn("0 thresholds exceeded", out)
        self.assertIn("map cleaned", out)
        self.call("report", release, "--output", "map.html")
        with open(self.path("map.html")) as file:
            text = file.read()
        for part in ("cleaned, signal", "cleaned, noise", "<h2>Failures</h2>", "tasks without a product", "Provenance"):
            self.assertIn(part, text)


if __name__ == "__main__":
    unittest.main()
