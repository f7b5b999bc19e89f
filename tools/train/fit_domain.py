"""Fit the domain of a catalog network, how far an image lies from the training set, and store it in the model's metadata.

    skyquilt simulate SKY.yaml --training domain.h5 --samples 4096 --seed 11
    skyquilt simulate SKY.yaml --training held.h5 --samples 2048 --seed 12
    python3 tools/train/fit_domain.py MODEL.onnx OUT.onnx --sets domain.h5 --held held.h5

SKY.yaml is the sky of the training. Mean and covariance of the features (include/skyquilt/catalog/domain.h) come from --sets,
values beyond 8 robust widths left out; the distance that 5% of the samples of --held exceed has score 1.
"""

import argparse
import glob
import os
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from onnx_file import metadata, split_model

QUANTILE = 0.95


def load(pattern):
    out = []
    for path in sorted(glob.glob(pattern)):
        with h5py.File(path) as f:
            out.append(f["features"][:].astype(float))
    if not out:
        raise SystemExit(f"{pattern}: no sets")
    return np.concatenate(out)


def fit(x):
    """Mean and covariance of the samples whose features are all known and none far out."""
    x = x[np.isfinite(x).all(1)]
    middle = np.median(x, 0)
    width = 1.4826 * np.median(abs(x - middle), 0) + 1e-9
    x = x[(abs(x - middle) < 8 * width).all(1)]
    return x.mean(0), np.cov(x.T) + np.diag(1e-6 + 1e-4 * x.var(0)), len(x)


def distance(x, mean, covariance):
    """Root mean square of the known features, whitened: as sq_domain_score, times the limit."""
    out = np.full(len(x), np.nan)
    for i, row in enumerate(x):
        known = np.isfinite(row)
        if known.any():
            d = (row - mean)[known]
            out[i] = np.sqrt(d @ np.linalg.solve(covariance[np.ix_(known, known)], d) / known.sum())
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("out")
    p.add_argument("--sets", required=True, help="pattern of training sets")
    p.add_argument("--held", required=True, help="pattern of sets of other seeds")
    a = p.parse_args()
    mean, covariance, count = fit(load(a.sets))
    limit = np.nanquantile(distance(load(a.held), mean, covariance), QUANTILE)
    with open(a.model, "rb") as f:
        rest, entries = split_model(f.read())
    text = lambda v: ",".join(f"{x:.7g}" for x in v)
    entries.update({"skyquilt.domain_limit": f"{limit:.6g}", "skyquilt.domain_mean": text(mean),
                    "skyquilt.domain_covariance": text(covariance[np.tril_indices(len(mean))]),
                    "skyquilt.domain_samples": str(count)})
    with open(a.out + ".partial", "wb") as f:
        f.write(rest + metadata(entries))
    os.replace(a.out + ".partial", a.out)
    print(f"{a.out}: {len(mean)} features of {count} samples, limit {limit:.3f}")


if __name__ == "__main__":
    main()
