#!/usr/bin/env python3
"""symlens (https://pypi.org/project/symlens) on the input of `skyquilt bench lensing`: seconds and kappa.

    python3 -m venv V; V/bin/pip install symlens h5py;  V/bin/python symlens_patch.py IN.h5 OUT.npz REPEATS [noise]

Writes kappa [maps][6][ny][nx] (TT, TE, EE, TB, EB, MV) and prints one JSON object with processor seconds of each repeat:
`estimate` from T, Q, U maps to the modes of all six, normalisations cached; with `noise`, `response` of the five
normalisations, once. Its estimator 'hdv' has the separable weights of skyquilt's (TE: with ET added); the responses take
gradient-lensed spectra by their own symbols. Modes above lmax are left out."""
import json
import sys
import time
import warnings

import h5py
import numpy as np
import symlens
from astropy.wcs import WCS
from pixell import enmap
from symlens import qe

PAIRS = ("TT", "TE", "ET", "EE", "TB", "EB")


class Patch:
    def __init__(self, path):
        with h5py.File(path) as f:
            self.maps, rows = f["maps"][:], f["spectra"][:]
            step, lmin, lmax = f.attrs["pixel"] / 60, f.attrs["lmin"], f.attrs["lmax"]
        self.shape, self.wcs, self.lmax = self.maps.shape[-2:], WCS(naxis=2), lmax
        self.wcs.wcs.cdelt, self.wcs.wcs.crpix = [step, step], [1, 1]
        ell, (ly, lx) = enmap.modlmap(self.shape, self.wcs), enmap.lmap(self.shape, self.wcs)
        assert abs(lx[0, 1] * self.shape[1] * np.radians(step) / (2 * np.pi) - 1) < 1e-9
        self.ell, self.turn = ell, np.exp(-2j * np.arctan2(ly, lx))
        self.mask = ((ell >= lmin) & (ell <= lmax)).astype(float)
        at = lambda row: np.interp(ell, np.arange(rows.shape[1]), rows[row])  # noqa: E731
        names = ("uC_T_T", "uC_E_E", "uC_T_E", "gC_T_T", "gC_E_E", "gC_T_E", "tC_T_T", "tC_E_E", "tC_B_B")
        self.feed = {name: at(row) for row, name in enumerate(names)}
        self.norm = {}

    def normalise(self):
        for xy in PAIRS:
            f, filters, _ = qe.get_mc_expressions("hdv", xy)
            for s in f.free_symbols:
                if str(s).startswith("uC"):
                    f = f.subs(s, symlens.e("g" + str(s)[1:]))
            self.norm[xy] = qe.A_l_custom(self.shape, self.wcs, dict(self.feed), f, filters, xmask=self.mask,
                                          ymask=self.mask, groups=qe._get_groups("hdv"))

    def estimate(self, tqu):
        fourier = lambda m: enmap.fft(enmap.enmap(m, self.wcs), normalize="phys")  # noqa: E731
        t, q, u = (fourier(m) for m in tqu)
        # Q and U are real: E + iB of a mode takes both.
        c, s = self.turn.real, -self.turn.imag
        mode = {"T": t, "E": c * q + s * u, "B": c * u - s * q}
        raw, out = {}, {}
        for xy in PAIRS:
            feed = dict(self.feed, X=mode[xy[0]], Y=mode[xy[1]])
            raw[xy] = qe.unnormalized_quadratic_estimator(self.shape, self.wcs, feed, "hdv", xy, xmask=self.mask,
                                                          ymask=self.mask)
        with np.errstate(all="ignore"):
            for xy in ("TT", "TE", "EE", "TB", "EB"):
                parts = ("TE", "ET") if xy == "TE" else (xy,)
                weight = sum(1 / self.norm[p] for p in parts)
                fine = (self.ell > 0) & (self.ell <= self.lmax) & (weight > 0)
                out[xy] = np.where(fine, sum(raw[p] for p in parts) / weight, 0), np.where(fine, weight, 0)
        total = sum(w for _, w in out.values())
        with np.errstate(all="ignore"):
            mv = np.nan_to_num(sum(k * w for k, w in out.values()) / total)
        return [k for k, _ in out.values()] + [mv]


def main():
    warnings.simplefilter("ignore")
    patch, repeats = Patch(sys.argv[1]), int(sys.argv[3])
    start, result = time.process_time(), {"estimate": []}
    patch.normalise()
    result["response"] = time.process_time() - start
    kappa = [patch.estimate(m) for m in patch.maps]
    for k in range(repeats):
        start = time.process_time()
        patch.estimate(patch.maps[k % len(patch.maps)])
        result["estimate"].append(time.process_time() - start)
    back = lambda m: enmap.ifft(enmap.enmap(m, patch.wcs), normalize="phys").real  # noqa: E731
    np.savez(sys.argv[2], kappa=np.array([[back(m) for m in all_] for all_ in kappa]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
