"""The edge effect of a cutout network, and what staggered passes do to it.

    skyquilt simulate SKY.yaml --output SURVEY
    python3 tools/cluster_edges.py MODEL.onnx SURVEY --program build/skyquilt --json edges.json --plot edges.png

A cutout of 8' stands for its core of 6'. For every target (Mvir > 2e14 Msun, z > 0.25) of the survey's fields the score is
given against its distance from the edge of its core in the first pass: of that pass alone, and of the mean of two and of
four passes, weighted by their distances from the edge, as include/skyquilt/clusters/network.h defines. Grids of several
random origins are laid over a field, so that every target lies at several depths. The contrast is the mean score of targets over
that of random points, in units of the scatter of these; the edge loss is what the outermost sixth of the area loses against
the innermost in units of that difference of means. Errors are of the mean.
"""

import argparse
import glob
import json
import os
import re
import subprocess
import tempfile

import h5py
import numpy as np
from astropy.io import fits

CORE, RIM, SIDE = 12, 2, 32      # pixels of 0.5': core, and what a cutout has around it; pixels of 0.25' of a cutout
SHIFTS = ((0, 0), (6, 6), (6, 0), (0, 6))
BINS = 3 * (1 - np.sqrt(1 - np.arange(7) / 6))     # arcmin from the edge of the core, of equal area
WANTED_MASS, WANTED_REDSHIFT = 2e14, 0.25


def read_field(survey, field):
    """Maps [band][y][x] in uK by frequency, and the truth of a field."""
    paths = glob.glob(os.path.join(survey, f"field-{field:03d}-*.fits"))
    ghz = lambda p: float(re.search(r"-([0-9.]+)\.fits$", p).group(1))
    maps = []
    for p in sorted((p for p in paths if re.search(r"-[0-9.]+\.fits$", p)), key=ghz):
        with fits.open(p) as f:
            m = f[0].data.astype(np.float32)
            maps.append(m * 1e6 if f[0].header.get("BUNIT", "uK").strip() == "K" else m)
    with h5py.File(os.path.join(survey, f"field-{field:03d}-truth.h5")) as f:
        halos = {k: f["halos"][k][:] for k in ("x", "y", "z", "mvir")}
    return np.stack(maps), halos


def cutouts(maps, corners):
    """[n][band][32][32], scaled to [0, 1], of cores with these lower left corners (pixel i reaches from i to i + 1)."""
    at = (np.arange(SIDE) + 0.5) / 2 - RIM - 0.5
    u, v = corners[:, 0, None] + at, corners[:, 1, None] + at
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    a, b = (u - i)[:, None, :], (v - j)[:, :, None]
    pick = lambda dj, di: maps[:, (j + dj)[:, :, None], (i + di)[:, None, :]].transpose(1, 0, 2, 3)
    a, b = a[:, None], b[:, None]
    out = (1 - b) * ((1 - a) * pick(0, 0) + a * pick(0, 1)) + b * ((1 - a) * pick(1, 0) + a * pick(1, 1))
    low, high = out.min((1, 2, 3), keepdims=True), out.max((1, 2, 3), keepdims=True)
    return ((out - low) / (high - low)).astype(np.float32)


def score(program, model, images):
    with tempfile.TemporaryDirectory() as folder:
        given, out = os.path.join(folder, "in.h5"), os.path.join(folder, "out.h5")
        with h5py.File(given, "w") as f:
            f["cutout"] = images
        subprocess.run([program, "model", "run", model, "--input", given, "--output", out, "--precision", "auto"],
                       check=True, stdout=subprocess.DEVNULL)
        with h5py.File(out) as f:
            return f["score"][:].reshape(-1)


def passes(program, model, maps, x, y, origin):
    """Scores [4][n] at points (0-based pixels) and their depths, the distance from the core's edge over half a core."""
    points = np.column_stack([x, y]) + 0.5
    corners = [np.floor((points + s - origin) / CORE) * CORE - s + origin for s in SHIFTS]
    depth = [np.minimum(points - c, c + CORE - points).min(1) / (CORE / 2) for c in corners]
    images = np.concatenate([cutouts(maps, c) for c in corners])
    return score(program, model, images).reshape(4, -1), np.maximum(np.stack(depth), 1e-3)


