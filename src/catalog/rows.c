#include "catalog/rows.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { MAX_COLUMNS = 320, TEXT = 128 };

typedef struct column_text {
    char name[48], ucd[56], description[TEXT];
} column_text;

struct sq_catalog_rows {
    sq_catalog_net net;
    sq_catalog_table table;
    double aperture; /* arcsec */
    sq_schema schema;
    sq_column column[MAX_COLUMNS];
    column_text text[MAX_COLUMNS];
    int defining, at; /* the walk: defining columns or adding values; next column */
    void *value[MAX_COLUMNS];
    size_t capacity[MAX_COLUMNS];
    int64_t count;
    sq_status status; /* first failure of the walk */
};

/* Standard normal quantiles of the probabilities in the column names. */
static const struct {
    const char *suffix, *text;
    double z;
} quantile[] = {{"q025", "0.025", -1.959963984540054},
                {"q05", "0.05", -1.6448536269514722},
                {"q16", "0.16", -0.9944578832097532},
                {"q25", "0.25", -0.6744897501960817},
                {"q50", "0.50", 0.0},
                {"q75", "0.75", 0.6744897501960817},
                {"q84", "0.84", 0.9944578832097532},
                {"q95", "0.95", 1.6448536269514722},
                {"q975", "0.975", 1.959963984540054}};
enum { QUANTILES = sizeof quantile / sizeof *quantile };

static void store(sq_catalog_rows *r, int k, double value)
{
    size_t n = (size_t)r->count + 1, size = (size_t)sq_dtype_size(r->column[k].type);
    sq_status rc = sq_grow(&r->value[k], &r->capacity[k], n, size, "catalogue rows");
    if (rc != SQ_OK) {
        r->status = r->status == SQ_OK ? rc : r->status;
        return;
    }
    switch (r->column[k].type) {
    case SQ_F64:
        ((double *)r->value[k])[r->count] = value;
        break;
    case SQ_I32:
        ((int32_t *)r->value[k])[r->count] = (int32_t)value;
        break;
    case SQ_U8:
        ((uint8_t *)r->value[k])[r->count] = (uint8_t)value;
        break;
    default:
        ((float *)r->value[k])[r->count] = (float)value;
    }
}

/* The next column of the walk: define it, or give its value. `name` and `description` take band
 * names. */
__attribute__((format(printf, 6, 7))) static void column(sq_catalog_rows *r, sq_dtype type,
                                                         double value, const char *unit,
                                                         const char *ucd, const char *name, ...)
{
    int k = r->at++;
    if (!r->defining) {
        store(r, k, value);
        return;
    }
    if (k >= MAX_COLUMNS) {
        r->status = sq_fail(SQ_ERR_INTERNAL, "catalogue: more than %d columns", (int)MAX_COLUMNS);
        return;
    }
    /* "NAME|DESCRIPTION" */
    char both[48 + TEXT];
    va_list list;
    va_start(list, name);
    vsnprintf(both, sizeof both, name, list);
    va_end(list);
    char *bar = strchr(both, '|');
    if (bar)
        *bar = '\0';
    snprintf(r->text[k].name, sizeof r->text[k].name, "%.47s", both);
    snprintf(r->text[k].description, TEXT, "%.127s", bar ? bar + 1 : "");
    snprintf(r->text[k].ucd, sizeof r->text[k].ucd, "%s", ucd);
    r->column[k] =
        (sq_column){r->text[k].name, type, unit, r->text[k].ucd, r->text[k].description, 0};
}

