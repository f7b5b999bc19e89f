"""jobs/launch outside Slurm: real mpirun, and in place of skyquilt a script that does on each start what a list says.

Usage: test_launch.py   (environment: SQ_SOURCE, SQ_PROGRAM)
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

LAUNCH = os.path.join(os.environ["SQ_SOURCE"], "jobs", "launch")
ENV = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
checks = 0

# `acts` has a line a start: what rank 0 does; the other ranks wait for its verdict, or stay where that is the act.
PROGRAM = r"""#!/bin/bash
cd "$(dirname "$0")" || exit 9
verdict() {
    echo "{\"exit_code\": $1, \"relaunch\": $2}" >exit.partial && mv exit.partial exit.json
}
[ "$1 $2" = "run --check" ] && { pwd; exit 0; }
[ "$1 $2" = "reduce --check" ] && { pwd; exit 0; }
if [ "$1" = status ]; then
    [ "$2" = --json ] && { echo "{\"done\": $(cat done), \"failed\": 0, \"quarantined\": 0}"; exit 0; }
    exit "$(sed 's/.*"exit_code": \([0-9]\).*/\1/' exit.json)"
fi
rank=$OMPI_COMM_WORLD_RANK n=$(wc -l <starts)
[ "$rank" = 0 ] && echo "$*" >>starts
[ "$rank" = 0 ] || { sleep 0.3; n=$(($(wc -l <starts) - 1)); }
read -r act code < <(sed -n "$((n + 1))p" acts)
echo "$BASHPID" >>pids
case "$act" in
crash) exit 9 ;;
progress) [ "$rank" = 0 ] && echo $(($(cat done) + 5)) >done; exit 9 ;;
lost) [ "$rank" = 0 ] && verdict 3 true; exit 0 ;;
end) [ "$rank" = 0 ] && verdict "$code" false; exit 0 ;;
stay) [ "$rank" = 0 ] && { verdict "$code" false; exit 0; }; trap "" USR1; sleep 60 ;;
work) # until it is told to stop
    trap '[ "$rank" = 0 ] && verdict 3 false; exit 0' USR1 TERM
    for _ in $(seq 600); do sleep 0.1; done ;;
deaf) trap "" USR1 TERM; for _ in $(seq 600); do sleep 0.1; done ;;
esac
"""


def check(good, message):
    global checks
    checks += 1
    if not good:
        sys.exit(f"FAILED: {message}")


class Case:
    """A folder with the script and the list of its acts; `start` launches."""

    def __init__(self, top, *acts):
        self.folder = tempfile.mkdtemp(dir=top)
        for name, text in (("skyquilt", PROGRAM), ("acts", "\n".join(acts) + "\n"), ("done", "0\n"), ("starts", ""), ("pids", "")):
            with open(f"{self.folder}/{name}", "w") as f:
                f.write(text)
        os.chmod(f"{self.folder}/skyquilt", 0o755)

    def start(self, *words):
        self.process = subprocess.Popen([LAUNCH, *words], env=dict(ENV, SKYQUILT_PROGRAM=f"{self.folder}/skyquilt"),
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        preexec_fn=hear_signals)
        return self

    def lines(self, name):
        with open(f"{self.folder}/{name}") as f:
            return f.read().splitlines()

    def wait_ranks(self, count):
        until = time.time() + 30
        while len(self.lines("pids")) < count and time.time() < until:
            time.sleep(0.1)
        time.sleep(0.2)
        check(len(self.lines("pids")) == count, f"{len(self.lines('pids'))} of {count} ranks have started")

    def end(self, code, starts, seconds=60):
        out, _ = self.process.communicate(timeout=seconds)
        check(self.process.returncode == code, f"exit {self.process.returncode} instead of {code}\n{out}")
        check(len(self.lines("starts")) == starts, f"{len(self.lines('starts'))} starts instead of {starts}\n{out}")
        for pid in self.lines("pids"):
            check(not alive(int(pid)), f"rank {pid} is left\n{out}")
        return out


def hear_signals():
    """A signal that the test's own parent ignores (nohup) would be ignored by the launcher too, and a shell cannot trap it."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def mpirun_of(launch):
    return int(subprocess.run(["pgrep", "-P", str(launch), "mpirun"], capture_output=True, text=True).stdout.split()[0])


