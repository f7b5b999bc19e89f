"""Calibrate a catalog network's posterior widths on a simulated survey and store that in the model's metadata.

    python3 tools/train/calibrate.py RELEASE TRUTH MODEL.onnx OUT.onnx --name sdss-1a

RELEASE is a run of MODEL (its calibration is replaced) over a survey of seeds that trained nothing, with a low threshold (0.02).
Matched sources are sorted into bins of the matched filter's S/N. In each bin the widths are multiplied half
of the way, in the logarithm, between what the central 68% and the central 90% of the residuals ask for. Further, when asked for: the
mean ln flux is moved by the median residual (--offsets: one for stars and galaxies, so what cures faint galaxies may
bias stars), and the detection probability gets a logistic map fitted to "is matched to a true source within the limit of
the training" (--probability: it moves the sources at a threshold too). Weights are not touched, and the release
keeps what was before calibration in its columns *_raw.
"""

import argparse
import os
import sys

import h5py
import numpy as np
from scipy.spatial import cKDTree

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from onnx_file import metadata, split_model

EDGES = (0, 4, 6, 9, 14, 25, 60, 200, np.inf)
Z68, Z90 = 0.9944578832097532, 1.6448536269514722
SHAPES = ("radius", "e1", "e2", "bulge")


def columns(path, group=None):
    with h5py.File(path) as f:
        g = f[group] if group else f
        return {k: v[:] for k, v in g.items() if isinstance(v, h5py.Dataset)}


def pairs(found, truth, radius):
    """Mutual nearest neighbours within `radius` arcsec: rows of both."""
    dec0 = np.median(truth["dec"])
    plane = lambda c: np.column_stack([c["ra"] * np.cos(np.radians(dec0)), c["dec"]]) * 3600
    a, b = plane(found), plane(truth)
    distance, there = cKDTree(b).query(a, distance_upper_bound=radius)
    _, back = cKDTree(a).query(b)
    rows = np.flatnonzero(np.isfinite(distance))
    rows = rows[back[there[rows]] == rows]
    return rows, there[rows]


def width_factor(z):
    """From residuals in units of the stated width."""
    z = np.abs(z)
    return float(np.sqrt(np.quantile(z, 0.68) / Z68 * np.quantile(z, 0.90) / Z90))


def logistic(x, y):
    """Maximum-likelihood a, b of P(y) = 1 / (1 + exp(-a - b x)), Newton's method."""
    t = np.array([0.0, 1.0])
    design = np.column_stack([np.ones_like(x), x])
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ t))
        gradient = design.T @ (y - p)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        t = t + step
        if np.abs(step).max() < 1e-9:
            break
    return t


def logit(p):
    p = np.clip(p.astype(float), 1e-9, 1 - 1e-9)
    return np.log(p / (1 - p))


def bins_of(snr, least):
    """Rows of each bin with enough of them; a poor bin joins the next."""
    out, left = [], np.zeros(len(snr), bool)
    for low, high in zip(EDGES[:-1], EDGES[1:]):
        left |= (snr >= low) & (snr < high)
        if left.sum() >= least:
            out.append(left)
            left = np.zeros(len(snr), bool)
    if left.any() and out:
        out[-1] = out[-1] | left
    return out


