#include <stddef.h>
#include <string.h>

#include "sim/optical.h"

#define AT(member) offsetof(sq_sim_optical_config, member)
#define INT(key, member, low, high, doc)                                                           \
    {                                                                                              \
        key, SQ_CONFIG_INT, AT(member), 0, low, high, NULL, NULL, doc                              \
    }
#define REAL(key, member, low, high, doc)                                                          \
    {                                                                                              \
        key, SQ_CONFIG_REAL, AT(member), 0, low, high, NULL, NULL, doc                             \
    }
#define BOOL(key, member, doc)                                                                     \
    {                                                                                              \
        key, SQ_CONFIG_BOOL, AT(member), 0, 0, 0, NULL, NULL, doc                                  \
    }

static const char *const presets[] = {"sdss", "lsst", NULL};
static const char *const formats[] = {"exposure", "cell_coadd", NULL};

const sq_config_field sq_sim_optical_fields[] = {
    {"preset", SQ_CONFIG_CHOICE, AT(preset), 0, 0, 0, presets, NULL,
     "sets the defaults: sdss (ugriz, 0.396 arcsec, single exposures) or lsst (ugrizy, 0.2 arcsec, "
     "coadds)"},
    INT("seed", seed, 0, 9007199254740992.0, "of every random stream"),
    INT("tile_nx", tile_nx, 16, 65536, "columns of a tile, pixels"),
    INT("tile_ny", tile_ny, 16, 65536, "rows of a tile, pixels"),
    INT("tiles_x", tiles_x, 1, 10000, "tiles along x"),
    INT("tiles_y", tiles_y, 1, 10000, "tiles along y"),
    INT("overlap", overlap, 0, 32768, "pixels that neighbouring tiles share"),
    REAL("ra", ra, 0, 360, "centre of the survey, degrees"),
    REAL("dec", dec, -89, 89, "centre of the survey, degrees"),
    REAL("scale", scale, 0.05, 5, "pixel side, arcsec"),
    REAL("years", years, 0.01, 10, "lsst: depth after so many years"),
    REAL("years_low", years_low, 0, 10,
         "training: least depth, log-uniform up to `years`; 0: always `years`"),
    REAL("faint_limit", faint_limit, 15, 32, "r magnitude to which sources are drawn"),
    REAL("bright_limit", bright_limit, 8, 28, "r magnitude of the brightest sources"),
    REAL("galaxy_density", galaxy_density, 0, 1e8, "galaxies per square degree at r < 22"),
    REAL("star_density", star_density, 0, 1e8, "stars per square degree at r < 22"),
    REAL("galaxy_slope", galaxy_slope, -1, 1, "d log10 N / dm of galaxies brighter than the break"),
    REAL("galaxy_faint_slope", galaxy_faint_slope, -1, 1, "the same, fainter"),
    REAL("star_slope", star_slope, -1, 1, "d log10 N / dm of stars brighter than the break"),
    REAL("star_faint_slope", star_faint_slope, -1, 1, "the same, fainter"),
    REAL("break_magnitude", break_magnitude, 10, 30, "r magnitude at which the slopes change"),
    REAL("density_low", density_low, 0, 1000, "training: lowest factor on the densities"),
    REAL("density_high", density_high, 0, 1000, "training: highest, log-uniform between"),
    REAL("seeing", seeing, 0.2, 5, "factor on the PSF width"),
    REAL("spread", spread, 0, 5,
         "factor on the scatter of PSF, sky and calibration between fields"),
    REAL("psf_ellipticity", psf_ellipticity, 0, 0.3, "rms of each component, (a-b)/(a+b)"),
    REAL("psf_gradient", psf_gradient, 0, 0.3,
         "rms change of log size, centre to edge; half for ellipticity"),
    REAL("sky_gradient", sky_gradient, 0, 0.3, "rms relative change of the sky, centre to edge"),
    REAL("sky_factor", sky_factor, 0.01, 100, "factor on the sky level"),
    REAL("sky_residual", sky_residual, 0, 10,
         "rms of what sky subtraction leaves, in units of the sky rms"),
    REAL("noise_mismatch", noise_mismatch, 0, 1, "rms of the log of true over stated noise"),
    REAL("correlation", correlation, 0, 0.6, "correlation of neighbouring pixels' noise"),
    BOOL("resampled", resampled, "bands other than r carry the noise of a sub-pixel resampling"),
    REAL("band_offset", band_offset, 0, 50,
         "tiles: each band but r has a grid of its own, shifted by up to so many pixels"),
    REAL("bad_columns", bad_columns, 0, 1000, "per megapixel and band"),
    REAL("cosmics", cosmics, 0, 1e5, "cosmic-ray tracks per megapixel and band"),
    REAL("cosmics_unmasked", cosmics_unmasked, 0, 1, "fraction of them without a mask bit"),
    BOOL("saturation", saturation, "clip at the detector's saturation"),
    BOOL("bleed", bleed, "bleed trails and halos of saturated stars"),
    {"format", SQ_CONFIG_CHOICE, AT(format), 0, 0, 0, formats, NULL,
     "tiles: exposure (LSST afw Exposures with a PSF file) or cell_coadd (LSST cell coadds)"},
    INT("cell", cell, 16, 4096, "cell coadds: side of a cell, pixels"),
    REAL("cell_missing", cell_missing, 0, 0.9, "cell coadds: fraction of the cells without input"),
    {NULL, SQ_CONFIG_BOOL, 0, 0, 0, 0, NULL, NULL, NULL},
};

