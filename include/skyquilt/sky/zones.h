/* Neighbours within a fixed radius by sorted zones (Gray, Nieto-Santisteban & Szalay 2007): strips
 * of one radius in b, sorted by a inside.
 *
 * Positions and radius are those of sky/match.h: degrees and arcsec on the sphere, one unit on the
 * plane. Distances are squared: chords of the unit sphere, or the plane's; the value for a pair is
 * the same from both sides. A structure is read-only once made: queries are reentrant. Local. */
#ifndef SQ_SKY_ZONES_H
#define SQ_SKY_ZONES_H

#include <stddef.h>

#include "sky/match.h"

typedef struct sq_zones sq_zones;

typedef struct sq_zone_hit {
    int64_t index;
    double d2;
} sq_zone_hit;

typedef struct sq_zone_hits {
    sq_zone_hit *hit;
    size_t count, capacity;
} sq_zone_hits;

/* The n points that `use` marks (NULL: all); coordinates are copied. Points that are not finite are
 * left out. */
sq_status sq_zones_create(sq_metric metric, int64_t n, const double *a, const double *b,
                          const uint8_t *use, double radius, sq_zones **out);
/* All points within the radius of (a, b), in no order that means anything; `hits` is emptied first.
 */
sq_status sq_zones_query(const sq_zones *z, double a, double b, sq_zone_hits *hits);
/* The unit of the radius, from a squared distance. */
double sq_zones_distance(const sq_zones *z, double d2);
void sq_zones_destroy(sq_zones *z);


#endif
