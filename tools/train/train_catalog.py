"""Train the catalog network on sets that the simulator makes while training goes on.

    python3 tools/train/train_catalog.py --sky tools/train/sdss_train.yaml --out build-train --hours 2

Every chunk of samples has a seed of its own, so no sample is seen in two runs and validation (seed 1) is never
trained on. Checkpoints are written every few minutes; the same command goes on from the last one, and with more
--hours than before it trains longer. --start begins with the weights, steps and seeds of another checkpoint, such as
tools/models/sdss.checkpoint.pt. The learning rate follows a cosine over the hours given, counted in seconds of training.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from catalog_data import REFERENCE_MARGIN, TrainingSet, base_flux, contexts
from catalog_net import COLOURS, CatalogNet, slot_size

VALIDATION_SEED = 1
FIRST_SEED = 1000


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


def batch_loss(net, data, index, rng, autocast):
    image, planes, count, value = data.batch(index, rng)
    ctx = contexts(planes, count, value, data.nband, data.reference)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        heads = net(image.contiguous(memory_format=torch.channels_last), planes, *ctx)
    base = base_flux(planes, data.nband)
    usable = planes.view(len(planes), data.nband, -1, *planes.shape[-2:])[:, :, -1]
    total, sums, sources, tiles = 0, {}, 0, 0
    keep = REFERENCE_MARGIN // 2
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

    def __init__(self, arguments, seed):
        self.a, self.seed, self.job = arguments, seed, None
        self.start()

    def path(self, seed):
        return os.path.join(self.a.out, f"set-{seed}.h5")

    def start(self):
        self.job = subprocess.Popen(
            ["nice", "-n", "5", self.a.program, "simulate", self.a.sky, "--training", self.path(self.seed), "--samples",
             str(self.a.samples), "--side", str(self.a.side), "--seed", str(self.seed)],
            stdout=subprocess.DEVNULL)

    def next(self):
        if self.job.wait() != 0:
            raise SystemExit("the simulator failed")
        path = self.path(self.seed)
        self.seed += 1
        self.start()
        data = TrainingSet(path, self.a.limit)
        os.remove(path)
        return data


def validate(net, data, autocast):
    net.eval()
    totals, n = {}, 0
    with torch.no_grad():
        torch.manual_seed(0)
        for start in range(0, len(data), 32):
            _, parts = batch_loss(net, data, np.arange(start, min(start + 32, len(data))), None, autocast)
            for k, v in parts.items():
                totals[k] = totals.get(k, 0) + v
            n += 1
    net.train()
    return {k: round(v / n, 4) for k, v in totals.items()}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sky", required=True, help="sky configuration of the simulator")
    p.add_argument("--out", required=True, help="folder of checkpoints, log and chunks")
    p.add_argument("--program", default="build/skyquilt")
    p.add_argument("--hours", type=float, default=2.0)
    p.add_argument("--batch", type=int, default=24)
    p.add_argument("--samples", type=int, default=3072, help="of a chunk")
    p.add_argument("--passes", type=int, default=2, help="over a chunk")
    p.add_argument("--side", type=int, default=80)
    p.add_argument("--limit", type=float, default=23.5, help="faintest r magnitude of a source")
    p.add_argument("--rate", type=float, default=2e-3)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--bf16", action="store_true")
    p.add_argument("--start", help="checkpoint to begin with when --out has none yet")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    os.makedirs(a.out, exist_ok=True)
    valid_path = os.path.join(a.out, "validation.h5")
    if not os.path.exists(valid_path):
        subprocess.check_call([a.program, "simulate", a.sky, "--training", valid_path, "--samples", "384", "--side",
                               str(a.side), "--seed", str(VALIDATION_SEED)], stdout=subprocess.DEVNULL)
    valid = TrainingSet(valid_path, a.limit)
    torch.manual_seed(7)
    net = CatalogNet(valid.nband).to(memory_format=torch.channels_last)
    average = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=a.rate, weight_decay=1e-4)
    state = {"step": 0, "seconds": 0.0, "seed": FIRST_SEED}
    checkpoint = os.path.join(a.out, "checkpoint.pt")
    begin = checkpoint if os.path.exists(checkpoint) else a.start
    if begin:
        saved = torch.load(begin)
        average.load_state_dict(saved["average"])
        net.load_state_dict(saved.get("net", saved["average"]))
        if "optimiser" in saved:
            optimiser.load_state_dict(saved["optimiser"])
        state = saved["state"]
    chunks = Chunks(a, state["seed"])
    log = open(os.path.join(a.out, "train.log"), "a", buffering=1)
    rng = np.random.default_rng(state["seed"])
    budget, last_save = a.hours * 3600, 0.0
    running = {}
    while state["seconds"] < budget:
        data = chunks.next()
        for _ in range(a.passes):
            order = rng.permutation(len(data))
            for start in range(0, len(order) - a.batch + 1, a.batch):
                began = time.time()
                rate = a.rate * 0.5 * (1 + np.cos(np.pi * min(1.0, state["seconds"] / budget)))
                rate = max(rate, 1e-3 * a.rate) * min(1.0, (state["step"] + 1) / 200)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                loss, parts = batch_loss(net, data, np.sort(order[start:start + a.batch]), rng, a.bf16)
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
                    log.write(json.dumps({"step": state["step"], "seconds": round(state["seconds"]), "rate": rate,
                                          **{k: round(v, 4) for k, v in running.items()}}) + "\n")
                if state["seconds"] - last_save > 240 or state["seconds"] >= budget:
                    last_save = state["seconds"]
                    scores = validate(average, valid, a.bf16)
                    log.write(json.dumps({"validation": scores, "step": state["step"],
                                          "seconds": round(state["seconds"])}) + "\n")
                    state["seed"] = chunks.seed
                    torch.save({"net": net.state_dict(), "average": average.state_dict(),
                                "optimiser": optimiser.state_dict(), "state": state, "bands": valid.bands,
                                "limit": a.limit}, checkpoint + ".partial")
                    os.replace(checkpoint + ".partial", checkpoint)
                if state["seconds"] >= budget:
                    chunks.job.kill()
                    return


if __name__ == "__main__":
    main()
