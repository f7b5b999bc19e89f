#!/usr/bin/python3
"""Reduce, from outside: releases of one survey by 1, 2, 3 and 5 ranks, in several orders of commits, are equal bit for
bit; every source is there once; rows are sorted; maps are stitched as numpy stitches them; damage is refused.

test_merge.py MAKE_RELEASE MPIRUN SKYQUILT"""
import glob
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np

MAKE, MPIRUN, PROGRAM = sys.argv[1:4]


def make(folder, name, ranks, order=0, memory=0, deflate=0, fresh=True, ok=True, **environment):
    shards = os.path.join(folder, "shards-" + name)
    if fresh:
        os.mkdir(shards)
    path = os.path.join(folder, name + ".h5")
    run = subprocess.run([MPIRUN, "--oversubscribe", "-n", str(ranks), MAKE, shards, path, str(order), str(memory),
                          str(deflate)], capture_output=True, text=True, timeout=200, errors="replace", env={**os.environ, **environment})
    if ok and run.returncode != 0:
        raise AssertionError(run.stdout + run.stderr)
    return path, run


def content(path):
    """Everything outside /run: dtype, shape, attributes, bytes."""
    found = {}

    def visit(name, item):
        if name.split("/")[0] in ("run",):
            return
        attributes = {k: bytes(np.asarray(v).tobytes()) for k, v in item.attrs.items()}
        if isinstance(item, h5py.Dataset):
            found[name] = (str(item.dtype), item.shape, attributes, np.asarray(item[()]).tobytes())
        else:
            found[name] = attributes

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


