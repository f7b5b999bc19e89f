"""Formulas of the Sunyaev-Zel'dovich effect, for checks: written here anew, not read from the program."""
import numpy as np

ARCMIN, TCMB = np.pi / 180 / 60, 2.726


def sz(ghz):
    """dT / T per unit of y, without relativistic terms."""
    x = 6.62607015e-34 * ghz * 1e9 / (1.380649e-23 * TCMB)
    return x / np.tanh(x / 2) - 4


def arnaud(x):
    """Pressure at x = r / R500, in units of its normalisation: Arnaud et al. 2010, A&A 517, A92."""
    u = 1.177 * x
    return u ** -0.3081 * (1 + u ** 1.0510) ** ((0.3081 - 5.4905) / 1.0510)


def line_of_sight(profile, edge, x):
    """Gauss-Legendre in s with l = end s^2, in which the centre's cusp is smooth."""
    s, w = np.polynomial.legendre.leggauss(400)
    s, w = (s + 1) / 2, w / 2
    x = np.atleast_1d(x)[:, None]
    end = np.sqrt(np.maximum(edge ** 2 - x ** 2, 0))
    return 2 * np.sum(w * profile(np.sqrt(x ** 2 + (end * s ** 2) ** 2)) * end * 2 * s, 1)


def arnaud_transform():
    """k, and the integral of y over the sky times exp(i k x) for y0 = 1, theta500 = 1."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    s, w = (((nodes + 1) / 2 + np.arange(100)[:, None]) / 100).ravel(), np.tile(weights / 200, 100)
    x, w = 5 * s ** 2, w * 10 * s
    k = np.geomspace(1e-3, 300, 500)
    return k, np.array([4 * np.pi * np.sum(w * arnaud(x) * x ** 2 * np.sinc(q * x / np.pi)) for q in k]) / \
        line_of_sight(arnaud, 5, 1e-9)[0]
