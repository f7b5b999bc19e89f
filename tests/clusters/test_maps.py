"""The clusters probe through the whole program, on one sky in several maps: clusters come back with their y0.

Clusters of known y0 and theta500 stand in band-limited noise and CMB on a fine plane, from which maps in ZEA, CAR and
HEALPix, RING and NESTED, are sampled across ra 0. The profiles are integrated here. Checked: every cluster is found once, with
its y0, theta500 and position, whatever the map; and that maps of hits and of inverse variance say the same.

Usage: test_maps.py   (environment: SQ_PROGRAM)
"""
import os
import subprocess
import tempfile

import h5py
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

PROGRAM = os.environ["SQ_PROGRAM"]
ENV = dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_ALLOW_RUN_AS_ROOT="1",
           OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_io="romio321", OMPI_MCA_btl="self,vader")
ARCMIN = np.pi / 180 / 60
GHZ, FWHM, NOISE = (95, 150, 220), (2.2, 1.6, 1.4), (3.0, 3.0, 8.0)
FINE, N = 0.25, 1200  # arcmin, pixels
CENTRE = (0.3, 12.0)
SCALES, Y0 = (1.0, 2.0, 4.0, 8.0), (6e-4, 4e-4, 3e-4, 3e-4)


def signal(ghz):
    x = ghz / 56.79
    return 2.7255e6 * (x / np.tanh(x / 2) - 4)


def profile(r):
    """Compton y over its centre at r = theta / theta500: Arnaud et al. 2010, along the line of sight to 5 R500."""
    def pressure(x):
        u = 1.177 * x
        return u ** -0.3081 * (1 + u ** 1.0510) ** ((0.3081 - 5.4905) / 1.0510)
    t, w = np.polynomial.legendre.leggauss(400)
    s = 0.5 * (t + 1)
    out = []
    for k in np.atleast_1d(r):
        far = np.sqrt(max(0, 25 - k * k))
        out.append((0.5 * w * 4 * s ** 3 * far * pressure(np.hypot(k, far * s ** 4))).sum())
    return np.array(out)


def add_cluster(y, u, v, theta500, y0):
    """Compton y on the fine plane, of a cluster at u, v (arcmin from the centre)."""
    ln_r = np.linspace(np.log(1e-3), np.log(5), 300)
    table = profile(np.exp(ln_r)) / profile(0)[0]
    at = (np.arange(N) - (N - 1) / 2) * FINE
    cols, rows = (np.flatnonzero(abs(at - c) < 5 * theta500 + FINE) for c in (u, v))
    # The mean over a fine pixel: the centre is cusped.
    for a in (-0.375, -0.125, 0.125, 0.375):
        for b in (-0.375, -0.125, 0.125, 0.375):
            r = np.hypot(at[cols] + a * FINE - u, (at[rows] + b * FINE - v)[:, None]) / theta500
            y[np.ix_(rows, cols)] += y0 / 16 * np.interp(np.log(np.maximum(r, 1e-3)), ln_r, table, right=0)


def fine_maps(rng, y, bands=(GHZ, FWHM, NOISE), points=()):
    """Maps in uK of y, CMB, noise up to l = 20000 and points (column, row, uK arcmin^2 by band)."""
    l = np.hypot(np.fft.fftfreq(N, FINE * ARCMIN)[:, None], np.fft.rfftfreq(N, FINE * ARCMIN)) * 2 * np.pi
    spectrum = np.where(l > 2, 2 * np.pi / np.maximum(l, 2) ** 2 * 6000 * np.exp(-(l / 1400) ** 1.25), 0)

    def draw(power):
        white = np.fft.rfft2(rng.normal(size=(N, N)))
        return white * np.sqrt(power) / (FINE * ARCMIN)
    cmb, wave = draw(spectrum), np.fft.rfft2(y) / np.sinc(l * FINE * ARCMIN / 2 / np.pi)
    maps = []
    for b, (ghz, fwhm, noise) in enumerate(zip(*bands)):
        beam = np.exp(-0.5 * (l * fwhm * ARCMIN / np.sqrt(8 * np.log(2))) ** 2)
        instrument = draw(np.where(l < 20000, (noise * ARCMIN) ** 2, 0))
        spots = np.zeros((N, N))
        for column, row, flux in points:
            spots[row, column] += flux[b] / FINE ** 2
        maps.append(np.fft.irfft2((cmb + wave * signal(ghz) + np.fft.rfft2(spots)) * beam + instrument, (N, N)))
    return maps


