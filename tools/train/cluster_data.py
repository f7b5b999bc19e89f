"""Training sets of `skyquilt simulate --training` for the preset mm (include/skyquilt/clusters/training.h) as batches."""

import glob
import os

import h5py
import numpy as np
import torch

X, Y, Z, MVIR = range(4)
LN_MASS_CHANNEL = 3
TARGET_MASS, TARGET_Z = 2e14, 0.25
LEVELS = (5e13, 1e14)            # Msun, of the first two heat maps
WIDTH = 1.2                      # pixels, sigma of a centre's label: the match radius of 1' is 1.7 sigma
REACH = 5


def paint(halo, side):
    """Labels of one periodic field [6][side][side] float16: heat of halos, clusters and targets, ln(Mvir / 2e14), far,
    and the weight of the last two. The heaviest halo counts where several are near."""
    label = np.zeros((6, side, side), np.float32)
    grid = np.arange(-REACH, REACH + 1)
    for h in halo[::-1]:         # heaviest last
        column, row = int(round(h[X])), int(round(h[Y]))
        u = np.exp(-0.5 * ((grid + column - h[X]) / WIDTH) ** 2)
        v = np.exp(-0.5 * ((grid + row - h[Y]) / WIDTH) ** 2)
        blob = np.outer(v, u)
        rows, columns = np.ix_((grid + row) % side, (grid + column) % side)
        far = h[Z] >= TARGET_Z
        heavy = h[MVIR] >= LEVELS[1]
        label[0, rows, columns] = np.maximum(label[0, rows, columns], blob)
        if heavy:
            label[1, rows, columns] = np.maximum(label[1, rows, columns], blob)
        if h[MVIR] >= TARGET_MASS and far:
            label[2, rows, columns] = np.maximum(label[2, rows, columns], blob)
        weight = blob * (1 if heavy else 0.1)
        mine = weight > label[5, rows, columns] * (0.2 if heavy else 1)
        for channel, value in ((3, np.log(h[MVIR] / TARGET_MASS)), (4, float(far)), (5, weight)):
            label[channel, rows, columns] = np.where(mine, value, label[channel, rows, columns])
    return label.astype(np.float16)


class Fields:
    """Fields of all files of a pattern in memory; `refresh` takes in files that came since, up to `limit` fields."""

    def __init__(self, pattern, limit=200):
        self.pattern, self.limit, self.seen = pattern, limit, set()
        self.image, self.planes, self.label = [], [], []

    def refresh(self, most=1000):
        for path in sorted(set(glob.glob(self.pattern)) - self.seen)[:most]:
            if len(self.image) >= self.limit:
                return
            self.seen.add(path)
            with h5py.File(path) as f:
                for k in range(len(f["image"])):
                    self.image.append(f["image"][k])
                    self.planes.append(f["planes"][k])
                    self.label.append(paint(f["halo"][k, :f["count"][k]], self.image[-1].shape[-1]))
                self.pixel = f.attrs["pixel"]
                ghz = f.attrs["ghz"]
                self.ghz = ghz if isinstance(ghz, str) else ghz.decode()

    @property
    def nband(self):
        return len(self.ghz.split(","))

    def crop(self, field, row, column, side, turn):
        """image [C][side][side], planes [P][side / 8]^2, label: at a multiple of 8 pixels, turned by one of 8 symmetries."""
        out = []
        for array, cell in ((self.image, 1), (self.planes, 8), (self.label, 1)):
            a = array[field]
            n = side // cell
            rows = (np.arange(n) + row // cell) % a.shape[-1]
            columns = (np.arange(n) + column // cell) % a.shape[-1]
            c = a[:, rows[:, None], columns[None]]
            if turn & 1:
                c = c[:, ::-1]
            if turn & 2:
                c = c[:, :, ::-1]
            if turn & 4:
                c = c.transpose(0, 2, 1)
            out.append(torch.from_numpy(np.ascontiguousarray(c, np.float32)))
        return out

    def batch(self, rng, size, side):
        n = self.image[0].shape[-1] // 8
        crops = [self.crop(rng.integers(len(self.image)), 8 * rng.integers(n), 8 * rng.integers(n), side,
                           int(rng.integers(8))) for _ in range(size)]
        return [torch.stack(x) for x in zip(*crops)]


class Cutouts:
    """Cutouts of all files of a pattern: half of a batch is positive."""

    def __init__(self, pattern, limit=400):
        self.pattern, self.limit, self.seen = pattern, limit, set()
        self.cutout, self.label = None, None

    def refresh(self, most=1000):
        cutouts, labels = [], []
        for path in sorted(set(glob.glob(self.pattern)) - self.seen)[:most]:
            if len(self.seen) >= self.limit:
                break
            self.seen.add(path)
            with h5py.File(path) as f:
                cutouts.append(f["cutout"][:].reshape(-1, *f["cutout"].shape[2:]))
                labels.append(f["label"][:].reshape(-1, f["label"].shape[2]))
                ghz = f.attrs["ghz"]
                self.ghz = ghz if isinstance(ghz, str) else ghz.decode()
                self.pixel = f.attrs["pixel"]
        if cutouts:
            self.cutout = np.concatenate(([self.cutout] if self.cutout is not None else []) + cutouts)
            self.label = np.concatenate(([self.label] if self.label is not None else []) + labels)
            self.positive = np.flatnonzero(self.label[:, 0] > 0.5)
            self.negative = np.flatnonzero(self.label[:, 0] <= 0.5)

    @property
    def nband(self):
        return self.cutout.shape[1]

    def batch(self, rng, size):
        half = size // 2
        index = np.concatenate([rng.choice(self.positive, half), rng.choice(self.negative, size - half)])
        cutout = torch.from_numpy(self.cutout[index].astype(np.float32))
        if rng.random() < 0.5:
            cutout = cutout.flip(-1)
        if rng.random() < 0.5:
            cutout = cutout.flip(-2)
        if rng.random() < 0.5:
            cutout = cutout.transpose(-1, -2)
        return cutout, torch.from_numpy(self.label[index, 0])
