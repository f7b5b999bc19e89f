#!/usr/bin/python3
"""Kappa of a cut sky against that of periodic boxes, both with the same noise and beam: what border and filter cost.

    tools/lensing_cut_sky.py [--seed N] [--simulations N] [--boxes N] [--fields N] [--model FILE] [--json FILE]

A field of the simulator (preset cmb, 1 uK arcmin in Q and U, a beam of 1') that holds one patch of the lensing probe of
10 deg, of which an edge of 60' is masked or tapered, is run with EB, MV, QE_n and the network. rho_L comes twice:
`cut` from the release's simulations of that patch, each a sky that goes on beyond it, with the true kappa under the window
of the core of 7.2 deg; `map` from the data of `fields` such fields and their true kappa, by the stitched map of the
release under a Hanning window of the core, without an error when it is one field. `periodic` is rho in boxes of `skyquilt simulate --training --fixed`, of the
same QE_n and network, and of the first estimate (EB and EE). Errors are from resampling skies.
"""
import argparse
import json
import os
import re
import shutil
import sys

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import evaluate_common as common
import evaluate_lensing as periodic

CODES = {"eb": 4, "mv": 5, "qen": 6, "network": 8}
TRUTH = 10
EDGES = (60, 150, 300, 500, 800, 1200, 1600, 2000)
PIXEL, SIDE, CORE, HALO = 2.34375, 232, 184, 36
CELL = 180 / 26  # deg, of the patches along the equator, of which one is centred at ra = 0
# Share of the periodic rho that the cut sky is to keep.
ASKED = {(300, 500): 0.93, (800, 1200): 0.97}


def survey(folder, model, seed, field, simulations):
    """The release of one field around the patch at ra = 0, dec = 0, and the field's true kappa."""
    path = os.path.join(folder, f"field-{field}")
    with open(path + "-sky.yaml", "w") as out:
        out.write(f"preset: cmb\nseed: {seed + field}\nfields: 1\nside: {SIDE}\npixel: {PIXEL}\nfwhm: [1]\n"
                  f"noise: [{0.5 ** 0.5}]\ndepth: 0\nwindow: false\nra: 0\ndec: 0\n")
    common.run("simulate", path + "-sky.yaml", "--output", path + "-sky", "--quiet")
    with open(path + ".yaml", "w") as out:
        out.write(f"probe: lensing\noutput: {path}\nmodel: {model}\nseed: {1 + field}\npatch: {{core: {CORE}, halo: {HALO}}}\n"
                  f"lensing:\n  maps: [{path}-sky/field-000-150.fits]\n  fwhm: 1\n  pixel_window: false\n  edge: 60\n"
                  f"  methods: [{', '.join(CODES)}]\n  simulations: {simulations}\n  amplitude: false\n"
                  f"  bins: {list(EDGES)}\n")
    common.run("run", path + ".yaml", "--quiet")
    return path + "/release.h5", path + "-sky/field-000-kappa.fits"


def simulated(release):
    """{method: [3][skies][bins]}: powers with the truth, own, the truth's, of the simulations of the patch; facts."""
    with h5py.File(release) as f:
        quality, rows = ({k: v[:] for k, v in f[name].items()} for name in ("quality", "simulations"))
    whole = quality["area"] > 1
    if whole.sum() != 1:
        raise RuntimeError(f"{release}: {whole.sum()} patches in place of one")
    facts = {k: float(quality[k][whole][0]) for k in ("area", "iterations", "residual", "network_scatter", "flags")}

    def powers(a, b):
        own = ((rows["method_a"] == a) & (rows["method_b"] == b)) | ((rows["method_a"] == b) & (rows["method_b"] == a))
        order = np.lexsort((rows["l_min"][own], rows["realisation"][own]))
        both = [rows[k][own][order].reshape(-1, len(EDGES) - 1) for k in ("power_first", "power_second")]
        return np.concatenate(both)

    return {name: np.stack([powers(code, TRUTH), powers(code, code), powers(TRUTH, TRUTH)])
            for name, code in CODES.items()}, facts


