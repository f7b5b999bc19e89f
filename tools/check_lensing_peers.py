#!/usr/bin/python3
"""Compare the lensing estimators with symlens, the reconstruction by maximum a posteriori with LensIt, and both with the truth.

    SQ_SYMLENS=PYTHON SQ_LENSIT='env LENSIT=SCRATCH PYTHONPATH=SOURCE PYTHON' tools/check_lensing_peers.py [--quick] [--json FILE]

Where a peer's variable is not set its part is reported as skipped; tools/peers/ says how they are installed. Maps are simulated
by tools/peers/flat_sky.py, which shares no code with the program. Recorded in tools/results/lensing_peers.json. Needs the spectra
and fixtures of SQ_SHARED. Exit code 0 when all criteria are met.
"""
import argparse
import os
import shutil
import sys
import time

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bench_lensing  # noqa: E402
import evaluate_common as common  # noqa: E402
from peers import flat_sky  # noqa: E402
from peers.flat_sky import Grid, KINDS, Spectra, correlation, lensed_sky  # noqa: E402

SEED = 30306
FIXTURE = os.path.join(common.SHARED, "data", "cmb", "fixtures", "patches_nP1.0_128.npz")
BINS = ((60, 150), (300, 500), (500, 800), (800, 1200), (1600, 2000))
WIDE = ((100, 300), (300, 600), (600, 1000), (1000, 1500), (1500, 2000))


def model(**change):
    return Spectra(bench_lensing.SPECTRA, np.sqrt(0.5), 1, 1, **change)


def estimate(folder, maps, grid, spectra, *options):
    """kappa [maps][6], N0 [6] and, with --maximum, its kappa, of the program."""
    path, out = (os.path.join(folder, name) for name in ("in.h5", "out.h5"))
    flat_sky.write(path, maps, grid, spectra)
    common.run("bench", "lensing", path, "--output", out, "--repeats", 1, *options)
    with h5py.File(out) as f:
        return f["kappa"][:], f["n0"][:], f["maximum"][:] if "maximum" in f else None


def agreement(folder, quick, criteria):
    """Every estimator of the same map, 20 deg, by symlens."""
    grid, spectra = Grid(bench_lensing.SIDE, bench_lensing.PIXEL), model()
    maps = [lensed_sky(grid, spectra, np.random.default_rng((SEED, k)))[0] for k in range(1 if quick else 3)]
    own = estimate(folder, maps, grid, spectra)[0]
    peer = os.path.join(folder, "symlens.npz")
    if bench_lensing.foreign("SQ_SYMLENS", "symlens_patch.py", os.path.join(folder, "in.h5"), peer, 1) is None:
        return {"problem": "skipped: SQ_SYMLENS is not set"}
    theirs, table = np.load(peer)["kappa"], {}
    for e, name in enumerate(KINDS):
        rho = [correlation(grid, a[e], b[e], 20, spectra.lmax) for a, b in zip(own, theirs)]
        slope = [np.sum(a[e] * b[e]) / np.sum(a[e] ** 2) for a, b in zip(own * 1.0, theirs)]
        table[name] = {"one_minus_correlation": 1 - min(rho), "theirs_over_ours": slope}
        criteria.add(f"{name}: correlation with symlens of the same map", min(rho), 0.99999)
    return table


def fixtures(folder, quick, criteria):
    """The stored maps and kappas."""
    if not os.path.exists(FIXTURE):
        return {"problem": "skipped: no fixtures"}
    with np.load(FIXTURE) as f:
        observed, stored, pixel = f["obs_TQU"], f["qe_kappa_TT_TE_EE_TB_EB"], float(f["dx_arcmin"])
    grid, spectra = Grid(observed.shape[-1], pixel), model(gradient=False)
    beam = np.where(grid.ell <= spectra.lmax, grid.at(spectra.beam), np.inf)
    own = estimate(folder, np.fft.irfft2(np.fft.rfft2(observed) / beam), grid, spectra)[0]
    table = {}
    for e, name in enumerate(KINDS[:5]):
        table[name] = min(correlation(grid, a[e], b[e], 100, 2000) for a, b in zip(own, stored))
        criteria.add(f"{name}: correlation with the stored maps", table[name], 0.99999)
    return table


def powers(grid, kappa, truth, low, high):
    x, y = np.fft.rfft2(kappa), np.fft.rfft2(truth)
    use = (grid.ell >= low) & (grid.ell < high)
    return [(((p * q.conj()).real * grid.count)[use]).sum() for p, q in ((x, y), (x, x), (y, y))]


def rho(parts):
    cross, own, truth = parts.sum(0)
    return cross / np.sqrt(own * truth)


