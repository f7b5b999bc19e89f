"""Lensing reconstructions against truth: correlations of every method with kappa, and the lensing amplitude.

Made by `tools/evaluate lensing`: sets of `skyquilt simulate` (preset cmb, --fixed) of seeds that trained nothing, boxes of 5 deg
on 128^2 pixels, periodic, white noise and a beam of 1'. The methods are EB and EE together (qe), the last quadratic estimate
of delensed maps (qen), the maximum a posteriori map (map, fewer boxes), the network (network), which refines qen, and at 1 uK arcmin, where
it was trained, a U-Net on Q and U alone (plain); beside them the analytic expectation of iterated EB. Errors are from resampling
boxes, in pairs for differences.

Amplitude: boxes of lensing power A = 0.8, 1.0, 1.2; of each half calibrate (mean and scatter of the powers of a method's map as
parabolas in A, correlations those of A = 1) and half are fitted, box by box, by a Gaussian likelihood.

Cosmology: the same skies as A = 1 with spectra of tools/cosmologies, so that differences have little scatter; estimators, inputs
and network stay those of the fiducial set. Half of the boxes say how powers depend on omch2, together with A from above;
the mean powers of the other half, of several truths, are fitted for both, with errors from resampling test and calibration.
Two cosmologies, sum m_nu of 0.06 and 0.30 eV, are told apart by the linear combination of powers that is best for it on the
first half, applied to the second; as many boxes as let qe separate them by 3 sigma let the network do so by 3 times the
ratio of their distances.
"""

import os
import shutil
import sys
import time

import h5py
import numpy as np
from scipy.optimize import least_squares
from scipy.stats import chi2 as chi2_distribution

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import evaluate_common as common

MODEL = os.path.join(common.ROOT, "tools", "models", "lensing.onnx")
PLAIN = os.path.join(common.ROOT, "tools", "models", "lensing-plain.onnx")
BINS = ((60, 150), (300, 500), (500, 800), (800, 1200), (1600, 2000))
ASKED = (0.988, 0.957, 0.904, 0.778, 0.424)
POWER_EDGES = np.array([60, 150, 250, 350, 500, 650, 800, 1000, 1200, 1500, 2000])
AMPLITUDES, PAD = (0.8, 1.0, 1.2), 16
COSMOLOGIES, OMCH2, OMCH2_STEP = ("omch2-low", "omch2-high", "mnu-0.30"), 0.12, 0.003
METHODS = ("qe", "qen", "network")
TRAINING_SEED_LIMIT = 20000


class Boxes:
    """One set: modes of truth and of every method."""

    def __init__(self, folder, model, name, seed, samples, maximum=0, plain=False, **keys):
        path = os.path.join(folder, name)
        with open(path + ".yaml", "w") as out:
            out.write("preset: cmb\n" + "".join(f"{k}: {v}\n" for k, v in keys.items()))
        common.run("simulate", path + ".yaml", "--training", path + ".h5", "--fixed", "--samples", samples, "--seed", seed,
                   "--maximum", maximum, "--quiet")
        with h5py.File(path + ".h5") as f:
            maps = {"qe": f["first"][:], "qen": f["base"][:]}
            if maximum:
                maps["map"] = f["maximum"][:]
            truth, scale, theory = f["kappa"][:], f["scale"][:], f["theory"][:]
            image, condition, pixel = f["image"][:].astype(np.float32), f["condition"][:], f.attrs["pixel"]
            observed = f["observed"][:] if plain else None
        members = self.network(path, model, "members", image=padded(image), condition=condition)
        whiten = np.fft.rfft2(members.mean(1))
        maps["network"] = maps["qen"] + np.fft.irfft2(whiten * scale, s=truth.shape[1:])
        if plain:
            maps["plain"] = self.network(path, PLAIN, "kappa", image=padded(observed))[:, 0]
        self.epistemic = float((members.std(1, ddof=1) ** 2).mean() ** 0.5) if members.shape[1] > 1 else None
        step = np.radians(pixel / 60)
        side = truth.shape[-1]
        self.ell = 2 * np.pi * np.hypot(np.fft.fftfreq(side, step)[:, None], np.fft.rfftfreq(side, step)[None])
        self.count = np.full(self.ell.shape, 2.0)
        self.count[:, [0, -1]] = 1
        self.norm = step ** 2 / side ** 2
        self.truth, self.theory = np.fft.rfft2(truth), theory
        self.maps = {k: np.fft.rfft2(v) for k, v in maps.items()}
        self.example = {k: v[0] for k, v in maps.items()} | {"truth": truth[0]}
        os.remove(path + ".h5")

    @staticmethod
    def network(path, model, output, **inputs):
        """What a model says, without the padding."""
        given, out = path + "-in.h5", path + "-out.h5"
        with h5py.File(given, "w") as f:
            for name, values in inputs.items():
                f[name] = values
        common.run("model", "run", model, "--input", given, "--output", out)
        with h5py.File(out) as f:
            said = f[output][:, :, PAD:-PAD, PAD:-PAD]
        for p in (given, out):
            os.remove(p)
        return said

    def sums(self, a, b, edges):
        """Sum over the modes of bins of Re(a b*), [boxes][bins]."""
        product = (a * b.conj()).real * self.count
        return np.stack([product[:, (self.ell >= low) & (self.ell < high)].sum(1) for low, high in edges], 1)

    def powers(self, method):
        edges = list(zip(POWER_EDGES[:-1], POWER_EDGES[1:]))
        modes = np.array([self.count[(self.ell >= a) & (self.ell < b)].sum() for a, b in edges])
        m = self.maps[method]
        return self.sums(m, m, edges) * self.norm / modes

    def all_powers(self):
        return {m: self.powers(m) for m in METHODS}

    def correlations(self, method, n=None, edges=BINS):
        """[3][boxes][bins]: cross with the truth, own, the truth's power."""
        m = self.maps[method][:n]
        t = self.truth[:len(m)]
        return np.stack([self.sums(m, t, edges), self.sums(m, m, edges), self.sums(t, t, edges)])


