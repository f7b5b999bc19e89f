"""Tables of a cluster release against the truth of a simulated survey.

    python3 tools/evaluate_clusters.py --validation RELEASE:SURVEY --test RELEASE:SURVEY [--json FILE] [--plot FILE.png]

SURVEY is a folder of `skyquilt simulate` with the preset mm, RELEASE the release of a run over it with a network of maps.
Others over the same maps are given by name: RELEASE,plain=RELEASE,single=RELEASE,blind=RELEASE. Every field is one sky; errors
are from resampling whole fields, in pairs for differences. Thresholds, the conjunction of two scores among them, are frozen on
the validation fields. A method is a column of the table `clusters`; methods whose columns are missing are left out:

    single band   snr of `single`     matched filter at 150 GHz alone, best scale
    filter        snr of `plain`      matched filter, all bands, best scale; `plain` has a network of cutouts or none
    fixed scale   snr_fixed of `plain`     at the reference scale alone
    cutouts       cnn_cutout of `plain`    the network like DeepSZ's
    rank product  both of these       DeepSZ's combination: product of the ranks among all candidates
    both          both of these       two thresholds
    blind         cnn_target of `blind`    a network of maps without channels of the filter
    maps          cnn_target          the network of maps: candidates of the filter and of the network
    combined      probability         the calibrated probability

`tools/evaluate clusters` makes it all from nothing: validation and test skies, a run of each network, and skies that differ
from those the networks know.

Objects match within 1' (and 2'), one to one, heavier halos first; a target has Mvir > 2e14 Msun and z > 0.25. The cell
metric is DeepSZ's: cells of 6' on a grid, positive when a target lies in them, scored by their best candidate. There
DeepSZ's network also stands as it was meant ("cutouts, own cells"): one cutout centred on each cell, no candidates, over a part
of the fields. Calibration is of candidates that are not flagged as out of the network's domain.
"""

import argparse
import glob
import hashlib
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
import cluster_edges as edges
import cluster_metrics as cm
import evaluate_common as common

METHODS = {"single band": "single:snr", "filter": "plain:snr", "fixed scale": "plain:snr_fixed",
           "cutouts": "plain:cnn_cutout", "rank product": "plain:rank_product", "blind": "blind:cnn_target", "maps": "cnn_target", "combined": "probability"}
OUT_OF_DOMAIN = 8                # of the column flags
MARGIN = 30                      # arcmin of a field's edge that do not count
CELL = 6                         # arcmin
PURITIES = (0.6, 0.9)
MASS_EDGES = np.array([1, 1.5, 2, 3, 4, 6, 10]) * 1e14
REDSHIFT_EDGES = np.array([0.05, 0.25, 0.5, 0.8, 1.2, 2.0])


def columns(path, group):
    with h5py.File(path) as f:
        return {k: v[:] for k, v in f[group].items() if isinstance(v, h5py.Dataset)}


def candidates(releases):
    """The candidates of runs over the same maps by name, "" the first; columns that are NaN are not there."""
    found = {}
    for item in releases:
        name, _, path = item.rpartition("=")
        found[name] = {k: v for k, v in columns(path, "clusters").items()
                       if v.dtype.kind != "f" or not np.isnan(v).all()}
    return found


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
    found, skies = candidates(release.split(",")), []
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
        kept, sky = inside(halos["ra"], halos["dec"]), {}
        for name, table in found.items():
            here = inside(table["ra"], table["dec"])
            sky.update({f"{name}:{k}" if name else k: v[here] for k, v in table.items()})
        sky.update(halo_ra=halos["ra"][kept], halo_dec=halos["dec"][kept], mass=halos["mvir"][kept],
                   z=halos["z"][kept], halo_y0=halos["y0"][kept], halo_theta500=halos["theta500"][kept], centre=centre,
                   side=side)
        if "plain:cnn_cutout" in sky:
            # Where a cutout does not fit the network has not looked.
            score = sky["plain:cnn_cutout"]
            sky["plain:cnn_cutout"] = np.where(np.isfinite(score), score, -100.0)
        skies.append(sky)
    if not skies:
        raise SystemExit(f"{survey}: no fields with truth")
    if "plain:cnn_cutout" in skies[0]:
        whole = {k: np.concatenate([s[k] for s in skies]) for k in ("plain:snr_fixed", "plain:cnn_cutout")}
        ranks = np.split(cm.rank_product(whole, *whole), np.cumsum([len(s["plain:ra"]) for s in skies])[:-1])
        for sky, rank in zip(skies, ranks):
            sky["plain:rank_product"] = rank
    return skies


