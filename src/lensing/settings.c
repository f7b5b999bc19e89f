#include "lensing/settings.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "sim/spectra_file.h"

#define AT(member) offsetof(lensing_settings, member)

static const char *const names[LENSING_METHODS] = {
    [SQ_QE_TT] = "tt",     [SQ_QE_TE] = "te",     [SQ_QE_EE] = "ee",
    [SQ_QE_TB] = "tb",     [SQ_QE_EB] = "eb",     [LENSING_MV] = "mv",
    [LENSING_QEN] = "qen", [LENSING_MAP] = "map", [LENSING_NETWORK] = "network"};
static const char *const units[] = {"dl-uK2", "cl-uK2", "dl-K2", "cl-K2", "dl-one", "cl-one", NULL};

const sq_config_field lensing_settings_fields[] = {
    {"maps", SQ_CONFIG_TEXTS, AT(maps), 0, 0, 0, NULL, NULL,
     "the map with planes T, Q, U, or n splits of it with independent noise; an entry may be a "
     "pattern such as sky/field-*.fits that names several maps of the sky, of which the first in "
     "the order of names wins"},
    {"weights", SQ_CONFIG_TEXTS, AT(weights), 0, 0, 0, NULL, NULL,
     "ivar, variance or hit map of T of each entry of maps, a pattern as there; none: the plane of "
     "the map's file, else noise alone"},
    {"noise", SQ_CONFIG_REAL, AT(noise), 0, 0, 1e6, NULL, NULL,
     "white noise of T in uK-arcmin, of each split, where no weight tells it; with hits, that of "
     "one hit"},
    {"polarisation_noise", SQ_CONFIG_REAL, AT(polarisation_noise), 0, 0.1, 100, NULL, NULL,
     "noise of Q and of U over that of T"},
    {"noise_spectrum", SQ_CONFIG_TEXT, AT(noise_spectrum), 0, 0, 0, NULL, NULL,
     "text with rows of l and the noise power of T, Q and U each (N_T N_P, uK^2 steradian, beam "
     "in) of the coadded map: its shape; what is above its least value is correlated noise"},
    {"beam", SQ_CONFIG_TEXT, AT(beam), 0, 0, 0, NULL, NULL,
     "text with rows of l and b_l, to lmax or beyond; a Gaussian goes on from its last row"},
    {"fwhm", SQ_CONFIG_REAL, AT(fwhm), 0, 0, 60, NULL, NULL,
     "Gaussian beam in arcmin, without a beam file"},
    {"unit", SQ_CONFIG_TEXT, AT(unit), 0, 0, 0, NULL, NULL,
     "of maps whose files do not say it: uK, mK, K"},
    {"frame", SQ_CONFIG_TEXT, AT(frame), 0, 0, 0, NULL, NULL,
     "of HEALPix maps whose files do not say it: C, G, E"},
    {"polarisation", SQ_CONFIG_TEXT, AT(polarisation), 0, 0, 0, NULL, NULL,
     "sign of U of maps whose files do not say it: IAU, COSMO"},
    {"pixel_window", SQ_CONFIG_BOOL, AT(pixel_window), 0, 0, 0, NULL, NULL,
     "samples were averaged in the maps' pixels: false for maps of point values"},
    {"temperature_only", SQ_CONFIG_BOOL, AT(temperature_only), 0, 0, 0, NULL, NULL,
     "use T alone, for maps without Q and U"},
    {"mask", SQ_CONFIG_TEXT, AT(mask), 0, 0, 0, NULL, NULL, "map, above 0.5 where to look"},
    {"sources", SQ_CONFIG_TEXT, AT(sources), 0, 0, 0, NULL, NULL,
     "text with rows of ra, dec (deg) and radius (arcmin): discs that are masked"},
    {"lensed", SQ_CONFIG_TEXT, AT(lensed), 0, 0, 0, NULL, NULL,
     "lensed spectra in CAMB's format, to lmax or, better, to what the pixels hold (beyond its end "
     "a "
     "power law); none: the fiducial set of the program"},
    {"potential", SQ_CONFIG_TEXT, AT(potential), 0, 0, 0, NULL, NULL,
     "unlensed spectra with PP (lenspotentialCls), for lensed spectra of a file"},
    {"gradient", SQ_CONFIG_TEXT, AT(gradient), 0, 0, 0, NULL, NULL,
     "gradient-lensed spectra for responses; none: the lensed ones of the file"},
    {"spectra_unit", SQ_CONFIG_CHOICE, AT(spectra_unit), 0, 0, 0, units, NULL,
     "of these files: D_l or C_l, in uK^2, K^2 or relative to 2.7255 K"},
    {"methods", SQ_CONFIG_TEXTS, AT(methods), 0, 0, 0, NULL, NULL,
     "of tt, te, ee, tb, eb, mv, qen, map, network; none: tt te ee tb eb mv, and network with a "
     "model"},
    {"lmin", SQ_CONFIG_INT, AT(lmin), 0, 2, 1e5, NULL, NULL, "least multipole of T, E, B"},
    {"lmax", SQ_CONFIG_INT, AT(lmax), 0, 100, 1e5, NULL, NULL,
     "greatest multipole of T, E, B: pixels must be below 7200 / lmax arcmin"},
    {"bins", SQ_CONFIG_REALS, AT(bins), 0, 2, 1e5, NULL, NULL,
     "ascending edges of the bins of L; none: 60 150 300 500 800 1200 1600 2000"},
    {"pixel", SQ_CONFIG_REAL, AT(pixel), 0, 0.1, 30, NULL, NULL, "of the patches, arcmin"},
    {"edge", SQ_CONFIG_REAL, AT(edge), 0, 0, 600, NULL, NULL,
     "band along the border of a patch in arcmin: its outer half is masked, over the inner half "
     "the "
     "weight rises to one; at holes of the data the window of powers rises over half of it"},
    {"tolerance", SQ_CONFIG_REAL, AT(tolerance), 0, 1e-8, 0.1, NULL, NULL,
     "residual at which the conjugate gradients of the filter stop"},
    {"simulations", SQ_CONFIG_INT, AT(simulations), 0, 2, 100000, NULL, NULL,
     "realisations of each patch, of two skies each"},
    {"iterations", SQ_CONFIG_INT, AT(iterations), 0, 1, 200, NULL, NULL, "most steps of map"},
    {"amplitude", SQ_CONFIG_BOOL, AT(amplitude), 0, 0, 0, NULL, NULL,
     "fit the lensing amplitude; takes simulations at 0.8 and 1.2 too, twice the time"},
    {"map_pixel", SQ_CONFIG_REAL, AT(map_pixel), 0, 0, 60, NULL, NULL,
     "of the release's kappa maps, arcmin; 0: no maps"},
    {.key = NULL}};

