"""Train a lensing network on sets of the CMB simulator, on the CPU or a GPU.

    echo 'preset: cmb' > sky.yaml
    skyquilt simulate sky.yaml --training SETS/set-1.h5 --samples 512 --seed 5001         (and more, other seeds)
    skyquilt simulate sky.yaml --training SETS/validation.h5 --fixed --samples 64 --seed 3
    python3 tools/train/train_lensing.py --sets 'SETS/set-*.h5' --validation SETS/validation.h5 --out RUN --hours 0.8

The loss is the mean of |FT(network - target)|^2 over the modes of 60 <= L <= 3000 over that of the target: 1 for a network that
adds nothing to the classical estimate. Modes have the weight rho_L^2 that this estimate has in the validation set: where there is
little to know, gradients are noise. Boxes are shifted, turned and mirrored. Sets that appear while it
runs are taken in. Checkpoints are written every few minutes; the same command goes on from the last one.

With --plain it trains the network to compare with: kappa from Q and U alone by the mean square of what is wrong, on sets that are
--fixed (one noise, one beam).
"""

import argparse
import glob
import os
import sys

import h5py
import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import loop
from lensing_net import LensingNet, PlainNet, inside, padded

LOW, HIGH = 60, 3000
BINS = ((60, 150), (300, 500), (500, 800), (800, 1200), (1600, 2000))


class Boxes:
    """Samples of all sets, in memory as float16: maps of pairs of Q and U before scalars, conditions, the map to learn."""

    def __init__(self, pattern, limit=10 ** 9, pairs=2, image="image", target="target"):
        self.pattern, self.limit, self.pairs, self.names = pattern, limit, pairs, (image, "condition", target)
        self.seen, self.held = [], ([], [], [])

    def refresh(self, most=10 ** 9):
        for path in sorted(glob.glob(self.pattern)):
            if path in self.seen or most == 0 or len(self.seen) >= self.limit:
                continue
            with h5py.File(path) as f:
                for held, name in zip(self.held, self.names):
                    held.append(f[name][:].astype(np.float32 if name == "condition" else np.float16))
            self.seen.append(path)
            most -= 1
        if not self.seen:
            raise SystemExit(f"{self.pattern}: no sets")
        self.index = [(i, j) for i, x in enumerate(self.held[1]) for j in range(len(x))]

    def batch(self, rng, size):
        image, condition, target = [], [], []
        for k in rng.integers(len(self.index), size=size):
            i, j = self.index[k]
            x = np.concatenate([self.held[0][i][j], self.held[2][i][j][None]]).astype(np.float32)
            x = np.roll(x, tuple(rng.integers(x.shape[-1], size=2)), (1, 2))
            if rng.random() < 0.5:
                x = x[:, :, ::-1].copy()
                x[1:2 * self.pairs:2] *= -1
            if rng.random() < 0.5:
                x = np.rot90(x, 1, (1, 2)).copy()
                x[:2 * self.pairs] *= -1
            if rng.random() < 0.5:
                x = np.rot90(x, 2, (1, 2)).copy()
            image.append(x[:-1])
            target.append(x[-1])
            condition.append(self.held[1][i][j])
        return [torch.from_numpy(np.stack(v)) for v in (image, condition, target)]


