"""The checks of tools/check_mm_simulator.py: rows of value, expectation, error."""
import glob
import os

import h5py
import numpy as np
import pyccl
from astropy.io import fits
from colossus.cosmology import cosmology as colossus_cosmology
from colossus.halo import mass_defs
from colossus.lss import mass_function

import evaluate_common as common
from evaluate_common import SHARED, say
from sz_formulas import ARCMIN, TCMB, arnaud, arnaud_transform, line_of_sight, sz

H, OM, OB, S8, NS = 0.71, 0.264, 0.044, 0.8, 0.96
SIDE, PIXEL, GHZ = 1200, 0.5 * ARCMIN, (95, 150, 220)
FWHM, NOISE = (1.7, 1.2, 1.0), (2.8, 2.6, 6.6)
KNEE, SLOPE = (1200, 2200, 2300), (3, 4, 4)
AREA = (SIDE * PIXEL) ** 2                 # of a field, sr
DEG2 = AREA * (180 / np.pi) ** 2
SPECTRA = os.path.join(SHARED, "data/mm/spectra/")
COUNTS = os.path.join(SHARED, "data/mm/source_counts/ns_148GHz_modC2Ex.dat")
GEORGE = {"poisson": (1.41, 9.42, 68.1), "clustered": (0.20, 3.37, 50.5), "radio": (8.04, 1.01, 0.34), "ksz": 2.96}
LIMIT = 4                                  # errors


def work_folder():
    return common.work_folder("mm-check-")


# ---- fields ----

OFF = dict(tsz=0, cmb=0, dust=0, radio=0, noise_factor=0, velocity=0, depth=0, beams="false", mass_min="1.0e15")
ROUND = dict(scatter=0, ellipticity=0, substructure=0)
HEAVY = dict(OFF, tsz=1, mass_min="3.0e14", **ROUND)
SETS = {  # name: fields, fields when quick, keys
    "truth": (12, 4, dict(truth=True)),
    "cmb": (8, 2, dict(OFF, cmb=1)),
    "moving": (2, 1, dict(OFF, cmb=1, velocity=300)),
    "gas": (3, 1, dict(OFF, tsz=1, velocity=300, mass_min="1.0e13", **ROUND)),
    "heavy": (4, 2, HEAVY),
    "elliptic": (4, 2, dict(HEAVY, ellipticity=0.1)),
    "merging": (4, 2, dict(HEAVY, substructure=1)),
    "some": (4, 2, dict(HEAVY, substructure=0.2)),
    "battaglia": (2, 1, dict(HEAVY, gas="battaglia")),
    "dust": (2, 1, dict(OFF, dust=1)),
    "beams": (1, 1, dict(OFF, dust=1, beams="true")),
    "radio": (4, 1, dict(OFF, radio=1)),
    "noise": (2, 1, dict(OFF, noise_factor=1, depth=0.1, knee=list(KNEE), slope=list(SLOPE))),
    "all": (2, 1, dict(depth=0)),
}


class Sky:
    """A set of fields: maps by band, halos, sources."""

    def __init__(self, folder, name, seed, quick):
        fields, few, keys = SETS[name]
        self.n = few if quick else fields
        keys = dict(keys)
        truth = ["--truth-only"] if keys.pop("truth", False) else []
        self.folder = os.path.join(folder, name)
        config = self.folder + ".yaml"
        with open(config, "w") as f:
            f.write(f"preset: mm\nseed: {seed}\nfields: {self.n}\n" + "".join(f"{k}: {v}\n" for k, v in keys.items()))
        common.run("simulate", config, "--output", self.folder, "--quiet", *truth)
        with h5py.File(self.folder + "/truth.h5") as f:
            self.halo = {k: v[:] for k, v in f["halos"].items()}
            self.source = {k: v[:] for k, v in f["sources"].items()}

    def maps(self, ghz, plane=0):
        """[fields][side][side]"""
        return np.array([fits.getdata(path, plane) for path in sorted(glob.glob(f"{self.folder}/field-???-{ghz}.fits"))], float)

    def halos(self, field):
        keep = self.halo["field"] == field
        return {k: v[keep] for k, v in self.halo.items()}


class Table:
    """Rows, and what the figure shows."""

    def __init__(self):
        self.rows, self.plot = [], {}

    def row(self, name, value, expected, error, source, demanded=True):
        pull = (value - expected) / error
        self.rows.append({"name": name, "value": float(value), "expected": float(expected), "error": float(error),
                          "pull": float(pull), "source": source, "demanded": demanded,
                          "ok": bool(abs(pull) <= LIMIT) if demanded else None})
        verdict = {True: "ok", False: "FAILS", None: "-"}[self.rows[-1]["ok"]]
        say(f"{name:54s} {value:10.4g} {expected:10.4g} +- {error:8.2g} {pull:+6.1f}  {verdict:5s} {source}")


# ---- spectra on the periodic plane ----

