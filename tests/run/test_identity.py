"""A two-phase run through the whole machinery: its release is the same, bit for bit, for any number of ranks, any order,
and any history of kills and resumes; and it is what numpy says it should be.

Usage: test_identity.py MAP_RUN   (environment: SQ_KILLS kill points, SQ_SEED)
"""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np

from releases import contents

PROGRAM = sys.argv[1]
KILLS = int(os.environ.get("SQ_KILLS", "8"))
ENV = dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_ALLOW_RUN_AS_ROOT="1",
           OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_io="romio321", OMPI_MCA_btl="self,vader")
CORE, NX, NY, REALISATIONS = 32, 320, 260, 3
checks = 0


def check(good, message):
    global checks
    checks += 1
    if not good:
        sys.exit(f"FAILED: {message}")


def write_config(path, **own):
    execution = {k: own.pop(k) for k in ("shuffle", "segment", "walltime", "deflate", "max_range", "deadline", "drain")
                 if k in own}
    with open(path, "w") as f:
        f.write("probe: testmap\nseed: 5\nprecision: fp32\n")
        if execution:
            f.write("execution: {" + ", ".join(f"{k}: {v}" for k, v in execution.items()) + "}\n")
        f.write("testmap: {" + ", ".join(f"{k}: {v}" for k, v in own.items()) + "}\n")
    return path


def command(ranks, config, output):
    if ranks == 1:
        return [PROGRAM, config, output]
    return ["mpirun", "-n", str(ranks), PROGRAM, config, output]


