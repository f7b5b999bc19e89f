"""Lensed skies for the tests of the lensing probe, as FITS maps in several projections."""
import os
import subprocess

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

ARCMIN = np.pi / 180 / 60


class Sky:
    """T, Q, U and kappa on an equal-area plane (ZEA) whose x axis points west and y axis north at its centre."""

    def __init__(self, tool, folder, side=384, pixel=2.0, seed=1, amplitude=1.0, fwhm=1.5, noise=1.0, centre=(30.0, -20.0)):
        path = os.path.join(folder, "sky.bin")
        subprocess.run([tool, str(side), str(pixel), str(seed), str(amplitude), str(fwhm), str(noise), path], check=True)
        self.t, self.q, self.u, self.kappa = np.fromfile(path).reshape(4, side, side)
        os.remove(path)
        self.side, self.pixel, self.noise, self.fwhm = side, pixel, noise, fwhm
        self.wcs = self.plane(centre, side, pixel)

    @staticmethod
    def plane(centre, side, pixel):
        w = WCS(naxis=2)
        w.wcs.ctype, w.wcs.crval = ["RA---ZEA", "DEC--ZEA"], centre
        w.wcs.cdelt, w.wcs.crpix = [-pixel / 60, pixel / 60], [(side + 1) / 2] * 2
        return w

    def angle(self):
        """Position angle of the +y axis, from north through east, at every pixel."""
        y, x = np.mgrid[:self.side, :self.side].astype(float)
        ra, dec = self.wcs.wcs_pix2world(x, y, 0)
        ra1, dec1 = self.wcs.wcs_pix2world(x, y + 0.01, 0)
        ra0, dec0 = self.wcs.wcs_pix2world(x, y - 0.01, 0)
        east = ((ra1 - ra0 + 180) % 360 - 180) * np.cos(np.radians(dec))
        return np.arctan2(east, dec1 - dec0)

    def iau(self):
        """Q, U about north: the plane's own are about +x, of opposite sign to those about +y."""
        p = -(self.q + 1j * self.u) * np.exp(2j * self.angle())
        return p.real, p.imag

    def write(self, path, unit="uK", convention="IAU", planes=3, factor=1.0, change=None, ivar=True):
        q, u = self.iau()
        maps = np.array([self.t, q, u if convention == "IAU" else -u])[:planes] * factor
        if change is not None:
            maps = change(maps)
        header = self.wcs.to_header()
        header["BUNIT"] = unit
        if planes > 1:
            header["CTYPE3"], header["CRVAL3"], header["CRPIX3"], header["CDELT3"] = "STOKES", 1.0, 1.0, 1.0
            header["POLCCONV"] = convention
        fits.writeto(path, (maps if planes > 1 else maps[0]).astype("f4"), header, overwrite=True)

    def band(self, low, high):
        """Kappa in low <= L < high."""
        l = np.hypot(np.fft.fftfreq(self.side, self.pixel * ARCMIN)[:, None], np.fft.fftfreq(self.side, self.pixel * ARCMIN))
        l *= 2 * np.pi
        return np.fft.ifft2(np.fft.fft2(self.kappa) * ((l >= low) & (l < high))).real

    def at(self, ra, dec, field=None):
        """A field of the plane at points, by cubic interpolation."""
        from scipy.ndimage import map_coordinates
        x, y = self.wcs.wcs_world2pix(ra, dec, 0)
        return map_coordinates(self.kappa if field is None else field, [y, x], order=3, mode="constant", cval=np.nan)


def release_grid(dataset):
    """RA and dec of the pixels of a release's map, from its description."""
    import re
    text = dataset.attrs["description"]
    text = text.decode() if isinstance(text, bytes) else str(text)
    ra0, step, dec0, _ = map(float, re.search(r"ra = (\S+) - (\S+) column, dec = (\S+) \+ (\S+) row", text).groups())
    y, x = np.mgrid[:dataset.shape[-2], :dataset.shape[-1]]
    return (ra0 - step * x) % 360, dec0 + step * y
