"""Training sets of `skyquilt simulate --training` as batches of network inputs and tile targets."""

import h5py
import numpy as np
import torch

from catalog_net import COLOURS, E1, E2, FWHM, MF, MF_UNIT, PLANES, SIGMA, SKY, USABLE, context

MARGIN = 8   # pixels at the rim of a sample whose context is cut off: no loss there


class TrainingSet:
    """One file in memory. `limit`: faintest magnitude of the reference band that is a source to the network."""

    def __init__(self, path, limit, reference="r"):
        with h5py.File(path) as f:
            self.image = f["image"][:]
            self.planes = f["planes"][:].astype(np.float32)
            self.count = f["count"][:]
            self.source = f["source"][:]
            self.bands = f.attrs["bands"].split(",") if isinstance(f.attrs["bands"], str) \
                else f.attrs["bands"].decode().split(",")
            self.tile = int(f.attrs["tile"])
            fields = f.attrs["fields"]
            self.fields = (fields if isinstance(fields, str) else fields.decode()).split(",")
        self.nband = len(self.bands)
        self.reference = self.bands.index(reference)
        self.limit = limit
        self.targets = self._targets()

    def __len__(self):
        return len(self.image)

    def _targets(self):
        """Per tile: count, and for two slots, brighter first: position, ln flux, star, shape."""
        f = {name: i for i, name in enumerate(self.fields)}
        samples, side = len(self.image), self.image.shape[-1]
        m = side // self.tile
        b = self.nband
        s = self.source
        flux = s[:, :, f["flux_" + self.bands[0]]:f["flux_" + self.bands[0]] + b]
        there = np.arange(s.shape[1])[None] < self.count[:, None]
        with np.errstate(divide="ignore"):
            there &= 31.4 - 2.5 * np.log10(np.maximum(flux[:, :, self.reference], 1e-9)) < self.limit
        x, y = s[:, :, f["x"]] + 0.5, s[:, :, f["y"]] + 0.5
        there &= (x >= 0) & (y >= 0) & (x < side) & (y < side)
        who, which = np.nonzero(there)
        order = np.lexsort((-flux[who, which, self.reference], who))
        who, which = who[order], which[order]
        column = (x[who, which] // self.tile).astype(int)
        row = (y[who, which] // self.tile).astype(int)
        count = np.zeros((samples, m, m), np.int64)
        values = np.zeros((samples, 2, 7 + b, m, m), np.float32)
        galaxy = 1 - s[who, which, f["star"]]
        bulge = np.clip(s[who, which, f["bulge_fraction"]], 0.02, 0.98)
        rows = np.column_stack([
            x[who, which] / self.tile - column, y[who, which] / self.tile - row, 1 - galaxy,
            np.log(np.maximum(s[who, which, f["radius"]], 0.02)), s[who, which, f["e1"]], s[who, which, f["e2"]],
            np.log(bulge / (1 - bulge)), np.log(np.maximum(flux[who, which], 1e-3))])
        for k in range(len(who)):
            i, r, c = who[k], row[k], column[k]
            if count[i, r, c] < 2:
                values[i, count[i, r, c], :, r, c] = rows[k]
            count[i, r, c] += 1
        return np.minimum(count, 2), values

    def batch(self, index, rng, dropped=0.1, skyless=0.0):
        """Flipped and transposed at random (PSF and shapes with the image), some bands and skies dropped at random."""
        image = torch.from_numpy(self.image[index].astype(np.float32))
        planes = torch.from_numpy(self.planes[index].copy())
        count = torch.from_numpy(self.targets[0][index])
        value = torch.from_numpy(self.targets[1][index].copy())
        n, b = len(index), self.nband
        if rng is not None:
            image, planes, count, value = turn(image, planes, count, value, b, rng)
            drop(image, planes, b, dropped, rng)
            forget_sky(planes, b, skyless, rng)
        fine = torch.asinh(image)
        coarse = torch.asinh(image / 30)
        stacked = torch.stack([fine, coarse], 2).reshape(n, 2 * b, *image.shape[-2:])
        return stacked, planes, count, value


def turn(image, planes, count, value, nband, rng):
    """One symmetry of the square a batch. e1 changes sign under transposition, e2 under one flip."""
    p = planes.view(len(planes), nband, PLANES, *planes.shape[-2:])
    if rng.random() < 0.5:   # x -> -x
        image, p, count, value = (t.flip(-1) for t in (image, p, count, value))
        value[:, :, 0] = torch.where(value[:, :, 0:1].ne(0).any(2), 1 - value[:, :, 0], value[:, :, 0])
        p[:, :, E2] *= -1
        value[:, :, 5] *= -1
    if rng.random() < 0.5:   # y -> -y
        image, p, count, value = (t.flip(-2) for t in (image, p, count, value))
        value[:, :, 1] = torch.where(value[:, :, 1:2].ne(0).any(2), 1 - value[:, :, 1], value[:, :, 1])
        p[:, :, E2] *= -1
        value[:, :, 5] *= -1
    if rng.random() < 0.5:   # x <-> y
        image, p, count, value = (t.transpose(-1, -2) for t in (image, p, count, value))
        value = value.clone()
        value[:, :, 0], value[:, :, 1] = value[:, :, 1].clone(), value[:, :, 0].clone()
        p = p.clone()
        p[:, :, E1] *= -1
        value[:, :, 4] *= -1
    return image, p.reshape(planes.shape).contiguous(), count, value


def drop(image, planes, nband, share, rng):
    """A share of the samples loses some of its bands, any but all: a missing band is zero in its image and all its planes."""
    p = planes.view(len(planes), nband, PLANES, *planes.shape[-2:])
    for i in np.nonzero(rng.random(len(image)) < share)[0]:
        gone = rng.permutation(nband)[:rng.integers(1, nband)].tolist()
        image[i, gone] = 0
        p[i, gone] = 0


def forget_sky(planes, nband, share, rng):
    """A share of the samples does not know the level of the sky that was subtracted."""
    p = planes.view(len(planes), nband, PLANES, *planes.shape[-2:])
    p[rng.random(len(planes)) < share, :, SKY] = 0


def base_flux(planes, nband):
    """ln of the flux (nJy) that flux posteriors are relative to [S, B, M, M]: the matched-filter flux at the
    tile's peak, at least one sigma. 0 for a missing band."""
    p = planes.view(len(planes), nband, PLANES, *planes.shape[-2:])
    snr = torch.clamp(torch.sinh(torch.clamp(p[:, :, MF], max=12.0)), min=1.0)
    ln_error = (p[:, :, MF_UNIT] + p[:, :, SIGMA] + 2) * np.log(10.0)
    return torch.where(p[:, :, USABLE] > 0, torch.log(snr) + ln_error, torch.zeros_like(snr))


def flux_snr(planes, value, nband):
    """Expected matched-filter S/N of the true sources, all bands together [S, 2, M, M]."""
    p = planes.view(len(planes), nband, PLANES, *planes.shape[-2:])
    ln_error = (p[:, :, MF_UNIT] + p[:, :, SIGMA] + 2) * np.log(10.0)
    ratio = torch.exp(2 * torch.clamp(value[:, :, 7:] - ln_error[:, None], max=15.0))
    return torch.sqrt((ratio * (p[:, None, :, USABLE] > 0)).sum(2))


def contexts(planes, count, value, nband, reference, tile):
    """ctx1..3 as a decoder would have them: detectable true sources, with the errors of a measurement."""
    p = planes.view(len(planes), nband, PLANES, *planes.shape[-2:])
    snr = flux_snr(planes, value, nband)
    there = torch.stack([count > s for s in (0, 1)], 1) & (snr > 5 + 0.7 * torch.randn_like(snr))
    there[:, 1] &= there[:, 0]
    seen = there.sum(1, keepdim=True).float()
    blur = torch.exp(p[:, reference, FWHM])[:, None, None] * 0.42 * 4 / tile / torch.clamp(snr, min=3)[:, :, None]
    where = torch.clamp(value[:, :, 0:2] + blur * torch.randn_like(value[:, :, 0:2]), 0, 1)
    sigma = (p[:, reference, SIGMA] + 2) * np.log(10.0)
    logflux = value[:, :, 7 + reference] - sigma[:, None] + torch.randn_like(snr) / torch.clamp(snr, min=3)
    star = value[:, :, 2]
    out = []
    m = count.shape[-1]
    known = torch.zeros(1, 1, m, m, device=count.device)
    for k in range(3):
        row, column = COLOURS[k]
        known = known.clone()
        known[..., row::2, column::2] = 1
        out.append(context(known.expand(len(planes), 1, m, m), seen, where, logflux, star))
    return out