static void position_columns(sq_catalog_rows *r, const sq_catalog_row *w)
{
    const sq_catalog_source *s = w->source;
    const double *j = w->jac, arcsec = 3600.0;
    /* J C J^T on the tangent plane, ra multiplied by cos dec. */
    double ax = j[0] * s->xx + j[1] * s->xy, ay = j[0] * s->xy + j[1] * s->yy;
    double bx = j[2] * s->xx + j[3] * s->xy, by = j[2] * s->xy + j[3] * s->yy;
    double rr = ax * j[0] + ay * j[1], rd = ax * j[2] + ay * j[3], dd = bx * j[2] + by * j[3];
    double a2 = arcsec * arcsec;
    column(r, SQ_F64, w->ra, "deg", "pos.eq.ra;meta.main",
           "ra|right ascension, ICRS, posterior mean");
    column(r, SQ_F64, w->dec, "deg", "pos.eq.dec;meta.main",
           "dec|declination, ICRS, posterior mean");
    column(r, SQ_F32, arcsec * sqrt(fmax(rr, 0.0)), "arcsec", "stat.error;pos.eq.ra",
           "ra_err|posterior standard deviation of ra times cos dec");
    column(r, SQ_F32, arcsec * sqrt(fmax(dd, 0.0)), "arcsec", "stat.error;pos.eq.dec",
           "dec_err|posterior standard deviation of dec");
    column(r, SQ_F32, a2 * rd, "arcsec2", "stat.covariance;pos.eq",
           "ra_dec_cov|posterior covariance of ra times cos dec and dec");
    column(r, SQ_F64, w->x, "pix", "pos.cartesian.x;instr.det",
           "x|column in the tile's reference grid, 0-based pixel centres");
    column(r, SQ_F64, w->y, "pix", "pos.cartesian.y;instr.det",
           "y|row in the tile's reference grid");
    column(r, SQ_F32, sqrt(s->xx), "pix", "stat.error;pos.cartesian.x",
           "x_err|standard deviation of x");
    column(r, SQ_F32, sqrt(s->yy), "pix", "stat.error;pos.cartesian.y",
           "y_err|standard deviation of y");
    column(r, SQ_F32, s->xy, "pix2", "stat.covariance", "x_y_cov|covariance of x and y");
    column(r, SQ_F32, w->depth, "pix", "", "depth|distance from the border of the patch's core");
}

static void detection_columns(sq_catalog_rows *r, const sq_catalog_row *w)
{
    const sq_catalog_source *s = w->source;
    column(r, SQ_F32, s->probability, "", "stat.probability",
           "detection_probability|posterior probability that the source exists");
    column(r, SQ_F32, s->raw_probability, "", "stat.probability",
           "detection_probability_raw|the same before calibration");
    column(r, SQ_F32, s->expected, "", "meta.number;stat.mean",
           "expected_count|expected number of sources in the network's cell");
    column(r, SQ_U8, s->slot, "", "meta.number",
           "rank|0 the brighter, 1 the fainter source of its cell");
    column(r, SQ_F32, s->star, "", "stat.probability;src.class.starGalaxy",
           "star_probability|posterior probability that the source is a star");
    column(r, SQ_F32, s->snr, "", "stat.snr",
           "snr|matched-filter S/N near the source, all bands together");
    column(r, SQ_F32, s->neighbours, "", "meta.number;stat.mean",
           "blendedness|expected number of other sources in the cell and the eight around it");
    column(r, SQ_F32, w->ood, "", "stat.fit.goodness",
           "ood_score|distance of the image there from the training set, 1: exceeded by one in twenty");
}

static double magnitude(double ln_flux)
{
    return 31.4 - 1.0857362047581296 * ln_flux;
}

