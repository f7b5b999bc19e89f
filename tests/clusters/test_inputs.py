"""Inputs of the cluster networks against numpy. Usage: test_inputs.py TOOL"""
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "..", "tools")]
from patches import ARCMIN, PIXEL, Patch, run

TOOL = sys.argv[1]
SCALES, CELL = 3, 8


def compress(v):
    a = np.abs(v)
    return np.where(a > 16, np.sign(v) * 16 * (1 + np.log(np.maximum(a, 16) / 16)), v)


def wave_numbers(side):
    v = np.fft.fftfreq(side, PIXEL)[:, None] * 2 * np.pi
    u = np.fft.rfftfreq(side, PIXEL)[None] * 2 * np.pi
    return np.hypot(u, v)


def high_passed(patch):
    ell = wave_numbers(patch.side)
    return np.fft.irfft2(np.fft.rfft2(patch.map.astype(float)) * (1 - np.exp(-0.5 * (ell / 1500) ** 2)), s=patch.map.shape[1:])


def fill(patch):
    b, n, m = patch.nband, patch.side, patch.side // CELL
    out = run(TOOL, "inputs", patch)
    image = out[:(b + SCALES + 2) * n * n].reshape(-1, n, n)
    return image, out[image.size:].reshape(2 * b + 2, m, m)


def close(name, got, want, tolerance):
    error = np.abs(np.asarray(got, float) - want).max()
    assert error < tolerance, f"{name}: differs by {error}"


def test_bands(patch, image):
    held = (patch.noise > 0).all(0)
    close("bands", image[:patch.nband], compress(high_passed(patch) / 20) * held, 2e-4)
    assert (image[:, ~held] == 0).all() and np.isfinite(image).all()


def test_planes(patch, planes):
    b, m = patch.nband, patch.side // CELL
    held = (patch.noise > 0).all(0)
    cells = lambda a: a.reshape(m, CELL, m, CELL).sum((1, 3))
    count = cells(held.astype(float))
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = np.log(np.stack([cells(n * held) for n in patch.noise]) / count / 5)
    close("noise planes", planes[:b], np.where(count > 0, noise, 0), 1e-5)
    close("usable", planes[-1], count / 64, 1e-6)
    inside = count > 0
    # The pixel's window adds the variance of a uniform distribution.
    close("fwhm", planes[b:2 * b, inside], np.broadcast_to(np.hypot(patch.fwhm, 0.5 * np.sqrt(8 * np.log(2) / 12))[:, None] / 2, (b, inside.sum())), 2e-3)
    assert np.ptp(planes[2 * b, inside]) == 0


def test_filters_are_linear(patch, image):
    """Twice the maps give twice the filtered maps where nothing is compressed or cut off."""
    quiet = Patch()
    quiet.map = np.clip(quiet.map, -60, 60)
    twice = Patch()
    twice.map = 2 * quiet.map
    a, b = fill(quiet)[0], fill(twice)[0]
    close("linear", b[3:], 2 * a[3:], 1e-3)
    ratio = a[7] / np.where(a[4] == 0, 1, a[4])      # S/N and y0 of the middle scale: one factor
    held = np.abs(a[4]) > 0.01
    close("S/N", ratio[held] / np.median(ratio[held]), 1, 1e-3)


def test_cluster_amplitude():
    """A cluster of the filter's own shape comes back with its y0, in the unit of the channel."""
    patch = Patch()
    y0, theta = 8e-5, 2.2 * ARCMIN
    n = patch.side
    grid = (np.arange(n) - n // 2) * PIXEL
    # Arnaud et al. 2010, projected to 5 R500.
    line = 5 * np.linspace(-1, 1, 4000) ** 3

    def pressure(x):
        x = np.maximum(x, 1e-9) * 1.177
        return np.where(x < 5 * 1.177, x ** -0.3081 * (1 + x ** 1.0510) ** ((0.3081 - 5.4905) / 1.0510), 0)
    table = np.linspace(0, 5, 600) ** 2 / 5
    project = np.array([np.trapz(pressure(np.hypot(r, line)), line) for r in table])
    offsets = PIXEL * (np.arange(9) - 4) / 9        # the mean over each pixel
    profile = np.mean([np.interp(np.hypot(*np.meshgrid(grid + dx, grid + dy)) / theta, table, project)
                       for dx in offsets for dy in offsets], 0) / project[0]
    x = patch.ghz / 56.79
    f = 2.726e6 * (x / np.tanh(x / 2) - 4)
    ell = wave_numbers(n)
    shape = np.fft.rfft2(profile)
    for b in range(3):
        patch.map[b] = y0 * f[b] * np.fft.irfft2(shape * patch.beam(b, ell), s=(n, n))
    patch.noise[:] = 3
    image = fill(patch)[0]
    got = image[4, n // 2, n // 2] * 2e-5
    assert abs(got / y0 - 1) < 0.03, got
    clean = image[6, n // 2, n // 2] * 2e-5
    assert abs(clean / y0 - 1) < 0.03, clean


def test_cutout(patch):
    x, y = 31.2, 77.9
    got = run(TOOL, "cutout", patch, x, y).reshape(patch.nband, 32, 32)
    at = (np.arange(32) + 0.5) / 2
    u, v = x + at, y + at
    j, i = np.floor(v).astype(int), np.floor(u).astype(int)
    a, b = (u - i)[None], (v - j)[:, None]
    m = patch.map
    want = ((1 - b) * ((1 - a) * m[:, j[:, None], i] + a * m[:, j[:, None], i + 1])
            + b * ((1 - a) * m[:, j[:, None] + 1, i] + a * m[:, j[:, None] + 1, i + 1]))
    want = (want - want.min()) / (want.max() - want.min())
    close("cutout", got, want, 1e-5)
    import cluster_edges
    close("cutout of the tool", cluster_edges.cutouts(m, np.array([[x + 2.5, y + 2.5]]))[0], got, 1e-5)


def main():
    patch = Patch()
    image, planes = fill(patch)
    test_bands(patch, image)
    test_planes(patch, planes)
    test_filters_are_linear(patch, image)
    test_cluster_amplitude()
    test_cutout(patch)
    print("ok")


if __name__ == "__main__":
    main()
