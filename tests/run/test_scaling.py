"""The campaigns about many ranks: the simulated scheduler against what can be computed by hand, and tools/scaling.

Usage: test_scaling.py
"""
import json
import os
import subprocess
import sys
import tempfile

PROGRAM, ROOT = os.environ["SQ_PROGRAM"], os.environ["SQ_SOURCE"]


def check(good, message):
    if not good:
        sys.exit(f"FAILED: {message}")


def simulate(*options):
    done = subprocess.run([PROGRAM, "bench", "scheduler", "--simulate", "--json", *options], capture_output=True,
                          text=True, timeout=120, check=False)
    check(done.returncode == 0, f"{options}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout[done.stdout.index("{"):])["runs"]


def even():
    """Equal tasks, nothing fails and messages are almost free: every worker is busy to the end."""
    for run in simulate("--workers", "10,1000", "--sigma", "0", "--slow", "0", "--fail", "0", "--mtbf", "0",
                        "--message", "1e-9"):
        check(abs(run["bound"] - 1000) < 1e-6 * 1000, f"bound {run['bound']} instead of 1000 s")
        check(1000 <= run["seconds"] < 1010, f"{run['seconds']} s for 1000 tasks of 1 s a worker")
        check(run["efficiency"] > 0.99 and run["failures"] == run["deaths"] == 0, f"{run}")


def saturated():
    """A task needs two messages at least: with 10 ms each, rank 0 feeds no more than 50 tasks/s."""
    run, = simulate("--workers", "1000", "--tasks", "5000", "--sigma", "0", "--slow", "0", "--fail", "0", "--mtbf",
                    "0", "--message", "0.01")
    check(run["seconds"] >= 2 * 5000 * 0.01 and run["load"] > 0.97, f"a saturated rank 0: {run}")


def troubled():
    """Failures and deaths cost time and lose nothing; the same service times give the same result."""
    run, = simulate("--workers", "100", "--fail", "0.01", "--mtbf", "2", "--message", "1e-6")
    check(run["deaths"] > 2 and run["failures"] > 500 and run["quarantined"] == 0, f"{run}")
    check(run["seconds"] > run["bound"] and 0.5 < run["efficiency"] < 1, f"{run}")


def usage():
    for options in (["--workers", "0"], ["--batch", "0"], ["--sigma", "x"]):
        done = subprocess.run([PROGRAM, "bench", "scheduler", "--simulate", *options], capture_output=True, check=False)
        check(done.returncode == 1, f"{options}: exit code {done.returncode}")
    done = subprocess.run([os.path.join(ROOT, "tools", "scaling"), "--ranks", "0"], capture_output=True, check=False)
    check(done.returncode == 1, f"tools/scaling --ranks 0: exit code {done.returncode}")


def campaign():
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        done = subprocess.run([os.path.join(ROOT, "tools", "scaling"), "--quick", "--weak", "--ranks", "1,3", "--out",
                               folder], capture_output=True, text=True, timeout=200, check=False)
        check(done.returncode == 0, f"tools/scaling: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        check(sorted(os.listdir(folder)) == ["scaling.json", "scaling.md", "scaling.png"], f"{os.listdir(folder)}")
        with open(os.path.join(folder, "scaling.json")) as file:
            result = json.load(file)
        one, three = result["table"]
        check(one["efficiency"] == 1 and one["speed_up"] == 1 and one["balance"] == 1, f"the first row: {one}")
        check(three["workers"] == 2 and three["patches"] == 2 * one["patches"], f"twice the tiles: {three}")
        rate = three["patches"] / three["median"] / (one["patches"] / one["median"])
        check(abs(three["speed_up"] - rate) < 1e-9 and abs(three["efficiency"] - rate / 2) < 1e-9, f"{three}")
        roof = result["roofline"]
        check(len(roof["convolutions"]) > 10 and roof["bandwidth_gbs"] > 0.1, f"the roofline: {roof}")
        for op in roof["convolutions"]:
            check(1 < op["intensity"] < 1000 and 0 < op["gflops"] < 2 * roof["peak_gflops"], f"a convolution: {op}")
        check(all(0 <= share <= 1.01 for name, share in three["split"].items() if name != "read"), f"{three['split']}")


even()
saturated()
troubled()
usage()
campaign()
print("ok")
