"""The clusters probe through the whole program: one simulated sky in several projections and places, and bad input.

Usage: test_probe.py SKYQUILT
"""
import os
import shutil
import subprocess
import sys
import tempfile

import h5py
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "run"))
from releases import contents

PROGRAM = os.path.abspath(sys.argv[1])
ENV = dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_ALLOW_RUN_AS_ROOT="1",
           OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_io="romio321", OMPI_MCA_btl="self,vader", OMP_NUM_THREADS="1")
GHZ = (95, 150, 220)
SIDE, PIXEL = 384, 0.5


def simulate(name, **keys):
    """A field of noise that is small against the sky, whose depth is even: it differs between cylindrical grids."""
    sky = dict(preset="mm", side=SIDE, seed=5, mass_min="5.0e+13", depth=0, noise_factor=0.2, ra=0, dec=0)
    sky.update(keys)
    with open(name + "-sky.yaml", "w") as f:
        f.writelines(f"{k}: {v}\n" for k, v in sky.items())
    subprocess.run([PROGRAM, "simulate", name + "-sky.yaml", "--output", name, "--quiet"], check=True)


def configure(name, sky, patch="{core: 192, halo: 32}", **own):
    keys = dict(ghz=list(GHZ), maps=[f"{sky}/field-*-{g}.fits" for g in GHZ], beams=[f"{sky}/beam-{g}.txt" for g in GHZ],
                pixel_window="false", map_pixel=4, lmax=14000, edge=12)
    keys.update(own)
    with open(name + ".yaml", "w") as f:
        f.write(f"probe: clusters\noutput: {name}\npatch: {patch}\nclusters:\n")
        f.writelines(f"  {k}: {v}\n".replace("'", "") for k, v in keys.items() if v is not None)
    return name + ".yaml"


def run(name, code=0, ranks=1, config=None):
    command = [PROGRAM, "run", config or name + ".yaml", "--output", name, "--quiet"]
    done = subprocess.run((["mpirun", "-n", str(ranks)] if ranks > 1 else []) + command, env=ENV, capture_output=True,
                          text=True)
    assert done.returncode == code, f"{name}: exit code {done.returncode}, not {code}\n{done.stderr[-2000:]}"
    return done.stderr


def table(name, group="clusters"):
    with h5py.File(f"{name}/release.h5") as f:
        return {k: v[:] for k, v in f[group].items()}


def unit(ra, dec):
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], -1)


def nearest(ra, dec, there):
    """Index of the nearest candidate `there`, and its distance in arcmin."""
    apart = np.linalg.norm(unit(ra, dec)[:, None] - unit(there["ra"], there["dec"])[None], axis=-1)
    return apart.argmin(1), np.degrees(apart.min(1)) * 60


def compare(label, a, b, distance, snr, y0, place=None):
    """Of pairs: median change of S/N and y0; and of places in standard errors, or within so many arcmin."""
    ratio, change = b["y0_fixed"] / a["y0_fixed"] - 1, b["snr"] / a["snr"] - 1
    error = np.hypot(np.hypot(a["ra_err"], a["dec_err"]), np.hypot(b["ra_err"], b["dec_err"])) / 60
    apart = np.median(distance) if place else np.sqrt(np.median((distance / error) ** 2) / np.log(2))
    mean = np.median(np.abs(change)), np.median(np.abs(ratio)), np.median(ratio)
    print(f"{label}: {len(distance)} candidates, apart {apart:.4f} (at most {distance.max():.3f}'), S/N {mean[0]:.4f}, y0 "
          f"{mean[1]:.4f}, bias {mean[2]:+.4f}")
    assert len(distance) >= 15 and (distance < 1).mean() > 0.95, label  # a blend may part otherwise
    assert apart < (place or 1.3) and mean[0] < snr and mean[1] < y0 and abs(mean[2]) < y0 / 2, label


def pick(c, which):
    return {k: v[which] for k, v in c.items()}


def test_projections():
    """Fields across RA 0, on the same patches."""
    first = None
    for projection in ("zea", "tan", "car", "cea"):
        simulate(projection, projection=projection)
        configure("run-" + projection, projection)
        run("run-" + projection)
        found = table("run-" + projection)
        if first is None:
            first = pick(found, found["snr"] > 8)
            assert (first["ra"] > 180).any() and (first["ra"] < 180).any()
            continue
        at, distance = nearest(first["ra"], first["dec"], found)
        # The noise of pixels of a TAN map is that of ZEA; in cylindrical maps it is another: 4% of S/N 20 and more.
        limit = (0.005, 0.005, 0.005) if projection == "tan" else (0.07, 0.07)
        compare(projection, first, pick(found, at), distance, *limit)


