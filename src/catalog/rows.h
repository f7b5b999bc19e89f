/* The catalogue's tables: their schemas and the making of their rows.
 *
 * Schema and rows come from one walk over the columns, so they cannot disagree. Fluxes are nJy,
 * positions ICRS degrees and 0-based pixels of the tile's reference grid. Local. */
#ifndef SQ_CATALOG_ROWS_H
#define SQ_CATALOG_ROWS_H

#include "catalog/decode.h"
#include "catalog/photometry.h"
#include "probe/probe.h"

typedef enum sq_catalog_table {
    SQ_CATALOG_SOURCES, /* catalog */
    SQ_CATALOG_SAMPLES, /* samples: joint draws */
    SQ_CATALOG_COUNTS,  /* expected_counts */
    SQ_CATALOG_TABLES
} sq_catalog_table;

/* Everything that a row is made from; a table takes what it needs. */
typedef struct sq_catalog_row {
    const sq_catalog_net *net;
    const sq_catalog_source *source;
    double x, y, depth;     /* of the tile's grid; signed distance from the core's border */
    double ra, dec, jac[4]; /* sq_wcs_jacobian */
    sq_check check[SQ_MAX_BANDS];
    double sigma[SQ_MAX_BANDS], sky[SQ_MAX_BANDS];     /* rms and level of the sky, nJy per pixel */
    double ood;                                        /* of catalog/domain.h */
    double fwhm[SQ_MAX_BANDS], psf_e[SQ_MAX_BANDS][2]; /* arcsec */
    int sample;
    double expected, variance, area; /* of a number of sources; arcmin^2 */
} sq_catalog_row;

typedef struct sq_catalog_rows sq_catalog_rows;

/* `border` in pixels, `aperture` in arcsec: of the sources. */
sq_status sq_catalog_rows_create(const sq_catalog_net *net, sq_catalog_table table, double border,
                                 double aperture, sq_catalog_rows **out);
const sq_schema *sq_catalog_rows_schema(const sq_catalog_rows *rows);
void sq_catalog_rows_clear(sq_catalog_rows *rows);
sq_status sq_catalog_rows_add(sq_catalog_rows *rows, const sq_catalog_row *row);
/* Append what was added to a table of the product. */
sq_status sq_catalog_rows_write(const sq_catalog_rows *rows, int table, sq_product *product);
void sq_catalog_rows_destroy(sq_catalog_rows *rows);

#endif
