"""A map of 20,000 x 40,000 pixels (a file with holes) is read by sections: memory follows the patch, not the map.

Usage: test_large.py   (environment: SQ_PROGRAM)
"""
import os
import resource
import subprocess
import tempfile

import h5py
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

PROGRAM = os.environ["SQ_PROGRAM"]
ENV = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_io="romio321")
NY, NX, STEP = 20000, 40000, 0.05           # arcmin
FILLED = 2600                               # pixels a side, 2.2 deg
LIMIT = 1 << 30


def geometry(ny, nx, step):
    w = WCS(naxis=2)
    w.wcs.ctype, w.wcs.crval = ["RA---CAR", "DEC--CAR"], [0, 0]
    w.wcs.cdelt, w.wcs.crpix = [-step / 60, step / 60], [nx / 2 + 0.5, ny / 2 + 0.5]
    return w.to_header()


def write_map(path):
    """Gaussian modes up to the scale of the beam in the middle, holes elsewhere."""
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2), ("NAXIS1", NX), ("NAXIS2", NY)])
    header.update(geometry(NY, NX, STEP))
    header["BUNIT"] = "uK"
    rng, n = np.random.default_rng(2), FILLED
    l = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)) * n
    modes = np.fft.rfft2(rng.normal(size=(n, n))) * np.exp(-(l / 60) ** 2)
    values = np.fft.irfft2(modes, (n, n))
    values = (100 * values / values.std() + 5 * np.repeat(np.repeat(rng.normal(size=(n // 10, n // 10)), 10, 0), 10, 1)).astype(">f4")
    text = header.tostring(padding=True).encode()
    with open(path, "wb") as f:
        f.write(text)
        for row in range(n):
            f.seek(len(text) + 4 * ((NY // 2 - n // 2 + row) * NX + NX // 2 - n // 2))
            f.write(values[row].tobytes())
        size = len(text) + 4 * NX * NY
        f.truncate(-(-size // 2880) * 2880)


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "map.fits")
        write_map(path)
        assert os.stat(path).st_size > 3 * LIMIT / 1.1 and 512 * os.stat(path).st_blocks < 1 << 28, "a file with holes"
        mask = np.zeros((100, 200), "f4")
        mask[45:55, 95:105] = 1                # 1.7 deg
        fits.writeto(os.path.join(folder, "mask.fits"), mask, geometry(100, 200, 10))
        with open(os.path.join(folder, "run.yaml"), "w") as f:
            f.write("probe: clusters\noutput: out\npatch: {core: 448, halo: 32}\nclusters: {pixel: 1, ghz: [150], maps: [map.fits], fwhm: [2], "
                    "noise: [5], mask: mask.fits, pixel_window: false, edge: 10, map_pixel: 0, min_snr: 6, scales: [2, 4]}\n")
        subprocess.run([PROGRAM, "run", os.path.join(folder, "run.yaml"), "--quiet"], check=True, env=ENV)
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        with h5py.File(os.path.join(folder, "out", "release.h5")) as f:
            area, failed = np.nansum(f["area/area"][:]), len(f["failures/patch"])
            patches = len(np.unique(f["area/patch"][:]))
        print(f"{patches} patches, {area:.2f} deg^2 searched, {most / 1e6:.0f} MB at most of a map of {4 * NX * NY / 1e9:.1f} GB")
        assert most < LIMIT and failed == 0 and patches > 10 and area > 1


if __name__ == "__main__":
    main()