def padded(image):
    return np.pad(image, ((0, 0), (0, 0), (PAD, PAD), (PAD, PAD)), mode="wrap")


def rho(sums):
    total = sums.sum(1)
    return total[0] / np.sqrt(total[1] * total[2])


def resampled(function, boxes, draws=300, seed=1):
    """Value and error of a function of box numbers."""
    rng = np.random.default_rng(seed)
    value = function(np.arange(boxes))
    return value, np.std([function(rng.integers(boxes, size=boxes)) for _ in range(draws)], axis=0)


def correlation_table(boxes):
    out, sums = {}, {k: boxes.correlations(k) for k in boxes.maps}
    for name, s in sums.items():
        value, error = resampled(lambda i, s=s: rho(s[:, i]), s.shape[1])
        out[name] = {"boxes": s.shape[1], "rho": value.tolist(), "error": error.tolist()}
    if "map" in sums:
        n = sums["map"].shape[1]
        value, error = resampled(lambda i: rho(sums["network"][:, i]) - rho(sums["map"][:, i]), n)
        out["network minus map, same boxes"] = {"boxes": n, "rho": value.tolist(), "error": error.tolist()}
    expected = []
    for low, high in BINS:
        l = np.arange(low, high)
        power, noise = boxes.theory[0, low:high], boxes.theory[3, low:high]
        expected.append(float(np.sqrt(np.average(power / (power + noise), weights=l * power))))
    out["iterated expectation"] = {"rho": expected}
    gap = lambda i: (rho(sums["network"][:, i]) ** 2 - rho(sums["qe"][:, i]) ** 2) / \
        (np.array(expected) ** 2 - rho(sums["qe"][:, i]) ** 2)
    value, error = resampled(gap, sums["network"].shape[1])
    out["gap closed"] = {"share": value.tolist(), "error": error.tolist()}
    for other in [o for o in ("qe", "qen", "plain") if o in sums]:
        gain, error = resampled(lambda i: rho(sums["network"][:, i]) - rho(sums[other][:, i]), sums["network"].shape[1])
        out["network minus " + other] = {"boxes": sums["network"].shape[1], "rho": gain.tolist(), "error": error.tolist()}
    return out


class Amplitude:
    """Mean and covariance of powers as functions of A, from boxes of three amplitudes."""

    def __init__(self, powers):
        fit = lambda values: np.polyfit(AMPLITUDES, values, 2)
        self.mean = fit(np.stack([p.mean(0) for p in powers]))
        self.spread = fit(np.stack([p.std(0, ddof=1) for p in powers]))
        self.correlation = np.corrcoef(powers[1].T)
        self.grid = np.linspace(0.3, 1.9, 641)
        at = lambda c: np.stack([self.grid ** 2, self.grid, np.ones_like(self.grid)], 1) @ c
        self.means, self.spreads = at(self.mean), np.maximum(at(self.spread), 1e-3 * at(self.spread).max())
        self.inverse = np.linalg.inv(self.correlation)

    def fit(self, powers):
        pull = (powers[:, None] - self.means) / self.spreads
        chi2 = np.einsum("bgi,ij,bgj->bg", pull, self.inverse, pull) + 2 * np.log(self.spreads).sum(1)
        k = np.clip(chi2.argmin(1), 1, len(self.grid) - 2)
        rows = np.arange(len(k))
        left, here, right = chi2[rows, k - 1], chi2[rows, k], chi2[rows, k + 1]
        return self.grid[k] + 0.5 * (left - right) / np.maximum(left - 2 * here + right, 1e-9) * (self.grid[1] - self.grid[0])


