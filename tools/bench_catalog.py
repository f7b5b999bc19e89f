"""Speed of the catalog probe on LSST coadds: six bands against Source Extractor's six runs, the network against its peers."""
import glob
import json
import os
import subprocess
import time

import numpy as np

import evaluate_common as common
import evaluate_lsst
from bench_lensing import foreign
from evaluate_catalog import MODELS
from peers import images, sextractor

SIDE, PATCH, CORE = 2048, 320, "0"
SETTINGS = sextractor.Settings("griz", 2.0, 3, 5e-5, 0.5)


def pinned(action):
    """Seconds of an action on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(CORE)})
    try:
        begin = time.monotonic()
        action()
        return time.monotonic() - begin
    finally:
        os.sched_setaffinity(0, before)


def end_to_end(folder, quick, criteria):
    """From FITS files to a catalogue on one core. Source Extractor finds its detection image and noise maps ready."""
    sky = os.path.join(folder, "sky")
    side = 1024 if quick else SIDE
    with open(sky + ".yaml", "w") as out:
        out.write(f"preset: lsst\nyears: 5\nseed: 30305\ntile_nx: {side}\ntile_ny: {side}\n")
    common.run("simulate", sky + ".yaml", "--output", sky, "--quiet")
    common.run("index", "--output", sky + "-tiles.h5", "--quiet", sky)
    with open(sky + "-run.yaml", "w") as out:
        out.write(f"probe: catalog\nindex: {sky}-tiles.h5\nmodel: {MODELS['lsst']}\n")
    stem = glob.glob(f"{sky}/*-psf.fits")[0][:-len("-psf.fits")]
    runner = sextractor.Runner(images.read_exposure(stem, evaluate_lsst.BANDS), scale=evaluate_lsst.PIXEL)
    runner.run(SETTINGS, "r")
    rows = []
    for k in range(1 if quick else 5):
        rows.append([pinned(lambda: runner.run(SETTINGS, evaluate_lsst.BANDS)),
                     pinned(lambda: common.run("run", sky + "-run.yaml", "--output", f"{sky}-out-{k}", "--quiet"))])
    runner.close()
    ratio = [theirs / mine for theirs, mine in rows]
    criteria.add("catalog: six runs of Source Extractor over the probe's time", np.median(ratio), 1)
    return {"seconds": rows, "ratio": ratio, "pixels": side * side, "settings": SETTINGS.label()}


def network(folder, quick, criteria):
    """The engine's best against PyTorch's and ONNX Runtime's, one thread each, in turns on a patch."""
    seconds, rows = ("1" if quick else "3"), []
    for k in range(1 if quick else 5):
        paths = [os.path.join(folder, f"{name}-{k}.json") for name in ("torch", "model")]
        done = subprocess.run(["/usr/bin/python3", os.path.join(common.ROOT, "tools", "bench_torch.py"), MODELS["lsst"], "--side",
                               str(PATCH), "--bf16", "--seconds", seconds, "--json", paths[0]], env=common.ENVIRONMENT,
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-500:])
        common.run("bench", "model", MODELS["lsst"], "--side", PATCH, "--seconds", seconds, "--json", paths[1])
        with open(paths[0]) as a, open(paths[1]) as b:
            row = {"torch": json.load(a)["best"], "own": min(p["seconds"] for n, p in json.load(b).items() if n in ("fp32", "bf16"))}
        if os.environ.get("SQ_ORT"):
            row["onnxruntime"] = foreign("SQ_ORT", "onnxruntime_time.py", MODELS["lsst"], PATCH, seconds)["seconds"]
        rows.append(row)
    for name, title, least in (("torch", "PyTorch", 2), ("onnxruntime", "ONNX Runtime", 1.5)):
        ratios = [r[name] / r["own"] for r in rows if name in r]
        criteria.add(f"catalog network: {title}'s best time over ours", np.median(ratios) if ratios else None, least)
    return {"seconds": rows}
