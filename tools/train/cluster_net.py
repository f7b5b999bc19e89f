"""The two cluster networks.

ClusterNet, own: fully convolutional on the channels and planes of include/skyquilt/clusters/inputs.h, 24k
multiply-adds a pixel. Outputs at full resolution, in this order: logits of the centre of a halo above 5e13 Msun, above
1e14 Msun, and of a target (Mvir >= 2e14, z >= 0.25), ln(Mvir / 2e14) with the ln of its standard deviation, and the logit
of z >= 0.25.

DeepSZNet, for comparison: ResNet-50 to its fourth stage as Lin et al. (2021) used, on cutouts of 32 x 32 pixels
scaled to [0, 1]; one logit: the inner 6' hold a target."""

import torch
import torch.nn as nn
import torch.nn.functional as F

HEADS = ("halo", "cluster", "target", "ln_mass", "ln_sigma", "far")
HALO, CLUSTER, TARGET, LN_MASS, LN_SIGMA, FAR = range(6)
CELL, MULTIPLE, CUTOUT = 8, 8, 32


def conv(inputs, outputs, side=3, stride=1):
    layer = nn.Conv2d(inputs, outputs, side, stride, (side - stride + 1) // 2 if stride > 1 else side // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels)
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x):
        return F.relu(x + self.second(F.relu(self.first(x))))


class ClusterNet(nn.Module):
    def __init__(self, nband):
        super().__init__()
        self.stem = conv(nband + 5, 32, 4, 2)
        self.top = Residual(32)
        self.down4 = conv(32, 64, 2, 2)
        self.planes = nn.Sequential(conv(2 * nband + 2, 64, 1), nn.ReLU(), conv(64, 64, 1))
        self.middle = Residual(64)
        self.down8 = conv(64, 96, 2, 2)
        self.bottom = nn.Sequential(Residual(96), conv(96, 96), nn.ReLU())
        self.lift4, self.lift2 = conv(96, 64, 1), conv(64, 32, 1)
        self.middle2, self.top2 = Residual(64), Residual(32)
        self.head = conv(32, 4 * len(HEADS), 1)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            bias = torch.tensor([-3.0, -4.5, -6.0, -0.8, -1.0, 1.5])
            self.head.bias.copy_(bias.repeat_interleave(4))

    def forward(self, image, planes):
        up = lambda x: F.interpolate(x, scale_factor=2, mode="nearest")
        x2 = self.top(F.relu(self.stem(image)))
        x4 = self.middle(F.relu(self.down4(x2) + up(self.planes(planes))))
        x8 = self.bottom(F.relu(self.down8(x4)))
        x4 = self.middle2(F.relu(x4 + up(self.lift4(x8))))
        x2 = self.top2(F.relu(x2 + up(self.lift2(x4))))
        return F.pixel_shuffle(self.head(x2), 2)


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        one = lambda i, o, side=1, step=1: [nn.Conv2d(i, o, side, step, side // 2, bias=False), nn.BatchNorm2d(o)]
        self.body = nn.Sequential(*one(inputs, width), nn.ReLU(), *one(width, width, 3, stride), nn.ReLU(),
                                  *one(width, 4 * width))
        self.skip = nn.Sequential(*one(inputs, 4 * width, 1, stride)) if stride > 1 or inputs != 4 * width \
            else nn.Identity()
        nn.init.zeros_(self.body[-1].weight)

    def forward(self, x):
        return F.relu(self.body(x) + self.skip(x))


class DeepSZNet(nn.Module):
    def __init__(self, nband):
        super().__init__()
        layers, inputs = [nn.Conv2d(nband, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
                          nn.MaxPool2d(3, 2, 1)], 64
        for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2)):
            for k in range(blocks):
                layers.append(Bottleneck(inputs, width, stride if k == 0 else 1))
                inputs = 4 * width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, 1)

    def forward(self, cutout):
        return self.head(self.body(cutout).mean((2, 3)))
