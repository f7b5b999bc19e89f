#include "clusters/rows.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static const double ARCMIN = M_PI / 180 / 60;

typedef struct entry {
    sq_column column;
    size_t offset;
} entry;

#define C(member) offsetof(cluster_row, member)
static const entry cluster_columns[] = {
    {{"ra", SQ_F64, "deg", "pos.eq.ra;meta.main", "ICRS, of the peak of S/N", 0}, C(ra)},
    {{"dec", SQ_F64, "deg", "pos.eq.dec;meta.main", "ICRS, of the peak of S/N", 0}, C(dec)},
    {{"ra_err", SQ_F32, "arcsec", "stat.error;pos.eq.ra",
      "standard error along right ascension, with 0.04 theta500 for what shapes and neighbours do",
      0},
     C(ra_err)},
    {{"dec_err", SQ_F32, "arcsec", "stat.error;pos.eq.dec",
      "standard error along declination, likewise", 0},
     C(dec_err)},
    {{"depth", SQ_F32, "pixel", "", "distance from the border of the patch's core", 1}, C(depth)},
    {{"snr", SQ_F32, "", "stat.snr", "signal to noise, greatest over the scales", 0}, C(snr)},
    {{"snr_fixed", SQ_F32, "", "stat.snr", "signal to noise of the reference scale", 0},
     C(snr_fixed)},
    {{"snr_deprojected", SQ_F32, "", "stat.snr",
      "signal to noise of the reference scale without response to dust", 0},
     C(snr_deprojected)},
    {{"y0", SQ_F32, "", "phys.SZ",
      "central Compton parameter: median, with the population of halos as prior", 0},
     C(y0)},
    {{"y0_err", SQ_F32, "", "stat.error;phys.SZ",
      "standard error of y0: half of what lies between 16% and 84%, the unknown theta500 in it", 0},
     C(y0_err)},
    {{"y0_fixed", SQ_F32, "", "phys.SZ", "filtered map of the reference scale", 0}, C(y0_fixed)},
    {{"y0_fixed_err", SQ_F32, "", "stat.error;phys.SZ",
      "standard error of y0_fixed, of the noise alone", 0},
     C(y0_fixed_err)},
    {{"theta500", SQ_F32, "arcmin", "phys.angSize",
      "exp of the mean of ln theta500, with the same prior", 0},
     C(theta500)},
    {{"ln_theta500_err", SQ_F32, "", "stat.error;phys.angSize", "standard deviation of it", 0},
     C(ln_theta500_err)},
    {{"y0_peak", SQ_F32, "", "phys.SZ",
      "filtered map of the scale of greatest S/N: too high where S/N is low", 0},
     C(y0_peak)},
    {{"y0_peak_err", SQ_F32, "", "stat.error;phys.SZ",
      "standard error of y0_peak, of the noise alone", 0},
     C(y0_peak_err)},
    {{"theta500_peak", SQ_F32, "arcmin", "phys.angSize", "that scale", 0}, C(theta500_peak)},
    {{"noise", SQ_F32, "", "stat.stdev", "local noise of the reference scale over the patch's mean",
      0},
     C(noise)},
    {{"m500", SQ_F32, "solMass", "phys.mass",
      "M500c at the configured redshift: exp of the mean of ln M", 0},
     C(m500)},
    {{"ln_m500_err", SQ_F32, "", "stat.error;phys.mass", "standard deviation of ln M500c", 0},
     C(ln_m500_err)},
    {{"cnn_halo", SQ_F32, "", "stat.likelihood", "network's logit: a halo above 5e13 Msun", 0},
     C(cnn_halo)},
    {{"cnn_cluster", SQ_F32, "", "stat.likelihood", "network's logit: a halo above 1e14 Msun", 0},
     C(cnn_cluster)},
    {{"cnn_target", SQ_F32, "", "stat.likelihood",
      "network's logit: Mvir above 2e14 Msun and z above 0.25", 0},
     C(cnn_target)},
    {{"cnn_ln_mass", SQ_F32, "", "phys.mass", "network's ln(Mvir / 2e14 Msun)", 0}, C(cnn_ln_mass)},
    {{"cnn_ln_mass_err", SQ_F32, "", "stat.error;phys.mass", "network's error of it", 0},
     C(cnn_ln_mass_err)},
    {{"cnn_far", SQ_F32, "", "stat.likelihood", "network's logit: z above 0.25", 0}, C(cnn_far)},
    {{"cnn_cutout", SQ_F32, "", "stat.likelihood", "cutout network's logit of a target, all passes",
      0},
     C(cnn_cutout)},
    {{"cnn_beam", SQ_F32, "arcmin", "instr.beam",
      "FWHM of beam and pixel of the middle band, as the network knows it", 0},
     C(cnn_beam)},
    {{"probability", SQ_F32, "", "stat.probability",
      "calibrated, of filter and network: Mvir above 2e14 Msun and z above 0.25", 0},
     C(probability)},
    {{"probability_halo", SQ_F32, "", "stat.probability",
      "calibrated, of filter and network: a halo above 5e13 Msun", 0},
     C(probability_halo)},
    {{"flags", SQ_I32, "", "meta.code",
      "1: near a pixel without data, 2: near a source that was taken out, 4: near an edge, 8: out "
      "of the network's domain",
      0},
     C(flags)}};
