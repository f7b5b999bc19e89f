"""Train a cluster network on training sets of the mm simulator, on the CPU or a GPU.

    skyquilt simulate SKY.yaml --training SETS/set-1.h5 --seed 1001 --samples 4        (and more, other seeds)
    python3 tools/train/train_clusters.py --net own --sets 'SETS/set-*.h5' --validation SETS/validation.h5 --out RUN --hours 1

--net own is the fully convolutional network, --net deepsz the cutout network for comparison, trained on sets made with
--fixed. Sets that appear while it runs are taken in. Checkpoints are written every few minutes; the same command goes on
from the last one (TERM makes it write one and end). The learning rate follows a cosine over the hours given, in seconds of training.
"""

import argparse
import copy
import json
import os
import signal
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster_data import Cutouts, Fields
from cluster_net import FAR, LN_MASS, LN_SIGMA, ClusterNet, DeepSZNet

HEAT_WEIGHT = torch.tensor([1.0, 2.0, 8.0]).view(1, 3, 1, 1)


class Own:
    """One batch is a few crops of fields."""

    def __init__(self, a):
        self.a = a
        self.train, self.valid = Fields(a.sets, a.limit), Fields(a.validation)
        self.train.refresh(4)
        self.valid.refresh()
        self.net = ClusterNet(self.train.nband)

    def optimiser(self, net):
        return torch.optim.AdamW(net.parameters(), lr=self.a.rate or 2e-3, weight_decay=1e-4)

    def loss(self, net, batch, device, autocast):
        image, planes, label = (t.to(device) for t in batch)
        if self.a.blind:
            image[:, self.train.nband:] = 0
        with autocast():
            out = net(image.contiguous(memory_format=torch.channels_last), planes)
        rim = 16      # the crop's edge lacks context
        out, label = out.float()[..., rim:-rim, rim:-rim], label[..., rim:-rim, rim:-rim]
        heat = F.binary_cross_entropy_with_logits(out[:, :3], label[:, :3], reduction="none")
        heat = (heat * HEAT_WEIGHT.to(device)).mean((0, 2, 3))
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
        return self.train.batch(rng, self.a.batch or 4, self.a.side)

    def validation(self):
        rng = np.random.default_rng(3)
        for _ in range(24):
            yield self.valid.batch(rng, 4, self.a.side)


class DeepSZ:
    """One batch is cutouts, half of them positive."""

    def __init__(self, a):
        self.a = a
        self.train, self.valid = Cutouts(a.sets), Cutouts(a.validation)
        self.train.refresh()
        self.valid.refresh()
        self.net = DeepSZNet(self.train.nband)

    def optimiser(self, net):
        return torch.optim.AdamW(net.parameters(), lr=self.a.rate or 1e-3, weight_decay=1e-4)

    def loss(self, net, batch, device, autocast):
        cutout, label = (t.to(device) for t in batch)
        with autocast():
            out = net(cutout.contiguous(memory_format=torch.channels_last))
        loss = F.binary_cross_entropy_with_logits(out.float()[:, 0], label)
        right = ((out[:, 0] > 0) == (label > 0.5)).float().mean()
        return loss, {"loss": float(loss), "right": float(right)}

    def batch(self, rng):
        return self.train.batch(rng, self.a.batch or 64)

    def validation(self):
        rng = np.random.default_rng(3)
        for _ in range(24):
            yield self.valid.batch(rng, 128)


def validate(task, net, device, autocast):
    net.eval()
    sums, n = {}, 0
    with torch.no_grad():
        for batch in task.validation():
            for k, v in task.loss(net, batch, device, autocast)[1].items():
                sums[k] = sums.get(k, 0) + v
            n += 1
    net.train()
    return {k: round(v / n, 5) for k, v in sums.items()}


def save(path, task, net, average, optimiser, state):
    torch.save({"kind": task.a.net, "net": net.state_dict(), "average": average.state_dict(), "optimiser":
                optimiser.state_dict(), "state": state, "ghz": task.train.ghz, "pixel": float(task.train.pixel),
                "blind": task.a.blind},
               path + ".partial")
    os.replace(path + ".partial", path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--net", choices=("own", "deepsz"), required=True)
    p.add_argument("--sets", required=True, help="pattern of training sets")
    p.add_argument("--validation", required=True, help="pattern of validation sets, of other seeds")
    p.add_argument("--out", required=True, help="folder of checkpoint and log")
    p.add_argument("--start", help="checkpoint to take the averaged weights from")
    p.add_argument("--hours", type=float, default=1.0)
    p.add_argument("--batch", type=int, default=0)
    p.add_argument("--side", type=int, default=256, help="of a crop, pixels")
    p.add_argument("--limit", type=int, default=240, help="fields held in memory")
    p.add_argument("--rate", type=float, default=0.0)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--blind", action="store_true", help="own: without the channels of the matched filter")
    p.add_argument("--bf16", action="store_true")
    p.add_argument("--device", default="cpu", help="cpu or cuda")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    os.makedirs(a.out, exist_ok=True)
    torch.manual_seed(7)
    task = {"own": Own, "deepsz": DeepSZ}[a.net](a)
    autocast = lambda: torch.autocast(a.device, torch.bfloat16, enabled=a.bf16)
    net = task.net.to(a.device, memory_format=torch.channels_last)
    if a.start:
        net.load_state_dict(torch.load(a.start, map_location=a.device)["average"])
    average = copy.deepcopy(net)
    optimiser = task.optimiser(net)
    top_rate = optimiser.param_groups[0]["lr"]
    state = {"step": 0, "seconds": 0.0}
    checkpoint = os.path.join(a.out, "checkpoint.pt")
    if os.path.exists(checkpoint):
        saved = torch.load(checkpoint, map_location=a.device)
        net.load_state_dict(saved["net"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        state = saved["state"]
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    log = open(os.path.join(a.out, "train.log"), "a", buffering=1)
    rng = np.random.default_rng([11, state["step"]])
    budget, last_save, last_look, running = a.hours * 3600, state["seconds"], state["seconds"], {}
    while state["seconds"] < budget and not stop:
        began = time.time()
        rate = top_rate * 0.5 * (1 + np.cos(np.pi * state["seconds"] / budget))
        rate = max(rate, 1e-3 * top_rate) * min(1.0, (state["step"] + 1) / 200)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss, parts = task.loss(net, task.batch(rng), a.device, autocast)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
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
        for k, v in parts.items():
            running[k] = 0.98 * running.get(k, v) + 0.02 * v
        if state["step"] % 50 == 0:
            log.write(json.dumps({"step": state["step"], "seconds": round(state["seconds"]), "rate": round(rate, 6),
                                  **{k: round(v, 5) for k, v in running.items()}}) + "\n")
        if state["seconds"] - last_look > 30:
            last_look = state["seconds"]
            task.train.refresh(2)
        if state["seconds"] - last_save > 240 or state["seconds"] >= budget or stop:
            last_save = state["seconds"]
            log.write(json.dumps({"validation": validate(task, average, a.device, autocast), "step": state["step"],
                                  "seconds": round(state["seconds"]), "sets": len(task.train.seen)}) + "\n")
            save(checkpoint, task, net, average, optimiser, state)


if __name__ == "__main__":
    main()
