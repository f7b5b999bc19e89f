"""catalog/ against numpy: planes of the inputs, decoding of heads, check photometry. Usage: test_catalog.py TOOL"""
import os
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fake_model import fake_model

TOOL = sys.argv[1]
NODES, STAMP = 3, 51
FWHM, E1, E2, SIGMA, SKY, MF, UNIT, USABLE = range(8)
COLOURS = ((0, 0), (0, 1), (1, 0), (1, 1))


def gaussian_psf(fwhm, e1, e2):
    """A Gaussian with second moments s2 (1 + e1), s2 (1 - e1), s2 e2, of unit sum."""
    s2 = (fwhm / 2.3548200450309493) ** 2
    inverse = np.linalg.inv(s2 * np.array([[1 + e1, e2], [e2, 1 - e1]]))
    y, x = np.mgrid[:STAMP, :STAMP] - STAMP // 2
    p = np.exp(-0.5 * (inverse[0, 0] * x * x + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y * y))
    return p / p.sum()


class Cutout:
    def __init__(self, nband, side, seed):
        rng = np.random.default_rng(seed)
        shape = (nband, side, side)
        self.nband, self.side = nband, side
        self.sky_sigma = (50 * (1 + np.arange(nband)))[:, None, None] * (1 + 0.1 * np.linspace(0, 1, side)) * np.ones(shape)
        self.sky = 400 + 100 * rng.random(shape)
        self.variance = self.sky_sigma ** 2 * (1 + rng.random(shape))
        self.image = self.sky_sigma * rng.normal(size=shape)
        self.image[:, 20:30, 33:40] += 40 * self.sky_sigma[:, 20:30, 33:40]
        self.mask = np.zeros(shape, np.uint32)
        self.mask[0, :, 11] |= 2
        self.mask[-1, 40:60, 40:60] |= 1
        self.mask[0, 5, 5] |= 16
        self.present = np.ones(nband, np.int32)
        self.correlation = np.tile([0.1, 0.05], (nband, 1))
        self.psf = np.stack([[[gaussian_psf(2.5 + b + 0.1 * i + 0.2 * j, 0.1 - 0.05 * i, 0.05 * j)
                               for i in range(NODES)] for j in range(NODES)] for b in range(nband)])

    def finish(self):
        for name in ("image", "variance", "sky", "sky_sigma", "psf"):
            setattr(self, name, np.ascontiguousarray(getattr(self, name), np.float32))
        return self

    def write(self, path):
        with open(path, "wb") as f:
            for a in (self.image, self.variance, self.mask, self.sky, self.sky_sigma, self.psf, self.present,
                      self.correlation):
                f.write(np.ascontiguousarray(a).tobytes())

    def psf_at(self, b, x, y):
        u, v = (np.clip(np.array([x, y]) / (self.side - 1) * (NODES - 1), 0, NODES - 1))
        i, j = min(int(u), NODES - 2), min(int(v), NODES - 2)
        u, v = u - i, v - j
        p = self.psf[b].astype(float)
        p = (1 - v) * ((1 - u) * p[j, i] + u * p[j, i + 1]) + v * ((1 - u) * p[j + 1, i] + u * p[j + 1, i + 1])
        return p / p.sum()

    def usable(self, b):
        return (self.mask[b] & 3) == 0


def close(name, got, want, rtol=2e-5, atol=1e-6):
    got, want = np.asarray(got, float), np.asarray(want, float)
    assert got.shape == want.shape, (name, got.shape, want.shape)
    bad = ~np.isclose(got, want, rtol=rtol, atol=atol, equal_nan=True)
    assert not bad.any(), f"{name}: {bad.sum()} of {bad.size} differ, first {got[bad][:3]} for {want[bad][:3]}"