def amplitude_table(sets):
    """Fits of the second half of each set of powers; the ratio of scatters by a paired bootstrap."""
    out, fits, number = {}, {}, min(len(s["qe"]) for s in sets)
    half = number // 2
    for method in METHODS:
        powers = [s[method][:number] for s in sets]
        model = Amplitude([p[:half] for p in powers])
        fits[method] = np.stack([model.fit(p[half:]) for p in powers])
        n = fits[method].shape[1]
        bias = fits[method].mean(1) - AMPLITUDES
        error = fits[method].std(1, ddof=1) / np.sqrt(n)
        # The calibration's own noise is as large as the test's.
        chi2 = float((bias ** 2 / (2 * error ** 2)).sum())
        out[method] = {"boxes": n, "mean": fits[method].mean(1).tolist(), "error": (np.sqrt(2) * error).tolist(),
                       "sigma": fits[method].std(1, ddof=1).tolist(), "chi2": chi2,
                       "p": float(chi2_distribution.sf(chi2, 3))}
    for method in ("qen", "network"):
        value, error = resampled(
            lambda i, m=method: fits[m][1, i].std(ddof=1) / fits["qe"][1, i].std(ddof=1), fits["qe"].shape[1])
        out[method]["sigma over qe"] = [float(value), float(error)]
    return out


def two_parameters(powers, low, high, test):
    """A and omch2 of the mean of `test`: powers [boxes][bins] of the three amplitudes, of both steps of omch2 on the boxes of A = 1.
    Gives the values and their covariance without that of the calibration."""
    model = Amplitude(powers)
    paired = powers[1][:len(low)].mean(0)
    down, up = low.mean(0) / paired - 1, high.mean(0) / paired - 1
    slope, bend = (up - down) / 2, (up + down) / 2
    at = lambda c, a: c[0] * a * a + c[1] * a + c[2]
    whiten = np.linalg.cholesky(model.inverse).T
    mean = test.mean(0)

    def residual(x, size=len(test)):
        step = x[1]
        expected = at(model.mean, x[0]) * (1 + slope * step + bend * step * step)
        return whiten @ ((mean - expected) / at(model.spread, x[0])) * np.sqrt(size)
    fit = least_squares(residual, (1.0, 0.0))
    scale = np.array([1, OMCH2_STEP])
    return fit.x * scale + [0, OMCH2], np.linalg.inv(fit.jac.T @ fit.jac) * np.outer(scale, scale)