def fit(found, truth, bands, reference="r", limit=np.inf, least=60, offsets=False,
        probability=False, radius=1.0):
    used = {k: v[found["detection_probability_raw"] >= 0.5] for k, v in found.items()}
    mine, theirs = pairs(used, truth, radius)
    f = {k: v[mine].astype(float) for k, v in used.items()}
    t = {k: v[theirs].astype(float) for k, v in truth.items() if v.dtype.kind in "fiu"}
    result = {"ln_snr": [], "position": []}
    result.update({f"{what}_{b}": [] for b in bands for what in ("flux", "offset")})
    result.update({s: [] for s in SHAPES})
    dra = (f["ra"] - t["ra"]) * np.cos(np.radians(t["dec"])) * 3600
    ddec = (f["dec"] - t["dec"]) * 3600
    det = f["ra_err"] ** 2 * f["dec_err"] ** 2 - f["ra_dec_cov"] ** 2
    chi2 = (f["dec_err"] ** 2 * dra ** 2 - 2 * f["ra_dec_cov"] * dra * ddec + f["ra_err"] ** 2 * ddec ** 2) / det
    galaxy = t["star"] == 0
    bulge = logit(np.clip(t["bulge_fraction"], 0.02, 0.98))
    q16, q84 = logit(f["bulge_fraction_q16"]), logit(f["bulge_fraction_q84"])
    shape = {"radius": (np.log(np.maximum(t["radius"], 1e-3) / f["radius"]), np.log(f["radius_q84"] / f["radius_q16"]) / (2 * Z68)),
             "e1": (t["e1"] - f["e1"], f["e1_err"]), "e2": (t["e2"] - f["e2"], f["e2_err"]),
             "bulge": (bulge - logit(f["bulge_fraction"]), (q84 - q16) / (2 * Z68))}
    for rows in bins_of(f["snr"], least):
        result["ln_snr"].append(np.median(np.log(f["snr"][rows])))
        c = chi2[rows]
        result["position"].append((np.quantile(c, 0.68) / 2.2789 * np.quantile(c, 0.90) / 4.6052) ** 0.25)
        for b in bands:
            with np.errstate(divide="ignore"):
                residual = np.log(t["flux_" + b][rows]) - np.log(f["flux_" + b][rows])
            width = f["mag_err_raw_" + b][rows] / 1.0857362
            offset = np.clip(np.median(residual), -0.5, 0.5) if offsets else 0.0
            result["offset_" + b].append(offset)
            result["flux_" + b].append(width_factor((residual - offset) / width))
        for s in SHAPES:
            both = rows & galaxy
            delta, width = shape[s]
            result[s].append(width_factor((delta / width)[both]) if both.sum() >= least // 2
                             else (result[s][-1] if result[s] else 1.0))
    result["probability"] = [0.0, 1.0]
    if probability:
        deep = 31.4 - 2.5 * np.log10(truth["flux_" + reference]) < limit
        rows, _ = pairs(found, {k: truth[k][deep] for k in ("ra", "dec")}, 0.8 * radius)
        real = np.zeros(len(found["ra"]))
        real[rows] = 1
        result["probability"] = logistic(logit(found["detection_probability_raw"]), real)
    return result, len(mine)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("release")
    p.add_argument("truth")
    p.add_argument("model")
    p.add_argument("out")
    p.add_argument("--name", required=True, help="of the calibration, with its version")
    p.add_argument("--radius", type=float, default=1.0, help="of matches, arcsec: small in crowded fields")
    p.add_argument("--offsets", action="store_true", help="also move the mean ln fluxes")
    p.add_argument("--probability", action="store_true", help="also map the detection probability")
    a = p.parse_args()
    with open(a.model, "rb") as f:
        rest, entries = split_model(f.read())
    if entries.get("skyquilt.calibration", "none") != "none":
        raise SystemExit(f"{a.model}: is calibrated already; the release must come from the network as exported")
    bands = entries["skyquilt.bands"].split(",")
    result, count = fit(columns(a.release, "catalog"), columns(a.truth), bands, entries["skyquilt.reference"],
                        float(entries["skyquilt.limit"]), offsets=a.offsets, probability=a.probability, radius=a.radius)
    entries["skyquilt.calibration"] = a.name
    entries["skyquilt.calibration_sources"] = str(count)
    entries["skyquilt.calibration_knots"] = str(len(result["ln_snr"]))
    for key, values in result.items():
        entries["skyquilt.calibration_" + key] = ",".join(f"{v:.5g}" for v in values)
        print(f"{key:<12}", "  ".join(f"{v:8.4f}" for v in values))
    with open(a.out + ".partial", "wb") as f:
        f.write(rest + metadata(entries))
    os.replace(a.out + ".partial", a.out)
    print(f"{a.out}: calibration {a.name} from {count} sources")


if __name__ == "__main__":
    main()
