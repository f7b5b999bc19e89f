#!/usr/bin/env python3
"""Fit the exponential and the de Vaucouleurs profile by sums of Gaussians and write them as a C table.

As in Hogg & Lang (2013, PASP 125, 719), but for the untruncated profiles and with the error measured after convolution
with Gaussian PSFs of sigma 0.08 to 10 half-light radii, relative to the peak. Needs numpy and scipy.

    fit_profiles.py > src/sim/profile_table.inc.h
"""
import numpy as np
from scipy.optimize import least_squares
from scipy.special import gammaincinv, i0e, gamma


def profile(n, r):
    b = gammaincinv(2 * n, 0.5)
    norm = 2 * np.pi * n * gamma(2 * n) * b ** (-2 * n)
    return np.exp(-b * r ** (1 / n)) / norm


def convolved(n, sigma, radii):
    """The unit-flux profile convolved with a circular Gaussian, at the radii."""
    t = np.linspace(np.log(1e-7), np.log(200.0), 6000)
    r = np.exp(t)
    w = profile(n, r) * r * r * (t[1] - t[0])
    z = np.outer(radii, r) / sigma ** 2
    k = np.exp(-0.5 * (radii[:, None] - r[None]) ** 2 / sigma ** 2) * i0e(z) / sigma ** 2
    return k @ w


def fit(n, count, low, high):
    sigmas = np.array([0.08, 0.12, 0.2, 0.35, 0.6, 1.0, 2.0, 5.0, 10.0])
    data = []
    for s in sigmas:
        radii = np.concatenate([[0], np.geomspace(0.03 * s, 8 * max(s, 1.5), 60)])
        f = convolved(n, s, radii)
        data.append((s, radii, f))

    def residual(p):
        amp, var = np.exp(p[:count]), np.exp(p[count:])
        out = []
        for s, radii, f in data:
            v = var[None] + s * s
            g = (amp / (2 * np.pi * v) * np.exp(-0.5 * radii[:, None] ** 2 / v)).sum(1)
            e = (g - f) / f[0] * 1e3
            out.append(np.sign(e) * np.abs(e) ** 1.6)     # nearer to the largest error than squares
            out.append(4 * (g - f) / f)     # the far wings, in proportion
        out.append([3e3 * (amp.sum() - 1)])
        return np.concatenate(out)

    start = np.concatenate([np.full(count, -np.log(count)), np.linspace(np.log(low), np.log(high), count)])
    best = least_squares(residual, start, max_nfev=4000)
    amp, var = np.exp(best.x[:count]), np.exp(best.x[count:])
    worst = 0
    for s, radii, f in data:
        v = var[None] + s * s
        g = (amp / amp.sum() / (2 * np.pi * v) * np.exp(-0.5 * radii[:, None] ** 2 / v)).sum(1)
        worst = max(worst, np.abs(g - f).max() / f[0])
    order = np.argsort(var)
    return amp[order] / amp.sum(), var[order], worst


def show(name, n, count, low, high):
    amp, var, worst = fit(n, count, low, high)
    print("/* Sersic n = %d: largest error %.1e of the peak after convolution. */" % (n, worst))
    print("enum { %s_COUNT = %d };" % (name.upper(), count))
    print("static const double %s_flux[%s_COUNT] = {%s};" % (name, name.upper(), ", ".join("%.8g" % a for a in amp)))
    print("static const double %s_variance[%s_COUNT] = {%s};" % (name, name.upper(), ", ".join("%.8g" % v for v in var)))


if __name__ == "__main__":
    print("/* Made by tools/train/fit_profiles.py; do not edit. Fluxes sum to 1, variances in half-light radii squared. */")
    show("disk", 1, 7, 0.02, 2)
    show("bulge", 4, 9, 0.001, 60)