def seen(sky, score):
    """The sky with the candidates that a score belongs to."""
    name, _, column = score.rpartition(":")
    return ({**sky, "ra": sky[name + ":ra"], "dec": sky[name + ":dec"]} if name else sky), score


def cell_parts(skies, score):
    """A sky each: scores and truth of its cells, and the number of those that hold a target."""
    out = []
    for sky in skies:
        values, label = cm.cells(*seen(sky, score), CELL, sky["centre"], sky["side"])
        out.append((np.maximum(values, -1e30), label, int(label.sum())))      # empty cells come last, together
    return out


def object_parts(skies, score, radius=1.0, real=False):
    """A sky each: scores and truth of its candidates, and the number of halos that are wanted."""
    out = []
    for sky in skies:
        view, name = seen(sky, score)
        out.append(cm.candidates([view], name, radius, real))
    return out


def joined(parts):
    s, right, total = zip(*parts)
    return np.concatenate(s), np.concatenate(right), sum(total)


def measure(parts, thresholds=(), draws=0, seed=1):
    """[1 + draws][n]: completeness at the purities (own thresholds), best F1, then purity, completeness and F1 at frozen
    thresholds; first of the skies as they are, then of skies drawn anew, the same for every method."""
    s, right, _ = joined(parts)
    sky = np.repeat(np.arange(len(parts)), [len(p[0]) for p in parts])
    totals = np.array([p[2] for p in parts])
    order = np.argsort(-s, kind="stable")
    s, right, sky = s[order], right[order], sky[order]
    last = np.flatnonzero(np.append(np.diff(s) != 0, True))
    at = [np.searchsorted(-s, -t, side="right") - 1 for t in thresholds]
    rng = np.random.default_rng(seed)
    out = []
    for k in range(1 + draws):
        times = np.bincount(rng.integers(0, len(parts), len(parts)), minlength=len(parts)) if k else np.ones(len(parts), int)
        n = np.cumsum(times[sky])
        hits, total = np.cumsum(times[sky] * right), max(times @ totals, 1)
        score = lambda p, c: 2 * p * c / np.maximum(p + c, 1e-300)
        p, c = hits[last] / np.maximum(n[last], 1), hits[last] / total
        row = [c[p >= wanted].max(initial=0) for wanted in PURITIES] + [score(p, c).max(initial=0)]
        for j in at:
            p, c = (hits[j] / max(n[j], 1), hits[j] / total) if j >= 0 else (0.0, 0.0)
            row += [p, c, score(p, c)]
        out.append(row)
    return np.array(out)


def frozen(parts):
    """Thresholds for the purities and of the best F1."""
    s, right, total = joined(parts)
    t, p, c = cm.curve(s, right, total)
    best = t[np.argmax(2 * p * c / np.maximum(p + c, 1e-300))] if len(t) else np.inf
    return [cm.threshold_at(s, right, total, p) for p in PURITIES] + [float(best)]


NAMES = [f"completeness_at_{p}" for p in PURITIES] + ["f1"] + \
    [f"{what}_frozen_{t}" for t in (*PURITIES, "f1") for what in ("purity", "completeness", "f1")]


