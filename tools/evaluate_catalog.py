"""The science tables of the catalog probe: simulated sky, SDSS 94-1-12 and M2, beside Source Extractor, and LSST's.

Every catalogue is judged by `skyquilt validate` with the same footprint, radius and truth. Source Extractor's settings are
chosen on a validation sky of another seed; on the real field, where there is no second truth, on the field itself,
which favours it.
"""
import glob
import os
import shutil
import time

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

import evaluate_common as common
import evaluate_lsst
from catalog_seams import seams
from catalog_tables import (LIMITS, TRAINING_SEED_LIMIT, best_settings, brighter_rows, coverage_rows, image_counts,
                            image_weights, judge_peer, measure, nanojansky, paired_f1, polygon, runners, show_coverage,
                            show_table, simulate, skyquilt_run)
from evaluate_common import say
from onnx_file import split_model  # catalog_calibration has put tools/train on the path
from peers import images, sextractor

MODELS = {name: os.path.join(common.ROOT, "tools", "models", name + ".onnx") for name in ("sdss", "crowded", "lsst")}
PIXEL = 0.396
MATCH = 1.5 * PIXEL
BANDS = "ugriz"
DETECTION_BANDS = ("r", "gri")
BLOCKS = (6, 4)                 # of a frame, columns and rows: what is resampled for errors
COADD_EPOCHS = 20               # whose mean has so much less noise than a frame
SYSTEMATIC = 0.01               # mag, between the calibrations of frame and coadd


def settings_grid(quick):
    if quick:
        return sextractor.grid(DETECTION_BANDS, thresholds=(0.8, 1.0, 1.5), areas=(1, 3), contrasts=(0.0005,))
    return sextractor.grid(DETECTION_BANDS)


def simulate_sdss(folder, name, seed, quick):
    nx, ny = (1024, 1024) if quick else (2048, 1489)
    return simulate(folder, name, preset="sdss", seed=seed, tile_nx=nx, tile_ny=ny, tiles_x=2, tiles_y=1 if quick else 2, overlap=0)


def simulated_sky(folder, seed, quick, model):
    """Held-out simulated survey: skyquilt and Source Extractor."""
    say("simulated sky: simulate, run, Source Extractor")
    sky, truth, stems = simulate_sdss(folder, "test-sky", seed, quick)
    _, tuning_truth, tuning_stems = simulate_sdss(folder, "validation-sky", seed + 1, quick)
    release, seconds = skyquilt_run(folder, "simulated", sky, model)
    options = {"match": MATCH, "bins": "16,0.5", "limit": 23.0, "seed": seed}
    reports = {"skyquilt": common.validate(release, truth, folder, "simulated", **options)}

    settings, scan = best_settings([images.read_exposure(stem) for stem in tuning_stems[:1 if quick else 2]], PIXEL,
                                   settings_grid(quick), judge_peer(folder, tuning_truth, None, options))
    path = os.path.join(folder, "peer-test.h5")
    tiles = (images.read_exposure(stem) for stem in stems)
    common.write_catalogue(path, measure(runners(tiles, PIXEL), settings, "gri"), release)
    name = f"Source Extractor ({settings.bands})"
    reports[name] = common.validate(path, truth, folder, "peer-test", **options)
    show_table("simulated sky, truth = what was drawn", reports)
    show_coverage("simulated sky, skyquilt", reports["skyquilt"])
    return {"seconds": seconds, "settings": settings.label(), "scan": scan[:8],
            "brighter": {k: brighter_rows(r) for k, r in reports.items()},
            "bins": {k: r["bins"] for k, r in reports.items()},
            "quantities": coverage_rows(reports["skyquilt"]),
            "auc": {k: r["star_galaxy"]["auc"] for k, r in reports.items() if "star_galaxy" in r},
            "reliability": reports["skyquilt"].get("reliability")}


