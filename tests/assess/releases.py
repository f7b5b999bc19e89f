"""Releases written with h5py: the layout of the program, any content."""
import h5py
import numpy as np

BANDS = "gr"


def text(width):
    """The program's texts: UTF-8 of fixed width."""
    return h5py.string_dtype("utf-8", width)


def sky(tiles=3, per_tile=600, seed=5):
    """A catalogue in a row of tiles a tenth of a degree wide, each of 4 x 4 patches."""
    rng = np.random.default_rng(seed)
    n = tiles * per_tile
    tile = np.repeat(np.arange(tiles, dtype=np.uint32), per_tile)
    u, v = rng.random(n), rng.random(n)
    cat = {"ra": 150 + 0.1 * (tile + u), "dec": 2 + 0.1 * v, "tile": tile,
           "patch": (16 * tile + 4 * (4 * v).astype(int) + (4 * u).astype(int)).astype(np.uint64)}
    mag = 24 - rng.exponential(1.2, n)
    for band in BANDS:
        flux = 10 ** (-0.4 * (mag - 31.4)) * (1 if band == "r" else 0.6)
        cat["flux_" + band] = flux.astype("f4")
        cat[f"flux_{band}_err"] = (0.02 * flux + 60).astype("f4")
        cat["fwhm_" + band] = (1.2 + 0.1 * tile + 0.01 * v).astype("f4")
    cat["ra_err"] = cat["dec_err"] = np.full(n, 0.1, "f4")
    cat["star_probability"] = rng.beta(0.3, 0.3, n).astype("f4")
    cat["radius"] = rng.gamma(3, 0.3, n).astype("f4")
    cat["flags"] = rng.integers(0, 4, n).astype("i4")
    return cat


def write(path, cat, names=None, extra=None, maps=None, failed=(), hostile="", planes=None):
    """A release of these columns. extra: other tables; maps: name to array [plane, y, x]."""
    units = {"ra": "deg", "dec": "deg", "ra_err": "arcsec", "dec_err": "arcsec", "radius": "arcsec"}
    with h5py.File(path, "w") as out:
        out.attrs["kind"] = np.bytes_("skyquilt release 1")
        tables = dict(extra or {})
        if cat is not None:
            tables["catalog"] = cat
        for group, columns in tables.items():
            for name, values in columns.items():
                data = out.create_dataset(f"{group}/{name}", data=values)
                data.attrs["units"] = np.bytes_(units.get(name, "nJy" if name.startswith("flux") else ""))
            out.require_group(group).attrs["columns"] = np.bytes_(",".join(columns))
            out[group].attrs["description"] = np.bytes_("rows " + hostile)
        for name, values in (maps or {}).items():
            out.create_dataset("maps/" + name, data=values).attrs["units"] = np.bytes_("uK" + hostile)
            if planes:
                out["maps/" + name].attrs["planes"] = np.bytes_(planes)
                out["maps/" + name].attrs["description"] = np.bytes_("kappa; plate carree: ra = 12 - 0.1 column, dec = -4 + 0.1 row")
        tiles = 0 if cat is None else int(cat["tile"].max()) + 1
        names = names or [f"tile-{t}{hostile}" for t in range(tiles)]
        out.create_dataset("tiles/name", data=[n.encode() for n in names] if tiles else [], dtype=text(64))
        for k, (x, y) in enumerate(((0, 0), (1, 0), (1, 1), (0, 1)) if tiles else ()):
            out[f"tiles/ra{k}"] = 150 + 0.1 * (np.arange(tiles) + x)
            out[f"tiles/dec{k}"] = 2 + 0.1 * np.full(tiles, float(y))
        number = np.arange(16 * max(tiles, 1))
        state = np.isin(number, failed).astype("u1")
        columns = {"phase": 0 * number, "realisation": 0 * number, "patch": number, "tile": number // 16,
                   "state": state, "rows": 0 * number + 3}
        for name, values in columns.items():
            out["patches/" + name] = values
            if name != "rows":
                out["failures/" + name] = values[state > 0]
        out.create_dataset("failures/status", data=[b"data"] * len(failed), dtype=text(16))
        out.create_dataset("failures/reason", data=[("bad pixels " + hostile).encode()] * len(failed),
                           dtype=text(300))
        for name in ("read", "infer", "decode", "fft", "write", "wait", "total"):
            out["run/tasks/" + name] = np.full(len(number), 0.1 if name != "total" else 0.5, "f4")
        for name in ("started", "finished", "ranks", "hosts"):
            out.create_dataset("run/" + name, data=(name + hostile).encode(), dtype=text(200))
        for name in ("probe", "config", "software", "identity"):
            out.create_dataset("provenance/" + name, data=f"{name}: 1\nx: {hostile}".encode(), dtype=text(200))
        out.create_group("manifest").attrs["hash"] = np.bytes_("0" * 32)
    return path
