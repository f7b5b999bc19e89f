"""Speed of whole runs: where the time goes, how ranks scale, memory with a very large tile, the simulator."""
import glob
import json
import os
import resource
import shutil
import subprocess
import time

import h5py
import numpy as np
from astropy.io import fits

import evaluate_common as common

MODEL = os.path.join(common.ROOT, "tools", "models", "sdss.onnx")
CLOCKS = ("read", "infer", "decode", "fft", "write", "wait", "total")
HUGE = 20000


def launch(command, ranks, cores=None, codes=(0,)):
    """Run `skyquilt run` under mpirun; gives seconds."""
    full = ["mpirun", "--oversubscribe", "-n", str(ranks), common.PROGRAM, *command]
    if cores is not None:
        full = ["taskset", "-c", ",".join(map(str, cores)), *full]
    begin = time.monotonic()
    done = subprocess.run(full, env=common.ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        raise RuntimeError(f"{' '.join(full)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return time.monotonic() - begin


def write_config(folder, name, index, extra=""):
    path = os.path.join(folder, name)
    with open(path, "w") as out:
        out.write(f"probe: catalog\nindex: {index}\nmodel: {MODEL}\n{extra}")
    return path


def make_survey(folder, seed, quick):
    sky = os.path.join(folder, "sky")
    config = os.path.join(folder, "sky.yaml")
    side = 1024 if quick else 2048
    with open(config, "w") as out:
        out.write(f"preset: sdss\nseed: {seed}\ntile_nx: {side}\ntile_ny: {side}\ntiles_x: 2\n"
                  "tiles_y: 1\noverlap: 0\n")
    common.run("simulate", config, "--output", sky, "--quiet", ranks=2)
    index = os.path.join(folder, "tiles.h5")
    common.run("index", "--output", index, "--quiet", sky)
    return write_config(folder, "survey.yaml", index), 2 * side * side


def task_times(release):
    with h5py.File(release, "r") as file:
        return {name: file["run/tasks/" + name][:] for name in CLOCKS + ("memory",)}


def run_times(folder, seed, quick, criteria):
    """Two workers on two cores, and one worker beside a sleeping rank 0 on one core."""
    config, pixels = make_survey(folder, seed, quick)
    rate, table = {}, {}
    for name, ranks, cores in (("three ranks, two cores", 3, (0, 1)), ("two ranks, one core", 2, (0,))):
        out = os.path.join(folder, f"out-{ranks}")
        wall = launch(["run", config, "--output", out, "--quiet"], ranks, cores)
        times = task_times(os.path.join(out, "release.h5"))
        with open(os.path.join(out, "exit.json")) as verdict:
            seconds = json.load(verdict)["seconds"]
        rate[ranks] = len(times["total"]) / seconds
        sums = {clock: float(np.nansum(times[clock])) for clock in CLOCKS}
        table[name] = {"patches": len(times["total"]), "seconds": seconds, "wall": wall,
                       "patches_per_second": rate[ranks], "megapixels_per_second": pixels / seconds / 1e6,
                       "sums": sums, "peak_memory_mb": float(np.nanmax(times["memory"])) / 1e6}
    sums = table["three ranks, two cores"]["sums"]
    overhead = sums["read"] + sums["decode"] + sums["write"]
    # Of all the time that the two workers had, though reading overlaps with computing.
    share = overhead / (2 * table["three ranks, two cores"]["seconds"])
    criteria.add("read, decode, write: share of a two-worker run", share, 0.15, least=False)
    criteria.add("three ranks on two cores over two ranks on one", rate[3] / rate[2], 1.8)
    return table


def sparse_hdu(out, kind, nx, ny, bitpix, zero, wcs_cards):
    """An image HDU whose pixels are a hole in the file: all of them read as `zero`."""
    header = fits.Header([("XTENSION", "IMAGE"), ("BITPIX", bitpix), ("NAXIS", 2), ("NAXIS1", nx),
                          ("NAXIS2", ny), ("PCOUNT", 0), ("GCOUNT", 1), ("EXTTYPE", kind),
                          ("EXTNAME", kind)])
    if zero:
        header["BZERO"], header["BSCALE"] = zero, 1.0
    for card in wcs_cards:
        header.append(card)
    out.write(header.tostring().encode())
    size = nx * ny * abs(bitpix) // 8
    out.truncate(out.tell() + (size + 2879) // 2880 * 2880)
    out.seek(0, os.SEEK_END)


def huge_tile(folder, stem):
    """A tile of 20,000 x 20,000 pixels with constant sky after the layout of a simulated one; takes no space."""
    target = os.path.join(folder, "huge")
    os.makedirs(target)
    keep = ("WCSAXES", "CRPIX", "CDELT", "CTYPE", "CRVAL", "PC", "CD", "CUNIT", "RADESYS", "LONPOLE", "LATPOLE")
    for path in glob.glob(stem + "-?.fits"):
        with fits.open(path) as source:
            layers = {hdu.header.get("EXTTYPE"): hdu.header for hdu in source[1:]}
            name = os.path.join(target, "tile-000-000-" + path[-len("r.fits"):])
            with open(name, "wb") as out:
                first = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])
                first.extend(c for c in source[0].header.cards
                             if c.keyword not in ("SIMPLE", "BITPIX", "NAXIS", "EXTEND", "CHECKSUM",
                                                  "DATASUM", "COMMENT"))
                out.write(first.tostring().encode())
                for kind, bitpix, zero in (("IMAGE", 16, 3.0), ("MASK", 32, 0), ("VARIANCE", 16, 1e4)):
                    cards = [c for c in layers[kind].cards
                             if c.keyword.startswith(keep) or c.keyword.startswith(("MP_", "BUNIT", "LTV"))]
                    sparse_hdu(out, kind, HUGE, HUGE, bitpix, zero, cards)
    with fits.open(stem + "-psf.fits") as psf:
        header = psf[0].header
        factor = (HUGE - 1) / (header["TILE_NX"] - 1)
        header["TILE_NX"] = header["TILE_NY"] = HUGE
        for key in list(header):
            if key.startswith(("NODEX", "NODEY")):
                header[key] = header[key] * factor
        for hdu in psf:
            for key in ("CHECKSUM", "DATASUM"):
                hdu.header.pop(key, None)
        psf.writeto(os.path.join(target, "tile-000-000-psf.fits"))
    return target


def peak_memory(mark):
    """Largest VmHWM in bytes of the running program's processes whose command line has `mark`."""
    peak = 0
    for folder in glob.glob("/proc/[0-9]*"):
        try:
            with open(folder + "/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
            if os.path.basename(words[0]) != "skyquilt" or not any(mark in word for word in words):
                continue
            with open(folder + "/status") as file:
                for line in file:
                    if line.startswith("VmHWM"):
                        peak = max(peak, int(line.split()[1]) * 1024)
        except (OSError, IndexError):
            continue
    return peak


def memory_of_huge_tile(folder, criteria, seconds):
    """Peak resident memory of a rank while it works on the huge tile for a while; the run is then stopped."""
    stem = sorted(glob.glob(os.path.join(folder, "sky", "*-psf.fits")))[0][:-len("-psf.fits")]
    target = huge_tile(folder, stem)
    index = os.path.join(folder, "huge.h5")
    common.run("index", "--output", index, "--quiet", target)
    config = write_config(folder, "huge.yaml", index, f"execution:\n    walltime: {seconds}\n")
    out, peak = os.path.join(folder, "out-huge"), 0
    with subprocess.Popen(["mpirun", "--oversubscribe", "-n", "3", common.PROGRAM, "run", config, "--output", out,
                           "--quiet"], env=common.ENVIRONMENT, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as job:
        while job.poll() is None:
            peak = max(peak, peak_memory(out))
            time.sleep(0.2)
    if job.returncode not in (0, 2, 3):
        raise RuntimeError(f"the run over the huge tile: exit code {job.returncode}")
    with open(os.path.join(out, "exit.json")) as verdict:
        counts = json.load(verdict)["counts"]
    if counts["done"] == 0 or counts["failed"] > 0:
        raise RuntimeError(f"the run over the huge tile: {counts}")
    criteria.add("peak memory of a rank [MB], tile of 20,000 x 20,000", peak / 1e6, 600, least=False)
    return {"peak_mb": peak / 1e6, "seconds": seconds, "patches_done": counts["done"]}


def simulator(folder, seed, criteria):
    """Sky pixels per CPU second of a six-band set at LSST depth, one process, files included."""
    config = os.path.join(folder, "lsst.yaml")
    side = 2048
    with open(config, "w") as out:
        out.write(f"preset: lsst\nseed: {seed}\ntile_nx: {side}\ntile_ny: {side}\n")
    sky = os.path.join(folder, "lsst")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _, wall = common.run("simulate", config, "--output", sky, "--quiet")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    shutil.rmtree(sky)
    rate = side * side / seconds / 1e6
    criteria.add("simulator [Mpix/s per core], six bands, LSST depth", rate, 2.0)
    return {"cpu_seconds": seconds, "wall": wall, "megapixels_per_second": rate, "bands": 6}
