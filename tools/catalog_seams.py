"""What the grid of the network's tiles and the borders of patches do to a catalogue: the same pixels with another origin.

Part of `tools/evaluate catalog`. Tiles lose 1, 2 or 3 columns and rows, which moves every network tile and patch against the
sources, or are cut into smaller patches. A source has changed when the other catalogue has none within a pixel. Its S/N is that of its own
posterior flux in the best band: the column `snr`, of the matched filter, counts its neighbours' light.
"""
import os

import numpy as np
from astropy.io import fits

import evaluate_common as common
from catalog_calibration import pairs
from catalog_tables import simulate, skyquilt_run
from evaluate_common import say

SHIFTS = (1, 2, 3)
SIDE = 1024
CORE = 176                      # pixels of smaller patches
RIM = 48                        # pixels of a tile's border that are left out: there the data differ
SNR = 10
COLUMNS = ["ra", "dec", "x", "y", "snr", "detection_probability", "mag_r_err"]


def crop(stem, bands, shift, folder):
    """A tile without its first columns and rows."""
    name = os.path.basename(stem)
    for band in bands:
        with fits.open(f"{stem}-{band}.fits") as file:
            for hdu in file:
                if hdu.data is not None and hdu.data.ndim == 2 and hdu.is_image:
                    hdu.data = hdu.data[shift:, shift:]
                    hdu.header["CRPIX1"] -= shift
                    hdu.header["CRPIX2"] -= shift
            file.writeto(f"{folder}/{name}-{band}.fits")
    with fits.open(stem + "-psf.fits") as file:
        for key in file[0].header:
            if key.startswith(("TILE_N", "NODE")):
                file[0].header[key] -= shift
        file.writeto(f"{folder}/{name}-psf.fits")


def sources(release, bands):
    rows = common.read_columns(release, COLUMNS + [text.format(b) for b in bands for text in ("flux_{}", "flux_{}_err")])
    with np.errstate(invalid="ignore", divide="ignore"):
        rows["own_snr"] = np.nanmax([rows["flux_" + b] / rows[f"flux_{b}_err"] for b in bands], axis=0)
    return {k: v[rows["detection_probability"] >= 0.5] for k, v in rows.items()}


def lost(a, b, pixel, side, shift, measure):
    """Sources of `a` with S/N > 10 away from the rim: how many; without one in `b`; of those with one, r fluxes that differ by
    more than the error."""
    mine, theirs = pairs(a, b, pixel)
    inside = np.all([(a[k] + shift > RIM) & (a[k] + shift < side - RIM) for k in "xy"], axis=0) & (a[measure] > SNR)
    matched = np.zeros(len(inside), bool)
    matched[mine] = True
    step = 2.5 * np.abs(np.log10(a["flux_r"][mine] / b["flux_r"][theirs])) > a["mag_r_err"][mine]
    return np.array([inside.sum(), (inside & ~matched).sum(), (step & inside[mine]).sum()])


def compare(name, first, second, pixel, side, shift=0):
    """A row of the table; the share of sources that come or go, with its binomial error."""
    row = {"what": name}
    for measure in ("own_snr", "snr"):
        there, back = lost(first, second, pixel, side, 0, measure), lost(second, first, pixel, side, shift, measure)
        n, changed = max(1, there[0]), max(there[1], back[1])
        row[measure] = {"sources": int(there[0]), "gone": int(there[1]), "new": int(back[1]), "changed": changed / n,
                        "error": float(np.sqrt(max(changed, 1)) / n), "flux_moved": float(there[2] / n)}
    own, blend = row["own_snr"], row["snr"]
    say(f"  {name:<24} {own['sources']:>6} sources, {own['gone']:>3} gone, {own['new']:>3} new: {own['changed']:.4f} +- "
        f"{own['error']:.4f}; r moved by more than its error: {own['flux_moved']:.3f}; by the S/N of all light {blend['changed']:.4f} "
        f"of {blend['sources']}")
    return row


def seams(label, folder, seed, quick, preset, bands, pixel, model, criteria):
    """Several runs over a simulated sky of one preset."""
    _, _, stems = simulate(folder, f"seams-{preset}", preset=preset, seed=seed, tile_nx=SIDE, tile_ny=SIDE, tiles_x=2,
                           tiles_y=1 if quick else 4)
    say(f"\n{label}: sources of S/N > {SNR} when the grid of tiles moves, and with smaller patches")
    runs = {}
    for shift in (0, *SHIFTS):
        place = os.path.join(folder, f"{label}-shift-{shift}")
        os.makedirs(place)
        for stem in stems:
            crop(stem, bands, shift, place)
        runs[shift] = sources(skyquilt_run(folder, f"{label}-seams-{shift}", place, model)[0], bands)
    small = sources(skyquilt_run(folder, f"{label}-seams-core", os.path.join(folder, f"{label}-shift-0"), model,
                                 extra=f"patch: {{core: {CORE}}}\n")[0], bands)
    rows = [compare(f"shifted by {k}", runs[0], runs[k], pixel, SIDE, k) for k in SHIFTS]
    rows.append(compare(f"patches of {CORE} pixels", runs[0], small, pixel, SIDE))
    worst = max((row["own_snr"] for row in rows), key=lambda r: r["changed"])
    criteria.add(f"{label}: S/N > {SNR} sources that change with the grid", worst["changed"], 0.005, worst["error"], least=False)
    return rows
