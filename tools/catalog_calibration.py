"""Whether the posteriors of a catalogue hold: coverage in bins of what was predicted, and the distribution of PIT values.

Matched sources only, with a detection probability of at least 0.5. Bins are of predicted magnitude, seeing, noise and
blendedness, never of the truth: given the true magnitude even a perfect posterior is biased. A bin has at least LEAST
sources; what has fewer is one bin and marked `few`. Overall medians, pulls and reliability are those of `skyquilt validate`;
scores are defined as there. Errors are from the scatter of images.
"""
import os
import re
import sys

import numpy as np
from scipy.special import ndtr, ndtri

import evaluate_common as common
from evaluate_common import say

sys.path.append(os.path.join(common.ROOT, "tools", "train"))
from calibrate import columns, pairs  # noqa: E402,F401

LEVELS = (50, 68, 90, 95)
LEAST, MOST_BINS = 2000, 8
GROUPS = ("location", "flux", "colour", "size", "ellipticity")
BEYOND = 40     # a score beyond all intervals
PIT_POINTS = np.arange(1, 20) / 20


def quantile_scores(probability, value, truth):
    """The truth's normal score, linear between quantiles `value` [k][n] at `probability` [k] (as sq_quantile_score)."""
    z = ndtri(probability)
    k = np.clip(np.sum(truth > value, axis=0), 1, len(z) - 1)
    rows = np.arange(truth.size)
    low, high = value[k - 1, rows], value[k, rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        score = z[k - 1] + (z[k] - z[k - 1]) * (truth - low) / (high - low)
    score = np.where(high > low, score, np.where(truth < high, -BEYOND, np.where(truth > high, BEYOND, z[k])))
    broken = ~np.all(np.isfinite(value), axis=0) | np.any(np.diff(value, axis=0) < 0, axis=0) | ~np.isfinite(truth)
    return np.where(broken, np.nan, np.clip(score, -BEYOND, BEYOND))


def gaussian_scores(value, error, truth):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error > 0, np.clip((truth - value) / error, -BEYOND, BEYOND), np.nan)


def quantiles(found, name):
    """Probabilities [k] and values [k][n] of the columns NAME_qDIGITS."""
    names = {float("0." + m[1]): c for c in found if (m := re.fullmatch(re.escape(name) + r"_q(\d+)", c))}
    return np.array(sorted(names)), np.array([found[names[p]].astype(float) for p in sorted(names)])


def position_scores(found, truth):
    """ra and dec alone, and of both together the score of the error ellipse through the truth, which is never negative."""
    x = (truth["ra"] - found["ra"]) * np.cos(np.radians(truth["dec"])) * 3600
    y = (truth["dec"] - found["dec"]) * 3600
    xx, yy, xy = found["ra_err"] ** 2, found["dec_err"] ** 2, found["ra_dec_cov"]
    chi2 = (yy * x * x - 2 * xy * x * y + xx * y * y) / (xx * yy - xy ** 2)
    return {"ra": gaussian_scores(0, found["ra_err"], x), "dec": gaussian_scores(0, found["dec_err"], y),
            "position": np.minimum(-ndtri(np.maximum(0.5 * np.exp(-0.5 * chi2), 1e-300)), BEYOND)}


def all_scores(found, truth, bands):
    """Name: (group, band whose conditions matter, scores)."""
    out = {name: ("location", "r", z) for name, z in position_scores(found, truth).items()}
    galaxy = truth["star"] == 0
    for b in bands:
        out["flux_" + b] = ("flux", b, quantile_scores(*quantiles(found, "flux_" + b), truth["flux_" + b]))
    for a, b in zip(bands[:-1], bands[1:]):
        name = f"colour_{a}_{b}"
        with np.errstate(divide="ignore"):
            true = -2.5 * np.log10(truth["flux_" + a] / truth["flux_" + b])
        out[name] = ("colour", b, gaussian_scores(found[name], found[name + "_err"], true))
    radius = quantile_scores(*quantiles(found, "radius"), truth["radius"])
    out["radius"] = ("size", "r", np.where(galaxy, radius, np.nan))
    for e in ("e1", "e2"):
        z = gaussian_scores(found[e], found[e + "_err"], truth[e])
        out[e] = ("ellipticity", "r", np.where(galaxy, z, np.nan))
    return out


