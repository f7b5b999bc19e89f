"""Source Extractor (Bertin & Arnouts 1996) on the pixels of a tile, as well as it can be run.

Detection on the inverse-variance weighted sum of several bands with a Gaussian matched filter at the seeing, or on their
chi image, the noise given as a map, photometry in each band in dual-image mode (MAG_AUTO). The settings that matter are
searched over by the caller.
"""
import dataclasses
import itertools
import os
import shutil
import subprocess
import tempfile

import numpy as np
from astropy.io import fits

from . import images as survey

PARAMETERS = ["NUMBER", "X_IMAGE", "Y_IMAGE", "XWIN_IMAGE", "YWIN_IMAGE", "FLUX_AUTO",
              "FLUXERR_AUTO", "CLASS_STAR", "FLAGS", "FLUX_RADIUS"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is searched over. `bands`: of the detection image."""
    bands: str = "gri"
    threshold: float = 1.5
    min_area: int = 5
    contrast: float = 0.005
    filter_scale: float = 1.0      # FWHM of the kernel / seeing; 0: no filter
    mesh: int = 128                # of the background, pixels
    chi: bool = False              # chi image, filtered by band, instead of the weighted sum

    def label(self):
        return (f"{self.bands}{' chi' if self.chi else ''} thresh {self.threshold:g} area {self.min_area} contrast "
                f"{self.contrast:g} filter {self.filter_scale:g} mesh {self.mesh}")


def grid(bands, thresholds=(0.6, 0.8, 1.0, 1.2, 1.5, 2.0), areas=(1, 3, 5), contrasts=(0.005, 0.0005),
         filters=(1.0,), meshes=(128,), chi=(False,)):
    return [Settings(*values)
            for values in itertools.product(bands, thresholds, areas, contrasts, filters, meshes, chi)]


def program():
    for name in ("source-extractor", "sex"):
        path = shutil.which(name)
        if path:
            return path
    raise FileNotFoundError("Source Extractor is not installed")


def _kernel(path, fwhm):
    half = int(np.ceil(1.5 * fwhm))
    y, x = np.mgrid[-half:half + 1, -half:half + 1]
    kernel = np.exp(-(x * x + y * y) * 4 * np.log(2) / fwhm ** 2)
    with open(path, "w") as out:
        out.write("CONV NORM\n")
        for row in kernel:
            out.write(" ".join(f"{v:.6f}" for v in row) + "\n")


def _network():
    for folder in ("/usr/share/source-extractor", "/usr/share/sextractor", "/usr/local/share/sextractor"):
        path = os.path.join(folder, "default.nnw")
        if os.path.exists(path):
            return path
    raise FileNotFoundError("default.nnw of Source Extractor")


class Runner:
    """Keeps the images of one tile as files, so that many settings can be tried on them."""

    def __init__(self, tile_images, reference="r", scale=0.396):
        self.reference = next(i for i in tile_images if i.band == reference)
        self.images = {i.band: survey.to_grid(i, self.reference) for i in tile_images}
        self.scale = scale
        self.folder = tempfile.mkdtemp(prefix="peer-")
        for band, image in self.images.items():
            self._write(band, image.data, image.rms, image.bad)
        self.detection = set()
        with open(os.path.join(self.folder, "columns"), "w") as out:
            out.write("\n".join(PARAMETERS) + "\n")

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name):
        return os.path.join(self.folder, name + ".fits")

    def _write(self, name, data, rms, bad):
        fits.writeto(self._path(name), np.where(bad, 0, data), overwrite=True)
        fits.writeto(self._path(name + "_rms"), np.where(bad, 1e30, rms), overwrite=True)

    def _prepare(self, settings):
        name = (f"chi{settings.filter_scale:g}_" if settings.chi else "det_") + settings.bands
        if name not in self.detection:
            bands = [self.images[b] for b in settings.bands]
            self._write(name, *(survey.chi_image(bands, settings.filter_scale) if settings.chi
                                else survey.detection_image(bands)))
            self.detection.add(name)
        return name

    def _measure(self, settings, band):
        detection = self._prepare(settings)
        fwhm = np.mean([self.images[b].fwhm for b in settings.bands])
        kernel = os.path.join(self.folder, "kernel.conv")
        _kernel(kernel, max(1.5, fwhm * settings.filter_scale))
        out = self._path("out")
        options = {
            "CATALOG_NAME": out, "CATALOG_TYPE": "FITS_1.0",
            "PARAMETERS_NAME": os.path.join(self.folder, "columns"),
            "DETECT_THRESH": settings.threshold, "ANALYSIS_THRESH": settings.threshold,
            "DETECT_MINAREA": settings.min_area, "DEBLEND_NTHRESH": 64,
            "DEBLEND_MINCONT": settings.contrast, "FILTER": "Y" if settings.filter_scale and not settings.chi else "N",
            "FILTER_NAME": kernel,
            "WEIGHT_TYPE": "MAP_RMS,MAP_RMS",
            "WEIGHT_IMAGE": f"{self._path(detection + '_rms')},{self._path(band + '_rms')}",
            "BACK_SIZE": settings.mesh, "BACK_FILTERSIZE": 3, "BACKPHOTO_TYPE": "LOCAL",
            "PIXEL_SCALE": self.scale,
            "SEEING_FWHM": self.images[band].fwhm * self.scale, "STARNNW_NAME": _network(),
            "SATUR_LEVEL": 1e9, "MEMORY_PIXSTACK": 3000000, "MEMORY_OBJSTACK": 30000,
            "MEMORY_BUFSIZE": 4096, "VERBOSE_TYPE": "QUIET", "CHECKIMAGE_TYPE": "NONE",
        }
        command = [program(), f"{self._path(detection)},{self._path(band)}", "-c", os.devnull]
        for key, value in options.items():
            command += ["-" + key, str(value)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"Source Extractor: {done.stderr.strip()[-500:]}")
        return fits.getdata(out, 1)

    def run(self, settings, bands=None):
        """A catalogue: dictionary of arrays; fluxes in nJy, (x, y) 0-based, ra and dec in deg."""
        bands = bands or self.reference.band
        catalogue = {}
        for band in bands:
            rows = self._measure(settings, band)
            catalogue["flux_" + band] = rows["FLUX_AUTO"].astype(float)
            catalogue[f"flux_{band}_err"] = rows["FLUXERR_AUTO"].astype(float)
            if band == self.reference.band or "x" not in catalogue:
                catalogue["x"] = rows["XWIN_IMAGE"].astype(float) - 1
                catalogue["y"] = rows["YWIN_IMAGE"].astype(float) - 1
                catalogue["star_probability"] = rows["CLASS_STAR"].astype(float)
        ra, dec = self.reference.wcs.all_pix2world(catalogue["x"], catalogue["y"], 0)
        catalogue["ra"], catalogue["dec"] = np.asarray(ra), np.asarray(dec)
        return catalogue
