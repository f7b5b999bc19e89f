"""The tables of the catalog probe on simulated LSST coadds (5 years), beside Source Extractor and a PSF fit, and on GalSim's sky.

Part of `tools/evaluate catalog`. Source Extractor runs in dual-image mode on the best of several detection images (weighted
sums and chi images of several bands), chosen with its settings on a validation sky of another seed. Counts are those of
`skyquilt validate`, image by image, so that errors and differences come from resampling images, the same ones for both.
SQ_GALSIM names the command of a Python with GalSim (tools/peers/galsim_sky.py); without it that part is skipped.
"""
import os

import numpy as np

import catalog_calibration as calibration
import evaluate_common as common
from bench_lensing import foreign
from catalog_calibration import columns, pairs
from catalog_seams import seams
from catalog_tables import (best_settings, brighter_rows, image_counts, image_weights, judge_peer, measure, paired_f1,
                            polygon, runners, show_coverage, show_table, simulate, skyquilt_run, tile_stems)
from evaluate_common import say
from peers import images, psf_fit, sextractor

PLOT = os.path.join(common.ROOT, "tools", "results", "catalog-calibration.png")
BANDS, PIXEL, SIDE = "ugrizy", 0.2, 1024
MATCH = PIXEL
WIDE_MATCH = 0.6                # for posteriors: a radius that cuts their tails would make them look narrow
LIMITS = (20.0, 22.0, 23.0, 24.0, 24.5, 25.0, 25.5, 26.0)
F1_LIMIT, FAINT = 25.5, 26.0
BIN_EDGES = np.arange(20, 26.01, 0.5)
FEW = 50                        # sources of a bin whose scatter is told but not judged


def magnitude(flux):
    return 31.4 - 2.5 * np.log10(flux)


def lsst_sky(folder, name, seed, shape, **keys):
    return simulate(folder, name, preset="lsst", years=5, seed=seed, tile_nx=SIDE, tile_ny=SIDE, tiles_x=shape[0],
                    tiles_y=shape[1], overlap=0, **keys)


def settings_grid(quick):
    """Weighted sums, then chi images; a filter narrower than the seeing separates neighbours better."""
    if quick:
        return (sextractor.grid(("griz",), (2.0, 3.0), (3,), (5e-5,), (0.5,))
                + sextractor.grid(("griz",), (4.0, 5.0), (3,), (5e-4,), (0.5,), chi=(True,)))
    return (sextractor.grid(("griz", "ugrizy"), (1.0, 1.5, 2.0, 3.0, 4.0), (1, 3), (5e-4, 5e-5), (0.5, 0.7))
            + sextractor.grid(("griz", "ugrizy"), (1.0, 1.5), (3,), (5e-4, 5e-5), (1.0,))
            + sextractor.grid(("griz", "ugrizy"), (3.0, 4.0, 5.0, 6.0, 7.0), (3,), (5e-4, 5e-5), (0.5, 0.7), chi=(True,)))


def regions(stems):
    """The tiles' polygons."""
    return [polygon(images.read_exposure(stem, "r")[0].wcs, 0, SIDE, 0, SIDE) for stem in stems]


def scatter(residual):
    return 1.4826 * np.median(np.abs(residual - np.median(residual)))


def resampled(statistic, image, weights, *values):
    """Standard deviation of a statistic over resampled images."""
    draws = []
    for w in weights:
        rows = np.repeat(np.arange(len(image)), w[image])
        if len(rows) > 1:
            draws.append(statistic(*(v[rows] for v in values)))
    return float(np.std(draws)) if draws else None


def compare_scatter(mine, theirs, mag, image, weights, edges):
    """Relative flux residuals of the same sources: scaled MADs and their ratio, by bin of true r."""
    rows = []
    for low, high in zip(edges[:-1], edges[1:]):
        use = (mag >= low) & (mag < high) & np.isfinite(mine) & np.isfinite(theirs)
        if use.sum() < 10:
            continue
        a, b = mine[use], theirs[use]
        rows.append({"low": float(low), "high": float(high), "n": int(use.sum()), "mine": scatter(a), "theirs": scatter(b),
                     "ratio": scatter(a) / scatter(b),
                     "error": resampled(lambda x, y: scatter(x) / scatter(y), image[use], weights, a, b)})
    return rows