def coadd_truth(path, folder):
    """The Stripe-82 coadd catalogue: PSF fluxes of stars, composite model fluxes of galaxies."""
    rows = fits.getdata(path, 1)
    galaxy = rows["galaxy_bool"].astype(bool)
    columns = {"ra": rows["ra"], "dec": rows["dec"], "star": (~galaxy).astype(np.int32)}
    fraction = rows["fracdev_r"].astype(float)
    for band in BANDS:
        model = (fraction * nanojansky(rows["devmag_" + band])
                 + (1 - fraction) * nanojansky(rows["expmag_" + band]))
        columns["flux_" + band] = np.where(galaxy, model, nanojansky(rows["psfmag_" + band]))
    out = os.path.join(folder, "coadd-truth.h5")
    common.write_catalogue(out, columns)
    return out


def photo_catalogue(path):
    """SDSS Photo's primary objects that are not parents, as a catalogue; also the table itself."""
    rows = fits.getdata(path, 1)
    rows = rows[rows["NCHILD"] == 0]
    star = rows["OBJC_TYPE"] == 6
    columns = {"ra": rows["RA"], "dec": rows["DEC"], "star_probability": star.astype(float)}
    for k, band in enumerate(BANDS):
        mag = np.where(star, rows["PSFMAG"][:, k], rows["CMODELMAG"][:, k]).astype(float)
        columns["flux_" + band] = np.where(mag > 0, nanojansky(mag), 0)
    return columns, rows


def separation(ra1, dec1, ra2, dec2):
    """Arcsec, small angles."""
    return 3600 * np.hypot((ra1 - ra2) * np.cos(np.radians(dec2)), dec1 - dec2)


def median_with_error(values):
    draws = np.random.default_rng(1).choice(values, (500, len(values)))
    return float(np.median(values)), float(np.std(np.median(draws, axis=1)))


def star_agreement(release, rows, criteria):
    """Bright stars of the field's photoObj against the release, nearest within 1 arcsec: the posterior and the PSF flux."""
    stars = rows[(rows["OBJC_TYPE"] == 6) & (rows["PSFMAG"][:, 2] < 21) & (rows["PSFMAG"][:, 2] > 15)]
    kinds = {"posterior": "flux_", "PSF flux": "psf_flux_"}
    got = common.read_columns(release, ["ra", "dec", "detection_probability"]
                              + [kind + b for kind in kinds.values() for b in "gri"])
    keep = got["detection_probability"] >= 0.5
    got = {k: v[keep] for k, v in got.items()}
    nearest = np.array([np.argmin(separation(got["ra"], got["dec"], s["RA"], s["DEC"])) for s in stars])
    distance = separation(got["ra"][nearest], got["dec"][nearest], stars["RA"], stars["DEC"])
    found = distance < 1
    table = {"stars": int(len(stars)), "found": int(found.sum())}
    for kind, prefix in kinds.items():
        for k, band in ((1, "g"), (2, "r"), (3, "i")):
            flux = np.maximum(got[prefix + band][nearest][found], 1e-9)
            step = 31.4 - 2.5 * np.log10(flux) - stars["PSFMAG"][found, k]
            value, error = median_with_error(np.abs(step))
            table[f"{kind} {band}"] = {"median_abs_dmag": value, "error": error,
                                       "median_dmag": float(np.median(step))}
            criteria.add(f"94-1-12: median |dmag| {band}, stars r < 21, {kind}", value, 0.03, error,
                         least=False)
    value, error = median_with_error(distance[found])
    table["median_distance"] = value
    criteria.add("94-1-12: median distance [arcsec], stars r < 21", value, 0.15, error, least=False)
    return table


def frame_blocks(wcs, shape):
    """Polygons that divide a frame."""
    y, x = (np.linspace(0, n, k + 1).round() for n, k in zip(shape, reversed(BLOCKS)))
    return [polygon(wcs, *x[i:i + 2], *y[j:j + 2]) for j in range(BLOCKS[1]) for i in range(BLOCKS[0])]


