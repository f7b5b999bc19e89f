"""tools/train/calibrate.py recovers wrong widths, offsets and probabilities that were put in, and rewrites only metadata."""
import os
import sys

import numpy as np

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)),
                os.path.join(os.environ["SQ_SOURCE"], "tools", "train")]
import calibrate
from fake_model import fake_model

BANDS = ["g", "r"]
Z84 = calibrate.Z68


def catalogue(n, rng):
    """Sources on a grid 10 arcsec apart; stated widths are wrong by known factors that depend on S/N."""
    side = int(np.ceil(np.sqrt(n)))
    truth = {"ra": 150 + np.arange(n) % side * 10 / 3600, "dec": np.arange(n) // side * 10 / 3600}
    snr = np.exp(rng.uniform(np.log(5), np.log(100), n))
    factor = np.where(snr < 20, 1.5, 0.6)
    found = {"snr": snr, "ra_err": np.full(n, 0.1), "dec_err": np.full(n, 0.08), "ra_dec_cov": np.full(n, 0.002)}
    shift = rng.multivariate_normal([0, 0], [[0.01, 0.002], [0.002, 0.0064]], n) * factor[:, None]
    found["ra"] = truth["ra"] + shift[:, 0] / np.cos(np.radians(truth["dec"])) / 3600
    found["dec"] = truth["dec"] + shift[:, 1] / 3600
    for b in BANDS:
        truth["flux_" + b] = np.exp(rng.normal(8, 1, n))
        found["mag_err_raw_" + b] = np.full(n, 0.2 * 1.0857362)
        found["flux_" + b] = truth["flux_" + b] * np.exp(0.2 * factor * rng.normal(size=n) - 0.1)
    truth["star"] = np.zeros(n)
    truth["radius"], truth["e1"], truth["e2"] = np.exp(rng.normal(0, 0.3, n)), rng.normal(0, .2, n), rng.normal(0, .2, n)
    truth["bulge_fraction"] = 1 / (1 + np.exp(-rng.normal(0, 1, n)))
    found["radius"] = truth["radius"] * np.exp(0.3 * factor * rng.normal(size=n))
    found["radius_q16"], found["radius_q84"] = (found["radius"] * np.exp(s * Z84 * 0.3) for s in (-1, 1))
    for e in ("e1", "e2"):
        found[e] = truth[e] + 0.1 * factor * rng.normal(size=n)
        found[e + "_err"] = np.full(n, 0.1)
    centre = np.log(truth["bulge_fraction"] / (1 - truth["bulge_fraction"])) + 0.5 * factor * rng.normal(size=n)
    for name, z in (("bulge_fraction", 0), ("bulge_fraction_q16", -Z84), ("bulge_fraction_q84", Z84)):
        found[name] = 1 / (1 + np.exp(-centre - 0.5 * z))
    raw = rng.uniform(0.05, 0.95, n)
    real = rng.random(n) < 1 / (1 + np.exp(-0.5 - 2 * np.log(raw / (1 - raw))))
    found["detection_probability_raw"] = raw
    keep = {k: v[real] for k, v in truth.items()}
    return found, keep


def main():
    found, truth = catalogue(40000, np.random.default_rng(3))
    result, count = calibrate.fit(found, truth, BANDS, limit=99, offsets=True, probability=True)
    assert count > 10000
    snr = np.exp(np.array(result["ln_snr"]))
    for key in ["position", "flux_g", "flux_r", *calibrate.SHAPES]:
        got = np.array(result[key])
        for want, rows in ((1.5, snr < 13), (0.6, snr > 26)):
            assert rows.any() and np.allclose(got[rows], want, rtol=0.08), (key, want, got)
    for b in BANDS:
        assert np.allclose(result["offset_" + b], 0.1, atol=0.03), result["offset_" + b]
    assert np.allclose(result["probability"], [0.5, 2.0], atol=0.1), result["probability"]
    data = fake_model("g,r", "r", {"note": "a" * 300})
    rest, entries = calibrate.split_model(data)
    assert entries["skyquilt.note"] == "a" * 300 and entries["skyquilt.bands"] == "g,r"
    assert data.startswith(rest) and len(rest) < len(data)
    assert rest + calibrate.metadata(entries) == data
    print("calibrate: factors, offsets and probabilities recovered")


main()
