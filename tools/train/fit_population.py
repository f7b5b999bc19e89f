#!/usr/bin/env python3
"""Fit colours and sizes of stars and galaxies against r magnitude and write them as a C table.

Gaussian mixtures over (r, u-g, g-r, r-i, i-z, z-y [, log half-light radius]) by expectation maximisation, each object
weighted by the inverse of the number counts so that every magnitude is fitted equally well; the simulator
conditions them on r. Also the ellipticity dispersions of disks and bulges.

    fit_population.py GALAXIES.fits STARS.fits > src/sim/population_table.inc.h
"""
import sys

import numpy as np
from astropy.io import fits

BANDS = "ugrizy"


def weights(r):
    edges = np.arange(np.floor(r.min()), np.ceil(r.max()) + 0.5, 0.5)
    h, _ = np.histogram(r, edges)
    w = 1 / np.maximum(h[np.clip(np.digitize(r, edges) - 1, 0, len(h) - 1)], 8)
    return w / w.sum()


def mixture(x, w, count, floor, seed=1, steps=300):
    rng = np.random.default_rng(seed)
    n, d = x.shape
    order = np.argsort(x[:, 0])
    start = np.searchsorted(np.cumsum(w[order]), (np.arange(count) + 0.5) / count)
    mean = x[order][np.clip(start, 0, n - 1)] + rng.normal(0, 0.05, (count, d))
    cov = np.repeat(np.cov(x.T, aweights=w)[None], count, 0) / 2
    part = np.full(count, 1 / count)
    for _ in range(steps):
        log = np.empty((n, count))
        for k in range(count):
            L = np.linalg.cholesky(cov[k])
            z = np.linalg.solve(L, (x - mean[k]).T)
            log[:, k] = np.log(part[k]) - 0.5 * (z ** 2).sum(0) - np.log(np.diag(L)).sum()
        log -= log.max(1, keepdims=True)
        resp = np.exp(log)
        resp *= (w / resp.sum(1))[:, None]
        part = resp.sum(0)
        mean = (resp.T @ x) / part[:, None]
        for k in range(count):
            dx = x - mean[k]
            cov[k] = (resp[:, k, None] * dx).T @ dx / part[k] + np.diag(np.full(d, floor ** 2))
    return part, mean, cov


def table(name, x, w, count, floor):
    part, mean, cov = mixture(x, w, count, floor)
    d = x.shape[1]
    print("enum { %s_COMPONENTS = %d, %s_DIMENSION = %d };" % (name.upper(), count, name.upper(), d))
    print("static const mixture_component %s_mixture[%s_COMPONENTS] = {" % (name, name.upper()))
    for k in range(count):
        # The first variable is conditioned on: regression of the others and the factor of what is left.
        slope = cov[k][1:, 0] / cov[k][0, 0]
        rest = cov[k][1:, 1:] - np.outer(slope, cov[k][0, 1:])
        L = np.linalg.cholesky(rest)
        tri = [L[i, j] for i in range(d - 1) for j in range(i + 1)]
        c = lambda v: ", ".join("%.5g" % t for t in v)
        print("    {%.5g, %.5g, %.5g,\n     {%s},\n     {%s},\n     {%s}}," % (
            part[k], mean[k][0], np.sqrt(cov[k][0, 0]), c(mean[k][1:]), c(slope), c(tri)))
    print("};")


def main(galaxies, stars):
    g = fits.getdata(galaxies, 1)
    mag = np.stack([np.asarray(g[b + "_ab"], float) for b in BANDS], 1)
    bulge, disk = np.asarray(g["fluxnorm_bulge"], float), np.asarray(g["fluxnorm_disk"], float)
    a = np.where(disk >= bulge, g["a_d"], g["a_b"]).astype(float)
    colour = -np.diff(mag, axis=1)
    ok = (a > 0) & (mag[:, 2] < 27.9) & (colour > -1).all(1) & (colour < 4).all(1)
    print("/* Made by tools/train/fit_population.py from %d galaxies and %d stars; do not edit." % (ok.sum(), len(fits.getdata(stars, 1))))
    print(" * Variables: r, u-g, g-r, r-i, i-z, z-y, and for galaxies the log of the major half-light radius in arcsec. */")
    x = np.column_stack([mag[:, 2], colour, np.log(np.where(a > 0, a, 1))])[ok]
    table("galaxy", x, weights(x[:, 0]), 10, 0.03)
    s = fits.getdata(stars, 1)
    mag = np.stack([np.asarray(s[b + "_ab"], float) for b in BANDS], 1)
    colour = -np.diff(mag, axis=1)
    ok = (mag[:, 2] > 14) & (mag[:, 2] < 28) & (colour > -1).all(1) & (colour < 4).all(1)
    x = np.column_stack([mag[:, 2], colour])[ok]
    table("star", x, weights(x[:, 0]), 12, 0.02)
    for name, aa, bb in (("disk", g["a_d"], g["b_d"]), ("bulge", g["a_b"], g["b_b"])):
        use = aa > 0
        e = (aa[use] - bb[use]) / (aa[use] + bb[use])
        print("/* rms of a component of (a-b)/(a+b) */")
        print("#define %s_ELLIPTICITY %.4f" % (name.upper(), np.sqrt((e ** 2).mean() / 2)))
    both = (g["a_d"] > 0) & (g["a_b"] > 0)
    ratio = np.log(np.asarray(g["a_b"], float)[both] / np.asarray(g["a_d"], float)[both])
    print("/* log of bulge over disk radius */")
    print("#define BULGE_RATIO_MEAN %.4f\n#define BULGE_RATIO_SD %.4f" % (np.median(ratio), ratio.std()))


if __name__ == "__main__":
    main(*sys.argv[1:])