static const sq_sim_optical_config sdss = {.preset = SQ_SIM_SDSS,
                                           .seed = 1,
                                           .tile_nx = 2048,
                                           .tile_ny = 1489,
                                           .tiles_x = 1,
                                           .tiles_y = 1,
                                           .overlap = 0,
                                           .ra = 150,
                                           .dec = 2,
                                           .scale = 0.396,
                                           .years = 10,
                                           .faint_limit = 25,
                                           .bright_limit = 13,
                                           .galaxy_density = 13000,
                                           .star_density = 5500,
                                           .galaxy_slope = 0.42,
                                           .galaxy_faint_slope = 0.33,
                                           .star_slope = 0.16,
                                           .star_faint_slope = 0.08,
                                           .break_magnitude = 21,
                                           .density_low = 0.3,
                                           .density_high = 4,
                                           .seeing = 1,
                                           .spread = 1.3,
                                           .psf_ellipticity = 0.035,
                                           .psf_gradient = 0.02,
                                           .sky_gradient = 0.015,
                                           .sky_factor = 1,
                                           .sky_residual = 0.04,
                                           .noise_mismatch = 0.05,
                                           .correlation = 0,
                                           .resampled = 1,
                                           .bad_columns = 0.5,
                                           .cosmics = 15,
                                           .cosmics_unmasked = 0.1,
                                           .saturation = 1,
                                           .bleed = 1,
                                           .cell = 150};

static const sq_sim_optical_config lsst = {.preset = SQ_SIM_LSST,
                                           .seed = 1,
                                           .tile_nx = 4096,
                                           .tile_ny = 4096,
                                           .tiles_x = 1,
                                           .tiles_y = 1,
                                           .overlap = 200,
                                           .ra = 60,
                                           .dec = -35,
                                           .scale = 0.2,
                                           .years = 10,
                                           .faint_limit = 28,
                                           .bright_limit = 15,
                                           .galaxy_density = 11000,
                                           .star_density = 4000,
                                           .galaxy_slope = 0.42,
                                           .galaxy_faint_slope = 0.31,
                                           .star_slope = 0.16,
                                           .star_faint_slope = 0.06,
                                           .break_magnitude = 21,
                                           .density_low = 0.3,
                                           .density_high = 4,
                                           .seeing = 1,
                                           .spread = 1,
                                           .psf_ellipticity = 0.015,
                                           .psf_gradient = 0.01,
                                           .sky_gradient = 0.02,
                                           .sky_factor = 1,
                                           .sky_residual = 0.03,
                                           .noise_mismatch = 0.03,
                                           .correlation = 0.1,
                                           .resampled = 0,
                                           .bad_columns = 0.1,
                                           .cosmics = 2,
                                           .cosmics_unmasked = 0.05,
                                           .saturation = 1,
                                           .bleed = 1,
                                           .cell = 150};

void sq_sim_optical_defaults(sq_sim_preset preset, sq_sim_optical_config *config)
{
    *config = preset == SQ_SIM_LSST ? lsst : sdss;
}

int sq_sim_optical_bands(int preset, const char *const **names, int *reference)
{
    static const char *const bands[] = {"u", "g", "r", "i", "z", "y"};
    if (names)
        *names = bands;
    if (reference)
        *reference = 2;
    return preset == SQ_SIM_LSST ? 6 : 5;
}