def multipoles(side=SIDE):
    k = np.fft.fftfreq(side, PIXEL) * 2 * np.pi
    return np.hypot(k[:, None], k[None, :side // 2 + 1])


def weights(side=SIDE):
    """Times that a mode of the half plane stands for itself and its conjugate."""
    w = np.full((side, side // 2 + 1), 2.0)
    w[:, 0] = w[:, -1] = 1
    return w


def transform(maps):
    return np.fft.rfft2(maps) * PIXEL / SIDE       # |.|^2 is C_l


def pixel_window():
    f = np.sinc(np.fft.fftfreq(SIDE))
    return f[:, None] * f[None, :SIDE // 2 + 1]


L, W = multipoles(), weights()


def ratio(power, expected, low, high):
    """Mean of power over expectation in a ring, over fields [n][side][side/2+1]; its error: of Gaussian modes, or the
    scatter of the fields if that is more."""
    ring = (L >= low) & (L < high)
    w, each = W[ring], (power[:, ring] / expected[ring])
    means = (each * w).sum(1) / w.sum()
    gauss = np.sqrt(2 / (w.sum() * len(means)))
    scatter = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 3 else 0
    return means.mean(), max(gauss, scatter)


def d_l(cl, ell):
    return cl * ell * (ell + 1) / (2 * np.pi)


def c_l(d, ell):
    return d * 2 * np.pi / np.maximum(ell * (ell + 1), 1)


def camb():
    t = np.loadtxt(SPECTRA + "camb_planck2018_lensed.txt")
    return np.interp(L, t[:, 0], t[:, 1])


def kelvin_per_jansky(ghz):
    """uK sr / mJy"""
    x = 6.62607015e-34 * ghz * 1e9 / (1.380649e-23 * TCMB)
    slope = 2 * 1.380649e-23 ** 3 * TCMB ** 2 / (6.62607015e-34 * 299792458) ** 2 * x ** 4 * np.exp(x) / np.expm1(x) ** 2
    return 1e6 * 1e-29 / slope


# ---- Arnaud 2010 and Battaglia 2012, written anew ----

KEV_MPC = 6.6524587e-25 / 510.99895 * 3.0856775814913673e24     # sigma_T / (m_e c^2), cm^3 / keV / Mpc


def e_of(z):
    return np.sqrt(OM * (1 + z) ** 3 + 1 - OM)


def radius(mass, z, delta, c):
    """Proper Mpc, of an overdensity over the critical density."""
    return np.cbrt(3 * mass / (4 * np.pi * delta * 2.77536627e11 * H ** 2 * e_of(z) ** 2))


def angular(z, c):
    return c.angularDiameterDistance(z) / H


def arnaud_y(m500, z, c):
    """y0, theta500 in rad."""
    h70 = H / 0.7
    m = m500 * h70 / 3e14
    pressure = 1.65e-3 * e_of(z) ** (8 / 3) * m ** (2 / 3 + 0.12) * h70 ** 2 * 8.403 * h70 ** -1.5
    r = radius(m500, z, 500, c)
    return KEV_MPC * pressure * r * line_of_sight(arnaud, 5, 1e-9)[0], r / angular(z, c)


def battaglia_y(m200, z, c):
    """y at theta / theta200, and theta200 in rad: y(x), theta."""
    m, a = m200 / 1e14, 1 + z
    xc, beta = 0.497 * m ** -0.00865 * a ** 0.731, 4.35 * m ** 0.0393 * a ** 0.415
    r = radius(m200, z, 200, c)
    gm2 = 6.6743e-8 * 1.98841e33 ** 2 / 3.0856775814913673e24 ** 4 / 1.602176634e-9      # keV / cm^3
    p200 = gm2 * m200 * 200 * 2.77536627e11 * H ** 2 * e_of(z) ** 2 * OB / OM / (2 * r)
    p0 = 18.1 * m ** 0.154 * a ** -0.758
    return (lambda x: KEV_MPC * r * p200 * p0 / 1.932 *
            line_of_sight(lambda t: (t / xc) ** -0.3 * (1 + t / xc) ** -beta, 4, x)), r / angular(z, c)


# ---- halos ----

def colossus():
    return colossus_cosmology.setCosmology("sky", flat=True, H0=100 * H, Om0=OM, Ob0=OB, sigma8=S8, ns=NS, Tcmb0=TCMB,
                                           relspecies=False)


def ccl():
    return pyccl.Cosmology(Omega_c=OM - OB, Omega_b=OB, h=H, sigma8=S8, n_s=NS, T_CMB=TCMB, Neff=0, Omega_g=0,
                           transfer_function="eisenstein_hu", matter_power_spectrum="linear")


def expected_counts(density, c, zs, masses):
    """Of a steradian; density(m, z) in dn / dln m / Mpc^3."""
    z = np.linspace(*zs, 25)
    z, dz = 0.5 * (z[1:] + z[:-1]), z[1] - z[0]
    ln = np.linspace(*np.log(masses), 41)
    m, step = np.exp(0.5 * (ln[1:] + ln[:-1])), ln[1] - ln[0]
    total = 0
    for one in z:
        distance = c.comovingDistance(0, one) / H
        total += density(m, one).sum() * step * distance ** 2 * 299792.458 / (100 * H) / e_of(one) * dz
    return total


def check_counts(t, sky, c):
    cosmo = ccl()
    tinker = pyccl.halos.MassFuncTinker08(mass_def="200m", mass_def_strict=False)
    codes = {"colossus": lambda m, z: mass_function.massFunction(m * H, z, mdef="200m", model="tinker08",
                                                                 q_out="dndlnM") * H ** 3,
             "pyccl": lambda m, z: tinker(cosmo, m, 1 / (1 + z)) / np.log(10)}
    h, n = sky.halo, sky.n
    shown = []
    for zs in ((0.02, 0.2), (0.2, 0.4), (0.4, 0.7), (0.7, 1.0), (1.0, 1.5), (1.5, 3.0)):
        for masses in ((1e13, 3e13), (3e13, 1e14), (1e14, 3e14), (3e14, 5e15)):
            keep = (h["z"] >= zs[0]) & (h["z"] < zs[1]) & (h["m200m"] >= masses[0]) & (h["m200m"] < masses[1])
            per = np.bincount(h["field"][keep], minlength=n)
            want = {k: expected_counts(f, c, zs, masses) * AREA * n for k, f in codes.items()}
            if want["colossus"] < 10:
                continue
            # Bins of redshift cut shells of 150 Mpc, in which the counts are those of the middle: 1%.
            error = np.hypot(max(np.sqrt(want["colossus"]), per.std(ddof=1) * np.sqrt(n)), 0.01 * want["colossus"])
            shown.append((zs, masses, keep.sum() / want["colossus"], error / want["colossus"],
                          want["pyccl"] / want["colossus"]))
            t.row(f"halos z {zs[0]}-{zs[1]}, M200m {masses[0]:.0e}-{masses[1]:.0e}", keep.sum(), want["colossus"], error,
                  "Tinker 2008 by colossus")
    t.plot["counts"] = shown
    worst = max(abs(s[4] - 1) for s in shown)
    t.row("pyccl's counts over colossus', worst bin", 1 + worst, 1, 0.01, "two codes; demanded within 4%")
    keep = (h["mvir"] > 2e14) & (h["z"] > 0.25)
    rate = np.bincount(h["field"][keep], minlength=n) / DEG2
    t.row("Mvir > 2e14, z > 0.25 per deg^2", rate.mean(), 3.4, np.hypot(0.05, rate.std(ddof=1) / np.sqrt(n)),
          "integrated Tinker 2008; Sehgal 2010 has 2.95")


def check_masses(t, sky, c):
    h = sky.halo
    pick = np.linspace(0, len(h["z"]) - 1, 300).astype(int)
    value = {}
    for i in pick:
        z, m = h["z"][i], h["m500"][i] * H
        m200, _, c200 = mass_defs.changeMassDefinition(m, 3.0, z, "500c", "200c")
        for _ in range(8):
            c200 = 5.71 * (m200 / 2e12) ** -0.084 * (1 + z) ** -0.47
            back = mass_defs.changeMassDefinition(m200, c200, z, "200c", "500c")[0]
            m200 *= m / back
        for name, kind in (("m200m", "200m"), ("mvir", "vir")):
            out = mass_defs.changeMassDefinition(m200, c200, z, "200c", kind)[0] / H
            value.setdefault(name, []).append(h[name][i] / out)
    for name, v in value.items():
        t.row(f"{name} of a halo over colossus', mean of 300", np.mean(v), 1, 0.001, "NFW, Duffy 2008, by colossus")
        t.row(f"{name}, worst of 300", 1 + np.abs(np.array(v) - 1).max(), 1, 0.003, "the same")


def check_clustering(t, sky, c):
    """Angular power of the halos of a slice less shot noise against b^2 times linear theory: no less is demanded."""
    cosmo, h = ccl(), sky.halo
    tinker, bias = (pyccl.halos.MassFuncTinker08(mass_def="200m", mass_def_strict=False),
                    pyccl.halos.HaloBiasTinker10(mass_def="200m", mass_def_strict=False))
    t.plot["clustering"] = []
    for low, high in ((0.3, 0.5), (0.8, 1.1)):
        keep = (h["z"] >= low) & (h["z"] < high)
        power = []
        for field in range(sky.n):
            k = keep & (h["field"] == field)
            grid = np.histogram2d(h["y"][k] + 0.5, h["x"][k] + 0.5, bins=SIDE // 4, range=[[0, SIDE]] * 2)[0]
            delta = grid / grid.mean() - 1
            power.append(np.abs(np.fft.rfft2(delta) * 4 * PIXEL / (SIDE // 4)) ** 2 - AREA / k.sum())
        z, ln = np.linspace(low, high, 21), np.linspace(np.log(1e13), np.log(5e15), 120)
        m, n, b = np.exp(ln), [], []
        for one in z:
            f = tinker(cosmo, m, 1 / (1 + one))
            n.append(f.sum() * (c.comovingDistance(0, one) / H) ** 2 / e_of(one))
            b.append((f * bias(cosmo, m, 1 / (1 + one))).sum() / f.sum())
        tracer = pyccl.NumberCountsTracer(cosmo, has_rsd=False, dndz=(z, np.array(n)), bias=(z, np.array(b)))
        k = np.fft.fftfreq(SIDE // 4, 4 * PIXEL) * 2 * np.pi
        ell, w = np.hypot(k[:, None], k[None, :SIDE // 8 + 1]), weights(SIDE // 4)
        for one, other in ((80, 200), (200, 400)):
            ring = (ell >= one) & (ell < other)
            grid = np.linspace(one, other, 20)
            want = np.interp(ell[ring], grid, pyccl.angular_cl(cosmo, tracer, tracer, grid))
            means = np.array([(p[ring] / want * w[ring]).sum() / w[ring].sum() for p in power])
            shot = 1 + AREA * sky.n / keep.sum() / want.mean()
            error = max(np.sqrt(2 / w[ring].sum() / sky.n) * shot, means.std(ddof=1) / np.sqrt(sky.n))
            t.plot["clustering"].append((low, high, 0.5 * (one + other), means.mean(), error))
            # The lognormal density has more: of halos of bias b, exp(b^2 xi) - 1 instead of b^2 xi.
            t.row(f"clustering z {low}-{high}, l {one}-{other}, over b^2 C_l", means.mean(), 1, error,
                  "linear theory, Tinker 2010 bias, pyccl", False)
            t.row("  at least linear", min(means.mean(), 1), 1, np.hypot(error, 0.03), "the same")


# ---- gas ----

def check_gas(t, heavy, c):
    a, b = arnaud_y(2e14, 0.7, c), arnaud_y(2e14, 0.3, c)
    for name, (y0, theta), want in (("z 0.7", a, (6.43e-5, 1.62)), ("z 0.3", b, (4.16e-5, 3.03))):
        t.row(f"y0 of the formula, M500 2e14, {name}", y0, want[0], 0.005e-5, "anchor")
        t.row(f"theta500 of the formula ['], M500 2e14, {name}", theta / ARCMIN, want[1], 0.005, "anchor")
    h = heavy.halo
    y0, theta = np.array([arnaud_y(m, z, c) for m, z in zip(h["m500"], h["z"])]).T
    t.row("y0 of halos without scatter over the formula", np.mean(h["y0"] / y0), 1, 1e-3, "Arnaud 2010 by quadrature")
    t.row("theta500 of halos over the formula", np.mean(h["theta500"] * ARCMIN / theta), 1, 1e-3, "Arnaud 2010 by quadrature")


def stamps(sky, maps, reach, limit=80):
    """Halos with no other within 2 reach (in theta500): halo index, offsets dx, dy [pixels], y there."""
    count = 0
    for field in range(sky.n):
        h = sky.halos(field)
        for i in range(len(h["z"])):
            half = reach * h["theta500"][i] * 2
            dx = (h["x"] - h["x"][i] + SIDE / 2) % SIDE - SIDE / 2
            dy = (h["y"] - h["y"][i] + SIDE / 2) % SIDE - SIDE / 2
            if ((np.hypot(dx, dy) < half + 10 * h["theta500"]).sum() > 1) or not 1.5 < h["theta500"][i] < 5:
                continue
            grid = np.arange(-int(half) - 1, int(half) + 2)
            cx, cy = int(round(h["x"][i])), int(round(h["y"][i]))
            rows, columns = np.ix_((grid + cy) % SIDE, (grid + cx) % SIDE)
            u, v = np.meshgrid(grid + cx - h["x"][i], grid + cy - h["y"][i])
            yield {k: x[i] for k, x in h.items()}, u, v, maps[field][rows, columns]
            count += 1
            if count == limit:
                return


def y_map(sky, ghz=150):
    return sky.maps(ghz) / (1e6 * TCMB * sz(ghz))


def pixel_mean(f, u, v):
    """Of a profile f(pixels from the centre) over pixels, 6 x 6 points."""
    g = (np.arange(6) + 0.5) / 6 - 0.5
    return np.mean([f(np.hypot(u + a, v + b)) for a in g for b in g], axis=0)


def check_profiles(t, sky, gas, c):
    rings = ((0, 0.5), (0.5, 1), (1, 2), (2, 4))
    got = [[] for _ in rings]
    x = np.linspace(0, 1, 400) ** 2 * 5
    table = line_of_sight(arnaud, 5, np.maximum(x, 1e-9))
    for h, u, v, y in stamps(sky, y_map(sky), 4 if gas == "arnaud" else 3):
        theta = h["theta500"] * 2
        if gas == "arnaud":
            y0, t500 = arnaud_y(h["m500"], h["z"], c)
            scale, here = t500 / PIXEL, y0 * table / table[0]
        else:
            m200 = h["m500"] * H
            m = mass_of_200(m200, h["z"]) / H
            f, t200 = battaglia_y(m, h["z"], c)
            xs = np.linspace(0, 1, 300) ** 2 * 4
            scale, here, x = t200 / PIXEL, f(np.maximum(xs, 1e-9)), xs
        model = pixel_mean(lambda r: np.interp(np.sqrt(r / scale), np.sqrt(x), here, right=0), u, v)
        r = np.hypot(u, v) / theta
        for k, (low, high) in enumerate(rings):
            inside = (r >= low) & (r < high)
            if inside.any() and model[inside].sum() > 0:
                got[k].append(y[inside].sum() / model[inside].sum())
    for (low, high), g in zip(rings, got):
        t.row(f"stacked y, {gas}, {low}-{high} theta500 ({len(g)} clusters)", np.mean(g), 1,
              0.0025 if gas == "arnaud" else 0.005, "profile by quadrature, pixel means")
        t.plot.setdefault("profile", []).append((gas, 0.5 * (low + high), np.mean(g), np.std(g)))


def mass_of_200(m500, z):
    """M200c of M500c (Msun / h) by colossus, Duffy's concentration."""
    m200 = mass_defs.changeMassDefinition(m500, 3.0, z, "500c", "200c")[0]
    for _ in range(8):
        c200 = 5.71 * (m200 / 2e12) ** -0.084 * (1 + z) ** -0.47
        m200 *= m500 / mass_defs.changeMassDefinition(m200, c200, z, "200c", "500c")[0]
    return m200


def check_sz_power(t, sky, truth, moving, c):
    """tSZ of the map against the halos it has, and theirs against the counts; kSZ."""
    k, f = arnaud_transform()
    a, b = transform(sky.maps(95)), transform(sky.maps(220))
    window = pixel_window()
    y = (a - b) / (1e6 * TCMB * (sz(95) - sz(220))) / window
    still = b / window - 1e6 * TCMB * sz(220) * y
    h = sky.halo
    grid = np.array([600, 1000, 1500, 2000, 3000, 4000, 6000, 8000.])
    unit = (1e6 * TCMB * sz(150)) ** 2
    y0, theta = h["y0"], h["theta500"] * ARCMIN
    each = lambda l, y0, theta: (y0 * theta ** 2 * np.interp(l * theta, k, f)) ** 2
    listed = np.array([each(l, y0, theta).sum() for l in grid]) / (AREA * sky.n)
    total = y[:, 0, 0].real.sum() * SIDE * PIXEL / (AREA * sky.n)
    t.row("mean y over that of the halos", total, (y0 * theta ** 2).sum() * f[0] / (AREA * sky.n), 2e-3 * total,
          "Arnaud 2010, all halos > 1e13")
    # The same halos as points in pixels, which takes the pixel window once more, times their transforms.
    model = transform_of_halos(sky.halos(0), k, f)
    for low, high in ((300, 1000), (1000, 2000), (2500, 3500), (4000, 6000)):
        ring = (L >= low) & (L < high)
        value = (y[0] * model.conj()).real[ring].sum() / (np.abs(model) ** 2 * window)[ring].sum()
        t.row(f"tSZ modes of the map over its halos', l {low}-{high}", value, 1, 0.005, "sum of Arnaud's transforms")
    # The formula: Poisson counts of Tinker 2008.
    ln, z = np.linspace(np.log(1e13), np.log(5e15), 121), np.linspace(0.02, 3, 75)
    m, want, fourth = np.exp(ln), 0, 0
    for one in z:
        n = mass_function.massFunction(m * H, one, mdef="200m", model="tinker08", q_out="dndlnM") * H ** 3
        volume = (c.comovingDistance(0, one) / H) ** 2 * 299792.458 / (100 * H) / e_of(one)
        m500 = np.array([m500_of_200m(q, one) for q in m[::20]])
        m500 = np.exp(np.interp(ln, ln[::20], np.log(m500)))
        yy, tt = np.array([arnaud_fast(q, one, c) for q in m500]).T
        p = each(3000, yy, tt)
        want += (n * p).sum() * (ln[1] - ln[0]) * volume * (z[1] - z[0])
        fourth += (n * p ** 2).sum() * (ln[1] - ln[0]) * volume * (z[1] - z[0])
    d = d_l(unit, 3000)
    t.row("tSZ D_3000 at 150 GHz of the halos [uK^2]", d * listed[4], d * want, d * np.sqrt(fourth / (AREA * sky.n)),
          "Tinker 2008 by colossus, Arnaud")
    t.row("tSZ D_3000 [uK^2] against the Battaglia template", d * want, 5.5955, 0.1, "cl_tsz_150_bat.dat", False)
    t.row("tSZ D_3000 [uK^2] against the measured", d * want, 3.24, 0.6, "George 2015: Arnaud without mass bias has more", False)
    p = np.abs(still) ** 2
    ring = (L > 2500) & (L < 3500)
    halos = np.mean([(q[ring] * W[ring] * L[ring] * (L[ring] + 1)).sum() / W[ring].sum() for q in p]) / (2 * np.pi)
    diff = transform(moving[0].maps(150)) - transform(moving[1].maps(150)[:moving[0].n])
    q = np.abs(diff) ** 2
    diffuse = np.mean([(s[ring] * W[ring] * L[ring] * (L[ring] + 1)).sum() / W[ring].sum() for s in q]) / (2 * np.pi)
    error = np.sqrt(2 / W[ring].sum()) * np.hypot(halos / np.sqrt(sky.n), diffuse / np.sqrt(moving[0].n))
    t.row("kSZ D_3000 [uK^2], halos and diffuse", halos + diffuse, GEORGE["ksz"], np.hypot(error, 0.03), "George 2015, total")
    t.plot["sz"] = (grid, d_l(listed * unit, grid))
    t.plot["ksz"] = [(0.5 * (x + z), d_l(ratio(p, np.ones_like(L), x, z)[0] + ratio(q, np.ones_like(L), x, z)[0], 0.5 * (x + z)))
                     for x, z in ((500, 1000), (1000, 2000), (2000, 3000), (3000, 4000), (4000, 6000), (6000, 8000))]


def transform_of_halos(h, k, f):
    """Modes of one field's halos, in groups of nearly one theta500."""
    theta, total = h["theta500"] * ARCMIN, 0
    group = np.floor(np.log(theta / theta.min()) / 0.1).astype(int)
    x, y = np.round(h["x"]).astype(int) % SIDE, np.round(h["y"]).astype(int) % SIDE
    for g in np.unique(group):
        one = group == g
        flux = (h["y0"] * theta ** 2)[one]
        points = np.zeros((SIDE, SIDE))
        np.add.at(points, (y[one], x[one]), flux)
        total = total + np.fft.rfft2(points) * np.interp(L * np.average(theta[one], weights=flux), k, f)
    return total / (SIDE * PIXEL)


def m500_of_200m(m, z):
    """M500c of M200m, Msun: by M200c with Duffy's concentration."""
    m200 = m * H
    for _ in range(8):
        c200 = 5.71 * (m200 / 2e12) ** -0.084 * (1 + z) ** -0.47
        m200 *= m * H / mass_defs.changeMassDefinition(m200, c200, z, "200c", "200m")[0]
    return mass_defs.changeMassDefinition(m200, c200, z, "200c", "500c")[0] / H


CENTRE = line_of_sight(arnaud, 5, 1e-9)[0]


def arnaud_fast(m500, z, c):
    h70 = H / 0.7
    m = m500 * h70 / 3e14
    pressure = 1.65e-3 * e_of(z) ** (8 / 3) * m ** (2 / 3 + 0.12) * h70 ** 2 * 8.403 * h70 ** -1.5
    r = radius(m500, z, 500, c)
    return KEV_MPC * pressure * r * CENTRE, r / angular(z, c)


# ---- knobs ----

def check_knobs(t, truth, heavy, elliptic, merging, some, c):
    h = truth.halo
    pick = np.linspace(0, len(h["z"]) - 1, 20000).astype(int)
    y0 = np.array([arnaud_fast(h["m500"][i], h["z"][i], c)[0] for i in pick])
    boost = np.log(h["y0"][pick] / y0)
    t.row("scatter of ln y0 at fixed mass", boost.std(), 0.2, 0.2 / np.sqrt(2 * len(pick)), "the knob: 0.2")
    t.row("mean of it", boost.mean(), 0, 0.2 / np.sqrt(len(pick)), "lognormal about the formula")
    base = y_map(heavy)
    # Ellipticity: polarisation within 2 theta500; the response is that of one profile, sheared here.
    x = np.linspace(0, 1, 400) ** 2 * 5
    table = line_of_sight(arnaud, 5, np.maximum(x, 1e-9)) / CENTRE

    def polarisation(u, v, y, size):
        near = np.hypot(u, v) < 2 * size
        w = y * near
        return np.array([(w * (u * u - v * v)).sum(), (w * 2 * u * v).sum()]) / (w * (u * u + v * v)).sum()

    e, response = [], []
    for q, u, v, y in stamps(elliptic, y_map(elliptic), 4, 400):
        size = q["theta500"] * 2
        e.append(polarisation(u, v, y, size))
        if len(response) < 20:
            a, b = 0.1, 0.0
            s = 1 / (1 - a * a)
            f = lambda dx, dy: np.interp(np.sqrt(np.sqrt(s * ((1 + a * a) * (dx * dx + dy * dy) - 2 * a * (dx * dx - dy * dy))) / size),
                                         np.sqrt(x), table, right=0)
            response.append(polarisation(u, v, f(u, v), size)[0] / 0.1)
    e = np.array(e) / np.mean(response)
    t.row(f"rms of an ellipticity component ({len(e)} clusters)", np.sqrt((e ** 2).mean()), 0.1,
          np.hypot(0.1 / np.sqrt(4 * len(e)), 0.002), "the knob: 0.1")
    total = y_map(elliptic).sum() / base.sum()
    t.row("sum of y, elliptical over round", total, 1, 2e-4, "shapes keep the integral")
    # Substructure: the second clump moves the centroid by share x distance.
    other, shift = y_map(merging), []
    for field in range(heavy.n):
        difference = other[field] - base[field]
        part = type("Field", (), {"n": 1, "halos": lambda self, _, f=field: heavy.halos(f)})()
        for q, u, v, y in stamps(part, [difference], 4, 400):
            flux = q["y0"] * (2 * q["theta500"]) ** 2 * FLUX
            shift += [(y * u).sum() / flux / (2 * q["theta500"]), (y * v).sum() / flux / (2 * q["theta500"])]
    want = np.sqrt((0.25 ** 2 + 0.3 ** 2 / 12) * (0.65 ** 2 + 0.7 ** 2 / 12) / 2)
    t.row(f"rms shift of the centroid by a second clump [theta500] ({len(shift) // 2})", np.std(shift), want,
          want / np.sqrt(len(shift)), "share 0.1-0.4 at 0.3-1 theta500")
    t.row("sum of y, with clumps over without", other.sum() / base.sum(), 1, 1e-3, "clumps keep the integral")
    changed, number = 0, 0
    for field, (a, b) in enumerate(zip(y_map(some), base)):
        q = heavy.halos(field)
        i, j = np.round(q["y"]).astype(int) % SIDE, np.round(q["x"]).astype(int) % SIDE
        changed += (a[i, j] / b[i, j] < 0.98).sum()       # a clump takes at least a tenth of the flux
        number += len(i)
    t.row(f"fraction of clusters with a second clump ({number})", changed / number, 0.2, 0.4 / np.sqrt(number), "the knob: 0.2")


K0, F0 = arnaud_transform()
FLUX = F0[0]


# ---- sources ----

def check_sources(t, truth, radio):
    table = np.loadtxt(COUNTS)
    s, area = truth.source, DEG2 * truth.n
    clustered = s["cluster"] > 0
    flux = np.geomspace(1, 300, 40)
    t.plot["sources"] = (flux, [(s["flux"] > f).sum() / area for f in flux],
                         [integral(table, f, 1000) for f in flux], [(s["flux"] > f)[clustered].sum() / area for f in flux])
    for low in (1, 2, 6.4, 10, 50):
        want = integral(table, low, 1000)
        t.row(f"radio sources > {low} mJy per deg^2", (s["flux"] > low).sum() / area, want,
              np.hypot(np.sqrt(want / area), 0.05 * want), "Tucci 2011 C2Ex table; fit within 10%")
    h = truth.halo
    # Near a cluster are its own sources, those of other halos there, and by chance those outside halos.
    near = want = chance = number = 0
    for field in range(truth.n):
        all_, p = truth.halos(field), s["field"] == field
        heavy = all_["m500"] > 2e14
        reach = 2 * all_["theta500"][heavy][:, None]
        distance = lambda x, y: np.hypot(all_["x"][heavy][:, None] - x, all_["y"][heavy][:, None] - y)
        disc = np.pi * (reach / 120) ** 2
        near += (distance(s["x"][p], s["y"][p]) < reach).sum()
        want += (0.1 * all_["m500"] / 3e14 * (distance(all_["x"], all_["y"]) < reach)).sum() + \
            disc.sum() * (p & ~clustered).sum() / DEG2
        chance += disc.sum() * p.sum() / DEG2
        number += heavy.sum()
    t.row(f"radio sources within theta500 of {number} clusters > 2e14", near, want, np.sqrt(want), "0.1 per 3e14 Msun of halos, chance")
    t.row("excess of them over chance", near / chance, want / chance, np.sqrt(want) / chance, "the same")
    alpha = s["alpha"][~clustered]
    t.row("mean spectral index", alpha.mean(), -0.5, 0.3 / np.sqrt(len(alpha)), "the model")
    t.row("its scatter", alpha.std(), 0.3, 0.3 / np.sqrt(2 * len(alpha)), "the model")
    # Power: the list's sources, and the faint ones as Gaussian noise.
    faint = 0.099                       # the part below 1 mJy of Tucci's power below 6.4 mJy
    mine = radio.source
    for band, ghz in enumerate(GHZ):
        kelvin = kelvin_per_jansky(ghz)
        flux = mine["flux"] * (ghz / 150) ** mine["alpha"]
        rest = c_l(faint * GEORGE["radio"][band], 3000)
        expected = kelvin ** 2 * (flux ** 2).sum() / (AREA * radio.n) * window_of_points() + rest
        value, error = ratio(np.abs(transform(radio.maps(ghz))) ** 2, expected, 1500, 4500)
        t.row(f"radio power of the map over its sources', {ghz} GHz", value, 1, np.hypot(error, 0.01), "list and faint part")
        cut = mine["flux"] < 6.4
        d = d_l(kelvin ** 2 * (flux[cut] ** 2).sum() / (AREA * radio.n) + rest, 3000)
        # A few bright ones carry the sum.
        sample = kelvin ** 2 * np.sqrt((flux[cut] ** 4).sum()) / (AREA * radio.n)
        t.row(f"radio D_3000 below 6.4 mJy at {ghz} GHz [uK^2]", d, GEORGE["radio"][band],
              np.hypot(d_l(sample, 3000), 0.3 * GEORGE["radio"][band]), "George 2015 within 30%", False)


def window_of_points():
    """Mean power of points shared among the four pixels around them, aliases included."""
    f = (2 + np.cos(2 * np.pi * np.fft.fftfreq(SIDE))) / 3
    return f[:, None] * f[None, :SIDE // 2 + 1]


def integral(table, low, high):
    """Sources per deg^2 between two fluxes in mJy."""
    ln = np.linspace(np.log(low / 1e3), np.log(high / 1e3), 2000)
    y = np.exp(np.interp(ln, np.log(table[:, 0]), np.log(table[:, 1])) + ln)
    return np.sum(0.5 * (y[1:] + y[:-1])) * (ln[1] - ln[0]) * (np.pi / 180) ** 2


# ---- diffuse ----

def check_diffuse(t, cmb, dust, beams, noise):
    expected, modes = camb(), transform(cmb.maps(150))
    t.plot["cmb"] = []
    for low, high in ((60, 200), (200, 500), (500, 800), (800, 1200), (1200, 1800), (1800, 2500), (2500, 3500), (3500, 4500),
                      (4500, 6000)):
        value, error = ratio(np.abs(modes) ** 2, expected, low, high)
        t.plot["cmb"].append((0.5 * (low + high), value, error))
        # Above 4500 lensing by nonlinear structure matters, in which this file and the simulator's table differ.
        t.row(f"lensed CMB over CAMB, l {low}-{high}", value, 1, error, "camb_planck2018_lensed.txt", high <= 4500)
    george = np.loadtxt(SPECTRA + "george15_Dl_uK2_ascii.txt")
    for band, column in enumerate((1, 28, 46)):
        d = sum(np.interp(L, george[:, 0], george[:, column + k]) for k in (2, 3))
        power = np.abs(transform(dust.maps(GHZ[band]))) ** 2
        for low, high in ((1000, 2000), (2500, 3500), (6000, 9000)):
            value, error = ratio(power, c_l(d, L), low, high)
            t.row(f"dust at {GHZ[band]} GHz over George's, l {low}-{high}", value, 1, np.hypot(error, 0.03), "george15_Dl_uK2_ascii.txt")
    plain = transform(dust.maps(150)[:beams.n])
    for band, ghz in enumerate(GHZ):
        plain = transform(dust.maps(ghz)[:beams.n])
        b = np.real(transform(beams.maps(ghz)) / np.where(plain == 0, 1, plain))
        sigma = FWHM[band] * ARCMIN / np.sqrt(8 * np.log(2))
        for l in (3000, 8000):
            ring = np.abs(L - l) < 60
            t.row(f"beam at {ghz} GHz, l {l}", np.median(b[0][ring]), np.exp(-0.5 * l * (l + 1) * sigma ** 2), 2e-3, "Gaussian")
    for band, ghz in enumerate(GHZ):
        maps, ivar = noise.maps(ghz), noise.maps(ghz, 1)
        level = 0.5 / np.sqrt(ivar)
        depth = np.log(level / NOISE[band])
        t.row(f"rms of ln depth at {ghz} GHz", depth.std(), 0.1, 1e-3, "the knob: 0.1")
        power = np.abs(transform(maps)) ** 2 / np.mean(level ** 2, axis=(1, 2))[:, None, None] / ARCMIN ** 2
        curve = 1 + (KNEE[band] / np.maximum(L, 1)) ** SLOPE[band]
        for low, high in ((400, 1000), (1500, 2500), (3000, 4500), (6000, 12000)):
            value, error = ratio(power, curve, low, high)
            t.row(f"noise at {ghz} GHz over its law, l {low}-{high}", value, 1, np.hypot(error, 0.003), "n^2 (1 + (knee / l)^slope)")
        # Far above the knee the stated weights describe the pixels: by the difference of neighbours.
        rough = (maps[:, :, 1:] - maps[:, :, :-1]) / np.sqrt(1 / ivar[:, :, 1:] + 1 / ivar[:, :, :-1])
        t.row(f"difference of neighbouring pixels over ivar's, {ghz} GHz", rough.std(), 1, 3 / np.sqrt(rough.size) + 2e-3, "ivar")


def check_total(t, sky):
    """All components through an apodised window, against the sum of what goes in and the tSZ of the halos drawn."""
    edge = 0.5 - 0.5 * np.cos(np.pi * np.clip((np.arange(SIDE) + 0.5) / 120, 0, 1))
    taper = edge * edge[::-1]
    window = taper[:, None] * taper[None]
    k, f = K0, F0
    h = sky.halo
    theta = h["theta500"] * ARCMIN
    grid = np.array([600, 1000, 1500, 2000, 3000, 4000, 6000, 8000.])
    s = sky.source
    # Few bright sources and clusters carry part of the power: as the window weighs them where they are.
    seen = lambda q: (window ** 2)[np.round(q["y"]).astype(int) % SIDE, np.round(q["x"]).astype(int) % SIDE] / np.mean(window ** 2)
    y = np.interp(L, grid, [(seen(h) * (h["y0"] * theta ** 2 * np.interp(l * theta, k, f)) ** 2).sum() / (AREA * sky.n)
                            for l in grid])
    for band, ghz in enumerate(GHZ):
        sigma = FWHM[band] * ARCMIN / np.sqrt(8 * np.log(2))
        kelvin = kelvin_per_jansky(ghz)
        flux = s["flux"] * (ghz / 150) ** s["alpha"]
        sky_power = camb() + c_l(GEORGE["ksz"] + GEORGE["poisson"][band] * (L / 3000) ** 2 +
                                 GEORGE["clustered"][band] * (L / 3000) ** 0.8, L) + y * (1e6 * TCMB * sz(ghz)) ** 2
        points = kelvin ** 2 * (seen(s) * flux ** 2).sum() / (AREA * sky.n) + c_l(0.099 * GEORGE["radio"][band], 3000)
        expected = (sky_power + points) * np.exp(-L * (L + 1) * sigma ** 2) + (NOISE[band] * ARCMIN) ** 2
        maps = sky.maps(ghz)
        power = np.abs(transform((maps - maps.mean(axis=(1, 2), keepdims=True)) * window)) ** 2 / np.mean(window ** 2)
        for low, high in ((1000, 2000), (2500, 3500), (4000, 6000)):
            value, error = ratio(power, expected, low, high)
            t.row(f"all at {ghz} GHz over the sum, apodised, l {low}-{high}", value, 1,
                  np.hypot(1.2 * error, 0.02), "sum of the components' laws")
        t.plot.setdefault("total", []).append([(l, *[d_l(np.average(p[np.abs(L - l) < 0.08 * l], weights=W[np.abs(L - l) < 0.08 * l]), l)
                                                     for p in (power.mean(0), expected)]) for l in np.geomspace(300, 9000, 25)])


# ---- all ----

def figure(t, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullFormatter
    f, axes = plt.subplots(2, 3, figsize=(15, 8.5), constrained_layout=True)
    a = axes[0][0]
    for k, mass in enumerate(sorted({s[1] for s in t.plot["counts"]})):
        p = [s for s in t.plot["counts"] if s[1] == mass]
        a.errorbar([0.5 * sum(s[0]) * (1 + 0.02 * (k - 1.5)) for s in p], [s[2] for s in p], [s[3] for s in p], fmt="o", ms=4,
                   label=f"{mass[0]:.0e} - {mass[1]:.0e} Msun")
    a.plot([0.5 * sum(s[0]) for s in t.plot["counts"]], [s[4] for s in t.plot["counts"]], "k_", label="pyccl")
    a.set(xlabel="z", ylabel="halos / Tinker 2008 (colossus)", ylim=(0.7, 1.3), xscale="log")
    a = axes[0][1]
    for low in sorted({p[0] for p in t.plot["clustering"]}):
        p = [q for q in t.plot["clustering"] if q[0] == low]
        a.errorbar([q[2] for q in p], [q[3] for q in p], [q[4] for q in p], fmt="o-", label=f"halos, z {low}-{p[0][1]}")
    a.errorbar(*np.array(t.plot["cmb"]).T[:2], np.array(t.plot["cmb"]).T[2], fmt="ks-", ms=4, label="CMB over CAMB")
    a.set(xlabel="l", ylabel="power / expected", xscale="log", ylim=(0.8, 1.7))
    a = axes[0][2]
    for gas, style in (("arnaud", "o-"), ("battaglia", "s--")):
        p = [q for q in t.plot["profile"] if q[0] == gas]
        a.errorbar([q[1] for q in p], [q[2] for q in p], [q[3] for q in p], fmt=style, label=gas)
    a.set(xlabel="theta / theta500", ylabel="stacked y / formula", ylim=(0.97, 1.03))
    a = axes[1][0]
    flux, all_, want, inside = t.plot["sources"]
    a.loglog(flux, want, "k", label="Tucci C2Ex")
    a.loglog(flux, all_, "C0o", ms=4, label="simulated")
    a.loglog(flux, inside, "C1.", label="of them in halos")
    a.set(xlabel="mJy at 150 GHz", ylabel="N(> S) per deg^2")
    a = axes[1][1]
    a.loglog(*t.plot["sz"], "C0o-", label="tSZ of the halos, 150 GHz")
    g = np.loadtxt(SPECTRA + "george15_Dl_uK2_ascii.txt")
    b, k = np.loadtxt(SPECTRA + "cl_tsz_150_bat.dat"), np.loadtxt(SPECTRA + "cl_ksz_bat.dat")
    a.loglog(g[:, 0], g[:, 28 + 5], "C0:", label="George 2015")
    a.loglog(b[:, 0], b[:, 1], "C0--", label="Battaglia template")
    a.loglog(*np.array(t.plot["ksz"]).T, "C1o-", label="kSZ, all")
    a.loglog(g[:, 0], g[:, 28 + 4], "C1:", label="George 2015")
    a.set(xlabel="l", ylabel="D_l [uK^2]", xlim=(400, 9000), ylim=(0.8, 12))
    a = axes[1][2]
    for k, (p, ghz) in enumerate(zip(t.plot["total"], GHZ)):
        p = np.array(p).T
        a.loglog(p[0], p[1], f"C{k}o", ms=4, label=f"{ghz} GHz")
        a.loglog(p[0], p[2], f"C{k}-")
    a.set(xlabel="l", ylabel="D_l [uK^2], all components, beam and noise")
    for a in (axes[0][1], axes[1][1]):
        a.xaxis.set_minor_formatter(NullFormatter())
    for a in axes.flat:
        a.legend(fontsize=8)
    for a in axes[0]:
        a.axhline(1, color="0.7", lw=1)
    f.savefig(path, dpi=75)


def main(folder, seed, quick):
    os.makedirs(folder, exist_ok=True)
    c, t = colossus(), Table()
    make = lambda name: Sky(folder, name, seed, quick)
    say(f"{'':54s} {'value':>10s} {'expected':>10s}    {'error':>8s} {'pull':>6s}")
    truth, cmb = make("truth"), make("cmb")
    check_counts(t, truth, c)
    check_masses(t, truth, c)
    check_clustering(t, truth, c)
    heavy = make("heavy")
    check_gas(t, heavy, c)
    check_profiles(t, heavy, "arnaud", c)
    check_profiles(t, make("battaglia"), "battaglia", c)
    check_sz_power(t, make("gas"), truth, (make("moving"), cmb), c)
    check_knobs(t, truth, heavy, make("elliptic"), make("merging"), make("some"), c)
    check_sources(t, truth, make("radio"))
    check_diffuse(t, cmb, make("dust"), make("beams"), make("noise"))
    check_total(t, make("all"))
    failed = [r["name"] for r in t.rows if r["ok"] is False]
    say(f"{sum(r['ok'] is True for r in t.rows)} of {sum(r['demanded'] for r in t.rows)} rows hold" +
        "".join(f"\n  fails: {name}" for name in failed))
    common.record("mm_simulator", seed, t, {}, quick=quick)
    figure(t, os.path.join(common.ROOT, "tools/results/mm_simulator" + ("-quick" if quick else "") + ".png"))
    return 1 if failed else 0
