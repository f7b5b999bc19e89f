#!/usr/bin/python3
"""Time an ONNX network in PyTorch on one thread: the peer of `skyquilt bench model`.

    tools/bench_torch.py FILE.onnx [--side N] [--seconds S] [--bf16] [--check IN.h5 OUT.h5] [--json FILE]

The graph is rebuilt from the file's own nodes and weights (what depends on constants only is computed once, and
x * sigmoid(x) becomes torch's silu), then run under inference_mode in four ways: as it is and traced, frozen and optimised
for inference, each with plain and channels-last tensors. --bf16: and each
eager one under autocast and with everything in bfloat16. The fastest counts. Times are CPU seconds of the thread,
as in `bench model`. --check compares the outputs with those that `skyquilt model run` wrote.
"""

import argparse
import json
import os
import struct
import sys
import time
import warnings

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "train"))
from onnx_file import fields, read_varint

DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16,
          11: np.float64}


# ---- protobuf ----

def signed(value):
    return value - (1 << 64) if value >> 63 else value


def packed(values):
    """Repeated integers, packed or not."""
    out = []
    for v in values:
        if isinstance(v, int):
            out.append(signed(v))
        else:
            at = 0
            while at < len(v):
                value, at = read_varint(v, at)
                out.append(signed(value))
    return out


def collect(data):
    out = {}
    for number, _, value, _ in fields(data):
        out.setdefault(number, []).append(value)
    return out


def tensor(data):
    f = collect(data)
    dims = packed(f.get(1, []))
    dtype = DTYPES[f[2][0]]
    if 9 in f:
        array = np.frombuffer(f[9][0], dtype)
    elif 4 in f:
        array = np.frombuffer(b"".join(f[4]), np.float32)
    else:
        array = np.array(packed(f.get(7, f.get(5, []))), dtype)
    name = f[8][0].decode() if 8 in f else ""
    return name, torch.from_numpy(array.reshape(dims).copy())


def attribute(data):
    f = collect(data)
    kind = f.get(20, [0])[0]
    value = {1: lambda: struct.unpack("<f", f[2][0])[0], 2: lambda: signed(f[3][0]), 3: lambda: f[4][0].decode(),
             4: lambda: tensor(f[5][0])[1], 6: lambda: list(np.frombuffer(b"".join(f[7]), np.float32)),
             7: lambda: packed(f.get(8, []))}[kind]()
    return f[1][0].decode(), value


class Graph:
    def __init__(self, path):
        with open(path, "rb") as file:
            model = collect(file.read())
        graph = collect(model[7][0])
        self.constants = dict(tensor(t) for t in graph.get(5, []))
        self.nodes = []
        for data in graph.get(1, []):
            f = collect(data)
            names = [[n.decode() for n in f.get(k, [])] for k in (1, 2)]
            self.nodes.append((f[4][0].decode(), *names, dict(attribute(a) for a in f.get(5, []))))
        self.inputs, self.outputs = [], [collect(v)[1][0].decode() for v in graph[12]]
        for data in graph[11]:
            f = collect(data)
            name = f[1][0].decode()
            shape = collect(collect(collect(f[2][0])[1][0]).get(2, [b""])[0]).get(1, [])
            if name not in self.constants:
                self.inputs.append((name, [signed(collect(d)[1][0]) if 1 in collect(d) else -1 for d in shape]))


# ---- operators ----

def pad_of(x, attrs):
    pads = attrs.get("pads", [0] * 2 * (x.dim() - 2))
    n = len(pads) // 2
    begin, end = pads[:n], pads[n:]
    if begin == end:
        return x, begin
    flat = [v for k in range(n - 1, -1, -1) for v in (begin[k], end[k])]
    return F.pad(x, flat), [0] * n


def conv(attrs, x, w, b=None):
    x, pad = pad_of(x, attrs)
    n = x.dim() - 2
    f = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
    return f(x, w, b, attrs.get("strides", [1] * n), pad, attrs.get("dilations", [1] * n), attrs.get("group", 1))


def deconv(attrs, x, w, b=None):
    n = x.dim() - 2
    pads = attrs.get("pads", [0] * 2 * n)
    if pads[:n] != pads[n:]:
        raise NotImplementedError("ConvTranspose with unequal pads")
    return F.conv_transpose2d(x, w, b, attrs.get("strides", [1] * n), pads[:n],
                              attrs.get("output_padding", [0] * n), attrs.get("group", 1),
                              attrs.get("dilations", [1] * n))