class Merge(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = cls.temporary.name
        cls.path, cls.first = make(cls.folder, "one", 1)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def test_ranks_orders_and_memory_change_nothing(self):
        expected = content(self.path)
        self.assertGreater(len(expected), 25)
        cases = [(2, 0, 0), (3, 4, 0), (5, 0, 0), (5, 9, 100000), (2, 3, 200000), (1, 2, 50000)]
        for i, (ranks, order, memory) in enumerate(cases):
            path, run = make(self.folder, "case%d" % i, ranks, order, memory)
            self.assertEqual(run.stdout.split()[0], self.first.stdout.split()[0], "manifest")
            other = content(path)
            self.assertEqual(sorted(expected), sorted(other))
            for name in expected:
                self.assertEqual(expected[name], other[name], (ranks, order, memory, name))

    def test_compressed_columns_hold_the_same(self):
        path, _ = make(self.folder, "packed", 3, 0, 0, 4)
        self.assertLess(os.path.getsize(path), os.path.getsize(self.path))
        self.assertEqual(content(self.path), content(path))

    def test_every_source_once_in_order(self):
        with h5py.File(self.path, "r") as file:
            c = {k: file["catalog"][k][()] for k in file["catalog"]}
            tiles = [file["tiles"]["name"][i] for i in range(2)]
            state, patches = file["patches/state"][()], file["patches/patch"][()]
            failed = file["failures/reason"][()]
            units = file["catalog/flux"].attrs["units"]
        self.assertEqual(tiles, [b"tile-0", b"tile-1"])
        self.assertEqual(units, b"nJy")
        self.assertNotIn("depth", c)
        self.assertEqual(len(np.unique(patches)), len(patches))
        self.assertEqual(len(failed), (state > 0).sum())
        self.assertIn(b"all pixels are masked", failed)
        order = np.lexsort((c["dec"], c["ra"], c["healpix29"]))
        self.assertTrue((order == np.arange(len(order))).all())
        self.once_and_complete(self.path, self.first)

    def once_and_complete(self, path, run, **environment):
        """No source comes twice; those of done patches, away from the survey's edge and from failed patches, are all
        there. Crowding merges or splits a few true pairs within the radius."""
        with h5py.File(path, "r") as file:
            source, count = np.unique(file["catalog/source"][()], return_counts=True)
        self.assertLessEqual((count > 1).sum(), 3)
        self.assertGreater(int(run.stdout.split()[1]), len(source) + 1000, "borders were to be reconciled")
        listing = subprocess.run([MAKE, "--coverage"], capture_output=True, text=True, env={**os.environ, **environment})
        covered, failed = np.array(listing.stdout.split(), int).reshape(-1, 2).T
        expected = np.flatnonzero((covered == 1) & (failed == 0))
        self.assertGreater(len(expected), 3000)
        self.assertLessEqual(len(np.setdiff1d(expected, source)), 6)

    def test_the_pole_is_a_point_like_any_other(self):
        path, run = make(self.folder, "pole1", 1, SQ_TEST_POLE="1")
        self.once_and_complete(path, run, SQ_TEST_POLE="1")
        other, _ = make(self.folder, "pole3", 3, 2, 150000, SQ_TEST_POLE="1")
        self.assertEqual(content(path), content(other))
        with h5py.File(path, "r") as file:
            self.assertGreater(file["catalog/dec"][()].max(), 89.999)

    def test_tables_without_positions_keep_their_order(self):
        with h5py.File(self.path, "r") as file:
            level, patch = file["noise/level"][()], file["noise/patch"][()]
            state = dict(zip(file["patches/patch"][()], file["patches/state"][()]))
        expected = [(int(p), int(p) + 0.1 * k) for p in sorted(state) if state[p] == 0 for k in range(int(p) % 3)]
        self.assertEqual(patch.tolist(), [p for p, _ in expected])
        self.assertEqual(level.tolist(), [v for _, v in expected])

    def test_maps_are_stitched_in_the_order_of_patches(self):
        with h5py.File(self.path, "r") as file:
            image = file["maps/sum"][()]
            done = file["patches/patch"][()][file["patches/state"][()] == 0]
        self.assertEqual(image.shape, (2, 500, 640))
        # Plane 1 holds the number of the patch: wherever blocks overlap the last done patch must have won.
        blocks = subprocess.run([MAKE, "--blocks"], capture_output=True, text=True).stdout.split()
        blocks = np.array(blocks, int).reshape(-1, 3)
        expected = np.full((500, 640), np.nan, np.float32)
        for patch, x0, y0 in blocks[np.isin(blocks[:, 0], done)]:
            expected[y0:y0 + 40, x0:x0 + 60] = patch
        np.testing.assert_array_equal(image[1], expected)
        # Plane 0 has NaN holes, which let earlier blocks through: never more of them than in plane 1 alone.
        self.assertTrue((np.isnan(image[0]) >= np.isnan(image[1])).all())
        self.assertLess(np.isnan(image[0]).sum() - np.isnan(image[1]).sum(), 0.1 * image[0].size)

    def test_a_run_without_any_product_is_a_release(self):
        path, run = make(self.folder, "empty", 5, SQ_TEST_EMPTY="1")
        with h5py.File(path, "r") as file:
            self.assertEqual(file["catalog/ra"].shape, (0,))
            self.assertTrue(np.isnan(file["maps/sum"][()]).all())
            self.assertTrue((file["patches/state"][()] > 0).all())
        self.assertEqual(self.verify(path)[0], 0)

    def test_run_holds_the_execution(self):
        with h5py.File(self.path, "r") as file:
            self.assertEqual(file["run/order"][()], b"0")
            infer, state = file["run/tasks/infer"][()], file["patches/state"][()]
            self.assertTrue((np.isnan(infer) == (state > 0)).all())
            self.assertEqual(file["provenance/config"][()], b"seed: 1\n")
            self.assertEqual(file["patches"].attrs["config_hash"], b"00112233")

    def verify(self, *paths):
        run = subprocess.run([PROGRAM, "verify", *paths], capture_output=True, text=True, errors="replace")
        return run.returncode, run.stdout + run.stderr

    def test_verify_finds_every_flipped_bit(self):
        self.assertEqual(self.verify(self.path)[0], 0)
        with open(self.path, "rb") as file:
            data = bytearray(file.read())
        copy = os.path.join(self.folder, "flipped.h5")
        chance = random.Random(5)
        places = list(range(0, 512, 61)) + [511, 512, 520, len(data) - 1]
        places += [chance.randrange(len(data)) for _ in range(40)]
        for place in places:
            bit = 1 << chance.randrange(8)
            data[place] ^= bit
            with open(copy, "wb") as file:
                file.write(data)
            data[place] ^= bit
            code, text = self.verify(copy)
            self.assertEqual(code, 4, (place, text))
        for cut in (0, 1, 511, 512, 600, len(data) // 2, len(data) - 1):
            with open(copy, "wb") as file:
                file.write(data[:cut])
            self.assertEqual(self.verify(copy)[0], 4, cut)

    def test_verify_names_what_changed(self):
        """Changes made through HDF5 itself, by a user who means well: the file opens, the dataset is named."""
        copy = os.path.join(self.folder, "edited.h5")

        def edit(change):
            shutil.copy(self.path, copy)
            with h5py.File(copy, "r+") as file:
                change(file)
            code, text = self.verify(copy)
            self.assertEqual(code, 4)
            return text

        def one_value(file):
            file["catalog/flux"][17] = 1

        def one_unit(file):
            file["catalog/ra"].attrs["units"] = b"rad"

        def one_more(file):
            file["catalog/extra"] = np.arange(3)

        def one_less(file):
            del file["patches/state"]

        self.assertIn("catalog/flux: content changed", edit(one_value))
        self.assertIn("catalog/ra: type, shape or attributes changed", edit(one_unit))
        self.assertIn("catalog/extra: not in the manifest", edit(one_more))
        self.assertIn("patches/state: missing", edit(one_less))

    def test_export_gives_the_same_tables(self):
        from astropy.table import Table
        folder = os.path.join(self.folder, "fits")
        subprocess.run([PROGRAM, "export", self.path, "--output", folder], check=True, capture_output=True)
        self.assertEqual(sorted(os.listdir(folder)), ["catalog.fits", "noise.fits"])
        table = Table.read(os.path.join(folder, "catalog.fits"))
        self.assertEqual(table.colnames, ["ra", "dec", "source", "flux", "flag", "healpix29", "tile", "patch"])
        self.assertEqual(str(table["flux"].unit), "nJy")
        with h5py.File(self.path, "r") as file:
            for name in table.colnames:
                np.testing.assert_array_equal(np.asarray(table[name]), file["catalog"][name][()])
        bad = subprocess.run([PROGRAM, "export", self.path, "--table", "nothing"], capture_output=True, text=True)
        self.assertEqual(bad.returncode, 1)
        self.assertEqual(bad.stderr.count("\n"), 1)

    def test_verify_reads_an_output_folder(self):
        run = os.path.join(self.folder, "run")
        os.mkdir(run)
        make(run, "x", 1, SQ_TEST_LEDGER="1")
        os.rename(os.path.join(run, "shards-x"), os.path.join(run, "shards"))
        os.rename(os.path.join(run, "x.h5"), os.path.join(run, "release.h5"))
        self.assertEqual(self.verify(run)[0], 0, self.verify(run))
        chance = random.Random(8)
        files = sorted(glob.glob(os.path.join(run, "shards", "*"))) + [os.path.join(run, n) for n in ("ledger", "release.h5")]
        for path in files:
            with open(path, "rb") as file:
                data = bytearray(file.read())
            for place in [0, len(data) - 1] + [chance.randrange(len(data)) for _ in range(3)]:
                changed = bytearray(data)
                changed[place] ^= 1 << chance.randrange(8)
                with open(path, "wb") as file:
                    file.write(changed)
                code, text = self.verify(run)
                self.assertEqual(code, 4, (path, place))
                self.assertIn(os.path.basename(path), text)
            with open(path, "wb") as file:
                file.write(data)
        os.remove(files[0])
        code, text = self.verify(run)
        self.assertEqual(code, 4)
        self.assertIn(os.path.basename(files[0]) + ": cannot open", text)

    def test_a_failed_allocation_ends_all_ranks_together(self):
        finished = 0
        for n in [0, 1, 8, 30, 800, 1100, 100000]:
            path, run = make(self.folder, "alloc%d" % n, 3, ok=False, SQ_TEST_FAIL_ALLOC=str(n))
            self.assertFalse(os.path.exists(path + ".partial"), n)
            if run.returncode == 0:
                self.assertEqual(run.stdout.split()[0], self.first.stdout.split()[0])
                finished += 1
                continue
            self.assertEqual(run.stdout.count(": nomem: "), 3, (n, run.stdout, run.stderr))
            self.assertFalse(os.path.exists(path), n)
        self.assertGreater(finished, 0)

    def test_a_full_disk_ends_all_ranks_together(self):
        """A file system of 1 MB in memory, where it may be mounted."""
        full = os.path.join(self.folder, "full")
        os.mkdir(full)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", full], capture_output=True).returncode:
            self.skipTest("cannot mount a small file system here")
        try:
            shards = os.path.join(self.folder, "shards-full")
            os.mkdir(shards)
            run = subprocess.run([MPIRUN, "--oversubscribe", "-n", "3", MAKE, shards, os.path.join(full, "r.h5"), "0",
                                  "0", "0"], capture_output=True, text=True, timeout=200)
            self.assertEqual(run.returncode, 4)
            self.assertEqual(run.stdout.count("No space left"), 3)
            self.assertEqual(os.listdir(full), [])
        finally:
            subprocess.run(["umount", full], check=True)

    def test_a_rank_that_cannot_write_ends_all_ranks_together(self):
        """Files of the last rank may not grow beyond a limit: its first writes or its last ones fail."""
        for limit in (1000, 100000, 250000):
            path, run = make(self.folder, "limit%d" % limit, 3, ok=False, SQ_TEST_FILE_LIMIT=str(limit))
            self.assertEqual(run.stdout.count(": io: "), 3, (limit, run.stdout, run.stderr))
            self.assertFalse(os.path.exists(path) or os.path.exists(path + ".partial"))

    def test_positions_that_are_none_have_an_order(self):
        first, _ = make(self.folder, "nan1", 1, SQ_TEST_NAN="1")
        with h5py.File(first, "r") as file:
            ra, dec = file["catalog/ra"][()], file["catalog/dec"][()]
            self.assertGreater((~np.isfinite(ra)).sum(), 100)
            self.assertGreater((~np.isfinite(dec)).sum(), 100)
        for ranks, order, memory in ((3, 2, 0), (2, 5, 70000)):
            other, _ = make(self.folder, "nan%d-%d" % (ranks, order), ranks, order, memory, SQ_TEST_NAN="1")
            self.assertEqual(content(first), content(other))

    def bench(self, ranks, *options):
        run = subprocess.run([MPIRUN, "--oversubscribe", "-n", str(ranks), PROGRAM, "bench", "reduce", "--json",
                              "--folder", self.folder, *options], capture_output=True, text=True, timeout=200)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        return json.loads(run.stdout)

    def test_many_rows_in_little_memory(self):
        """Every row of a synthetic sky is checked by the program itself; rows and border rows go through the disk."""
        rows = 600000
        plain = self.bench(1, "--rows", str(rows))
        small = self.bench(2, "--rows", str(rows), "--memory", "2")
        self.assertGreater(plain["rows_in"], plain["rows"] + rows // 20, "borders were to be reconciled")
        self.assertEqual(plain["spilled_mb"], 0)
        self.assertGreater(small["spilled_mb"], 4)
        self.assertEqual(plain["manifest"], small["manifest"])
        self.assertLess(small["read_again_mb"], 4 * rows * 60e-6)
        # A rank's share is about 40 MB; MPI, HDF5 and the blocks read back take some 15 MB.
        with open(PROGRAM, "rb") as program:
            sanitized = b"__asan_init" in program.read()  # which keeps what was freed
        if not sanitized:
            self.assertLess(small["peak_resident_mb"], small["resident_before_mb"] + 24)
        self.assertGreater(plain["peak_resident_mb"], plain["resident_before_mb"] + 60)
        scattered = [self.bench(2, "--rows", "150000", "--memory", memory, "--scatter") for memory in ("64", "1")]
        self.assertGreater(scattered[1]["spilled_mb"], 10)
        self.assertLess(scattered[1]["read_again_mb"], 2 * 150000 * 60e-6)
        self.assertEqual(scattered[0]["manifest"], scattered[1]["manifest"])
        self.assertEqual([f for f in os.listdir(self.folder) if f.startswith(("skyquilt-bench", "sort"))], [])

    def test_damaged_records_stop_the_merge(self):
        shards = os.path.join(self.folder, "shards-one")
        path, _ = make(self.folder, "damaged", 2)
        with open(path, "rb") as file:
            before = file.read()
        name = sorted(glob.glob(os.path.join(self.folder, "shards-damaged", "*.sqs")))[0]
        self.assertTrue(os.path.exists(shards))
        other = os.path.join(self.folder, "shards-damaged")
        for f in glob.glob(os.path.join(other, "*.sqs")):
            os.remove(f)
        path, run = make(self.folder, "damaged", 3, fresh=False, ok=False, SQ_TEST_DAMAGE=name)
        self.assertEqual(run.stdout.count(": corrupt: "), 3)
        self.assertEqual(run.stdout.count("e0-r0-000001.sqs"), 3)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), before, "the release that was there is untouched")
        self.assertFalse(os.path.exists(path + ".partial"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
