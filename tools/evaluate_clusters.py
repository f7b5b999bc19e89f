"""Tables of a cluster release against the truth of a simulated survey.

    python3 tools/evaluate_clusters.py --validation RELEASE:SURVEY --test RELEASE:SURVEY [--json FILE] [--plot FILE.png]

SURVEY is a folder of `skyquilt simulate` with the preset mm, RELEASE the release of a run over it. Releases of runs that
differ in their network alone are given together, RELEASE,RELEASE: a column that is NaN is taken from a later one. Every
field is one sky; errors are from resampling fields, in pairs for differences. Thresholds, the conjunction of two scores among them, are
frozen on the validation fields. A method is a column of the table `clusters`; methods whose columns are missing are left out:

    filter        snr           matched filter, all bands, best scale
    fixed scale   snr_fixed     at the reference scale alone
    cutouts       cnn_cutout    the network like DeepSZ's
    maps          cnn_target    the fully convolutional network
    rank product  snr, cnn_cutout    DeepSZ's combination
    both          snr, cnn_cutout    two thresholds
    combined      probability   the calibrated probability

`tools/evaluate clusters` makes it all from nothing: validation and test skies, a run of each network, and skies that differ
from those the networks know.

Objects match within 1' (and 2'), one to one, heavier halos first; a target has Mvir > 2e14 Msun and z > 0.25. The cell
metric is DeepSZ's: cells of 6' on a grid, positive when a target lies in them, scored by their best candidate.
"""

import argparse
import glob
import json
import shutil
import time
import os
import re
import sys

import h5py
import numpy as np
from astropy.io import fits

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cluster_metrics as cm
import evaluate_common as common

METHODS = {"filter": "snr", "fixed scale": "snr_fixed", "cutouts": "cnn_cutout", "maps": "cnn_target",
           "rank product": "rank_product", "combined": "probability"}
MARGIN = 30                      # arcmin of a field's edge that do not count
PURITIES = (0.6, 0.9)
MASS_EDGES = np.array([1, 1.5, 2, 3, 4, 6, 10]) * 1e14
REDSHIFT_EDGES = np.array([0.05, 0.25, 0.5, 0.8, 1.2, 2.0])


def columns(path, group):
    with h5py.File(path) as f:
        return {k: v[:] for k, v in f[group].items() if isinstance(v, h5py.Dataset)}


def merged(releases):
    """The candidates of runs over the same maps; what one lacks comes from the next."""
    found = columns(releases[0], "clusters")
    for path in releases[1:]:
        other = columns(path, "clusters")
        if not (np.array_equal(found["ra"], other["ra"]) and np.array_equal(found["dec"], other["dec"])):
            raise SystemExit(f"{path}: other candidates than {releases[0]}")
        for name, column in other.items():
            if name not in found or (column.dtype.kind == "f" and np.isnan(found[name]).all()):
                found[name] = column
    return {k: v for k, v in found.items() if v.dtype.kind != "f" or not np.isnan(v).all()}


def plane(ra, dec, centre):
    """Equal-area offsets east and north of a field's centre, deg, and whether a point is on its side of the sky."""
    v, (r0, d0) = cm.unit_vectors(ra, dec), np.radians(centre)
    east = np.array([-np.sin(r0), np.cos(r0), 0])
    north = np.array([-np.sin(d0) * np.cos(r0), -np.sin(d0) * np.sin(r0), np.cos(d0)])
    up = v @ np.array([np.cos(d0) * np.cos(r0), np.cos(d0) * np.sin(r0), np.sin(d0)])
    scale = np.degrees(np.sqrt(2 / (1 + np.clip(up, -0.999, 1))))
    return v @ east * scale, v @ north * scale, up > 0


def load(release, survey):
    """One sky a field: candidates and halos more than MARGIN within its edges."""
    found, skies = merged(release.split(",")), []
    for truth in sorted(glob.glob(os.path.join(survey, "field-*-truth.h5"))):
        number = re.search(r"field-(\d+)-truth", truth).group(1)
        maps = [p for p in glob.glob(os.path.join(survey, f"field-{number}-*.fits"))
                if re.search(r"-[0-9.]+\.fits$", p)]
        header = fits.getheader(sorted(maps)[0])
        centre = (header["CRVAL1"], header["CRVAL2"])
        side = abs(header["CDELT2"]) * min(header["NAXIS1"], header["NAXIS2"]) - 2 * MARGIN / 60

        def inside(ra, dec):
            x, y, near = plane(ra, dec, centre)
            return near & (np.abs(x) < side / 2) & (np.abs(y) < side / 2)

        halos = columns(truth, "halos")
        here, kept = inside(found["ra"], found["dec"]), inside(halos["ra"], halos["dec"])
        sky = {k: v[here] for k, v in found.items()}
        sky.update(halo_ra=halos["ra"][kept], halo_dec=halos["dec"][kept], mass=halos["mvir"][kept],
                   z=halos["z"][kept], centre=centre, side=side)
        if "cnn_cutout" in sky:
            # Where a cutout does not fit the network has not looked.
            sky["cnn_cutout"] = np.where(np.isfinite(sky["cnn_cutout"]), sky["cnn_cutout"], -100.0)
            sky["rank_product"] = cm.rank_product(sky, "snr", "cnn_cutout")
        skies.append(sky)
    if not skies:
        raise SystemExit(f"{survey}: no fields with truth")
    return skies


