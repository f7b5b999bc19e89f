"""Fit the combined probability of cluster candidates on validation skies and store it in a network's metadata.

    python3 tools/train/calibrate_clusters.py MODEL.onnx OUT.onnx --name clusters-1a --skies RELEASE.h5:TRUTH.h5 ...

Each RELEASE is a run of MODEL over a simulated survey of seeds that trained nothing, with a low threshold; TRUTH is the
survey's truth.h5; one named twice counts twice. Two probabilities are fitted, of a target (Mvir > 2e14 Msun, z > 0.25)
and of any halo above 5e13 Msun, each a sum of curves, one a feature, linear between knots at quantiles; a penalty on
their bends keeps them smooth. Skies of different depth, beams and gas are fitted together: what the features do not
tell apart is averaged over. Matching is that of tools/cluster_metrics.py. With several skies the calibration error is
also measured on each left out of the fit.
"""

import argparse
import os
import sys

import h5py
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
from onnx_file import metadata, split_model
from cluster_metrics import expected_calibration_error, match, wanted

# Feature of include/skyquilt/clusters/combine.h: what it is in the columns of a release.
FEATURES = {
    "snr": lambda c: c["snr"],
    "clean": lambda c: c["snr_deprojected"],
    "theta": lambda c: np.log(c["theta500"]),
    "halo": lambda c: c["cnn_halo"],
    "cluster": lambda c: c["cnn_cluster"],
    "target": lambda c: c["cnn_target"],
    "mass": lambda c: c["cnn_ln_mass"] / c["cnn_ln_mass_err"],
    "far": lambda c: c["cnn_far"],
    "cutout": lambda c: c["cnn_cutout"],
    "beam": lambda c: c["cnn_beam"],
}
TRUTHS = ("target", "halo")
QUANTILES = (0.02, 0.15, 0.35, 0.5, 0.65, 0.8, 0.92, 0.99)      # of targets and others in equal parts
APART = 0.05
RADIUS = 1.0                     # arcmin


def knots(x, target):
    """Quantiles with the weight of targets equal to that of the others: there P changes. APART of their range or more."""
    order, weight = np.argsort(x, kind="stable"), np.where(target, 1 / max(target.sum(), 1), 1 / max((~target).sum(), 1))
    share = np.cumsum(weight[order])
    first, *rest = np.unique(np.round(np.interp(QUANTILES, share / share[-1], x[order]), 4))
    kept = [first]
    for knot in rest:
        if knot - kept[-1] >= APART * (rest[-1] - first):
            kept.append(knot)
    return np.array(kept)


class Combination:
    """logit P = bias + sum of curves. `features`: names; x: [candidates][features]; y: [candidates][2] truth."""

    def __init__(self, features, x, y, bend=1.0):
        self.features = list(features)
        self.knots = [knots(x[:, i], y[:, 0]) for i in range(x.shape[1])]
        basis = self.basis(x)
        sizes = [len(k) for k in self.knots]
        starts = 1 + np.cumsum([0] + sizes[:-1])
        penalty = 1e-3 * np.eye(basis.shape[1])
        penalty[0, 0] = 0
        for start, knot in zip(starts, self.knots):
            for k in range(1, len(knot) - 1):
                row = np.zeros(basis.shape[1])
                left, right = knot[k] - knot[k - 1], knot[k + 1] - knot[k]
                row[start + k - 1:start + k + 2] = np.array([1 / left, -1 / left - 1 / right, 1 / right]) * \
                    (knot[-1] - knot[0]) / len(knot)
                penalty += bend * np.outer(row, row)
        self.bias, self.values = np.zeros(2), []
        for t in range(2):
            w = logistic(basis, y[:, t].astype(float), penalty)
            self.bias[t] = w[0]
            self.values.append([w[s:s + n] for s, n in zip(starts, sizes)])

    def basis(self, x):
        columns = [np.ones((len(x), 1))]
        for i, knot in enumerate(self.knots):
            columns.append(np.stack([np.interp(x[:, i], knot, row) for row in np.eye(len(knot))], 1))
        return np.hstack(columns)

    def probability(self, x):
        """[candidates][2]"""
        basis = self.basis(x)
        w = [np.concatenate([[self.bias[t]], *self.values[t]]) for t in range(2)]
        return 1 / (1 + np.exp(-(basis @ np.array(w).T)))

    def metadata(self, name):
        text = lambda v: ",".join(f"{x:.6g}" for x in v)
        out = {"skyquilt.combination": name, "skyquilt.combination_features": ",".join(self.features),
               "skyquilt.combination_bias": text(self.bias)}
        for i, f in enumerate(self.features):
            out[f"skyquilt.combination_{f}_knots"] = text(self.knots[i])
            for t, truth in enumerate(TRUTHS):
                out[f"skyquilt.combination_{f}_{truth}"] = text(self.values[t][i])
        return out


