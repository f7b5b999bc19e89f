"""Cell coadds against astropy and against the tree that lsst.images ships: test_cell_coadd.py CELL_TOOL."""
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile

import h5py
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "catalog"))
from fake_model import fake_model

TOOL = sys.argv[1]
PROGRAM = os.environ["SQ_PROGRAM"]
LAYOUT = os.path.join(os.environ["SQ_SHARED"], "data", "optical", "lsst_layout")
ENV = dict(os.environ, OMPI_MCA_rmaps_base_oversubscribe="1")
OUTSIDE, BAD, SATURATED, EDGE = 1, 2, 4, 64
SIDE = 51


def skyquilt(*arguments, ranks=1, code=0):
    launch = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run(launch + [PROGRAM, *arguments], env=ENV, capture_output=True, text=True)
    assert done.returncode == code, f"{arguments}: exit code {done.returncode}\n{done.stdout}{done.stderr[-2000:]}"
    return done.stderr


def read_box(folder, bands, x0, y0, nx, ny):
    out = os.path.join(folder, "box")
    done = subprocess.run([TOOL, folder, bands, *map(str, (x0, y0, nx, ny)), out], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    name, found, ra, dec = done.stdout.split()
    raw, plane = np.fromfile(out, np.float32), nx * ny
    cube = raw[:len(bands) * 5 * plane].reshape(len(bands), 5, ny, nx)
    planes = [dict(zip(("image", "variance", "sky", "sigma", "mask"), band)) for band in cube]
    for p in planes:
        p["mask"] = p["mask"].copy().view(np.uint32)
    os.unlink(out)
    return name, found, (float(ra), float(dec)), planes, raw[len(bands) * 5 * plane:].reshape(len(bands), 3, 3, SIDE, SIDE)


# ---- a file as lsst.images writes it, from the tree with arrays that it ships ----

def ast_number(text, name):
    return float(re.search(r"\n *%s = (\S+)" % name, text).group(1))


def wcs_cards(tree):
    """What the dump of the FrameSet says; GRID is FITS pixels of this array."""
    ast = tree["sky_projection"]["pixel_to_sky"]["mappings"][0]["ast"]
    linear = ast[ast.index("Map3 ="):ast.index("Map4 =")]
    return {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg",
            "CRVAL1": np.degrees(ast_number(ast, "SRef1")), "CRVAL2": np.degrees(ast_number(ast, "SRef2")),
            "CRPIX1": -ast_number(linear, "Sft1"), "CRPIX2": -ast_number(linear, "Sft2"),
            "PC1_1": ast_number(linear, "M0"), "PC2_2": ast_number(linear, "M1"), "CDELT1": 1.0, "CDELT2": 1.0}


def plane_hdu(array, name, tree, unit=None):
    hdu = fits.CompImageHDU(array, name=name, compression_type="GZIP_2", tile_size=(6, 6), quantize_level=0.0)
    for key, value in wcs_cards(tree).items():
        hdu.header[key] = value
    for k, (key, value) in enumerate((("CTYPE", "LINEAR"), ("CRPIX", 1.0), ("CUNIT", "PIXEL"))):
        hdu.header[f"{key}1A"] = hdu.header[f"{key}2A"] = value
    hdu.header["CRVAL2A"], hdu.header["CRVAL1A"] = map(float, tree["image"]["yx0"])
    if unit:
        hdu.header["BUNIT"] = unit
    return hdu


def reference(array, name):
    return {"source": f"fits:{name}", "shape": list(array.shape), "datatype": str(array.dtype), "byteorder": "big"}


def shipped_file(tree, path):
    """The arrays leave the tree for HDUs of their own."""
    image = np.array(tree["image"]["data"]["value"]["data"], np.float32)
    variance = np.array(tree["variance"]["data"]["value"]["data"], np.float32)
    mask = np.array(tree["mask"]["data"][0]["data"], np.int32)
    psf = np.array(tree["psf"]["array"]["data"], np.float64)
    noise = np.array(tree["noise_realizations"][0]["data"]["data"], np.float32)
    tree = json.loads(json.dumps(tree))
    tree["image"]["data"]["value"] = reference(image, "IMAGE")
    tree["variance"]["data"]["value"] = reference(variance, "VARIANCE")
    tree["mask"]["data"][0] = reference(mask, "MASK")
    tree["psf"]["array"] = reference(psf, "PSF")
    tree["noise_realizations"][0]["data"] = reference(noise, "NOISE_REALIZATIONS/0")
    hdus = [fits.PrimaryHDU(), plane_hdu(image, "IMAGE", tree, "nJy"), plane_hdu(mask, "MASK", tree),
            plane_hdu(variance, "VARIANCE", tree, "nJy2"), plane_hdu(noise, "NOISE_REALIZATIONS/0", tree),
            fits.ImageHDU(psf, name="PSF")]  # Debian's astropy compresses three dimensions at most
    for n, plane in enumerate(tree["mask"]["planes"]):
        hdus[2].header[f"MSKN{n:04d}"] = plane["name"]
        hdus[2].header[f"MSKM{n:04d}"] = 1 << n
        hdus[2].header[f"MSKD{n:04d}"] = plane["description"]
    for key in ("INDXADDR", "INDXSIZE", "JSONADDR", "JSONSIZE"):
        hdus[0].header[key] = 0
    hdus[0].header["FMTVER"] = 1
    hdus[0].header["DATAMODL"] = tree["schema_url"]
    text = np.frombuffer(json.dumps(tree).encode(), np.uint8)
    cell = np.empty(1, object)
    cell[0] = text
    hdus.append(fits.BinTableHDU.from_columns([fits.Column("JSON", "PB", array=cell)], name="JSON"))
    names = [h.name if n else "" for n, h in enumerate(hdus)]
    hdus.append(fits.BinTableHDU.from_columns([fits.Column("EXTNAME", "24A", array=names)], name="INDEX"))
    fits.HDUList(hdus).writeto(path)
    return image, variance, mask, psf


def shipped_tree_reads(work):
    source = os.path.join(LAYOUT, "cell_coadd-1.0.0-as_shipped.json")
    if not os.path.exists(source):
        print("shipped tree: skipped, not there:", source)
        return
    with open(source) as f:
        tree = json.load(f)
    folder = os.path.join(work, "shipped")
    os.mkdir(folder)
    path = os.path.join(folder, "deep_coadd_9813_43_r_lsst_cells_v2_run.fits")
    image, variance, mask, psf = shipped_file(tree, path)
    name, found, sky, (p,), stamps = read_box(folder, "r", 0, 0, 12, 12)
    assert (name, found) == ("9813-43", "r"), (name, found)
    hole = np.zeros((12, 12), bool)
    hole[:6, :6] = True  # cell (8, 6), the first of this image
    bad = np.isinf(variance)
    assert (bad == hole).all() and np.array_equal((p["mask"] & 3) != 0, bad)
    assert (p["mask"][hole] & OUTSIDE).all() and not (p["mask"][~hole] & OUTSIDE).any()
    assert np.array_equal(p["image"][~bad], image[~bad]) and np.array_equal(p["variance"][~bad], variance[~bad])
    assert not p["image"][bad].any() and np.isinf(p["variance"][bad]).all()
    planes = [x["name"] for x in tree["mask"]["planes"]]
    for plane, bit in (("SATURATED", SATURATED), ("DETECTION_EDGE", EDGE)):
        assert np.array_equal((p["mask"] & bit) != 0, (mask >> planes.index(plane) & 1) != 0), plane
    # One noise a cell: the lower tercile of its variances.
    for y, x in ((0, 6), (6, 0), (6, 6)):
        cell = np.sort(variance[y:y + 6, x:x + 6].ravel())[12]
        assert np.allclose(p["sigma"][y:y + 6, x:x + 6] ** 2, cell, rtol=1e-5)
    # Nodes at columns and rows 0, 5.5, 11: the missing cell takes the PSF above it, the first of its neighbours.
    for j, i, cell in ((0, 0, (0, 1)), (0, 2, (0, 1)), (2, 0, (1, 0)), (2, 2, (1, 1))):
        want = psf[cell] / psf[cell].sum()
        assert np.allclose(stamps[0, j, i, 23:28, 23:28], want, atol=1e-6), (j, i)
    with fits.open(path) as h:
        want = WCS(h["IMAGE"].header).all_pix2world(0, 0, 0)
    assert np.allclose(sky, [float(w) for w in want], atol=1e-9)


# ---- what the simulator writes ----

def fits_schema(value, schema, root, where="tree"):
    """A JSON schema as pydantic writes it; the reason why `value` is not of it, or ''."""
    if "$ref" in schema:
        return fits_schema(value, root["$defs"][schema["$ref"].split("/")[-1]], root, where)
    if "anyOf" in schema or "oneOf" in schema:
        why = [fits_schema(value, s, root, where) for s in schema.get("anyOf") or schema["oneOf"]]
        return "" if "" in why else min(why, key=len)
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None),
             "boolean": bool}
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):
        return f"{where}: {type(value).__name__} where {schema['type']} is expected"
    if "const" in schema and value != schema["const"] or "enum" in schema and value not in schema["enum"]:
        return f"{where}: {value!r}"
    if isinstance(value, dict):
        missing = [k for k in schema.get("required", ()) if k not in value]
        inner = ((k, v, schema.get("properties", {}).get(k, schema.get("additionalProperties"))) for k, v in value.items())
    elif isinstance(value, list):
        missing, inner = [], ((n, v, schema.get("items")) for n, v in enumerate(value))
    else:
        return ""
    if missing:
        return f"{where}: no {missing}"
    return next((why for k, v, s in inner if isinstance(s, dict) and (why := fits_schema(v, s, root, f"{where}/{k}"))), "")