static void flux_columns(sq_catalog_rows *r, const sq_catalog_row *w, int b)
{
    const sq_catalog_source *s = w->source;
    const char *band = r->net.band[b];
    double mu = s->ln_flux[b], v = s->covariance[b][b], sd = sqrt(v);
    column(r, SQ_F32, exp(mu), "nJy", "phot.flux.density", "flux_%s|total flux, posterior median",
           band);
    column(r, SQ_F32, exp(mu + 0.5 * v), "nJy", "phot.flux.density;stat.mean",
           "flux_mean_%s|total flux, posterior mean", band);
    column(r, SQ_F32, exp(mu + 0.5 * v) * sqrt(expm1(v)), "nJy", "stat.error;phot.flux.density",
           "flux_%s_err|posterior standard deviation of the flux", band);
    for (int q = 0; q < QUANTILES; q++)
        column(r, SQ_F32, exp(mu + quantile[q].z * sd), "nJy", "phot.flux.density;stat",
               "flux_%s_%s|posterior quantile %s", band, quantile[q].suffix, quantile[q].text);
    column(r, SQ_F32, magnitude(mu), "mag", "phot.mag", "mag_%s|AB magnitude, posterior median",
           band);
    column(r, SQ_F32, 1.0857362047581296 * sd, "mag", "stat.error;phot.mag",
           "mag_%s_err|posterior standard deviation of the magnitude", band);
    column(r, SQ_F32, 1.0857362047581296 * s->raw_sigma[b], "mag", "stat.error;phot.mag",
           "mag_err_raw_%s|the same before calibration", band);
}

static void colour_columns(sq_catalog_rows *r, const sq_catalog_row *w)
{
    const sq_catalog_source *s = w->source;
    for (int b = 0; b + 1 < r->net.nband; b++) {
        double v =
            s->covariance[b][b] + s->covariance[b + 1][b + 1] - 2.0 * s->covariance[b][b + 1];
        double colour = magnitude(s->ln_flux[b]) - magnitude(s->ln_flux[b + 1]);
        column(r, SQ_F32, colour, "mag", "phot.color", "colour_%s_%s|AB colour, posterior mean",
               r->net.band[b], r->net.band[b + 1]);
        column(r, SQ_F32, 1.0857362047581296 * sqrt(fmax(v, 0.0)), "mag", "stat.error;phot.color",
               "colour_%s_%s_err|posterior standard deviation", r->net.band[b], r->net.band[b + 1]);
    }
    for (int a = 0; a < r->net.nband; a++)
        for (int b = a + 1; b < r->net.nband; b++)
            column(r, SQ_F32, s->covariance[a][b], "", "stat.covariance;phot.flux",
                   "ln_flux_cov_%s_%s|posterior covariance of ln flux", r->net.band[a],
                   r->net.band[b]);
}

static void shape_columns(sq_catalog_rows *r, const sq_catalog_row *w)
{
    const sq_catalog_source *s = w->source;
    double mu = s->shape[0], sd = s->shape_sigma[0], v = sd * sd;
    column(r, SQ_F32, exp(mu), "arcsec", "phys.angSize;src",
           "radius|half-light radius if a galaxy, median");
    column(r, SQ_F32, exp(mu + 0.5 * v) * sqrt(expm1(v)), "arcsec", "stat.error;phys.angSize",
           "radius_err|posterior standard deviation of the radius");
    for (int q = 0; q < QUANTILES; q++)
        column(r, SQ_F32, exp(mu + quantile[q].z * sd), "arcsec", "phys.angSize;stat",
               "radius_%s|posterior quantile %s", quantile[q].suffix, quantile[q].text);
    for (int k = 1; k <= 2; k++) {
        column(r, SQ_F32, s->shape[k], "", "src.ellipticity",
               "e%d|ellipticity (a-b)/(a+b) %s 2 phi if a galaxy, phi from +x to +y", k,
               k == 1 ? "cos" : "sin");
        column(r, SQ_F32, s->shape_sigma[k], "", "stat.error;src.ellipticity",
               "e%d_err|posterior standard deviation", k);
    }
    column(r, SQ_F32, 1.0 / (1.0 + exp(-s->shape[3])), "", "phot.flux;arith.ratio",
           "bulge_fraction|bulge to total flux if a galaxy, median");
    for (int q = 0; q < QUANTILES; q++)
        column(r, SQ_F32, 1.0 / (1.0 + exp(-s->shape[3] - quantile[q].z * s->shape_sigma[3])), "",
               "phot.flux;arith.ratio;stat", "bulge_fraction_%s|posterior quantile %s",
               quantile[q].suffix, quantile[q].text);
}

