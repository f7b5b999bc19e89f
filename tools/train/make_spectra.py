"""Make the CMB spectra that ship with the program: src/sim/spectra_table.inc.h, or with --cosmologies tools/cosmologies.

    python3 -m pip install camb
    python3 tools/train/make_spectra.py [--cosmologies]

Planck 2018 (TT,TE,EE+lowE+lensing, flat, sum m_nu = 0.06 eV), lmax 12000. Values are D_l = l (l + 1) C_l / 2 pi in uK^2 at
nodes of l between which a cubic spline is exact to 1e-4; PP = [L (L + 1)]^2 C_L^phiphi / 2 pi. Gradient-lensed spectra are
those of Lewis, Challinor & Hanson 2011 (JCAP 03, 018).

The other cosmologies differ from the fiducial one by a parameter each, at the same acoustic scale (cosmomc theta), which the
CMB measures best: what changes is the lensing. NAME-lenspotentialCls.txt has the unlensed spectra and PP,
NAME-lensedCls.txt the lensed ones, D_l in uK^2, at fewer l between which a cubic spline is exact to 1e-3.
"""
import os
import sys

import camb
import numpy as np
from scipy.interpolate import CubicSpline

LMAX = 12000
HEAD = """/* Fiducial CMB spectra, made by tools/train/make_spectra.py with CAMB %s: Planck 2018, flat, sum m_nu
 * 0.06 eV. D_l in uK^2 at l = node; PP = [L (L + 1)]^2 C_L^phiphi / 2 pi. */
"""


FIDUCIAL = dict(ombh2=0.02237, omch2=0.1200, mnu=0.06, omk=0, tau=0.0544, As=2.100e-9, ns=0.9649, halofit_version="mead2020")
COSMOLOGIES = {"fiducial": {}, "as-high": {"As": 2.2e-9}, "omch2-low": {"omch2": 0.1170}, "omch2-high": {"omch2": 0.1230},
               "mnu-0.15": {"mnu": 0.15}, "mnu-0.30": {"mnu": 0.30}, "w-low": {"w": -1.1}, "w-high": {"w": -0.9}}
FILES_LMAX = 9000


def write_cosmologies():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cosmologies")
    os.makedirs(folder, exist_ok=True)
    nodes = np.unique(np.concatenate([np.arange(2, 40), np.arange(40, 200, 4), np.arange(200, 4000, 20),
                                      np.arange(4000, FILES_LMAX + 1, 100)]))
    theta = camb.get_results(camb.set_params(H0=67.36, **FIDUCIAL)).cosmomc_theta()
    for name, change in COSMOLOGIES.items():
        own = FIDUCIAL | change
        pars = camb.set_params(cosmomc_theta=theta, lmax=FILES_LMAX + 1500, lens_potential_accuracy=4,
                               **({"dark_energy_model": "ppf"} if "w" in own else {}), **own)
        results = camb.get_results(pars)
        power = results.get_cmb_power_spectra(pars, CMB_unit="muK")
        unlensed, lensed, potential = power["unlensed_scalar"], power["total"], power["lens_potential"]
        text = ", ".join(f"{k} {v:g}" for k, v in own.items() if not isinstance(v, str))
        text = f"CAMB {camb.__version__}: H0 {pars.H0:.4f}, {text}"
        for kind, columns, values in (
                ("lenspotentialCls", "TT EE BB TE PP", np.column_stack([unlensed, potential[:len(unlensed), 0]])),
                ("lensedCls", "TT EE BB TE", lensed)):
            with open(os.path.join(folder, f"{name}-{kind}.txt"), "w") as f:
                f.write(f"# {text}\n# L {columns}\n")
                for l in nodes:
                    f.write(f"{l:d} " + " ".join(f"{v:.5e}" for v in values[l]) + "\n")
        print(name, text)


def main():
    if sys.argv[1:] == ["--cosmologies"]:
        return write_cosmologies()
    pars = camb.set_params(H0=67.36, lmax=LMAX + 1500, lens_potential_accuracy=8, **FIDUCIAL)
    results = camb.get_results(pars)
    power = results.get_cmb_power_spectra(pars, CMB_unit="muK")
    gradient = results.get_lensed_gradient_cls(CMB_unit="muK")
    nodes = np.unique(np.concatenate([np.arange(2, 40), np.arange(40, 200, 4), np.arange(200, 4000, 10),
                                      np.arange(4000, LMAX + 1, 50)]))
    columns = [("LENSED_TT", power["total"][:, 0]), ("LENSED_EE", power["total"][:, 1]),
               ("LENSED_BB", power["total"][:, 2]), ("LENSED_TE", power["total"][:, 3]),
               ("UNLENSED_TT", power["unlensed_scalar"][:, 0]), ("UNLENSED_EE", power["unlensed_scalar"][:, 1]),
               ("UNLENSED_TE", power["unlensed_scalar"][:, 3]),
               ("GRADIENT_TT", gradient[:, 0]), ("GRADIENT_EE", gradient[:, 1]), ("GRADIENT_TE", gradient[:, 4]),
               ("PP", power["lens_potential"][:, 0])]
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "sim", "spectra_table.inc.h")
    with open(out, "w") as f:
        f.write(HEAD % camb.__version__)
        f.write("enum { SPECTRA_NODES = %d, SPECTRA_COUNT = %d };\n" % (len(nodes), len(columns)))

        def array(kind, name, values, form):
            f.write("static const %s %s = {\n" % (kind, name))
            for i in range(0, len(values), 10):
                f.write("    " + ", ".join(form % v for v in values[i:i + 10]) + ",\n")
            f.write("};\n")

        array("short", "SPECTRA_L[SPECTRA_NODES]", nodes, "%d")
        f.write("static const float SPECTRA_D[SPECTRA_COUNT][SPECTRA_NODES] = {\n")
        for name, values in columns:
            f.write("    /* %s */\n    {\n" % name)
            for i in range(0, len(nodes), 8):
                f.write("    " + ", ".join("%.6ef" % v for v in values[nodes[i:i + 8]]) + ",\n")
            f.write("    },\n")
            l = np.arange(2, LMAX + 1)
            error = np.abs(CubicSpline(nodes, values[nodes])(l) - values[l])
            print("%-12s largest spline error / largest value: %.1e" % (name, error.max() / np.abs(values).max()))
        f.write("};\n")


if __name__ == "__main__":
    main()
