"""Train a catalog network on sets that the simulator makes while training goes on.

    python3 tools/train/train_catalog.py --sky tools/train/sdss_train.yaml --limit 23.5 --out RUN --hours 2 --bf16
    python3 tools/train/train_catalog.py --sky tools/train/lsst_train.yaml --limit 27 --drop 0.3 --skyless 0.4 --out RUN --hours 4 --bf16
    python3 tools/train/train_catalog.py --sky tools/train/crowded_train.yaml --limit 22.5 --tile 2 --side 48 --sources 2000 --out RUN --bf16

Every chunk of samples has a seed of its own, so no sample is seen in two runs and validation (seed 1) is never trained on. A
training that begins from another's weights (--start) needs a --first seed that the other had not reached.
tools/train/loop.py tells of checkpoints and rates.
"""

import argparse
import os
import subprocess
import sys

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import loop
from catalog_data import MARGIN, TrainingSet, base_flux, contexts
from catalog_net import COLOURS, CatalogNet, slot_size

VALIDATION_SEED = 1


def gaussian(mean, logsigma, truth):
    logsigma = torch.clamp(logsigma, -6, 3)
    return 0.5 * ((truth - mean) * torch.exp(-logsigma)) ** 2 + logsigma + 0.919


def tile_loss(head, count, value, base, usable, nband):
    """Negative log posterior of the truth, sums over the tiles of one colour: parts by name, and sources."""
    parts = {"count": F.cross_entropy(head[:, :3], count, reduction="none")}
    parts["count"] = parts["count"].sum()
    for s in range(2):
        h = head[:, 3 + s * slot_size(nband):3 + (s + 1) * slot_size(nband)]
        here = (count > s).float()
        v = value[:, s]
        add = lambda name, x: parts.__setitem__(name, parts.get(name, 0) + (here * x).sum())
        ls = torch.clamp(h[:, 2:4], -6, 1)
        rho = 0.99 * torch.tanh(h[:, 4])
        z = (v[:, 0:2] - h[:, 0:2]) * torch.exp(-ls)
        one = 1 - rho * rho
        add("position", 0.5 * (z[:, 0] ** 2 - 2 * rho * z[:, 0] * z[:, 1] + z[:, 1] ** 2) / one
            + ls.sum(1) + 0.5 * torch.log(one) + 1.838)
        add("star", F.binary_cross_entropy_with_logits(h[:, 5], v[:, 2], reduction="none"))
        add("shape", (1 - v[:, 2]) * gaussian(h[:, 6:10], h[:, 10:14], v[:, 3:7]).sum(1))
        add("flux", flux_loss(h, v[:, 7:] - base, usable, nband))
    return parts


