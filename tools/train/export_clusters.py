"""Write the averaged weights of a cluster network's checkpoint as ONNX, with what a run needs as metadata.

    python3 tools/train/export_clusters.py RUN/checkpoint.pt tools/models/clusters.onnx --name clusters
"""

import argparse
import glob
import io
import os
import sys

import h5py
import numpy as np
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster_net import CELL, CUTOUT, HEADS, MULTIPLE, ClusterNet, DeepSZNet
from onnx_file import halve, metadata

HALO = 64                        # pixels: the receptive field's radius is 50


def export(saved, file):
    """The network of a checkpoint to a file object; the network."""
    bands = saved["ghz"].split(",")
    own = saved["kind"] == "own"
    net = ClusterNet(len(bands)) if own else DeepSZNet(len(bands))
    net.load_state_dict(saved["average"])
    net.eval()
    if saved.get("blind"):
        net.stem.weight.data[:, len(bands):] = 0
    if own:
        side = 128
        inputs = torch.zeros(1, len(bands) + 5, side, side), torch.zeros(1, 2 * len(bands) + 2, side // CELL, side // CELL)
        names, output = ["image", "planes"], "heads"
        axes = {"image": {2: "height", 3: "width"}, "planes": {2: "rows", 3: "columns"},
                "heads": {2: "height", 3: "width"}}
    else:
        inputs = (torch.zeros(2, len(bands), CUTOUT, CUTOUT),)
        names, output, axes = ["cutout"], "score", {"cutout": {0: "batch"}, "score": {0: "batch"}}
    torch.onnx.export(net, inputs, file, input_names=names, output_names=[output], opset_version=13, dynamic_axes=axes,
                      do_constant_folding=True)
    return net


def domain(pattern):
    """Limits of the planes in training sets: where a network was trained. Missing data is no reason to doubt."""
    low, high = [], []
    for path in sorted(glob.glob(pattern)):
        with h5py.File(path) as f:
            low.append(f["planes"][:].min((0, 2, 3)))
            high.append(f["planes"][:].max((0, 2, 3)))
    low, high = np.min(low, 0) - 0.02, np.max(high, 0) + 0.02
    low[-1] = 0
    text = lambda v: ",".join(f"{x:.4f}" for x in v)
    return {"skyquilt.domain_low": text(low), "skyquilt.domain_high": text(high)}


def write(saved, path, name, version="1", more=()):
    """The network of a checkpoint with its metadata; `more`: pairs of further keys and values."""
    buffer = io.BytesIO()
    export(saved, buffer)
    own = saved["kind"] == "own"
    entries = {"skyquilt.kind": "clusters", "skyquilt.layout": "clusters-maps-1" if own else "clusters-cutouts-1",
               "skyquilt.name": name, "skyquilt.version": version, "skyquilt.ghz": saved["ghz"],
               "skyquilt.pixel": f"{saved['pixel']:g}", "skyquilt.steps": saved["state"]["step"],
               "skyquilt.training_seconds": round(saved["state"]["seconds"]), "skyquilt.combination": "none"}
    if own:
        planes = 2 * len(saved["ghz"].split(",")) + 2
        entries.update({"skyquilt.heads": ",".join(HEADS), "skyquilt.halo": HALO, "skyquilt.multiple": MULTIPLE,
                        "skyquilt.domain_low": ",".join(["-100"] * planes),
                        "skyquilt.domain_high": ",".join(["100"] * planes)})
    entries.update(more)
    with open(path + ".partial", "wb") as f:
        f.write((buffer.getvalue() if own else halve(buffer.getvalue())) + metadata(entries))
    os.replace(path + ".partial", path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint")
    p.add_argument("output")
    p.add_argument("--name", required=True)
    p.add_argument("--version", default="1")
    p.add_argument("--sets", help="pattern of the training sets, whose depths and beams are the network's domain")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further metadata")
    a = p.parse_args()
    saved = torch.load(a.checkpoint, map_location="cpu")
    more = domain(a.sets) if a.sets else {}
    more.update(item.split("=", 1) for item in a.set)
    write(saved, a.output, a.name, a.version, more)
    print(f"{a.output}: {os.path.getsize(a.output)} bytes, {saved['state']['step']} steps")


if __name__ == "__main__":
    main()
