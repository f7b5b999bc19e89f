"""Train a cluster network on training sets of the mm simulator, on the CPU or a GPU.

    skyquilt simulate SKY.yaml --training SETS/set-1.h5 --seed 1001 --samples 4        (and more, other seeds)
    python3 tools/train/train_clusters.py --net own --sets 'SETS/set-*.h5' --validation SETS/validation.h5 --out RUN --hours 1

--net own is the fully convolutional network, --net deepsz the cutout network for comparison, trained on sets made with
--fixed. Sets that appear while it runs are taken in. tools/train/loop.py tells of checkpoints and rates.
"""

import argparse
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import loop
from cluster_data import Cutouts, Fields
from cluster_net import FAR, LN_MASS, LN_SIGMA, ClusterNet, DeepSZNet

HEAT_WEIGHT = torch.tensor([1.0, 2.0, 8.0]).view(1, 3, 1, 1)


class Task:
    def __init__(self, a):
        self.a, self.rng = a, np.random.default_rng(a.seed)

    def resume(self, state):
        self.rng = np.random.default_rng([self.a.seed, state["step"]])

    def refresh(self):
        self.train.refresh(2)

    def keep(self):
        return {"kind": self.a.net, "ghz": self.train.ghz, "pixel": float(self.train.pixel), "blind": self.a.blind}

    def loss(self, net):
        return self.measure(net, self.batch(self.rng))

    def validate(self, net):
        sums, n = {"sets": len(self.train.seen)}, 0
        for batch in self.validation():
            for k, v in self.measure(net, batch)[1].items():
                sums[k] = sums.get(k, 0) + v
            n += 1
        return {k: v if k == "sets" else round(v / n, 5) for k, v in sums.items()}


class Own(Task):
    """One batch is a few crops of fields."""

    BATCH, RATE = 4, 2e-3

    def __init__(self, a):
        super().__init__(a)
        self.train, self.valid = Fields(a.sets, a.limit), Fields(a.validation)
        self.train.refresh(4)
        self.valid.refresh()
        self.net = ClusterNet(self.train.nband)

    def measure(self, net, batch):
        image, planes, label = (t.to(self.a.device) for t in batch)
        if self.a.blind:
            image[:, self.train.nband:] = 0
        with loop.autocast(self.a):
            out = net(image.contiguous(memory_format=torch.channels_last), planes)
        rim = 16      # the crop's edge lacks context
        out, label = out.float()[..., rim:-rim, rim:-rim], label[..., rim:-rim, rim:-rim]
        heat = F.binary_cross_entropy_with_logits(out[:, :3], label[:, :3], reduction="none")
        heat = (heat * HEAT_WEIGHT.to(self.a.device)).mean((0, 2, 3))
        weight = label[:, 5]
        total = weight.sum() + 1
        ln_sigma = out[:, LN_SIGMA].clamp(-4, 2)
        mass = 0.5 * ((label[:, 3] - out[:, LN_MASS]) * torch.exp(-ln_sigma)) ** 2 + ln_sigma
        mass = (weight * mass).sum() / total
        far = F.binary_cross_entropy_with_logits(out[:, FAR], label[:, 4], reduction="none")
        far = (weight * far).sum() / total
        parts = {"halo": heat[0], "cluster": heat[1], "target": heat[2], "mass": mass, "far": far}
        return 20 * heat.sum() + 0.3 * mass + 0.3 * far, {k: float(v) for k, v in parts.items()}

    def batch(self, rng):
        return self.train.batch(rng, self.a.batch, self.a.side)

    def validation(self):
        rng = np.random.default_rng(3)
        for _ in range(24):
            yield self.valid.batch(rng, 4, self.a.side)


class DeepSZ(Task):
    """One batch is cutouts, half of them positive."""

    BATCH, RATE = 64, 1e-3

    def __init__(self, a):
        super().__init__(a)
        self.train, self.valid = Cutouts(a.sets), Cutouts(a.validation)
        self.train.refresh()
        self.valid.refresh()
        self.net = DeepSZNet(self.train.nband)

    def measure(self, net, batch):
        cutout, label = (t.to(self.a.device) for t in batch)
        with loop.autocast(self.a):
            out = net(cutout.contiguous(memory_format=torch.channels_last))
        loss = F.binary_cross_entropy_with_logits(out.float()[:, 0], label)
        right = ((out[:, 0] > 0) == (label > 0.5)).float().mean()
        return loss, {"loss": float(loss), "right": float(right)}

    def batch(self, rng):
        return self.train.batch(rng, self.a.batch)

    def validation(self):
        rng = np.random.default_rng(3)
        for _ in range(24):
            yield self.valid.batch(rng, 128)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--net", choices=("own", "deepsz"), required=True)
    p.add_argument("--sets", required=True, help="pattern of training sets")
    p.add_argument("--validation", required=True, help="pattern of validation sets, of other seeds")
    p.add_argument("--side", type=int, default=256, help="own: of a crop, pixels")
    p.add_argument("--limit", type=int, default=240, help="own: fields held in memory")
    p.add_argument("--blind", action="store_true", help="own: without the channels of the matched filter")
    loop.arguments(p, hours=1.0, rate=None, batch=None)
    a = p.parse_args()
    task = {"own": Own, "deepsz": DeepSZ}[a.net]
    a.batch, a.rate = a.batch or task.BATCH, a.rate or task.RATE
    loop.prepare(a)
    loop.train(a, task(a))


if __name__ == "__main__":
    main()