def both(validation, test, draws, parts):
    """DeepSZ's conjunction: thresholds of S/N and cutout score with the best F1 on the validation fields."""
    snr, right, total = joined(parts(validation, "plain:snr_fixed"))
    cnn = joined(parts(validation, "plain:cnn_cutout"))[0]
    _, t1, t2 = cm.best_and(snr, cnn, right, total)
    for sky in test:
        sky["plain:both"] = np.where((sky["plain:snr_fixed"] >= t1) & (sky["plain:cnn_cutout"] >= t2), 1.0, 0.0)
    rows = measure(parts(test, "plain:both"), [0.5], draws)[:, len(PURITIES) + 1:]
    return {"thresholds": [t1, t2], **pairs(("purity", "completeness", "f1"), rows)}


def pairs(names, rows):
    """Value and error of each column of what `measure` gives."""
    return {n: [float(v), float(e)] for n, v, e in zip(names, rows[0], rows[1:].std(0, ddof=1))}


def compare(validation, test, draws):
    """Every method in all metrics, and the gain of the last over each."""
    methods = {k: v for k, v in METHODS.items() if all(v in s for s in validation + test)}
    best = "combined" if "combined" in methods else "maps"
    result = {"fields": len(test), "area": float(sum(s["side"] ** 2 for s in test)),
              "targets": int(sum(cm.wanted(s).sum() for s in test))}
    for kind, parts in (("objects", object_parts), ("cells", cell_parts),
                        ("objects_2arcmin", lambda s, k: object_parts(s, k, 2.0)),
                        ("real", lambda s, k: object_parts(s, k, 1.0, True))):
        result[kind], rows = {}, {}
        for name, score in methods.items():
            thresholds = frozen(parts(validation, score))
            rows[name] = measure(parts(test, score), thresholds, draws)
            result[kind][name] = {"thresholds": thresholds, **pairs(NAMES, rows[name])}
        if "cutouts" in methods and kind in ("objects", "cells"):
            result[kind]["both"] = both(validation, test, draws, parts)
        for base in methods if best in methods and kind in ("objects", "cells") else ():
            result.setdefault("gain", {}).setdefault(kind, {})[base] = pairs(NAMES[:3], rows[best] - rows[base])
    return result


