"""A small survey to break: configuration, runs under injected faults, and the comparison of releases.

Shared by the tests of this folder and tools/faults.
"""
import json
import os
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "run"))
from releases import contents  # noqa: E402,F401 (for those who import this)

ENV = dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_ALLOW_RUN_AS_ROOT="1", OMP_NUM_THREADS="1", SKYQUILT_WATCHDOG="6",
           OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_io="romio321", OMPI_MCA_btl="self,vader")
ENV.pop("LD_PRELOAD", None)

# (call, part of the path) -> matching calls of an undisturbed run of the map survey: of rank 0, of a worker.
PLACES = {("write", "/ledger"): (7, 0), ("sync", "/ledger"): (7, 0), ("write", ".sqs"): (0, 160),
          ("sync", ".sqs"): (0, 18), ("sync", "/shards"): (0, 12), ("open", ".sqs"): (0, 1),
          ("write", "release.h5"): (430, 370), ("sync", "release.h5"): (2, 1), ("rename", "release.h5"): (1, 0),
          ("reserve", "release"): (2, 0), ("truncate", "release.h5"): (1, 0), ("open", "release.h5"): (4, 2),
          ("write", "run.yaml"): (1, 0), ("rename", "run.yaml"): (1, 0), ("write", "phase-0"): (1, 0),
          ("rename", "phase-0"): (1, 0), ("write", "exit.json"): (1, 0), ("rename", "exit.json"): (1, 0)}


def map_survey(path, seconds=0.0, **execution):
    """The two-phase survey of maps: 175 tasks, 12 of which fail always (exit code 2)."""
    with open(path, "w") as f:
        f.write("probe: testmap\nseed: 5\nprecision: fp32\n")
        if execution:
            f.write("execution: {" + ", ".join(f"{k}: {v}" for k, v in execution.items()) + "}\n")
        f.write(f"testmap: {{fail_every: 17, task_seconds: {seconds}}}\n")
    return path


def tile_survey(path, tiles):
    """A small survey of tiles, sources deduplicated over their borders (exit code 0)."""
    with open(path, "w") as f:
        f.write(f"probe: testtile\ntiles: ['{tiles}']\nreference: r\npatch: {{core: 150}}\n")
    return path


def differences(want, got):
    return sorted(set(want) ^ set(got)) + [name for name in sorted(set(want) & set(got)) if want[name] != got[name]]


def verdict(folder):
    try:
        with open(os.path.join(folder, "exit.json")) as f:
            return json.load(f)
    except (OSError, ValueError):
        return None


def family(pid):
    """A process and everything below it."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                children.setdefault(int(fields[1]), []).append(int(name))
            except (OSError, IndexError):
                pass
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def end(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def gone(pids, seconds=10):
    """Waits until processes have left the machine (or are zombies of somebody else)."""
    until = time.time() + seconds
    for pid in pids:
        while time.time() < until:
            try:
                with open(f"/proc/{pid}/stat") as f:
                    if f.read().rsplit(")", 1)[1].split()[0] == "Z":
                        break
            except (OSError, IndexError):
                break
            time.sleep(0.01)


class Outcome:
    """code: of the verdict, None without one. process: of the process. hits: faults that struck. hung: was ended here."""

    def __init__(self, code, process, text, hits, hung):
        self.code, self.process, self.text, self.hits, self.hung = code, process, text, hits, hung


class Survey:
    def __init__(self, program, config, shim, words=()):
        """words: what stands between the program and the configuration, e.g. "run"."""
        self.program, self.config, self.shim, self.words = program, config, shim, list(words)

    def command(self, ranks, folder, recovery=False):
        own = [self.program, *self.words, self.config] + (["--output", folder, "--quiet"] if self.words else [folder])
        launch = ["mpirun"] + (["--enable-recovery"] if recovery else []) + ["-n", str(ranks)]
        return own if ranks == 1 and not recovery else launch + own

    def start(self, ranks, folder, fault=None, recovery=False, log=None, **extra):
        env = dict(ENV, **extra)
        if fault:
            env.update(LD_PRELOAD=self.shim, SQ_FAULT=fault, SQ_FAULT_COUNT=folder + ".count")
        else:    # all ranks end together: mpirun need not wait for any after an exit code that is not 0
            env.setdefault("OMPI_MCA_odls_base_sigkill_timeout", "0")
        return subprocess.Popen(self.command(ranks, folder, recovery), env=env, stdin=subprocess.DEVNULL,
                                stdout=log or subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)

    def run(self, ranks, folder, fault=None, recovery=False, timeout=60, **extra):
        for rank in range(ranks):
            if os.path.exists(f"{folder}.count.{rank}"):
                os.remove(f"{folder}.count.{rank}")
        with open(folder + ".log", "w+") as log:
            p = self.start(ranks, folder, fault, recovery, log, **extra)
            hung = False
            try:
                p.wait(timeout=timeout)
            except subprocess.TimeoutExpired:
                hung = True
                pids = family(p.pid)
                end(pids)
                p.wait()
                gone(pids)
            log.seek(0)
            text = log.read()
        done = verdict(folder)
        return Outcome(done["exit_code"] if done else None, p.returncode, text, self.hits(ranks, folder), hung)

    def hits(self, ranks, folder):
        total = 0
        for rank in range(ranks):
            try:
                with open(f"{folder}.count.{rank}", "rb") as f:
                    total += struct.unpack("qq", f.read(16))[1]
            except (OSError, struct.error):
                pass
        return total
