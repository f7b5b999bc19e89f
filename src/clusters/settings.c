#include "clusters/settings.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "clusters/filter.h"

#define AT(member) offsetof(cluster_settings, member)

static const char *const gases[] = {"arnaud", "battaglia", NULL};
static const char *const powers[] = {"data", "model", "larger", NULL};

const sq_config_field cluster_settings_fields[] = {
    {"ghz", SQ_CONFIG_REALS, AT(ghz), 0, 20, 900, NULL, NULL, "effective frequency of each band"},
    {"maps", SQ_CONFIG_TEXTS, AT(maps), 0, 0, 0, NULL, NULL,
     "map of each band; a pattern such as sky/field-*-150.fits names several that do not overlap, "
     "or that the first in the order of names wins"},
    {"weights", SQ_CONFIG_TEXTS, AT(weights), 0, 0, 0, NULL, NULL,
     "ivar or hit map of each band, a pattern as for maps; none: the plane of the map's file, else "
     "noise alone"},
    {"noise", SQ_CONFIG_REALS, AT(noise), 0, 0, 1e6, NULL, NULL,
     "white noise of each band in uK-arcmin where nothing tells it; with hits, that of one hit"},
    {"beams", SQ_CONFIG_TEXTS, AT(beams), 0, 0, 0, NULL, NULL,
     "beam of each band: text with rows of l and b_l, or of arcmin and radial profile"},
    {"fwhm", SQ_CONFIG_REALS, AT(fwhm), 0, 0, 60, NULL, NULL,
     "Gaussian beam of each band in arcmin, without beams"},
    {"unit", SQ_CONFIG_TEXT, AT(unit), 0, 0, 0, NULL, NULL,
     "of maps whose files do not say it: uK, mK, K"},
    {"frame", SQ_CONFIG_TEXT, AT(frame), 0, 0, 0, NULL, NULL,
     "of HEALPix maps whose files do not say it: C, G, E"},
    {"pixel_window", SQ_CONFIG_BOOL, AT(pixel_window), 0, 0, 0, NULL, NULL,
     "samples were averaged in the maps' pixels: false for maps of point values"},
    {"mask", SQ_CONFIG_TEXT, AT(mask), 0, 0, 0, NULL, NULL, "map, above 0.5 where to look"},
    {"sources", SQ_CONFIG_TEXT, AT(sources), 0, 0, 0, NULL, NULL,
     "text with rows of ra, dec (deg) and radius (arcmin): discs that are masked"},
    {"pixel", SQ_CONFIG_REAL, AT(pixel), 0, 0.1, 5, NULL, NULL, "of the patches, arcmin"},
    {"edge", SQ_CONFIG_REAL, AT(edge), 0, 0, 120, NULL, NULL,
     "width in arcmin over which patches fall to zero at borders of the data"},
    {"scales", SQ_CONFIG_REALS, AT(scales), 0, 0.05, 60, NULL, NULL,
     "theta500 of the filters in arcmin; none: 12 from 0.5 to 15"},
    {"reference", SQ_CONFIG_REAL, AT(reference), 0, 0.05, 60, NULL, NULL,
     "the scale nearest to this is that of snr_fixed and of masses, arcmin"},
    {"map_pixel", SQ_CONFIG_REAL, AT(map_pixel), 0, 0, 60, NULL, NULL,
     "of the release's maps of S/N and noise, arcmin; 0: no maps"},
    {"lmin", SQ_CONFIG_REAL, AT(lmin), 0, 0, 1e5, NULL, NULL, "least multipole of the filters"},
    {"lmax", SQ_CONFIG_REAL, AT(lmax), 0, 100, 1e5, NULL, NULL, "greatest multipole"},
    {"gas", SQ_CONFIG_CHOICE, AT(gas), 0, 0, 0, gases, NULL, "pressure profile"},
    {"power", SQ_CONFIG_CHOICE, AT(power), 0, 0, 0, powers, NULL,
     "noise power of the filters: measured on the patch, of a model, or the larger of both"},
    {"deproject", SQ_CONFIG_BOOL, AT(deproject), 0, 0, 0, NULL, NULL,
     "also filter without response to dust"},
    {"min_snr", SQ_CONFIG_REAL, AT(min_snr), 0, 2, 100, NULL, NULL,
     "of the filter's candidates; a network of maps adds its own"},
    {"source_snr", SQ_CONFIG_REAL, AT(source_snr), 0, 4, 1000, NULL, NULL,
     "of point sources that are removed first"},
    {"iterations", SQ_CONFIG_INT, AT(iterations), 0, 0, 5, NULL, NULL,
     "how often the noise is measured again without the clusters found"},
    {"passes", SQ_CONFIG_INT, AT(passes), 0, 1, 4, NULL, NULL,
     "staggered passes of the network: 1, 2 or 4"},
    {"tile", SQ_CONFIG_INT, AT(tile), 0, 0, 8192, NULL, NULL,
     "side of the tiles of a fully convolutional network in pixels; 0: patches whole, one pass"},
    {"amplitude", SQ_CONFIG_REAL, AT(amplitude), 0, 1e-7, 1e-2, NULL, NULL,
     "y0 of M500 = 3e14 Msun at z = 0: y0 = amplitude E^2 (M500 / 3e14)^slope"},
    {"slope", SQ_CONFIG_REAL, AT(slope), 0, 0.1, 5, NULL, NULL, "of that relation"},
    {"scatter", SQ_CONFIG_REAL, AT(scatter), 0, 0, 2, NULL, NULL, "of ln y0 at given mass"},
    {"redshift", SQ_CONFIG_REAL, AT(redshift), 0, 0.01, 3, NULL, NULL,
     "for which masses are given"},
    {.key = NULL}};

