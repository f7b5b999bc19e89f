"""The lensing network: what a classical reconstruction of kappa leaves, from the channels of
include/skyquilt/lensing/inputs.h. Fully convolutional, sides a multiple of 4, zeros beyond the edge: pad a periodic box by
PAD pixels of itself and take the inside.

The first layer has a product of two linear maps, for lensing is quadratic in the fields; noise and beam come in as
factors and offsets of its channels."""

import torch
import torch.nn as nn
import torch.nn.functional as F

CHANNELS, CONDITIONS, PAD = 6, 2, 16
SELU = 1.6732632


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x):
        return x + self.second(F.silu(self.first(F.silu(x))))


class LensingNet(nn.Module):
    def __init__(self, wide=64, deep=96):
        super().__init__()
        self.linear = nn.Conv2d(4 * CHANNELS, wide, 3, padding=1)
        self.left = nn.Conv2d(4 * CHANNELS, wide, 3, padding=1)
        self.right = nn.Conv2d(4 * CHANNELS, wide, 3, padding=1)
        self.condition = nn.Sequential(nn.Linear(CONDITIONS, 32), nn.SiLU(), nn.Linear(32, 2 * wide))
        nn.init.zeros_(self.condition[-1].weight)
        nn.init.zeros_(self.condition[-1].bias)
        self.before = nn.Sequential(Residual(wide), Residual(wide))
        self.down = nn.Conv2d(wide, deep, 2, 2)
        self.bottom = nn.Sequential(Residual(deep), Residual(deep), Residual(deep))
        self.up = nn.Conv2d(deep, wide, 1)
        self.after = nn.Sequential(Residual(wide), Residual(wide))
        self.head = nn.Conv2d(wide, 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, image, condition):
        x = F.pixel_unshuffle(image, 2)
        x = self.linear(x) + 0.3 * self.left(x) * self.right(x)
        factor, offset = self.condition(condition).unsqueeze(-1).unsqueeze(-1).chunk(2, 1)
        x = self.before(x * (1 + factor) + offset)
        y = self.up(self.bottom(self.down(x)))
        x = self.after(x + F.interpolate(y, scale_factor=2, mode="nearest"))
        return F.pixel_shuffle(self.head(F.silu(x)), 2)


class Unit(nn.Module):
    """Two convolutions, each followed by SELU (its outer factor is the normalisation's) and normalised over the batch, and
    what came in."""

    def __init__(self, given, channels):
        super().__init__()
        self.first = nn.Conv2d(given, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))
        self.through = nn.Conv2d(given, channels, 1) if given != channels else nn.Identity()

    def forward(self, x):
        y = self.norms[0](F.elu(self.first(x), SELU))
        return self.through(x) + self.norms[1](F.elu(self.second(y), SELU))


class PlainNet(nn.Module):
    """Kappa from Q and U alone, after the ResUNets of Caldeira et al. 2018 and of ResUNet-CMB, with fewer channels and
    3x3 kernels so that it trains on a CPU: a U-Net of residual units without any knowledge of lensing."""

    def __init__(self, observed=1.0, kappa=1.0, wide=24, levels=4):
        super().__init__()
        self.register_buffer("rms", torch.tensor([observed, kappa]))
        sizes = [wide * 2 ** k for k in range(levels)]
        self.encode = nn.ModuleList(Unit(a, b) for a, b in zip([2] + sizes[:-1], sizes))
        self.down = nn.ModuleList(nn.Conv2d(c, c, 2, 2) for c in sizes[:-1])
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(sizes, sizes[1:]))
        self.decode = nn.ModuleList(Unit(2 * a, a) for a in sizes[:-1])
        self.head = nn.Conv2d(wide, 1, 3, padding=1)

    def forward(self, image):
        x, kept = image / self.rms[0], []
        for encode, down in zip(self.encode, self.down):
            kept.append(encode(x))
            x = down(kept[-1])
        x = self.encode[-1](x)
        for level in reversed(range(len(kept))):
            x = F.interpolate(self.up[level](x), scale_factor=2, mode="nearest")
            x = self.decode[level](torch.cat([kept[level], x], 1))
        return self.head(x) * self.rms[1]


def padded(image):
    """A periodic box with PAD pixels of itself around."""
    return F.pad(image, (PAD, PAD, PAD, PAD), mode="circular")


def inside(x):
    return x[..., PAD:-PAD, PAD:-PAD]
