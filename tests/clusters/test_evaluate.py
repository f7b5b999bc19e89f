"""tools/evaluate_clusters.py on a synthetic survey whose answers are known."""
import os
import sys
import tempfile

import h5py
import numpy as np
from astropy.io import fits

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools"))
import evaluate_clusters as ec

SIDE, STEP = 600, 0.5 / 60


def sky(centre, u, v):
    """ra, dec of equal-area offsets (deg) east and north of a centre on the equator."""
    r = np.hypot(u, v)
    rho = 2 * np.arcsin(np.radians(r) / 2)
    angle = np.arctan2(v, u)
    x, y, z = np.cos(rho), np.sin(rho) * np.cos(angle), np.sin(rho) * np.sin(angle)
    return (centre[0] + np.degrees(np.arctan2(y, x))) % 360, np.degrees(np.arcsin(z))


def survey(folder, release, seed, fields=6):
    """Halos on a grid of 12'; candidates of nearly all, with a good score and a noisy one; false ones between."""
    rng = np.random.default_rng(seed)
    table = {k: [] for k in ("ra", "dec", "snr", "snr_fixed", "cnn_cutout", "cnn_target", "cnn_ln_mass", "cnn_ln_mass_err",
                             "probability", "probability_halo", "y0", "y0_err", "y0_peak", "theta500", "ln_theta500_err", "ra_err", "dec_err")}
    inside = 0
    for k in range(fields):
        centre = (12.0 * k, 0.0)
        header = fits.Header({"CRVAL1": centre[0], "CRVAL2": 0.0, "CDELT2": STEP})
        image = fits.PrimaryHDU(np.zeros((SIDE, SIDE), np.float32), header)
        image.writeto(os.path.join(folder, f"field-{k:03d}-150.fits"))
        grid = (np.arange(-12, 12) + 0.5) * 0.2 + 0.05      # in the middle of cells
        u, v = (a.ravel() for a in np.meshgrid(grid, grid))
        ln_mass = rng.normal(-0.3, 0.5, len(u))
        z = rng.uniform(0.3, 1.2, len(u))
        ra, dec = sky(centre, u, v)
        y0, theta = 5e-5 * np.exp(ln_mass), np.full(len(u), 2.0)
        with h5py.File(os.path.join(folder, f"field-{k:03d}-truth.h5"), "w") as f:
            for name, column in (("ra", ra), ("dec", dec), ("mvir", 2e14 * np.exp(ln_mass)), ("z", z), ("y0", y0),
                                 ("theta500", theta)):
                f["halos/" + name] = column
        inside += ((np.abs(u) < 2) & (np.abs(v) < 2) & (ln_mass > 0)).sum()
        false = len(u) // 2
        fu, fv = u[:false] + 0.1, v[:false] + 0.1
        ra2, dec2 = sky(centre, np.append(u + rng.normal(0, 0.003, len(u)), fu), np.append(v, fv))
        measured = np.append(ln_mass + rng.normal(0, 0.1, len(u)), rng.normal(-1.2, 0.3, false))
        noisy = measured + rng.normal(0, 0.5, len(measured))
        p = 1 / (1 + np.exp(-17 * measured))
        rows = {"ra": ra2, "dec": dec2, "snr": 6 * np.exp(noisy), "snr_fixed": 5 * np.exp(noisy), "cnn_cutout": measured + rng.normal(0, 0.4, len(p)),
                "cnn_target": measured, "cnn_ln_mass": measured, "cnn_ln_mass_err": np.full(len(p), 0.1),
                "probability": p, "probability_halo": np.append(np.full(len(u), 0.99), np.full(false, 0.02))}
        other = np.random.default_rng([seed, k])
        # Right errors of y0 and along right ascension, half of them of theta500, and declinations that do not err.
        scattered = lambda truth, error: np.append(truth + error * other.normal(size=len(u)), truth[:false])
        rows.update(y0=scattered(y0, 0.1 * y0), y0_peak=np.append(1.2 * y0, y0[:false]), y0_err=np.append(0.1 * y0, y0[:false]), ra_err=np.full(len(p), 0.003 * 3600),
                    theta500=np.exp(scattered(np.log(theta), 0.1)), ln_theta500_err=np.full(len(p), 0.05), dec_err=np.ones(len(p)))
        for name in table:
            table[name].append(rows[name])
    # As of three runs: of the network, of cutouts, and of another filter that has fewer candidates and more noise.
    for item in release.split(","):
        name, _, path = item.rpartition("=")
        lacks = {"": ("cnn_cutout",), "plain": ("cnn_target",)}.get(name, table.keys() - {"ra", "dec", "snr"})
        with h5py.File(path, "w") as f:
            for key, parts in table.items():
                column = np.concatenate(parts) * (np.nan if key in lacks else 1)
                if name == "single":
                    column = column[::-1][:-1] * (np.exp(rng.normal(0, 0.5, len(column) - 1)) if key == "snr" else 1)
                f["clusters/" + key] = column
            n = len(f["clusters/ra"])
            f["clusters/flags"] = np.where(np.arange(n) % 50 == 0, ec.OUT_OF_DOMAIN, 0) + 2
    return inside


