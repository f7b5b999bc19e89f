"""skyquilt doctor: findings, exit codes, and that nothing is left behind. Needs SQ_PROGRAM."""
import json
import os
import pathlib
import subprocess
import tempfile

PROGRAM = os.environ["SQ_PROGRAM"]
CHECKS = {"mpi", "mpi-io", "launcher", "hdf5", "isa", "fftw", "same-ranks", "shm", "memory", "cores", "threads",
          "open-files"}
STORAGE = {"file-system", "space", "fsync", "hdf5-file", "hdf5-locking"}


def doctor(*args, mpi=(), **env):
    done = subprocess.run([*mpi, PROGRAM, "doctor", *args], capture_output=True, text=True, timeout=100,
                          env={**os.environ, **env})
    return done.returncode, done.stdout, done.stderr


def findings(*args, **kwargs):
    code, out, _ = doctor(*args, "--json", **kwargs)
    rows = json.loads(out)
    verdicts = {row["check"]: row["verdict"] for row in rows}
    assert len(verdicts) == len(rows), "a check reported twice"
    assert set(verdicts.values()) <= {"ok", "warn", "fail"}
    assert code == (4 if "fail" in verdicts.values() else 0), (code, verdicts)
    return verdicts, {row["check"]: row["text"] for row in rows}


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    (folder / "file").write_text("x")
    good = folder / "run"

    verdicts, texts = findings("--output", str(good), OMP_NUM_THREADS="1", OMPI_MCA_io="romio321")
    assert set(verdicts) == CHECKS | STORAGE, verdicts
    assert verdicts["hdf5"] == verdicts["hdf5-file"] == verdicts["fsync"] == verdicts["mpi-io"] == "ok"
    assert verdicts["threads"] == "ok", texts["threads"]
    assert not good.exists(), "the folder that was made is not removed"

    verdicts, texts = findings("--output", str(folder), OMPI_MCA_io="ompio", OMP_NUM_THREADS="4096")
    assert verdicts["mpi-io"] == "warn" and verdicts["threads"] == "warn"
    assert "ompio" in texts["mpi-io"]
    assert sorted(p.name for p in folder.iterdir()) == ["file"], "files are left behind"

    for bad in (folder / "file", folder / "no" / "such", pathlib.Path("/proc/self/nothing")):
        verdicts, texts = findings("--output", str(bad))
        assert verdicts["output"] == "fail" and str(bad) in texts["output"], texts

    verdicts, texts = findings("--output", str(folder),
                               mpi=("mpirun", "--oversubscribe", "-n", "2"))
    assert verdicts["same-ranks"] == "ok" and "2 ranks" in texts["mpi"], texts

    code, out, _ = doctor("--output", str(folder))
    lines = [line for line in out.splitlines() if line]
    assert code == 0 and len(lines) == len(CHECKS | STORAGE) + 1, out
    assert all(line.split()[0] in ("ok", "warn", "fail") for line in lines[:-1]), out

for args in (["--outputs", "x"], ["--output"], ["extra"]):
    code, out, err = doctor(*args)
    assert code == 1 and out == "" and err.startswith("skyquilt doctor: ") and err.count("\n") == 1, (args, err)

code, out, _ = doctor("--help")
assert code == 0 and all(word in out for word in ("NAME", "SYNOPSIS", "EXIT CODES", "--output"))
assert all(check in out for check in CHECKS | STORAGE), "a check is not in the manual"
print("ok")