def flux_loss(h, truth, usable, nband):
    """Gaussian in ln flux with the Cholesky factor of its precision; a missing band keeps its own marginal."""
    r = torch.clamp(truth - h[:, 14:14 + nband], -20, 20)
    chol = h[:, 14 + nband:14 + nband + nband * (nband + 1) // 2]
    total, k = 0, 0
    for i in range(nband):
        z = 0
        for j in range(i + 1):
            if i == j:
                diag = torch.clamp(chol[:, k], -3, 5)
                z = z + torch.exp(diag) * r[:, i]
                total = total - diag
            else:
                z = z + chol[:, k] * r[:, j]
            k += 1
        total = total + 0.5 * z * z + 0.919
    return total


WEIGHT = {"count": 1.0, "position": 0.25, "star": 1.0, "shape": 0.15, "flux": 0.25}


def batch_loss(net, data, index, a, rng=None):
    image, planes, count, value = (t.to(a.device) for t in data.batch(index, rng, a.drop, a.skyless))
    ctx = contexts(planes, count, value, data.nband, data.reference, data.tile)
    with loop.autocast(a):
        heads = net(image.contiguous(memory_format=torch.channels_last), planes, *ctx)
    base = base_flux(planes, data.nband)
    usable = planes.view(len(planes), data.nband, -1, *planes.shape[-2:])[:, :, -1]
    total, sums, sources, tiles = 0, {}, 0, 0
    keep = MARGIN // (2 * data.tile)
    for k, (row, column) in enumerate(COLOURS):
        pick = lambda t: t[..., row::2, column::2][..., keep:-keep, keep:-keep]
        c = pick(count)
        parts = tile_loss(heads[k].float()[..., keep:-keep, keep:-keep], c, pick(value), pick(base), pick(usable),
                          data.nband)
        tiles += c.numel()
        sources += int((c > 0).sum() + (c > 1).sum())
        for name, x in parts.items():
            total = total + WEIGHT[name] * x
            sums[name] = sums.get(name, 0) + float(x)
    return total / max(1, sources), {k: v / max(1, sources) for k, v in sums.items()}


class Chunks:
    """Training sets made one ahead of the one in use."""

    def __init__(self, a, seed):
        self.a, self.seed = a, seed
        self.start()

    def path(self):
        return os.path.join(self.a.out, f"set-{self.seed}.h5")

    def start(self):
        self.job = subprocess.Popen(simulate(self.a, self.path(), self.a.samples, self.seed), stdout=subprocess.DEVNULL)

    def next(self):
        if self.job.wait() != 0:
            raise SystemExit("the simulator failed")
        path = self.path()
        self.seed += 1
        self.start()
        data = TrainingSet(path, self.a.limit)
        os.remove(path)
        return data


def simulate(a, path, samples, seed):
    room = ["--sources", str(a.sources)] if a.sources else []
    return [a.program, "simulate", a.sky, "--training", path, "--samples", str(samples), "--side", str(a.side), "--tile", str(a.tile),
            *room, "--limit", str(a.limit), "--seed", str(seed), "--quiet"]


class Task:
    """Batches of one chunk after another, each chunk a few times over."""

    def __init__(self, a):
        self.a = a
        path = os.path.join(a.out, "validation.h5")
        if not os.path.exists(path):
            subprocess.check_call(simulate(a, path, 384, VALIDATION_SEED))
        self.valid = TrainingSet(path, a.limit)
        self.net = CatalogNet(self.valid.nband, self.valid.tile)

    def resume(self, state):
        self.chunks = Chunks(self.a, state.get("seed", self.a.first))
        self.rng = np.random.default_rng(self.chunks.seed)
        self.batches = self.draw()

    def draw(self):
        while True:
            data = self.chunks.next()
            for _ in range(self.a.passes):
                order = self.rng.permutation(len(data))
                for start in range(0, len(order) - self.a.batch + 1, self.a.batch):
                    yield data, np.sort(order[start:start + self.a.batch])

    def loss(self, net):
        data, index = next(self.batches)
        return batch_loss(net, data, index, self.a, self.rng)

    def validate(self, net):
        totals, starts = {}, range(0, len(self.valid), 32)
        torch.manual_seed(0)
        for start in starts:
            index = np.arange(start, min(start + 32, len(self.valid)))
            for k, v in batch_loss(net, self.valid, index, self.a)[1].items():
                totals[k] = totals.get(k, 0) + v
        return {k: round(v / len(starts), 4) for k, v in totals.items()}

    def note(self, state):
        state["seed"] = self.chunks.seed

    def keep(self):
        return {"bands": self.valid.bands, "limit": self.a.limit, "tile": self.valid.tile}

    def close(self):
        self.chunks.job.kill()
        self.chunks.job.wait()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sky", required=True, help="sky configuration of the simulator")
    p.add_argument("--program", default="build/skyquilt")
    p.add_argument("--samples", type=int, default=3072, help="of a chunk")
    p.add_argument("--passes", type=int, default=2, help="over a chunk")
    p.add_argument("--first", type=int, default=1000, help="seed of the first chunk")
    p.add_argument("--side", type=int, default=80)
    p.add_argument("--tile", type=int, default=4, choices=(2, 4), help="side of a tile, pixels")
    p.add_argument("--sources", type=int, help="room for so many of a patch; default: as the simulator has")
    p.add_argument("--limit", type=float, required=True, help="faintest r magnitude of a source")
    p.add_argument("--drop", type=float, default=0.1, help="fraction of the samples that lose some of their bands")
    p.add_argument("--skyless", type=float, default=0.0, help="fraction whose sky level is not told, as in subtracted coadds")
    loop.arguments(p, hours=2.0, rate=2e-3, batch=24)
    a = p.parse_args()
    loop.prepare(a)
    loop.train(a, Task(a))


if __name__ == "__main__":
    main()