class Matched:
    """Sources of skyquilt that match the truth, and what the peers say of the same ones (NaN: not found)."""

    def __init__(self, release, peer, truth, stems):
        found, self.truth = columns(release, "catalog"), columns(truth)
        found = {k: v[found["detection_probability"] >= 0.5] for k, v in found.items()}
        self.mine, self.rows = self._on_truth(found)
        other, rows = self._on_truth(peer)
        auto = np.full((len(BANDS), len(self.truth["ra"])), np.nan)
        auto[:, rows] = [other["flux_" + b] for b in BANDS]
        self.mag = magnitude(self.truth["flux_r"])[self.rows]
        self.star = self.truth["star"][self.rows] != 0
        self.image = np.unique(self.truth["tile"], return_inverse=True)[1][self.rows]
        true = np.array([self.truth["flux_" + b][self.rows] for b in BANDS])
        self.residual = {"skyquilt": np.array([self.mine["flux_" + b] for b in BANDS]) / true - 1,
                         "AUTO": auto[:, self.rows] / true - 1,
                         "PSF fit": self._psf_fits(stems)[:, self.rows] / true - 1}

    def _on_truth(self, found):
        rows, truth_rows = pairs(found, self.truth, MATCH)
        return {k: v[rows] for k, v in found.items()}, truth_rows

    def _psf_fits(self, stems):
        """Of the true stars from r = 20 to FAINT, [bands][truth]."""
        out = np.full((len(BANDS), len(self.truth["ra"])), np.nan)
        mag = magnitude(self.truth["flux_r"])
        stars = np.flatnonzero((self.truth["star"] != 0) & (mag >= 20) & (mag < FAINT))
        for stem in stems:
            tile = images.read_exposure(stem, BANDS)
            x, y = tile[0].wcs.all_world2pix(self.truth["ra"][stars], self.truth["dec"][stars], 0)
            inside = (x > -0.5) & (y > -0.5) & (x < SIDE - 0.5) & (y < SIDE - 0.5)
            out[:, stars[inside]] = psf_fit.fit_stars(tile, stem, x[inside], y[inside]).T
        return out

    def scatters(self, peer, star, weights, edges):
        """Band: rows of compare_scatter."""
        use = self.star == star
        return {b: compare_scatter(self.residual["skyquilt"][k][use], self.residual[peer][k][use], self.mag[use],
                                   self.image[use], weights, edges) for k, b in enumerate(BANDS)}

    def bias(self, weights, limit=24.5):
        """Median magnitude residual of stars and galaxies by band, r < limit."""
        out = {}
        for kind, star in (("stars", True), ("galaxies", False)):
            use = (self.star == star) & (self.mag < limit) & (self.mag >= 18)
            for k, b in enumerate(BANDS):
                step = self.residual["skyquilt"][k][use]
                if len(step):
                    out[f"{kind} {b}"] = {"n": len(step), "value": float(-2.5 * np.log10(1 + np.median(step))),
                                          "error": resampled(lambda v: 1.0857 * np.median(v), self.image[use], weights, step)}
        return out

    def ellipticity(self, weights, limit=24.0):
        """Correlation of both components with the truth's, galaxies of r < limit."""
        use = ~self.star & (self.mag < limit)
        got, true = (np.column_stack([c["e1"], c["e2"]]) for c in
                     ({e: self.mine[e][use] for e in ("e1", "e2")}, {e: self.truth[e][self.rows[use]] for e in ("e1", "e2")}))

        def correlation(a, b):
            return np.corrcoef(a.ravel(), b.ravel())[0, 1]
        return {"n": int(use.sum()), "value": float(correlation(got, true)),
                "error": resampled(correlation, self.image[use], weights, got, true)}


def worst_ratio(table):
    """The largest ratio of all bands and bins that have enough sources, else of all."""
    every = [(row["ratio"], band, row) for band, rows in table.items() for row in rows]
    return max([e for e in every if e[2]["n"] >= FEW] or every, key=lambda e: e[0], default=(np.nan, "-", {"error": None}))


