"""Speed of the quadratic estimators and of the lensing network against other codes, in turns on the same map in one run."""
import json
import os
import subprocess

import numpy as np

import evaluate_common as common
from peers import flat_sky

MODEL = os.path.join(common.ROOT, "tools", "models", "lensing.onnx")
SPECTRA = os.path.join(common.SHARED, "data", "cmb", "ffp10")
SIDE, PIXEL = 512, 2.34375


def patch(folder):
    """One lensed map of 20 deg, 1 uK arcmin in polarisation, a beam of 1 arcmin."""
    path = os.path.join(folder, "patch.h5")
    if not os.path.exists(path):
        spectra, grid = flat_sky.Spectra(SPECTRA, np.sqrt(0.5), 1, 1), flat_sky.Grid(SIDE, PIXEL)
        flat_sky.write(path, [flat_sky.lensed_sky(grid, spectra, np.random.default_rng(30305))[0]], grid, spectra)
    return path


def own(path, repeats):
    return json.loads(common.run("bench", "lensing", path, "--repeats", repeats)[0])


def foreign(variable, script, *arguments):
    """A peer's JSON; `variable` holds the command of a Python that has it. None where it is not installed."""
    python = os.environ.get(variable)
    if not python:
        return None
    done = subprocess.run([*python.split(), os.path.join(common.ROOT, "tools", "peers", script), *map(str, arguments)],
                          env=common.ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{script}: {done.stderr[-500:]}")
    return json.loads(done.stdout[done.stdout.rindex("\n{") + 1 if "\n{" in done.stdout else 0:])


def estimators(folder, quick, criteria):
    path, rounds, out = patch(folder), 1 if quick else 7, []
    for _ in range(rounds):
        out.append(own(path, 3 if quick else 9))
    result = {k: [float(np.median(r[k])) for r in out] for k in ("estimate", "n0")}
    criteria.add("all five estimators and MV on 512^2, a core", np.median(result["estimate"]), 80, least=False, unit=" ms")
    criteria.add("N0 of all five and of MV with all covariances, 512^2", np.median(result["n0"]), 200, least=False, unit=" ms")
    return result


def peers(folder, quick, criteria):
    """SQ_SYMLENS and SQ_LENSIT name the commands that run Python with these (see tools/peers/). In turns with the program."""
    path, rounds, result = patch(folder), 1 if quick else 7, {}
    for name, variable, script, arguments, keys in (
            ("symlens", "SQ_SYMLENS", "symlens_patch.py", (os.path.join(folder, "peer.npz"), 1), ("estimate",)),
            ("LensIt", "SQ_LENSIT", "lensit_patch.py", (os.path.join(folder, "peer.npz"), "estimate", 3), ("TQU", "QU"))):
        table = result[name] = {key: {"peer_ms": [], "own_ms": [], "ratio": []} for key in keys}
        for _ in range(rounds if os.environ.get(variable) else 0):
            mine, theirs = own(path, 5), foreign(variable, script, path, *arguments)
            for key in keys:
                pair = 1e3 * float(np.median(theirs[key])), float(np.median(mine["estimate"]))
                for column, value in zip(("peer_ms", "own_ms", "ratio"), (*pair, pair[0] / pair[1])):
                    table[key][column].append(value)
        if not table[keys[0]]["ratio"]:
            common.say(f"  {variable} is not set: {name} is skipped")
            result[name] = {"problem": f"skipped: {variable} is not set"}
    # LensIt has one joint estimator where the others make five and MV: its time is recorded, for another product.
    done = [np.median(t["estimate"]["ratio"]) for t in result.values() if "estimate" in t]
    criteria.add("five estimators and MV: the fastest peer's time over ours", min(done) if done else None, 10)
    return result


def torch_and_engine(model, side, folder, quick):
    """One round of PyTorch and the engine on a network, one thread each: what both print."""
    paths = [os.path.join(folder, name + ".json") for name in ("torch", "model")]
    done = subprocess.run(["/usr/bin/python3", os.path.join(common.ROOT, "tools", "bench_torch.py"), model, "--side", str(side),
                           "--bf16", "--seconds", "1" if quick else "3", "--json", paths[0]], env=common.ENVIRONMENT,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-500:])
    common.run("bench", "model", model, "--side", side, "--seconds", 1 if quick else 3, "--json", paths[1])
    with open(paths[0]) as a, open(paths[1]) as b:
        return json.load(a), {p: v for p, v in json.load(b).items() if p in ("fp32", "bf16")}


def network(folder, quick, criteria):
    """The shipped ensemble on a padded box of 160^2 against PyTorch at its best, one thread each, in turns."""
    ratios, rows = [], []
    for _ in range(1 if quick else 5):
        theirs, mine = torch_and_engine(MODEL, 160, folder, quick)
        seconds = {p: v["seconds"] for p, v in mine.items()}
        rows.append({"torch": theirs["seconds"], "own": seconds, "fp32": theirs["best_fp32"] / seconds["fp32"]})
        ratios.append(theirs["best"] / min(seconds.values()))
    criteria.add("lensing network: PyTorch's best time over ours", np.median(ratios), 2)
    return {"ratio": ratios, "ratio_fp32": [r["fp32"] for r in rows], "seconds": rows}