def maximum(folder, quick, criteria):
    """rho with the truth of the program's EB, its MAP and LensIt's, of the same 5 deg boxes with the same noise."""
    grid, spectra, count = Grid(128, 2.34375), model(), 2 if quick else 12
    skies = [lensed_sky(grid, spectra, np.random.default_rng((SEED, 1, k))) for k in range(count)]
    truth = [k for _, k in skies]
    kappa, _, own = estimate(folder, [m for m, _ in skies], grid, spectra, "--maximum")
    peer = os.path.join(folder, "lensit.npz")
    done = bench_lensing.foreign("SQ_LENSIT", "lensit_patch.py", os.path.join(folder, "in.h5"), peer, "maximum", 10)
    methods = {"EB": kappa[:, KINDS.index("EB")], "MAP": own}
    methods.update({"LensIt": np.load(peer)["kappa"]} if done else {})
    rng, table = np.random.default_rng(SEED), {"maps": count, "bins": BINS, "seconds_of_lensit": done and done["seconds"]}
    parts = {name: np.array([[powers(grid, k, t, *b) for b in BINS] for k, t in zip(maps, truth)])
             for name, maps in methods.items()}
    for name, p in parts.items():
        table[name] = [rho(p[:, b]) for b in range(len(BINS))]
    for b, (low, high) in enumerate(BINS if done else ()):
        draws = rng.integers(count, size=(1000, count))
        ratio = [rho(parts["MAP"][d, b]) / rho(parts["LensIt"][d, b]) - 1 for d in draws]
        value = table["MAP"][b] / table["LensIt"][b] - 1
        table.setdefault("ratio", []).append([value, float(np.std(ratio))])
        criteria.add(f"MAP: rho against LensIt's, L {low}-{high}, |ratio - 1|", abs(value), 0.01, error=np.std(ratio),
                     least=False)
    if not done:
        table["problem"] = "skipped: SQ_LENSIT is not set"
    return table


def truth(folder, quick, criteria):
    """Mean of each estimator over the true kappa in 10 deg boxes, and of unlensed skies against those same kappas."""
    grid, spectra, count, batch = Grid(256, 2.34375), model(), 8 if quick else 160, 8
    sums = {name: np.zeros((count, len(KINDS), len(WIDE), 2)) for name in ("lensed", "unlensed")}
    for k in range(0, count, batch):
        skies = [lensed_sky(grid, spectra, np.random.default_rng((SEED, 2, k + i))) for i in range(batch)]
        for name, maps in (("lensed", [m for m, _ in skies]), ("unlensed", [
                lensed_sky(grid, spectra, np.random.default_rng((SEED, 3, k + i)), lens=0)[0] for i in range(batch)])):
            own = estimate(folder, maps, grid, spectra)[0]
            for i in range(batch):
                for e in range(len(KINDS)):
                    for b, edges in enumerate(WIDE):
                        cross, _, power = powers(grid, own[i, e], skies[i][1], *edges)
                        sums[name][k + i, e, b] = cross, power
    table = {"maps": count, "bins": WIDE}
    rng = np.random.default_rng(SEED)
    draws = rng.integers(count, size=(500, count))
    mean = lambda s: s[..., 0].sum(0) / s[..., 1].sum(0)  # noqa: E731
    for name, s in sums.items():
        error = np.std([mean(s[d]) for d in draws], axis=0)
        table[name] = {kind: [[float(v), float(x)] for v, x in zip(mean(s)[e], error[e])] for e, kind in enumerate(KINDS)}
        # One number a kind: inverse-variance mean over the bins.
        weight = 1 / error ** 2
        one = (mean(s) * weight).sum(1) / weight.sum(1)
        sigma = np.sqrt(1 / weight.sum(1))
        for e, kind in enumerate(KINDS):
            if name == "lensed" and kind in ("TT", "EB"):
                criteria.add(f"{kind}: |mean over the truth - 1|, 100 < L < 2000", abs(one[e] - 1), 0.015, error=sigma[e],
                             least=False)
            elif name == "unlensed":
                criteria.add(f"{kind}: unlensed skies against a kappa, |sigma|", abs(one[e]) / sigma[e], 2, least=False)
        table[name]["all"] = {kind: [float(one[e]), float(sigma[e])] for e, kind in enumerate(KINDS)}
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer maps")
    parser.add_argument("--json", help="write the record there too")
    parser.add_argument("--only", choices=["agreement", "fixtures", "maximum", "truth"], help="one part, not recorded")
    options = parser.parse_args()
    begin, criteria, tables = time.monotonic(), common.Criteria(), {}
    folder = common.work_folder("peers-")
    try:
        for step in (agreement, fixtures, maximum, truth):
            if options.only in (None, step.__name__):
                common.say(f"{step.__name__} ...")
                tables[step.__name__] = step(folder, options.quick, criteria)
                if "problem" in tables[step.__name__]:
                    common.say("  " + tables[step.__name__]["problem"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not options.only:
        common.record("lensing_peers", SEED, criteria, tables, options.json, time.monotonic() - begin, options.quick)
    common.finish(criteria)


if __name__ == "__main__":
    main()