def cell_values(skies, score):
    parts = [cm.cells(s, score, 6, s["centre"], s["side"]) for s in skies]
    values, label = (np.concatenate(v) for v in zip(*parts))
    return np.maximum(values, -1e30), label, int(label.sum())      # empty cells come last, together


def object_values(skies, score, radius=1.0, real=False):
    return cm.candidates(skies, score, radius, real)


def measure(skies, score, values, thresholds):
    """[completeness at the purities (own thresholds), best F1, then purity, completeness, F1 at frozen thresholds]"""
    s, right, total = values(skies, score)
    out = [cm.completeness_at(s, right, total, p) for p in PURITIES] + [cm.best_f1(s, right, total)]
    for t in thresholds:
        out += cm.at_threshold(s, right, total, t)
    return np.array(out)


def frozen(skies, score, values):
    s, right, total = values(skies, score)
    t, p, c = cm.curve(s, right, total)
    best = t[np.argmax(2 * p * c / np.maximum(p + c, 1e-300))] if len(t) else np.inf
    return [cm.threshold_at(s, right, total, p) for p in PURITIES] + [float(best)]


NAMES = [f"completeness_at_{p}" for p in PURITIES] + ["f1"] + \
    [f"{what}_frozen_{t}" for t in (*PURITIES, "f1") for what in ("purity", "completeness", "f1")]


def both(validation, test):
    """DeepSZ's conjunction: thresholds of S/N and cutout score with the best F1 on the validation fields."""
    def values(skies):
        snr, right, total = object_values(skies, "snr")
        return snr, np.concatenate([s["cnn_cutout"] for s in skies]), right, total
    snr, cnn, right, total = values(validation)
    _, t1, t2 = cm.best_and(snr, cnn, right, total)

    def statistic(skies):
        snr, cnn, right, total = values(skies)
        return np.array(cm.at_threshold(np.where((snr >= t1) & (cnn >= t2), 1.0, 0.0), right, total, 0.5))
    value, error = cm.bootstrap(statistic, test, draws=200)
    return {"thresholds": [t1, t2], **pairs(("purity", "completeness", "f1"), value, error)}


def pairs(names, value, error):
    return {n: [float(v), float(e)] for n, v, e in zip(names, value, error)}


def compare(validation, test, draws):
    """Every method in both metrics, and the gain of the last over the better of the first and the cutouts."""
    methods = {k: v for k, v in METHODS.items() if all(v in s for s in validation + test)}
    result = {"fields": len(test), "area": float(sum(s["side"] ** 2 for s in test)), "objects": {}, "cells": {},
              "objects_2arcmin": {}, "real": {}}
    for kind, values in (("objects", object_values), ("cells", cell_values),
                         ("objects_2arcmin", lambda s, k: object_values(s, k, 2.0)),
                         ("real", lambda s, k: object_values(s, k, 1.0, True))):
        for name, score in methods.items():
            thresholds = frozen(validation, score, values)
            value, error = cm.bootstrap(
                lambda skies, v=values, k=score, t=thresholds: measure(skies, k, v, t), test, draws)
            result[kind][name] = {"thresholds": thresholds, **pairs(NAMES, value, error)}
    if "cutouts" in methods:
        result["objects"]["both"] = both(validation, test)
    best = "combined" if "combined" in methods else "maps"
    for base in methods if best in methods else ():
        def gain(skies, k=methods[base]):
            own, other = (measure(skies, m, object_values, ()) for m in (methods[best], k))
            return own - other
        value, error = cm.bootstrap(gain, test, draws)
        result.setdefault("gain", {})[base] = pairs(NAMES[:3], value, error)
    return result


def calibration(skies):
    """Expected calibration error and reliability of both probabilities, where they are."""
    out = {}
    for name, column, real in (("target", "probability", False), ("halo", "probability_halo", True)):
        if column not in skies[0]:
            continue
        value, error = cm.bootstrap(
            lambda s: np.array([cm.expected_calibration_error(*object_values(s, column, 1.0, real)[:2])]), skies, 200)
        p, right, _ = object_values(skies, column, 1.0, real)
        out[name] = {"error": [float(value[0]), float(error[0])],
                     "reliability": cm.reliability(p, right, np.linspace(0, 1, 11))}
    return out


