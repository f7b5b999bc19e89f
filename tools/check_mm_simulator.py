#!/usr/bin/env python3
"""Check the simulator of the mm sky against formulas, data and independent codes.

usage: tools/check_mm_simulator.py [--seed N] [--quick] [--folder DIR] [--environment DIR]

  --seed N           of the simulated fields (default 5)
  --quick            a quarter of the fields; recorded as mm_simulator-quick
  --folder DIR       keep the simulated fields there, and use what is there (default: build, removed)
  --environment DIR  Python environment with colossus, pyccl and what they need; made when it is not there
                     (default: ~/.cache/skyquilt-check)

`skyquilt simulate` makes fields of 100 deg^2 with the components one by one, and all of them. Compared are halo counts
with Tinker 2008 by colossus and pyccl, clustering with pyccl's linear theory and Tinker 2010 bias, masses with colossus,
y profiles and powers with Arnaud 2010 integrated here, source counts with Tucci's table, spectra with the CAMB file, with
George et al. 2015 and with the configuration, and what the knobs do. A row holds when the value is within 4 errors.
Records tools/results/mm_simulator.json and .png. SQ_PROGRAM and SQ_SHARED say where program and data are.
Exit codes: 0 every row holds, 1 not.
"""
import argparse
import importlib.util
import os
import shutil
import subprocess
import sys

NEEDED = ("colossus", "pyccl", "numpy", "scipy", "h5py", "astropy", "matplotlib")


def environment(folder):
    """Go on in a Python that has the packages."""
    if all(importlib.util.find_spec(name) for name in NEEDED):
        return
    python = os.path.join(folder, "bin", "python")
    if os.path.realpath(sys.prefix) == os.path.realpath(folder):
        raise SystemExit(f"tools/check_mm_simulator.py: {folder} lacks packages; remove it")
    if not os.path.exists(python):
        subprocess.check_call([sys.executable, "-m", "venv", folder])
    subprocess.check_call([python, "-m", "pip", "install", "--quiet", *NEEDED])
    os.execv(python, [python, *sys.argv])


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", type=int, default=5)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--folder")
    p.add_argument("--environment", default=os.path.expanduser("~/.cache/skyquilt-check"))
    return p.parse_args()


if __name__ == "__main__":
    ARGUMENTS = arguments()
    environment(ARGUMENTS.environment)

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import mm_simulator_checks  # noqa: E402

if __name__ == "__main__":
    kept = ARGUMENTS.folder
    FOLDER = kept or mm_simulator_checks.work_folder()
    try:
        sys.exit(mm_simulator_checks.main(FOLDER, ARGUMENTS.seed, ARGUMENTS.quick))
    finally:
        if not kept:
            shutil.rmtree(FOLDER)
