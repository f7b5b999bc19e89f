"""The catalog network: a posterior for up to two sources in every tile of T = 4 pixels (2 in crowded fields).

Inputs (B bands, patch of N pixels, M = N / T tiles a side):
    image   [S, 2B, N, N]  asinh(w), asinh(w / 30) a band, w = image / sky rms
    planes  [S, 8B, M, M]  conditioning at tile resolution, see include/skyquilt/catalog/inputs.h
    ctx1..3 [S, 16, M, M]  what is known of the tiles of earlier colours (see context())
Outputs: head0..head3 [S, HEAD, M/2, M/2], the tiles of one colour of a 2 x 2 checkerboard in the order
(row, column) = (0,0), (0,1), (1,0), (1,1). head k depends on ctx1..k, so a decoder runs the heads one after another.

Channels of a head, for tile count logits and two slots (the brighter source first):
    0..2                    logits of 0, 1, 2 sources
    3 + 35 s + 0..1         position in the tile, mean (x, y), tile units, 0..1 across the tile
    3 + 35 s + 2..4         log sigma x, log sigma y, atanh of the correlation
    3 + 35 s + 5            star logit
    3 + 35 s + 6..9         shape means: ln radius/arcsec, e1, e2, logit of the bulge fraction
    3 + 35 s + 10..13       their log sigmas
    3 + 35 s + 14..18       ln flux of each band relative to the tile's matched-filter flux, mean (B = 5)
    3 + 35 s + 19..33       Cholesky factor of its precision, rows of the lower triangle, logs on the diagonal (15)
    3 + 35 s + 34           spare
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

COLOURS = ((0, 0), (0, 1), (1, 0), (1, 1))
PLANES = 8
FWHM, E1, E2, SIGMA, SKY, MF, MF_UNIT, USABLE = range(PLANES)
CONTEXT = 16
MAX_SOURCES = 2


def slot_size(nband):
    return 14 + nband + nband * (nband + 1) // 2 + 1


def head_channels(nband):
    used = 3 + MAX_SOURCES * slot_size(nband)
    return (used + 15) // 16 * 16


class Cell(nn.Module):
    """Convolution, BatchNorm, what is added, ReLU: one oneDNN primitive. (SiLU cannot be fused into the AMX kernels and
    took as long as the convolutions.)"""

    def __init__(self, inner, outer, size=3, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, size, stride, size // 2, bias=False)
        self.norm = nn.BatchNorm2d(outer)

    def forward(self, x, more=None):
        y = self.norm(self.conv(x))
        return F.relu(y if more is None else y + more)


class Block(nn.Module):
    """A residual block of two 3x3 convolutions."""

    def __init__(self, width):
        super().__init__()
        self.one = Cell(width, width)
        self.two = Cell(width, width)

    def forward(self, x):
        return self.two(self.one(x), x)


def blocks(width, count):
    return nn.Sequential(*[Block(width) for _ in range(count)])


class Head(nn.Module):
    """The posterior of the tiles of one colour: a stride-2 convolution whose padding is shifted to them."""

    def __init__(self, width, context, outer, colour):
        super().__init__()
        row, column = colour
        self.pad = (1 - column, column, 1 - row, row)
        self.features = nn.Conv2d(width, 64, 3, 2, 0, bias=False)
        self.norm = nn.BatchNorm2d(64)
        self.context = nn.Conv2d(context, 64, 3, 2, 0, bias=False) if context else None
        self.mix = Cell(64, 64, 1)
        self.out = nn.Conv2d(64, outer, 1)

    def shifted(self, x, conv):
        return conv(F.pad(x, self.pad))

    def forward(self, features, context):
        y = self.norm(self.shifted(features, self.features))
        if self.context is not None:
            y = y + self.shifted(context, self.context)
        return self.out(self.mix(F.relu(y)))


class CatalogNet(nn.Module):
    """A U-net that works at half resolution and below; planes come in at tile resolution, which is a quarter with tiles of 4
    (the names say so) or a half with tiles of 2. Channels are multiples of 32, the depth of an AMX tile in bf16."""

    def __init__(self, nband=5, tile=4):
        super().__init__()
        self.nband, self.tile = nband, tile
        self.stem = Cell(2 * nband, 64, 3, 2)
        self.second = blocks(64, 2)
        self.fourth = Cell(64, 64, 3, tile // 2)
        self.planes = nn.Conv2d(PLANES * nband, 64, 1, bias=False)
        self.mix = blocks(64, 4)
        self.eighth = nn.Sequential(Cell(64, 96, 3, 2), Block(96))
        self.sixteenth = nn.Sequential(Cell(96, 128, 3, 2), blocks(128, 2))
        self.lift8 = nn.Conv2d(128, 96, 1, bias=False)
        self.skip8 = Cell(96, 96, 1)
        self.up8 = Block(96)
        self.lift4 = nn.Conv2d(96, 64, 1, bias=False)
        self.skip4 = Cell(64, 64, 1)
        self.up4 = blocks(64, 2)
        outer = head_channels(nband)
        self.heads = nn.ModuleList(
            Head(64, CONTEXT if k else 0, outer, colour) for k, colour in enumerate(COLOURS))
        for head in self.heads:
            self.start(head.out)

    def start(self, out):
        """Begin near the prior: mostly empty tiles, positions in the middle, wide errors."""
        with torch.no_grad():
            out.weight *= 0.1
            out.bias.zero_()
            out.bias[0:3] = torch.tensor([3.0, -1.0, -4.0])
            for s in range(MAX_SOURCES):
                first = 3 + s * slot_size(self.nband)
                out.bias[first:first + 2] = 0.5
                out.bias[first + 2:first + 4] = -1.2

    def backbone(self, image, planes):
        x4 = self.mix(self.fourth(self.second(self.stem(image)), self.planes(planes)))
        x8 = self.eighth(x4)
        x16 = self.sixteenth(x8)
        x8 = self.up8(self.skip8(x8, F.interpolate(self.lift8(x16), scale_factor=2, mode="nearest")))
        return self.up4(self.skip4(x4, F.interpolate(self.lift4(x8), scale_factor=2, mode="nearest")))

    def forward(self, image, planes, ctx1, ctx2, ctx3):
        features = self.backbone(image, planes)
        contexts = (None, ctx1, ctx2, ctx3)
        return tuple(head(features, context) for head, context in zip(self.heads, contexts))


def context(known, count, where, logflux, star):
    """Context planes [S, 16, M, M] from known [S,1,M,M] (0/1), count [S,1,M,M] (0..2), position [S,2,2,M,M]
    (slot, xy), ln of the reference flux over the sky rms [S,2,M,M], star probability [S,2,M,M]. Zero where unknown.

    0 known, 1 count/2, 2 empty, then for each slot s at 3 + 4 s: x - 0.5, y - 0.5, (ln flux/sigma) / 4, star - 0.5,
    masked by the slot's presence; 11..15 are zero."""
    planes = [known, known * count / 2, known * (count == 0).to(known)]
    for s in range(MAX_SOURCES):
        here = known * (count > s).to(known)
        planes += [here * (where[:, s, 0:1] - 0.5), here * (where[:, s, 1:2] - 0.5),
                   here * logflux[:, s:s + 1] / 4, here * (star[:, s:s + 1] - 0.5)]
    zero = torch.zeros_like(known)
    return torch.cat(planes + [zero] * (CONTEXT - len(planes)), 1)