def compare_f1(files, truth, tile, folder, options, criteria):
    """F1 beside each peer with errors of the paired difference; files: skyquilt first."""
    regions, table = frame_blocks(tile.wcs, tile.data.shape), {}
    counts = {name: image_counts(path, truth, regions, folder, options, LIMITS[1:]) for name, path in files.items()}
    mine, *peers = counts
    weights = image_weights(len(regions), options["seed"], 400)
    for peer in peers:
        say(f"\n94-1-12: F1 of skyquilt and of {peer}, and the difference")
        table[peer] = dict(zip(map("{:g}".format, LIMITS[1:]), paired_f1(counts[mine], counts[peer], weights)))
        for limit, row in table[peer].items():
            say(f"  r < {limit:<5} {row['f1']:.4f} +- {row['error']:.4f}  {row['other']:.4f} +- {row['other_error']:.4f}  "
                f"{row['difference']:+.4f} +- {row['difference_error']:.4f}")
            slack = row["difference_error"] if limit == "21" else 0
            criteria.add(f"94-1-12: F1(r < {limit}) minus that of {peer}", row["difference"], -slack, row["difference_error"])
    return table


def coadd_pulls(release, truth, criteria):
    """ln flux of isolated stars against the coadd over both errors: scaled MAD by band. The coadd's own error is taken as
    that of the mean of its epochs."""
    true = common.read_columns(truth, ["ra", "dec", "star"] + ["flux_" + b for b in BANDS])
    near = np.array([np.sort(separation(true["ra"], true["dec"], a, d))[1] for a, d in zip(true["ra"], true["dec"])])
    mag = 31.4 - 2.5 * np.log10(np.maximum(true["flux_r"], 1e-9))
    use = np.flatnonzero((true["star"] != 0) & (near > 5) & (mag > 16) & (mag < 21.5))
    got = common.read_columns(release, ["ra", "dec", "detection_probability"]
                              + [text.format(b) for b in BANDS for text in ("flux_{}", "mag_{}_err")])
    got = {k: v[got["detection_probability"] >= 0.5] for k, v in got.items()}
    nearest = np.array([np.argmin(separation(got["ra"], got["dec"], true["ra"][i], true["dec"][i])) for i in use])
    use, nearest = (v[separation(got["ra"][nearest], got["dec"][nearest], true["ra"][use], true["dec"][use]) < 1]
                    for v in (use, nearest))
    table, rng = {}, np.random.default_rng(2)
    say(f"\n94-1-12: pulls of isolated stars against the coadd, 16 < r < 21.5 ({len(use)})")
    for b in BANDS:
        step = -2.5 * np.log10(got["flux_" + b][nearest] / np.maximum(true["flux_" + b][use], 1e-9))
        error = got[f"mag_{b}_err"][nearest]
        good = true["flux_" + b][use] > 1
        pull = (step / np.sqrt(error ** 2 * (1 + 1 / COADD_EPOCHS) + SYSTEMATIC ** 2))[good]
        width = lambda v: 1.4826 * np.median(np.abs(v - np.median(v, -1, keepdims=True)), -1)
        table[b] = {"n": len(pull), "median": float(np.median(pull)), "width": float(width(pull)),
                    "error": float(np.std(width(rng.choice(pull, (500, len(pull)))))), "median_dmag": float(np.median(step[good]))}
        say(f"  {b}  width {table[b]['width']:.2f} +- {table[b]['error']:.2f}, median {table[b]['median']:+.2f} "
            f"({table[b]['median_dmag']:+.3f} mag)")
        criteria.add(f"94-1-12: |width of pulls - 1|, isolated stars, {b}", abs(table[b]["width"] - 1), 0.1, table[b]["error"],
                     least=False)
    return table