def tree_of(hdus):
    return json.loads(bytes(hdus["JSON"].data[0]["JSON"].astype(np.uint8)))


def written_file_is_right(path):
    with fits.open(path, disable_image_compression=True) as h:
        index, primary = h["INDEX"].data, h[0].header
        assert len(index) == len(h) - 1
        for row, hdu in zip(index, h):
            info = hdu.fileinfo()
            assert row["EXTNAME"] == hdu.header.get("EXTNAME", "") and row["XTENSION"] == hdu.header.get("XTENSION", "IMAGE")
            assert bool(row["ZIMAGE"]) == hdu.header.get("ZIMAGE", False)
            assert (row["HDRADDR"], row["DATADDR"], row["DATSIZE"]) == (info["hdrLoc"], info["datLoc"], info["datSpan"])
        for key, hdu in (("INDX", h["INDEX"]), ("JSON", h["JSON"])):
            info = hdu.fileinfo()
            assert primary[key + "ADDR"] == info["hdrLoc"]
            assert primary[key + "SIZE"] == info["datLoc"] + info["datSpan"] - info["hdrLoc"]
        assert [x.header["ZCMPTYPE"] for x in h[1:5]] == ["GZIP_2"] * 4
    with fits.open(path, checksum=True) as h:
        tree = tree_of(h)
    schema = os.path.join(LAYOUT, "cell_coadd-1.0.0.schema.json.gz")
    if os.path.exists(schema):
        with gzip.open(schema) as f:
            root = json.load(f)
        assert fits_schema(tree, root, root) == "", fits_schema(tree, root, root)
        assert "yx0" in fits_schema(dict(tree, image={"data": tree["image"]["data"]}), root, root)
    else:
        print("schema: skipped, not there:", schema)
    return tree


