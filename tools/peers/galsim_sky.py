#!/usr/bin/env python3
"""The same sky by GalSim (https://pypi.org/project/GalSim): Sersic galaxies, Kolmogorov PSF, white noise.

    python3 -m venv V; V/bin/pip install galsim;  V/bin/python galsim_sky.py SOURCES.npz SKY OUT SEED

SKY holds exposures of `skyquilt simulate`; SOURCES.npz their sources (ra, dec, flux_BAND in nJy, star, radius, e1, e2,
bulge_fraction), `stem` the tiles' names and `fwhm` [tile][band] in arcsec, `bands` the letters. OUT gets frames of the same
names, layout, coordinates, gain and depth with other pixels, and their PSF images. A galaxy is one Sersic profile with the
half-light radius and shape of the source and an index between 1 (no bulge) and 4 (all bulge), in steps of a half; a PSF is
Kolmogorov with a shear drawn for the tile, the same all over it and of unit sum over its image. No defects, no saturation. Prints a
JSON object.
"""
import json
import os
import sys
import time

import galsim
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

REACH = 20.0                     # arcsec: sources so far outside a tile are drawn
PSF_SHEAR = 0.015                # rms of a component


def stamp_side(flux, noise, side_max=512):
    """Pixels that hold what can be seen of a source: its wings fall below a tenth of the noise outside."""
    for side, least in ((32, 0), (48, 60), (64, 300), (128, 1500), (256, 10000)):
        if flux > least * noise:
            found = side
    return min(found, side_max)


def profile(row, psf):
    """A source of unit flux, convolved."""
    if row["star"]:
        return psf
    index = 1 + np.round(6 * row["bulge_fraction"]) / 2
    galaxy = galsim.Sersic(index, half_light_radius=row["radius"]).shear(g1=row["e1"], g2=row["e2"])
    return galsim.Convolve(psf, galaxy)


def draw_band(sources, x, y, fluxes, psf, noise, shape, scale):
    """The noiseless image; x, y are 0-based pixels."""
    image = galsim.ImageF(shape[1], shape[0], scale=scale)
    image.setOrigin(0, 0)
    for k in np.flatnonzero(fluxes > 0.02 * noise):
        row = {name: sources[name][k] for name in ("star", "radius", "e1", "e2", "bulge_fraction")}
        side = stamp_side(fluxes[k], noise)
        i, j = int(round(x[k])), int(round(y[k]))
        bounds = galsim.BoundsI(i - side // 2, i + side // 2, j - side // 2, j + side // 2)
        if not bounds.isDefined() or not (bounds & image.bounds).isDefined():
            continue
        stamp = galsim.ImageF(bounds, scale=scale)
        (profile(row, psf) * float(fluxes[k])).drawImage(stamp, center=galsim.PositionD(x[k], y[k]))
        both = bounds & image.bounds
        image[both] += stamp[both]
    return image.array


def pixel_side(wcs):
    """arcsec"""
    return 3600 * np.sqrt(np.abs(np.linalg.det(wcs.pixel_scale_matrix)))


def frame(sky, out, name, band, sources, psf, rng):
    """One exposure: pixels, mask and variance of the frame in SKY replaced."""
    with fits.open(os.path.join(sky, f"{name}-{band}.fits")) as file:
        planes = {hdu.header.get("EXTTYPE"): hdu for hdu in file[1:]}
        header, gain = planes["MASK"].header, planes["IMAGE"].header["GAIN"]
        shape, wcs = planes["IMAGE"].data.shape, WCS(header)
        scale = pixel_side(wcs)
        x, y = wcs.all_world2pix(sources["ra"], sources["dec"], 0)
        margin = REACH / scale
        near = (x > -margin) & (y > -margin) & (x < shape[1] + margin) & (y < shape[0] + margin)
        empty = float(np.percentile(planes["VARIANCE"].data, 5))
        near_sources = {k: v[near] for k, v in sources.items() if v.shape == near.shape}
        image = draw_band(near_sources, x[near], y[near], near_sources["flux_" + band], psf, np.sqrt(empty), shape, scale)
        variance = empty + np.maximum(image, 0) / gain
        planes["IMAGE"].data = (image + np.sqrt(variance) * rng.standard_normal(shape)).astype(np.float32)
        planes["MASK"].data = np.zeros(shape, np.int32)
        planes["VARIANCE"].data = variance.astype(np.float32)
        file.writeto(os.path.join(out, f"{name}-{band}.fits"), checksum=True, overwrite=True)
    return int(near.sum())


def main():
    sources_path, sky, out, seed = sys.argv[1:]
    begin, drawn = time.monotonic(), 0
    os.makedirs(out, exist_ok=True)
    with np.load(sources_path) as file:
        sources = {k: file[k] for k in file.files}
    names, fwhm, bands = sources.pop("stem"), sources.pop("fwhm"), str(sources.pop("bands"))
    for t, name in enumerate(names):
        rng = np.random.default_rng((int(seed), t))
        psf_path = name + "-psf.fits"
        with fits.open(os.path.join(sky, psf_path)) as file:
            grid = file[0].data
            scale = pixel_side(WCS(fits.getheader(os.path.join(sky, f"{name}-{bands[0]}.fits"), 1)))
            for b, band in enumerate(bands):
                g1, g2 = np.clip(PSF_SHEAR * rng.standard_normal(2), -0.1, 0.1)
                psf = galsim.Kolmogorov(fwhm=fwhm[t, b]).shear(g1=g1, g2=g2)
                stamp = psf.drawImage(nx=grid.shape[-1], ny=grid.shape[-2], scale=scale).array
                grid[b] = stamp / stamp.sum()
                drawn += frame(sky, out, name, band, sources, psf / float(stamp.sum()), rng)
            file.writeto(os.path.join(out, psf_path), checksum=True, overwrite=True)
    print(json.dumps({"tiles": len(names), "drawn": drawn, "seconds": time.monotonic() - begin,
                      "version": galsim.__version__}))


main()
