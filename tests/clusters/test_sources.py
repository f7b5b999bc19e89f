"""Point sources, holes, edges and high bands through the whole program, on skies as in test_maps.py.

A nearby cluster of 2e15 Msun is not taken for a point source, and the rings that the filter makes of it are no candidates; bright radio sources are taken out and leave no candidate. No
candidate lies within the margin of the data's border or of a hole, and no cluster beyond is lost. With bands above
217 GHz, where clusters are increments, y0 is right, and the stated noise is the scatter of filtered maps.

Usage: test_sources.py   (environment: SQ_PROGRAM)
"""
import os
import sys
import tempfile

import h5py
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_maps as maps

EDGE, HOLE = 12, 12                 # arcmin: of the window, radius of the hole
BORDER = 140                        # arcmin from the centre: maps.sample has no data beyond
NEARBY = (10, 5, 13, 4.2e-4)        # u, v, theta500, y0 of M500 = 2e15 Msun at z = 0.1
HOLE_AT = (70, -70)
RADIO = ((-60, 60), (60, 75))       # u, v of sources of 0.1 and 3 Jy

HIGH = (150, 277, 350), (1.6, 1.1, 0.9), (3.0, 5.0, 12.0)      # GHz, FWHM, noise


def apart(found, u, v):
    """Arcmin from u, v of every candidate."""
    x, y = maps.to_plane(found["ra"], found["dec"], maps.CENTRE)
    return np.hypot(x - u, y - v)


def small_clusters():
    """u, v and distance to the border of the data: a row toward the east, a row toward the hole's edge."""
    out = [(BORDER - d, -100 + 22 * k, d) for k, d in enumerate((3, 5, 18, 22))]
    for k, d in enumerate((3, 5, 19, 24)):
        angle = np.pi / 2 * k + 0.3
        out.append((HOLE_AT[0] + (HOLE + d) * np.cos(angle), HOLE_AT[1] + (HOLE + d) * np.sin(angle), d))
    return out


def fine(u):
    return int(round(u / maps.FINE + (maps.N - 1) / 2))


def check_sources_and_borders(folder):
    y = np.zeros((maps.N, maps.N))
    maps.add_cluster(y, *NEARBY)
    for u, v, _ in small_clusters():
        maps.add_cluster(y, u, v, 1.5, 3e-4)
    with open(os.path.join(folder, "discs.txt"), "w") as f:
        ra, dec = maps.to_sky(*np.array([HOLE_AT], float).T, maps.CENTRE)
        f.write(f"{ra[0]} {dec[0]} {HOLE}\n")
    # 1 Jy is 2.97e4 uK arcmin^2 at 150 GHz; the spectrum falls in temperature.
    spectrum = 2.97e4 * np.array([2.1, 1.0, 0.5])
    points = [(fine(u), fine(v), s * spectrum) for (u, v), s in zip(RADIO, (0.1, 3.0))]
    for name, spots in (("alone", ()), ("radio", points)):
        sky = maps.fine_maps(np.random.default_rng(4), y, points=spots)
        maps.flat_files(folder, name, "ZEA", sky, maps.CENTRE)
        maps.run(maps.configure(folder, name, edge=EDGE, sources="discs.txt", scales=[1, 2, 4, 8, 14]))
        found, area = maps.read(folder, name), maps.read(folder, name, "area")
        removed = area["sources"].max()
        big = found["snr"][np.argmin(apart(found, *NEARBY[:2]))]
        print(f"{name}: {len(found['ra'])} candidates, at most {removed} sources in a patch, S/N {big:.0f} of the nearby cluster")
        assert (removed == 0) == (not spots), f"{name}: {removed} sources"
        assert apart(found, *NEARBY[:2]).min() < 0.5 and big > 50
        for u, v, distance in small_clusters():
            # Cells of 4' decide where the border lies.
            nearest = apart(found, u, v).min()
            assert (nearest < 0.5) if distance > EDGE + 4 else (nearest > 2), f"{name}: {distance}' from the border: {nearest:.2f}"
        true = np.min([apart(found, u, v) for u, v, *_ in [NEARBY, *small_clusters()]], axis=0)
        assert (true < 1).all(), f"{name}: candidates without a cluster, rings of the filter?"
        u, v = maps.to_plane(found["ra"], found["dec"], maps.CENTRE)
        assert (BORDER - np.maximum(abs(u), abs(v)) > 0.7 * EDGE - 4).all() and (apart(found, *HOLE_AT) > HOLE + 0.7 * EDGE - 4).all()
    for u, v in RADIO:
        assert apart(found, u, v).min() > 5, f"a candidate {apart(found, u, v).min():.1f}' from a radio source"


def check_high_bands(folder):
    sky, rows = maps.make_sky(np.random.default_rng(12), HIGH)
    maps.flat_files(folder, "high", "ZEA", sky, maps.CENTRE, names=HIGH[0])
    maps.run(maps.configure(folder, "high", bands=HIGH))
    maps.check_truth(maps.read(folder, "high"), rows, maps.CENTRE, "high")
    assert maps.read(folder, "high", "area")["sources"].max() == 0


def check_noise(folder):
    """Patches as they are by default, without clusters. Of two scales that are the same the greatest S/N is that of one."""
    n, step, rng = 1200, 0.5 * maps.ARCMIN, np.random.default_rng(13)
    l = np.hypot(np.fft.fftfreq(n, step)[:, None], np.fft.rfftfreq(n, step)) * 2 * np.pi
    cmb = np.sqrt(np.where(l > 2, 2 * np.pi / np.maximum(l, 2) ** 2 * 6000 * np.exp(-(l / 1400) ** 1.25), 0))
    cmb = np.fft.rfft2(rng.normal(size=(n, n))) * cmb / step
    w = maps.WCS(naxis=2)
    w.wcs.ctype, w.wcs.cdelt, w.wcs.crval, w.wcs.crpix = ["RA---ZEA", "DEC--ZEA"], [-0.5 / 60, 0.5 / 60], [0, 0], [n / 2, n / 2]
    header = w.to_header()
    header["BUNIT"] = "uK"
    for ghz, fwhm, noise in zip(*HIGH):
        beam = np.exp(-0.5 * (l * fwhm * maps.ARCMIN / np.sqrt(8 * np.log(2))) ** 2)
        plane = np.fft.irfft2(cmb * beam, (n, n)) + noise / 0.5 * rng.normal(size=(n, n))
        maps.fits.writeto(os.path.join(folder, f"empty-{ghz}.fits"), plane.astype("f4"), header)
    maps.run(maps.configure(folder, "empty", bands=HIGH, patch="{core: 768, halo: 128}", scales=[2, 2.0002], deproject="false",
                            map_pixel=1, lmax=20000))
    with h5py.File(os.path.join(folder, "empty", "release.h5")) as f:
        snr = f["maps/snr"][:].ravel()
    snr = snr[np.isfinite(snr)]
    print(f"no clusters: scatter of S/N {snr.std():.4f} in {len(snr)} pixels")
    assert len(snr) > 200000 and abs(snr.std() - 1) < 0.01


def main():
    with tempfile.TemporaryDirectory() as folder:
        check_sources_and_borders(folder)
        check_high_bands(folder)
        check_noise(folder)


if __name__ == "__main__":
    main()
