"""`skyquilt model`, `bench conv` and `bench model` as a user calls them, against PyTorch.

The network is exported by torch with symbolic sides; its inputs and outputs go through HDF5. Run with the program and
a folder for files as arguments.
"""

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import torch

PROGRAM, FOLDER = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
failures = []


def run(*args):
    done = subprocess.run([PROGRAM, *args], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def check(name, condition, detail=""):
    print("%s %s%s" % ("ok    " if condition else "FAILED", name, "" if condition else ": " + str(detail)))
    if not condition:
        failures.append(name)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one = torch.nn.Conv2d(3, 20, 3, 1, 1)
        self.norm = torch.nn.BatchNorm2d(20)
        self.two = torch.nn.Conv2d(20, 20, 3, 2, 1)
        self.three = torch.nn.Conv2d(20, 20, 3, 1, 1)
        self.up = torch.nn.ConvTranspose2d(20, 7, 2, 2)

    def forward(self, x):
        y = self.norm(self.one(x))
        y = self.two(y * torch.sigmoid(y))
        y = torch.relu(self.three(y) + y)
        return self.up(y), y.mean((2, 3))


def main():
    os.makedirs(FOLDER, exist_ok=True)
    os.chdir(FOLDER)
    torch.manual_seed(3)
    torch.set_num_threads(1)
    net = Net().eval()
    net.norm.running_mean.normal_()
    net.norm.running_var.uniform_(0.5, 2)
    x = torch.randn(5, 3, 32, 24)
    torch.onnx.export(net, x[:1], "net.onnx", input_names=["image"], output_names=["map", "mean"], opset_version=13,
                      dynamic_axes={"image": {2: "h", 3: "w"}})
    with torch.no_grad():
        want = [v.numpy() for v in net(x)]
    with h5py.File("in.h5", "w") as file:
        file["image"] = x.numpy()

    code, out, _ = run("model", "show", "net.onnx", "--side", "64")
    check("show", code == 0 and "supported: yes" in out and "image [1, 3, ?, ?]" in out, out)
    parameters = sum(p.numel() for p in net.parameters())
    check("show counts parameters", abs(int(out.split("parameters: ")[1].split()[0]) - parameters) <= 40, out)

    for options, limit in ((["--reference"], 1e-5), ([], 1e-5), (["--precision", "auto"], 0.05)):
        code, _, err = run("model", "run", "net.onnx", "--input", "in.h5", "--output", "out.h5", *options)
        check("run " + " ".join(options), code == 0, err)
        with h5py.File("out.h5") as file:
            for name, value in zip(("map", "mean"), want):
                worst = np.abs(file[name][:] - value).max()
                check("%s agrees with torch: %.2g" % (name, worst), worst < limit, worst)
            check("the output names its model", len(file.attrs["model"]) == 32)

    code, out, err = run("bench", "model", "net.onnx", "--side", "32", "--seconds", "0.1", "--ops", "--json", "b.json")
    check("bench model", code == 0 and "Conv" in out, err)
    with open("b.json") as file:
        result = json.load(file)["fp32"]
    check("bench model's JSON", result["seconds"] > 0 and 0 < result["fraction_of_peak"] < 2, result)
    code, _, err = run("bench", "conv", "--precision", "fp32", "--seconds", "0.1", "--json", "c.json")
    with open("c.json") as file:
        check("bench conv", code == 0 and json.load(file)["fp32"]["peak_gflops"] > 1, err)

    with open("net.onnx", "rb") as file:
        data = file.read()
    with open("cut.onnx", "wb") as file:
        file.write(data[:len(data) // 2])
    with h5py.File("wrong.h5", "w") as file:
        file["image"] = np.zeros((2, 4, 32, 24), np.float32)
    with h5py.File("none.h5", "w") as file:
        file["picture"] = np.zeros((2, 3, 32, 24), np.float32)
    bad = {
        "a model that is cut off": ("model", "show", "cut.onnx"),
        "a model that is not there": ("model", "show", "nothing.onnx"),
        "an input with other channels": ("model", "run", "net.onnx", "--input", "wrong.h5", "--output", "o.h5"),
        "an input that is not there": ("model", "run", "net.onnx", "--input", "none.h5", "--output", "o.h5"),
        "no input": ("model", "run", "net.onnx"),
        "an unknown option": ("model", "show", "net.onnx", "--sid", "3"),
        "a side of 0": ("model", "show", "net.onnx", "--side", "0"),
        "an unknown precision": ("model", "run", "net.onnx", "--precision", "fp8"),
        "nothing to do": ("model",),
        "no model": ("bench", "model"),
    }
    for name, args in bad.items():
        code, out, err = run(*args)
        lines = [line for line in err.strip().split("\n") if line]
        check(name, code in (1, 2) and len(lines) == 1 and lines[0].startswith("skyquilt"), (code, out, err))
        check(name + " leaves no file", not os.path.exists("o.h5") and not os.path.exists("o.h5.partial"))
    for args in (("model", "--help"), ("bench", "conv", "--help"), ("bench", "model", "--help")):
        code, out, _ = run(*args)
        check(" ".join(args), code == 0 and "EXIT CODES" in out and "SYNOPSIS" in out)
    print("%d failed" % len(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