def resize(attrs, x, roi=None, scales=None, sizes=None):
    size = [int(v) for v in sizes[2:]] if sizes is not None and sizes.numel() else None
    factor = [float(v) for v in scales[2:]] if size is None else None
    if attrs.get("mode", "nearest") == "nearest":
        return F.interpolate(x, size=size, scale_factor=factor, mode="nearest")
    return F.interpolate(x, size=size, scale_factor=factor, mode="bilinear",
                         align_corners=attrs.get("coordinate_transformation_mode") == "align_corners")


def pad(attrs, x, pads=None, value=None):
    pads = [int(v) for v in (pads if pads is not None else attrs["pads"])]
    n = len(pads) // 2
    flat = [v for k in range(n - 1, -1, -1) for v in (pads[k], pads[k + n])]
    while len(flat) > 2 and flat[-2:] == [0, 0]:
        flat = flat[:-2]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}[attrs.get("mode", "constant")]
    return F.pad(x, flat, mode, **({"value": float(value or 0)} if mode == "constant" else {}))


def cut(attrs, x, starts, ends, axes=None, steps=None):
    axes = axes.tolist() if axes is not None else range(len(starts))
    for i, axis in enumerate(axes):
        size, step = x.shape[axis], int(steps[i]) if steps is not None else 1
        rows = range(size)[slice(int(starts[i]) if abs(int(starts[i])) < 1 << 60 else None,
                                 int(ends[i]) if abs(int(ends[i])) < 1 << 60 else None, step)]
        if step == 1:
            x = x.narrow(axis, rows.start, len(rows))
        else:
            x = x.index_select(axis, torch.tensor(list(rows)))
    return x


def pool(function):
    def run(attrs, x):
        x_, p = pad_of(x, attrs)
        return function(x_, attrs["kernel_shape"], attrs.get("strides"), p, ceil_mode=bool(attrs.get("ceil_mode", 0)))
    return run


TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}
def squeeze(a, x, axes):
    for k in sorted((int(v) % x.dim() for v in axes.flatten()), reverse=True):
        x = x.squeeze(k)
    return x


def unsqueeze(a, x, axes):
    for k in sorted(int(v) for v in axes.flatten()):
        x = x.unsqueeze(k)
    return x


def space_to_depth(a, x):
    """ONNX puts the place within a block before the channel."""
    b, (n, c, h, w) = a["blocksize"], x.shape
    return x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


def depth_to_space(a, x):
    b, (n, c, h, w) = a["blocksize"], x.shape
    if a.get("mode", b"DCR") in (b"CRD", "CRD"):
        return F.pixel_shuffle(x, b)
    return x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // (b * b), h * b, w * b)


OPS = {
    "Add": lambda a, x, y: x + y, "Sub": lambda a, x, y: x - y, "Mul": lambda a, x, y: x * y,
    "Div": lambda a, x, y: x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc"),
    "BatchNormalization": lambda a, x, s, b, m, v: F.batch_norm(x, m, v, s, b, False, 0, a.get("epsilon", 1e-5)),
    "Cast": lambda a, x: x.to(TYPES[a["to"]]), "Clip": lambda a, x, lo=None, hi=None: torch.clamp(x, lo, hi),
    "Concat": lambda a, *x: torch.cat(x, a["axis"]), "Constant": lambda a: a["value"],
    "ConstantOfShape": lambda a, s: torch.full(s.tolist(), a["value"].item() if "value" in a else 0.0,
                                               dtype=a["value"].dtype if "value" in a else torch.float32),
    "Conv": conv, "ConvTranspose": deconv, "Exp": lambda a, x: x.exp(), "Log": lambda a, x: x.log(),
    "Flatten": lambda a, x: x.flatten(a.get("axis", 1)), "Gather": lambda a, x, i: torch.from_numpy(
        np.take(x.numpy(), i.numpy(), a.get("axis", 0))),
    "Gemm": lambda a, x, w, b=None: a.get("alpha", 1.0) * (x.t() if a.get("transA") else x) @ (
        w.t() if a.get("transB") else w) + (0 if b is None else a.get("beta", 1.0) * b),
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True), "Identity": lambda a, x: x,
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)), "MatMul": lambda a, x, y: x @ y,
    "MaxPool": pool(F.max_pool2d), "AveragePool": pool(F.avg_pool2d), "Pad": pad, "Relu": lambda a, x: F.relu(x),
    "Reshape": lambda a, x, s: x.reshape([x.shape[i] if v == 0 else int(v) for i, v in enumerate(s)]),
    "Resize": resize, "Shape": lambda a, x: torch.tensor(x.shape), "Sigmoid": lambda a, x: torch.sigmoid(x),
    "Slice": cut, "Softmax": lambda a, x: F.softmax(x, a.get("axis", -1)), "Softplus": lambda a, x: F.softplus(x),
    "Split": lambda a, x, s: torch.split(x, s.tolist(), a.get("axis", 0)), "Tanh": lambda a, x: torch.tanh(x),
    "Transpose": lambda a, x: x.permute(*a["perm"]), "silu": lambda a, x: F.silu(x),
    "DepthToSpace": depth_to_space, "SpaceToDepth": space_to_depth, "Squeeze": squeeze, "Unsqueeze": unsqueeze,
}