def calibration(skies, draws=200):
    """Expected calibration error and reliability of both probabilities, where they are, and the share of flagged rows;
    `floor` is the error that so many candidates show when the probabilities are right."""
    out = {}
    for name, column, real in (("target", "probability", False), ("halo", "probability_halo", True)):
        if column not in skies[0]:
            continue
        parts = []
        for sky, (p, right, _) in zip(skies, object_parts(skies, column, 1.0, real)):
            flagged = (sky["flags"] & OUT_OF_DOMAIN) != 0 if "flags" in sky else np.zeros(len(p), bool)
            parts.append((np.where(flagged, -1, p), right, int(flagged.sum())))
        value, error = cm.bootstrap(
            lambda p: np.array([cm.expected_calibration_error(*joined(p)[:2])]), parts, draws)
        p, right, flagged = joined(parts)
        rng = np.random.default_rng(5)
        floor = np.mean([cm.expected_calibration_error(p, rng.random(len(p)) < p) for _ in range(20)])
        out[name] = {"error": [float(value[0]), float(error[0])], "floor": float(floor), "candidates": int((p > 0.05).sum()),
                     "flagged": flagged / max(len(p), 1),
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


SNR_EDGES = (5, 8, 11, 15, 25, 1000)


def coverage(skies, draws=200):
    """By S/N of matched candidates, at last of all: how often one and 1.96 standard errors hold the truth of y0, ln theta500
    and place, and the medians of y0 and of the filter's own y0 over the truth's; of the former with its error."""
    rows = []
    for sky in skies:
        halo = cm.match(sky, np.asarray(sky["snr"], float), 1.0)
        use = (halo >= 0) & (sky["snr"] > SNR_EDGES[0])
        c, h = {k: np.asarray(v)[use] for k, v in sky.items() if np.shape(v) == halo.shape}, halo[use]
        east = (c["ra"] - sky["halo_ra"][h] + 180) % 360 - 180
        rows.append(np.stack([c["snr"], c["y0"] / sky["halo_y0"][h], c["y0_peak"] / sky["halo_y0"][h],
                              (c["y0"] - sky["halo_y0"][h]) / c["y0_err"],
                              np.log(c["theta500"] / sky["halo_theta500"][h]) / c["ln_theta500_err"],
                              3600 * east * np.cos(np.radians(c["dec"])) / c["ra_err"],
                              3600 * (c["dec"] - sky["halo_dec"][h]) / c["dec_err"]]))
    out = []
    for low, high in [*zip(SNR_EDGES[:-1], SNR_EDGES[1:]), (SNR_EDGES[0], SNR_EDGES[-1])]:
        parts = [r[:, (r[0] >= low) & (r[0] < high)] for r in rows]
        ratio, error = cm.bootstrap(lambda p: np.median(np.concatenate(p, 1)[1]), parts, draws)
        _, _, peak, y0, theta, x, y = np.concatenate(parts, 1)
        within = lambda pull, k: float((np.abs(pull) < k).mean())
        out.append({"snr": [low, high], "n": len(y0), "y0 over truth": [float(ratio), float(error)],
                    "peak over truth": float(np.median(peak)),
                    **{name: [within(pull, 1), within(pull, 1.96)] for name, pull in (
                        ("y0", y0), ("theta500", theta), ("place", np.concatenate([x, y])))}})
    return out


def draw(skies, result, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, 3, figsize=(16, 4.5))
    for name in (n for n in result["objects"] if n in METHODS):
        s, right, total = joined(object_parts(skies, METHODS[name]))
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
    table = result["completeness_map"]
    mass, z = (np.array(table[k]) for k in ("mass", "z"))
    share, halos = np.array(table["completeness"]), np.array(table["halos"])
    for k in range(len(z) - 1):
        some = halos[:, k] > 10
        axes[2].errorbar(np.sqrt(mass[1:] * mass[:-1])[some], share[some, k], np.sqrt(
            (share * (1 - share) / np.maximum(halos, 1))[some, k]), marker="o", label=f"z {z[k]:g} to {z[k + 1]:g}")
    axes[2].set(xscale="log", xlabel="Mvir [Msun]", ylabel=f"completeness at {table['score']} > {table['threshold']:.2f}")
    axes[2].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def evaluate(validation, test, draws=200):
    result = compare(validation, test, draws)
    result["calibration"] = calibration(test)
    best = next(k for k in ("probability", "cnn_target", "snr") if k in test[0])
    threshold = frozen(object_parts(validation, best))[0]
    result["completeness_map"] = {"score": best, "threshold": threshold, **completeness_map(test, best, threshold)}
    result["mass"] = masses(test)
    result["coverage"] = coverage(test)
    return result


def say_calibration(rows, name):
    for kind, row in rows.items():
        print(f"  calibration error of P({kind}), {name}: {row['error'][0]:.4f}+-{row['error'][1]:.4f} (were it perfect, "
              f"{row['floor']:.4f}), {row['candidates']} candidates, out of domain {row['flagged']:.3f}", flush=True)


def say(result):
    for kind in ("objects", "cells"):
        print(f"{kind}: {result['fields']} fields, {result['area']:.0f} deg^2, {result['targets']} targets")
        for name, row in result[kind].items():
            print(f"  {name:<18} " + "  ".join(f"{k} {row[k][0]:.3f}+-{row[k][1]:.3f}"
                                             for k in (*NAMES[:3], "purity", "completeness") if k in row))
        for base, row in result.get("gain", {}).get(kind, {}).items():
            print(f"  gain over {base:<14}" + "  ".join(f"{k} {v[0]:+.3f}+-{v[1]:.3f}" for k, v in row.items()))
    say_calibration(result["calibration"], "test skies")
    for row in result["coverage"]:
        print("  S/N {}-{}: n {}, y0 over truth {:.3f}+-{:.3f}, at the peak {:.3f}".format(
            *row["snr"], row["n"], *row["y0 over truth"], row["peak over truth"]) + "".join(
            ", {} within 1 and 1.96 errors {:.2f} {:.2f}".format(k, *row[k]) for k in ("y0", "theta500", "place")))
    if result["mass"]:
        print("  mass: n {n}, bias {bias:+.3f}, scatter {scatter:.3f}, pull {pull:.2f}".format(**result["mass"]))


MODELS = os.path.join(common.ROOT, "tools", "models")
GHZ, FWHM = (95, 150, 220), (1.7, 1.2, 1.0)
# What a calibration that was frozen elsewhere meets: keys of the simulator.
OTHER_SKIES = {"Battaglia": {"gas": "battaglia"}, "noise +20%": {"noise_factor": 1.2}, "noise -20%": {"noise_factor": 0.8},
               "beams +20%": {"fwhm": [round(1.2 * f, 3) for f in FWHM]},
               "beams -20%": {"fwhm": [round(0.8 * f, 3) for f in FWHM]}, "radio sources twice": {"radio_cluster": 2}}
# Without beams, more scatter of ln Y at given mass (0.2), more of the clusters with a second clump, twice the radio sources.
HARD_SKY = {"beams": False, "scatter": 0.3, "substructure": 0.3, "radio_cluster": 2}
TRAINING_SEED_LIMIT = 20000
OWN_CELLS = 112                  # a side, of each field: a quarter of it
# The layers whose sources decide what a survey and a release hold.
SKY_LAYERS, RUN_LAYERS = ("fourier", "sim"), ("clusters", "nn", "sky")


class Skies:
    """Surveys and releases in a folder. What is there is used again when its configuration, its network and the sources
    that made it are the same."""

    def __init__(self, folder, models):
        self.folder, self.models = folder, models
        os.makedirs(folder, exist_ok=True)

    def make(self, name, text, command, given):
        """The folder NAME, made by a command of the program on a configuration unless it is there."""
        path, config = os.path.join(self.folder, name), os.path.join(self.folder, name + ".yaml")
        key = hashlib.sha256((text + given).encode()).hexdigest()
        if os.path.exists(path + ".key"):
            with open(path + ".key") as f:
                if f.read() == key:
                    return path, key
            os.remove(path + ".key")
        shutil.rmtree(path, ignore_errors=True)
        with open(config, "w") as out:
            out.write(text)
        _, seconds = common.run(command, config, "--output", path, "--quiet", ranks=2 if command == "simulate" else 3)
        with open(path + ".key", "w") as out:
            out.write(key)
        common.say(f"{command} {name}: {seconds:.0f} s")
        return path, key

    def survey(self, name, seed, fields, side, **keys):
        text = f"preset: mm\nseed: {seed}\nfields: {fields}\nside: {side}\n" + \
            "".join(f"{k}: {str(v).lower() if isinstance(v, bool) else v}\n" for k, v in keys.items())
        return self.make(name, text, "simulate", sources(SKY_LAYERS))

    def release(self, name, sky, key, run):
        """The release of one run over a survey: of a network, or of the filter at 150 GHz alone."""
        ghz, model = (GHZ, self.models[run]) if run in self.models else ((150,), None)
        with open(sky + ".yaml") as f:
            averaged = "beams: false" in f.read()     # without beams the maps are means over their pixels
        text = "probe: clusters\n" + (f"model: {model}\n" if model else "") + (
            f"clusters:\n    ghz: {list(ghz)}\n    maps: [{', '.join(f'{sky}/field-*-{g}.fits' for g in ghz)}]\n"
            f"    beams: [{', '.join(f'{sky}/beam-{g}.txt' for g in ghz)}]\n    pixel_window: {str(averaged).lower()}\n"
            f"    map_pixel: 0\n    min_snr: 3.5\n    passes: {1 if run == 'deepsz' else 4}\n")
        given = key + sources(RUN_LAYERS) + (digest(model) if model else "")
        return os.path.join(self.make(f"{name}-{run}", text, "run", given)[0], "release.h5")

    def own_cells(self, name, sky, key):
        """As cell_parts: the network like DeepSZ's over cells of the middle of each field."""
        path = os.path.join(self.folder, name + "-cells.npz")
        key = digest(self.models["deepsz"]) + key + sources(("nn",)) + str(OWN_CELLS)
        if os.path.exists(path):
            with np.load(path) as f:
                if str(f["key"]) == key:
                    return [(s, r, int(r.sum())) for s, r in zip(f["score"], f["label"])]
        found = []
        for k in range(len(glob.glob(os.path.join(sky, "field-*-truth.h5")))):
            maps, halos = edges.read_field(sky, k)
            core = edges.CORE
            n = min(OWN_CELLS, maps.shape[1] // core - 2)
            first = (maps.shape[1] - n * core) // 2
            corners = first + core * np.stack(np.meshgrid(np.arange(n), np.arange(n)), -1).reshape(-1, 2)
            label = np.zeros((n + 2, n + 2), bool)
            want = (halos["mvir"] > cm.WANTED_MASS) & (halos["z"] > cm.WANTED_REDSHIFT)
            column, row = (np.clip(np.floor((halos[a][want] + 0.5 - first) / core).astype(int) + 1, 0, n + 1) for a in "xy")
            label[row, column] = True
            found.append((edges.score(common.PROGRAM, self.models["deepsz"], edges.cutouts(maps, corners.astype(float))),
                          label[1:-1, 1:-1].ravel()))
        np.savez(path, key=key, score=[s for s, _ in found], label=[r for _, r in found])
        return [(s, r, int(r.sum())) for s, r in found]

    def load(self, name, seed, fields, side, runs, **keys):
        """The skies of a survey with what all runs over it found."""
        sky, key = self.survey(name, seed, fields, side, **keys)
        releases = {run: self.release(name, sky, key, run) for run in runs}
        names = {"clusters": "", "deepsz": "plain="}
        return load(",".join(names.get(run, run + "=") + r for run, r in releases.items()), sky)


def digest(*paths):
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as f:
            total.update(f.read())
    return total.hexdigest()


def sources(layers):
    paths = [p for layer in layers for top in ("src", os.path.join("include", "skyquilt"))
             for p in glob.glob(os.path.join(common.ROOT, top, layer, "*.[ch]"))]
    return digest(*sorted(paths))


def plan(seed, quick):
    """Name, seed, fields, side in pixels and keys of each survey. A field loses half a degree at each edge: of 2816
    pixels 505 deg^2 are left, of 2048 258, of 1536 139, of 1200 81."""
    many, one, side = (10, 2, 2816) if not quick else (2, 1, 1200)
    middle = min(side, 2048)
    out = {"validation": (4301, one, middle, {"beams": False}), "test": (seed, many, side, {"beams": False}),
           "test-hard": (seed + 20, one, middle, HARD_SKY), "validation-beams": (4201, one, middle, {}),
           "test-beams": (seed + 1, many, min(side, 1536), {})}
    for k, keys in enumerate(OTHER_SKIES.values() if not quick else ()):
        out[f"other-{k}"] = (seed + 2 + k, one, middle, keys)
    return out


def judge(result, beams, others, criteria):
    """The numbers that are asked for."""
    objects, cells = result["objects"], result["cells"]
    best = "combined" if "combined" in objects else "maps"
    bases = [b for b in ("single band", "filter", "fixed scale", "cutouts") if b in objects]
    base = max(bases, key=lambda b: objects[b]["completeness_at_0.6"][0])
    value, error = result["gain"]["objects"][base]["completeness_at_0.6"]
    criteria.add(f"completeness at purity .60, {best} minus {base}", value, 0.10, error)
    if "rank product" in objects:
        value, error = result["gain"]["objects"]["rank product"]["completeness_at_0.6"]
        criteria.add(f"completeness at purity .60, {best} minus rank product", value, 0.05, error)
    criteria.add(f"best F1, cells, {best}", cells[best]["f1"][0], 0.684, cells[best]["f1"][1])
    for name, skies in (("test skies", result["calibration"]), ("with beams", beams["calibration"]), *others.items()):
        for kind, row in skies.items():
            criteria.add(f"calibration error of P({kind}), {name}", row["error"][0], 0.04 if name in others else 0.02,
                         row["error"][1], least=False)
        if name not in others and skies:
            criteria.add(f"flagged out of domain, {name}", skies["target"]["flagged"], 0.05, least=False)
    for name, tables in (("test skies", result), ("with beams", beams)):
        value, error = tables["coverage"][-1]["y0 over truth"]
        criteria.add(f"bias of y0, S/N above {SNR_EDGES[0]}, {name}", abs(value - 1), 0.02, error, least=False)


def finite(value):
    """A record's value with None for what is no number: a purity that is never reached has no threshold."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return value if not isinstance(value, float) or np.isfinite(value) else None


def remake(options):
    """Everything again, for tools/evaluate."""
    if options.seed < TRAINING_SEED_LIMIT:
        raise SystemExit(f"tools/evaluate: seeds below {TRAINING_SEED_LIMIT} belong to training and validation")
    begin, criteria = time.monotonic(), common.Criteria()
    paths = {"clusters": options.model or os.path.join(MODELS, "clusters.onnx"),
             "deepsz": os.path.join(MODELS, "deepsz.onnx"), "blind": os.path.join(MODELS, "clusters-blind.onnx")}
    models = {k: os.path.abspath(v) for k, v in paths.items() if os.path.exists(v)}
    folder = os.path.abspath(os.path.join(options.folder, "quick" if options.quick else "")) if options.folder else \
        common.work_folder("evaluate-")
    skies, todo = Skies(folder, models), plan(options.seed, options.quick)
    try:
        if options.prepare:
            for name, (seed, fields, side, keys) in todo.items():
                skies.survey(name, seed, fields, side, **keys)
            return
        common.say(f"networks: {', '.join(models)}")
        found = {}
        for name, (seed, fields, side, keys) in todo.items():
            more = [] if name.startswith("other") else ["deepsz"] if "deepsz" in models else ["single"]
            if name in ("validation", "test"):
                more = [*(m for m in models if m != "clusters"), "single"]
            runs = ["clusters", *more]
            found[name] = skies.load(name, seed, fields, side, runs, **keys)
        result = evaluate(found["validation"], found["test"])
        hard = evaluate(found["validation"], found["test-hard"])
        if "deepsz" in models:
            for name, tables in (("test", result), ("test-hard", hard)):
                seed, fields, side, keys = todo[name]
                parts = skies.own_cells(name, *skies.survey(name, seed, fields, side, **keys))
                tables["cells"]["cutouts, own cells"] = pairs(NAMES[:3], measure(parts, draws=200))
            result["edge"] = edges.measure(models["deepsz"], os.path.join(folder, "validation"), common.PROGRAM, grids=3)
            edges.say(result["edge"])
        say(result)
        common.say("\nhard sky")
        say(hard)
        common.say("\nwith beams")
        beams = evaluate(found["validation-beams"], found["test-beams"])
        say(beams)
        others = {n: calibration(found[f"other-{k}"]) for k, n in enumerate(OTHER_SKIES) if f"other-{k}" in found}
        for name, rows in others.items():
            say_calibration(rows, name)
        if not options.model and not options.quick:
            results = os.path.join(common.ROOT, "tools", "results")
            draw(found["test"], result, os.path.join(results, "clusters.png"))
            if "edge" in result:
                edges.draw(result["edge"], os.path.join(results, "cluster-edges.png"))
        judge(result, beams, others, criteria)
    finally:
        if options.keep or options.folder:
            common.say(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if not options.model:
        tables = {**result, "hard": hard, "beams": beams, "other_skies": others}
        common.record("clusters", options.seed, criteria, finite(tables), options.json, time.monotonic() - begin,
                      options.quick)
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
