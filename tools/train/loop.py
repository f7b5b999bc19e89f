"""The training loop that all networks share: AdamW, a cosine rate over the hours given, averaged weights, checkpoints, a log.

A task has:
    net             the network
    loss(net)       draws a batch: (loss, {name: number})
    validate(net)   {name: number or list}, of the averaged weights
    keep()          what its checkpoints hold besides weights and state
and, where it needs them, refresh() (called every half minute), resume(state) with the state of a checkpoint, note(state) before
one is written, and close().
Checkpoints are written every few minutes and on TERM; the same command goes on from the last one, and with more --hours than
before it trains longer. Hours count time in steps.
"""

import copy
import json
import os
import signal
import time

import numpy as np
import torch

SAVE, LOOK = 240, 30     # seconds between checkpoints, between calls of refresh


def arguments(p, hours, rate, batch):
    p.add_argument("--out", required=True, help="folder of checkpoint and log")
    p.add_argument("--start", help="checkpoint to take the averaged weights from when --out has none yet")
    p.add_argument("--hours", type=float, default=hours)
    p.add_argument("--batch", type=int, default=batch)
    p.add_argument("--rate", type=float, default=rate)
    p.add_argument("--seed", type=int, default=7, help="of weights and batches")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--bf16", action="store_true")
    p.add_argument("--device", default="cpu", help="cpu or cuda")


def prepare(a):
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    os.makedirs(a.out, exist_ok=True)


def autocast(a):
    return torch.autocast(a.device, torch.bfloat16, enabled=a.bf16)


def follow(average, net, step):
    decay = min(0.998, (1 + step) / (10 + step))
    with torch.no_grad():
        for kept, now in zip(average.state_dict().values(), net.state_dict().values()):
            if kept.dtype.is_floating_point:
                kept.lerp_(now, 1 - decay)
            else:
                kept.copy_(now)


class Run:
    def __init__(self, a, task):
        self.a, self.task = a, task
        self.path = os.path.join(a.out, "checkpoint.pt")
        self.net = task.net.to(a.device, memory_format=torch.channels_last)
        if a.start:
            self.net.load_state_dict(torch.load(a.start, map_location=a.device)["average"])
        self.average = copy.deepcopy(self.net)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=a.rate, weight_decay=1e-4)
        self.state = {"step": 0, "seconds": 0.0}
        if os.path.exists(self.path):
            saved = torch.load(self.path, map_location=a.device)
            self.net.load_state_dict(saved["net"])
            self.average.load_state_dict(saved["average"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.state = saved["state"]

    def save(self):
        getattr(self.task, "note", lambda state: None)(self.state)
        torch.save({"net": self.net.state_dict(), "average": self.average.state_dict(),
                    "optimiser": self.optimiser.state_dict(), "state": self.state, **self.task.keep()},
                   self.path + ".partial")
        os.replace(self.path + ".partial", self.path)

    def step(self, budget, warm, clip):
        began = time.time()
        rate = self.a.rate * 0.5 * (1 + np.cos(np.pi * min(1.0, self.state["seconds"] / budget)))
        rate = max(rate, 1e-3 * self.a.rate) * min(1.0, (self.state["step"] + 1) / warm)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss, parts = self.task.loss(self.net)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), clip)
        self.optimiser.step()
        follow(self.average, self.net, self.state["step"])
        self.state["step"] += 1
        self.state["seconds"] += time.time() - began
        return rate, parts


def validate(run):
    run.average.eval()
    with torch.no_grad():
        scores = run.task.validate(run.average)
    run.average.train()
    return scores


def train(a, task, clip=5.0, warm=200):
    """Train until the hours are used up or TERM comes."""
    run, stop = Run(a, task), []
    getattr(task, "resume", lambda state: None)(run.state)
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    state, budget, running = run.state, a.hours * 3600, {}
    saved = looked = state["seconds"]
    with open(os.path.join(a.out, "train.log"), "a", buffering=1) as log:
        write = lambda **line: log.write(json.dumps({**line, "step": state["step"], "seconds": round(state["seconds"])}) + "\n")
        while state["seconds"] < budget and not stop:
            rate, parts = run.step(budget, warm, clip)
            for k, v in parts.items():
                running[k] = 0.98 * running.get(k, v) + 0.02 * v
            if state["step"] % 50 == 0:
                write(rate=round(rate, 7), **{k: round(v, 5) for k, v in running.items()})
            if state["seconds"] - looked > LOOK:
                looked = state["seconds"]
                getattr(task, "refresh", lambda: None)()
            if state["seconds"] - saved > SAVE or state["seconds"] >= budget or stop:
                saved = state["seconds"]
                write(validation=validate(run))
                run.save()
    getattr(task, "close", lambda: None)()