class Net(torch.nn.Module):
    """The nodes that depend on inputs, in order."""

    def __init__(self, graph):
        super().__init__()
        self.names = [name for name, _ in graph.inputs]
        self.out = graph.outputs
        constants, self.steps = dict(graph.constants), []
        known = dict(constants)
        sigmoid = {}
        for op, ins, outs, attrs in graph.nodes:
            args = [i for i in ins]
            if op != "Shape" and all(i in known or not i for i in args):
                result = OPS[op](attrs, *[known.get(i) for i in args])
                for name, value in zip(outs, result if isinstance(result, tuple) else (result,)):
                    known[name] = value
                continue
            if op == "Sigmoid":
                sigmoid[outs[0]] = ins[0]
            if op == "Mul" and len(ins) == 2 and any(sigmoid.get(ins[k]) == ins[1 - k] for k in (0, 1)):
                x = ins[1] if sigmoid.get(ins[0]) == ins[1] else ins[0]
                op, args, attrs = "silu", [x], {}
            self.steps.append((op, args, outs, attrs))
        used = {i for _, args, _, _ in self.steps for i in args} | set(self.out)
        self.steps = [s for s in self.steps if any(o in used for o in s[2])]
        self.number = {name: "c%d" % k for k, name in enumerate(n for n in known if n in used)}
        for name, member in self.number.items():
            value = known[name]
            if value.dim() == 4 and value.is_floating_point():
                value = value.contiguous(memory_format=torch.channels_last)
            self.register_buffer(member, value.clone(memory_format=torch.preserve_format))

    def forward(self, *inputs):
        value = dict(zip(self.names, inputs))
        for name, member in self.number.items():
            value[name] = getattr(self, member)
        for op, args, outs, attrs in self.steps:
            result = OPS[op](attrs, *[value[i] if i else None for i in args])
            for name, v in zip(outs, result if isinstance(result, tuple) else (result,)):
                value[name] = v
        return tuple(value[name] for name in self.out)


def make_inputs(net, graph, side):
    """Symbolic dimensions are `side`; inputs after the first may be coarser by a power of two."""
    for ratio in (1, 2, 4, 8, 16, 32):
        inputs = [torch.randn([d if d >= 0 else 1 if k == 0 else side if i == 0 else side // ratio
                               for k, d in enumerate(s)]) for i, (_, s) in enumerate(graph.inputs)]
        try:
            with torch.no_grad():
                net(*inputs)
            return inputs
        except RuntimeError:
            if ratio == 32:
                raise
    return None


def timed(function, inputs, seconds):
    for _ in range(3):
        function(*inputs)
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = time.thread_time()
        function(*inputs)
        times.append(time.thread_time() - start)
    return float(np.median(times))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file")
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--check", nargs=2, metavar=("IN.h5", "OUT.h5"))
    parser.add_argument("--json")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(1)
    graph = Graph(options.file)
    net = Net(graph).eval()
    plain = make_inputs(net, graph, options.side)
    last = [x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in plain]
    result = {"torch": torch.__version__, "seconds": {}}
    with torch.inference_mode():
        if options.check:
            import h5py
            with h5py.File(options.check[0]) as source, h5py.File(options.check[1]) as made:
                out = net(*[torch.from_numpy(source[n][:]) for n, _ in graph.inputs])
                result["worst"] = max(float((torch.from_numpy(made[n][:]) - v).abs().max())
                                      for n, v in zip(graph.outputs, out))
            print("largest difference: %.3g" % result["worst"])
        for kind, inputs in (("plain", plain), ("channels last", last)):
            result["seconds"]["eager, " + kind] = timed(net, inputs, options.seconds)
            frozen = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, inputs)))
            result["seconds"]["frozen, " + kind] = timed(frozen, inputs, options.seconds)
        result["best_fp32"] = min(result["seconds"].values())
        if options.bf16:
            half = Net(graph).eval().bfloat16()
            for kind, inputs in (("plain", plain), ("channels last", last)):
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    result["seconds"]["eager, autocast, " + kind] = timed(net, inputs, options.seconds)
                result["seconds"]["eager, bf16, " + kind] = timed(half, [x.bfloat16() for x in inputs], options.seconds)
    for name, value in result["seconds"].items():
        print("%-24s %8.2f ms" % (name, value * 1e3))
    result["best"] = min(result["seconds"].values())
    print("best %29.2f ms" % (result["best"] * 1e3))
    if options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
