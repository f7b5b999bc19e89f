"""What the evaluations of catalogues share: runs, tables of reports, the peer's best settings, errors over images."""
import glob
import os

import numpy as np

import evaluate_common as common
from evaluate_common import say
from peers import sextractor

LIMITS = (20.0, 21.0, 22.0, 22.5, 23.0)
TRAINING_SEED_LIMIT = 20000     # training and its validation use smaller seeds


def nanojansky(mag):
    """nJy; magnitudes that stand for "no measurement" (-9999) are cut to something finite."""
    return 10 ** (-0.4 * (np.clip(np.asarray(mag, float), -10, 60) - 31.4))


def brighter_rows(report, limits=LIMITS):
    """Completeness, purity and F1 at the limits, from the cumulative bins."""
    rows = {}
    for entry in report["brighter"]:
        for limit in limits:
            if abs(entry["high"] - limit) < 1e-6:
                rows[f"{limit:g}"] = {k: entry[k] for k in (
                    "truth", "found", "completeness", "purity", "f1", "star_completeness",
                    "galaxy_completeness", "class_accuracy", "star_accuracy", "galaxy_accuracy")}
    return rows


def coverage_rows(report):
    return {q["name"]: {"n": q["all"]["n"], "median": q["all"]["median"], "mad": q["all"]["mad"],
                        "pull_median": q["all"]["pull_median"], "pull_mad": q["all"]["pull_mad"],
                        "coverage": q["all"]["coverage"], "intervals": q["intervals"]}
            for q in report["quantities"]}


def show_table(title, reports, limits=LIMITS):
    say(f"\n{title}\n  {'':<28}" + "".join(f"  r < {limit:<15g}" for limit in limits[1:]))
    for name, report in reports.items():
        rows, line = brighter_rows(report, limits), f"  {name:<28}"
        for limit in limits[1:]:
            row = rows.get(f"{limit:g}")
            values = [row[k]["value"] for k in ("completeness", "purity", "f1")] if row else [None] * 3
            line += "  " + "/".join("  -  " if v is None else f"{v:.3f}" for v in values) + "  "
        say(line)
    say("  (completeness/purity/F1)")


def show_coverage(title, report):
    say(f"\n{title}: median, scaled MAD, pull MAD, coverage of 50/68/90/95%")
    for name, q in coverage_rows(report).items():
        if q["intervals"] == "none":
            continue
        cover = " ".join("  -  " if q["coverage"][k]["value"] is None else f"{q['coverage'][k]['value']:.3f}"
                         for k in ("50", "68", "90", "95"))
        number = {k: q[k]["value"] for k in ("median", "mad", "pull_mad")}
        say(f"  {name:<20} {number['median'] or 0:9.4f} {number['mad'] or 0:9.4f} "
            f"{number['pull_mad'] or 0:6.2f}  {cover}  {q['intervals']}")


def simulate(folder, name, **keys):
    """An optical survey of these keys: its folder, truth and the stems of its tiles."""
    sky, config = os.path.join(folder, name), os.path.join(folder, name + ".yaml")
    with open(config, "w") as out:
        out.writelines(f"{key}: {value}\n" for key, value in keys.items())
    common.run("simulate", config, "--output", sky, "--quiet", ranks=2)
    return sky, os.path.join(sky, "truth.h5"), tile_stems(sky)


def tile_stems(sky):
    return sorted(p[:-len("-psf.fits")] for p in glob.glob(os.path.join(sky, "*-psf.fits")))


def skyquilt_run(folder, name, tiles, model, ranks=3, extra=""):
    """Run the catalog probe over a folder of tiles; gives the release's path and seconds."""
    work = os.path.join(folder, name)
    os.makedirs(work, exist_ok=True)
    config = os.path.join(work, "survey.yaml")
    with open(config, "w") as out:
        out.write(f"probe: catalog\nindex: {work}/tiles.h5\nmodel: {model}\nthreshold: 0.05\n{extra}")
    common.run("index", "--output", os.path.join(work, "tiles.h5"), "--quiet", tiles)
    _, seconds = common.run("run", config, "--output", os.path.join(work, "out"), "--quiet", ranks=ranks)
    return os.path.join(work, "out", "release.h5"), seconds


