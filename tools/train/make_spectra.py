"""Make the fiducial CMB spectra that ship with the program: src/sim/spectra_table.inc.h.

    python3 -m pip install camb
    python3 tools/train/make_spectra.py

Planck 2018 (TT,TE,EE+lowE+lensing, flat, sum m_nu = 0.06 eV), lmax 12000. Values are D_l = l (l + 1) C_l / 2 pi in uK^2 at
nodes of l between which a cubic spline is exact to 1e-4; PP = [L (L + 1)]^2 C_L^phiphi / 2 pi. Gradient-lensed spectra are
those of Lewis, Challinor & Hanson 2011 (JCAP 03, 018).
"""
import os

import camb
import numpy as np
from scipy.interpolate import CubicSpline

LMAX = 12000
HEAD = """/* Fiducial CMB spectra, made by tools/train/make_spectra.py with CAMB %s: Planck 2018, flat, sum m_nu
 * 0.06 eV. D_l in uK^2 at l = node; PP = [L (L + 1)]^2 C_L^phiphi / 2 pi. */
"""


def main():
    pars = camb.set_params(H0=67.36, ombh2=0.02237, omch2=0.1200, mnu=0.06, omk=0, tau=0.0544, As=2.100e-9, ns=0.9649,
                           lmax=LMAX + 1500, lens_potential_accuracy=8, halofit_version="mead2020")
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