void lensing_settings_defaults(void *settings)
{
    *(lensing_settings *)settings = (lensing_settings){.noise = 0,
                                                       .polarisation_noise = M_SQRT2,
                                                       .noise_spectrum = "",
                                                       .beam = "",
                                                       .fwhm = 0,
                                                       .unit = "",
                                                       .frame = "",
                                                       .polarisation = "",
                                                       .mask = "",
                                                       .sources = "",
                                                       .lensed = "",
                                                       .potential = "",
                                                       .gradient = "",
                                                       .pixel_window = true,
                                                       .lmin = 100,
                                                       .lmax = 3000,
                                                       .simulations = 40,
                                                       .iterations = 20,
                                                       .pixel = 2.34375,
                                                       .edge = 60,
                                                       .tolerance = 1e-4,
                                                       .map_pixel = 4,
                                                       .amplitude = true};
}

const char *lensing_method_name(int method)
{
    return names[method];
}

sq_status lensing_settings_methods(const lensing_settings *s, int network, unsigned *out)
{
    const unsigned polarised = ~(1u << SQ_QE_TT | 1u << LENSING_MV);
    *out = 0;
    for (unsigned i = 0; i < s->methods.count; i++) {
        int k = 0;
        while (k < LENSING_METHODS && strcmp(s->methods.value[i], names[k]) != 0)
            k++;
        if (k == LENSING_METHODS)
            return sq_fail(SQ_ERR_CONFIG,
                           "lensing: methods: '%s' is none of tt te ee tb eb mv qen "
                           "map network",
                           s->methods.value[i]);
        if (s->temperature_only && polarised & 1u << k)
            return sq_fail(SQ_ERR_CONFIG, "lensing: methods: %s needs polarisation", names[k]);
        *out |= 1u << k;
    }
    if (!s->methods.count)
        *out = s->temperature_only ? 1u << SQ_QE_TT : (1u << (LENSING_MV + 1)) - 1;
    if (network && !s->methods.count && !s->temperature_only)
        *out |= 1u << LENSING_NETWORK;
    if (*out & 1u << LENSING_NETWORK && !network)
        return sq_fail(SQ_ERR_CONFIG, "lensing: methods: network without a model");
    return SQ_OK;
}