def measure(tiles, settings, bands="r"):
    """Source Extractor on several tiles, joined. `tiles` yields runners."""
    parts = [runner.run(settings, bands) for runner in tiles]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def runners(tiles, scale):
    """A runner for each list of images, closed when the next is asked for."""
    for tile in tiles:
        runner = sextractor.Runner(tile, scale=scale)
        try:
            yield runner
        finally:
            runner.close()


def judge_peer(folder, truth, tiles_of, options):
    """A function from a catalogue to its report without errors."""
    def judge(catalogue):
        path = os.path.join(folder, "peer.h5")
        common.write_catalogue(path, catalogue, tiles_of)
        return common.validate(path, truth, folder, "peer", **options, replicas=0)
    return judge


def best_settings(tiles, scale, grid, judge, limit=22.0):
    """The settings whose report has the highest F1 at r < `limit`, and all by F1."""
    runner_list = [sextractor.Runner(tile, scale=scale) for tile in tiles]
    scores = []
    try:
        for settings in grid:
            row = brighter_rows(judge(measure(runner_list, settings)), (limit,))[f"{limit:g}"]
            scores.append((row["f1"]["value"] or 0, settings))
    finally:
        for runner in runner_list:
            runner.close()
    scores.sort(key=lambda entry: (-entry[0], entry[1].label()))
    return scores[0][1], [{"settings": s.label(), "f1": f} for f, s in scores]


def polygon(wcs, x0, x1, y0, y1):
    """Pixels x0 to x1 - 1 and y0 to y1 - 1 as `skyquilt validate` takes a region."""
    ra, dec = wcs.all_pix2world(np.array([x0, x1, x1, x0]) - 0.5, np.array([y0, y0, y1, y1]) - 0.5, 0)
    return ",".join(f"{a:.8f},{d:.8f}" for a, d in zip(ra, dec))


def image_counts(catalogue, truth, regions, folder, options, limits):
    """Truth, matched, found, right in each region: [regions][brighter than each limit, then the bins][4]."""
    out = []
    for region in regions:
        report = common.validate(catalogue, truth, folder, "image", **options, replicas=0, region=region)
        cumulative = [b for limit in limits for b in report["brighter"] if abs(b["high"] - limit) < 1e-6]
        out.append([[b[k] for k in ("truth", "matched", "found", "right")] for b in cumulative + report["bins"]])
    return np.array(out, float)


def image_weights(images, seed, replicas=200):
    """How often each image is drawn, [replicas][images]."""
    return np.random.default_rng((seed, images)).multinomial(images, np.full(images, 1 / images), replicas)


def f1(counts):
    """Harmonic mean of completeness and purity; counts [...][4]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        c, p = counts[..., 1] / counts[..., 0], counts[..., 3] / counts[..., 2]
        return 2 * c * p / (c + p)


def paired_f1(mine, theirs, weights):
    """Rows of F1 and difference with errors over the images, in the order of the counts."""
    value = [f1(c.sum(0)) for c in (mine, theirs)]
    draws = [f1(np.einsum("ri,ijk->rjk", weights, c)) for c in (mine, theirs)]
    with np.errstate(invalid="ignore"):
        error = [np.nanstd(d, axis=0) for d in (*draws, draws[0] - draws[1])]
    rows = []
    for k, (a, b) in enumerate(zip(*value)):
        rows.append({"truth": int(mine[:, k, 0].sum()), "f1": a, "error": error[0][k], "other": b, "other_error": error[1][k],
                     "difference": a - b, "difference_error": error[2][k]})
    return [{k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()} for row in rows]
