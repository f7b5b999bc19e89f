"""skyquilt n0 and lensing-selftest: figures, files, units, exit codes. Needs SQ_PROGRAM, SQ_SHARED."""
import csv
import json
import math
import os
import pathlib
import subprocess
import tempfile

PROGRAM = os.environ["SQ_PROGRAM"]
CMB = pathlib.Path(os.environ["SQ_SHARED"]) / "data/cmb"
SMALL = ("--beam", "1", "--noise", "1", "--box", "3", "--bins", "300,300,3")


def skyquilt(*args):
    done = subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True, timeout=100)
    return done.returncode, done.stdout, done.stderr


def n0(*args):
    with tempfile.TemporaryDirectory() as folder:
        code, out, err = skyquilt("n0", *args, "--json", folder + "/n0.json")
        assert code == 0 and err == "", err
        return json.loads(pathlib.Path(folder, "n0.json").read_text()), out


def refused(*args, words):
    code, out, err = skyquilt("n0", *args)
    assert code == 1 and out == "" and err.startswith("skyquilt n0: ") and err.count("\n") == 1, (args, err)
    assert all(word in err for word in words), (words, err)


SERIES = ("tt", "te", "ee", "eb", "tb", "mv", "eb_iterated")
fiducial, table = n0(*SMALL)
assert fiducial["l"] == [300, 600, 900] and fiducial["quantity"] == "kappa"
assert all(0 < v < 1e-5 for key in SERIES + ("signal",) for v in fiducial[key])
rows = [line.split() for line in table.splitlines() if not line.startswith("#")]
assert [row[0] for row in rows] == ["300", "600", "900"] and all(len(row) == 9 for row in rows)
assert float(rows[0][5]) == float("%.4e" % fiducial["eb"][0])
for b in range(3):  # a combination is below its parts; iterating helps
    assert fiducial["mv"][b] < min(fiducial[k][b] for k in SERIES[:5])
    assert fiducial["eb_iterated"][b] < fiducial["eb"][b]

# kappa = L^2 phi / 2, in the table's convention [L (L + 1)]^2 / 4.
phi, _ = n0(*SMALL, "--phi")
for key in SERIES + ("signal",):
    for l, a, b in zip(phi["l"], fiducial[key], phi[key]):
        assert math.isclose(b, 4 * a / (l * (l + 1)) ** 2, rel_tol=1e-6), key

# A beam from a file is the Gaussian; less noise is less N0; noise of P defaults to sqrt 2 T.
with tempfile.TemporaryDirectory() as folder:
    sigma = math.radians(1 / 60) / math.sqrt(8 * math.log(2))
    beam = pathlib.Path(folder, "beam.txt")
    beam.write_text("".join(f"{l} {math.exp(-l * (l + 1) * sigma ** 2 / 2):.12g}\n" for l in range(3001)))
    again, _ = n0(*SMALL, "--beam", beam)
    assert all(math.isclose(a, b, rel_tol=1e-6) for k in SERIES for a, b in zip(again[k], fiducial[k]))
    refused(*SMALL, "--beam", beam, "--lmax", "3100", words=["ends at l = 3000"])
explicit, _ = n0(*SMALL, "--noise-p", repr(math.sqrt(2)))
assert explicit["eb"] == fiducial["eb"]
better, _ = n0(*SMALL, "--noise-p", "0.5")
assert better["eb"][0] < 0.6 * fiducial["eb"][0] and better["tt"] == fiducial["tt"]

# TT alone works, without what needs polarisation or the potential.
with tempfile.TemporaryDirectory() as folder:
    only = pathlib.Path(folder, "tt.dat")
    only.write_text("".join(f"{l} {5300 / (1 + (l / 1200) ** 3):.6e}\n" for l in range(2, 3002)))
    alone, _ = n0(*SMALL, "--cls", only)
    assert all(v > 0 for v in alone["tt"]) and alone["mv"] == alone["tt"]
    assert all(v is None for k in ("te", "ee", "eb", "tb", "eb_iterated", "signal") for v in alone[k])
    only.write_text("".join(f"{l} {5.3e-9 / (1 + (l / 1200) ** 3):.6e}\n" for l in range(2, 3002)))
    refused(*SMALL, "--cls", only, words=["tt.dat: TT", "--cls-unit dl-K2"])