def stripe82_field(folder, seed, quick, model, criteria):
    """SDSS 94-1-12 against the deeper coadd."""
    field = os.path.join(common.SHARED, "data", "optical", "sdss_94_1_12")
    if not os.path.isdir(field):
        say("\nSDSS 94-1-12: skipped, no data")
        return None
    say("\nSDSS 94-1-12: run, Source Extractor")
    release, seconds = skyquilt_run(folder, "sdss-94", field, model)
    truth = coadd_truth(os.path.join(field, "coadd_catalog_94_1_12.fits"), folder)
    options = {"match": MATCH, "bins": "14,0.5", "limit": 23.0, "seed": seed}
    photo, photo_rows = photo_catalogue(os.path.join(field, "photoObj-000094-1-0012.fits"))
    photo_path = os.path.join(folder, "photo.h5")
    common.write_catalogue(photo_path, photo, release)
    reports = {"skyquilt": common.validate(release, truth, folder, "sdss-94", **options),
               "SDSS Photo": common.validate(photo_path, truth, folder, "photo", **options)}
    peer = os.path.join(folder, "peer-94.h5")

    tile = images.read_sdss(field)
    settings, scan = best_settings([tile], PIXEL, settings_grid(quick), judge_peer(folder, truth, release, options))
    runner = sextractor.Runner(tile)
    common.write_catalogue(peer, runner.run(settings, "gri"), release)
    for threshold in (1.5, 1.0):
        plain = os.path.join(folder, "peer-plain.h5")
        common.write_catalogue(plain, runner.run(sextractor.Settings("r", threshold, 5, 0.005)), release)
        reports[f"Source Extractor {threshold:g} sigma"] = common.validate(
            plain, truth, folder, "peer-plain", **options)
    runner.close()
    best = f"Source Extractor best ({settings.bands})"
    reports[best] = common.validate(peer, truth, folder, "peer-94", **options)
    show_table("SDSS 94-1-12, truth = Stripe-82 coadd", reports)
    show_coverage("SDSS 94-1-12, skyquilt against the coadd", reports["skyquilt"])
    say(f"  Source Extractor's best settings: {settings.label()}")
    f1 = compare_f1({"skyquilt": release, "SDSS Photo": photo_path, best: peer}, truth, tile["gri".index("r")], folder, options,
                    criteria)
    pulls = coadd_pulls(release, truth, criteria)
    agreement = star_agreement(release, photo_rows, criteria)
    return {"seconds": seconds, "settings": settings.label(), "scan": scan[:8],
            "brighter": {k: brighter_rows(r) for k, r in reports.items()},
            "quantities": coverage_rows(reports["skyquilt"]), "photo_stars": agreement, "f1": f1, "coadd_pulls": pulls}


def hubble_truth(field, folder, header):
    """The HST stars of the M2 cutout; also the corners of the cutout."""
    data = np.load(os.path.join(field, "true_hubble_m2.npz"))
    wcs = WCS(header)
    # Locations count from the edge of the first pixel that they fill, so its centre is at one half: the stars smoothed
    # with the PSF correlate best with the image there (0.98).
    row, column = (data["true_locs"] * 100 + 2.5).T
    ra, dec = wcs.all_pix2world(column + 307, row + 627, 0)
    flux = data["true_fluxes"][:, 0] / float(data["nelec_per_nmgy"]) * images.NJY_PER_NANOMAGGY
    out = os.path.join(folder, "m2-truth.h5")
    common.write_catalogue(out, {"ra": ra, "dec": dec, "flux_r": flux.astype(float),
                                 "star": np.ones(len(ra), np.int32)})
    # loc * 100 + 3 fills rows and columns 3 to 103 of the cutout.
    x = np.array([310, 410, 410, 310]) - 0.5
    y = np.array([630, 630, 730, 730]) - 0.5
    corner_ra, corner_dec = wcs.all_pix2world(x, y, 0)
    return out, ",".join(f"{a:.8f},{d:.8f}" for a, d in zip(corner_ra, corner_dec))