static void check_columns(sq_catalog_rows *r, const sq_catalog_row *w, int b)
{
    const char *band = r->net.band[b];
    const sq_check *c = &w->check[b];
    column(r, SQ_F32, c->psf_flux, "nJy", "phot.flux.density",
           "psf_flux_%s|PSF flux at the position, no deblending", band);
    column(r, SQ_F32, c->psf_error, "nJy", "stat.error;phot.flux.density",
           "psf_flux_%s_err|its 1-sigma error", band);
    column(r, SQ_F32, c->aperture_flux, "nJy", "phot.flux.density",
           "aperture_flux_%s|flux in a circle of %g arcsec radius, no deblending", band,
           r->aperture);
    column(r, SQ_F32, c->aperture_error, "nJy", "stat.error;phot.flux.density",
           "aperture_flux_%s_err|its 1-sigma error", band);
    column(r, SQ_F32, w->sigma[b], "nJy", "stat.stdev;instr.background",
           "sky_sigma_%s|sky rms per pixel there", band);
    column(r, SQ_F32, w->sky[b], "nJy", "instr.background",
           "sky_%s|sky level per pixel that was subtracted there, 0 where not known", band);
    column(r, SQ_F32, w->fwhm[b], "arcsec", "instr.det.psf", "fwhm_%s|FWHM of the PSF there", band);
    for (int k = 0; k < 2; k++)
        column(r, SQ_F32, w->psf_e[b][k], "", "instr.det.psf",
               "psf_e%d_%s|ellipticity (a-b)/(a+b) %s 2 phi of the PSF there", k + 1, band,
               k ? "sin" : "cos");
    column(r, SQ_I32, c->mask, "", "meta.code.qual",
           "flags_%s|mask: 1 outside 2 bad 4 saturated 8 interpolated 16 cosmic 32 bright 64 edge "
           "128 unchecked",
           band);
}

static void source_columns(sq_catalog_rows *r, const sq_catalog_row *w)
{
    position_columns(r, w);
    detection_columns(r, w);
    for (int b = 0; b < r->net.nband; b++)
        flux_columns(r, w, b);
    colour_columns(r, w);
    shape_columns(r, w);
    uint32_t flags = 0;
    for (int b = 0; b < r->net.nband; b++) {
        check_columns(r, w, b);
        flags |= w->check[b].mask;
    }
    column(r, SQ_I32, flags, "", "meta.code.qual", "flags|bits of all bands");
}

static void sample_columns(sq_catalog_rows *r, const sq_catalog_row *w)
{
    const sq_catalog_source *s = w->source;
    double shape[SQ_CATALOG_SHAPES];
    for (int k = 0; k < SQ_CATALOG_SHAPES; k++)
        shape[k] = s->star > 0.5 ? NAN : s->shape[k];
    column(r, SQ_F64, w->ra, "deg", "pos.eq.ra;meta.main", "ra|right ascension, ICRS");
    column(r, SQ_F64, w->dec, "deg", "pos.eq.dec;meta.main", "dec|declination, ICRS");
    column(r, SQ_I32, w->sample, "", "meta.id", "sample|number of the joint draw");
    column(r, SQ_F64, w->x, "pix", "pos.cartesian.x;instr.det", "x|column in the tile's grid");
    column(r, SQ_F64, w->y, "pix", "pos.cartesian.y;instr.det", "y|row in the tile's grid");
    column(r, SQ_U8, s->star, "", "src.class.starGalaxy", "star|1 a star, 0 a galaxy");
    for (int b = 0; b < r->net.nband; b++)
        column(r, SQ_F32, exp(s->ln_flux[b]), "nJy", "phot.flux.density", "flux_%s|total flux",
               r->net.band[b]);
    column(r, SQ_F32, exp(shape[0]), "arcsec", "phys.angSize;src",
           "radius|half-light radius of a galaxy");
    column(r, SQ_F32, shape[1], "", "src.ellipticity", "e1|ellipticity (a-b)/(a+b) cos 2 phi");
    column(r, SQ_F32, shape[2], "", "src.ellipticity", "e2|ellipticity (a-b)/(a+b) sin 2 phi");
    column(r, SQ_F32, 1.0 / (1.0 + exp(-shape[3])), "", "phot.flux;arith.ratio",
           "bulge_fraction|bulge to total flux of a galaxy");
}