def matched_filter(c, b):
    """The definition, pixel by pixel: sum P I / sum P^2 over usable pixels, P of the block's centre."""
    n = c.side
    widest = max(2.3548200450309493 * np.sqrt(windowed_moments(p)[0]) for row in c.psf[b] for p in row)
    radius = int(min(max(np.ceil(1.5 * widest), 3), 12))
    padded = np.pad(np.where(c.usable(b), c.image[b], 0).astype(float), radius)
    weight = np.pad(c.usable(b).astype(float), radius)
    flux, error = np.zeros((n, n)), np.zeros((n, n))
    for y in range(n):
        for x in range(n):
            p = c.psf_at(b, x // 16 * 16 + 7.5, y // 16 * 16 + 7.5)
            m = STAMP // 2
            p = p[m - radius:m + radius + 1, m - radius:m + radius + 1]
            box = np.s_[y:y + 2 * radius + 1, x:x + 2 * radius + 1]
            norm = (p * p * weight[box]).sum()
            full = (p * p).sum()
            if norm > 0.2 * full:
                extra = 2 * (c.correlation[b, 0] * (p[:, 1:] * p[:, :-1]).sum()
                             + c.correlation[b, 1] * (p[1:] * p[:-1]).sum())
                flux[y, x] = (p * padded[box]).sum() / norm
                error[y, x] = c.sky_sigma[b, y, x] * np.sqrt((1 + extra / full) / norm)
    return flux, error


def windowed_moments(p):
    """Half the trace and the ellipticity of a PSF whose Gaussian window has the same size as the result."""
    y, x = np.mgrid[:STAMP, :STAMP] - STAMP // 2
    s2, xx, yy, xy = 2.0, 1, 1, 0
    for _ in range(12):
        w = p * np.exp(-0.5 * (x * x + y * y) / s2)
        xx, yy, xy = ((w * t).sum() / w.sum() for t in (x * x, y * y, x * y))
        s2 = xx + yy
    return s2, (xx - yy) / (xx + yy), 2 * xy / (xx + yy)


def test_inputs(folder, tile):
    c = Cutout(2, 64, 1).finish()
    c.write(folder + "/in")
    subprocess.run([TOOL, "inputs", "2", "64", str(tile), folder + "/in", folder + "/out"], check=True)
    n, m, b = 64, 64 // tile, 2
    sizes = [2 * b * n * n, 8 * b * m * m, b * n * n, b * n * n, b * m * m]
    raw = np.fromfile(folder + "/out", np.float32)
    image, planes, flux, error, sigma = np.split(raw[:sum(sizes)], np.cumsum(sizes)[:-1])
    peak = np.fromfile(folder + "/out", np.int32)[sum(sizes):].reshape(m, m)
    image, planes = image.reshape(b, 2, n, n), planes.reshape(b, 8, m, m)
    flux, error, sigma = flux.reshape(b, n, n), error.reshape(b, n, n), sigma.reshape(b, m, m)
    good = np.stack([c.usable(k) for k in range(b)])
    w = np.where(good, c.image / c.sky_sigma, 0)
    close("fine image", image[:, 0], np.arcsinh(w))
    close("coarse image", image[:, 1], np.arcsinh(w / 30))
    for k in range(b):
        want = matched_filter(c, k)
        close("matched-filter flux", flux[k], want[0], rtol=1e-4, atol=0.02)
        close("matched-filter error", error[k], want[1], rtol=1e-4)
    snr = np.where(error > 0, flux / np.where(error > 0, error, 1), 0)
    power = (np.maximum(snr, 0) ** 2).sum(0)
    tiles = power.reshape(m, tile, m, tile).transpose(0, 2, 1, 3).reshape(m, m, tile * tile)
    at = tiles.argmax(2)
    row, column = np.mgrid[:m, :m]
    close("peak", peak, (row * tile + at // tile) * n + column * tile + at % tile)
    count = good.reshape(b, m, tile, m, tile).sum((2, 4))
    mean = lambda a: np.where(count > 0, (a * good).reshape(b, m, tile, m, tile).sum((2, 4)) / np.maximum(count, 1), 0)
    s, sky = mean(c.sky_sigma.astype(float)), mean(c.sky.astype(float))
    close("sigma", sigma, s)
    some = count > 0
    close("usable plane", planes[:, USABLE], count / tile ** 2)
    close("sigma plane", planes[:, SIGMA], np.where(some, np.log10(np.where(some, s, 1)) - 2, 0), atol=1e-5)
    close("sky plane", planes[:, SKY], np.where(some, 0.5 * np.log10(1 + sky / np.where(some, s, 1)), 0), atol=1e-5)
    at_peak = lambda a: a.reshape(b, -1)[:, peak]
    seen = some & (at_peak(error) > 0)
    close("S/N plane", planes[:, MF], np.where(seen, np.arcsinh(at_peak(snr)), 0), atol=1e-5)
    close("unit plane", planes[:, UNIT], np.where(seen, np.log10(np.where(seen, at_peak(error) / np.where(some, s, 1), 1)), 0),
          atol=1e-5)
    for k in range(b):
        for r, col in ((0, 0), (m - 1, 3), (m // 2, m // 2)):
            u, v = (np.array([col, r]) * tile + 0.5 * (tile - 1)) / 63 * 2
            a, d = min(int(u), 1), min(int(v), 1)
            u, v = u - a, v - d
            mom = [[windowed_moments(c.psf[k, y, x].astype(float)) for x in range(3)] for y in range(3)]
            value = lambda f: ((1 - v) * ((1 - u) * f(mom[d][a]) + u * f(mom[d][a + 1]))
                               + v * ((1 - u) * f(mom[d + 1][a]) + u * f(mom[d + 1][a + 1])))
            close("FWHM plane", planes[k, FWHM, r, col],
                  value(lambda t: 0.5 * np.log(8 * np.log(2) * t[0])) - np.log(4), rtol=1e-5, atol=1e-5)
            close("e1 plane", planes[k, E1, r, col], value(lambda t: t[1]), rtol=1e-4, atol=1e-5)
            close("e2 plane", planes[k, E2, r, col], value(lambda t: t[2]), rtol=1e-4, atol=1e-5)


def test_missing_band(folder):
    """Unusable values must not leak: a missing band is zero, NaN pixels elsewhere change nothing but themselves."""
    c = Cutout(2, 32, 2).finish()
    c.present[1] = 0
    c.image[0, 3, 3] = np.nan
    c.mask[0, 3, 3] |= 2
    c.write(folder + "/in")
    subprocess.run([TOOL, "inputs", "2", "32", "4", folder + "/in", folder + "/out"], check=True)
    raw = np.fromfile(folder + "/out", np.float32)
    n, m = 32, 8
    assert np.isfinite(raw[:4 * n * n + 16 * m * m + 4 * n * n + 2 * m * m]).all()
    image, planes = raw[:4 * n * n].reshape(2, 2, n, n), raw[4 * n * n:][:16 * m * m].reshape(2, 8, m, m)
    assert (image[1] == 0).all() and (planes[1] == 0).all() and (image[0, :, 3, 3] == 0).all()
    assert (image[0] != 0).mean() > 0.9


def source_fields(b):
    return 13 + 8 + 2 * b + b * b


def at_knots(knots, values, x):
    return np.interp(x, knots, values)


def decode_oracle(heads, planes, b, reference, cal, tile=4):
    """Sources and the context after every colour, from the layout in tools/train/catalog_net.py."""
    m = planes.shape[-1]
    slot = 14 + b + b * (b + 1) // 2 + 1
    p = planes.reshape(b, 8, m, m).astype(float)
    context, contexts, sources = np.zeros((16, m, m)), [], {}
    sigmoid = lambda t: 1 / (1 + np.exp(-t))
    for k, (r0, c0) in enumerate(COLOURS):
        for row in range(r0, m, 2):
            for column in range(c0, m, 2):
                h = heads[k][:, row // 2, column // 2].astype(float)
                here = p[:, USABLE, row, column] > 0
                z = np.sinh(np.minimum(p[:, MF, row, column], 12))
                base = np.where(here, np.log(np.maximum(z, 1)) + np.log(10) * (p[:, UNIT, row, column]
                                + p[:, SIGMA, row, column] + 2), 0)
                snr = np.sqrt((np.maximum(z, 0) ** 2 * here).sum())
                q = np.exp(h[:3] - h[:3].max())
                q /= q.sum()
                chance = np.array([q[1] + q[2], q[2]]) * here.any()
                f = (lambda key: at_knots(cal["ln_snr"], cal[key], np.log(max(snr, 1e-3)))) if cal else (lambda key: None)
                context[0, row, column] = 1
                count = (1 + (chance[1] >= 0.5)) if chance[0] >= 0.5 else 0
                context[1, row, column], context[2, row, column] = count / 2, count == 0
                for s in (0, 1):
                    g = h[3 + s * slot:]
                    a = np.zeros((b, b))
                    low = [(i, j) for i in range(b) for j in range(i + 1)]
                    for (i, j), t in zip(low, g[14 + b:]):
                        a[i, j] = np.exp(np.clip(t, -3, 5)) if i == j else t
                    cov = np.linalg.inv(a.T @ a)
                    mean = base + g[14:14 + b]
                    raw = np.sqrt(np.diag(cov))
                    sx, sy = tile * np.exp(np.clip(g[2:4], -6, 1))
                    widths = np.exp(np.clip(g[10:14], -6, 3))
                    exists = chance[s]
                    if cal:
                        d = np.array([f("flux" + str(i)) for i in range(b)])
                        cov = cov * np.outer(d, d)
                        mean = mean + [f("offset" + str(i)) for i in range(b)]
                        sx, sy = sx * f("position"), sy * f("position")
                        widths = widths * [f("shape" + str(i)) for i in range(4)]
                        exists = sigmoid(cal["p"][0] + cal["p"][1] * np.log(exists / (1 - exists))) if exists > 0 else 0
                    rho = 0.99 * np.tanh(g[4])
                    x, y = tile * (column + np.clip(g[0], -1, 2)) - 0.5, tile * (row + np.clip(g[1], -1, 2)) - 0.5
                    sources[row, column, s] = np.concatenate([
                        [row, column, s, x, y, sx * sx, rho * sx * sy, sy * sy, exists, chance[s], q[1] + 2 * q[2],
                         sigmoid(g[5]), snr], g[6:10], widths, mean, raw, cov.ravel()])
                    if s < count:
                        at = 3 + 4 * s
                        context[at, row, column] = np.clip(g[0], 0, 1) - 0.5
                        context[at + 1, row, column] = np.clip(g[1], 0, 1) - 0.5
                        context[at + 2, row, column] = (mean[reference] - np.log(10) * (p[reference, SIGMA, row, column] + 2)) / 4
                        context[at + 3, row, column] = 0.5 if g[5] >= 0 else -0.5
        contexts.append(context.copy())
    return contexts, sources


def decode(folder, calibrated, tile=4):
    rng = np.random.default_rng(5 + calibrated)
    b, m = 3, 8
    head = (3 + 2 * (14 + b + b * (b + 1) // 2 + 1) + 15) // 16 * 16
    heads = rng.normal(size=(4, head, m // 2, m // 2)).astype(np.float32)
    heads[:, :3] *= 2
    planes = rng.normal(size=(b, 8, m, m)).astype(np.float32)
    planes[:, MF] *= 3
    planes[:, USABLE] = rng.random((b, m, m)) > 0.3
    cal, extra = None, {"tile": str(tile)}
    if calibrated:
        draw = lambda low, high: np.round(rng.uniform(low, high, 3), 4)
        cal = {"ln_snr": np.array([0.0, 1.5, 4.0]), "position": draw(.5, 2), "p": np.array([0.3, 1.4])}
        extra |= {"calibration": "test", "calibration_knots": "3"}
        for i, band in enumerate("gri"):
            cal["flux" + str(i)], cal["offset" + str(i)] = draw(.5, 2), draw(-.2, .2)
            extra["calibration_flux_" + band] = ",".join(map(str, cal["flux" + str(i)]))
            extra["calibration_offset_" + band] = ",".join(map(str, cal["offset" + str(i)]))
        for i, name in enumerate(("radius", "e1", "e2", "bulge")):
            cal["shape" + str(i)] = draw(.5, 2)
            extra["calibration_" + name] = ",".join(map(str, cal["shape" + str(i)]))
        extra["calibration_ln_snr"] = "0,1.5,4"
        extra["calibration_position"] = ",".join(map(str, cal["position"]))
        extra["calibration_probability"] = "0.3,1.4"
    with open(folder + "/net.onnx", "wb") as f:
        f.write(fake_model("g,r,i", "r", extra))
    heads.tofile(folder + "/heads")
    planes.tofile(folder + "/planes")
    subprocess.run([TOOL, "decode", folder + "/net.onnx", str(m), "0.3", folder + "/planes", folder + "/heads",
                    folder + "/out"], check=True)
    size = 4 * 16 * m * m
    raw = open(folder + "/out", "rb").read()
    contexts = np.frombuffer(raw[:4 * size], np.float32).reshape(4, 16, m, m)
    rows = np.frombuffer(raw[4 * size:], np.float64).reshape(-1, source_fields(b))
    want_contexts, want = decode_oracle(heads, planes, b, 1, cal, tile)
    close("contexts", contexts, want_contexts, atol=1e-5)
    expected = [v for _, v in sorted(want.items()) if v[8] >= 0.3]
    assert 20 < len(expected) < 100
    close("sources", rows, expected, rtol=1e-7, atol=1e-9)


def test_draws(folder):
    """Counts, positions, types, shapes and fluxes of many draws against the posteriors that they come from."""
    rng = np.random.default_rng(9)
    b, m, draws = 3, 4, 4000
    head = (3 + 2 * (14 + b + b * (b + 1) // 2 + 1) + 15) // 16 * 16
    heads = rng.normal(size=(4, head, m // 2, m // 2)).astype(np.float32)
    planes = rng.normal(size=(b, 8, m, m)).astype(np.float32)
    planes[:, USABLE] = 1
    planes[:, USABLE, 0, 1] = 0
    with open(folder + "/net.onnx", "wb") as f:
        f.write(fake_model("g,r,i", "r"))
    heads.tofile(folder + "/heads")
    planes.tofile(folder + "/planes")
    subprocess.run([TOOL, "draw", folder + "/net.onnx", str(m), str(draws), folder + "/planes", folder + "/heads",
                    folder + "/out"], check=True)
    _, want = decode_oracle(heads, planes, b, 1, None)
    raw, at, rows, contexts = open(folder + "/out", "rb").read(), 0, [], []
    for _ in range(draws):
        contexts.append(np.frombuffer(raw, np.float32, 16 * m * m, at).reshape(16, m, m))
        at += 4 * 16 * m * m
        n = int(np.frombuffer(raw, np.int64, 1, at)[0])
        rows.append(np.frombuffer(raw, np.float64, n * source_fields(b), at + 8).reshape(n, -1))
        at += 8 + 8 * n * source_fields(b)
    assert at == len(raw)
    rows, context = np.concatenate(rows), np.stack(contexts)
    assert not ((rows[:, 0] == 0) & (rows[:, 1] == 1)).any(), "a source where no pixel is usable"
    worst = 0
    for (row, column, slot), w in want.items():
        r = rows[(rows[:, 0] == row) & (rows[:, 1] == column) & (rows[:, 2] == slot)]
        p = w[9]
        assert abs(len(r) - draws * p) <= 5 * np.sqrt(draws * p * (1 - p)) + 1e-9, (row, column, slot, len(r), p)
        if len(r) < 200:
            continue
        ln_flux = r[:, 21:21 + b]
        got = np.column_stack([r[:, 3:5], r[:, 13:17], ln_flux])
        cov = np.zeros((6 + b, 6 + b))
        cov[0, 0], cov[1, 1], cov[0, 1], cov[1, 0] = w[5], w[7], w[6], w[6]
        cov[range(2, 6), range(2, 6)] = w[17:21] ** 2
        cov[6:, 6:] = w[21 + 2 * b:].reshape(b, b)
        mean = np.concatenate([w[3:5], w[13:17], w[21:21 + b]])
        z = np.linalg.solve(np.linalg.cholesky(cov), (got - mean).T)
        worst = max(worst, abs(z.mean(1)).max() * np.sqrt(len(r)), abs(z @ z.T / len(r) - np.eye(6 + b)).max() * np.sqrt(len(r) / 2))
        assert set(np.unique(r[:, 11])) <= {0.0, 1.0} and abs(r[:, 11].mean() - w[11]) < 5 * np.sqrt(0.25 / len(r))
    assert worst < 5.5, worst
    assert (context[:, 0] == 1).all()
    seen = 2 * context[:, 1]
    assert (seen <= 2).all() and (context[:, 2] == (seen == 0)).all()
    # What the contexts hold is what was drawn, as far as it is bright enough.
    p = planes.astype(float)
    error = np.log(10) * (p[:, UNIT] + p[:, SIGMA] + 2)
    cells = rows[:, 0].astype(int), rows[:, 1].astype(int)
    here = p[:, USABLE][:, cells[0], cells[1]] > 0
    snr = np.sqrt((np.exp(2 * np.minimum(rows[:, 21:21 + b].T - error[:, cells[0], cells[1]], 15)) * here).sum(0))
    close("sources in contexts", seen.sum(), (snr > 5).sum(), atol=0.5)
    assert 0 < (snr > 5).sum() < len(snr)


def test_domain(folder):
    """Features of a square against numpy, and the score of those that are known."""
    nband, side, x0, y0, block = 2, 64, 16, 8, 32
    c = Cutout(nband, side, 4).finish()
    c.sky[1] = 0          # not told
    c.write(folder + "/in")
    subprocess.run([TOOL, "inputs", str(nband), str(side), "4", folder + "/in", folder + "/out"], check=True)
    m, plane = side // 4, 8 * nband
    planes = np.frombuffer(open(folder + "/out", "rb").read(), np.float32, plane * m * m, 4 * 2 * nband * side * side)
    planes = planes.reshape(nband, 8, m, m).astype(float)[:, :, y0 // 4:(y0 + block) // 4, x0 // 4:(x0 + block) // 4]
    want = []
    for b in range(nband):
        box = np.s_[b, y0:y0 + block, x0:x0 + block]
        w = np.where(c.mask[box] & 3, np.nan, (c.image[box] / c.sky_sigma[box]).astype(float))
        middle = np.sort(w[np.isfinite(w)])
        middle = middle[len(middle) // 2]
        away = np.sort(abs(w - middle)[np.isfinite(w)])
        width = 1.4826 * away[len(away) // 2]
        z = np.clip((w - middle) / width, -3, 3)
        pair = lambda a, t: np.nansum(a * t) / (0.5 * np.nansum((a * a + t * t)[np.isfinite(a * t)]))
        here = planes[b, USABLE] > 0
        want += [middle, np.log(width), pair(z[:, :-1], z[:, 1:]), pair(z[:-1], z[1:])]
        want += [planes[b, k][here].mean() for k in (FWHM, E1, E2, SIGMA, SKY)]
    want[-1] = np.nan
    snr2 = (np.maximum(np.sinh(np.minimum(planes[:, MF], 12)), 0) ** 2).sum(0)
    want += [np.log((snr2 > t).mean() + 0.01) for t in (25, 400)]
    rng = np.random.default_rng(6)
    n = len(want)
    root = rng.normal(size=(n, n))
    covariance, mean = root @ root.T / n + np.eye(n), rng.normal(size=n)
    text = lambda v: ",".join(repr(float(x)) for x in v)
    extra = {"domain_limit": "2.5", "domain_mean": text(mean), "domain_covariance": text(covariance[np.tril_indices(n)])}
    with open(folder + "/net.onnx", "wb") as f:
        f.write(fake_model("g,r", "r", extra))
    subprocess.run([TOOL, "domain", str(nband), str(side), "4", folder + "/in", folder + "/out", folder + "/net.onnx",
                    str(x0), str(y0), str(block)], check=True)
    raw = open(folder + "/out", "rb").read()
    got, known = np.frombuffer(raw, np.float32, n), np.isfinite(want)
    close("features", got[known], np.array(want)[known], rtol=2e-4, atol=1e-5)
    assert (np.isfinite(got) == known).all()
    d = (got - mean)[known]
    score = np.sqrt(d @ np.linalg.solve(covariance[np.ix_(known, known)], d) / known.sum()) / 2.5
    close("score", np.frombuffer(raw, np.float64, 1, 4 * n), [score], rtol=1e-9)


def test_check(folder):
    """A star between pixels, noiseless: both fluxes come back; errors follow from the variance; masks are seen."""
    c = Cutout(1, 64, 3)
    c.mask[:] = 0
    c.psf = np.stack([[[gaussian_psf(3.4, 0.05, -0.03)] * 3] * 3])
    y, x = np.mgrid[:64, :64]
    px, py = 30.37, 31.81
    s2 = (3.4 / 2.3548200450309493) ** 2
    inverse = np.linalg.inv(s2 * np.array([[1.05, -0.03], [-0.03, 0.95]]))
    d = np.stack([x - px, y - py])
    c.image[0] = 1e5 * np.exp(-0.5 * np.einsum("iyx,ij,jyx->yx", d, inverse, d)) * np.sqrt(np.linalg.det(inverse)) / (2 * np.pi)
    c.sky_sigma[:] = 50
    c.variance[:] = 2500
    c.mask[0, 32, 31] |= 16
    c.finish().write(folder + "/in")
    subprocess.run([TOOL, "check", "1", "64", folder + "/in", folder + "/out", str(px), str(py), "8", "2", "2", "3"],
                   check=True)
    star, corner = np.fromfile(folder + "/out").reshape(2, 5)
    close("PSF flux", star[0], 1e5, rtol=2e-3)
    power = np.sqrt(np.linalg.det(inverse)) / (4 * np.pi)   # sum of the squared PSF
    close("PSF error", star[1], 50 / np.sqrt(power), rtol=2e-3)
    close("aperture flux", star[2], 1e5, rtol=1e-3)
    close("aperture error", star[3], 50 * np.sqrt(np.pi) * 8, rtol=0.03)   # border pixels count less
    assert star[4] == 16
    assert corner[4] == 0 and np.isnan(corner[0]) == (corner[0] != corner[0])
    assert np.isfinite(corner[2])


with tempfile.TemporaryDirectory() as place:
    test_inputs(place, 4)
    test_inputs(place, 2)
    test_missing_band(place)
    decode(place, False)
    decode(place, True)
    decode(place, False, tile=2)
    test_draws(place)
    test_domain(place)
    test_check(place)
print("catalog: inputs, decoding and photometry agree with numpy")