def run(ranks, config, output, expected=2, **extra):
    done = subprocess.run(command(ranks, config, output), env=dict(ENV, **extra), timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with open(os.path.join(output, "exit.json")) as f:
        verdict = json.load(f)
    check(verdict["exit_code"] == expected, f"{ranks} ranks: {verdict} instead of exit {expected}\n{done.stdout}")
    check(done.returncode == expected, f"{ranks} ranks: process exit {done.returncode}")
    return verdict


def processes(parent):
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                if int(fields[1]) == parent:
                    found.append(int(name))
            except (OSError, IndexError):
                pass
    return found


def rank_of(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as f:
            for entry in f.read().split(b"\0"):
                if entry.startswith(b"OMPI_COMM_WORLD_RANK="):
                    return int(entry.split(b"=")[1])
    except OSError:
        pass
    return -1


def kill_after(seconds, ranks, config, output, how=signal.SIGKILL):
    """Power cut: everything at once. Says whether the run was still going."""
    p = subprocess.Popen(command(ranks, config, output), env=ENV, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, start_new_session=True)
    time.sleep(seconds)
    alive = p.poll() is None
    if how == signal.SIGKILL:
        victims = processes(p.pid)
        for pid in victims + [p.pid]:
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                pass
        p.wait()
        for pid in victims:
            while os.path.exists(f"/proc/{pid}") and open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
                time.sleep(0.01)
    elif alive:
        p.send_signal(how)
        p.wait(timeout=60)
    return alive


def same(a, b, what):
    check(sorted(a) == sorted(b), f"{what}: other datasets: {sorted(set(a) ^ set(b))}")
    for name in a:
        check(a[name] == b[name], f"{what}: {name} differs")


def verify_science(folder, fail_every):
    """The release against what follows from its definition, by numpy."""
    with h5py.File(os.path.join(folder, "release.h5"), "r") as f:
        peaks = {k: f["peaks"][k][()] for k in f["peaks"]}
        trials = {k: f["trials"][k][()] for k in f["trials"]}
        cleaned = f["maps/cleaned"][()]
        patches = {k: f["patches"][k][()] for k in f["patches"]}
        failures = {k: f["failures"][k][()] for k in f["failures"]}
        check(f["peaks/ra"].attrs["units"] in (b"deg", "deg"), "ra has no unit")
    with open(os.path.join(folder, "phase-0")) as f:
        mean = float.fromhex(f.readline().strip())
        count = int(f.readline())
    check(count == len(peaks["x"]) and count > 500, f"{count} peaks in the phase file, {len(peaks['x'])} in the release")
    check(abs(np.mean(peaks["value"].astype("f8")) - mean) < 1e-9, "mean of the phase file")
    # Every task once, failed exactly where the probe says so.
    key = list(zip(patches["phase"], patches["patch"], patches["realisation"]))
    check(len(set(key)) == len(key), "a task twice in /patches")
    bad = patches["patch"] % fail_every == 3 if fail_every else np.zeros(len(key), bool)
    check(np.array_equal(patches["state"] != 0, bad), "states of tasks")
    check(len(failures["patch"]) == bad.sum(), "number of failures")
    # Peaks are the local maxima of the cleaned map, wherever that was made.
    signal_plane = cleaned[0].astype("f8") + mean
    values = signal_plane[peaks["y"], peaks["x"]]
    there = np.isfinite(values)
    check(there.sum() > 0.7 * count, "peaks on the map")
    check(np.abs(values - peaks["value"])[there].max() < 1e-5, "values of the peaks")
    padded = np.pad(signal_plane, 1, constant_values=-np.inf)
    ring = np.stack([padded[1 + dy:1 + dy + NY, 1 + dx:1 + dx + NX]
                     for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dx or dy])
    around = np.nanmax(np.where(np.isfinite(ring), ring, -np.inf), axis=0)
    check((values[there] > around[peaks["y"], peaks["x"]][there]).all(), "a peak that is no maximum")
    # The later realisation wins where blocks overlap: sums of the last trial are sums of the map.
    last = trials["trial"] == REALISATIONS - 1
    check(abs(trials["sum"][last].sum() - np.nansum(cleaned.astype("f8"))) < 1e-3, "sums of blocks")
    check((np.diff(peaks["healpix29"]) >= 0).all(), "order of the rows")


def main():
    seed = int(os.environ.get("SQ_SEED", "1"))
    rng = random.Random(seed)
    top = tempfile.mkdtemp(prefix="skyquilt-identity-")
    try:
        fast = write_config(f"{top}/fast.yaml", fail_every=17)
        reference = f"{top}/ranks1"
        first = run(1, fast, reference)
        want = quick = contents(f"{reference}/release.h5")
        verify_science(reference, 17)
        for ranks in (2, 3, 5):
            verdict = run(ranks, fast, f"{top}/ranks{ranks}")
            same(want, contents(f"{top}/ranks{ranks}/release.h5"), f"{ranks} ranks")
            check(verdict["manifest"] == first["manifest"], "manifest")
        # Run again: nothing to do, nothing changes.
        before = os.stat(f"{top}/ranks3/release.h5")
        run(2, fast, f"{top}/ranks3")
        after = os.stat(f"{top}/ranks3/release.h5")
        check((before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns), "a finished run was redone")
        # Another order, smaller segments and hand-outs, compression.
        other = write_config(f"{top}/other.yaml", fail_every=17, shuffle="true", segment=1,
                             max_range=1, deflate=4)
        run(3, other, f"{top}/other")
        same(want, contents(f"{top}/other/release.h5"), "another order")
        # Patches that fail once.
        os.mkdir(f"{top}/marks")
        flaky = write_config(f"{top}/flaky.yaml", fail_every=17, flaky_every=5, marks=f"{top}/marks")
        run(3, flaky, f"{top}/flaky")
        check(len(os.listdir(f"{top}/marks")) > 20, "flaky patches")
        got = contents(f"{top}/flaky/release.h5")
        for name in want:
            if name != "patches" and not name.startswith(("provenance", "manifest")):
                check(got[name] == want[name], f"flaky patches: {name} differs")
        # The same with tasks that last, killed and resumed at random points with other rank counts.
        slow = write_config(f"{top}/slow.yaml", fail_every=17, task_seconds=0.01)
        run(2, slow, f"{top}/slow")
        want = contents(f"{top}/slow/release.h5")
        kills = cut = 0
        while kills < KILLS:
            folder = f"{top}/killed{kills}"
            for _ in range(rng.randint(1, 3)):
                ranks = rng.choice((1, 2, 3, 5))
                cut += kill_after(rng.uniform(0.1, 2.4), ranks, slow, folder)
                kills += 1
            run(rng.choice((1, 2, 3, 5)), slow, folder)
            same(want, contents(f"{folder}/release.h5"), f"seed {seed}, kill {kills}")
        check(cut > KILLS // 3, f"only {cut} kills hit a run")
        # A worker killed under a launcher that goes on: the others finish and make the release.
        lost = write_config(f"{top}/lost.yaml", fail_every=17, task_seconds=0.03, deadline=2, drain=2)
        p = subprocess.Popen(["mpirun", "--enable-recovery", "-n", "4", PROGRAM, lost, f"{top}/lost"],
                             env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        victim = None
        for _ in range(200):
            time.sleep(0.05)
            if os.path.exists(f"{top}/lost/phase-0"):
                victim = [pid for pid in processes(p.pid) if rank_of(pid) == 2]
                break
        check(victim, "no worker to kill")
        os.kill(victim[0], signal.SIGKILL)
        p.wait(timeout=60)
        with open(f"{top}/lost/exit.json") as f:
            verdict = json.load(f)
        check(verdict["exit_code"] == 2 and verdict["counts"]["done"] + verdict["counts"]["failed"] == verdict["counts"]["total"],
              f"after a lost worker: {verdict}")
        got = contents(f"{top}/lost/release.h5")
        for name in want:
            if name != "patches" and not name.startswith(("provenance", "manifest")):
                check(got[name] == want[name], f"lost worker: {name} differs")
        # A stop on request: exit 3, then the rest.
        folder = f"{top}/stopped"
        stopped = subprocess.Popen(command(1, slow, folder), env=ENV, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        for _ in range(400):
            time.sleep(0.05)
            if os.path.exists(f"{folder}/ledger") and os.path.getsize(f"{folder}/ledger") > 0:
                break
        stopped.send_signal(signal.SIGUSR1)
        check(stopped.wait(timeout=60) == 3, f"a stopped run left {stopped.returncode}")
        run(3, slow, folder)
        same(want, contents(f"{folder}/release.h5"), "after a stop")
        # A walltime that ends before the work.
        short = write_config(f"{top}/short.yaml", fail_every=17, task_seconds=0.01, walltime=0.8)
        run(1, short, f"{top}/leased", expected=3)
        run(2, slow, f"{top}/leased")
        same(want, contents(f"{top}/leased/release.h5"), "after a walltime")
        # A disk that is full: for the shards and the ledger, or only for the release. Then there is room again.
        for size in (1000, 20000, 200000):
            folder = f"{top}/full{size}"
            if size == 200000:
                run(3, fast, folder)
                os.remove(f"{folder}/release.h5")
            run(3, fast, folder, expected=4, SQ_TEST_FILE_SIZE=str(size))
            check(not [n for n in os.listdir(folder) if n.startswith("release")], "a release on a full disk")
            run(2, fast, folder)
            same(quick, contents(f"{folder}/release.h5"), f"after a full disk ({size} bytes a file)")
        # A flipped byte in a shard: found on resume, that task is done again.
        folder = f"{top}/flipped"
        shutil.copytree(f"{top}/slow", folder)
        os.remove(f"{folder}/release.h5")
        segment = max((os.path.join(folder, "shards", n) for n in os.listdir(f"{folder}/shards")),
                      key=os.path.getsize)
        with open(segment, "r+b") as f:
            f.seek(os.path.getsize(segment) // 2)
            byte = f.read(1)
            f.seek(-1, 1)
            f.write(bytes([byte[0] ^ 16]))
        run(3, slow, folder)
        same(want, contents(f"{folder}/release.h5"), "after a flipped byte")
        # Another configuration in the same folder is refused, and the old release stays.
        with open(f"{folder}/release.h5", "rb") as f:
            bytes_before = f.read()
        changed = write_config(f"{top}/changed.yaml", fail_every=17, noise=2)
        run(2, changed, folder, expected=1)
        with open(f"{folder}/release.h5", "rb") as f:
            check(f.read() == bytes_before, "a refused run changed the release")
        print(f"{checks} checks passed, {cut} of {kills} kills hit a run")
    finally:
        shutil.rmtree(top, ignore_errors=True)


main()
