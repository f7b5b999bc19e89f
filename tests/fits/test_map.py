"""Maps against astropy, scipy, healpy and positions on the sky: test_map.py MAP_TOOL."""
import os
import subprocess
import sys
import tempfile
import unittest

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates

try:
    import healpy
except ImportError:
    healpy = None

TOOL = sys.argv.pop(1)
SHARED = os.environ.get('SQ_SHARED', '')
NEAREST, BILINEAR, BICUBIC, SINC = 0, 1, 2, 3
rng = np.random.default_rng(5)


def call(path, *args, unit='-', frame='-', pol='-'):
    run = subprocess.run([TOOL, path, unit, frame, pol] + [str(a) for a in args],
                         capture_output=True, text=True)
    assert run.returncode in (0, 1), (run.returncode, run.stderr)
    return run.returncode, run.stdout.strip()


class Base(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()

    def tearDown(self):
        self.folder.cleanup()

    def at(self, name):
        return os.path.join(self.folder.name, name)

    def sample(self, path, plane, method, ra, dec, **options):
        np.concatenate([ra, dec]).astype('f8').tofile(self.at('points'))
        args = ['sample', plane, method] if plane != 'QU' else ['sample_qu', method]
        rc, text = call(path, *args, self.at('points'), self.at('out'), **options)
        self.assertEqual(rc, 0, text)
        raw, n = np.fromfile(self.at('out'), 'u1').tobytes(), len(ra)
        planes = 2 if plane == 'QU' else 1
        value = np.frombuffer(raw[:4 * n * planes], 'f4')
        valid = np.frombuffer(raw[4 * n * planes:], 'u1').astype(bool)
        return (value.reshape(2, n) if planes == 2 else value), valid

    def refuse(self, path, *words, action=('info',), **options):
        rc, text = call(path, *action, **options)
        self.assertEqual(rc, 1, text)
        self.assertEqual(len(text.splitlines()), 2 if action[0] == 'check' else 1, text)
        for word in words:
            self.assertIn(word, text)


def wcs_of(projection, ra0, dec0, nx, ny, step=0.1, flip=(-1, 1), blank=False):
    w = WCS(naxis=2)
    w.wcs.ctype = [f'RA---{projection}', f'DEC--{projection}']
    cylinder = projection in ('CAR', 'CEA', 'SFL')
    w.wcs.crval = [ra0, 0 if cylinder else dec0]
    w.wcs.cdelt = [step * flip[0], step * flip[1]]
    w.wcs.crpix = [nx / 2 + .3, ny / 2 + .2]
    if cylinder:
        height = np.degrees(np.sin(np.radians(dec0))) if projection == 'CEA' else dec0
        w.wcs.crpix[1] -= height / step * flip[1]
    w.wcs.set()
    return w


def header_of(w, unit='uK', **cards):
    h = w.to_header()
    if unit is not None:
        h['BUNIT'] = unit
    for key, value in cards.items():
        h[key] = value
    return h


def catmull(data, x, y):
    def weights(t):
        return np.array([.5*t*(-1+t*(2-t)), 1+.5*t*t*(-5+3*t), .5*t*(1+t*(4-3*t)), .5*t*t*(t-1)])
    i, j = np.floor(x).astype(int), np.floor(y).astype(int)
    wx, wy = weights(x - i), weights(y - j)
    return sum(wx[a] * wy[b] * data[j + b - 1, i + a - 1] for a in range(4) for b in range(4))


class Flat(Base):
    def compare(self, w, data, path, rtol=2e-6):
        ny, nx = data.shape
        x, y = rng.uniform(2, nx - 4, 500), rng.uniform(2, ny - 4, 500)
        ra, dec = w.wcs_pix2world(x, y, 0)
        ra %= 360
        for method in (NEAREST, BILINEAR, BICUBIC):
            got, valid = self.sample(path, 'I', method, ra, dec)
            want = catmull(data, x, y) if method == BICUBIC else map_coordinates(
                data, [y, x], order=method)
            self.assertTrue(valid.all())
            np.testing.assert_allclose(got, want, atol=rtol * 500)

    def test_projections(self):
        data = rng.normal(0, 100, (60, 80)).astype('f4')
        for projection in ('CAR', 'CEA', 'ZEA', 'TAN', 'SFL'):
            for ra0, dec0, flip in ((0, -20, (-1, 1)), (359.9, 30, (1, 1)), (120, 45, (-1, -1))):
                w = wcs_of(projection, ra0, dec0, 80, 60, flip=flip)
                h = header_of(w)
                h['CUNIT1'] = h['CUNIT2'] = ''
                fits.writeto(self.at('m.fits'), data, h, overwrite=True)
                self.compare(w, data, self.at('m.fits'))
                self.assertIn(projection, call(self.at('m.fits'), 'info')[1])

    def test_storage(self):
        data = np.round(rng.normal(0, 100, (60, 80))).astype('f4')
        w = wcs_of('CEA', 10, 0, 80, 60)
        h = header_of(w)
        path = self.at('m.fits')
        fits.writeto(path, data.astype('f8'), h)
        self.compare(w, data, path)
        hdu = fits.PrimaryHDU(data.astype('i2'), h)
        hdu.scale('int16', bscale=0.5, bzero=3)
        hdu.writeto(path, overwrite=True)
        self.compare(w, data, path, rtol=1e-3)
        fits.writeto(self.at('m.fits.gz'), data, h)
        self.compare(w, data, self.at('m.fits.gz'))
        fits.CompImageHDU(data.astype('i4'), h, compression_type='RICE_1').writeto(
            path, overwrite=True)
        self.compare(w, data, path)

    def test_full_sky_seam_and_poles(self):
        """A smooth field on a full-sky CAR map, whatever the seam's place."""
        for ra0, flip in ((0, -1), (180, -1), (77, 1)):
            w = WCS(naxis=2)
            w.wcs.ctype = ['RA---CAR', 'DEC--CAR']
            w.wcs.crval, w.wcs.cdelt = [ra0, 0], [flip, 1]
            w.wcs.crpix = [180.5, 90.5]
            x, y = np.meshgrid(np.arange(360), np.arange(180))
            lon, lat = np.radians(ra0 + flip * (x + 1 - 180.5)), np.radians(y + 1 - 90.5)
            field = lambda a, d: 100 * (np.cos(d) * np.cos(a) + .5 * np.sin(d)
                                        + .3 * np.cos(d) * np.sin(a))
            fits.writeto(self.at('m.fits'), field(lon, lat).astype('f4'), header_of(w),
                         overwrite=True)
            ra, dec = rng.uniform(0, 360, 3000), np.degrees(np.arcsin(rng.uniform(-1, 1, 3000)))
            ra[:8], dec[:8] = np.arange(8) * 45, [90, -90, 89.9, -89.9, 89.7, -89.7, 89.2, -89.2]
            for method, bound in ((BILINEAR, .02), (BICUBIC, .002), (SINC, .07)):
                got, valid = self.sample(self.at('m.fits'), 'I', method, ra, dec)
                self.assertTrue(valid.all(), (ra[~valid], dec[~valid]))
                error = np.abs(got - field(np.radians(ra), np.radians(dec))).max()
                self.assertLess(error, bound)

    def test_sinc_keeps_waves_everywhere(self):
        """Waves of three pixels and more, along any direction, wherever the point lies between pixels: what bicubic
        interpolation takes away there differs from place to place by a fifth."""
        w = wcs_of('CAR', 30, 0, 160, 120)
        y, x = np.mgrid[:120, :160]
        px, py = rng.uniform(8, 150, 2000), rng.uniform(8, 110, 2000)
        ra, dec = w.wcs_pix2world(px, py, 0)
        worst = {SINC: 0, BICUBIC: 0}
        for k in range(40):
            size, angle, phase = rng.uniform(.02, 1 / 3), rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
            wave = lambda x, y: 100 * np.cos(2 * np.pi * size * (np.cos(angle) * x + np.sin(angle) * y) + phase)
            fits.writeto(self.at('m.fits'), wave(x, y).astype('f4'), header_of(w), overwrite=True)
            for method in worst:
                got, valid = self.sample(self.at('m.fits'), 'I', method, ra, dec)
                self.assertTrue(valid.all())
                worst[method] = max(worst[method], np.abs(got - wave(px, py)).max() / 100)
        self.assertLess(worst[SINC], .0025)
        self.assertGreater(worst[BICUBIC], .1)

    def test_sinc_beside_missing_pixels(self):
        data = rng.normal(0, 100, (60, 80)).astype('f4')
        w = wcs_of('CAR', 0, 0, 80, 60)
        fits.writeto(self.at('whole.fits'), data, header_of(w))
        data[30, 40] = np.nan
        fits.writeto(self.at('hole.fits'), data, header_of(w))
        x, y = rng.uniform(25, 55, 5000), rng.uniform(15, 45, 5000)
        ra, dec = w.wcs_pix2world(x, y, 0)
        whole = self.sample(self.at('whole.fits'), 'I', SINC, ra % 360, dec)[0]
        cubic, near = self.sample(self.at('hole.fits'), 'I', BICUBIC, ra % 360, dec)
        got, valid = self.sample(self.at('hole.fits'), 'I', SINC, ra % 360, dec)
        far = (abs(x - 40) >= 6) | (abs(y - 30) >= 6)
        np.testing.assert_array_equal(valid, near)
        np.testing.assert_allclose(got[far], whole[far], atol=1e-3)
        np.testing.assert_array_equal(got[~far], cubic[~far])

    def test_planes_units_sign(self):
        data = rng.normal(0, 1e-4, (3, 60, 80)).astype('f4')
        w = wcs_of('CAR', 0, 0, 80, 60)
        h = header_of(w, 'K_CMB', CTYPE3='STOKES', CRVAL3=1, CRPIX3=1, CDELT3=1, POLCCONV='COSMO')
        fits.writeto(self.at('m.fits'), data, h, checksum=True)
        text = call(self.at('m.fits'), 'info')[1]
        self.assertIn('I:uK:1e+06 Q:uK:1e+06 U:uK:-1e+06', text)
        self.assertIn('pol=COSMO given=1', text)
        ra, dec = w.wcs_pix2world([40.], [30.], 0)
        got, _ = self.sample(self.at('m.fits'), 'U', NEAREST, ra % 360, dec)
        self.assertAlmostEqual(got[0], -1e6 * data[2, 30, 40], places=3)
        self.assertEqual(call(self.at('m.fits'), 'check', 'I')[0], 0)
        h['BUNIT'] = 'uK'
        fits.writeto(self.at('wrong.fits'), data, h)
        self.refuse(self.at('wrong.fits'), 'BUNIT', 'rms', action=('check', 'I'))
        del h['BUNIT']
        fits.writeto(self.at('none.fits'), data, h)
        self.refuse(self.at('none.fits'), 'BUNIT', 'no unit')
        self.assertEqual(call(self.at('none.fits'), 'info', unit='K')[0], 0)
        h['BUNIT'] = 'uK^-2'
        fits.writeto(self.at('ivar.fits'), data[0], h)
        self.assertIn('ivar:uK^-2:1', call(self.at('ivar.fits'), 'info')[1])
        got, valid = self.sample(self.at('ivar.fits'), 'ivar', NEAREST, ra % 360, dec)
        self.assertEqual(valid[0], data[0, 30, 40] >= 0)

    def test_missing_and_off(self):
        data = np.full((60, 80), 50, 'f4')
        data[30, 40], data[10, 10] = np.nan, np.inf
        w = wcs_of('TAN', 0, 40, 80, 60)
        fits.writeto(self.at('m.fits'), data, header_of(w))
        ra, dec = w.wcs_pix2world([40, 39.5, 10, 20, -30], [30, 30, 10, 20, 5], 0)
        ra, dec = np.append(ra % 360, 180), np.append(dec, -40)
        _, valid = self.sample(self.at('m.fits'), 'I', BILINEAR, ra, dec)
        self.assertEqual(list(valid), [False, False, False, True, False, False])

    def test_write(self):
        data = np.ones((20, 30), 'f4')
        w = wcs_of('ZEA', 0, 89, 30, 20)
        fits.writeto(self.at('m.fits'), data, header_of(w))
        self.assertEqual(call(self.at('m.fits'), 'copy', self.at('w.fits')), (0, ''))
        with fits.open(self.at('w.fits'), checksum=True) as f:
            self.assertEqual([h.header['EXTNAME'] for h in f], ['I', 'Q', 'U'])
            self.assertEqual(f[2].data[7, 11], 2081)
            np.testing.assert_allclose(WCS(f[0].header).wcs_pix2world([[3, 4]], 0),
                                       w.wcs_pix2world([[3, 4]], 0))
        self.assertIn('I:uK:1 Q:uK:1 U:uK:1', call(self.at('w.fits'), 'info')[1])

    def test_spin(self):
        """Polarisation along north everywhere, seen on a grid turned by 30 deg near the pole."""
        w = wcs_of('CAR', 0, 70, 400, 300)
        data = np.zeros((3, 300, 400), 'f4')
        data[1] = 7
        fits.writeto(self.at('m.fits'), data, header_of(w, POLCCONV='IAU'))
        rc, text = call(self.at('m.fits'), 'patch_qu', BILINEAR, 2, 70, 21, 17, self.at('out'))
        self.assertEqual(rc, 0, text)
        q, u = np.fromfile(self.at('out'), 'f4', 2 * 21 * 17).reshape(2, 17, 21)
        g = WCS(naxis=2)
        g.wcs.ctype, g.wcs.crval, g.wcs.crpix = ['RA---TAN', 'DEC--TAN'], [2, 70], [11, 9]
        c, s, step = np.cos(np.pi / 6), .5, .02
        g.wcs.cd = [[-step * c, step * s], [step * s, step * c]]
        x, y = np.meshgrid(np.arange(21.), np.arange(17.))
        here = SkyCoord(*g.wcs_pix2world(x, y, 0), unit='deg')
        up = SkyCoord(*g.wcs_pix2world(x, y + .01, 0), unit='deg')
        psi = here.position_angle(up).rad
        np.testing.assert_allclose(q, 7 * np.cos(2 * psi), atol=2e-3)
        np.testing.assert_allclose(u, -7 * np.sin(2 * psi), atol=2e-3)

    def test_bad(self):
        data = np.ones((60, 80), 'f4')
        w = wcs_of('CAR', 0, 0, 80, 60)

        def bad(*words, data=data, action=('info',), **cards):
            h = header_of(w)
            for key, value in cards.items():
                if value is None:
                    del h[key]
                else:
                    h[key] = value
            fits.writeto(self.at('bad.fits'), data, h, overwrite=True)
            self.refuse(self.at('bad.fits'), 'bad.fits', *words, action=action)
        bad('CTYPE1', CTYPE1=None)
        bad('CTYPE1', 'AIT', CTYPE1='RA---AIT', CTYPE2='DEC--AIT')
        bad('CTYPE', CTYPE1='GLON-CAR', CTYPE2='GLAT-CAR')
        bad('BUNIT', 'MJy/sr', BUNIT='MJy/sr')
        bad('BUNIT', 'K_RJ', BUNIT='K_RJ')
        bad('BUNIT', BUNIT='Jy')
        bad('NAXIS3', data=np.ones((2, 60, 80), 'f4'))
        bad('NAXIS3', data=np.ones((5, 60, 80), 'f4'))
        bad('NAXIS4', data=np.ones((2, 3, 60, 80), 'f4'))
        bad('POLCCONV', data=np.ones((3, 60, 80), 'f4'), POLCCONV='XYZ')
        bad('singular', CDELT1=0)
        bad('Stokes', data=np.ones((3, 60, 80), 'f4'), CTYPE3='STOKES', CRVAL3=-5)
        bad('no usable', data=data * np.nan, action=('check', 'I'))
        bad('no usable', data=data * np.inf, action=('check', 'I'))
        bad('rms', action=('check', 'I'))
        fits.writeto(self.at('ok.fits'), data, header_of(w))
        raw = open(self.at('ok.fits'), 'rb').read()
        for name, content, word in (('cut', raw[:8000], 'truncated'), ('empty', b'', 'empty'),
                                    ('text', b'hello' * 1000, 'FITS'),
                                    ('axis', raw.replace(b'NAXIS1  =                   80',
                                                         b'NAXIS1  =           9999999999'),
                                     'truncated')):
            open(self.at(name), 'wb').write(content)
            self.refuse(self.at(name), word)
        self.refuse(self.at('nothing'), 'nothing')
        other = wcs_of('CAR', 3, 0, 80, 60)
        fits.HDUList([fits.PrimaryHDU(data, header_of(w)),
                      fits.ImageHDU(data, header_of(other))]).writeto(self.at('two.fits'))
        self.refuse(self.at('two.fits'), 'grid')


def healpix_file(path, columns, nside, nested=False, pixel=None, repeat=1, unit='uK', **cards):
    cols = []
    if pixel is not None:
        cols.append(fits.Column('PIXEL', 'K', array=pixel))
    for name, data in columns.items():
        form = f'{repeat}E' if repeat > 1 else 'E'
        cols.append(fits.Column(name, form, unit=unit, array=data.reshape(-1, repeat)
                                if repeat > 1 else data))
    t = fits.BinTableHDU.from_columns(cols)
    for key, value in dict(PIXTYPE='HEALPIX', ORDERING='NESTED' if nested else 'RING', NSIDE=nside,
                           COORDSYS='C', INDXSCHM='EXPLICIT' if pixel is not None else 'IMPLICIT',
                           **{}).items():
        t.header[key] = value
    for key, value in cards.items():
        if value is None:
            del t.header[key]
        else:
            t.header[key] = value
    t.writeto(path, overwrite=True)


class Patches(Base):
    def test_meshes_are_exact(self):
        """A grid is sampled through a mesh where that is exact to 0.005 pixels, else point by point."""
        for projection, ra0, dec0 in (('CAR', 10, 40), ('CEA', 359.9, -30), ('ZEA', 200, 89.5), ('TAN', 0.2, 60),
                                      ('CAR', 100, 88)):
            w = wcs_of(projection, ra0, dec0, 300, 240, step=0.05)
            y, x = np.mgrid[:240, :300]
            data = (30 * np.sin(x / 4) * np.cos(y / 5)).astype('f4')   # up to 7.5 uK a pixel
            fits.PrimaryHDU(data, header_of(w)).writeto(self.at('m.fits'), overwrite=True)
            rc, text = call(self.at('m.fits'), 'mesh', BICUBIC, ra0, dec0, 400, 300)
            self.assertEqual(rc, 0, text)
            most, bad = (float(v) for v in text.split())
            self.assertLess(most, 0.08, projection)
            self.assertLess(bad, 10, projection)

    def test_extents(self):
        for projection, ra0, dec0 in (('CAR', 10, 40), ('CEA', 359.9, -30), ('ZEA', 200, 89.5), ('TAN', 0.2, 60)):
            w = wcs_of(projection, ra0, dec0, 300, 240, step=0.05)
            fits.PrimaryHDU(np.ones((240, 300), 'f4'), header_of(w)).writeto(self.at('m.fits'), overwrite=True)
            rc, text = call(self.at('m.fits'), 'extent')
            ra, dec, radius = (float(v) for v in text.split())
            x, y = rng.uniform(-.5, 299.5, 2000), rng.uniform(-.5, 239.5, 2000)
            sky = SkyCoord(*w.all_pix2world(x, y, 0), unit='deg')
            apart = sky.separation(SkyCoord(ra, dec, unit='deg')).deg
            self.assertLess(apart.max(), radius)
            self.assertLess(radius, 1.2 * apart.max() + 0.3)
        w = wcs_of('CAR', 0, 0, 3600, 1800)
        fits.PrimaryHDU(np.ones((1800, 3600), 'f4'), header_of(w)).writeto(self.at('sky.fits'))
        self.assertTrue(call(self.at('sky.fits'), 'extent')[1].endswith(' 180.000000'))
        nside = 64
        for frame, ra, dec in (('C', None, 90), ('G', 192.85948, 27.12825)):
            healpix_file(self.at('h.fits'), {'T': np.ones(4, 'f4')}, nside, pixel=np.arange(4), COORDSYS=frame)
            got = [float(v) for v in call(self.at('h.fits'), 'extent')[1].split()]
            self.assertAlmostEqual(got[1], dec, places=4)
            if ra:
                self.assertAlmostEqual(got[0], ra, places=4)
            ring = np.degrees(np.arccos(1 - 1 / (3 * nside**2)))
            self.assertAlmostEqual(got[2], ring + np.degrees(np.sqrt(np.pi / 3)) / nside, places=3)


class Healpix(Base):
    def test_bad(self):
        nside, good = 8, np.ones(768, 'f4')
        path = self.at('h.fits')
        for words, cards in ((('NSIDE',), dict(NSIDE=12)), (('NSIDE',), dict(NSIDE=0)),
                             (('NAXIS2', '768'), dict(NSIDE=16)), (('COORDSYS',), dict(COORDSYS=None)),
                             (('COORDSYS', 'X'), dict(COORDSYS='X')),
                             (('ORDERING',), dict(ORDERING='SPIRAL')),
                             (('INDXSCHM',), dict(INDXSCHM='OTHER')),
                             (('PIXEL',), dict(INDXSCHM='EXPLICIT'))):
            healpix_file(path, {'I_STOKES': good}, nside, **cards)
            self.refuse(path, 'h.fits', *words)
        for pixel in ([5, 5], [-1, 3], [3, 768]):
            healpix_file(path, {'T': good[:2]}, nside, pixel=np.array(pixel))
            self.refuse(path, 'PIXEL')

    @unittest.skipUnless(healpy, 'skipped: no healpy')
    def test_healpy(self):
        nside = 64
        data = rng.normal(0, 100, 12 * nside**2).astype('f4')
        ra, dec = rng.uniform(0, 360, 4000), np.degrees(np.arcsin(rng.uniform(-1, 1, 4000)))
        dec[:200] = np.where(np.arange(200) % 2, 1, -1) * rng.uniform(89, 90, 200)
        want = {NEAREST: data[healpy.ang2pix(nside, ra, dec, lonlat=True)],
                BILINEAR: healpy.get_interp_val(data, ra, dec, lonlat=True)}
        order = healpy.nest2ring(nside, np.arange(data.size))
        shuffled = rng.permutation(data.size)
        for case in (dict(repeat=1024), dict(), dict(nested=True), dict(pixel=shuffled)):
            stored = data[order] if case.get('nested') else data
            stored = data[shuffled] if 'pixel' in case else stored
            healpix_file(self.at('h.fits'), {'TEMPERATURE': stored}, nside, **case)
            for method in want:
                got, valid = self.sample(self.at('h.fits'), 'I', method, ra, dec)
                self.assertTrue(valid.all())
                np.testing.assert_allclose(got, want[method], atol=1e-3)

    @unittest.skipUnless(healpy, 'skipped: no healpy')
    def test_frames(self):
        """A dipole in galactic and ecliptic coordinates comes out where it is on the sky."""
        nside = 32
        lon, lat = healpy.pix2ang(nside, np.arange(12 * nside**2), lonlat=True)
        ra, dec = rng.uniform(0, 360, 500), np.degrees(np.arcsin(rng.uniform(-1, 1, 500)))
        for frame, name in (('G', 'galactic'), ('E', 'barycentricmeanecliptic')):
            sky = SkyCoord(lon, lat, unit='deg', frame=name).icrs
            data = (100 * np.cos(sky.dec.rad) * np.cos(sky.ra.rad - 1)).astype('f4')
            q = np.full(data.size, 5, 'f4')
            healpix_file(self.at('h.fits'), {'I_STOKES': data, 'Q_STOKES': q, 'U_STOKES': 0 * q},
                         nside, COORDSYS=frame)
            got, _ = self.sample(self.at('h.fits'), 'I', BILINEAR, ra, dec)
            want = 100 * np.cos(np.radians(dec)) * np.cos(np.radians(ra) - 1)
            # Around a pole four pixels stand for a circle: sin(1.5 deg) (1 - cos 45 deg) of 100.
            self.assertLess(np.abs(got - want).max(), .8)
            self.assertLess(np.median(np.abs(got - want)), .02)
            self.refuse(self.at('h.fits'), 'alone',
                        action=('sample', 'Q', 0, self.at('points'), self.at('out')))
            here = SkyCoord(ra, dec, unit='deg')
            pole = SkyCoord(0, 90, unit='deg', frame=name).icrs
            psi = here.position_angle(pole).rad
            (q, u), _ = self.sample(self.at('h.fits'), 'QU', NEAREST, ra, dec)
            np.testing.assert_allclose(q, 5 * np.cos(2 * psi), atol=2e-3)
            np.testing.assert_allclose(u, 5 * np.sin(2 * psi), atol=2e-3)


    @unittest.skipUnless(healpy, 'skipped: no healpy')
    def test_window(self):
        nside = 512
        healpix_file(self.at('h.fits'), {'T': np.ones(12 * nside**2, 'f4')}, nside, repeat=1024)
        table = healpy.pixwin(nside)
        for l, bound in ((100, .0002), (nside, .0008), (2 * nside, .0013), (3 * nside - 1, .0052)):
            rc, text = call(self.at('h.fits'), 'window', l)
            self.assertLess(abs(table[l] / float(text) - 1), bound)


class Real(Base):
    def test_act(self):
        folder = os.path.join(SHARED, 'data/mm/act_e-d56')
        if not os.path.exists(folder):
            self.skipTest('skipped: no shared data')
        t = fits.getdata(os.path.join(folder, 'E-D56Clusters.fits'))
        rms, valid = self.sample(os.path.join(folder, 'RMSMap_Arnaud_M2e14_z0p4.fits.gz'), 'I',
                                 NEAREST, t['RADeg'] % 360, t['decDeg'], unit='1')
        ratio = rms[valid] / (1e-4 * np.asarray(t['y0tilde_err'])[valid])  # the table's unit
        print(f'ACT E-D56: {valid.sum()} of {len(t)}, median ratio {np.median(ratio):.4f}')
        self.assertGreaterEqual(valid.sum(), 180)
        self.assertLess(abs(np.median(ratio) - .995), .01)

    def test_wmap(self):
        name = os.path.join(SHARED, 'data/cmb/wmap_nside32/wmap_band_iqumap_r9_7yr_%s_v4_udgraded32'
                            '.fits.gz')
        if not os.path.exists(name % 'V'):
            self.skipTest('skipped: no shared data')
        self.refuse(name % 'V', 'COORDSYS', unit='mK')
        ra, dec = rng.uniform(0, 360, 8000), np.degrees(np.arcsin(rng.uniform(-1, 1, 8000)))
        v, w = (self.sample(name % b, 'I', NEAREST, ra, dec, unit='mK', frame='G')[0] for b in 'VW')
        mask = os.path.join(os.path.dirname(name), 'wmap_temperature_analysis_mask_r9_7yr_v4_udgraded32'
                            '.fits.gz')
        keep = self.sample(mask, 'I', NEAREST, ra, dec, unit='1', frame='G')[0] > .99
        r, clean = np.corrcoef(v, w)[0, 1], np.corrcoef(v[keep], w[keep])[0, 1]
        print(f'WMAP V-W correlation {r:.4f}, outside the mask {clean:.4f}')
        self.assertLess(abs(clean - .993), .004)


unittest.main(verbosity=1)
