"""Storage and memory that fail, at every place of a run: one clear line, exit code 4, nothing false under a final name, and the
next run makes the release of the undisturbed one, bit for bit, with another number of ranks.

Usage: test_storage.py MAP_RUN MAKE_TILES SHIM   (environment: SQ_PROGRAM; SQ_FAULTS: number of random cases [4]; SQ_SEED)
"""
import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

from survey import ENV, PLACES, Survey, contents, differences, map_survey, tile_survey

PROGRAM, MAKE, SHIM = sys.argv[1:4]
RANDOM = int(os.environ.get("SQ_FAULTS", "4"))
checks = 0
pool, cases = ThreadPoolExecutor(4), []     # a case mostly waits: for disks, and for mpirun to end ranks


def check(good, message):
    global checks
    checks += 1
    if not good:
        sys.exit(f"FAILED: {message}")


class Bench:
    """A survey, its undisturbed release, and a folder in which only the reduce is missing."""

    def __init__(self, top, name, config, code):
        self.survey, self.top, self.name, self.code = Survey(PROGRAM, config, SHIM), top, name, code
        self.reference = f"{top}/{name}"
        done = self.survey.run(1, self.reference)
        check(done.code == code, f"{name}: undisturbed: {done.text}")
        self.want = contents(f"{self.reference}/release.h5")

    def compare(self, folder, what, verify=""):
        got = differences(self.want, contents(f"{folder}/release.h5"))
        check(not got, f"{what}: {got[:5]} differ")
        p = subprocess.run([os.environ["SQ_PROGRAM"], "verify", folder + verify], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        check(p.returncode == 0, f"{what}: verify: {p.stdout}")

    def case(self, *words, **more):
        cases.append(pool.submit(self.run, f"{self.top}/{len(cases)}/case", *words, **more))

    def run(self, folder, fault, ranks, reduce_only=False, must=True, resume=1, aim=None):
        """must: the fault ends the run. aim: False when it is as likely not to strike."""
        what = f"{self.name}, {ranks} ranks, {fault}"
        os.mkdir(os.path.dirname(folder))
        if reduce_only:
            shutil.copytree(self.reference, folder)
            os.remove(f"{folder}/release.h5")
        done = self.survey.run(ranks, folder, fault, timeout=90)
        if aim is not False:
            check(done.hits > 0, f"{what}: did not strike")
        self.judge(what, folder, done, must)
        again = self.survey.run(resume, folder)
        check(again.code == self.code, f"{what}: then: {again.code}\n{again.text}")
        self.compare(folder, what)
        shutil.rmtree(os.path.dirname(folder))

    def judge(self, what, folder, done, must):
        check(not done.hung, f"{what}: hung\n{done.text}")
        killed = fault_kills(what)
        files = os.listdir(folder) if os.path.isdir(folder) else []
        if "release.h5" in files:
            self.compare(folder, what, "/release.h5")    # the ledger may end in a torn line
        if killed and done.hits:
            # Rank 0 may still say that it could not go on.
            check(done.code in (None, 3, 4) or "release.h5" in files, f"{what}: verdict {done.code} of a killed run")
            return
        if must:
            check(done.process == 4, f"{what}: exit {done.process} instead of 4\n{done.text}")
        check(done.process in (4, self.code), f"{what}: exit {done.process}\n{done.text}")
        check(done.code in (done.process, None), f"{what}: exit {done.process}, verdict {done.code}\n{done.text}")
        if done.process != 4:
            check("release.h5" in files, f"{what}: success without a release")
            return
        lines = [line for line in done.text.splitlines() if line.startswith(("map_run: ", "exit 4: "))]
        check(1 <= len(lines) <= 2 and all(len(line) < 400 for line in lines), f"{what}: not one clear line\n{done.text}")
        left = [name for name in files if name.endswith((".partial", ".room"))]
        check(not left, f"{what}: leaves {left}")


def fault_kills(fault):
    return any(word in fault for word in (":before:", ":middle:", ":after:", ":power"))


def fixed_cases(maps, packed, tiles):
    """The places where an error must not be lost, and the narrow ones."""
    maps.case("write:ENOSPC:4+:0:/ledger", 3, resume=2)
    maps.case("sync:EIO:4:0:/ledger", 2)
    maps.case("write:ENOSPC:40+:-1:.sqs", 3)
    maps.case("sync:EIO:5:1:.sqs", 3, must=False)
    maps.case("write:short:0+:-1:/case/", 2, must=False)
    maps.case("write:EIO:0:0:phase-0", 1)
    maps.case("write:ENOSPC:0:0:exit.json", 1)
    maps.case("sync:EIO:1:0:release.h5", 2, True)
    maps.case("rename:EIO:0:0:release.h5", 1, True)
    maps.case("write:EIO:20:1:release.h5", 3, True)     # in the middle of a write by all ranks
    # Compressed chunks are written by all ranks in one call, which none may leave alone: no watchdog is needed.
    packed.case("write:ENOSPC:2:2:release.h5", 3, True)
    packed.case("write:EIO:4+:0:release.h5", 3, True)
    packed.case("write:ENOSPC:32:0:release.h5", 3, True)    # metadata
    maps.case("write:ENOSPC:1072:0:release.h5", 1, True)    # a small dataset, which HDF5 writes when it is closed
    maps.case("write:ENOSPC:1117:0:release.h5", 1, True)    # one of the manifest
    maps.case("write:EIO:1126:0:release.h5", 1, True)   # when HDF5 closes the file
    tiles.case("write:EIO:3:0:tiles.h5", 1, resume=2)
    tiles.case("write:ENOSPC:1+:-1:.sqs", 2)
    maps.case("write:middle:5:0:/ledger", 1)
    maps.case("rename:after:0:0:release.h5", 1, True, resume=3)


def random_case(rng, bench):
    ranks = rng.choice((1, 2, 3))
    if rng.random() < 0.25:
        at = rng.randrange(3000 if ranks == 1 else 1400)
        return bench.case(f"alloc:ENOMEM:{at}:{rng.randrange(ranks)}:", ranks, must=False, aim=False)
    call, where = rng.choice(sorted(PLACES))
    rank = 0 if ranks == 1 or PLACES[call, where][1] == 0 else 1
    most = max(PLACES[call, where]) * (3 if where == "release.h5" and ranks == 1 and call == "write" else 1)
    actions = {"write": ["ENOSPC", "EIO", "short", "before", "middle", "after"], "sync": ["EIO", "before", "after"],
               "rename": ["EIO", "EACCES", "before", "after"], "open": ["EIO", "EMFILE", "before"]}
    action = rng.choice(actions.get(call, ["ENOSPC", "EIO"]))
    more = "+" if action.isupper() and rng.random() < 0.5 else ""
    late = where.startswith("release") and rng.random() < 0.7
    bench.case(f"{call}:{action}:{rng.randrange(most)}{more}:{rank}:{where}", ranks, late, must=False, aim=False,
               resume=rng.choice((1, 2, 3)))


def small_disk(bench):
    """A file system that is full at some time during the run, then grown."""
    disk = f"{bench.top}/disk"
    os.mkdir(disk)
    for size in (200, 3100):
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], stderr=subprocess.DEVNULL).returncode != 0:
            print("small disk: skipped, no right to mount")
            return
        try:
            folder = f"{disk}/out"
            done = bench.survey.run(2, folder, timeout=90)
            check(not done.hung and done.process == 4 and not os.path.exists(f"{folder}/release.h5"),
                  f"a disk of {size} KiB: exit {done.process}\n{done.text}")
            check("No space left" in done.text or "no room" in done.text, f"a disk of {size} KiB: {done.text}")
            subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
            again = bench.survey.run(1, folder)
            check(again.code == bench.code, f"a disk of {size} KiB, then a larger one: {again.text}")
            bench.compare(folder, f"a disk of {size} KiB")
        finally:
            subprocess.run(["umount", "-l", disk], check=True)


def main():
    seed = int(os.environ.get("SQ_SEED", "1"))
    top = tempfile.mkdtemp(prefix="skyquilt-faults-")
    try:
        os.mkdir(f"{top}/sky")
        subprocess.run([MAKE, f"{top}/sky"], check=True)
        maps = Bench(top, "maps", map_survey(f"{top}/maps.yaml", watchdog=5), 2)
        packed = Bench(top, "packed", map_survey(f"{top}/packed.yaml", deflate=1), 2)
        tiles = Bench(top, "tiles", tile_survey(f"{top}/tiles.yaml", f"{top}/sky"), 0)
        small_disk(maps)
        fixed_cases(maps, packed, tiles)
        rng = random.Random(seed)
        for _ in range(RANDOM):
            random_case(rng, maps)
        for one in cases:
            one.result()
        print(f"{checks} checks passed, {RANDOM} random faults of seed {seed}")
    finally:
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(top, ignore_errors=True)


main()
