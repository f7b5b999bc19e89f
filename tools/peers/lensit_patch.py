#!/usr/bin/env python3
"""LensIt (Carron & Lewis 2017, https://github.com/carronj/LensIt) on the input of `skyquilt bench lensing`.

    python3 -m venv V; V/bin/pip install numpy scipy pyfftw h5py meson ninja
    git clone https://github.com/carronj/LensIt S; (cd S/lensit/bicubic; PATH=V/bin:$PATH f2py -c bicubic.f90 -m bicubic)
    LENSIT=SCRATCH PYTHONPATH=S V/bin/python lensit_patch.py IN.h5 OUT.npz estimate REPEATS | maximum STEPS

estimate: its quadratic estimators from the filtered modes of T, Q, U jointly ('TQU', its minimum variance) and of Q, U, in
processor seconds of each repeat, from maps to phi modes. It has no TT, TE, EE, EB and TB apart and no responses to cache.
maximum: the iterative reconstruction by the recipe of its demo (pertMF, L-BFGS from the quadratic estimate, conjugate gradients
to 1e-6, no primordial B), on pixels half as wide as the input's (its deflections are bicubic splines): kappa [maps][side][side].
Prints one JSON object."""
import contextlib
import json
import os
import shutil
import sys
import time

import h5py
import numpy as np

with contextlib.redirect_stdout(sys.stderr):
    import lensit as li
    from lensit.ffs_covs import ell_mat, ffs_cov
    from lensit.ffs_iterators.ffs_iterator import ffs_iterator_pertMF
    from lensit.qcinv import chain_samples, ffs_ninv_filt_ideal

ROWS = ("tt", "ee", "te", "gtt", "gee", "gte", "ttt", "tee", "tbb", "bb", "uee", "pp")


class Patches:
    """Grid, mode libraries, covariances; `finer`: pixels of the input divided by it."""

    def __init__(self, path, scratch, finer):
        with h5py.File(path) as f:
            self.maps, rows = f["maps"][:], dict(zip(ROWS, f["spectra"][:]))
            pixel, lmin, lmax = (f.attrs[k] for k in ("pixel", "lmin", "lmax"))
            self.fwhm, self.noise = f.attrs["fwhm"], (f.attrs["noise_t"], f.attrs["noise_p"])
            self.unlensed_tt, self.unlensed_te = f["unlensed"][:]
        self.side, self.finer = self.maps.shape[-1], finer
        size, side = self.side * np.radians(pixel / 60), self.side * finer
        top = len(rows["tt"]) - 1
        mat = ell_mat.ell_mat(os.path.join(scratch, "ellmat"), (side, side), (size, size))
        self.dat = ell_mat.ffs_alm_pyFFTW(mat, filt_func=lambda ell: (ell >= lmin) & (ell <= lmax), num_threads=1)
        self.sky = ell_mat.ffs_alm_pyFFTW(mat, filt_func=lambda ell: ell <= top, num_threads=1)
        zero = np.zeros(top + 1)
        self.unlensed = {"tt": self.unlensed_tt, "ee": rows["uee"], "bb": zero, "te": self.unlensed_te, "pp": rows["pp"]}
        self.lensed = {k: rows[k] for k in ("tt", "ee", "bb", "te")}
        self.beam = li.gauss_beam(np.radians(self.fwhm / 60), lmax=top)
        white = [np.full(top + 1, np.radians(v / 60) ** 2) for v in self.noise]
        self.cov = ffs_cov.ffs_diagcov_alm(os.path.join(scratch, "cov"), self.dat, self.unlensed, self.lensed, self.beam,
                                           {"t": white[0], "q": white[1], "u": white[1]}, lib_skyalm=self.sky)
        self.ell = np.hypot(np.fft.fftfreq(side, size / side)[:, None], np.fft.rfftfreq(side, size / side)) * 2 * np.pi

    def observed(self, k):
        """Maps on the finer grid with their beam again."""
        side, half, out = self.side * self.finer, self.side // 2, []
        for m in self.maps[k]:
            f = np.fft.rfft2(m)
            wide = np.zeros((side, side // 2 + 1), complex)
            rows = np.r_[0:half, -half + 1:0]
            wide[rows, :half] = f[rows, :half] * self.finer ** 2
            out.append(np.fft.irfft2(wide * np.interp(self.ell, np.arange(len(self.beam)), self.beam)))
        return np.array(out)

    def estimate(self, kind, maps):
        modes = np.array([self.dat.map2alm(m) for m in maps])
        return self.cov.get_qlms(kind, self.cov.get_iblms(kind, modes)[0], self.sky)[0]

    def maximum(self, k, steps, scratch):
        inverse = lambda cl: np.divide(1, cl, out=np.zeros_like(cl), where=cl > 0)  # noqa: E731
        maps = self.observed(k)[1:]
        data = np.array([self.dat.map2alm(m) for m in maps])
        first, true = (inverse(self.cov.get_N0cls("QU", self.sky, use_cls_len=v)[0]) for v in (True, False))
        prior = self.unlensed["pp"][:self.sky.ellmax + 1]
        start = self.sky.almxfl(0.5 * self.estimate("QU", maps), inverse(first + inverse(prior)))
        filt = ffs_ninv_filt_ideal.ffs_ninv_filt(self.dat, self.sky, self.unlensed, self.beam, *self.noise)
        chain = chain_samples.get_isomgchain(self.sky.ellmax, self.dat.shape, tol=1e-6, iter_max=200)
        opfilt = li.qcinv.opfilt_cinv_noBB
        opfilt._type = "QU"
        folder = os.path.join(scratch, f"map{k}")
        shutil.rmtree(folder, ignore_errors=True)
        it = ffs_iterator_pertMF(folder, "QU", filt, data, self.sky, start, true, self.unlensed["pp"], chain_descr=chain,
                                 opfilt=opfilt, verbose=False)
        it.soltn_cond = True
        for step in range(steps + 1):
            it.iterate(step, "p")
        phi = self.sky.alm2map(it.get_Plm(steps, "p"))
        shutil.rmtree(folder, ignore_errors=True)
        kappa = 0.5 * self.ell ** 2 * np.fft.rfft2(phi)
        half = self.side // 2
        out, rows = np.zeros((self.side, half + 1), complex), np.r_[0:half, -half + 1:0]
        out[rows, :half] = kappa[rows, :half] / self.finer ** 2
        return np.fft.irfft2(out)


def main():
    path, target, what, count = *sys.argv[1:4], int(sys.argv[4])
    scratch, result = os.environ["LENSIT"], {}
    with contextlib.redirect_stdout(open(os.devnull, "w")):
        if what == "estimate":
            patches = Patches(path, os.path.join(scratch, "estimate"), 1)
            for kind in ("TQU", "QU"):
                maps = patches.observed(0)[-len(kind):]
                result[kind] = []
                patches.estimate(kind, maps)
                for _ in range(count):
                    start = time.process_time()
                    patches.estimate(kind, maps)
                    result[kind].append(time.process_time() - start)
        else:
            patches, out, result["seconds"] = Patches(path, os.path.join(scratch, "maximum"), 2), [], []
            for k in range(len(patches.maps)):
                start = time.process_time()
                out.append(patches.maximum(k, count, scratch))
                result["seconds"].append(time.process_time() - start)
            np.savez(target, kappa=np.array(out))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
