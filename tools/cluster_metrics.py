"""How well candidates find clusters: curves of purity and completeness, cells, calibration, bootstrap over skies.

A sky is a dictionary of arrays: of candidates `ra`, `dec` (deg) and one array a score; of halos `halo_ra`, `halo_dec`,
`mass` (Mvir, Msun) and `z`. A halo is wanted when mass > 2e14 and z > 0.25 (Lin et al. 2021). Matching is one to one:
the heaviest halos choose first, each the candidate of highest score within the radius, so that the matches above any
threshold are those of the candidates above it. Skies are independent draws: errors are from resampling whole skies,
and differences of methods are resampled in pairs.
"""
import numpy as np
from scipy.spatial import cKDTree

WANTED_MASS, WANTED_REDSHIFT, REAL_MASS = 2e14, 0.25, 5e13


def unit_vectors(ra, dec):
    ra, dec = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def chord(arcmin):
    """Distance of two unit vectors that are `arcmin` apart."""
    return 2 * np.sin(np.radians(arcmin / 60) / 2)


def wanted(sky):
    return (sky["mass"] > WANTED_MASS) & (sky["z"] > WANTED_REDSHIFT)


def match(sky, score, radius):
    """The halo (above REAL_MASS) that each candidate is matched with, -1 without; radius in arcmin."""
    halo = np.full(len(score), -1)
    heavy = np.flatnonzero(sky["mass"] > REAL_MASS)
    if not len(heavy) or not len(score):
        return halo
    heavy = heavy[np.argsort(-sky["mass"][heavy], kind="stable")]
    tree = cKDTree(unit_vectors(sky["ra"], sky["dec"]))
    near = tree.query_ball_point(unit_vectors(sky["halo_ra"][heavy], sky["halo_dec"][heavy]), chord(radius))
    for h, candidates in zip(heavy, near):
        free = [c for c in candidates if halo[c] < 0]
        if free:
            halo[max(free, key=lambda c: (score[c], -c))] = h
    return halo


def candidates(skies, score_name, radius, real=False):
    """Scores and truth of all candidates of some skies, and the number of wanted halos.

    `real`: a candidate is right when it is matched with any halo above REAL_MASS; else with a wanted one.
    """
    scores, right, total = [], [], 0
    for sky in skies:
        score = np.asarray(sky[score_name], float)
        halo, want = match(sky, score, radius), wanted(sky)
        good = (halo >= 0) if real else (halo >= 0) & want[np.maximum(halo, 0)]
        scores.append(score)
        right.append(good)
        total += int((sky["mass"] > REAL_MASS).sum() if real else want.sum())
    return np.concatenate(scores), np.concatenate(right), total


def curve(score, right, total):
    """Thresholds in falling order with purity and completeness of what lies at or above each."""
    order = np.argsort(-score, kind="stable")
    score, right = score[order], np.cumsum(right[order])
    last = np.flatnonzero(np.append(np.diff(score) != 0, True)) if len(score) else np.array([], int)
    return score[last], right[last] / (last + 1.0), right[last] / max(total, 1)


def completeness_at(score, right, total, purity):
    """Greatest completeness among the thresholds whose purity is at least `purity`; 0 when none is."""
    _, p, c = curve(score, right, total)
    return float(c[p >= purity].max(initial=0.0))


def best_f1(score, right, total):
    _, p, c = curve(score, right, total)
    return float((2 * p * c / np.maximum(p + c, 1e-300)).max(initial=0.0))


def at_threshold(score, right, total, threshold):
    """Purity, completeness and F1 at a threshold frozen elsewhere."""
    chosen = score >= threshold
    p = right[chosen].sum() / max(chosen.sum(), 1)
    c = right[chosen].sum() / max(total, 1)
    return float(p), float(c), float(2 * p * c / max(p + c, 1e-300))


def threshold_at(score, right, total, purity):
    """The lowest threshold whose purity is at least `purity`, to be frozen on validation skies."""
    t, p, _ = curve(score, right, total)
    return float(t[p >= purity].min(initial=np.inf))


