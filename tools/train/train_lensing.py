"""Train a lensing network on sets of the CMB simulator, on the CPU or a GPU.

    echo 'preset: cmb' > sky.yaml
    skyquilt simulate sky.yaml --training SETS/set-1.h5 --samples 512 --seed 5001         (and more, other seeds)
    skyquilt simulate sky.yaml --training SETS/validation.h5 --fixed --samples 64 --seed 3
    python3 tools/train/train_lensing.py --sets 'SETS/set-*.h5' --validation SETS/validation.h5 --out RUN --hours 0.8

The loss is the mean of |FT(network - target)|^2 over the modes of 60 <= L <= 3000 over that of the target: 1 for a network that
adds nothing to the classical estimate. Modes have the weight rho_L^2 that this estimate has in the validation set: where there is
little to know, gradients are noise. Boxes are shifted, turned and mirrored. Sets that appear while it
runs are taken in. Checkpoints are written every few minutes; the same command goes on from the last one.
"""

import argparse
import copy
import glob
import json
import os
import signal
import sys
import time

import h5py
import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lensing_net import LensingNet, inside, padded

LOW, HIGH = 60, 3000
BINS = ((60, 150), (300, 500), (500, 800), (800, 1200), (1600, 2000))


class Boxes:
    """Samples of all sets, in memory as float16."""

    def __init__(self, pattern, limit=10 ** 9):
        self.pattern, self.limit = pattern, limit
        self.seen, self.image, self.condition, self.target = [], [], [], []

    def refresh(self, most=10 ** 9):
        for path in sorted(glob.glob(self.pattern)):
            if path in self.seen or most == 0 or len(self.seen) >= self.limit:
                continue
            with h5py.File(path) as f:
                self.image.append(f["image"][:])
                self.condition.append(f["condition"][:])
                self.target.append(f["target"][:])
            self.seen.append(path)
            most -= 1
        if not self.seen:
            raise SystemExit(f"{self.pattern}: no sets")
        self.index = [(i, j) for i, x in enumerate(self.condition) for j in range(len(x))]

    def batch(self, rng, size):
        image, condition, target = [], [], []
        for k in rng.integers(len(self.index), size=size):
            i, j = self.index[k]
            x = np.concatenate([self.image[i][j], self.target[i][j][None]]).astype(np.float32)
            x = np.roll(x, tuple(rng.integers(x.shape[-1], size=2)), (1, 2))
            if rng.random() < 0.5:
                x = x[:, :, ::-1].copy()
                x[[1, 3]] *= -1
            if rng.random() < 0.5:
                x = np.rot90(x, 1, (1, 2)).copy()
                x[:4] *= -1
            if rng.random() < 0.5:
                x = np.rot90(x, 2, (1, 2)).copy()
            image.append(x[:-1])
            target.append(x[-1])
            condition.append(self.condition[i][j])
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
        self.train = Boxes(a.sets, a.limit)
        self.train.refresh(4)

    def loss(self, net, batch, autocast):
        image, condition, target = (t.to(self.a.device) for t in batch)
        with autocast():
            out = net(padded(image).contiguous(memory_format=torch.channels_last), condition)
        out = inside(out.float()[:, 0])
        wrong = (torch.fft.rfft2(out - target).abs() ** 2 * self.weight).sum((1, 2))
        return (wrong / (torch.fft.rfft2(target).abs() ** 2 * self.weight).sum((1, 2))).mean()

    def correlation(self, kappa):
        x, y = np.fft.rfft2(kappa), np.fft.rfft2(self.truth)
        def mean(a, b, low, high):
            use = (self.ell >= low) & (self.ell < high)
            return ((a * b.conj()).real * self.count)[:, use].sum()
        return [round(float(mean(x, y, *b) / np.sqrt(mean(x, x, *b) * mean(y, y, *b))), 4) for b in BINS]

    def validate(self, net, autocast):
        net.eval()
        out = []
        with torch.no_grad(), autocast():
            for k in range(0, len(self.image), 8):
                image, condition = (torch.from_numpy(v[k:k + 8]).to(self.a.device) for v in (self.image, self.condition))
                out.append(inside(net(padded(image), condition).float()[:, 0]).cpu().numpy())
        net.train()
        out = np.concatenate(out)
        kappa = self.base + np.fft.irfft2(np.fft.rfft2(out) * self.scale, s=self.base.shape[1:])
        return {"rho": self.correlation(kappa), "base": self.correlation(self.base)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sets", required=True, help="pattern of training sets")
    p.add_argument("--validation", required=True, help="a fixed set of another seed")
    p.add_argument("--out", required=True, help="folder of checkpoint and log")
    p.add_argument("--start", help="checkpoint to take the weights from")
    p.add_argument("--hours", type=float, default=0.8)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--limit", type=int, default=100, help="sets held in memory")
    p.add_argument("--rate", type=float, default=8e-4)
    p.add_argument("--seed", type=int, default=7, help="of weights and batches")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--bf16", action="store_true")
    p.add_argument("--device", default="cpu", help="cpu or cuda")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    os.makedirs(a.out, exist_ok=True)
    task = Task(a)
    autocast = lambda: torch.autocast(a.device, torch.bfloat16, enabled=a.bf16)
    net = LensingNet().to(a.device, memory_format=torch.channels_last)
    if a.start:
        net.load_state_dict(torch.load(a.start, map_location=a.device)["average"])
    average = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=a.rate, weight_decay=1e-4)
    state, checkpoint = {"step": 0, "seconds": 0.0}, os.path.join(a.out, "checkpoint.pt")
    if os.path.exists(checkpoint):
        saved = torch.load(checkpoint, map_location=a.device)
        net.load_state_dict(saved["net"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        state = saved["state"]
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    log = open(os.path.join(a.out, "train.log"), "a", buffering=1)
    rng = np.random.default_rng([a.seed, state["step"]])
    budget, last_save, last_look, running = a.hours * 3600, state["seconds"], state["seconds"], None
    while state["seconds"] < budget and not stop:
        began = time.time()
        rate = a.rate * 0.5 * (1 + np.cos(np.pi * state["seconds"] / budget))
        for group in optimiser.param_groups:
            group["lr"] = max(rate, 1e-3 * a.rate) * min(1.0, (state["step"] + 1) / 300)
        loss = task.loss(net, task.train.batch(rng, a.batch), autocast)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        decay = min(0.998, (1 + state["step"]) / (10 + state["step"]))
        with torch.no_grad():
            for kept, now in zip(average.state_dict().values(), net.state_dict().values()):
                if kept.dtype.is_floating_point:
                    kept.lerp_(now, 1 - decay)
                else:
                    kept.copy_(now)
        state["step"] += 1
        state["seconds"] += time.time() - began
        running = float(loss) if running is None else 0.99 * running + 0.01 * float(loss)
        if state["step"] % 50 == 0:
            log.write(json.dumps({"step": state["step"], "seconds": round(state["seconds"]), "loss": round(running, 5)}) + "\n")
        if state["seconds"] - last_look > 30:
            last_look = state["seconds"]
            task.train.refresh(2)
        if state["seconds"] - last_save > 240 or state["seconds"] >= budget or stop:
            last_save = state["seconds"]
            log.write(json.dumps({"validation": task.validate(average, autocast), "step": state["step"],
                                  "seconds": round(state["seconds"]), "sets": len(task.train.seen)}) + "\n")
            torch.save({"net": net.state_dict(), "average": average.state_dict(),
                        "optimiser": optimiser.state_dict(), "state": state}, checkpoint + ".partial")
            os.replace(checkpoint + ".partial", checkpoint)


if __name__ == "__main__":
    main()
