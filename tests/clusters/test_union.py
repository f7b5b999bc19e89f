"""Candidates of the clusters probe with a network against those without, on one simulated field.

Usage: test_union.py SKYQUILT
"""
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

PROGRAM = os.path.abspath(sys.argv[1])
MODELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "models")
ENV = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_io="romio321",
           OMP_NUM_THREADS="1")
GHZ = (95, 150, 220)
RUN = f"""probe: clusters
patch: {{core: 256, halo: 96}}
clusters:
  ghz: {list(GHZ)}
  maps: [{', '.join(f'sky/field-*-{g}.fits' for g in GHZ)}]
  beams: [{', '.join(f'sky/beam-{g}.txt' for g in GHZ)}]
  pixel_window: false
  map_pixel: 0
  min_snr: 5
"""


def call(*command):
    subprocess.run([PROGRAM, *command, "--quiet"], env=ENV, check=True)


def found(name, model=None):
    with open(name + ".yaml", "w") as f:
        f.write(RUN + (f"model: {os.path.abspath(os.path.join(MODELS, model))}\n" if model else ""))
    call("run", name + ".yaml", "--output", name)
    with h5py.File(name + "/release.h5") as f:
        return {k: v[:] for k, v in f["clusters"].items()}


def unit(ra, dec):
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], -1)


def apart(a, b):
    """Distances in arcmin of all pairs."""
    return np.degrees(np.linalg.norm(unit(*a)[:, None] - unit(*b)[None], axis=-1)) * 60


def places(t):
    return t["ra"], t["dec"]


def main():
    with open("sky.yaml", "w") as f:
        f.write("preset: mm\nside: 512\nseed: 6\nmass_min: 5.0e+13\nbeams: false\n")
    call("simulate", "sky.yaml", "--output", "sky")
    alone, union, cutouts = found("alone"), found("union", "clusters.onnx"), found("cutouts", "deepsz.onnx")
    with h5py.File("sky/truth.h5") as f:
        halo = {k: f["halos"][k][:] for k in ("ra", "dec", "mvir", "x", "y")}
    inside = (np.minimum(halo["x"], halo["y"]) > 60) & (np.maximum(halo["x"], halo["y"]) < 452)
    heavy = tuple(halo[k][inside & (halo["mvir"] > 1.5e14)] for k in ("ra", "dec"))
    share = [(apart(heavy, places(t)).min(1) < 0.7).mean() for t in (alone, union)]
    print(f"{len(heavy[0])} halos, found {share[0]:.3f} by the filter, {share[1]:.3f} with the network; candidates "
          f"{len(alone['ra'])}, {len(union['ra'])}")
    assert len(heavy[0]) > 40 and share[1] > share[0] + 0.02
    # The filter's candidates are all there, most of them moved by less than their errors; new ones stand apart.
    which = {float(s): i for i, s in enumerate(union["snr"])}
    assert all(float(s) in which for s in alone["snr"])
    index = np.array([which[float(s)] for s in alone["snr"]])
    moved = np.diag(apart(places(alone), (union["ra"][index], union["dec"][index])))
    assert moved.max() < 1.51 and np.median(moved) < 0.3 and (moved > 0).any(), (moved.max(), np.median(moved))
    new = np.setdiff1d(np.arange(len(union["ra"])), index)
    assert len(new) > 20 and union["snr"][new].min() >= 2 and union["cnn_halo"][new].min() >= 0
    between = apart((union["ra"][new], union["dec"][new]), (union["ra"][new], union["dec"][new]))
    assert between[np.triu_indices(len(new), 1)].min() > 0.98
    assert np.isfinite(union["probability"]).all() and np.isnan(union["cnn_cutout"]).all()
    # A cutout network adds none; it is asked about every candidate that is not at a border of the data.
    assert np.array_equal(cutouts["ra"], alone["ra"]) and np.isfinite(cutouts["cnn_cutout"]).mean() > 0.9
    print("ok")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main()
