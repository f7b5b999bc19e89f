"""Survey images for the peers: the same pixels that skyquilt reads, by astropy alone.

An Image holds nJy per pixel, its rms, a mask of bad pixels and the WCS; images of other bands are brought to the grid
of the reference band by bicubic interpolation.
"""
import dataclasses
import glob
import warnings

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from scipy import ndimage

NJY_PER_NANOMAGGY = 3631.0
SDSS_BANDS = "ugriz"

warnings.filterwarnings("ignore", module="astropy")


@dataclasses.dataclass
class Image:
    """One band of one tile: arrays [ny][nx]."""
    band: str
    data: np.ndarray
    rms: np.ndarray
    bad: np.ndarray
    wcs: WCS
    fwhm: float          # pixels


def _only(pattern):
    found = sorted(glob.glob(pattern))
    if not found:
        raise FileNotFoundError(pattern)
    return found[0]


def sdss_noise(frame, field, band):
    """rms in nanomaggies: sigma = cal sqrt(dn / gain + dark variance), dn = image / cal + sky."""
    image, cal, sky = frame[0].data, frame[1].data, frame[2].data[0]
    rows = np.clip(sky["YINTERP"], 0, sky["ALLSKY"].shape[0] - 1)
    columns = np.clip(sky["XINTERP"], 0, sky["ALLSKY"].shape[1] - 1)
    grid = np.meshgrid(rows, columns, indexing="ij")
    level = ndimage.map_coordinates(sky["ALLSKY"], grid, order=1, mode="nearest")
    b = SDSS_BANDS.index(band)
    counts = np.maximum(image / cal + level, 0)
    return cal * np.sqrt(counts / field["GAIN"][b] + field["DARK_VARIANCE"][b])


def sdss_width(field, band):
    """FWHM in pixels of photoField's two Gaussians and power law, whose sigmas are in pixels."""
    b = SDSS_BANDS.index(band)
    r = np.linspace(0, 5, 5001)
    profile = (np.exp(-0.5 * (r / field["PSF_SIGMA1"][b]) ** 2)
               + field["PSF_B"][b] * np.exp(-0.5 * (r / field["PSF_SIGMA2"][b]) ** 2)
               + field["PSF_P0"][b] * (1 + (r / field["PSF_SIGMAP"][b]) ** 2 / field["PSF_BETA"][b])
               ** (-0.5 * field["PSF_BETA"][b]))
    return 2 * r[np.argmax(profile < profile[0] / 2)]


def read_sdss(folder, bands="gri"):
    """Frames of one field, in the order of `bands`."""
    images = []
    fields = fits.getdata(_only(f"{folder}/photoField-*"), 1)
    for band in bands:
        path = _only(f"{folder}/frame-{band}-*")
        with fits.open(path) as frame:
            number = int(frame[0].header["FRAME"])
            field = fields[fields["FIELD"] == number][0]
            data = frame[0].data.astype(np.float32)
            images.append(Image(
                band, data * NJY_PER_NANOMAGGY,
                (sdss_noise(frame, field, band) * NJY_PER_NANOMAGGY).astype(np.float32),
                ~np.isfinite(data), WCS(frame[0].header),
                sdss_width(field, band)))
    return images


def width_at_half_maximum(psf):
    """Diameter in pixels of the circle with the area in which a PSF image exceeds half of its peak."""
    fine = ndimage.zoom(np.asarray(psf, float), 4, order=3)
    return 2 * np.sqrt(np.sum(fine > fine.max() / 2) / np.pi) / 4


def read_exposure(stem, bands="gri"):
    """STEM-BAND.fits in the afw Exposure layout with STEM-psf.fits, as `skyquilt simulate` writes them."""
    images = []
    with fits.open(stem + "-psf.fits") as file:
        psf, names = file[0].data, [str(file[0].header[f"BAND{k + 1}"]).strip()
                                    for k in range(file[0].data.shape[0])]
    for band in bands:
        with fits.open(f"{stem}-{band}.fits") as file:
            planes = {hdu.header.get("EXTTYPE"): hdu for hdu in file[1:]}
            header = planes["MASK"].header
            bits = sum(1 << header["MP_" + name] for name in ("BAD", "CR", "NO_DATA")
                       if "MP_" + name in header)
            variance = planes["VARIANCE"].data
            bad = ((planes["MASK"].data & bits) != 0) | ~(variance > 0) | ~np.isfinite(variance)
            grid = psf[names.index(band)]
            images.append(Image(band, planes["IMAGE"].data.astype(np.float32),
                                np.sqrt(np.where(bad, 1, variance)).astype(np.float32), bad,
                                WCS(planes["IMAGE"].header),
                                width_at_half_maximum(grid[grid.shape[0] // 2, grid.shape[1] // 2])))
    return images


def to_grid(image, reference):
    """`image` on the pixels of `reference`; pixels that it does not cover are bad."""
    if image is reference or (image.data.shape == reference.data.shape and
                              image.wcs.wcs.compare(reference.wcs.wcs)):
        return image
    ny, nx = reference.data.shape
    # The transformation is smooth: exact on a coarse grid, linear in between.
    step = 64
    yc, xc = np.arange(0, ny + step, step), np.arange(0, nx + step, step)
    gx, gy = np.meshgrid(xc.astype(float), yc.astype(float))
    sx, sy = image.wcs.all_world2pix(*reference.wcs.all_pix2world(gx, gy, 0), 0)
    at = np.mgrid[0:ny, 0:nx] / step
    y = ndimage.map_coordinates(sy, at, order=1)
    x = ndimage.map_coordinates(sx, at, order=1)
    data = ndimage.map_coordinates(np.where(image.bad, 0, image.data), [y, x], order=3,
                                   mode="constant", output=np.float32)
    rms = ndimage.map_coordinates(image.rms, [y, x], order=1, mode="nearest", output=np.float32)
    bad = ndimage.map_coordinates(image.bad.astype(np.float32), [y, x], order=1, mode="constant",
                                  cval=1) > 0.01
    return Image(image.band, data, rms, bad, reference.wcs, image.fwhm)


def detection_image(images):
    """The weighted sum of the bands for sources of flat spectrum (inverse variance weights), and its rms."""
    weight = [np.where(i.bad, 0, 1 / i.rms.astype(np.float64) ** 2) for i in images]
    total = np.maximum(sum(weight), 1e-30)
    data = sum(w * np.where(i.bad, 0, i.data) for w, i in zip(weight, images)) / total
    bad = np.all([i.bad for i in images], axis=0)
    return data.astype(np.float32), np.sqrt(1 / total).astype(np.float32), bad


def chi_image(images, scale):
    """The root of the summed squares of the bands' positive matched-filter S/N (Szalay et al. 1999), with Gaussian filters
    of `scale` times each band's seeing; its rms is called 1."""
    total = 0
    for image in images:
        width = scale * image.fwhm / np.sqrt(8 * np.log(2))
        weight = np.where(image.bad, 0, 1 / image.rms.astype(np.float64) ** 2)
        signal = ndimage.gaussian_filter(weight * np.where(image.bad, 0, image.data), width)
        # The square of a Gaussian kernel is a narrower one.
        noise = np.sqrt(ndimage.gaussian_filter(weight, width / np.sqrt(2)) / (4 * np.pi * width ** 2))
        total = total + np.maximum(signal / np.maximum(noise, 1e-30), 0) ** 2
    bad = np.all([i.bad for i in images], axis=0)
    return np.sqrt(total).astype(np.float32), np.ones(total.shape, np.float32), bad
