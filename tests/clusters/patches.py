"""Patches for the tests of clusters/: raw files for cluster_tool, and its results."""
import os
import subprocess
import tempfile

import numpy as np

ARCMIN = np.pi / 180 / 60
PIXEL = 0.5 * ARCMIN


class Patch:
    """Three bands of noise with a few sources, clusters of a Gaussian shape and a hole."""

    def __init__(self, side=256, lmax=20000, seed=3, nband=3):
        rng = np.random.default_rng(seed)
        self.side, self.lmax = side, lmax
        self.ghz = np.array([95.0, 150.0, 220.0])[:nband]
        self.fwhm = np.array([1.7, 1.2, 1.0])[:nband]
        l = np.arange(lmax + 1)
        window = np.exp(-(l * PIXEL) ** 2 / 24)
        self.transfer = np.stack([self.beam(b, l) for b in range(nband)]) * window
        y, x = np.mgrid[:side, :side]
        self.map = np.empty((nband, side, side), np.float32)
        self.noise = np.empty_like(self.map)
        places = rng.uniform(20, side - 20, (8, 2))
        for b in range(nband):
            m = rng.normal(size=(side, side)) * (10 + 3 * b)
            for k, (px, py) in enumerate(places):
                r2 = (x - px) ** 2 + (y - py) ** 2
                m += (800 if k % 4 == 0 else -60 * (2 - b)) * np.exp(-0.5 * r2 / (1.5 + k / 2) ** 2)
            self.map[b] = m - m.mean()
            self.noise[b] = (2 + b) * (1 + 0.2 * x / side)
        self.noise[:, 40:60, 100:117] = 0
        self.map[:, 40:60, 100:117] = 0

    def beam(self, b, ell):
        return np.exp(-0.5 * ell * (ell + 1) * (self.fwhm[b] * ARCMIN) ** 2 / (8 * np.log(2)))

    @property
    def nband(self):
        return len(self.ghz)

    def write(self, path):
        with open(path, "wb") as f:
            for a in (self.ghz, self.transfer):
                f.write(np.ascontiguousarray(a, np.float64).tobytes())
            for a in (self.map, self.noise):
                f.write(np.ascontiguousarray(a, np.float32).tobytes())


def run(tool, command, patch, *arguments):
    """What the tool writes, as one float32 array."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = os.path.join(folder, "in"), os.path.join(folder, "out")
        patch.write(given)
        subprocess.run([tool, command, str(patch.nband), str(patch.side), str(patch.lmax), given, out,
                        *map(str, arguments)], check=True)
        return np.fromfile(out, np.float32)
