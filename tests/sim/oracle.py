"""Independent images of single sources: the PSF from its formula and the galaxy from its profile, convolved by FFT.

Reads lines "psf p1..p6 e1 e2 profile radius q_e1 q_e2 x y" and writes a SIDE x SIDE float64 image of unit flux each:
psf is moffat (fwhm, beta) or sdss (sigma1, sigma2, b, p0, beta, sigmap); profile is star, 1 or 4 (Sersic index); radius in
pixels along the major axis; ellipticities (a-b)/(a+b). The PSF has unit sum over 51 x 51 pixels.

    oracle.py SIDE INPUT OUTPUT [galsim]

With "galsim" the images are GalSim's; those of a PSF with a power-law wing are NaN. Exit code 77: no GalSim.
"""
import functools
import sys

import numpy as np
from scipy.special import gamma, gammaincinv, j0

OVER, FIELD = 4, 300                      # samples per pixel, pixels of the periodic field
N = OVER * FIELD
K = 2 * np.pi * np.fft.fftfreq(N, 1 / OVER)
KX, KY = np.meshgrid(K, K)


def stretch(e1, e2):
    """The area-preserving matrix that turns a circle into an ellipse of this ellipticity."""
    e = np.hypot(e1, e2)
    phi = 0.5 * np.arctan2(e2, e1)
    s = np.sqrt((1 + e) / (1 - e))
    rot = np.array([[np.cos(phi), -np.sin(phi)], [np.sin(phi), np.cos(phi)]])
    return rot @ np.diag([s, 1 / s]) @ rot.T


@functools.lru_cache(maxsize=1)
def psf_transform(kind, p, e1, e2):
    x = np.fft.fftfreq(N, 1 / N) / OVER
    inverse = np.linalg.inv(stretch(e1, e2))

    def image(x, y):
        u, v = inverse[0, 0] * x + inverse[0, 1] * y, inverse[1, 0] * x + inverse[1, 1] * y
        r2 = u * u + v * v
        if kind == "moffat":
            alpha2 = p[0] ** 2 / 4 / (2 ** (1 / p[1]) - 1)
            return (1 + r2 / alpha2) ** -p[1]
        f = np.exp(-0.5 * r2 / p[0] ** 2) + p[2] * np.exp(-0.5 * r2 / p[1] ** 2)
        return f + p[3] * (1 + r2 / (p[4] * p[5] ** 2)) ** (-0.5 * p[4])

    inside = np.arange(-25, 26)
    total = image(*np.meshgrid(inside, inside)).sum()
    return np.fft.fft2(image(*np.meshgrid(x, x)) / total) / OVER ** 2


def sersic_transform(n, radius, e1, e2):
    q = (1 - np.hypot(e1, e2)) / (1 + np.hypot(e1, e2))
    m = stretch(e1, e2).T * radius * np.sqrt(q)
    k = np.hypot(m[0, 0] * KX + m[0, 1] * KY, m[1, 0] * KX + m[1, 1] * KY)
    b = gammaincinv(2 * n, 0.5)
    if n == 1:
        return (1 + (k / b) ** 2) ** -1.5
    t = np.linspace(np.log(1e-9), np.log(400), 40000)
    r = np.exp(t)
    w = np.exp(-b * r ** (1 / n)) * r * r * 2 * np.pi
    w /= 2 * np.pi * n * gamma(2 * n) * b ** (-2 * n)
    grid = np.concatenate([[0], np.geomspace(1e-4, k.max() + 1, 700)])
    values = np.array([np.trapz(w * j0(g * r), t) for g in grid])
    return np.interp(np.log(np.maximum(k, 1e-5)), np.log(np.maximum(grid, 1e-5)), values)


def by_galsim(f, v, radius, q1, q2, x, y, side):
    import galsim
    if f[0] == "moffat":
        psf = galsim.Moffat(beta=v[1], fwhm=v[0])
    elif v[3] == 0:
        psf = galsim.Gaussian(sigma=v[0], flux=v[0] ** 2) + galsim.Gaussian(sigma=v[1], flux=v[2] * v[1] ** 2)
    else:
        return np.full((side, side), np.nan)
    psf = psf.shear(g1=v[6], g2=v[7])
    psf = psf / psf.drawImage(nx=51, ny=51, scale=1, method="no_pixel").array.sum(dtype=float)
    whole = psf
    if f[9] != "star":
        make = galsim.Exponential if f[9] == "1" else galsim.DeVaucouleurs
        q = (1 - np.hypot(q1, q2)) / (1 + np.hypot(q1, q2))
        galaxy = make(half_light_radius=radius * np.sqrt(q)).shear(g1=q1, g2=q2)
        accurate = galsim.GSParams(folding_threshold=1e-4, kvalue_accuracy=1e-6, maxk_threshold=1e-4,
                                   maximum_fft_size=16384)
        whole = galsim.Convolve(galaxy, psf, gsparams=accurate)
    middle = 0.5 * (side - 1)
    image = galsim.ImageD(side, side)
    whole.drawImage(image, scale=1, offset=(x - middle, y - middle), method="no_pixel")
    return image.array


def main(side, source, target, method=""):
    out = []
    if method == "galsim":
        try:
            import galsim
        except ImportError:
            sys.exit(77)
    for line in open(source):
        f = line.split()
        v = [float(t) for t in f[1:9]]
        radius, q1, q2, x, y = (float(t) for t in f[10:15])
        if method == "galsim":
            out.append(by_galsim(f, v, radius, q1, q2, x, y, side))
            continue
        transform = psf_transform(f[0], tuple(v[:6]), v[6], v[7])
        if f[9] != "star":
            transform = transform * sersic_transform(int(f[9]), radius, q1, q2)
        transform = transform * np.exp(-1j * (KX * x + KY * y))
        image = np.fft.ifft2(transform).real * OVER ** 2
        out.append(image[:side * OVER:OVER, :side * OVER:OVER])
    np.array(out).tofile(target)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
