"""Ranks die, hang and come back, patches kill and hang, tiles vanish: the release is that of an undisturbed run, bit for bit.

Usage: test_recovery.py MAP_RUN MAKE_TILES   (environment: SQ_KILLS random kill points, SQ_SEED)
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

from releases import contents

PROGRAM, MAKE = sys.argv[1:3]
KILLS = int(os.environ.get("SQ_KILLS", "4"))
SEED = int(os.environ.get("SQ_SEED", "1"))
ENV = dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_ALLOW_RUN_AS_ROOT="1",
           OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_io="romio321", OMPI_MCA_btl="self,vader", SKYQUILT_WATCHDOG="20")
checks = 0


def check(good, message):
    global checks
    checks += 1
    if not good:
        sys.exit(f"FAILED: {message}")


def write_config(path, execution, task_seconds=0.0):
    with open(path, "w") as f:
        f.write(f"probe: testmap\nseed: 5\nprecision: fp32\nexecution: {{{execution}}}\n"
                f"testmap: {{task_seconds: {task_seconds}}}\n")
    return path


def same(want, folder, what):
    got = contents(f"{folder}/release.h5")
    check(want.keys() == got.keys(), f"{what}: other datasets")
    check(not [n for n in want if want[n] != got[n]], f"{what}: {[n for n in want if want[n] != got[n]]} differ")


def verdict(folder):
    try:
        with open(f"{folder}/exit.json") as f:
            return json.load(f)
    except FileNotFoundError:
        return None


def ledger(folder, kind):
    with open(f"{folder}/ledger") as f:
        return [line for line in f if f" {kind} " in line]


def start(ranks, config, folder, *options, **env):
    words = [PROGRAM, "run", config, "--output", folder, "--quiet", *options] if options else [PROGRAM, config, folder]
    command = (["mpirun", "--enable-recovery", "-n", str(ranks)] if ranks > 1 else []) + words
    if os.path.exists(f"{folder}/exit.json"):
        os.remove(f"{folder}/exit.json")
    return subprocess.Popen(command, env=dict(ENV, **env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            errors="replace")


def finish(p, what):
    try:
        return p.communicate(timeout=90)[0]
    except subprocess.TimeoutExpired:
        for rank in ranks_of(p):
            os.kill(rank, signal.SIGKILL)
        p.kill()
        sys.exit(f"FAILED: {what}: it does not end\n{p.communicate()[0]}")


def launch(ranks, config, folder, what, *options, most=6, **env):
    """As a launcher does: again while the verdict says so or there is none."""
    for n in range(1, most + 1):
        text = finish(start(ranks, config, folder, *options, **env), what)
        v = verdict(folder)
        if v and not v["relaunch"]:
            return v, n
    sys.exit(f"FAILED: {what}: {most} launches, {v}\n{text}")


def ranks_of(p):
    """Process ids by rank: the children of mpirun."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                if int(fields[1]) != p.pid or fields[0] == "Z":
                    continue
                with open(f"/proc/{name}/environ", "rb") as f:
                    for entry in f.read().split(b"\0"):
                        if entry.startswith(b"OMPI_COMM_WORLD_RANK="):
                            found[int(entry.split(b"=")[1])] = int(name)
            except (OSError, IndexError):
                pass
    return [found[r] for r in sorted(found)]


def wait_for(condition, what, seconds=60):
    end = time.time() + seconds
    while not condition():
        check(time.time() < end, f"never: {what}")
        time.sleep(0.02)


def committed(folder, n):
    return os.path.exists(f"{folder}/ledger") and len(ledger(folder, "commit")) >= n


def hit(pid, how):
    try:
        os.kill(pid, how)
        return True
    except ProcessLookupError:
        return False