def completeness_map(skies, score, threshold):
    """Share of halos found above a threshold in bins of mass and redshift, with their numbers."""
    shape = len(MASS_EDGES) - 1, len(REDSHIFT_EDGES) - 1
    found, total = np.zeros(shape), np.zeros(shape)
    for sky in skies:
        matched = cm.match(sky, np.asarray(sky[score], float), 1.0)
        hit = np.zeros(len(sky["mass"]), bool)
        chosen = (matched >= 0) & (sky[score] >= threshold)
        hit[matched[chosen]] = True
        edges = (MASS_EDGES, REDSHIFT_EDGES)
        total += np.histogram2d(sky["mass"], sky["z"], edges)[0]
        found += np.histogram2d(sky["mass"][hit], sky["z"][hit], edges)[0]
    return {"mass": MASS_EDGES.tolist(), "z": REDSHIFT_EDGES.tolist(), "halos": total.tolist(),
            "completeness": (found / np.maximum(total, 1)).tolist()}


def masses(skies):
    """Bias and scatter of ln mass of matched candidates that are more likely targets than not, and of its pull."""
    if not all(k in skies[0] for k in ("cnn_ln_mass", "cnn_ln_mass_err", "cnn_target")):
        return None
    delta, pull = [], []
    for sky in skies:
        halo = cm.match(sky, np.asarray(sky["cnn_target"], float), 1.0)
        use = (halo >= 0) & (np.asarray(sky["cnn_target"]) > 0)
        d = sky["cnn_ln_mass"][use] - np.log(sky["mass"][halo[use]] / cm.WANTED_MASS)
        delta.append(d)
        pull.append(d / sky["cnn_ln_mass_err"][use])
    delta, pull = np.concatenate(delta), np.concatenate(pull)
    return {"n": len(delta), "bias": float(delta.mean()), "scatter": float(delta.std()), "pull": float(pull.std())}


def draw(skies, result, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5))
    for name in (n for n in result["objects"] if n in METHODS):
        s, right, total = object_values(skies, METHODS[name])
        _, p, c = cm.curve(s, right, total)
        axes[0].plot(c, p, label=name)
    axes[0].set(xlabel="completeness", ylabel="purity", xlim=(0, 1), ylim=(0, 1))
    axes[0].legend()
    for name, c in result["calibration"].items():
        r = c["reliability"]
        axes[1].errorbar([b["predicted"] for b in r], [b["frequency"] for b in r], [b["error"] for b in r], marker="o",
                         label=f"{name}, error {c['error'][0]:.3f}")
    axes[1].plot([0, 1], [0, 1], "k:")
    axes[1].set(xlabel="probability", ylabel="frequency")
    axes[1].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def evaluate(validation, test, draws=200):
    result = compare(validation, test, draws)
    result["calibration"] = calibration(test)
    best = "probability" if "probability" in test[0] else "cnn_target" if "cnn_target" in test[0] else "snr"
    threshold = frozen(validation, best, object_values)[0]
    result["completeness_map"] = {"score": best, "threshold": threshold, **completeness_map(test, best, threshold)}
    result["mass"] = masses(test)
    return result


def say_calibration(rows, name):
    for kind, row in rows.items():
        print(f"  calibration error of P({kind}), {name}: {row['error'][0]:.4f}+-{row['error'][1]:.4f}", flush=True)


def say(result):
    for kind in ("objects", "cells"):
        print(f"{kind}: {result['fields']} fields, {result['area']:.0f} deg^2")
        for name, row in result[kind].items():
            print(f"  {name:<14}" + "  ".join(f"{k} {row[k][0]:.3f}+-{row[k][1]:.3f}"
                                             for k in (*NAMES[:3], "purity", "completeness") if k in row))
    for base, row in result.get("gain", {}).items():
        print(f"  gain over {base:<14}" + "  ".join(f"{k} {v[0]:+.3f}+-{v[1]:.3f}" for k, v in row.items()))
    say_calibration(result["calibration"], "test skies")
    if result["mass"]:
        print("  mass: n {n}, bias {bias:+.3f}, scatter {scatter:.3f}, pull {pull:.2f}".format(**result["mass"]))


MODELS = [os.path.join(common.ROOT, "tools", "models", name) for name in ("clusters.onnx", "deepsz.onnx")]
GHZ, FWHM, NOISE = (95, 150, 220), (1.7, 1.2, 1.0), (2.8, 2.6, 6.6)
# What a calibration that was frozen elsewhere meets: keys of the simulator.
OTHER_SKIES = {"Battaglia": {"gas": "battaglia"}, "noise +20%": {"noise_factor": 1.2}, "noise -20%": {"noise_factor": 0.8},
               "beams +20%": {"fwhm": [round(1.2 * f, 3) for f in FWHM]},
               "beams -20%": {"fwhm": [round(0.8 * f, 3) for f in FWHM]}, "radio sources twice": {"radio_cluster": 2}}
