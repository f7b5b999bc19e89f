#!/usr/bin/env python3
"""Fit the joint distribution of SDSS observing conditions and write it as a C table.

Input: photoField files (one row a field, five bands). Each field and band gives ten numbers: the photometric
pipeline's PSF (inner and outer Gaussian, power-law wing), the sky, the calibration, the gain and the dark variance.
Their logarithms are modelled as one Gaussian over the five bands; the wing is absent with a probability of its own.

    fit_sdss_conditions.py photoField-*.fits* > src/sim/sdss_conditions_table.inc.h
"""
import sys

import numpy as np
from astropy.io import fits

NAMES = ["log sigma1", "log sigma2/sigma1", "log b", "log p0", "log(beta - 2)", "log sigmap",
         "log sky", "log nmgy/DN", "log gain", "log dark variance"]


def load(paths):
    rows, wing = [], []
    for path in paths:
        t = fits.getdata(path, 1)
        g = {k: np.asarray(t[k], float) for k in
             ("PSF_SIGMA1", "PSF_SIGMA2", "PSF_B", "PSF_P0", "PSF_BETA", "PSF_SIGMAP", "SKY",
              "NMGYPERCOUNT", "GAIN", "DARK_VARIANCE")}
        has_wing = g["PSF_P0"] > 1e-4
        core = (g["PSF_B"] > 0.003) & (g["PSF_B"] < 0.5)
        wild = (g["PSF_P0"] > 0.03) | (g["PSF_BETA"] > 6) | (g["PSF_BETA"] < 2.15)
        x = np.stack([np.log(g["PSF_SIGMA1"]), np.log(g["PSF_SIGMA2"] / g["PSF_SIGMA1"]),
                      np.log(g["PSF_B"]), np.log(g["PSF_P0"]), np.log(np.maximum(g["PSF_BETA"] - 2, 0.05)),
                      np.log(g["PSF_SIGMAP"]), np.log(g["SKY"]), np.log(g["NMGYPERCOUNT"]),
                      np.log(g["GAIN"]), np.log(g["DARK_VARIANCE"])], -1)
        x[~core, 0:3] = np.nan
        x[~has_wing | wild, 3:6] = np.nan
        rows.append(x)
        wing.append(has_wing)
    return np.concatenate(rows), np.concatenate(wing)


def main(paths):
    x, wing = load(paths)
    n = len(x)
    x = x.reshape(n, -1)
    mean = np.nanmean(x, 0)
    filled = np.where(np.isnan(x), mean, x)
    # Robust against the fits that failed: clip at 4 standard deviations.
    sd = filled.std(0)
    filled = np.clip(filled, mean - 4 * sd, mean + 4 * sd)
    mean, cov = filled.mean(0), np.cov(filled.T)
    cov += np.diag(np.full(len(mean), 1e-4))
    chol = np.linalg.cholesky(cov)
    print("/* Made by tools/train/fit_sdss_conditions.py from %d photoField rows; do not edit." % n)
    print(" * Per band (u g r i z): " + ", ".join(NAMES) + ". */")
    print("static const float conditions_wing[5] = {%s};" % ", ".join("%.4ff" % w for w in wing.mean(0)))
    print("static const float conditions_mean[50] = {")
    for b in range(5):
        print("    " + " ".join("%.5gf," % v if "." in "%.5g" % v else "%.5g.0f," % v
                                for v in mean[10 * b:10 * b + 10]))
    print("};")
    print("/* Lower triangle of the Cholesky factor of the covariance, by rows. */")
    print("static const float conditions_factor[50 * 51 / 2] = {")
    tri = np.concatenate([chol[i, :i + 1] for i in range(50)])
    for i in range(0, len(tri), 10):
        print("    " + " ".join("%.4ef," % v for v in tri[i:i + 10]))
    print("};")


if __name__ == "__main__":
    main(sys.argv[1:])