def kill_workers(top, want, rng):
    """Any worker, any moment, any way: the run goes on, or asks for a launch that does."""
    slow = write_config(f"{top}/slow.yaml", "deadline: 2, drain: 2", 0.02)
    survived = launches = 0
    for k in range(KILLS):
        folder, ranks = f"{top}/kill{k}", rng.choice((3, 5))
        how = (signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV)[k % 3]
        p = start(ranks, slow, folder)
        what = f"seed {SEED}, kill {k}: {how.name} at {ranks} ranks"
        wait_for(lambda: committed(folder, 1) or p.poll() is not None, what)
        time.sleep(rng.uniform(0, 1.5))
        pids = ranks_of(p)
        victim = rng.choice(pids[1:]) if len(pids) == ranks else 0
        struck = victim and hit(victim, how)
        if struck and how == signal.SIGSTOP:
            time.sleep(rng.choice((0.5, 4)))
            hit(victim, signal.SIGCONT)
        text = finish(p, what)
        v = verdict(folder)
        check(v, f"{what}: no verdict\n{text}")
        survived += not v["relaunch"]
        if v["relaunch"]:
            v, n = launch(rng.choice((1, 2, 3)), slow, folder, what)
            launches += n
        check(v["exit_code"] == 0 and v["counts"]["quarantined"] == 0, f"{what}: {v}")
        same(want, folder, what)
    check(KILLS < 3 or survived > KILLS // 2, f"only {survived} of {KILLS} runs went on after a kill")
    return survived, launches


def kill_first(top, want):
    slow = f"{top}/slow.yaml"
    folder = f"{top}/first"
    p = start(3, slow, folder, SKYQUILT_WATCHDOG="2")
    wait_for(lambda: committed(folder, 10), "some patches")
    pids = ranks_of(p)
    os.kill(pids[0], signal.SIGKILL)
    finish(p, "rank 0 killed")
    check(verdict(folder) is None, f"a verdict of nobody: {verdict(folder)}")
    check(not [pid for pid in pids if os.path.exists(f"/proc/{pid}")], "workers stay without rank 0")
    v, _ = launch(2, slow, folder, "after rank 0")
    same(want, folder, "after rank 0")


def kill_launcher(top, want):
    slow = f"{top}/slow.yaml"
    folder = f"{top}/launcher"
    p = start(3, slow, folder)
    wait_for(lambda: committed(folder, 10), "some patches")
    pids = ranks_of(p)
    p.kill()
    p.wait()
    wait_for(lambda: not [pid for pid in pids if os.path.exists(f"/proc/{pid}")], "ranks leave without their launcher")
    v, _ = launch(3, slow, folder, "after mpirun")
    check(v["counts"]["quarantined"] == 0, f"after mpirun: {v}")
    same(want, folder, "after mpirun")


def kill_in_reduce(top, want, fast):
    for rank in (1, 0):
        folder, mark = f"{top}/reduce{rank}", f"{top}/reducing{rank}"
        p = start(3, fast, folder, SKYQUILT_WATCHDOG="3", SQ_TEST_REDUCING=mark)
        wait_for(lambda: os.path.exists(mark), "a reduce")
        pids = ranks_of(p)
        os.kill(pids[rank], signal.SIGKILL)
        text = finish(p, "killed in the reduce")
        v = verdict(folder)
        if rank:
            check(v and v["exit_code"] == 3 and v["relaunch"] and "rank 1 has died" in v["reason"], f"in the reduce: {v}\n{text}")
        else:
            check(v is None and "rank 0 has died" in text, f"rank 0 in the reduce: {v}\n{text}")
        check(not os.path.exists(f"{folder}/release.h5"), "a release of a reduce that died")
        before = len(ledger(folder, "commit"))
        launch(2, fast, folder, "after the reduce")
        check(len(ledger(folder, "commit")) == before, "patches were done again for the reduce")
        same(want, folder, "after a death in the reduce")


def weak(top, want):
    slow = f"{top}/slow.yaml"
    folder = f"{top}/weak"
    p = start(5, slow, folder)
    wait_for(lambda: committed(folder, 10), "some patches")
    for pid in ranks_of(p)[2:]:
        os.kill(pid, signal.SIGKILL)
    finish(p, "below half strength")
    v = verdict(folder)
    check(v and v["exit_code"] == 3 and v["relaunch"] and "3 of 4 workers" in v["reason"], f"below half strength: {v}")
    check(0 < v["counts"]["done"] < v["counts"]["total"], f"below half strength: {v}")
    kept = len(ledger(folder, "commit"))
    check(kept == v["counts"]["done"], f"below half strength: {kept} lines, {v}")
    launch(3, slow, folder, "after weakness")
    same(want, folder, "after weakness")


def deadly_patch(top, want, fast):
    """Quarantined after three deaths, whatever dies with it; all others are done."""
    for ranks, kind, where in ((1, "segv", "process"), (1, "stack", "process"), (1, "kill", "process"), (1, "kill", "read"),
                               (2, "abort", "process"), (3, "segv", "read"), (3, "kill", "process")):
        what = f"{kind} in {where} at {ranks} ranks"
        folder = f"{top}/deadly-{ranks}-{kind}-{where}"
        v, n = launch(ranks, fast, folder, what, SQ_TEST_TROUBLE=f"{kind}:{where}:0:40")
        check(v["exit_code"] == 2 and v["counts"]["quarantined"] == 1 and v["counts"]["failed"] == 0, f"{what}: {v}")
        check(n > 1, f"{what}: nothing died")
        with h5py.File(f"{folder}/release.h5") as f:
            check(list(f["failures/patch"][()]) == [40], f"{what}: {f['failures/patch'][()]}")
        check(len(ledger(folder, "death")) >= 3, f"{what}: {len(ledger(folder, 'death'))} deaths")
        check(os.listdir(f"{folder}/deaths") == [], f"{what}: {os.listdir(f'{folder}/deaths')} is left")
    # Where a phase's file changes, what was made from it is void; everything else stays.
    launch(2, fast, folder, "retry", "--retry-failed")
    same(want, folder, "after a retry")
    text = subprocess.run([PROGRAM, "status", "--json", folder], env=ENV, stdout=subprocess.PIPE, text=True).stdout
    counts = json.loads(text)
    check([counts[k] for k in ("done", "failed", "quarantined")] == [175, 0, 0], f"status after a retry: {text}")
    lines = len(open(f"{folder}/ledger").readlines())
    launch(1, fast, folder, "nothing to retry", "--retry-failed")
    check(len(ledger(folder, "reopen")) == 2 and len(open(f"{folder}/ledger").readlines()) <= lines + 3, "a retry of nothing")


def hanging_patch(top, want):
    short = write_config(f"{top}/short.yaml", "deadline: 1, drain: 1, watchdog: 5")
    folder = f"{top}/hang"
    v, n = launch(1, short, folder, "a patch that hangs", SQ_TEST_TROUBLE="hang:process:0:5")
    check(v["exit_code"] == 2 and v["counts"]["quarantined"] == 1, f"a patch that hangs: {v}")
    folder = f"{top}/hang3"
    v, n = launch(3, short, folder, "a patch that hangs", SQ_TEST_TROUBLE="hang:process:0:40", SKYQUILT_WATCHDOG="2")
    check(v["exit_code"] == 2 and v["counts"]["quarantined"] == 1, f"a patch that hangs at 3 ranks: {v}")
    launch(3, short, folder, "retry", "--retry-failed", "--patches", "39-41")
    same(want, folder, "after a retry of what hung")
    # Much slower than others, and still good.
    folder = f"{top}/slowly"
    v, n = launch(3, f"{top}/fast.yaml", folder, "a slow patch", SQ_TEST_TROUBLE="slow:process:1:5")
    check(v["exit_code"] == 0 and n == 1, f"a slow patch: {v}")
    same(want, folder, "a slow patch")


def tiles(top):
    """A tile that goes or changes after it was indexed; redoing by name."""
    folder = f"{top}/tiles"
    os.mkdir(folder)
    subprocess.run([MAKE, folder], check=True)
    config = f"{top}/tiles.yaml"
    with open(config, "w") as f:
        f.write(f"probe: testtile\nindex: tiles.h5\nprecision: fp32\n")
    subprocess.run([PROGRAM, "index", "--output", f"{top}/tiles.h5", folder], env=ENV, check=True, stdout=subprocess.DEVNULL)
    launch(1, config, f"{top}/all", "tiles")
    want, out = contents(f"{top}/all/release.h5"), f"{top}/some"
    a, b = f"{folder}/t11-r.fits", f"{folder}/t02-g.fits"
    os.rename(a, f"{a}.away")
    before = os.stat(b)
    os.utime(b, (before.st_atime, before.st_mtime + 5))
    v, _ = launch(1, config, out, "bad tiles")
    check(v["exit_code"] == 2 and v["counts"]["failed"] > 10, f"bad tiles: {v}")
    with h5py.File(f"{out}/release.h5") as f:
        reasons = {r.decode() for r in f["failures/reason"][()]}
        states = dict(zip(f["patches/tile"][()], f["patches/state"][()]))
    check(sorted(t for t in states if states[t]) == [2, 4], f"states of tiles {states}")
    check(any("vanished" in r for r in reasons) and any("modified" in r for r in reasons), f"reasons {reasons}")
    os.rename(f"{a}.away", a)
    v, _ = launch(1, config, out, "one tile", "--retry-failed", "--tiles", "t1*")
    check(v["exit_code"] == 2 and 0 < v["counts"]["failed"] < 20, f"one tile again: {v}")
    os.utime(b, ns=(before.st_atime_ns, before.st_mtime_ns))
    launch(2, config, out, "the other", "--retry-failed")
    same(want, out, "all tiles again")
    reopened = len(ledger(out, "reopen"))
    launch(1, config, out, "by name", "--tiles", "t00,t01", "--patches", "0-2,13")
    more = len(ledger(out, "reopen")) - reopened
    check(more in (3, 4), f"{more} patches again by name")
    same(want, out, "patches again by name")
    # Changed while it is open: what was read before is good, the rest of the tile is not.
    out, c = f"{top}/open", f"{folder}/t00-r.fits"
    p = start(1, config, out, SQ_TEST_TROUBLE="slow:process:0:0")
    wait_for(lambda: os.path.exists(f"{out}/ledger") and ledger(out, "start"), "a run over tiles")
    time.sleep(1)
    before = os.stat(c)
    os.utime(c, (before.st_atime, before.st_mtime + 5))
    finish(p, "a tile that changes")
    with h5py.File(f"{out}/release.h5") as f:
        check(set(f["failures/tile"][()]) == {0} and f["patches/state"][0] == 0, "states of a tile that changed while open")
        check(all(b"t00-r.fits: modified" in r for r in f["failures/reason"][()]), f"reasons {f['failures/reason'][()]}")
    os.utime(c, ns=(before.st_atime_ns, before.st_mtime_ns))
    launch(1, config, out, "the changed tile", "--retry-failed")
    same(want, out, "the changed tile again")
    out = f"{top}/some"
    for words, reason in ((("--tiles", "t99"), "t99"), (("--patches", "99999"), "99999"), (("--patches", "3-x"), "3-x")):
        text = finish(start(1, config, out, *words), reason)
        check(verdict(out)["exit_code"] == 1 and reason in text, f"{words}: {text}")


def questions(top):
    slow = write_config(f"{top}/long.yaml", "deadline: 60", 0.5)
    folder = f"{top}/asked"
    p = start(3, slow, folder, "--log", f"{top}/logs")
    wait_for(lambda: committed(folder, 2), "some patches")
    pids = ranks_of(p)
    os.kill(pids[0], signal.SIGUSR2)
    time.sleep(0.5)
    os.kill(pids[2], signal.SIGUSR2)
    time.sleep(0.7)
    text = subprocess.run([PROGRAM, "status", folder], env=ENV, stdout=subprocess.PIPE, text=True).stdout
    os.kill(pids[0], signal.SIGUSR1)
    said = [line for line in finish(p, "questions").splitlines() if line.startswith("rank ")]
    check("running" in text and "the last with 3 ranks" in text, f"status: {text}")
    check(sorted(line[:7] for line in said) == ["rank 1:", "rank 2:", "rank 2:"], f"present patches: {said}")
    check(all("phase 0" in line and "patch" in line for line in said), f"present patches: {said}")
    check(verdict(folder)["exit_code"] == 3 and not verdict(folder)["relaunch"], f"stopped: {verdict(folder)}")
    check(sorted(os.listdir(f"{top}/logs")) == ["rank-0.log", "rank-1.log", "rank-2.log"], "logs")
    with open(f"{top}/logs/rank-1.log") as f:
        check("patch" in f.read(), "a log without patches")


def main():
    top = tempfile.mkdtemp(prefix="skyquilt-recovery-")
    try:
        began = time.time()
        fast = write_config(f"{top}/fast.yaml", "deadline: 20")
        slow = write_config(f"{top}/slow.yaml", "deadline: 2, drain: 2", 0.02)
        launch(1, fast, f"{top}/reference", "reference")
        launch(1, slow, f"{top}/slow", "reference")
        want, want_slow = contents(f"{top}/reference/release.h5"), contents(f"{top}/slow/release.h5")
        survived, launches = kill_workers(top, want_slow, random.Random(SEED))
        for part, words in ((kill_first, (want_slow,)), (kill_launcher, (want_slow,)), (kill_in_reduce, (want, fast)),
                            (weak, (want_slow,)), (deadly_patch, (want, fast)), (hanging_patch, (want,)), (tiles, ()),
                            (questions, ())):
            part(top, *words)
            print(f"{part.__name__}: {time.time() - began:.0f} s", flush=True)
        print(f"{checks} checks passed; {KILLS} kills: {survived} runs went on, {launches} more launches")
    finally:
        shutil.rmtree(top, ignore_errors=True)


main()
