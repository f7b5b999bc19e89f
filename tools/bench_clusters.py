"""Speed of the clusters probe: a contiguous survey on one rank, and SZiFi on a patch of the same maps in the same run."""
import glob
import json
import os
import subprocess

import h5py
import numpy as np
from astropy.io import fits

import evaluate_common as common

MODEL = os.path.join(common.ROOT, "tools", "models", "clusters.onnx")
GHZ, FWHM, NOISE = (95, 150, 220), (1.7, 1.2, 1.0), (2.8, 2.6, 6.6)
CORE, HALO, PIXEL = 768, 128, 0.5
CLOCKS = ("read", "infer", "decode", "fft", "write")


def survey(folder, quick):
    """Maps of one field, in a projection that patches do not share."""
    sky = os.path.join(folder, "sky")
    with open(sky + ".yaml", "w") as out:
        out.write(f"preset: mm\nseed: 30304\nside: {1600 if quick else 2800}\nprojection: car\ndec: 0\n")
    common.run("simulate", sky + ".yaml", "--output", sky, "--quiet")
    with open(sky + "-run.yaml", "w") as out:
        out.write(f"probe: clusters\nmodel: {MODEL}\npatch: {{core: {CORE}, halo: {HALO}}}\nclusters:\n    ghz: {list(GHZ)}\n"
                  f"    maps: [{', '.join(f'{sky}/field-*-{g}.fits' for g in GHZ)}]\n"
                  f"    beams: [{', '.join(f'{sky}/beam-{g}.txt' for g in GHZ)}]\n    pixel_window: false\n")
    return sky


def full_patches(release):
    """Seconds and searched deg^2 of the patches that no border of the survey cuts: those of nearly the largest area."""
    with h5py.File(release) as f:
        tasks = {k: f["run/tasks/" + k][:] for k in CLOCKS}
        phase, patch = f["patches/phase"][:], f["patches/patch"][:]
        owner = f["area/patch"][:]
        area = np.bincount(owner.astype(int), np.nan_to_num(f["area/area"][:]), int(patch.max()) + 1)
    use = (phase == phase.min()) & (area[patch.astype(int)] > 0.9 * area.max())
    return sum(tasks[k][use] for k in CLOCKS), area[patch[use].astype(int)], {k: float(tasks[k][use].sum()) for k in CLOCKS}


def probe(folder, quick, criteria):
    sky, rates, patch = survey(folder, quick), [], []
    for k in range(1 if quick else 5):
        out = f"{sky}-out-{k}"
        common.run("run", sky + "-run.yaml", "--output", out, "--quiet")
        seconds, area, parts = full_patches(os.path.join(out, "release.h5"))
        rates.append(area.sum() / seconds.sum())
        patch.append(float(np.median(seconds)))
    criteria.add("clusters: deg^2 per core-second, 3 bands, 12 scales, network", np.median(rates), 15)
    return {"deg2_per_core_second": rates, "seconds_of_a_patch": patch, "patches": len(seconds), "deg2": float(area.sum()),
            "seconds_by_part": parts}


def filter_scales():
    return np.exp(np.linspace(np.log(0.5), np.log(15.0), 12))


def peer(folder, quick, criteria):
    """SQ_SZIFI names the command that runs Python with SZiFi (tools/peers/szifi_patch.py)."""
    name, python = "clusters: SZiFi's time over the probe's, same patch", os.environ.get("SQ_SZIFI")
    if not python:
        common.say("  SQ_SZIFI is not set: no comparison")
        return {"problem": "SQ_SZIFI is not set"}
    side, sky = CORE + 2 * HALO, os.path.join(folder, "sky")
    maps = []
    for g in GHZ:
        with fits.open(glob.glob(f"{sky}/field-000-{g}.fits")[0]) as f:
            m = f[0].data
            y, x = (n // 2 - side // 2 for n in m.shape)
            maps.append(m[y:y + side, x:x + side].astype(np.float32))
    path = os.path.join(folder, "patch.npz")
    np.savez(path, maps=np.stack(maps, -1), pixel=PIXEL, ghz=np.array(GHZ, float), fwhm=np.array(FWHM), noise=np.array(NOISE),
             theta=filter_scales(), threshold=4.5)
    done = subprocess.run([*python.split(), os.path.join(common.ROOT, "tools", "peers", "szifi_patch.py"), path,
                           "1" if quick else "5"], env=common.ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        criteria.add(name, None, 10)
        return {"problem": done.stderr[-500:]}
    theirs = json.loads(done.stdout[done.stdout.index("{"):])
    # The probe's patch includes what SZiFi's does not: reprojection, point sources, the network.
    own = []
    for out in sorted(glob.glob(f"{sky}-out-*")):
        own.append(float(np.median(full_patches(os.path.join(out, "release.h5"))[0])))
    criteria.add(name, np.median(theirs["processor"]) / np.median(own), 10)
    return {"szifi": theirs, "seconds_of_a_patch": own}