def photometry(matched, weights, criteria):
    table = {"galaxies": matched.scatters("AUTO", False, weights, BIN_EDGES),
             "stars": matched.scatters("PSF fit", True, weights, np.arange(20, 27)),
             "bias": matched.bias(weights), "ellipticity": matched.ellipticity(weights)}
    for kind, name, target in (("galaxies", "AUTO", 1.0), ("stars", "the PSF fit", 1.1)):
        say(f"\nLSST: scatter of {kind}' fluxes over that of {name}, by true r")
        for band, rows in table[kind].items():
            say(f"  {band}  " + "  ".join(f"{r['low']:g}: {r['ratio']:.2f}" + ("*" if r["n"] < FEW else "") for r in rows))
        ratio, _, row = worst_ratio(table[kind])
        criteria.add(f"LSST: {kind}' flux scatter over {name}'s, worst bin", ratio, target, row["error"], least=False)
    worst = max(table["bias"].values(), key=lambda b: abs(b["value"]))
    criteria.add("LSST: |bias| of fluxes, r < 24.5, worst band [mag]", abs(worst["value"]), 0.01, worst["error"], least=False)
    e = table["ellipticity"]
    criteria.add("LSST: ellipticity correlation, r < 24", e["value"], 0.9, e["error"])
    return table


def classes(files, truth, folder, seed, criteria):
    """Star/galaxy separation of both catalogues."""
    out = {}
    for name, path in files.items():
        report = common.validate(path, truth, folder, "auc", match=MATCH, seed=seed, limit=24.5)
        faint = common.validate(path, truth, folder, "stars", match=MATCH, seed=seed, bright=24.9, limit=25.6)["summary"]
        out[name] = {"auc": report["star_galaxy"]["auc"],
                     **{k: faint[k] for k in ("star_completeness", "star_accuracy", "galaxy_accuracy")}}
        say(f"  {name:<28} AUC {report['star_galaxy']['auc']['value']:.4f}  star recall 24.9-25.6 "
            f"{faint['star_accuracy']['value'] or 0:.3f}")
    mine = out["skyquilt"]
    criteria.add("LSST: star/galaxy AUC, r < 24.5", mine["auc"]["value"], 0.98, mine["auc"]["error"])
    recall = mine["star_accuracy"]
    criteria.add("LSST: recall of matched stars, r 24.9-25.6", recall["value"], 0.7, recall["error"])
    return out


def detection(files, truth, stems, folder, options, weights, criteria):
    """F1 of both, to the limit and in bins."""
    places = regions(stems)
    rows = paired_f1(*(image_counts(path, truth, places, folder, options, [F1_LIMIT]) for path in files.values()), weights)
    total, bins = rows[0], rows[1:]
    say(f"\nLSST: F1 of skyquilt and Source Extractor ({len(stems)} images)")
    for low, row in zip([None, *BIN_EDGES[:-1]], rows):
        value = [row[k] if row[k] is not None else np.nan for k in ("f1", "error", "other", "other_error", "difference",
                                                                    "difference_error")]
        say(f"  {f'r < {F1_LIMIT}' if low is None else f'{low:g} - {low + 0.5:g}':<12} {row['truth']:>6}  "
            + "  ".join(f"{v:.4f} +- {e:.4f}" for v, e in zip(value[::2], value[1::2])))
    criteria.add(f"LSST: F1, r < {F1_LIMIT}", total["f1"], 0.95, total["error"])
    criteria.add(f"LSST: F1 minus Source Extractor's, r < {F1_LIMIT}", total["difference"], 0.04, total["difference_error"])
    worst = min((b for b in bins if b["difference"] is not None), key=lambda b: b["difference"])
    criteria.add("LSST: F1 minus Source Extractor's, worst half mag", worst["difference"], 0, worst["difference_error"])
    return {"total": total, "bins": [{"low": float(low), **row} for low, row in zip(BIN_EDGES, bins)]}


def simulated(folder, seed, quick, model, criteria):
    """The held-out sky."""
    say("\nLSST: simulate, run, Source Extractor")
    sky, truth, stems = lsst_sky(folder, "lsst-test", seed, (2, 1) if quick else (8, 6))
    _, tuning_truth, tuning = lsst_sky(folder, "lsst-validation", seed + 1, (1, 1) if quick else (2, 2))
    release, seconds = skyquilt_run(folder, "lsst", sky, model)
    options = {"match": MATCH, "bins": "20,0.5", "limit": FAINT, "seed": seed}
    settings, scan = best_settings([images.read_exposure(stem, BANDS) for stem in tuning], PIXEL, settings_grid(quick),
                                   judge_peer(folder, tuning_truth, None, options), F1_LIMIT)
    peer = measure(runners((images.read_exposure(stem, BANDS) for stem in stems), PIXEL), settings, BANDS)
    peer_path = os.path.join(folder, "lsst-peer.h5")
    common.write_catalogue(peer_path, peer, release)
    files = {"skyquilt": release, "Source Extractor": peer_path}
    reports = {name: common.validate(path, truth, folder, "lsst-report", **options) for name, path in files.items()}
    show_table(f"LSST 5 years, Source Extractor: {settings.label()}", reports, LIMITS)
    show_coverage("LSST, skyquilt", reports["skyquilt"])
    weights = image_weights(len(stems), seed)
    table = {"images": len(stems), "seconds": seconds, "settings": settings.label(), "scan": scan[:8],
             "brighter": {k: brighter_rows(r, LIMITS) for k, r in reports.items()},
             "reliability": reports["skyquilt"].get("reliability"),
             "f1": detection(files, truth, stems, folder, options, weights, criteria),
             "classes": classes(files, truth, folder, seed, criteria),
             "photometry": photometry(Matched(release, peer, truth, stems), weights, criteria)}
    table["calibration"] = calibration.calibration(release, truth, BANDS, WIDE_MATCH, FAINT)
    calibration.show("LSST", table["calibration"])
    calibration.add_criteria("LSST", table["calibration"], criteria)
    if not quick:
        calibration.plot(PLOT, table["calibration"])
    return table


