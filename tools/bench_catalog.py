"""Speed of the catalog probe on LSST coadds: six bands against Source Extractor's six runs, the network against its peers."""
import os
import time

import numpy as np

import evaluate_common as common
import evaluate_lsst
from bench_lensing import foreign, torch_and_engine
from catalog_tables import simulate
from evaluate_catalog import MODELS
from peers import images, sextractor

SIDE, PATCH, CORE = 2048, 320, 0
SETTINGS = sextractor.Settings("griz", 2.0, 3, 5e-5, 0.5)


def pinned(action):
    """Seconds of an action on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORE})
    try:
        begin = time.monotonic()
        action()
        return time.monotonic() - begin
    finally:
        os.sched_setaffinity(0, before)


def end_to_end(folder, quick, criteria):
    """From FITS files to a catalogue on one core. Source Extractor finds its detection image and noise maps ready."""
    side = 1024 if quick else SIDE
    sky, _, stems = simulate(folder, "sky", preset="lsst", years=5, seed=30305, tile_nx=side, tile_ny=side)
    common.run("index", "--output", sky + "-tiles.h5", "--quiet", sky)
    with open(sky + "-run.yaml", "w") as out:
        out.write(f"probe: catalog\nindex: {sky}-tiles.h5\nmodel: {MODELS['lsst']}\n")
    runner = sextractor.Runner(images.read_exposure(stems[0], evaluate_lsst.BANDS), scale=evaluate_lsst.PIXEL)
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
    rows = []
    for _ in range(1 if quick else 5):
        theirs, mine = torch_and_engine(MODELS["lsst"], PATCH, folder, quick)
        row = {"torch": theirs["best"], "own": min(v["seconds"] for v in mine.values())}
        if os.environ.get("SQ_ORT"):
            row["onnxruntime"] = foreign("SQ_ORT", "onnxruntime_time.py", MODELS["lsst"], PATCH, 1 if quick else 3)["seconds"]
        rows.append(row)
    for name, title, least in (("torch", "PyTorch", 2), ("onnxruntime", "ONNX Runtime", 1.5)):
        ratios = [r[name] / r["own"] for r in rows if name in r]
        criteria.add(f"catalog network: {title}'s best time over ours", np.median(ratios) if ratios else None, least)
    return {"seconds": rows}
