"""What the evaluations share: the program, catalogues as HDF5, criteria and their record."""
import json
import os
import platform
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SHARED = os.environ.get("SQ_SHARED", os.path.join(ROOT, "..", "shared"))
PROGRAM = os.environ.get("SQ_PROGRAM", os.path.join(ROOT, "build", "skyquilt"))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMPI_MCA_io": "romio321",
               "OMPI_MCA_hwloc_base_binding_policy": "none", "OMPI_ALLOW_RUN_AS_ROOT": "1",
               "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def say(text):
    print(text, flush=True)


def work_folder(prefix):
    os.makedirs(os.path.join(ROOT, "build"), exist_ok=True)
    return tempfile.mkdtemp(prefix=prefix, dir=os.path.join(ROOT, "build"))


def run(*command, ranks=1, quiet=True):
    """Run the program; gives its output and seconds. A failure ends the evaluation with the message."""
    full = [PROGRAM, *map(str, command)]
    if ranks > 1:
        full = ["mpirun", "--oversubscribe", "-n", str(ranks), *full]
    begin = time.monotonic()
    done = subprocess.run(full, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begin
    if done.returncode not in (0, 2):
        raise RuntimeError(f"{' '.join(full)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    if not quiet:
        say(done.stdout)
    return done.stdout, seconds


def write_catalogue(path, columns, tiles_of=None):
    """A catalogue as `skyquilt validate` reads it; `tiles_of` is a release whose footprint it shares."""
    with h5py.File(path, "w") as out:
        for name, values in columns.items():
            out["catalog/" + name] = np.asarray(values)
        if tiles_of:
            with h5py.File(tiles_of, "r") as release:
                if "tiles" in release:
                    release.copy("tiles", out)


def validate(catalogue, truth, folder, name, **options):
    """The report of `skyquilt validate` as a dictionary."""
    path = os.path.join(folder, name + ".json")
    command = ["validate", catalogue, "--truth", truth, "--json", path, "--quiet"]
    for key, value in options.items():
        command += ["--" + key, value if isinstance(value, str) else repr(value)]
    run(*command)
    with open(path) as file:
        return json.load(file)


def read_columns(path, names, group="catalog"):
    with h5py.File(path, "r") as file:
        return {name: file[f"{group}/{name}"][:] for name in names}


class Criteria:
    """The numbers that are asked for, and whether they are reached."""

    def __init__(self):
        self.rows = []

    def add(self, name, value, target, error=None, least=True, unit=""):
        """`least`: the value must be at least the target, else at most."""
        value = None if value is None or not np.isfinite(value) else float(value)
        met = value is not None and (value >= target if least else value <= target)
        self.rows.append({"name": name, "value": value, "error": error,
                          "target": (">= " if least else "<= ") + f"{target:g}{unit}", "met": bool(met)})

    def all_met(self):
        return all(row["met"] for row in self.rows)

    def show(self):
        say("\n{:<52} {:>10} {:>9}  {:<12} {}".format("criterion", "value", "error", "target", "met"))
        for row in self.rows:
            value = "-" if row["value"] is None else f"{row['value']:.4g}"
            error = "" if row["error"] is None else f"{row['error']:.2g}"
            say(f"{row['name']:<52} {value:>10} {error:>9}  {row['target']:<12} "
                f"{'yes' if row['met'] else 'NO'}")


def machine():
    model = "unknown"
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"processor": model, "cores": os.cpu_count(), "system": platform.platform()}


def commit():
    done = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True,
                          check=False)
    changed = subprocess.run(["git", "-C", ROOT, "status", "--porcelain"], capture_output=True,
                             text=True, check=False).stdout.strip()
    return done.stdout.strip() + ("+changes" if changed else "")


def record(name, seed, criteria, tables, path=None, seconds=None, quick=False):
    """Write the result under tools/results and to `path`."""
    content = {"name": name, "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
               "commit": commit(), "seed": seed, "quick": quick, "machine": machine(),
               "seconds": seconds, "criteria": criteria.rows, "tables": tables}
    text = json.dumps(content, indent=1, allow_nan=False, default=float) + "\n"
    paths = [os.path.join(ROOT, "tools", "results", name + ("-quick" if quick else "") + ".json")]
    if path:
        paths.append(path)
    for target in paths:
        os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
        with open(target, "w") as out:
            out.write(text)
    say(f"\nrecorded in {', '.join(os.path.relpath(p) for p in paths)}")


def finish(criteria):
    criteria.show()
    sys.exit(0 if criteria.all_met() else 1)