def make_sky(rng, bands=(GHZ, FWHM, NOISE)):
    """Maps of the bands on a plane of FINE pixels, x to the east, and the clusters' places on it in arcmin."""
    y, rows = np.zeros((N, N)), []
    for j in range(-2, 3):
        for i in range(-2, 3):
            k = (i + 2 * j) % 4
            u, v = 48 * i + rng.uniform(-5, 5), 48 * j + rng.uniform(-5, 5)
            add_cluster(y, u, v, SCALES[k], Y0[k])
            rows.append((u, v, k))
    return fine_maps(rng, y, bands), np.array(rows)


def unit(ra, dec):
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def frame(centre):
    ra, dec = np.radians(centre)
    east = np.array([-np.sin(ra), np.cos(ra), 0])
    north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
    return unit(*centre), east, north


def to_plane(ra, dec, centre):
    """Equal-area offsets in arcmin to the east and north."""
    p, (c, e, n) = unit(ra, dec), frame(centre)
    scale = np.sqrt(2 / (1 + np.tensordot(c, p, 1))) / ARCMIN
    return np.tensordot(e, p, 1) * scale, np.tensordot(n, p, 1) * scale


def to_sky(u, v, centre):
    c, e, n = frame(centre)
    r = np.hypot(u, v) * ARCMIN
    along = 1 - r * r / 2
    across = np.sqrt(1 - r * r / 4) * ARCMIN
    p = c[:, None] * along + (e[:, None] * u + n[:, None] * v) * across
    return np.degrees(np.arctan2(p[1], p[0])) % 360, np.degrees(np.arcsin(p[2]))


def sample(sky, ra, dec, centre, edge=140):
    u, v = to_plane(ra, dec, centre)
    inside = (abs(u) < edge) & (abs(v) < edge)
    at = [v[inside] / FINE + (N - 1) / 2, u[inside] / FINE + (N - 1) / 2]
    out = []
    for plane in sky:
        m = np.full(ra.shape, np.nan, "f4")
        m[inside] = map_coordinates(plane, at, order=5)
        out.append(m)
    return out


def flat_files(folder, name, projection, sky, centre, flip=-1, n=580, names=GHZ):
    w = WCS(naxis=2)
    w.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
    w.wcs.cdelt = [flip * 0.5 / 60, 0.5 / 60]
    w.wcs.crval, w.wcs.crpix = centre, [n / 2 + 0.3, n / 2 - 0.2]
    if projection == "CAR":
        w.wcs.crval = [centre[0], 0]
        w.wcs.crpix = [n / 2 + 0.3, n / 2 - centre[1] * 120]
    y, x = np.mgrid[:n, :n]
    ra, dec = w.wcs_pix2world(x, y, 0)
    for ghz, m in zip(names, sample(sky, ra, dec, centre)):
        h = w.to_header()
        h["BUNIT"] = "uK"
        fits.writeto(os.path.join(folder, f"{name}-{ghz}.fits"), m, h, overwrite=True)