def test_mixed():
    """Bands of different projections: the patches' grid is common to them."""
    keys = [("zea", 95), ("car", 150), ("cea", 220)]
    configure("run-mixed", "zea", maps=[f"{p}/field-*-{g}.fits" for p, g in keys], beams=[f"{p}/beam-{g}.txt" for p, g in keys])
    run("run-mixed")
    first, found = table("run-zea"), table("run-mixed")
    first = pick(first, first["snr"] > 8)
    at, distance = nearest(first["ra"], first["dec"], found)
    compare("mixed", first, pick(found, at), distance, 0.07, 0.07)


def at_halos(name, sky, snr):
    """Candidate and distance by halo, for halos that are the heaviest within 4'."""
    found = table(name)
    with h5py.File(f"{sky}/truth.h5") as f:
        halo = {k: f["halos"][k][:] for k in ("ra", "dec", "x", "y", "m500")}
    order = np.argsort(-halo["m500"])
    at, distance = nearest(halo["ra"][order], halo["dec"][order], found)
    out = {}
    for k, i, d in zip(order, at, distance):
        if d < 0.7 and found["snr"][i] > snr and i not in out.values():
            out[int(k)] = int(i)
    return found, halo, out


def test_pole():
    """The same field, whose patches lie otherwise: around the pole and at the equator. With a noise power that is not
    measured on a patch, of which each has another sample."""
    simulate("pole", ra=40, dec=90)
    for sky in ("zea", "pole"):
        configure(f"model-{sky}", sky, power="model")
        run(f"model-{sky}")
    a, halo, here = at_halos("model-zea", "zea", 10)
    b, turned, there = at_halos("model-pole", "pole", 8)
    same = [k for k in here if k in there]
    assert len(same) > 0.9 * len(here), (len(same), len(here))
    a, b = pick(a, [here[k] for k in same]), pick(b, [there[k] for k in same])
    # From the halo, in the frame of either field: how far the candidates are apart.
    da = np.linalg.norm(unit(a["ra"], a["dec"]) - unit(halo["ra"][same], halo["dec"][same]), axis=-1)
    db = np.linalg.norm(unit(b["ra"], b["dec"]) - unit(turned["ra"][same], turned["dec"][same]), axis=-1)
    compare("pole", a, b, np.degrees(np.abs(da - db)) * 60, 0.05, 0.06, 0.05)


def test_ranks():
    want = contents("run-zea/release.h5")
    for ranks in (2, 3):
        run(f"ranks-{ranks}", ranks=ranks, config="run-zea.yaml")
        got = contents(f"ranks-{ranks}/release.h5")
        assert got.keys() == want.keys() and all(got[k] == want[k] for k in want), f"{ranks} ranks"


# ---- bad input ----

def refused(name, key, sky="zea", code=1, **own):
    """One line names the key or file."""
    configure(name, sky, **own)
    text = run(name, code)
    lines = [line for line in text.splitlines() if key in line]
    assert len(lines) == 1, f"{name}: '{key}' in {len(lines)} lines of\n{text}"
    print(f"{name}: {lines[0]}")


def rewrite(out, change, bands=(220,)):
    """A copy of the field with `change(temperature, ivar)` of some bands."""
    os.makedirs(out)
    for g in GHZ:
        shutil.copy(f"zea/beam-{g}.txt", out)
        with fits.open(f"zea/field-000-{g}.fits") as hdus:
            if g in bands:
                for hdu in hdus:
                    for card in ("CHECKSUM", "DATASUM"):
                        hdu.header.remove(card, ignore_missing=True)
                change(hdus[0].data, hdus[1].data)
            hdus.writeto(f"{out}/field-000-{g}.fits")


def test_refusals():
    refused("lengths", "clusters: noise: 2 entries for 3 bands", noise=[2, 3])
    refused("no-beam", "clusters: beams: missing", beams=None)
    refused("edge", "clusters: edge: 17 arcmin", edge=17)
    refused("no-band", "clusters: maps: 2 entries for 3 bands", maps=["zea/field-*-95.fits", "zea/field-*-150.fits"])
    refused("no-map", "nowhere.fits: no such file", maps=["nowhere.fits"] * 3)
    refused("no-beam-file", "none.txt", beams=["none.txt"] * 3, code=1)
    for name, text in (("words", "a beam of 1.4 arcmin\n"), ("falling", "0 1\n10 0.9\n5 0.8\n"), ("short", "0 1\n3 0.9\n700 0\n"),
                       ("empty", "# nothing\n"), ("zero", "0 0\n2000 1\n")):
        with open(name + ".txt", "w") as f:
            f.write(text)
        refused("beam-" + name, name + ".txt", beams=[name + ".txt"] * 3, code=1)
    for name, factor in (("kelvin", 1e-6), ("micro", 1e6)):
        rewrite(name, lambda t, w: np.multiply(t, np.float32(factor), out=t))
        refused("run-" + name, name + "/field-000-220.fits", sky=name)
    rewrite("nothing", lambda t, w: t.fill(np.nan))
    refused("run-nothing", "nothing/field-000-220.fits", sky="nothing")
    with open("bad-discs.txt", "w") as f:
        f.write("# ra dec radius\n1.0 2.0 3.0\n1.0 95 3\n")
    refused("discs", "bad-discs.txt:3:", sources="bad-discs.txt")


