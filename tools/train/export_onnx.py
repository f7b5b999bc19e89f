"""Write the averaged weights of a checkpoint as ONNX, with what the decoder needs as metadata.

    python3 tools/train/export_onnx.py build-train/checkpoint.pt tools/models/sdss.onnx --name sdss
"""

import argparse
import io
import os
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from catalog_net import CONTEXT, MAX_SOURCES, PLANES, CatalogNet, Head, head_channels, slot_size
from onnx_file import halve, metadata

SIDE = 80
INPUTS = ["image", "planes", "ctx1", "ctx2", "ctx3"]
OUTPUTS = ["head0", "head1", "head2", "head3"]


class ShiftedConvolution(torch.autograd.Function):
    """A stride-2 convolution with unequal padding: one Conv in ONNX, a pad and a convolution in PyTorch."""

    @staticmethod
    def forward(_, x, weight, pad):
        return F.conv2d(F.pad(x, pad), weight, stride=2)

    @staticmethod
    def symbolic(g, x, weight, pad):
        left, right, top, bottom = pad
        return g.op("Conv", x, weight, kernel_shape_i=[3, 3], strides_i=[2, 2], pads_i=[top, left, bottom, right])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint")
    p.add_argument("output")
    p.add_argument("--name", default="sdss")
    p.add_argument("--version", default="1")
    p.add_argument("--scale", default="0.396", help="arcsec per pixel of the training sky")
    p.add_argument("--halo", type=int, default=32, help="pixels of context that the network needs")
    p.add_argument("--calibration", default="none", help="name of the calibration, or none")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further metadata")
    a = p.parse_args()
    saved = torch.load(a.checkpoint, map_location="cpu")
    bands = saved["bands"]
    tile = saved.get("tile", 4)
    net = CatalogNet(len(bands), tile)
    net.load_state_dict(saved["average"])
    net.eval()
    Head.shifted = lambda head, x, conv: ShiftedConvolution.apply(x, conv.weight, head.pad)
    m = SIDE // tile
    inputs = [torch.zeros(1, 2 * len(bands), SIDE, SIDE), torch.zeros(1, PLANES * len(bands), m, m)]
    inputs += [torch.zeros(1, CONTEXT, m, m) for _ in range(3)]
    axes = {"image": {2: "height", 3: "width"}}
    axes.update({name: {2: "rows", 3: "columns"} for name in INPUTS[1:]})
    axes.update({name: {2: "head_rows", 3: "head_columns"} for name in OUTPUTS})
    buffer = io.BytesIO()
    torch.onnx.export(net, tuple(inputs), buffer, input_names=INPUTS, output_names=OUTPUTS, opset_version=13,
                      dynamic_axes=axes, do_constant_folding=True)
    entries = {"skyquilt.probe": "catalog", "skyquilt.layout": "catalog-1", "skyquilt.name": a.name,
               "skyquilt.bands": ",".join(bands), "skyquilt.reference": "r", "skyquilt.tile": tile,
               "skyquilt.halo": a.halo, "skyquilt.core": 256,
               "skyquilt.limit": saved["limit"], "skyquilt.steps": saved["state"]["step"],
               "skyquilt.training_seconds": round(saved["state"]["seconds"]),
               "skyquilt.calibration": a.calibration}
    entries.update({
        "skyquilt.kind": "catalog", "skyquilt.version": a.version, "skyquilt.multiple": 4 * tile, "skyquilt.planes": PLANES,
        "skyquilt.context": CONTEXT, "skyquilt.slots": MAX_SOURCES, "skyquilt.slot_size": slot_size(len(bands)),
        "skyquilt.head": head_channels(len(bands)), "skyquilt.scale": a.scale,
        "skyquilt.train_seeds": f"1000-{saved['state']['seed']}"})
    entries.update(item.split("=", 1) for item in a.set)
    partial = a.output + ".partial"
    with open(partial, "wb") as f:
        f.write(halve(buffer.getvalue()) + metadata(entries))
    os.replace(partial, a.output)
    print(f"{a.output}: {os.path.getsize(a.output)} bytes, {saved['state']['step']} steps")


if __name__ == "__main__":
    main()