TRAINING_SEED_LIMIT = 20000


def make_sky(folder, name, seed, fields, models, **keys):
    """Simulate a survey and run every network over it; gives RELEASE,RELEASE and the survey's folder."""
    sky, releases = os.path.join(folder, name), []
    with open(sky + ".yaml", "w") as out:
        out.write(f"preset: mm\nseed: {seed}\nfields: {fields}\n" + "".join(f"{k}: {v}\n" for k, v in keys.items()))
    common.run("simulate", sky + ".yaml", "--output", sky, "--quiet", ranks=2)
    for number, model in enumerate(models):
        config = f"{sky}-{number}.yaml"
        with open(config, "w") as out:
            out.write(f"probe: clusters\nmodel: {model}\nclusters:\n    ghz: {list(GHZ)}\n    maps: "
                      f"[{', '.join(f'{sky}/field-*-{g}.fits' for g in GHZ)}]\n    beams: "
                      f"[{', '.join(f'{sky}/beam-{g}.txt' for g in GHZ)}]\n    pixel_window: false\n"
                      "    map_pixel: 0\n    min_snr: 3.5\n")
        out = f"{sky}-{number}"
        common.run("run", config, "--output", out, "--quiet", ranks=3)
        releases.append(os.path.join(out, "release.h5"))
    return ",".join(releases), sky


def judge(result, others, criteria):
    """The numbers that are asked for."""
    objects, cells = result["objects"], result["cells"]
    best = "combined" if "combined" in objects else "maps"
    bases = [b for b in ("filter", "fixed scale", "cutouts") if b in objects]
    base = max(bases, key=lambda b: objects[b]["completeness_at_0.6"][0])
    value, error = result["gain"][base]["completeness_at_0.6"]
    criteria.add(f"completeness at purity .60, {best} minus {base}", value, 0.10, error)
    if "rank product" in objects:
        value, error = result["gain"]["rank product"]["completeness_at_0.6"]
        criteria.add(f"completeness at purity .60, {best} minus rank product", value, 0.05, error)
    criteria.add(f"best F1, cells, {best}", cells[best]["f1"][0], 0.684, cells[best]["f1"][1])
    for name, skies in (("test skies", result["calibration"]), *others.items()):
        for kind, row in skies.items():
            criteria.add(f"calibration error of P({kind}), {name}", row["error"][0],
                         0.02 if name == "test skies" else 0.04, row["error"][1], least=False)


def remake(options):
    """Everything again, for tools/evaluate."""
    if options.seed < TRAINING_SEED_LIMIT:
        raise SystemExit(f"tools/evaluate: seeds below {TRAINING_SEED_LIMIT} belong to training and validation")
    begin, criteria = time.monotonic(), common.Criteria()
    models = [options.model] if options.model else [m for m in MODELS if os.path.exists(m)]
    folder = common.work_folder("evaluate-")
    try:
        common.say(f"networks: {', '.join(os.path.basename(m) for m in models)}")
        # Fields of 81 deg^2 inside their margins: 62 are 5000.
        validation = load(*make_sky(folder, "validation", 4201, 2 if options.quick else 6, models))
        test = load(*make_sky(folder, "test", options.seed, 3 if options.quick else 62, models))
        result = evaluate(validation, test)
        say(result)
        others = {}
        for k, (name, keys) in enumerate(OTHER_SKIES.items() if not options.quick else ()):
            skies = load(*make_sky(folder, f"other-{k}", options.seed + 1 + k, 4, models[:1], **keys))
            others[name] = calibration(skies)
            say_calibration(others[name], name)
        if not options.model:
            draw(test, result, os.path.join(common.ROOT, "tools", "results", "clusters.png"))
        judge(result, others, criteria)
    finally:
        if options.keep:
            common.say(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if not options.model:
        common.record("clusters", options.seed, criteria, {**result, "other_skies": others}, options.json,
                      time.monotonic() - begin, options.quick)
    common.finish(criteria)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--validation", nargs="+", required=True, metavar="RELEASE:SURVEY")
    p.add_argument("--test", nargs="+", required=True, metavar="RELEASE:SURVEY")
    p.add_argument("--draws", type=int, default=200, help="of the bootstrap")
    p.add_argument("--json")
    p.add_argument("--plot")
    a = p.parse_args()
    validation, test = ([sky for item in given for sky in load(*item.split(":", 1))]
                        for given in (a.validation, a.test))
    result = evaluate(validation, test, a.draws)
    say(result)
    if a.json:
        with open(a.json, "w") as f:
            json.dump(result, f, indent=1)
    if a.plot:
        draw(test, result, a.plot)


if __name__ == "__main__":
    main()