def mapped(release, kappa):
    """The same of the stitched map and the field's truth, one sky; modes have the weights in a bin that they have as
    estimates, before the map is made unbiased."""
    from astropy.io import fits
    from astropy.wcs import WCS
    from scipy.ndimage import map_coordinates
    with h5py.File(release) as f:
        maps = f["maps/kappa"]
        text = maps.attrs["description"]
        text = text.decode() if isinstance(text, bytes) else text
        ra0, step, dec0, _ = map(float, re.search(r"ra = (\S+) - (\S+) column, dec = (\S+) \+ (\S+) row", text).groups())
        stitched = maps[:].astype(float)
        rows = {k: f["bandpowers"][k][:] for k in ("area", "method_a", "method_b", "l_min", "l_max", "transfer_a")}
    with fits.open(kappa) as f:
        image = [hdu for hdu in f if hdu.data is not None][0]
        truth, wcs = image.data.astype(float), WCS(image.header)
    # What the map's pixels cannot hold would come back as an alias.
    l = 2 * np.pi * np.fft.fftfreq(SIDE, np.radians(PIXEL / 60))
    truth = np.fft.ifft2(np.fft.fft2(truth) * (np.hypot(l[:, None], l) < 1.1 * EDGES[-1])).real
    half = int(0.5 * CELL / step)
    y, x = np.mgrid[-half:half, -half:half]
    column = x + round((ra0 if ra0 < 180 else ra0 - 360) / step)
    row = y - round(dec0 / step)
    ra, dec = (ra0 - step * column) % 360, dec0 + step * row
    at = wcs.wcs_world2pix(ra, dec, 0)
    truth = map_coordinates(truth, [at[1], at[0]], order=5)
    l = 2 * np.pi * np.fft.fftfreq(2 * half, np.radians(step))
    ell, window = np.hypot(l[:, None], l), np.outer(*[np.hanning(2 * half)] * 2)
    modes = lambda m: np.fft.fft2(m * window)
    out = {}
    for plane, name in enumerate(CODES):
        own = (rows["area"] > 1) & (rows["method_a"] == CODES[name]) & (rows["method_b"] == CODES[name])
        transfer = np.interp(ell, 0.5 * (rows["l_min"] + rows["l_max"])[own], rows["transfer_a"][own])
        a, b = modes(stitched[plane][row, column]) * transfer, modes(truth)
        sums = [(a * b.conj()).real, abs(a) ** 2, abs(b) ** 2]
        out[name] = np.array([[[s[(ell >= low) & (ell < high)].sum() for low, high in zip(EDGES[:-1], EDGES[1:])]] for s in sums])
    return out


def measure(folder, model=periodic.MODEL, seed=20260, simulations=24, reference=200, fields=1):
    """Tables of rho and criteria: ({name: {method: {rho, error}}}, [(name, value, target, error)]).

    `reference`: boxes of evaluate_lensing.Boxes with noise 1, or how many to make.
    """
    bins, cut, data, facts = list(zip(EDGES[:-1], EDGES[1:])), [], [], []
    for field in range(fields):
        release, kappa = survey(folder, model, seed + 100, field, simulations)
        sims, own = simulated(release)
        cut.append(sims)
        facts.append(own)
        data.append(mapped(release, kappa))
    sums = {"cut": {m: np.concatenate([c[m] for c in cut], 1) for m in CODES},
            "map": {m: np.concatenate([d[m] for d in data], 1) for m in CODES}}
    if isinstance(reference, int):
        reference = periodic.Boxes(folder, model, "periodic", seed + 50, reference, noise=1)
    sums["periodic"] = {m: reference.correlations(m, edges=bins) for m in ("qe", "qen", "network")}
    tables, criteria = {"bins": bins, "patches": facts}, []
    for name, methods in sums.items():
        tables[name] = {}
        for method, s in methods.items():
            value, error = periodic.resampled(lambda i, s=s: periodic.rho(s[:, i]), s.shape[1])
            tables[name][method] = {"skies": s.shape[1], "rho": value.tolist(), "error": error.tolist() if s.shape[1] > 1 else None}
    tables["cut over periodic"] = {}
    for method in ("qen", "network"):
        a, b = (tables[k][method] for k in ("cut", "periodic"))
        ratio = np.array(a["rho"]) / b["rho"]
        error = ratio * np.hypot(np.array(a["error"]) / a["rho"], np.array(b["error"]) / b["rho"])
        tables["cut over periodic"][method] = {"rho": ratio.tolist(), "error": error.tolist()}
        for bin_, asked in ASKED.items():
            k = bins.index(bin_)
            criteria.append((f"rho of {method} on a cut sky over that of periodic boxes, L {bin_[0]}-{bin_[1]}",
                             float(ratio[k]), asked, float(error[k])))
    gain = sums["cut"]["network"], sums["cut"]["mv"]
    value, error = periodic.resampled(lambda i: periodic.rho(gain[0][:, i]) - periodic.rho(gain[1][:, i]), gain[0].shape[1])
    tables["network minus mv, cut"] = {"rho": value.tolist(), "error": error.tolist()}
    return tables, criteria


def show(tables, criteria):
    common.say("L      " + "".join(f"{a}-{b}".rjust(18) for a, b in tables["bins"]))
    for name in ("periodic", "cut", "map", "cut over periodic"):
        for method, t in tables[name].items():
            errors = t["error"] or [float("nan")] * len(t["rho"])
            common.say(f"{name} {method}".ljust(26) + "".join(f"{v:.4f} +- {e:.4f}".rjust(18) for v, e in zip(t["rho"], errors)))
    for name, value, asked, error in criteria:
        common.say(f"{name}: {value:.4f} +- {error:.4f}, asked {asked}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", type=int, default=20260)
    p.add_argument("--simulations", type=int, default=24, help="realisations, of two skies each")
    p.add_argument("--boxes", type=int, default=200, help="periodic boxes of 5 deg")
    p.add_argument("--fields", type=int, default=1)
    p.add_argument("--model", default=periodic.MODEL)
    p.add_argument("--json")
    a = p.parse_args()
    folder = common.work_folder("cut-sky-")
    try:
        tables, criteria = measure(folder, os.path.abspath(a.model), a.seed, a.simulations, a.boxes, a.fields)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(tables, criteria)
    if a.json:
        with open(a.json, "w") as out:
            json.dump({"seed": a.seed, "tables": tables, "criteria": criteria}, out, indent=1)


if __name__ == "__main__":
    main()