def galsim_input(path, truth, stems):
    """Sources, and the seeing of every tile and band, for galsim_sky.py."""
    true = columns(truth)
    keep = {k: true[k] for k in ("ra", "dec", "star", "radius", "e1", "e2", "bulge_fraction", *("flux_" + b for b in BANDS))}
    fwhm = [[PIXEL * image.fwhm for image in images.read_exposure(stem, BANDS)] for stem in stems]
    np.savez(path, **keep, stem=[os.path.basename(s) for s in stems], fwhm=fwhm, bands=BANDS)


def independent(folder, seed, quick, model, criteria):
    """The same sources by GalSim and by the own simulator; no star saturates, for GalSim's sky has no such defects."""
    if not os.environ.get("SQ_GALSIM"):
        say("\nGalSim: skipped, SQ_GALSIM is not set (tools/peers/galsim_sky.py)")
        return {"problem": "skipped: SQ_GALSIM is not set"}
    say("\nGalSim: simulate, draw, run both")
    sky, truth, stems = lsst_sky(folder, "lsst-own", seed + 2, (1, 1) if quick else (4, 3), bright_limit=18, saturation="false",
                                 bleed="false", cosmics=0, bad_columns=0)
    sources, other = os.path.join(folder, "galsim.npz"), os.path.join(folder, "lsst-galsim")
    galsim_input(sources, truth, stems)
    made = foreign("SQ_GALSIM", "galsim_sky.py", sources, sky, other, seed)
    options = {"match": MATCH, "bins": "20,0.5", "limit": FAINT, "seed": seed}
    releases = [skyquilt_run(folder, name, path, model)[0] for name, path in (("own", sky), ("galsim", other))]
    counts = [image_counts(r, truth, regions(s), folder, options, [F1_LIMIT])
              for r, s in zip(releases, (stems, tile_stems(other)))]
    total = paired_f1(*counts, image_weights(len(stems), seed))[0]
    table = calibration.calibration(releases[1], truth, BANDS, WIDE_MATCH, FAINT)
    ood = columns(releases[1], "catalog")["ood_score"]
    outside = float(np.mean(ood[np.isfinite(ood)] > 1)) if np.isfinite(ood).any() else None
    flagged = outside is not None and outside > 0.5
    say(f"  F1 r < {F1_LIMIT}: own {total['f1']:.4f}, GalSim {total['other']:.4f}; out of domain: "
        f"{'not known' if outside is None else f'{outside:.2f} of the sources'}")
    calibration.show("GalSim", table)
    note = ", flagged out of domain" if flagged else ""
    criteria.add(f"GalSim: F1 loss, r < {F1_LIMIT}{note}", 0 if flagged else total["difference"], 0.03,
                 total["difference_error"], least=False)
    worst = max(row["miss_90"] for row in table["summary"].values())
    criteria.add(f"GalSim: coverage of 90%, worst{note}", 0 if flagged else worst, 0.04, least=False)
    return {**made, "f1": total, "outside": outside, "calibration": table}


def evaluate(folder, seed, quick, model, criteria):
    if not os.path.exists(model):
        say(f"\nLSST: skipped, there is no {os.path.relpath(model, common.ROOT)}")
        return {"problem": "skipped: no network"}
    return {"simulated": simulated(folder, seed, quick, model, criteria),
            "seams": seams("LSST", folder, seed + 3, quick, "lsst", BANDS, PIXEL, model, criteria),
            "galsim": independent(folder, seed, quick, model, criteria)}
