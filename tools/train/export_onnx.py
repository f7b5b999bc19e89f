"""Write the averaged weights of a checkpoint as ONNX, with what the decoder needs as metadata.

    python3 tools/train/export_onnx.py build-train/checkpoint.pt tools/models/sdss.onnx --name sdss
"""

import argparse
import io
import os
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from catalog_net import CONTEXT, PLANES, CatalogNet

SIDE = 80
INPUTS = ["image", "planes", "ctx1", "ctx2", "ctx3"]
OUTPUTS = ["head0", "head1", "head2", "head3"]


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def metadata(entries):
    """ModelProto.metadata_props (field 14), appended to the file: a repeated field may stand anywhere."""
    return b"".join(field(14, field(1, k.encode()) + field(2, str(v).encode())) for k, v in entries.items())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint")
    p.add_argument("output")
    p.add_argument("--name", default="sdss")
    p.add_argument("--halo", type=int, default=32, help="pixels of context that the network needs")
    p.add_argument("--calibration", default="none", help="name of the calibration, or none")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further metadata")
    a = p.parse_args()
    saved = torch.load(a.checkpoint, map_location="cpu")
    bands = saved["bands"]
    net = CatalogNet(len(bands))
    net.load_state_dict(saved["average"])
    net.eval()
    m = SIDE // 4
    inputs = [torch.zeros(1, 2 * len(bands), SIDE, SIDE), torch.zeros(1, PLANES * len(bands), m, m)]
    inputs += [torch.zeros(1, CONTEXT, m, m) for _ in range(3)]
    axes = {"image": {2: "height", 3: "width"}}
    axes.update({name: {2: "rows", 3: "columns"} for name in INPUTS[1:]})
    axes.update({name: {2: "head_rows", 3: "head_columns"} for name in OUTPUTS})
    buffer = io.BytesIO()
    torch.onnx.export(net, tuple(inputs), buffer, input_names=INPUTS, output_names=OUTPUTS, opset_version=13,
                      dynamic_axes=axes, do_constant_folding=True)
    entries = {"skyquilt.probe": "catalog", "skyquilt.layout": "catalog-1", "skyquilt.name": a.name,
               "skyquilt.bands": ",".join(bands), "skyquilt.reference": "r", "skyquilt.tile": 4,
               "skyquilt.slots": 2, "skyquilt.halo": a.halo, "skyquilt.core": 256,
               "skyquilt.limit": saved["limit"], "skyquilt.steps": saved["state"]["step"],
               "skyquilt.training_seconds": round(saved["state"]["seconds"]),
               "skyquilt.calibration": a.calibration}
    entries.update(item.split("=", 1) for item in a.set)
    partial = a.output + ".partial"
    with open(partial, "wb") as f:
        f.write(buffer.getvalue() + metadata(entries))
    os.replace(partial, a.output)
    print(f"{a.output}: {os.path.getsize(a.output)} bytes, {saved['state']['step']} steps")


if __name__ == "__main__":
    main()