#undef C

#define A(member) offsetof(cluster_area_row, member)
static const entry area_columns[] = {
    {{"ra", SQ_F64, "deg", "pos.eq.ra", "centre of the patch", 0}, A(ra)},
    {{"dec", SQ_F64, "deg", "pos.eq.dec", "centre of the patch", 0}, A(dec)},
    {{"area", SQ_F64, "deg2", "phys.angArea", "searched area of this noise", 0}, A(area)},
    {{"noise", SQ_F32, "", "stat.stdev", "relative to the patch's mean", 0}, A(relative)},
    {{"sources", SQ_I32, "", "meta.number", "point sources taken out of the patch", 0}, A(sources)},
    {{"flags", SQ_I32, "", "meta.code", "1: no usable data, 2: bands cover different areas", 0},
     A(flags)}};
#undef A

#define M(member) offsetof(cluster_completeness_row, member)
static const entry completeness_columns[] = {
    {{"m500", SQ_F64, "solMass", "phys.mass", "M500c", 0}, M(m500)},
    {{"z", SQ_F64, "", "src.redshift", "redshift", 0}, M(z)},
    {{"completeness", SQ_F64, "", "stat.fit.param",
      "fraction above the configured S/N, mean over the area", 0},
     M(completeness)},
    {{"area", SQ_F64, "deg2", "phys.angArea", "searched", 0}, M(area)}};
#undef M

static int take(cluster_tables *t, int table, const entry *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        t->column[table][i] = from[i].column;
        t->offset[table][i] = from[i].offset;
    }
    return (int)n;
}

static int add_scales(cluster_tables *t, int table, int at, int nscale, const double *theta,
                      size_t offset)
{
    for (int s = 0; s < nscale; s++) {
        int k = table == TABLE_AREA;
        snprintf(t->name[s][k], sizeof t->name[s][k], "%s_%02d", k ? "y0_noise" : "snr", s);
        snprintf(t->description[s][k], sizeof t->description[s][k],
                 k ? "noise of y0 at theta500 = %.3g arcmin" : "S/N at theta500 = %.3g arcmin",
                 theta[s] / ARCMIN);
        t->column[table][at] = (sq_column){
            t->name[s][k], SQ_F32, "", k ? "stat.stdev" : "stat.snr", t->description[s][k], 0};
        t->offset[table][at++] = offset + (size_t)s * sizeof(float);
    }
    return at;
}

void cluster_tables_make(int nscale, const double *theta, double border, cluster_tables *t)
{
    static const double ARCSEC_APART = 60; /* of one cluster seen from two patches */
    int n = take(t, TABLE_CLUSTERS, cluster_columns, sizeof cluster_columns / sizeof(entry));
    n = add_scales(t, TABLE_CLUSTERS, n, nscale, theta, offsetof(cluster_row, by_scale));
    t->schema[TABLE_CLUSTERS] = (sq_schema){.name = "clusters",
                                            .description = "candidates of clusters of galaxies",
                                            .count = n,
                                            .column = t->column[TABLE_CLUSTERS],
                                            .ra = "ra",
                                            .dec = "dec",
                                            .depth = "depth",
                                            .border = border,
                                            .radius = ARCSEC_APART};
    n = take(t, TABLE_AREA, area_columns, sizeof area_columns / sizeof(entry));
    n = add_scales(t, TABLE_AREA, n, nscale, theta, offsetof(cluster_area_row, by_scale));
    t->schema[TABLE_AREA] = (sq_schema){.name = "area",
                                        .description = "searched area by noise",
                                        .count = n,
                                        .column = t->column[TABLE_AREA]};
    n = take(t, TABLE_COMPLETENESS, completeness_columns,
             sizeof completeness_columns / sizeof(entry));
    t->schema[TABLE_COMPLETENESS] =
        (sq_schema){.name = "completeness",
                    .description = "expected fraction of clusters that are found",
                    .count = n,
                    .column = t->column[TABLE_COMPLETENESS],
                    .phase = 1};
}

static size_t row_size(enum cluster_table table)
{
    return table == TABLE_CLUSTERS ? sizeof(cluster_row)
           : table == TABLE_AREA   ? sizeof(cluster_area_row)
                                   : sizeof(cluster_completeness_row);
}

sq_status cluster_tables_write(const cluster_tables *t, enum cluster_table table, int64_t n,
                               const void *rows, sq_product *product)
{
    sq_status rc = SQ_OK;
    const sq_schema *schema = &t->schema[table];
    const char *from = rows;
    char *data = NULL;
    const void *column[40 + CLUSTER_SCALES_MAX];
    if (!n)
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(data, 8 * n * schema->count, "rows"));
    for (int c = 0; c < schema->count; c++) {
        size_t width = (size_t)sq_dtype_size(schema->column[c].type);
        char *out = data + (size_t)c * 8 * (size_t)n;
        for (int64_t i = 0; i < n; i++)
            memcpy(out + (size_t)i * width,
                   from + (size_t)i * row_size(table) + t->offset[table][c], width);
        column[c] = out;
    }
    SQ_TRY(sq_product_rows(product, table, n, column));
cleanup:
    sq_free(data);
    return rc;
}
