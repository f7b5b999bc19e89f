"""tools/catalog_calibration.py: scores as in `skyquilt validate`, nominal coverage of right posteriors, and the bin that is wrong."""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.join(os.environ["SQ_SOURCE"], "tools"))
import catalog_calibration as calibration
import evaluate_common as common

BANDS, N = "gr", 12000
PROBABILITY = np.array([0.025, 0.05, 0.16, 0.25, 0.5, 0.75, 0.84, 0.95, 0.975])
Z = calibration.ndtri(PROBABILITY)
SUFFIX = ["q025", "q05", "q16", "q25", "q50", "q75", "q84", "q95", "q975"]


def sources(rng, narrow):
    """On a grid 10 arcsec apart. Posteriors are right, but for r fluxes in bad seeing, whose errors are `narrow` times the stated
    ones."""
    truth = {"ra": 150 + np.arange(N) % 110 * 10 / 3600, "dec": np.arange(N) // 110 * 10 / 3600, "star": np.zeros(N, np.int32),
             "tile": (np.arange(N) // 400).astype(np.int32), "e1": rng.normal(0, .2, N), "e2": rng.normal(0, .2, N)}
    found = {"detection_probability": np.ones(N), "ra_err": np.full(N, 0.05), "dec_err": np.full(N, 0.04),
             "ra_dec_cov": np.full(N, 0.0005), "blendedness": rng.random(N)}
    shift = rng.multivariate_normal([0, 0], [[0.0025, 0.0005], [0.0005, 0.0016]], N) / 3600
    found["ra"] = truth["ra"] + shift[:, 0] / np.cos(np.radians(truth["dec"]))
    found["dec"] = truth["dec"] + shift[:, 1]
    error = {}
    for b in BANDS:
        found["fwhm_" + b], found["sky_sigma_" + b] = rng.uniform(0.6, 1.2, N), rng.uniform(1, 2, N)
        wrong = np.where((b == "r") & (found["fwhm_" + b] > 1.1), narrow, 1)
        truth["flux_" + b] = np.exp(rng.normal(7, 1, N))
        error[b] = 0.15 * rng.normal(size=N) * wrong
        found["flux_" + b] = truth["flux_" + b] * np.exp(error[b])
        found["mag_" + b] = 31.4 - 2.5 * np.log10(found["flux_" + b])
        found.update({f"flux_{b}_{s}": found["flux_" + b] * np.exp(0.15 * z) for s, z in zip(SUFFIX, Z)})
    found["colour_g_r"] = found["mag_g"] - found["mag_r"]
    found["colour_g_r_err"] = np.full(N, 1.0857362 * 0.15 * np.sqrt(2))
    truth["radius"] = np.exp(rng.normal(-1, 0.3, N))
    found["radius"] = truth["radius"] * np.exp(0.2 * rng.normal(size=N))
    found.update({"radius_" + s: found["radius"] * np.exp(0.2 * z) for s, z in zip(SUFFIX, Z)})
    for e in ("e1", "e2"):
        found[e], found[e + "_err"] = truth[e] + 0.1 * rng.normal(size=N), np.full(N, 0.1)
    return found, truth


def make(folder, rng, narrow):
    found, truth = sources(rng, narrow)
    paths = [os.path.join(folder, name) for name in ("release.h5", "truth.h5")]
    common.write_catalogue(paths[0], found)
    import h5py
    with h5py.File(paths[1], "w") as out:
        for name, values in truth.items():
            out[name] = values
    return paths, calibration.calibration(*paths, BANDS, 0.6)


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        paths, table = make(folder, np.random.default_rng(5), 1)
        report = os.path.join(folder, "report.json")
        subprocess.run([program, "validate", paths[0], "--truth", paths[1], "--json", report, "--quiet", "--replicas", "0"],
                       check=True)
        with open(report) as file:
            theirs = {q["name"]: q["all"] for q in json.load(file)["quantities"]}
        for name, q in table["quantities"].items():
            assert q["n"] == N and q["ecdf"]["value"] < 2 * q["ecdf"]["perfect_95"], (name, q["n"], q["ecdf"])
            for level, c in q["coverage"].items():
                want = theirs[name]["coverage"][str(level)]["value"]
                assert abs(c["value"] - want) < 2e-4, (name, level, c, want)
        for group in calibration.GROUPS:
            assert table["summary"][group]["overall"]["miss"] < 0.015, table["summary"][group]
            assert table["summary"][group]["worst_bin"]["miss"] < 0.05, table["summary"][group]
        bad = make(folder, np.random.default_rng(6), 2)[1]["summary"]["flux"]["worst_bin"]
        assert bad["quantity"] == "flux_r" and bad["variable"] == "seeing" and bad["low"] > 1.05 and bad["miss"] > 0.15, bad
    print("calibration table: scores agree with validate; the wrong bin is found")


main()