def astropy_reads_the_same(folder, band):
    path = os.path.join(folder, f"tile-000-000-{band}.fits")
    tree = written_file_is_right(path)
    with fits.open(path) as h:
        image, variance, mask = (h[k].data for k in ("IMAGE", "VARIANCE", "MASK"))
        names = [h["MASK"].header[f"MSKN{n:04d}"] for n in range(7)]
        first = WCS(h["IMAGE"].header).all_pix2world(0, 0, 0)
    ny, nx = image.shape
    _, _, sky, (p,), _ = read_box(folder, band, 0, 0, nx, ny)
    assert np.allclose(sky, [float(v) for v in first], atol=1e-10)
    no_data = (mask & 1 << names.index("NO_DATA")) != 0
    assert np.array_equal(no_data, np.isinf(variance)) and not image[no_data].any()
    assert np.array_equal((p["mask"] & (OUTSIDE | BAD)) != 0, no_data)
    assert np.array_equal(p["image"], image) and np.array_equal(p["variance"], variance)
    assert np.array_equal((p["mask"] & SATURATED) != 0, (mask & 1 << names.index("SATURATED")) != 0)
    # Each missing cell is a hole of its own; the defects beside are few.
    cell, missing = tree["psf"]["bounds"]["grid"]["cell_shape"][0], tree["psf"]["bounds"]["missing"]
    hole = np.zeros_like(no_data)
    for m in missing:
        hole[m["i"] * cell:(m["i"] + 1) * cell, m["j"] * cell:(m["j"] + 1) * cell] = True
    assert len(missing) > 1 and no_data[hole].all() and no_data[~hole].mean() < 0.1
    assert (p["mask"][hole] & OUTSIDE).all()


