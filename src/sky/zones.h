/* Neighbours within a fixed radius by sorted zones (Gray, Nieto-Santisteban & Szalay 2007): strips
 * of one radius in b, sorted by a inside. Distances are squared: chords of the unit sphere, or the
 * plane's. Local. */
#ifndef SQ_SKY_ZONES_H
#define SQ_SKY_ZONES_H

#include <stddef.h>

#include "sky/match.h"

typedef struct zones zones;

typedef struct zone_hit {
    int64_t index;
    double d2;
} zone_hit;

typedef struct zone_hits {
    zone_hit *hit;
    size_t count, capacity;
} zone_hits;

/* The n points that `use` marks (NULL: all); coordinates are copied. Points that are not finite are
 * left out. */
sq_status zones_create(sq_metric metric, int64_t n, const double *a, const double *b,
                       const uint8_t *use, double radius, zones **out);
/* All points within the radius of (a, b), in no order that means anything; `hits` is emptied first.
 */
sq_status zones_query(const zones *z, double a, double b, zone_hits *hits);
/* The unit of the radius, from a squared distance. */
double zones_distance(const zones *z, double d2);
void zones_destroy(zones *z);

#endif
