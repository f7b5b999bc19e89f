"""Lensed flat skies made by numpy and scipy alone, spectra, and the files of `skyquilt bench lensing`."""
import os

import h5py
import numpy as np
from scipy.ndimage import map_coordinates

ARCMIN = np.pi / 180 / 60
KINDS = ("TT", "TE", "EE", "TB", "EB", "MV")


def table(path, top):
    """Columns of a CAMB text at l = 0..top, l (l + 1) / 2 pi taken off."""
    rows = np.loadtxt(path)
    l = rows[:, 0].astype(int)
    out = np.zeros((rows.shape[1] - 1, top + 1))
    use = (l >= 2) & (l <= top)
    out[:, l[use]] = (rows[use, 1:] * 2 * np.pi / (l[use] * (l[use] + 1.0))[:, None]).T
    return out


class Spectra:
    """FFP10, white noise and a Gaussian beam; lmin..lmax are used, files hold l = 0..top."""

    def __init__(self, folder, noise_t, noise_p, fwhm, lmin=100, lmax=3000, top=4500, gradient=True):
        names = {k: os.path.join(folder, f"FFP10_wdipole_{k}Cls.dat") for k in ("lensed", "gradlensed", "lenspotential")}
        self.lmin, self.lmax, self.top, self.noise_t, self.noise_p, self.fwhm = lmin, lmax, top, noise_t, noise_p, fwhm
        l = np.arange(top + 1.0)
        self.tt, self.ee, self.bb, self.te = table(names["lensed"], top)[:4]
        self.grad_tt, self.grad_ee, _, self.grad_te = table(names["gradlensed"], top)[:4] if gradient else (
            self.tt, self.ee, self.bb, self.te)
        potential = table(names["lenspotential"], top)
        self.unlensed_tt, self.unlensed_ee, _, self.unlensed_te = potential[:4]
        self.phi = potential[4] / np.maximum(l * (l + 1), 1)
        self.beam = np.exp(-l * (l + 1) * (fwhm * ARCMIN) ** 2 / (16 * np.log(2)))
        self.total_tt = self.tt + (noise_t * ARCMIN / self.beam) ** 2
        self.total_ee, self.total_bb = (c + (noise_p * ARCMIN / self.beam) ** 2 for c in (self.ee, self.bb))

    def rows(self):
        return np.array([self.tt, self.ee, self.te, self.grad_tt, self.grad_ee, self.grad_te, self.total_tt, self.total_ee,
                         self.total_bb, self.bb, self.unlensed_ee, self.phi])


class Grid:
    def __init__(self, side, pixel):
        self.side, self.pixel, self.step = side, pixel, pixel * ARCMIN
        self.ly = 2 * np.pi * np.fft.fftfreq(side, self.step)[:, None]
        self.lx = 2 * np.pi * np.fft.rfftfreq(side, self.step)[None]
        self.ell = np.hypot(self.ly, self.lx)
        self.turn = np.exp(2j * np.arctan2(self.ly, self.lx))
        self.count = np.full(self.ell.shape, 2.0)
        self.count[:, [0, -1]] = 1

    def at(self, cl):
        return np.interp(self.ell, np.arange(len(cl)), cl, right=0)

    def spin(self, e, b):
        """Q and U modes of E and B."""
        c, s = self.turn.real, self.turn.imag
        return c * e - s * b, s * e + c * b

    def modes(self, rng, *power):
        """Gaussian fields of spectra TT, EE and their TE (or one field)."""
        white = [np.fft.rfft2(rng.standard_normal((self.side, self.side))) / self.step for _ in power[:2]]
        first = np.sqrt(self.at(power[0])) * white[0]
        if len(power) == 1:
            return first
        ratio = np.divide(self.at(power[2]), np.sqrt(self.at(power[0])), out=np.zeros_like(self.ell), where=self.at(power[0]) > 0)
        rest = np.sqrt(np.maximum(self.at(power[1]) - ratio ** 2, 0))
        return first, ratio * white[0] + rest * white[1]


def resize(modes, side):
    """Modes of a map of another even side of the same box, the Nyquist modes of the smaller left out."""
    old = modes.shape[0]
    half = min(side, old) // 2
    out = np.zeros((side, side // 2 + 1), complex)
    rows = np.r_[0:half, -half + 1:0]
    out[rows, :half] = modes[rows, :half]
    return out * (side / old) ** 2


def lensed_sky(grid, spectra, rng, noise=1.0, lens=1.0):
    """T, Q, U modes' maps: lensed by a quintic spline on pixels half as wide, noise of `noise` times the model's, beam
    deconvolved up to lmax; and the true kappa, the unlensed E and the phi modes."""
    fine = Grid(2 * grid.side, grid.pixel / 2)
    t, e = fine.modes(rng, spectra.unlensed_tt, spectra.unlensed_ee, spectra.unlensed_te)
    phi = fine.modes(rng, spectra.phi) * np.sqrt(lens)
    dy, dx = (np.fft.irfft2(1j * k * phi) / fine.step for k in (fine.ly, fine.lx))
    y, x = np.mgrid[:fine.side, :fine.side]
    maps = [map_coordinates(np.fft.irfft2(m), [y + dy, x + dx], order=5, mode="grid-wrap")
            for m in (t, *fine.spin(e, np.zeros_like(e)))]
    inside = grid.ell <= spectra.lmax
    beam = np.where(inside, grid.at(spectra.beam), np.inf)
    out = []
    for m, level in zip(maps, (spectra.noise_t, spectra.noise_p, spectra.noise_p)):
        white = np.fft.rfft2(rng.standard_normal((grid.side, grid.side))) * noise * level / grid.pixel
        out.append(np.fft.irfft2(np.where(inside, resize(np.fft.rfft2(m), grid.side), 0) + white / beam))
    phi = resize(phi, grid.side)
    return np.array(out), np.fft.irfft2(0.5 * grid.ell ** 2 * phi)


def write(path, maps, grid, spectra):
    """Of maps [count][3][side][side], the input of `skyquilt bench lensing`."""
    with h5py.File(path, "w") as out:
        out["maps"], out["spectra"] = np.asarray(maps, "f8"), spectra.rows()
        out["unlensed"] = np.array([spectra.unlensed_tt, spectra.unlensed_te])
        out.attrs.update(pixel=float(grid.pixel), lmin=float(spectra.lmin), lmax=float(spectra.lmax), fwhm=float(spectra.fwhm),
                         noise_t=float(spectra.noise_t), noise_p=float(spectra.noise_p))


def correlation(grid, a, b, low, high):
    x, y = np.fft.rfft2(a), np.fft.rfft2(b)
    use = (grid.ell >= low) & (grid.ell < high)
    mean = lambda p, q: ((p * q.conj()).real * grid.count)[use].sum()  # noqa: E731
    return mean(x, y) / np.sqrt(mean(x, x) * mean(y, y))