# ---- the catalog probe ----

def datasets(path):
    out = {}
    with h5py.File(path) as f:
        f.visititems(lambda n, o: out.__setitem__(n, o[()]) if isinstance(o, h5py.Dataset)
                     and not n.startswith("run/") else None)
    return out


def configure(work, name, tiles, model, **more):
    path = os.path.join(work, name + ".yaml")
    with open(path, "w") as f:
        f.write(f"probe: catalog\ntiles: [{tiles}]\nmodel: {model}\nprecision: fp32\noutput: {name}\n")
        f.writelines(f"{k}: {v}\n" for k, v in more.items())
    return path


def same_for_any_ranks(work, tiles):
    model = os.path.join(work, "fake.onnx")
    with open(model, "wb") as f:
        f.write(fake_model("u,g,r,i,z", "r"))
    for name, ranks in (("one", 1), ("three", 3)):
        skyquilt("run", configure(work, name, tiles, model, threshold=0.4), "--quiet", ranks=ranks)
    a, b = (datasets(os.path.join(work, n, "release.h5")) for n in ("one", "three"))
    assert a.keys() == b.keys() and len(a["catalog/ra"]) > 100
    different = [n for n in a if np.asarray(a[n]).tobytes() != np.asarray(b[n]).tobytes()]
    assert not different, f"differ between 1 and 3 ranks: {different[:5]}"
    skyquilt("verify", os.path.join(work, "three", "release.h5"))


def same_sources_as_exposures(work, cells, plain):
    """The committed network on both formats of one sky: nearly the same catalog."""
    model = os.path.join(os.environ["SQ_SOURCE"], "tools", "models", "sdss.onnx")
    found = []
    for name, tiles in (("from_cells", cells), ("from_plain", plain)):
        skyquilt("run", configure(work, name, tiles, model, patch="{core: 128}"), "--quiet")
        with h5py.File(os.path.join(work, name, "release.h5")) as f:
            found.append({k: f["catalog"][k][:] for k in ("x", "y", "flux_r", "flux_r_err")})
    a, b = found
    assert len(a["x"]) > 30 and abs(len(a["x"]) - len(b["x"])) <= 0.05 * len(b["x"]), (len(a["x"]), len(b["x"]))
    bright = np.flatnonzero(b["flux_r"] > 10 * b["flux_r_err"])
    apart = np.hypot(a["x"][:, None] - b["x"][bright], a["y"][:, None] - b["y"][bright])
    nearest = apart.argmin(0)
    matched = apart.min(0) < 0.3
    assert len(bright) > 10 and matched.mean() > 0.97, (len(bright), matched.mean())
    pull = (a["flux_r"][nearest] - b["flux_r"][bright]) / b["flux_r_err"][bright]
    assert np.median(abs(pull[matched])) < 0.1, np.median(abs(pull[matched]))


def main():
    with tempfile.TemporaryDirectory(prefix="sq_cells_") as work:
        shipped_tree_reads(work)
        sky = "preset: sdss\nseed: 4\ntile_nx: 250\ntile_ny: 220\nstar_density: 50000\ncell: 48\n"
        for name, keys in (("cells", "format: cell_coadd\n"), ("plain", ""),
                           ("holes", "format: cell_coadd\ncell_missing: 0.25\n")):
            path = os.path.join(work, name + ".yaml")
            with open(path, "w") as f:
                f.write(sky + keys)
            skyquilt("simulate", path, "--output", os.path.join(work, name), "--quiet")
        cells, plain, holes = (os.path.join(work, n) for n in ("cells", "plain", "holes"))
        astropy_reads_the_same(holes, "r")
        # Bands may be missing, here u and z.
        for band in "uz":
            os.unlink(os.path.join(holes, f"tile-000-000-{band}.fits"))
        _, found, _, planes, _ = read_box(holes, "ugriz", 0, 0, 64, 64)
        assert found == "gri" and [(p["mask"] & OUTSIDE).all() for p in planes] == [True, False, False, False, True]
        same_for_any_ranks(work, holes)
        same_sources_as_exposures(work, cells, plain)


if __name__ == "__main__":
    main()
