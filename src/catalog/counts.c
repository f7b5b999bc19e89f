#include "catalog/counts.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "sky/sphere.h"

typedef struct cell {
    int64_t pixel, number;
    double expected, variance, area;
} cell;

struct sq_catalog_counter {
    const sq_catalog_net *net;
    int64_t nside;
    int first, end; /* rows and columns of the core's cells */
    cell *cell;     /* [(end - first)^2] */
};

sq_status sq_catalog_counter_create(const sq_catalog_net *net, int64_t nside, int core, int halo,
                                    sq_catalog_counter **out)
{
    sq_status rc = SQ_OK;
    sq_catalog_counter *c = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(c, 1, "expected counts"));
    c->net = net;
    c->nside = nside;
    c->first = halo / net->tile;
    c->end = c->first + (core + net->tile - 1) / net->tile;
    SQ_TRY(SQ_ALLOC(c->cell, (int64_t)(c->end - c->first) * (c->end - c->first), "cells"));
    *out = c;
    c = NULL;
cleanup:
    sq_catalog_counter_destroy(c);
    return rc;
}

void sq_catalog_counter_destroy(sq_catalog_counter *c)
{
    if (!c)
        return;
    sq_free(c->cell);
    sq_free(c);
}

/* The largest fraction over the bands of a cell's pixels that are usable. */
static double usable(const sq_catalog_net *net, const sq_inputs *in, int row, int column)
{
    int64_t tiles = (int64_t)in->tiles * in->tiles, at = (int64_t)row * in->tiles + column;
    double most = 0;
    for (int b = 0; b < net->nband; b++) {
        int64_t plane = (int64_t)b * SQ_PLANES_PER_BAND + SQ_PLANE_USABLE;
        most = fmax(most, in->planes[plane * tiles + at]);
    }
    return most;
}

static int by_pixel(const void *a, const void *b)
{
    const cell *s = a, *t = b;
    if (s->pixel != t->pixel)
        return s->pixel < t->pixel ? -1 : 1;
    return s->number < t->number ? -1 : 1;
}

/* The core's cells that this tile owns. */
static sq_status list_cells(sq_catalog_counter *c, const sq_place *place, const sq_decoder *decoder,
                            const sq_inputs *in, int64_t *count)
{
    double t = c->net->tile;
    *count = 0;
    for (int row = c->first; row < c->end; row++)
        for (int column = c->first; column < c->end; column++) {
            double x = (double)place->patch.in_x0 + t * (column + 0.5) - 0.5;
            double y = (double)place->patch.in_y0 + t * (row + 0.5) - 0.5, ra, dec;
            double part = usable(c->net, in, row, column);
            if (!(part > 0) || !(sq_tiling_depth(place->tiling, &place->patch, x, y) > 0))
                continue;
            sq_status rc = sq_wcs_pix2sky(place->wcs, 1, &x, &y, &ra, &dec);
            if (rc != SQ_OK)
                return rc;
            if (place->owner && sq_owner_of(place->owner, ra, dec) != (int64_t)place->tile)
                continue;
            double side = t * sq_wcs_scale(place->wcs, x, y) / 60;
            cell *at = &c->cell[*count];
            at->number = (*count)++;
            at->pixel = sq_healpix_pixel(c->nside, 0, (90 - dec) * M_PI / 180, ra * M_PI / 180);
            at->area = part * side * side;
            sq_decoder_expected(decoder, row, column, &at->expected, &at->variance);
        }
    return SQ_OK;
}

sq_status sq_catalog_count(sq_catalog_counter *c, const sq_place *place, const sq_decoder *decoder,
                           const sq_inputs *in, sq_catalog_rows *rows)
{
    int64_t count;
    sq_status rc = list_cells(c, place, decoder, in, &count);
    qsort(c->cell, (size_t)count, sizeof *c->cell, by_pixel);
    for (int64_t i = 0, next; rc == SQ_OK && i < count; i = next) {
        sq_catalog_row row = {.net = c->net};
        double theta, phi;
        for (next = i; next < count && c->cell[next].pixel == c->cell[i].pixel; next++) {
            row.expected += c->cell[next].expected;
            row.variance += c->cell[next].variance;
            row.area += c->cell[next].area;
        }
        sq_healpix_centre(c->nside, 0, c->cell[i].pixel, &theta, &phi);
        row.ra = sq_wrap_ra(phi * 180 / M_PI);
        row.dec = 90 - theta * 180 / M_PI;
        rc = sq_catalog_rows_add(rows, &row);
    }
    return rc;
}
