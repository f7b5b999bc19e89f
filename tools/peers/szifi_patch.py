#!/usr/bin/env python3
"""SZiFi (Zubeldia et al. 2023, https://github.com/inigozubeldia/szifi) on one flat patch: seconds of its cluster finder.

    python3 -m venv V; V/bin/pip install 'numpy<2' scipy astropy healpy numba pixell pymaster       (pymaster wants libgsl-dev and more)
    git clone https://github.com/inigozubeldia/szifi S
    PYTHONPATH=S V/bin/python szifi_patch.py PATCH.npz REPEATS                         (what PyPI has, 0.1.3, cannot be imported)

PATCH.npz: maps [n][n][bands] in uK, pixel (arcmin), ghz, fwhm (arcmin), noise (uK arcmin), theta (arcmin), threshold. Prints one
JSON object: seconds of each repeat, processor seconds, number of candidates. Its cheapest settings that find the same: power
spectra of the masked map scaled by its area (no coupling matrix), no inpainting, one peak finding over the whole field, single
precision, one iteration of the noise without the clusters found, as skyquilt's default. It starts from the flat maps in memory:
reading, reprojection, the search for point sources and a network are not in it. Where pymaster is missing, binned spectra of
masked flat maps, all that is used of it here, come from numpy (which is faster)."""
import contextlib
import importlib.util
import io
import json
import os
import sys
import tempfile
import time
from types import SimpleNamespace

import numpy as np
from scipy.signal.windows import tukey


class FlatBins:
    def __init__(self, low, high):
        self.edges = np.append(low, high[-1])

    def get_effective_ells(self):
        return 0.5 * (self.edges[1:] + self.edges[:-1])


class FlatField:
    def __init__(self, width, height, mask, maps):
        self.size = width, height
        self.modes = np.fft.fft2(mask * maps[0]) * width * height / mask.size


def flat_cells(a, b, bins):
    ny, nx = a.modes.shape
    ell = 2 * np.pi * np.hypot(np.fft.fftfreq(ny, a.size[1] / ny)[:, None], np.fft.fftfreq(nx, a.size[0] / nx)[None])
    power = (a.modes * b.modes.conj()).real / (a.size[0] * a.size[1])
    total, count = (np.histogram(ell, bins.edges, weights=w)[0] for w in (power, np.ones_like(power)))
    return [total / np.maximum(count, 1)]


if not importlib.util.find_spec("pymaster"):
    sys.modules["pymaster"] = SimpleNamespace(NmtBinFlat=FlatBins, NmtFieldFlat=FlatField, compute_coupled_cell_flat=flat_cells)
import szifi  # noqa: E402


def spectrum(ghz):
    x = np.asarray(ghz) / 56.79
    return 2.7255e6 * (x / np.tanh(x / 2) - 4)


def data_of(patch, params):
    maps = patch["maps"].astype(np.float32)
    n, dx = maps.shape[0], float(patch["pixel"])
    line = tukey(n, 0.1)
    taper = np.outer(line, line).astype(np.float32)
    inner = (taper > 0.999).astype(np.float32)
    ones = np.ones_like(taper)
    masks = {name: {0: ones.copy()} for name in ("mask_point",)}
    masks.update({name: {0: taper.copy()} for name in ("mask_ps", "mask_map")})
    masks.update({name: {0: inner.copy()} for name in (
        "mask_select", "mask_select_no_tile", "mask_select_buffer", "mask_peak_finding", "mask_peak_finding_no_tile")})
    ghz = patch["ghz"]
    experiment = SimpleNamespace(experiment_name="patch", nu_eff=ghz * 1e9, FWHM=patch["fwhm"], noise_levels=patch["noise"],
                                 tsz_sed=spectrum(ghz), n_freqs=len(ghz), transmission_list=None, params_szifi=params)
    return SimpleNamespace(data=dict(params_data={"field_ids": [0]}, nx={0: n}, ny={0: n}, dx_arcmin={0: dx}, dy_arcmin={0: dx},
                                     t_obs={0: maps.copy()}, t_noi={0: maps.copy()}, experiment=experiment, nside_tile=8,
                                     coupling_matrix_name={0: None}, **masks))


def main():
    patch, repeats = np.load(sys.argv[1]), int(sys.argv[2])
    out = {"seconds": [], "processor": []}
    with tempfile.TemporaryDirectory() as folder:
        for k in range(repeats):
            params = dict(szifi.params_szifi_default, theta_500_vec_arcmin=patch["theta"], q_th=float(patch["threshold"]),
                          q_th_noise=float(patch["threshold"]), iterative=True, max_it=1, decouple_type="fsky",
                          coupling_matrix_needed=False, inpaint=False, lrange=[100, 20000], freqs=list(range(len(patch["ghz"]))),
                          beam="gaussian", tilemask_mode="catalogue", get_lonlat=False, path_template=folder + "/",
                          map_dtype=np.float32, a_matrix=None, snr_weighting=False, integrate_bandpass=False)
            data = data_of(patch, params)
            wall, processor = time.monotonic(), time.process_time()
            with contextlib.redirect_stdout(io.StringIO()):
                finder = szifi.cluster_finder(params_szifi=params, params_model=szifi.params_model_default, data_file=data, rank=1)
                finder.find_clusters()
            out["seconds"].append(time.monotonic() - wall)
            out["processor"].append(time.process_time() - processor)
            found = finder.results_dict[0].catalogues
            out["candidates"] = int(len(found[sorted(n for n in found if n.startswith("catalogue_find_") and "buffer" not in n)[-1]]
                                        .catalogue["q_opt"]))
            for name in os.listdir(folder):
                os.remove(os.path.join(folder, name))
    print(json.dumps(out))


if __name__ == "__main__":
    main()