class Task:
    def __init__(self, a):
        self.a = a
        with h5py.File(a.validation) as f:
            self.truth, self.base, self.scale = f["kappa"][:], f["base"][:], f["scale"][:]
            self.image, self.condition = f["image"][:].astype(np.float32), f["condition"][:]
            pixel, side, power = f.attrs["pixel"], f["kappa"].shape[-1], f["theory"][0]
        step = np.radians(pixel / 60)
        self.ell = 2 * np.pi * np.hypot(np.fft.fftfreq(side, step)[:, None], np.fft.rfftfreq(side, step)[None])
        self.count = np.full(self.ell.shape, 2.0)
        self.count[:, [0, -1]] = 1
        use = (self.ell >= LOW) & (self.ell <= HIGH)
        power = np.interp(self.ell, np.arange(len(power)), power)
        known = np.where(use, 1 - self.scale ** 2 * step ** 2 / np.maximum(power, power[1, 1] * 1e-9), 0)
        self.weight = torch.from_numpy((self.count * known).astype(np.float32)).to(a.device)
        self.rng = np.random.default_rng(a.seed)
        self.learn()

    def learn(self):
        self.train = Boxes(self.a.sets, self.a.limit)
        self.train.refresh(4)
        self.net = LensingNet()

    def resume(self, state):
        self.rng = np.random.default_rng([self.a.seed, state["step"]])

    def refresh(self):
        self.train.refresh(2)

    def keep(self):
        return {}

    def loss(self, net):
        image, condition, target = (t.to(self.a.device) for t in self.train.batch(self.rng, self.a.batch))
        with loop.autocast(self.a):
            out = net(padded(image).contiguous(memory_format=torch.channels_last), condition)
        out = inside(out.float()[:, 0])
        wrong = (torch.fft.rfft2(out - target).abs() ** 2 * self.weight).sum((1, 2))
        loss = (wrong / (torch.fft.rfft2(target).abs() ** 2 * self.weight).sum((1, 2))).mean()
        return loss, {"loss": float(loss)}

    def correlation(self, kappa):
        x, y = np.fft.rfft2(kappa), np.fft.rfft2(self.truth)
        def mean(a, b, low, high):
            use = (self.ell >= low) & (self.ell < high)
            return ((a * b.conj()).real * self.count)[:, use].sum()
        return [round(float(mean(x, y, *b) / np.sqrt(mean(x, x, *b) * mean(y, y, *b))), 4) for b in BINS]

    def validate(self, net):
        out = []
        with loop.autocast(self.a):
            for k in range(0, len(self.image), 8):
                image, condition = (torch.from_numpy(v[k:k + 8]).to(self.a.device) for v in (self.image, self.condition))
                out.append(inside(net(padded(image), condition).float()[:, 0]).cpu().numpy())
        out = np.concatenate(out)
        kappa = self.base + np.fft.irfft2(np.fft.rfft2(out) * self.scale, s=self.base.shape[1:])
        return {"rho": self.correlation(kappa), "base": self.correlation(self.base), "sets": len(self.train.seen)}


class PlainTask(Task):
    def learn(self):
        with h5py.File(self.a.validation) as f:
            self.image = f["observed"][:]
        self.train = Boxes(self.a.sets, self.a.limit, 1, "observed", "kappa")
        self.train.refresh(2)
        rms = [float(np.std(self.train.held[i][0].astype(np.float32))) for i in (0, 2)]
        self.net = PlainNet(*rms)

    def loss(self, net):
        image, _, target = (t.to(self.a.device) for t in self.train.batch(self.rng, self.a.batch))
        with loop.autocast(self.a):
            out = net(padded(image).contiguous(memory_format=torch.channels_last))
        loss = ((inside(out.float()[:, 0]) - target) ** 2).mean() / self.net.rms[1] ** 2
        return loss, {"loss": float(loss)}

    def validate(self, net):
        out = []
        with loop.autocast(self.a):
            for k in range(0, len(self.image), 8):
                image = torch.from_numpy(self.image[k:k + 8]).to(self.a.device)
                out.append(inside(net(padded(image)).float()[:, 0]).cpu().numpy())
        return {"rho": self.correlation(np.concatenate(out)), "sets": len(self.train.seen)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sets", required=True, help="pattern of training sets")
    p.add_argument("--validation", required=True, help="a fixed set of another seed")
    p.add_argument("--limit", type=int, default=100, help="sets held in memory")
    p.add_argument("--plain", action="store_true", help="the network on Q and U alone, on fixed sets")
    loop.arguments(p, hours=0.8, rate=8e-4, batch=4)
    a = p.parse_args()
    loop.prepare(a)
    loop.train(a, (PlainTask if a.plain else Task)(a), clip=1.0, warm=300)


if __name__ == "__main__":
    main()