def cosmology_table(sets, others, draws=100):
    """Two-parameter fits and the separation of two cosmologies. sets: powers of the amplitudes; others: by name, of the boxes of
    A = 1 in the same order."""
    number = len(others["mnu-0.30"]["qe"])
    half, calibrate = number // 2, len(sets[0]["qe"]) // 2
    truths = {"A 0.8": (sets[0], calibrate, 0.8, OMCH2), "fiducial": (sets[1], calibrate, 1, OMCH2),
              "A 1.2": (sets[2], calibrate, 1.2, OMCH2), "omch2 0.123": (others["omch2-high"], half, 1, OMCH2 + OMCH2_STEP)}
    out = {"boxes": {k: len(t[0]["qe"]) - t[1] for k, t in truths.items()}, "fits": {}}
    rng = np.random.default_rng(3)
    for method in METHODS:
        known = [s[method][:calibrate] for s in sets]
        low, high = (others[k][method][:half] for k in ("omch2-low", "omch2-high"))
        rows = {}
        for name, (truth, first, a, omch2) in truths.items():
            test = truth[method][first:]
            value, covariance = two_parameters(known, low, high, test)
            spread = []
            for _ in range(draws):
                # The boxes of A = 1 that have partners keep them.
                pick, rest = rng.integers(half, size=half), rng.integers(half, calibrate, size=calibrate - half)
                own = [k[rng.integers(calibrate, size=calibrate)] for k in known]
                own[1] = known[1][np.concatenate([pick, rest])]
                spread.append(two_parameters(own, low[pick], high[pick], test[rng.integers(len(test), size=len(test))])[0])
            scatter = np.cov(np.array(spread).T)
            off = value - [a, omch2]
            chi2 = float(off @ np.linalg.solve(scatter, off))
            rows[name] = {"value": value.tolist(), "error": np.sqrt(np.diag(scatter)).tolist(), "covariance": covariance.tolist(),
                          "chi2": chi2,
                          "p": float(chi2_distribution.sf(chi2, 2))}
        out["fits"][method] = rows
    area = {m: np.sqrt(np.linalg.det(out["fits"][m]["fiducial"]["covariance"])) for m in METHODS}
    out["ellipse over qe"] = {m: float(area[m] / area["qe"]) for m in METHODS}

    weights = {}
    for method in METHODS:
        known = sets[1][method][:half]
        weights[method] = np.linalg.solve(np.cov(known.T), (others["mnu-0.30"][method][:half] - known).mean(0))

    def distance(i, method):
        fiducial = sets[1][method][half:number][i] @ weights[method]
        other = others["mnu-0.30"][method][half:][i] @ weights[method]
        return (other - fiducial).mean() / np.sqrt(0.5 * (fiducial.var(ddof=1) + other.var(ddof=1)))
    out["separation"] = {}
    for method in METHODS:
        sigma, error = resampled(lambda i: 3 * distance(i, method) / distance(i, "qe"), number - half)
        out["separation"][method] = {"sigma": float(sigma), "error": float(error), "of a box": float(distance(np.arange(number - half), method))}
    out["separation"]["boxes for 3 sigma of qe"] = float((3 / out["separation"]["qe"]["of a box"]) ** 2)
    return out


def draw_ellipses(axis, table):
    turn = np.linspace(0, 2 * np.pi, 100)
    for k, method in ((0, "qe"), (1, "qen"), (3, "network")):  # in the colours of the other graphs
        row = table["fits"][method]["fiducial"]
        root = np.linalg.cholesky(np.array(row["covariance"]))
        for radius in (1.515, 2.486):
            x, y = np.array(row["value"])[:, None] + radius * root @ [np.cos(turn), np.sin(turn)]
            axis.plot(x, y, color=f"C{k}", label=method if radius < 2 else None)
    axis.plot(1, OMCH2, "k+", ms=12)
    axis.set(xlabel="A", ylabel="omch2", title=f"68% and 95% of {table['boxes']['fiducial']} boxes")
    axis.legend(fontsize=8)


def draw(boxes, table, path):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(2, 4, figsize=(17, 8))
    edges = np.concatenate([np.arange(60, 400, 60), np.arange(400, 2600, 100)])
    pairs = list(zip(edges[:-1], edges[1:]))
    middle = 0.5 * (edges[:-1] + edges[1:])
    for name in boxes.maps:
        value = rho(boxes.correlations(name, edges=pairs))
        axes[0, 0].plot(middle, value, label=f"{name} ({len(boxes.maps[name])} boxes)")
        axes[0, 1].plot(middle, value ** 2 / rho(boxes.correlations("qe", edges=pairs)) ** 2, label=name)
    l = np.arange(60, 2500)
    power, noise = boxes.theory[0, l], boxes.theory[3, l]
    axes[0, 0].plot(l, np.sqrt(power / (power + noise)), "k:", label="iterated EB, analytic")
    axes[0, 0].set(xlabel="L", ylabel="correlation with the true kappa", ylim=(0, 1))
    axes[0, 1].set(xlabel="L", ylabel=r"$\rho^2$ over that of qe")
    for name in boxes.maps:
        s = boxes.correlations(name, edges=pairs).sum(1)
        axes[0, 2].plot(middle, s[0] / s[2], label=name)
    axes[0, 2].set(xlabel="L", ylabel="transfer: cross power over the truth's")
    for a in axes[0, :3]:
        a.legend(fontsize=8)
    draw_ellipses(axes[0, 3], table)
    for a, name in zip(axes[1], ("truth", "qe", "qen", "network")):
        a.imshow(boxes.example[name], vmin=-0.15, vmax=0.15, cmap="RdBu_r", origin="lower", extent=(0, 5, 0, 5))
        a.set(title=name, xlabel="deg", ylabel="deg")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def say(level, table):
    common.say(f"\n{level} uK arcmin: correlation with kappa in bins of L {BINS}")
    for name, row in table.items():
        values = row.get("rho", row.get("share"))
        errors = row.get("error", [None] * len(values))
        common.say(f"  {name:<32}" + "  ".join(f"{v:.4f}" + ("" if e is None else f"+-{e:.4f}")
                                               for v, e in zip(values, errors)))


