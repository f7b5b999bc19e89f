"""Training sets of the lensing network and the shipped network on them.

Usage: test_network.py SKYQUILT NETWORK_TOOL
"""
import glob
import os
import subprocess
import sys
import tempfile

import h5py
import numpy as np

PROGRAM, TOOL = map(os.path.abspath, sys.argv[1:3])
MODEL = os.path.join(os.environ["SQ_SOURCE"], "tools", "models", "lensing.onnx")
SIDE, STEP = 128, np.radians(2.34375 / 60)
ELL = 2 * np.pi * np.hypot(np.fft.fftfreq(SIDE, STEP)[:, None], np.fft.rfftfreq(SIDE, STEP)[None])
COUNT = np.full(ELL.shape, 2.0)
COUNT[:, [0, -1]] = 1


def simulate(name, *options, config="preset: cmb\n"):
    with open("sky.yaml", "w") as f:
        f.write(config)
    subprocess.run([PROGRAM, "simulate", "sky.yaml", "--training", name, "--quiet", *map(str, options)], check=True)
    with h5py.File(name) as f:
        return {k: v[:] for k, v in f.items()}


def correlation(kappa, truth, low, high):
    x, y = np.fft.rfft2(kappa), np.fft.rfft2(truth)
    use = (ELL >= low) & (ELL < high)
    mean = lambda a, b: ((a * b.conj()).real * COUNT)[:, use].sum()
    return mean(x, y) / np.sqrt(mean(x, x) * mean(y, y))


def test_sets():
    """The same sample whatever the set it is in; another seed, other samples; noise changes from group to group."""
    whole, part = simulate("a.h5", "--samples", 4, "--first", 62), simulate("b.h5", "--samples", 2, "--first", 64)
    for name in ("image", "condition", "target", "amplitude"):
        assert np.array_equal(whole[name][2:], part[name]), name
    assert np.array_equal(whole["condition"][0], whole["condition"][1])
    assert not np.array_equal(whole["condition"][1], whole["condition"][2])
    other = simulate("c.h5", "--samples", 2, "--first", 64, "--seed", 2)
    assert not np.array_equal(other["target"], part["target"])
    rms = whole["image"].astype(float).std((0, 2, 3))
    assert (np.abs(rms - 1) < 0.3).all(), rms


def check_observed(d):
    """Q and U as seen hold the E modes of the network's channels, and in B the noise stated, with the beam on the sky alone."""
    ly, lx = 2 * np.pi * np.fft.fftfreq(SIDE, STEP)[:, None], 2 * np.pi * np.fft.rfftfreq(SIDE, STEP)[None]
    turn = np.exp(-2j * np.arctan2(ly, lx))
    def modes(q, u):
        q, u = np.fft.rfft2(q.astype(float)), np.fft.rfft2(u.astype(float))
        return q * turn.real - u * turn.imag, q * turn.imag + u * turn.real
    e, b = modes(*d["observed"].transpose(1, 0, 2, 3))
    given, _ = modes(*d["image"][:, :2].transpose(1, 0, 2, 3))
    for low, high in ((300, 500), (1000, 1200), (2000, 2200)):
        use = (ELL >= low) & (ELL < high)
        mean = lambda x, y: (x * y.conj())[:, use].real.sum()
        assert mean(e, given) > 0.998 * np.sqrt(mean(e, e) * mean(given, given)), low
    use = (ELL >= 2700) & (ELL < 2950)
    noise = np.sqrt((np.abs(b[:, use]) ** 2).mean()) * STEP / SIDE / np.radians(1 / 60)
    assert 1.04 < noise < 1.13, noise  # lensing adds a sixth to the power


def test_network():
    """Of maps that trained nothing: the passes gain on the first estimate, the network on the passes."""
    d = simulate("fixed.h5", "--fixed", "--samples", 12, "--seed", 31)
    check_observed(d)
    scale = d["scale"]
    use = scale > 0
    rest = np.fft.rfft2(d["kappa"].astype(float) - d["base"])[:, use] / scale[use]
    target = np.fft.rfft2(d["target"].astype(float))[:, use]
    assert np.abs(rest - target).max() < 1e-2 * np.abs(target).max()
    with h5py.File("in.h5", "w") as f:
        f["image"] = np.pad(d["image"].astype("f4"), ((0, 0), (0, 0), (16, 16), (16, 16)), mode="wrap")
        f["condition"] = d["condition"]
    subprocess.run([PROGRAM, "model", "run", MODEL, "--input", "in.h5", "--output", "out.h5"], check=True)
    with h5py.File("out.h5") as f:
        said = f["members"][:, :, 16:-16, 16:-16].mean(1)
    network = d["base"] + np.fft.irfft2(np.fft.rfft2(said) * scale, s=(SIDE, SIDE))
    for low, high, best in ((300, 500, 0.94), (500, 800, 0.87), (800, 1200, 0.73)):
        first, base, own = (correlation(x, d["kappa"], low, high) for x in (d["first"], d["base"], network))
        print(f"L {low}-{high}: {first:.3f}, {base:.3f}, network {own:.4f}")
        assert base > first + 0.03 and own > base and own > best


def test_pytorch():
    """The probe's network, padding included, says what the checkpoints of its members say in PyTorch."""
    import torch
    sys.path.insert(0, os.path.join(os.environ["SQ_SOURCE"], "tools", "train"))
    from lensing_net import LensingNet, inside, padded
    subprocess.run([TOOL, MODEL, "tool.h5"], check=True)
    with h5py.File("tool.h5") as f:
        image, condition, mean, scatter = (torch.from_numpy(f[k][:]) for k in ("image", "condition", "mean", "scatter"))
    said = []
    for path in sorted(glob.glob(MODEL.replace(".onnx", "-*.checkpoint.pt"))):
        saved = torch.load(path, map_location="cpu")
        net = LensingNet()
        # The file holds float16, as the export rounds it.
        net.load_state_dict({name: v.half().float() if v.dim() > 1 else v for name, v in saved["average"].items()})
        with torch.inference_mode():
            said.append(inside(net(padded(image[None]), condition[None]))[0, 0])
    said = torch.stack(said)
    for name, own, want in (("mean", mean, said.mean(0)), ("scatter", scatter, said.std(0))):
        worst = float((own - want).abs().max() / want.std())
        print(f"{name}: {worst:.1e} of its rms from PyTorch's")
        assert worst < 2e-3, name


def test_refused():
    for text, part in (("preset: cmb\nnoise: -1\n", "noise"), ("preset: cmb\nside: 129\n", "side 129"),
                       ("preset: cmb\nlmin: 4000\n", "l 4000"), ("preset: cmb\nbeam: 1\n", "beam")):
        with open("bad.yaml", "w") as f:
            f.write(text)
        done = subprocess.run([PROGRAM, "simulate", "bad.yaml", "--training", "bad.h5"], capture_output=True, text=True)
        assert done.returncode == 1 and part in done.stderr, (text, done.stderr)
        assert not os.path.exists("bad.h5") and not os.path.exists("bad.h5.partial")


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    test_sets()
    test_network()
    test_pytorch()
    test_refused()
    os.chdir("/")