def main():
    top = tempfile.mkdtemp(prefix="skyquilt-launch-")
    try:
        out = subprocess.run([LAUNCH, "--help"], capture_output=True, text=True)
        for part in ("NAME\n", "SYNOPSIS\n", "DESCRIPTION\n", "OPTIONS\n", "EXIT CODES\n"):
            check(out.returncode == 0 and part in out.stdout, f"--help without {part}")
        for words in ((), ("--nonsense", "x.yaml"), ("-n",), ("-n", "many", "x.yaml"), ("x-that-is-not-there.yaml",)):
            p = subprocess.run([LAUNCH, *words], env=dict(ENV, SKYQUILT_PROGRAM=os.environ["SQ_PROGRAM"]),
                               capture_output=True, text=True)
            check(p.returncode == 1 and len(p.stderr.splitlines()) == 1, f"{words}: exit {p.returncode}\n{p.stderr}")
        # Verdicts are passed on, and arguments come through.
        for code in (0, 2, 4):
            case = Case(top, f"end {code}").start("-n", "2", "x.yaml", "--output", "with space")
            case.end(code, 1)
            check(case.lines("starts") == ["run x.yaml --output with space"], f"{case.lines('starts')}")
        case = Case(top, "end 0").start("-n", "2", "--end", str(int(time.time()) + 130), "x.yaml")
        case.end(0, 1)
        left = int(case.lines("starts")[0].split()[2])
        check(85 < left <= 100, f"walltime {left} of 130 s less the margin")
        Case(top, "end 0").start("-n", "2", "--reduce", "x.yaml").end(0, 1)
        case = Case(top, "end 2").start("-n", "2", "--then", "pwd >told; exit 5", "x.yaml")
        case.end(5, 1)
        check(case.lines("told") == [case.folder], "--then in another folder")
        Case(top, "end 2").start("-n", "2", "--then", "true", "x.yaml").end(2, 1)
        case = Case(top, "end 3").start("-n", "2", "--then", "echo >told", "x.yaml")
        case.end(3, 1)
        check(not os.path.exists(f"{case.folder}/told"), "--then before the end")
        # Crashes, lost ranks, progress, and no progress.
        Case(top, "crash", "lost", "end 2").start("-n", "2", "x.yaml").end(2, 3)
        Case(top, "crash", "progress", "crash", "progress", "end 0").start("-n", "2", "--restarts", "1", "x.yaml").end(0, 5)
        out = Case(top, *["crash"] * 9).start("-n", "2", "--restarts", "1", "x.yaml").end(4, 2)
        check("giving up" in out, out)
        # A verdict, and a rank that stays: mpirun would wait for it.
        began = time.time()
        Case(top, "stay 0").start("-n", "2", "--linger", "2", "x.yaml").end(0, 1)
        check(time.time() - began < 20, "the launcher waited for a rank that stays")
        # Signals drain; a second one ends ranks that do not listen.
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            case = Case(top, "work").start("-n", "2", "x.yaml")
            case.wait_ranks(2)
            case.process.send_signal(number)
            case.end(3, 1)
        case = Case(top, "deaf").start("-n", "2", "x.yaml")
        case.wait_ranks(2)
        case.process.send_signal(signal.SIGTERM)
        time.sleep(1.5)
        check(case.process.poll() is None, "one TERM ended the launcher")
        case.process.send_signal(signal.SIGTERM)
        case.end(3, 1)
        # mpirun is killed: no rank is left, whether it listens or not, and the next start goes on.
        for act in ("work", "deaf"):
            case = Case(top, act, "end 0").start("-n", "2", "x.yaml")
            case.wait_ranks(2)
            os.kill(mpirun_of(case.process.pid), signal.SIGKILL)
            case.end(0, 2)
        print(f"{checks} checks passed")
    finally:
        shutil.rmtree(top, ignore_errors=True)


main()
