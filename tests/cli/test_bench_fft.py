"""skyquilt bench fft: figures, the wisdom file, exit codes. Needs SQ_PROGRAM."""
import json
import os
import pathlib
import subprocess
import tempfile

PROGRAM = os.environ["SQ_PROGRAM"]


def bench(*args):
    done = subprocess.run([PROGRAM, "bench", "fft", *args], capture_output=True, text=True, timeout=100)
    return done.returncode, done.stdout, done.stderr


with tempfile.TemporaryDirectory() as folder:
    wisdom = pathlib.Path(folder) / "wisdom"
    code, out, err = bench("--sizes", "16,24x32", "--seconds", "0.002", "--wisdom", str(wisdom), "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["fftw"].startswith("fftw-3")
    assert [(r["ny"], r["nx"], r["precision"]) for r in report["results"]] == [
        (16, 16, "single"), (16, 16, "double"), (24, 32, "single"), (24, 32, "double")]
    for r in report["results"]:
        for kind in ("estimated", "measured"):
            times = r[kind + "_ms"]
            assert len(times) == 2 and all(0 < t < 1000 for t in times)
            assert 0 < r[kind + "_gflops"] < 1000
    text = wisdom.read_text()
    assert text.startswith("skyquilt wisdom 1\ndouble ") and "\nsingle " in text
    assert [p.name for p in pathlib.Path(folder).iterdir()] == ["wisdom"]

    code, out, _ = bench("--sizes", "16", "--seconds", "0.002")
    assert code == 0 and out.count("16x16") == 2 and "GFLOP/s" in out
    code, out, err = bench("--sizes", "16", "--seconds", "0.002", "--wisdom", folder + "/no/such")
    assert code == 4 and "/no/such" in err and out == ""

for args in (["--sizes", ""], ["--sizes", "16,"], ["--sizes", "0"], ["--sizes", "16x"], ["--sizes", "1e9"],
             ["--sizes", ",".join(["8"] * 33)], ["--sizes"], ["--seconds", "nan"], ["--seconds", "-1"], ["--fast"]):
    code, out, err = bench(*args)
    assert code == 1 and out == "" and err.startswith("skyquilt bench fft: ") and err.count("\n") == 1, (args, err)

code, out, _ = bench("--help")
assert code == 0 and all(word in out for word in ("NAME", "SYNOPSIS", "EXIT CODES", "--wisdom"))
print("ok")