def binned(distance, value):
    rows = []
    for low, high in zip(BINS[:-1], BINS[1:]):
        v = value[(distance >= low) & (distance < high)]
        rows.append({"low": float(low), "high": float(high), "n": len(v), "mean": float(v.mean()) if len(v) else None,
                     "error": float(v.std(ddof=1) / np.sqrt(len(v))) if len(v) > 1 else None})
    return rows


def measure(model, survey, program, grids=8, random=300, seed=1):
    """Scores and depths in bins; `grids` origins of the grid of cores at random, `random` points a field and grid."""
    rng = np.random.default_rng(seed)
    parts = {"targets": [], "random": []}
    fields = sorted({int(re.search(r"field-(\d+)-truth", p).group(1))
                     for p in glob.glob(os.path.join(survey, "field-*-truth.h5"))})
    for field in fields:
        maps, halos = read_field(survey, field)
        n = maps.shape[1]
        inside = lambda v: (v > 3 * CORE) & (v < n - 3 * CORE)
        want = (halos["mvir"] > WANTED_MASS) & (halos["z"] > WANTED_REDSHIFT) & inside(halos["x"]) & inside(halos["y"])
        for _ in range(grids):
            origin = rng.uniform(0, CORE, 2)
            places = {"targets": (halos["x"][want], halos["y"][want]),
                      "random": rng.uniform(3 * CORE, n - 3 * CORE, (2, random))}
            for name, (x, y) in places.items():
                parts[name].append(passes(program, model, maps, x, y, origin))
    result = {"fields": len(fields)}
    for name, rows in parts.items():
        s, d = (np.concatenate(v, 1) for v in zip(*rows))
        distance = d[0] * 3                  # arcmin from the edge of the core in the first pass
        for k in (1, 2, 4):
            mean = (s[:k] * d[:k]).sum(0) / d[:k].sum(0)
            result[f"{name}_{k}"] = binned(distance, mean)
            result[f"{name}_{k}_all"] = {"mean": float(mean.mean()), "scatter": float(mean.std(ddof=1)), "n": len(mean)}
    for k in (1, 2, 4):
        t, r = result[f"targets_{k}_all"], result[f"random_{k}_all"]
        rows = [b["mean"] for b in result[f"targets_{k}"] if b["mean"] is not None]
        result[f"contrast_{k}"] = (t["mean"] - r["mean"]) / r["scatter"]
        result[f"edge_loss_{k}"] = (rows[-1] - rows[0]) / (t["mean"] - r["mean"])
    return result


def draw(result, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(figsize=(6, 4))
    for k, colour in ((1, "tab:red"), (2, "tab:orange"), (4, "tab:blue")):
        rows = [r for r in result[f"targets_{k}"] if r["error"]]
        axes.errorbar([(r["low"] + r["high"]) / 2 for r in rows], [r["mean"] for r in rows], [r["error"] for r in rows],
                      color=colour, marker="o", label=f"{k} pass" + ("es" if k > 1 else ""))
    axes.set_xlabel("distance from the edge of the core [arcmin]")
    axes.set_ylabel("mean score of targets (logit)")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def say(result):
    for k in (1, 2, 4):
        print(f"{k} passes: " + "  ".join(f"{r['mean']:.3f}" if r["mean"] is not None else "-" for r in result[f"targets_{k}"])
              + f"   edge loss {result[f'edge_loss_{k}']:.3f}, contrast {result[f'contrast_{k}']:.2f}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("survey")
    p.add_argument("--program", default="build/skyquilt")
    p.add_argument("--points", type=int, default=300, help="random points a field and grid")
    p.add_argument("--grids", type=int, default=8, help="origins of the grid of cores, at random")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--json")
    p.add_argument("--plot")
    a = p.parse_args()
    result = measure(a.model, a.survey, a.program, a.grids, a.points, a.seed)
    say(result)
    if a.json:
        with open(a.json, "w") as f:
            json.dump(result, f, indent=1)
    if a.plot:
        draw(result, a.plot)


if __name__ == "__main__":
    main()
