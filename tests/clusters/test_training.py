"""Training sets of the cluster networks: pieces, conditions, labels, and labels as maps. Usage: test_training.py PROGRAM"""
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "tools", "train"))

PROGRAM = sys.argv[1]
SIDE, CUTOUTS = 256, 128


def make(folder, name, *options):
    sky, out = os.path.join(folder, "sky.yaml"), os.path.join(folder, name)
    with open(sky, "w") as f:
        f.write(f"preset: mm\nside: {SIDE}\n")
    subprocess.run([PROGRAM, "simulate", sky, "--training", out, "--seed", "31", "--cutouts", str(CUTOUTS), "--quiet",
                    *options], check=True)
    with h5py.File(out) as f:
        return {k: f[k][:] for k in f}


def labels_as_maps(data):
    from cluster_data import LN_MASS_CHANNEL, paint
    halo = data["halo"][0, :data["count"][0]]
    label = paint(halo, SIDE).astype(float)
    heavy = halo[halo[:, 3] > 1e14]
    assert len(heavy) > 5
    for h in heavy:
        x, y = int(round(h[0])) % SIDE, int(round(h[1])) % SIDE
        assert label[0, y, x] > 0.8 and label[1, y, x] > 0.8
    # At the heaviest halo the mass is its own; where there is no halo nothing is asked.
    x, y = int(round(halo[0, 0])) % SIDE, int(round(halo[0, 1])) % SIDE
    assert abs(label[LN_MASS_CHANNEL, y, x] - np.log(halo[0, 3] / 2e14)) < 2e-3
    assert (label[2] <= label[1] + 1e-3).all() and (label[1] <= label[0] + 1e-3).all()
    # A centre's blob holds 2 pi sigma^2 pixels.
    alone = paint(halo[:1], SIDE).astype(float)
    assert abs(alone[0].sum() - 2 * np.pi * 1.2 ** 2) < 0.05


def main():
    with tempfile.TemporaryDirectory() as folder:
        both = make(folder, "both.h5", "--samples", "2")
        second = make(folder, "second.h5", "--samples", "1", "--first", "1")
        for key, value in second.items():
            assert np.array_equal(both[key][1], value[0]), key
        fixed = make(folder, "fixed.h5", "--samples", "1", "--fixed")
    assert both["image"].shape == (2, 8, SIDE, SIDE) and both["planes"].shape == (2, 8, SIDE // 8, SIDE // 8)
    assert np.isfinite(both["image"]).all() and np.isfinite(both["planes"]).all()
    np.testing.assert_allclose(fixed["condition"][0, :6], (2.8, 2.6, 6.6, 1.7, 1.2, 1.0), rtol=1e-6)
    assert not np.array_equal(both["condition"], np.repeat(fixed["condition"], 2, 0))
    label, halo = fixed["label"][0], fixed["halo"][0, :fixed["count"][0]]
    target = label[:, 0] > 0.5
    assert (label[target, 1] >= 2e14).all() and halo[:20, 3].min() > np.median(halo[:, 3])
    # All targets are in cells but for those in the strip that is left over, and two in one cell.
    wanted = ((halo[:, 3] >= 2e14) & (halo[:, 2] >= 0.25)).sum()
    assert 0.5 * wanted <= target.sum() <= wanted, (wanted, target.sum())
    cutout = fixed["cutout"][0].astype(float)
    assert cutout.shape == (CUTOUTS, 3, 32, 32)
    np.testing.assert_allclose(cutout.min((1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(cutout.max((1, 2, 3)), 1, atol=1e-6)
    # A target is where the filtered map is bright.
    x, y = halo[0, :2].round().astype(int) % SIDE
    assert fixed["image"][0, 7, y, x] > 5 * fixed["image"][0, 7].astype(float).std()
    try:
        import torch  # noqa: F401
    except ImportError:
        print("labels as maps are not tested: no PyTorch")
        return
    labels_as_maps(fixed)
    print("ok")


if __name__ == "__main__":
    main()