def write_mask(path):
    """A CAR mask: nothing north of +0.6, and a disc of 6' is dark."""
    w = WCS(naxis=2)
    w.wcs.ctype, w.wcs.cdelt, w.wcs.crval, w.wcs.crpix = ["RA---CAR", "DEC--CAR"], [-0.02, 0.02], [0, 0], [120.5, 120.5]
    y, x = np.mgrid[:240, :240]
    ra, dec = w.wcs_pix2world(x, y, 0)
    ra = (ra + 180) % 360 - 180
    keep = (dec < 0.6) & (np.hypot(ra + 0.5, dec + 0.5) > 0.1)
    fits.writeto(path, keep.astype("f4"), w.to_header())


def test_coverage():
    """One band ends early and has a sea of NaN and negative weights, which are no data; a mask in another projection
    hides the north."""
    def change(temperature, ivar):
        temperature[:, :120] = np.nan  # east of 0.6 deg
        ivar[:80, 300:] = -1  # west of -0.9 and south of -0.93 deg
        temperature[60:75, 200:215] = np.nan
    rewrite("part", change)
    write_mask("mask.fits")
    configure("run-part", "part", mask="mask.fits")
    run("run-part")
    whole, got, area = table("run-zea"), table("run-part"), table("run-part", "area")
    ra = (got["ra"] + 180) % 360 - 180
    assert (got["dec"] < 0.6).all() and (ra < 0.6).all() and len(ra) > 5
    assert (np.hypot(ra + 0.5, got["dec"] + 0.5) > 0.1).all()
    assert not ((ra < -0.92) & (got["dec"] < -0.95)).any()
    # Away from borders, of which the window keeps 12', and from sources, of which other noise lets other ones be found.
    east, north = (whole["ra"] + 180) % 360 - 180, whole["dec"]
    here = (abs(east) < 1.1) & (abs(north) < 1.1) & (east < 0.2) & (north < 0.2) & (whole["snr"] > 5)
    here &= (np.hypot(east + 0.5, north + 0.5) > 0.5) & (np.hypot(east + 0.13, north + 1.03) > 0.5)
    here &= ((east > -0.6) | (north > -0.6)) & (whole["flags"] & 2 == 0)
    at, distance = nearest(whole["ra"][here], whole["dec"][here], got)
    print(f"coverage: {len(ra)} candidates, {here.sum()} of S/N 5 apart {distance.round(2)}, area {np.nansum(area['area']):.2f} deg2 "
          f"instead of {np.nansum(table('run-zea', 'area')['area']):.2f}, flags {sorted(set(area['flags']))}")
    assert here.sum() > 2 and (distance < 0.5).all()
    assert {1, 2} & set(area["flags"]) and (area["flags"] & 2).any()
    assert 0.15 < np.nansum(area["area"]) / np.nansum(table("run-zea", "area")["area"]) < 0.6
    with h5py.File("run-part/release.h5") as f:
        assert len(f["failures/patch"]) == 0
    assert np.isfinite(got["snr"]).all() and np.isfinite(got["y0"]).all()


def test_all_masked():
    """Nothing to look at, or no weight above 0 in one band: a complete run of no candidates and no area."""
    with open("everywhere.txt", "w") as f:
        f.write("0 0 300\n")
    configure("run-dark", "zea", sources="everywhere.txt")
    rewrite("negative", lambda t, w: np.negative(w, out=w))
    configure("run-negative", "negative")
    for name in ("run-dark", "run-negative"):
        run(name)
        area = table(name, "area")
        assert len(table(name)["ra"]) == 0 and (area["flags"] & 1).all() and np.nansum(area["area"]) == 0, name


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        test_projections()
        test_mixed()
        test_pole()
        test_ranks()
        test_refusals()
        test_coverage()
        test_all_masked()
        os.chdir("/")


if __name__ == "__main__":
    main()
