"""The combined probability: its fit on synthetic candidates, and C against Python. Usage: test_combine.py TOOL"""
import os
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "..", "tools", "train"), os.path.join(HERE, "..", "..", "tools")]
from calibrate_clusters import FEATURES, Combination
from cluster_metrics import expected_calibration_error

TOOL = sys.argv[1]


def candidates(rng, n):
    """S/N, the network's logits and truth, which depends on both, and on the S/N not linearly."""
    mass = rng.normal(0, 1, n)
    snr = 6 * np.exp(0.8 * mass + 0.3 * rng.normal(size=n))
    target = 1.5 * mass - 1 + rng.normal(size=n)
    far = rng.normal(1, 2, n)
    logit = -4 + 1.2 * target + 3 * np.tanh(snr / 8) + 0.5 * far - 1.5 * (snr > 40)
    y = rng.random(n) < 1 / (1 + np.exp(-logit))
    halo = rng.random(n) < 1 / (1 + np.exp(-(snr - 5)))
    return np.column_stack([snr, target, far]), np.column_stack([y, halo])


def main():
    rng = np.random.default_rng(2)
    names = ("snr", "target", "far")
    fitted = Combination(names, *candidates(rng, 40000))
    x, y = candidates(rng, 40000)
    p = fitted.probability(x)
    for t in range(2):
        error = expected_calibration_error(p[:, t], y[:, t])
        assert error < 0.02, error
    other = candidates(rng, 40000)
    alone = Combination(names[:1], other[0][:, :1], other[1]).probability(x[:, :1])
    cost = lambda p: -np.log(np.where(y[:, 0], p, 1 - p)).mean()
    assert cost(p[:, 0]) < cost(alone[:, 0]) - 0.05
    try:
        import torch
    except ImportError:
        print("C is not compared: no PyTorch")
        return
    from cluster_net import ClusterNet
    from export_clusters import write
    with tempfile.TemporaryDirectory() as folder:
        path, given, out = (os.path.join(folder, name) for name in ("net.onnx", "in", "out"))
        saved = {"kind": "own", "average": ClusterNet(3).state_dict(), "ghz": "95,150,220", "pixel": 0.5,
                 "state": {"step": 0, "seconds": 0}}
        write(saved, path, "net", more=fitted.metadata("test"))
        rows = np.full((len(x) + 1, len(FEATURES)), np.nan)
        rows[:-1, [list(FEATURES).index(n) for n in names]] = x
        rows.tofile(given)
        subprocess.run([TOOL, "combine", str(len(rows)), path, given, out], check=True)
        got = np.fromfile(out).reshape(-1, 2)
    assert np.abs(got[:-1] - p).max() < 1e-4, np.abs(got[:-1] - p).max()
    assert np.isnan(got[-1]).all()
    print("ok")


if __name__ == "__main__":
    main()
