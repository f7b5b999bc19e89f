"""Answers of numpy for the tests of fourier/: oracle.py WHAT NY NX INPUT OUTPUT, raw float64 files."""
import sys

import numpy as np
import scipy.ndimage
import scipy.signal

what, ny, nx, source, target = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
values = np.fromfile(source, "f8")
DY, DX = 0.002, 0.003

if what == "fft":
    out = np.ascontiguousarray(np.fft.rfft2(values.reshape(ny, nx))).view("f8")
elif what == "axes":
    out = np.concatenate([2 * np.pi * np.fft.fftfreq(ny, DY), 2 * np.pi * np.fft.rfftfreq(nx, DX)])
elif what == "gradient":
    f = np.fft.fft2(values.reshape(ny, nx))
    ly, lx = 2 * np.pi * np.fft.fftfreq(ny, DY), 2 * np.pi * np.fft.fftfreq(nx, DX)
    if ny % 2 == 0:
        ly[ny // 2] = 0
    if nx % 2 == 0:
        lx[nx // 2] = 0
    out = np.concatenate([np.fft.ifft2(1j * ly[:, None] * f).real.ravel(),
                          np.fft.ifft2(1j * lx[None, :] * f).real.ravel()])
elif what == "convolve":
    out = scipy.ndimage.convolve(values[:ny * nx].reshape(ny, nx), values[ny * nx:].reshape(5, 3), mode="wrap")
elif what == "spectrum":
    # Over the full plane, so that the weights of the half plane are checked too.
    a, b = (np.fft.fft2(v) for v in values.reshape(2, ny, nx))
    l = np.hypot(2 * np.pi * np.fft.fftfreq(ny, DY)[:, None], 2 * np.pi * np.fft.fftfreq(nx, DX)[None, :])
    edges = np.array([0, 50, 200, 300, 777, 1500])
    power = (a * b.conj()).real * DX * DY / (nx * ny)
    which = [(l >= lo) & (l < hi) for lo, hi in zip(edges, edges[1:])]
    out = np.array([[l[w].mean(), power[w].mean(), w.sum()] for w in which]).ravel()
elif what == "distance":
    out = scipy.ndimage.distance_transform_edt(values.reshape(ny, nx), sampling=(DY, DX))
else:
    sys.exit("oracle: " + what)
np.ascontiguousarray(out, "f8").tofile(target)