void cluster_settings_defaults(void *settings)
{
    *(cluster_settings *)settings = (cluster_settings){.unit = "",
                                                       .frame = "",
                                                       .mask = "",
                                                       .sources = "",
                                                       .pixel_window = true,
                                                       .pixel = 0.5,
                                                       .edge = 20,
                                                       .map_pixel = 1,
                                                       .reference = 2.2,
                                                       .lmin = 300,
                                                       .lmax = 20000,
                                                       .gas = SQ_GAS_ARNAUD,
                                                       .power = SQ_MMF_DATA,
                                                       .deproject = true,
                                                       .min_snr = 4,
                                                       .source_snr = 5.5,
                                                       .iterations = 1,
                                                       .passes = 4,
                                                       .amplitude = 4.95e-5,
                                                       .slope = 1.08,
                                                       .scatter = 0.2,
                                                       .redshift = 0.5};
}

static sq_status same_length(const char *key, unsigned count, unsigned bands)
{
    if (!count || count == bands)
        return SQ_OK;
    return sq_fail(SQ_ERR_CONFIG, "clusters: %s: %u entries for %u bands", key, count, bands);
}

sq_status cluster_settings_check(const cluster_settings *s)
{
    sq_status rc = SQ_OK;
    unsigned n = s->ghz.count;
    if (n < 1 || n > SQ_MMF_BANDS)
        return sq_fail(SQ_ERR_CONFIG, "clusters: ghz: %u bands, not 1 to %d", n, SQ_MMF_BANDS);
    if (s->maps.count != n)
        return sq_fail(SQ_ERR_CONFIG, "clusters: maps: %u entries for %u bands", s->maps.count, n);
    SQ_TRY(same_length("weights", s->weights.count, n));
    SQ_TRY(same_length("noise", s->noise.count, n));
    SQ_TRY(same_length("beams", s->beams.count, n));
    SQ_TRY(same_length("fwhm", s->fwhm.count, n));
    if (!s->beams.count && !s->fwhm.count)
        return sq_fail(SQ_ERR_CONFIG, "clusters: beams: missing, and no fwhm either");
    if (s->scales.count == 1 || s->scales.count > CLUSTER_SCALES_MAX)
        return sq_fail(SQ_ERR_CONFIG, "clusters: scales: %u, not 2 to %d", s->scales.count,
                       CLUSTER_SCALES_MAX);
    for (unsigned i = 1; i < s->scales.count; i++) {
        if (!(s->scales.value[i] > s->scales.value[i - 1]))
            return sq_fail(SQ_ERR_CONFIG, "clusters: scales: not ascending");
    }
    if (s->passes == 3)
        return sq_fail(SQ_ERR_CONFIG, "clusters: passes: 3, not 1, 2 or 4");
    if (!(s->lmin < s->lmax))
        return sq_fail(SQ_ERR_CONFIG, "clusters: lmin: not below lmax");
cleanup:
    return rc;
}

int cluster_settings_scales(const cluster_settings *s, double theta[CLUSTER_SCALES_MAX])
{
    enum { USUAL = 12 };
    if (s->scales.count) {
        memcpy(theta, s->scales.value, s->scales.count * sizeof *theta);
        return (int)s->scales.count;
    }
    for (int i = 0; i < USUAL; i++)
        theta[i] = 0.5 * pow(15 / 0.5, (double)i / (USUAL - 1));
    return USUAL;
}
