"""The best PSF photometry of stars that can be had: a fit of the true, local PSF with the position free, in all bands at once.

It begins at the true position, so that nothing of detection or a measured PSF limits it. Neighbours are not fitted, but what
stands out of the star's residuals, in any band, is left out of the fit.
"""
import numpy as np
from astropy.io import fits
from scipy import ndimage

RADIUS, ROUNDS = 10, 4      # pixels; Gauss-Newton steps
CORE = 3.0                  # pixels around a star that are always used
STANDS_OUT = 2.5            # of the residual's S/N, filtered with the PSF


class PsfGrid:
    """STEM-psf.fits: images of the PSF on a grid over the tile, linear between nodes."""

    def __init__(self, stem, nx, ny):
        with fits.open(stem + "-psf.fits") as file:
            data, header = file[0].data.astype(float), file[0].header
        self.bands = [header[f"BAND{k + 1}"].strip() for k in range(data.shape[0])]
        self.nodes = data                                # [band][row][column][side][side]
        self.step = (ny - 1) / (data.shape[1] - 1), (nx - 1) / (data.shape[2] - 1)

    def at(self, band, x, y):
        """Spline coefficients of the PSF image there."""
        grid, p = self.nodes[self.bands.index(band)], (y / self.step[0], x / self.step[1])
        j, i = (int(np.clip(v, 0, n - 2)) for v, n in zip(p, grid.shape))
        v, u = p[0] - j, p[1] - i
        image = (1 - v) * ((1 - u) * grid[j, i] + u * grid[j, i + 1]) + v * ((1 - u) * grid[j + 1, i] + u * grid[j + 1, i + 1])
        return ndimage.spline_filter(image, order=3)


def shifted(coefficients, x, y):
    """The PSF centred on the origin at offsets x, y."""
    middle = coefficients.shape[0] // 2
    return ndimage.map_coordinates(coefficients, [y + middle, x + middle], order=3, prefilter=False)


def without_neighbours(weights, excess, distance):
    """Weights without the pixels where residuals, in units of their noise, stand out: of all bands together, smoothed, and
    not within the core of the star."""
    smooth = sum(ndimage.gaussian_filter(e, 1.0) for e in excess) * np.sqrt(4 * np.pi / len(excess))
    keep = (smooth < STANDS_OUT) | (distance < CORE)
    return [np.where(keep, w, 0) for w in weights]


def fit_star(tile_images, grid, x, y):
    """Fluxes by band (nJy); NaN where the stamp has no usable pixel. The step of the position is common to all bands."""
    i, j = int(round(x)), int(round(y))
    ny, nx = tile_images[0].data.shape
    box = slice(max(0, j - RADIUS), min(ny, j + RADIUS + 1)), slice(max(0, i - RADIUS), min(nx, i + RADIUS + 1))
    rows, columns = np.mgrid[box]
    psf = [grid.at(image.band, x, y) for image in tile_images]
    every = [np.where(image.bad[box], 0, 1 / image.rms[box].astype(float) ** 2) for image in tile_images]
    weights = every
    start = x, y
    for step in range(ROUNDS + 1):
        fluxes, normal, right, excess = [], np.zeros((2, 2)), np.zeros(2), []
        for image, coefficients, w in zip(tile_images, psf, weights):
            u, v = columns - x, rows - y
            p = shifted(coefficients, u, v)
            power = np.sum(w * p * p)
            flux = np.sum(w * p * image.data[box]) / power if power > 0 else np.nan
            fluxes.append(flux)
            excess.append((image.data[box] - max(flux, 0) * p) * np.sqrt(every[len(excess)]))
            if step == ROUNDS or not flux > 0:
                continue
            gradient = [flux * (shifted(coefficients, u - a, v - b) - shifted(coefficients, u + a, v + b)) / 0.2
                        for a, b in ((0.1, 0), (0, 0.1))]
            residual = image.data[box] - flux * p
            normal += [[np.sum(w * g * h) for h in gradient] for g in gradient]
            right += [np.sum(w * g * residual) for g in gradient]
        if np.linalg.det(normal) > 0:
            x, y = np.array([x, y]) + np.linalg.solve(normal, right)
        if step < ROUNDS:
            weights = without_neighbours(every, excess, np.hypot(columns - x, rows - y))
        # A fit that walks to a neighbour is no fit of this star.
        x, y = np.clip(x, start[0] - 1, start[0] + 1), np.clip(y, start[1] - 1, start[1] + 1)
    return fluxes


def fit_stars(tile_images, stem, x, y):
    """Fluxes [stars][bands]."""
    ny, nx = tile_images[0].data.shape
    grid = PsfGrid(stem, nx, ny)
    return np.array([fit_star(tile_images, grid, a, b) for a, b in zip(x, y)]).reshape(-1, len(tile_images))
