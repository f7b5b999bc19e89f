"""Cluster networks over a patch against PyTorch, whole, in tiles and in passes. Usage: test_network.py TOOL"""
import io
import os
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from patches import Patch, run

try:
    import torch
except ImportError:
    print("skipped: no PyTorch")
    sys.exit(77)
sys.path.insert(0, os.path.join(HERE, "..", "..", "tools", "train"))
from cluster_net import HEADS, ClusterNet, DeepSZNet
from export_clusters import write

TOOL = sys.argv[1]
SIDE, LIMIT = 256, -0.85


def networks(folder):
    """Networks of random weights, as files and as modules. The head of the second sees its input's position."""
    torch.manual_seed(5)
    nets, paths = [], []
    for kind, make in (("own", ClusterNet), ("deepsz", DeepSZNet)):
        net = make(3)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.data.uniform_(0.5, 1.0)
        path = os.path.join(folder, kind + ".onnx")
        saved = {"kind": kind, "average": net.state_dict(), "ghz": "95,150,220", "pixel": 0.5,
                 "state": {"step": 0, "seconds": 0}}
        write(saved, path, kind, more={"skyquilt.domain_high": f"{LIMIT}" + ",100" * 7,
                                       "skyquilt.domain_low": "-100," * 7 + "1e-6"} if kind == "own" else {})
        nets.append(net.eval())
        paths.append(path)
    return nets, paths


def compare(name, got, want, tolerance):
    error = np.nanmax(np.abs(got - want)) / np.nanstd(want)
    assert np.array_equal(np.isnan(got), np.isnan(want)) and error < tolerance, f"{name}: {error}"


def maps(patch, path, *arguments):
    """Heads and depth, and the cells in the network's domain. Arguments: passes, side of a tile, step of pixels wanted."""
    out = run(TOOL, "network", patch, path, *arguments)
    return out[:-SIDE * SIDE // 64].reshape(-1, SIDE, SIDE), out[-SIDE * SIDE // 64:].reshape(SIDE // 8, -1)


def own(patch, net, path):
    out = run(TOOL, "inputs", patch)
    image = torch.from_numpy(out[:8 * SIDE * SIDE].reshape(1, 8, SIDE, SIDE).copy())
    planes = torch.from_numpy(out[8 * SIDE * SIDE:].reshape(1, 8, SIDE // 8, SIDE // 8).copy())
    with torch.no_grad():
        want = net(image, planes)[0].numpy()
    whole, inside = maps(patch, path, 1, 0)
    compare("whole patch", whole[:-1], want, 1e-4)
    # Within the halo a tile has all the context there is, so that tiles and passes change nothing.
    for passes in (1, 2, 4):
        tiled, _ = maps(patch, path, passes, 192)
        compare(f"tiles, {passes} passes", tiled[:-1], want, 1e-4)
    assert tiled[-1].max() <= 1 and tiled[-1].min() >= 0
    # The limit that was written: ln of the first band's noise in 5 uK-arcmin.
    want = (planes[0, 0].numpy() <= LIMIT) & (planes[0, -1].numpy() > 0)
    assert want.any() and not want.all() and np.array_equal(inside == 1, want)


def cutout_scores(patch, net, corners):
    """Logits of cutouts whose cores have these lower left corners, in pixels from the patch's corner."""
    cutouts = [run(TOOL, "cutout", patch, x - 2 - 0.5, y - 2 - 0.5).reshape(3, 32, 32) for x, y in corners]
    with torch.no_grad():
        return net(torch.from_numpy(np.stack(cutouts)))[:, 0].numpy()


def deepsz(patch, net, path):
    core, shifts = 12, ((0, 0), (6, 6), (6, 0), (0, 6))
    one, inside_one = maps(patch, path, 1, 0)
    four, _ = maps(patch, path, 4, 0)
    assert (inside_one == 1).all()
    x, y = 124, 87
    centre = np.array([x, y]) + 0.5
    corners = [np.floor((centre + s) / core) * core - s for s in shifts]
    scores = cutout_scores(patch, net, corners)
    inside = [min(*(centre - c), *(c + core - centre)) / (core / 2) for c in corners]
    spread = np.nanstd(one[0])         # its weights are kept as float16
    assert spread > 0 and abs(one[0, y, x] - scores[0]) < 0.15 * spread, (one[0, y, x], scores[0], spread)
    assert abs(four[0, y, x] - np.average(scores, weights=inside)) < 0.15 * spread
    assert abs(four[1, y, x] - max(inside)) < 1e-5
    # A core is one value; with four passes every point is a quarter core from an edge in some pass.
    block = one[0, 96:108, 120:132]
    assert np.ptp(block) < 1e-6 * np.abs(block).max()
    inner = four[1, 32:-32, 32:-32]
    assert inner.min() >= 0.5 - 1 / 12 - 1e-6 and one[1, 32:-32, 32:-32].min() < 0.1
    for passes, whole in ((1, one), (4, four)):      # cutouts nobody asks for are left out: no value changes
        some, _ = maps(patch, path, passes, 0, 37)
        assert np.array_equal(some[0, ::37, ::37], whole[0, ::37, ::37], equal_nan=True)
        assert np.isfinite(some[0]).sum() == np.isfinite(whole[0, ::37, ::37]).sum() > 20
    assert np.isnan(one[0, 0]).all() and np.isfinite(four[0, 24:-24, 24:-24]).all()


def main():
    patch = Patch(SIDE)
    with tempfile.TemporaryDirectory() as folder:
        nets, paths = networks(folder)
        own(patch, nets[0], paths[0])
        deepsz(patch, nets[1], paths[1])
    print("ok")


if __name__ == "__main__":
    main()