def remake(options):
    if options.seed < TRAINING_SEED_LIMIT:
        raise SystemExit(f"tools/evaluate: seeds below {TRAINING_SEED_LIMIT} belong to training and validation")
    begin, criteria, tables = time.monotonic(), common.Criteria(), {}
    folder, model = common.work_folder("evaluate-"), options.model or MODEL
    try:
        for k, level in enumerate((1, 2, 5)):
            boxes = Boxes(folder, model, f"noise-{level}", options.seed + k, (64 if options.quick else 500) // (1 if level == 1 else 2),
                          maximum=(8 if options.quick else 48) if level == 1 else 0, plain=level == 1, noise=level)
            tables[f"noise {level}"] = table = correlation_table(boxes)
            say(level, table)
            if level == 1:
                for value, error, asked, (low, high) in zip(table["network"]["rho"], table["network"]["error"], ASKED, BINS):
                    criteria.add(f"rho of the network, L {low}-{high}, 1 uK arcmin", value, asked, error)
                criteria.add("share of the gap in rho^2 to the iterated expectation, L 800-1200", table["gap closed"]["share"][3],
                             0.85, table["gap closed"]["error"][3])
                shown = boxes
            gain = table["network minus qe"]
            worst = int(np.argmin(gain["rho"]))
            criteria.add(f"network minus qe, worst bin, {level} uK arcmin", gain["rho"][worst], 0, gain["error"][worst])
            del boxes
        number = 120 if options.quick else 1000
        # More at A = 1: as many as 1000 for the fit of two parameters, beside those that calibrate.
        sets = [Boxes(folder, model, f"amplitude-{k}", options.seed + 10 + k, number * 3 // 2 if a == 1 else number, amplitude=a).all_powers()
                for k, a in enumerate(AMPLITUDES)]
        tables["amplitude"] = table = amplitude_table(sets)
        for method, row in table.items():
            common.say(f"A from {method}: " + ", ".join(f"{a:g}: {m:.4f}+-{e:.4f}" for a, m, e in zip(AMPLITUDES, row["mean"], row["error"])) +
                       f"; sigma of a box at A = 1 {row['sigma'][1]:.4f}; p {row['p']:.3f}" +
                       (f"; over qe's {row['sigma over qe'][0]:.3f}+-{row['sigma over qe'][1]:.3f}" if "sigma over qe" in row else ""))
            criteria.add(f"A of {method}: p of chi^2 at 0.8, 1, 1.2", row["p"], 0.01)
        value, error = table["network"]["sigma over qe"]
        criteria.add("sigma(A), network over qe", value, 0.82, error, least=False)
        others = {name: Boxes(folder, model, name, options.seed + 11, number * 3 // 5,
                              spectra=os.path.join(common.ROOT, "tools", "cosmologies", name + "-lenspotentialCls.txt")).all_powers()
                  for name in COSMOLOGIES}
        tables["cosmology"] = table = cosmology_table(sets, others)
        for method in METHODS:
            rows = table["fits"][method]
            common.say(f"A, omch2 from {method}: " + "; ".join(
                f"{k}: {r['value'][0]:.3f}+-{r['error'][0]:.3f}, {r['value'][1]:.4f}+-{r['error'][1]:.4f}, p {r['p']:.3f}"
                for k, r in rows.items()))
            # The truths share skies and calibration: the least of their p, corrected for their number.
            least = min(1.0, len(rows) * min(r["p"] for r in rows.values()))
            criteria.add(f"A and omch2 of {method}: least p of chi^2 at {len(rows)} truths, corrected", least, 0.01)
        row = table["separation"]["network"]
        common.say(f"sum m_nu 0.06 and 0.30: qe needs {table['separation']['boxes for 3 sigma of qe']:.0f} boxes for 3 sigma")
        criteria.add("sigma between sum m_nu 0.06 and 0.30, network, where qe has 3", row["sigma"], 3.5, row["error"])
        import lensing_cut_sky  # which builds on this module
        tables["cut sky"], asked = lensing_cut_sky.measure(folder, model, options.seed, 4 if options.quick else 24, shown)
        lensing_cut_sky.show(tables["cut sky"], asked)
        for row in asked:
            criteria.add(*row)
        if not options.model and not options.quick:
            draw(shown, table, os.path.join(common.ROOT, "tools", "results", "lensing.png"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if not options.model:
        common.record("lensing", options.seed, criteria, tables, options.json, time.monotonic() - begin, options.quick)
    common.finish(criteria)