def main():
    with tempfile.TemporaryDirectory() as folder:
        skies = []
        for name, seed in (("validation", 1), ("test", 2)):
            os.mkdir(os.path.join(folder, name))
            release = ",".join(k + os.path.join(folder, f"{name}-{k[:-1]}.h5") for k in ("", "plain=", "single="))
            inside = survey(os.path.join(folder, name), release, seed)
            skies.append(ec.load(release, os.path.join(folder, name)))
        assert abs(skies[1][0]["side"] - 4) < 1e-9 and len(skies[1]) == 6
        total = sum(ec.cm.wanted(s).sum() for s in skies[1])
        assert total == inside, (total, inside)
        result = ec.evaluate(*skies, draws=40)
        ec.draw(skies[1], result, os.path.join(folder, "curves.png"))
    objects = result["objects"]
    assert objects["maps"]["completeness_at_0.6"][0] > 0.97 and objects["maps"]["f1"][0] > 0.88
    assert objects["filter"]["f1"][0] < objects["cutouts"]["f1"][0] < objects["maps"]["f1"][0]
    assert objects["rank product"]["f1"][0] > objects["filter"]["f1"][0] and "both" in objects
    assert 0.1 < objects["single band"]["f1"][0] < objects["filter"]["f1"][0] - 0.02
    gain, error = result["gain"]["objects"]["filter"]["completeness_at_0.9"]
    assert gain > 4 * error > 0
    assert abs(result["gain"]["objects"]["maps"]["f1"][0]) < 1e-9        # the same order
    difference = objects["combined"]["f1"][0] - objects["filter"]["f1"][0]
    assert abs(result["gain"]["objects"]["filter"]["f1"][0] - difference) < 1e-9
    # A threshold frozen on the validation fields holds on the test fields within the errors.
    purity, error = objects["filter"]["purity_frozen_0.6"]
    assert abs(purity - 0.6) < 5 * error + 0.02, (purity, error)
    # Targets and candidates stand in the middles of their own cells of 12': half of the cells hold none.
    assert abs(result["cells"]["maps"]["f1"][0] - objects["maps"]["f1"][0]) < 0.05
    # probability was made to be right: P(ln mass > 0) of a measurement with an error of 0.1 (logistic of slope 17).
    assert result["calibration"]["target"]["error"][0] < 0.03
    assert abs(result["calibration"]["target"]["flagged"] - 0.02) < 0.005
    assert abs(result["mass"]["bias"]) < 0.03 and abs(result["mass"]["scatter"] - 0.1) < 0.02
    *parts, row = result["coverage"]
    assert row["n"] == sum(part["n"] for part in parts) > 500
    for name, want in (("y0", (0.683, 0.95)), ("theta500", (0.383, 0.673)), ("place", (0.841, 0.975))):
        assert np.abs(np.subtract(row[name], want)).max() < 0.05, (name, row)
    ratio, error = row["y0 over truth"]
    assert abs(ratio - 1) < 4 * error < 0.06 and abs(row["peak over truth"] - 1.2) < 1e-5, row
    heavy = np.array(result["completeness_map"]["completeness"])[-2:, 1:4]
    assert heavy.min() == 1
    print("ok")


if __name__ == "__main__":
    main()
