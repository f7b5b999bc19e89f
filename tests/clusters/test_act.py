"""Clusters injected into noise of the depth, mask and beam of a part of ACTPol's E-D56, as tools/check_act_injections.py does
with more: the release states the survey's noise, and finds the fraction that the completeness formula says.

Usage: test_act.py   (environment: SQ_PROGRAM, SQ_SHARED)
"""
import os
import sys
import tempfile

import numpy as np
from scipy.stats import chi2

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools"))
import check_act_injections as act


def main():
    if not os.path.exists(act.DATA):
        print("skipped: no shared data")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        (q, theta, found), noise = act.measure(folder, act.PART, 2, 2, 1)
    rows, value, n = act.tabulate(q, found)
    print(f"noise over the survey's {np.median(noise):.4f}; {found.sum()} of {len(q)} clusters, expected "
          f"{act.formula(q).sum():.1f}, chi^2 {value:.1f} for {n} bins")
    assert abs(np.median(noise) - 1) < 0.04 and np.std(noise) < 0.04
    assert len(q) > 60 and n >= 3 and chi2.sf(value, n) > 0.005


if __name__ == "__main__":
    main()