def cells(sky, score_name, cell, centre, side):
    """DeepSZ's metric: greatest score and label of each cell of a square grid (arcmin) on the tangent plane.

    A cell is positive when a wanted halo lies in it. `side` in degrees. Empty cells score -inf.
    """
    n = int(side * 60 // cell)

    def number(ra, dec):
        # Equal-area (ZEA) offsets from the centre of the sky.
        v = unit_vectors(ra, dec)
        r0, d0 = np.radians(centre)
        east = np.array([-np.sin(r0), np.cos(r0), 0])
        north = np.array([-np.sin(d0) * np.cos(r0), -np.sin(d0) * np.sin(r0), np.cos(d0)])
        up = np.array([np.cos(d0) * np.cos(r0), np.cos(d0) * np.sin(r0), np.sin(d0)])
        scale = np.degrees(np.sqrt(2 / (1 + np.clip(v @ up, -0.999, 1)))) * 60 / cell
        x, y = np.floor(v @ east * scale + n / 2).astype(int), np.floor(v @ north * scale + n / 2).astype(int)
        return np.where((x >= 0) & (x < n) & (y >= 0) & (y < n), y * n + x, -1)

    score, label = np.full(n * n, -np.inf), np.zeros(n * n, bool)
    k = number(sky["ra"], sky["dec"])
    np.maximum.at(score, k[k >= 0], np.asarray(sky[score_name], float)[k >= 0])
    want = wanted(sky)
    k = number(sky["halo_ra"][want], sky["halo_dec"][want])
    label[k[k >= 0]] = True
    return score, label


def rank_product(sky, first, second):
    """DeepSZ's combination: product of the ranks (1 = best) of two scores; higher is better."""
    def rank(values):
        order = np.empty(len(values))
        order[np.argsort(-np.asarray(values, float), kind="stable")] = np.arange(1, len(values) + 1)
        return order
    return -np.log(rank(sky[first])) - np.log(rank(sky[second]))


def best_and(first, second, right, total):
    """Thresholds of two scores whose conjunction has the best F1: (f1, t1, t2), on a grid of quantiles."""
    best = (0.0, -np.inf, -np.inf)
    for t1 in np.quantile(first, np.linspace(0, 0.995, 60)) if len(first) else []:
        kept = first >= t1
        t, p, c = curve(second[kept], right[kept], total)
        f1 = 2 * p * c / np.maximum(p + c, 1e-300)
        k = int(np.argmax(f1))
        if f1[k] > best[0]:
            best = (float(f1[k]), float(t1), float(t[k]))
    return best


def reliability(probability, right, edges):
    """Bins of predicted probability: mean prediction, frequency, its binomial error, number."""
    rows = []
    which = np.digitize(probability, edges) - 1
    for b in range(len(edges) - 1):
        chosen = which == b
        n = int(chosen.sum())
        if n:
            f = float(right[chosen].mean())
            rows.append({"low": float(edges[b]), "high": float(edges[b + 1]), "n": n,
                         "predicted": float(probability[chosen].mean()), "frequency": f,
                         "error": float(np.sqrt(max(f * (1 - f), 1.0 / n) / n))})
    return rows


def expected_calibration_error(probability, right, least=0.05, bins=15):
    """Mean over candidates above `least` of |predicted - frequency| in bins of equal numbers."""
    chosen = probability > least
    p, r = probability[chosen], right[chosen]
    if not len(p):
        return float("nan")
    parts = np.array_split(np.argsort(p, kind="stable"), min(bins, len(p)))
    return float(sum(len(k) * abs(p[k].mean() - r[k].mean()) for k in parts) / len(p))


def bootstrap(statistic, skies, draws=500, seed=1):
    """Value of statistic(skies) with its standard error from resampling skies; arrays are treated by element."""
    rng = np.random.default_rng(seed)
    values = np.array([statistic([skies[i] for i in rng.integers(0, len(skies), len(skies))])
                       for _ in range(draws)])
    return statistic(skies), values.std(axis=0, ddof=1)