def logistic(basis, y, penalty):
    """Penalised maximum likelihood, Newton's method with halved steps."""
    def cost(w):
        z = basis @ w
        return np.logaddexp(0, z).sum() - y @ z + 0.5 * w @ penalty @ w
    w = np.zeros(basis.shape[1])
    w[0] = np.log((y.mean() + 1e-6) / (1 - y.mean() + 1e-6))
    for _ in range(100):
        p = 1 / (1 + np.exp(-(basis @ w)))
        gradient = basis.T @ (y - p) - penalty @ w
        hessian = (basis * (p * (1 - p))[:, None]).T @ basis + penalty + 1e-9 * np.eye(len(w))
        step, now = np.linalg.solve(hessian, gradient), cost(w)
        while cost(w + step) > now and np.abs(step).max() > 1e-9:
            step = step / 2
        w = w + step
        if np.abs(step).max() < 1e-7:
            break
    return w


def columns(path, group):
    with h5py.File(path) as f:
        return {k: v[:] for k, v in f[group].items() if isinstance(v, h5py.Dataset)}


def load(release, truth, features):
    """x, y of the candidates of one sky."""
    found, halos = columns(release, "clusters"), columns(truth, "halos")
    sky = {"ra": found["ra"], "dec": found["dec"], "halo_ra": halos["ra"], "halo_dec": halos["dec"],
           "mass": halos["mvir"], "z": halos["z"]}
    halo = match(sky, np.nan_to_num(found["cnn_target"], nan=-np.inf), RADIUS)
    target = (halo >= 0) & wanted(sky)[np.maximum(halo, 0)]
    x = np.stack([np.asarray(FEATURES[f](found), float) for f in features], 1)
    whole = np.isfinite(x).all(1)
    return x[whole], np.stack([target, halo >= 0], 1)[whole]


def report(name, p, y):
    for t, truth in enumerate(TRUTHS):
        print(f"{name}: {truth}: calibration error {expected_calibration_error(p[:, t], y[:, t]):.4f}, "
              f"{int(y[:, t].sum())} of {len(y)}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("out")
    p.add_argument("--name", required=True, help="of the combination, with its version")
    p.add_argument("--skies", nargs="+", required=True, metavar="RELEASE:TRUTH")
    p.add_argument("--features", default=",".join(f for f in FEATURES if f != "cutout"))
    a = p.parse_args()
    features = a.features.split(",")
    skies = [load(*s.split(":"), features) for s in a.skies]
    for name in dict.fromkeys(a.skies) if len(set(a.skies)) > 1 else ():
        kept = Combination(features, *(np.concatenate(v) for v in zip(*(s for s, n in zip(skies, a.skies) if n != name))))
        x, y = skies[a.skies.index(name)]
        report(f"left out {name}", kept.probability(x), y)
    x, y = (np.concatenate(v) for v in zip(*skies))
    fitted = Combination(features, x, y)
    report("all", fitted.probability(x), y)
    with open(a.model, "rb") as f:
        rest, entries = split_model(f.read())
    entries = {k: v for k, v in entries.items() if not k.startswith("skyquilt.combination")}
    entries.update(fitted.metadata(a.name))
    entries["skyquilt.combination_candidates"] = str(len(x))
    with open(a.out + ".partial", "wb") as f:
        f.write(rest + metadata(entries))
    os.replace(a.out + ".partial", a.out)
    print(f"{a.out}: combination {a.name} from {len(x)} candidates")


if __name__ == "__main__":
    main()