for args, words in (
        ([], ["--beam and --noise"]), (["--beam", "1"], ["--noise"]), ([*SMALL, "x"], ["'x'"]),
        ([*SMALL, "--noise", "-1"], ["--noise"]), ([*SMALL, "--noise", "nan"], ["--noise"]),
        ([*SMALL, "--beam", "-1"], ["--beam"]),
        ([*SMALL, "--bins", "1,2"], ["--bins"]), ([*SMALL, "--lmin", "3000"], ["3000"]),
        ([*SMALL, "--side", "16"], ["aliases"]), ([*SMALL, "--box", "170", "--lmax", "20000"], ["pixels"]),
        ([*SMALL, "--cls-unit", "mK"], ["--cls-unit", "dl-uK2"]), ([*SMALL, "--cls-potential", "a"], ["--cls-lensed"]),
        ([*SMALL, "--nothing"], ["unknown option"])):
    refused(*args, words=words)
code, out, err = skyquilt("n0", *SMALL, "--cls", "/no/such")
assert code == 4 and "/no/such" in err and out == ""

code, out, _ = skyquilt("n0", "--help")
assert code == 0 and all(w in out for w in ("NAME", "SYNOPSIS", "CONVENTIONS", "EXIT CODES", "--cls-unit", "A_L"))
code, out, err = skyquilt("lensing-selftest")
assert code == 0 and err == "" and out.splitlines()[-1] == f"{len(out.splitlines()) - 1} passed, 0 failed", out
code, out, _ = skyquilt("lensing-selftest", "--help")
assert code == 0 and "EXIT CODES" in out
assert skyquilt("lensing-selftest", "--fast")[0] == 1

fixture = CMB / "fixtures/N0kk_tempura_FFP10_nT0.707_nP1.0_fwhm1.0_l100-3000.csv"
if not fixture.exists():
    print("skipped: no data")
    raise SystemExit
ffp10 = CMB / "ffp10"
lensed, potential = ffp10 / "FFP10_wdipole_lensedCls.dat", ffp10 / "FFP10_wdipole_lenspotentialCls.dat"
got, _ = n0("--beam", 1, "--noise", 0.70710678, "--noise-p", 1, "--cls", lensed, "--cls-potential", potential,
            "--delens-lmin", 100, "--box", 15, "--bins", "500,40,26")
lines = [line for line in csv.reader(fixture.open()) if line and line[0][:1].isdigit()]
truth = {int(float(line[0])): [float(v) for v in line[1:]] for line in lines}
names = ("signal", "tt", "te", "ee", "tb", "eb", "eb_iterated")
for i, l in enumerate(got["l"]):
    ring = range(int(l) - 20, int(l) + 20)
    for column, key in enumerate(names):
        want = sum(ring) / sum(k / truth[k][column] for k in ring) if column else truth[int(l)][0]
        limit = {"signal": 1e-3, "tt": 0.005, "eb": 0.005, "eb_iterated": 0.025}.get(key, 0.015)
        assert abs(got[key][i] / want - 1) < limit, (l, key, got[key][i] / want)

# Files that are not what they are given for.
grads = CMB / "so_2017/cosmo2017_10K_acc3_camb_1.0.12_grads.dat"
so = CMB / "so_2017/cosmo2017_10K_acc3_lensedCls.dat"
refused(*SMALL, "--cls", potential, words=["no lensing B modes"])
refused(*SMALL, "--cls", so, "--cls-gradient", grads, words=["grads.dat: TT", "--cls-unit cl-uK2"])
n0(*SMALL, "--cls", so, "--cls-gradient", grads, "--cls-unit", "dl-uK2,dl-uK2,cl-uK2")
refused(*SMALL, "--cls", so, "--lmax", "9000", words=["ends at L = 8250, below 9000"])
print("ok")