static void count_columns(sq_catalog_rows *r, const sq_catalog_row *w)
{
    column(r, SQ_F64, w->ra, "deg", "pos.eq.ra;meta.main", "ra|centre of a HEALPix pixel, ICRS");
    column(r, SQ_F64, w->dec, "deg", "pos.eq.dec;meta.main", "dec|centre of a HEALPix pixel, ICRS");
    column(r, SQ_F32, w->expected, "", "meta.number;stat.mean",
           "expected|expected number of sources of the patch in the pixel");
    column(r, SQ_F32, w->variance, "", "meta.number;stat.variance",
           "variance|variance of that number, cells taken as independent");
    column(r, SQ_F32, w->area, "arcmin2", "phys.angArea", "area|usable area of the patch in it");
}

/* One pass over the columns of the table. */
static void walk(sq_catalog_rows *r, const sq_catalog_row *w)
{
    r->at = 0;
    if (r->table == SQ_CATALOG_SOURCES)
        source_columns(r, w);
    else if (r->table == SQ_CATALOG_SAMPLES)
        sample_columns(r, w);
    else
        count_columns(r, w);
}

static sq_schema schema_of(const sq_catalog_rows *r, double border)
{
    static const char *const name[] = {"catalog", "samples", "expected_counts"};
    static const char *const text[] = {
        "sources with posteriors", "joint draws from the posterior, patch by patch",
        "expected numbers of sources, a row for each patch and HEALPix pixel that meet"};
    sq_schema out = {.name = name[r->table],
                     .description = text[r->table],
                     .count = r->at,
                     .column = r->column,
                     .ra = "ra",
                     .dec = "dec"};
    if (r->table == SQ_CATALOG_SOURCES) {
        out.depth = "depth";
        out.border = border;
        out.radius = 1.0;
    }
    return out;
}

sq_status sq_catalog_rows_create(const sq_catalog_net *net, sq_catalog_table table, double border,
                                 double aperture, sq_catalog_rows **out)
{
    sq_catalog_rows *r = NULL;
    sq_status rc = SQ_OK;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(r, 1, "catalogue rows"));
    r->net = *net;
    r->table = table;
    r->aperture = aperture;
    r->defining = 1;
    sq_catalog_source source = {0};
    sq_catalog_row row = {.net = net, .source = &source};
    walk(r, &row);
    r->defining = 0;
    SQ_TRY(r->status);
    r->schema = schema_of(r, border);
    SQ_TRY(sq_schema_check(&r->schema));
    *out = r;
    r = NULL;
cleanup:
    sq_catalog_rows_destroy(r);
    return rc;
}

void sq_catalog_rows_destroy(sq_catalog_rows *r)
{
    if (!r)
        return;
    for (int k = 0; k < MAX_COLUMNS; k++)
        sq_free(r->value[k]);
    sq_free(r);
}

const sq_schema *sq_catalog_rows_schema(const sq_catalog_rows *r)
{
    return &r->schema;
}

void sq_catalog_rows_clear(sq_catalog_rows *r)
{
    r->count = 0;
}

sq_status sq_catalog_rows_add(sq_catalog_rows *r, const sq_catalog_row *row)
{
    r->status = SQ_OK;
    walk(r, row);
    if (r->status == SQ_OK)
        r->count++;
    return r->status;
}

sq_status sq_catalog_rows_write(const sq_catalog_rows *r, int table, sq_product *product)
{
    if (r->count == 0)
        return SQ_OK;
    return sq_product_rows(product, table, r->count, (const void *const *)r->value);
}