def coverage(z, image):
    """Level: (fraction inside, error from the scatter of images about it, at least the binomial one)."""
    out, total = {}, np.bincount(image)
    for level in LEVELS:
        inside = np.abs(z) <= ndtri(0.5 + level / 200)
        value = inside.mean()
        rest = np.bincount(image, inside) - value * total
        spread = np.sqrt(max(np.sum(rest ** 2), value * (1 - value) * z.size))
        out[level] = {"value": float(value), "error": float(spread / z.size)}
    return out


def uniform_distance(pit):
    """Largest distance of the cumulative distribution from uniform, and what 95% of perfect samples stay below."""
    pit, n = np.sort(pit), len(pit)
    step = np.arange(n + 1) / n
    return {"value": float(max(np.max(step[1:] - pit), np.max(pit - step[:-1]))), "perfect_95": float(1.358 / np.sqrt(n))}


def bins_of(value, least=LEAST):
    """Rows of bins of equal numbers, by value."""
    order = np.argsort(value, kind="stable")
    return np.array_split(order, max(1, min(MOST_BINS, len(order) // least)))


def one_quantity(z, image, conditions, least):
    """`conditions`: name to value [n]; all of the rows with a score."""
    pit = ndtr(z)
    row = {"n": int(z.size), "coverage": coverage(z, image), "bins": {}}
    pit = 2 * pit - 1 if z.min() >= 0 else pit
    row["ecdf"] = uniform_distance(pit)
    row["pit_below"] = [float(np.mean(pit <= p)) for p in PIT_POINTS]
    for name, value in conditions.items():
        row["bins"][name] = [{"low": float(value[rows].min()), "high": float(value[rows].max()), "n": len(rows),
                              "few": len(rows) < least, "coverage": coverage(z[rows], image[rows])}
                             for rows in bins_of(value, least)]
    return row


def misses(cover):
    return [abs(c["value"] - level / 100) for level, c in cover.items()]


def worst_bin(quantities, names):
    """The bin whose coverage is furthest from nominal; those with few sources count only where there are no others."""
    every = [(max(misses(b["coverage"])), b["few"], name, variable, b) for name in names
             for variable, rows in quantities[name]["bins"].items() for b in rows]
    full = [entry for entry in every if not entry[1]] or every
    miss, few, name, variable, b = max(full, key=lambda entry: entry[0])
    level = max(b["coverage"], key=lambda k: abs(b["coverage"][k]["value"] - k / 100))
    return {"miss": miss, "quantity": name, "variable": variable, "low": b["low"], "high": b["high"], "n": b["n"], "few": few,
            "level": level, "coverage": b["coverage"][level]}


def summary(quantities):
    """Per group the worst overall miss and its quantity, the worst bin, the largest ECDF distance."""
    out = {}
    for group in GROUPS:
        names = [n for n, q in quantities.items() if q["group"] == group]
        if not names:
            continue
        worst = max(names, key=lambda n: max(misses(quantities[n]["coverage"])))
        level = max(LEVELS, key=lambda k: abs(quantities[worst]["coverage"][k]["value"] - k / 100))
        far = max(names, key=lambda n: quantities[n]["ecdf"]["value"])
        at90 = max((abs(quantities[n]["coverage"][90]["value"] - 0.9) for n in names))
        out[group] = {"overall": {"miss": max(misses(quantities[worst]["coverage"])), "quantity": worst, "level": level,
                                  "coverage": quantities[worst]["coverage"][level]},
                      "miss_90": at90, "worst_bin": worst_bin(quantities, names),
                      "ecdf": {"quantity": far, **quantities[far]["ecdf"]}}
    return out


def matched(release, truth, radius, faint):
    """Rows of the release with probability 0.5 and predicted r below `faint`, and of the truth, that belong together."""
    found, true = columns(release, "catalog"), columns(truth)
    keep = found["detection_probability"] >= 0.5
    found = {k: v[keep] for k, v in found.items()}
    mine, theirs = pairs(found, true, radius)
    use = found["mag_r"][mine] < faint
    return {k: v[mine[use]] for k, v in found.items()}, {k: v[theirs[use]] for k, v in true.items()}


def calibration(release, truth, bands, radius, faint=np.inf, least=LEAST):
    """The table of a release against the truth; `tile` of the truth tells the image. None with nothing matched."""
    found, true = matched(release, truth, radius, faint)
    if not len(found["ra"]):
        return None
    image = np.unique(true["tile"], return_inverse=True)[1]
    table = {"sources": len(image), "galaxies": int((true["star"] == 0).sum()), "least": least, "quantities": {}}
    for name, (group, band, z) in all_scores(found, true, bands).items():
        rows = np.isfinite(z)
        if not rows.any():
            continue
        conditions = {"magnitude": found["mag_" + band][rows], "seeing": found["fwhm_" + band][rows],
                      "noise": found["sky_sigma_" + band][rows], "blendedness": found["blendedness"][rows]}
        table["quantities"][name] = {"group": group, **one_quantity(z[rows], image[rows], conditions, least)}
    table["summary"] = summary(table["quantities"])
    return table


def add_criteria(name, table, criteria, overall=0.02, bins=0.05, ecdf=0.02):
    for group, row in table["summary"].items():
        criteria.add(f"{name}: coverage of {group}, worst", row["overall"]["miss"], overall,
                     row["overall"]["coverage"]["error"], least=False)
        criteria.add(f"{name}: coverage of {group}, worst bin", row["worst_bin"]["miss"], bins,
                     row["worst_bin"]["coverage"]["error"], least=False)
        criteria.add(f"{name}: ECDF distance of {group}", row["ecdf"]["value"], ecdf, least=False)


def show(title, table):
    say(f"\n{title}: {table['sources']} matched sources; coverage of 50/68/90/95%, ECDF distance (perfect: 95% below)")
    for name, q in table["quantities"].items():
        cover = " ".join(f"{c['value']:.3f}" for c in q["coverage"].values())
        say(f"  {name:<14} {q['n']:>7}  {cover}  {q['ecdf']['value']:.3f} ({q['ecdf']['perfect_95']:.3f})")
    say("  worst bins:")
    for group, row in table["summary"].items():
        b = row["worst_bin"]
        say(f"  {group:<12} {b['quantity']} at {b['variable']} {b['low']:.4g} to {b['high']:.4g}: {b['coverage']['value']:.3f} "
            f"for {b['level']}%, {b['n']} sources{' (few)' if b['few'] else ''}")


def plot_group(axes, quantities):
    """Coverage of 90% by bin of every condition, and the cumulative PIT less uniform."""
    for name, q in quantities.items():
        for axis, (variable, bins) in zip(axes, q["bins"].items()):
            axis.errorbar([(b["low"] + b["high"]) / 2 for b in bins], [b["coverage"][90]["value"] for b in bins],
                          [b["coverage"][90]["error"] for b in bins], fmt="o-", ms=3, label=name)
            axis.axhline(0.9, color="k", lw=0.7)
            axis.set(xlabel=f"predicted {variable}", ylim=(0.7, 1), xscale="log" if variable == "noise" else "linear")
        axes[-1].plot(PIT_POINTS, q["pit_below"] - PIT_POINTS)
    axes[-1].axhspan(-0.02, 0.02, color="0.93", zorder=0)
    axes[-1].set(xlabel="PIT", ylabel="cumulative less uniform")
    axes[0].legend(fontsize=7)


def plot(path, table):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(len(GROUPS), 5, figsize=(18, 14), constrained_layout=True)
    for row, group in zip(axes, GROUPS):
        plot_group(row, {n: q for n, q in table["quantities"].items() if q["group"] == group})
        row[0].set_ylabel(f"{group}: in 90% intervals")
    figure.savefig(path, dpi=70)
    plt.close(figure)