def globular_cluster(folder, seed, quick, model, criteria):
    """The crowded cutout of M2 against HST, 0.5 pixel and 0.5 mag."""
    field = os.path.join(common.SHARED, "data", "optical", "sdss_m2_crowded")
    if not os.path.isdir(field):
        say("\nM2: skipped, no data")
        return None
    say("\nM2: run, Source Extractor")
    release, seconds = skyquilt_run(folder, "m2", field, model)
    frame = glob.glob(os.path.join(field, "frame-r-*"))[0]
    truth, region = hubble_truth(field, folder, fits.getheader(frame))
    options = {"match": 0.5 * PIXEL, "tolerance": 0.5, "region": region, "bins": "15,1", "seed": seed}
    reports = {"skyquilt": common.validate(release, truth, folder, "m2", **options)}
    runner = sextractor.Runner(images.read_sdss(field))
    best = (-1, None, None)
    # Without a filter and with a fine background mesh it splits a crowded field best.
    for settings in sextractor.grid(("r",), thresholds=(5, 10) if quick else (2, 3, 5, 7, 10, 15), areas=(1,),
                                    contrasts=(1e-6,), filters=(0,), meshes=(16,) if quick else (16, 32)):
        path = os.path.join(folder, "peer-m2.h5")
        common.write_catalogue(path, runner.run(settings), release)
        report = common.validate(path, truth, folder, "peer-m2", **options)
        best = max(best, (report["summary"]["f1"]["value"] or 0, settings.label(), report),
                   key=lambda entry: entry[0])
    runner.close()
    reports["Source Extractor best"] = best[2]
    say(f"\nM2 cutout, truth = HST: TPR/PPV/F1 ({best[1]})")
    table = {}
    for name, report in reports.items():
        summary = report["summary"]
        table[name] = {k: summary[k] for k in ("truth", "found", "matched", "completeness", "purity", "f1")}
        values = [summary[k]["value"] or 0 for k in ("completeness", "purity", "f1")]
        say(f"  {name:<28} {values[0]:.3f}/{values[1]:.3f}/{values[2]:.3f}  of {summary['truth']}, "
            f"{summary['found']} found")
    f1 = table["skyquilt"]["f1"]
    criteria.add("M2: F1 against HST", f1["value"], 0.563, f1["error"])
    return {"seconds": seconds, "settings": best[1], "summary": table}


def part_of(model):
    """Which of the networks another one stands for."""
    with open(model, "rb") as file:
        entries = split_model(file.read())[1]
    if entries.get("skyquilt.bands") == ",".join(evaluate_lsst.BANDS):
        return "lsst"
    return "crowded" if entries.get("skyquilt.tile") == "2" else "sdss"


def main(options):
    seed = options.seed
    if seed < TRAINING_SEED_LIMIT:
        raise SystemExit(f"tools/evaluate: seeds below {TRAINING_SEED_LIMIT} belong to training")
    begin = time.monotonic()
    criteria = common.Criteria()
    models = MODELS
    if options.model:
        models = {part_of(options.model): os.path.abspath(options.model)}
    folder, tables = common.work_folder("evaluate-"), {}
    try:
        if "sdss" in models:
            tables = {"simulated": simulated_sky(folder, seed, options.quick, models["sdss"]),
                      "sdss_94_1_12": stripe82_field(folder, seed, options.quick, models["sdss"], criteria),
                      "seams": seams("SDSS", folder, seed + 3, options.quick, "sdss", BANDS, PIXEL, models["sdss"], criteria)}
        if "crowded" in models:
            tables["m2"] = globular_cluster(folder, seed, options.quick, models["crowded"], criteria)
        if "lsst" in models:
            tables["lsst"] = evaluate_lsst.evaluate(folder, seed, options.quick, models["lsst"], criteria)
    finally:
        if options.keep:
            say(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if options.model:
        say("not recorded: another model than the project's")
    else:
        common.record("catalog", seed, criteria, tables, options.json, time.monotonic() - begin,
                      options.quick)
    common.finish(criteria)
