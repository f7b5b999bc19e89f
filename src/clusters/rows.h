/* The tables of the clusters probe, as rows in memory. Local. */
#ifndef SQ_CLUSTERS_ROWS_H
#define SQ_CLUSTERS_ROWS_H

#include "clusters/patch.h"
#include "probe/probe.h"

enum cluster_table { TABLE_CLUSTERS, TABLE_AREA, TABLE_COMPLETENESS, CLUSTER_TABLES };

typedef struct cluster_row {
    double ra, dec;
    float ra_err, dec_err, depth;
    float snr, snr_fixed, snr_deprojected, y0, y0_err, y0_fixed, y0_fixed_err, theta500,
        ln_theta500_err, y0_peak, y0_peak_err, theta500_peak, noise;
    float m500, ln_m500_err;
    float cnn_halo, cnn_cluster, cnn_target, cnn_ln_mass, cnn_ln_mass_err, cnn_far, cnn_cutout,
        cnn_beam;
    float probability, probability_halo;
    int32_t flags;
    float by_scale[CLUSTER_SCALES_MAX];
} cluster_row;

/* A part of a patch's area, of about the same noise. */
typedef struct cluster_area_row {
    double ra, dec, area;
    float relative;
    int32_t sources, flags;
    float by_scale[CLUSTER_SCALES_MAX]; /* noise of y0 */
} cluster_area_row;

enum { AREA_EMPTY = 1, AREA_PARTIAL = 2 }; /* no data; bands that cover different areas */

typedef struct cluster_completeness_row {
    double m500, z, completeness, area;
} cluster_completeness_row;

typedef struct cluster_tables {
    sq_schema schema[CLUSTER_TABLES];
    sq_column column[CLUSTER_TABLES][40 + CLUSTER_SCALES_MAX];
    size_t offset[CLUSTER_TABLES][40 + CLUSTER_SCALES_MAX];
    char name[CLUSTER_SCALES_MAX][2][24], description[CLUSTER_SCALES_MAX][2][64];
} cluster_tables;

/* Schemas for these scales (rad); `border` in pixels of the patch. In place: the structure must not
 * move. */
void cluster_tables_make(int nscale, const double *theta, double border, cluster_tables *out);
/* Rows, an array of the table's structure, into the product. */
sq_status cluster_tables_write(const cluster_tables *tables, enum cluster_table table, int64_t n,
                               const void *rows, sq_product *product);

#endif