int lensing_settings_bins(const lensing_settings *s, double edges[LENSING_BINS + 1])
{
    static const double usual[] = {60, 150, 300, 500, 800, 1200, 1600, 2000};
    unsigned n = s->bins.count ? s->bins.count : sizeof usual / sizeof *usual;
    memcpy(edges, s->bins.count ? s->bins.value : usual, n * sizeof *edges);
    return (int)n - 1;
}

sq_status lensing_settings_check(const lensing_settings *s)
{
    unsigned n = s->maps.count;
    double edges[LENSING_BINS + 1];
    if (n < 1 || n > LENSING_SPLITS)
        return sq_fail(SQ_ERR_CONFIG, "lensing: maps: %u entries, not 1 to %d", n, LENSING_SPLITS);
    if (s->weights.count && s->weights.count != n)
        return sq_fail(SQ_ERR_CONFIG, "lensing: weights: %u entries for %u maps", s->weights.count,
                       n);
    if (!*s->beam && !(s->fwhm > 0))
        return sq_fail(SQ_ERR_CONFIG, "lensing: beam: missing, and no fwhm either");
    if (s->lmin >= s->lmax)
        return sq_fail(SQ_ERR_CONFIG, "lensing: lmin: not below lmax");
    if (1.5 * (double)s->lmax > 10800 / s->pixel)
        return sq_fail(SQ_ERR_CONFIG,
                       "lensing: pixel: %g arcmin hold l up to %.0f, and lmax %d needs 1.5 lmax",
                       s->pixel, 10800 / s->pixel, (int)s->lmax);
    if (s->bins.count == 1 || s->bins.count > LENSING_BINS + 1)
        return sq_fail(SQ_ERR_CONFIG, "lensing: bins: %u edges, not 2 to %d", s->bins.count,
                       LENSING_BINS + 1);
    int bins = lensing_settings_bins(s, edges);
    for (int i = 0; i < bins; i++) {
        if (!(edges[i + 1] > edges[i]))
            return sq_fail(SQ_ERR_CONFIG, "lensing: bins: not ascending");
    }
    if (edges[bins] > 2 * (double)s->lmax)
        return sq_fail(SQ_ERR_CONFIG, "lensing: bins: L up to %g is above 2 lmax", edges[bins]);
    if (!*s->lensed && (*s->potential || *s->gradient))
        return sq_fail(SQ_ERR_CONFIG, "lensing: lensed: missing beside potential or gradient");
    if (*s->lensed && !*s->potential)
        return sq_fail(SQ_ERR_CONFIG,
                       "lensing: potential: missing: simulations need unlensed spectra and PP");
    return SQ_OK;
}