def healpix_places(nside):
    """Pixels of the face around ra 0 on the equator that lie near the field: ra, dec, and numbers RING and NESTED
    (Gorski et al. 2005, ApJ 622, 759)."""
    # Along the face's diagonals: sum is south to north, difference west to east.
    z0, phi0 = np.sin(np.radians(CENTRE[1])), np.radians(CENTRE[0])
    total = int((z0 * 1.5 + 1) * nside)
    x, y = np.meshgrid(np.arange(total // 2 - nside // 8, total // 2 + nside // 8), np.arange(
        total // 2 - nside // 8, total // 2 + nside // 8), indexing="ij")
    x, y = x.ravel() + int(phi0 * 2 / np.pi * nside), y.ravel()
    ring = 3 * nside - x - y - 1
    z, shift = (2 * nside - ring) * 2 / (3 * nside), (ring - nside) & 1
    j = (x - y + 1 + shift) // 2
    j = np.where(j < 1, j + 4 * nside, j)
    ra, dec = np.degrees((j - (shift + 1) / 2) * np.pi / 2 / nside), np.degrees(np.arcsin(z))

    def spread(v):
        return sum(((v >> bit) & 1) << (2 * bit) for bit in range(14))
    return ra, dec, 2 * nside * (nside - 1) + (ring - nside) * 4 * nside + j - 1, 4 * nside * nside + spread(x) + 2 * spread(y)


def healpix_files(folder, sky, nside=8192):
    """Partial maps: `ring` of temperature alone, `nest` of temperature and hits, its rows in another order."""
    ra, dec, ring, nest = healpix_places(nside)
    sampled = sample(sky, ra, dec, CENTRE)
    keep = np.isfinite(sampled[0])
    for order, pixel, rows in (("ring", ring, np.argsort(ring)), ("nest", nest, np.argsort(-nest))):
        rows = rows[keep[rows]]
        for ghz, m in zip(GHZ, sampled):
            columns = [fits.Column("PIXEL", "K", array=pixel[rows]), fits.Column("TEMPERATURE", "E", unit="uK", array=m[rows])]
            if order == "nest":
                columns.append(fits.Column("N_OBS", "E", unit="counts", array=np.full(len(rows), 16)))
            table = fits.BinTableHDU.from_columns(columns)
            table.header.update(PIXTYPE="HEALPIX", ORDERING="RING" if order == "ring" else "NESTED", NSIDE=nside, COORDSYS="C",
                                INDXSCHM="EXPLICIT")
            table.writeto(os.path.join(folder, f"{order}-{ghz}.fits"))


def weight_files(folder, n=580):
    """Depth that doubles over the map, as inverse variance (uK^-2, pixels of 0.5') and as hits."""
    for ghz, noise in zip(GHZ, NOISE):
        with fits.open(os.path.join(folder, f"zea-{ghz}.fits")) as hdus:
            header = hdus[0].header
        hits = 10 * (1 + np.arange(n) / n) * np.ones((n, 1))
        for name, unit, plane in (("hits", "counts", hits), ("ivar", "uK^-2", hits / 16 * (0.5 / noise) ** 2)):
            header["BUNIT"] = unit
            fits.writeto(os.path.join(folder, f"{name}-{ghz}.fits"), plane.astype("f4"), header)


def configure(folder, name, maps=None, bands=(GHZ, FWHM, NOISE), patch="{core: 192, halo: 64}", **more):
    ghz, fwhm, noise = map(list, bands)
    keys = dict(ghz=ghz, maps=[f"{maps or name}-{g}.fits" for g in ghz], fwhm=fwhm, noise=noise,
                pixel_window="false", lmax=14000, scales=list(SCALES), map_pixel=4, min_snr=5)
    keys.update(more)
    path = os.path.join(folder, name + ".yaml")
    with open(path, "w") as f:
        f.write(f"probe: clusters\noutput: {name}\npatch: {patch}\nclusters:\n")
        f.writelines(f"  {k}: {v}\n".replace("'", "") for k, v in keys.items() if v is not None)
    return path


def run(path, ranks=1, code=0):
    launch = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run(launch + [PROGRAM, "run", path, "--quiet"], env=ENV, capture_output=True, text=True)
    assert done.returncode == code, f"{path}: exit code {done.returncode}, not {code}\n{done.stderr[-2000:]}"
    return done.stderr


def read(folder, name, table="clusters"):
    with h5py.File(os.path.join(folder, name, "release.h5")) as f:
        return {k: v[:] for k, v in f[table].items()}


def find_truth(found, rows, centre, name):
    """The candidate of each cluster: one, the others within 4' much weaker."""
    ra, dec = to_sky(rows[:, 0], rows[:, 1], centre)
    tree = cKDTree(unit(found["ra"], found["dec"]).T)
    distance, at = tree.query(unit(ra, dec).T)
    assert (distance / ARCMIN < 0.3).all(), f"{name}: not found: {distance / ARCMIN}"
    for k, p in enumerate(unit(ra, dec).T):
        near = tree.query_ball_point(p, 0.5 * ARCMIN)
        assert len(near) == 1, f"{name}: {len(near)} candidates at one cluster"
    return at, distance / ARCMIN


def check_truth(found, rows, centre, name):
    at, distance = find_truth(found, rows, centre, name)
    ratio = found["y0_peak"][at] / np.array(Y0)[rows[:, 2].astype(int)]
    for k, theta in enumerate(SCALES):
        m = rows[:, 2] == k
        mean, error = ratio[m].mean(), ratio[m].std() / np.sqrt(m.sum())
        print(f"{name}: theta500 {theta}': y0 {mean:.4f} +- {error:.4f}, S/N {found['snr'][at][m].mean():.1f}, "
              f"{distance[m].mean():.3f}' off, found as {found['theta500_peak'][at][m].mean():.3f}'", flush=True)
        assert abs(mean - 1) < 0.01 + 2 * error, f"{name}: y0 is biased"
        assert distance[m].max() < 0.1 and abs(found["theta500_peak"][at][m].mean() / theta - 1) < 0.02
    return at


def check_weights(folder):
    """Hits, with the noise of one, and inverse variances give the same release, whose noise follows them."""
    weight_files(folder)
    one_hit = [4 * n for n in NOISE]
    quick = dict(scales=[2, 4], iterations=0, deproject="false")
    run(configure(folder, "as-hits", "zea", weights=[f"hits-{g}.fits" for g in GHZ], noise=one_hit, **quick))
    run(configure(folder, "as-ivar", "zea", weights=[f"ivar-{g}.fits" for g in GHZ], noise=None, **quick))
    hits, ivar = read(folder, "as-hits"), read(folder, "as-ivar")
    assert len(hits["ra"]) == len(ivar["ra"]) > 20
    for key in ("ra", "dec", "snr", "y0", "theta500", "noise"):
        np.testing.assert_allclose(hits[key], ivar[key], rtol=1e-4, err_msg=key)
    east = to_plane(hits["ra"], hits["dec"], CENTRE)[0]
    slope = np.polyfit(east, hits["noise"], 1)[0] * 290        # over the map, whose columns go to the west
    print(f"hits: {len(hits['ra'])} candidates, noise {hits['noise'].min():.3f} to {hits['noise'].max():.3f}")
    assert 0.01 < slope < 0.1     # most of the noise is the CMB's


def main():
    with tempfile.TemporaryDirectory() as folder:
        sky, rows = make_sky(np.random.default_rng(11))
        flat_files(folder, "zea", "ZEA", sky, CENTRE)
        flat_files(folder, "car", "CAR", sky, CENTRE, flip=1)
        healpix_files(folder, sky)
        own = {"nest": {"noise": [4 * n for n in NOISE]}}
        first = None
        for name in ("zea", "car", "ring", "nest"):
            run(configure(folder, name, **own.get(name, {})))
            found = read(folder, name)
            at = check_truth(found, rows, CENTRE, name)
            first = found["snr"][at] if first is None else first
            apart = found["snr"][at] / first - 1
            print(f"{name}: S/N over that of zea {np.mean(apart):+.4f} +- {np.std(apart):.4f}", flush=True)
            assert abs(np.mean(apart)) < 0.03 and np.std(apart) < 0.03, name
        check_weights(folder)


if __name__ == "__main__":
    main()
