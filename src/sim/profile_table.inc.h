/* Made by tools/train/fit_profiles.py; do not edit. Fluxes sum to 1, variances in half-light radii squared. */
/* Sersic n = 1: largest error 3.4e-04 of the peak after convolution. */
enum { DISK_COUNT = 7 };
static const double disk_flux[DISK_COUNT] = {0.0030200817, 0.029722784, 0.15922867, 0.42016525, 0.33281341, 0.053426052, 0.0016237518};
static const double disk_variance[DISK_COUNT] = {0.0077489097, 0.049419964, 0.19790602, 0.63781453, 1.6846222, 3.6062616, 6.6559856};
/* Sersic n = 4: largest error 3.4e-04 of the peak after convolution. */
enum { BULGE_COUNT = 9 };
static const double bulge_flux[BULGE_COUNT] = {0.04180036, 0.083071552, 0.14289247, 0.20978034, 0.22971622, 0.16958703, 0.092627757, 0.027305088, 0.0032191912};
static const double bulge_variance[BULGE_COUNT] = {0.0017426408, 0.016350488, 0.080281555, 0.36027676, 1.6104613, 6.9052132, 28.667517, 140.77255, 721.70437};
