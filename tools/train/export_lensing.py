"""Write the averaged weights of lensing networks, members of an ensemble, as one ONNX file with what a run needs as metadata.

    python3 tools/train/export_lensing.py RUN-1/checkpoint.pt RUN-2/checkpoint.pt RUN-3/checkpoint.pt \\
        --sets 'SETS/set-*.h5' --output tools/models/lensing.onnx
    python3 tools/train/export_lensing.py PLAIN/checkpoint.pt --plain --sets 'PLAIN/set-*.h5' --output tools/models/lensing-plain.onnx
"""

import argparse
import glob
import io
import os
import sys

import h5py
import numpy as np
import torch
import torch.nn as nn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lensing_net import CHANNELS, CONDITIONS, PAD, LensingNet, PlainNet
from onnx_file import halve, metadata


class Ensemble(nn.Module):
    def __init__(self, members):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image, condition):
        return torch.cat([m(image, condition) for m in self.members], 1)


def load(path, net):
    saved = torch.load(path, map_location="cpu")
    net.load_state_dict(saved["average"])
    return net.eval(), saved["state"]


def conditions(noise, fwhm, lmax):
    """Of white noise (uK arcmin) behind a beam (arcmin), as include/skyquilt/lensing/inputs.h has them."""
    ell, sigma = np.array([500, lmax]), np.radians(fwhm / 60) / np.sqrt(8 * np.log(2))
    at, top = 0.5 * ell * (ell + 1) * sigma ** 2
    return np.array([np.log(noise) + at, top - at])


def sets(pattern, noise, beam):
    """The domain of the conditions, in which all samples must lie, and what all sets share."""
    low, high, shared = [], [], {}
    for path in sorted(glob.glob(pattern)):
        with h5py.File(path) as f:
            low.append(f["condition"][:].min(0))
            high.append(f["condition"][:].max(0))
            shared = {k: f.attrs[k] for k in ("pixel", "lmin", "lmax")}
    first, last = (conditions(noise[i], beam[i], shared["lmax"]) + (-1e-3, 1e-3)[i] for i in (0, 1))
    if (np.min(low, 0) < first).any() or (np.max(high, 0) > last).any():
        raise SystemExit(f"{pattern}: samples outside the noise and beams given: {np.min(low, 0)} {np.max(high, 0)}")
    text = lambda v: ",".join(f"{x:.4f}" for x in v)
    return {"skyquilt.domain_low": text(first), "skyquilt.domain_high": text(last),
            **{"skyquilt." + k: f"{v:g}" for k, v in shared.items()}}


def ensemble(a):
    """Bytes of the model, states of its checkpoints, and what a run needs to know."""
    members, states = zip(*(load(path, LensingNet()) for path in a.checkpoints))
    return onnx(Ensemble(members), ["image", "condition"], "members",
                (torch.zeros(1, CHANNELS, 160, 160), torch.zeros(1, CONDITIONS))), states, \
        {"skyquilt.kind": "lensing", "skyquilt.layout": "lensing-1", "skyquilt.multiple": 4, **sets(a.sets, a.noise, a.beam)}


def plain(a):
    """The same of the network to compare with, which no run takes."""
    if len(a.checkpoints) > 1:
        raise SystemExit("--plain: one checkpoint")
    net, state = load(a.checkpoints[0], PlainNet())
    shared = {}
    for path in sorted(glob.glob(a.sets)):
        with h5py.File(path) as f:
            shared = {"skyquilt." + k: f"{f.attrs[k]:g}" for k in ("pixel", "lmin", "lmax", "noise", "fwhm")}
    return onnx(net, ["image"], "kappa", torch.zeros(1, 2, 160, 160)), (state,), \
        {"skyquilt.kind": "lensing-plain", "skyquilt.layout": "lensing-plain-1", "skyquilt.multiple": 8, **shared}


def onnx(net, names, output, example):
    buffer = io.BytesIO()
    torch.onnx.export(net, example, buffer, input_names=names, output_names=[output], opset_version=13, do_constant_folding=True,
                      dynamic_axes={"image": {2: "height", 3: "width"}, output: {2: "height", 3: "width"}})
    return buffer.getvalue()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoints", nargs="+")
    p.add_argument("--output", required=True)
    p.add_argument("--sets", required=True, help="pattern of the training sets")
    p.add_argument("--noise", nargs=2, type=float, default=(0.1, 10), help="their range, uK arcmin: the domain")
    p.add_argument("--beam", nargs=2, type=float, default=(1, 2), help="their range, FWHM in arcmin")
    p.add_argument("--plain", action="store_true", help="the network on Q and U alone")
    p.add_argument("--name", default="lensing")
    p.add_argument("--version", default="1")
    a = p.parse_args()
    model, states, entries = (plain if a.plain else ensemble)(a)
    entries = {**entries, "skyquilt.name": a.name, "skyquilt.version": a.version, "skyquilt.pad": PAD,
               "skyquilt.steps": ",".join(str(s["step"]) for s in states),
               "skyquilt.training_seconds": ",".join(str(round(s["seconds"])) for s in states)}
    with open(a.output + ".partial", "wb") as f:
        f.write(halve(model) + metadata(entries))
    os.replace(a.output + ".partial", a.output)
    print(f"{a.output}: {os.path.getsize(a.output)} bytes, steps {[s['step'] for s in states]}")


if __name__ == "__main__":
    main()
