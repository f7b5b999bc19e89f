/* The optical simulator: stars and bulge+disk galaxies under a varying PSF and sky, with truth.
 *
 * Seeded by patch: the sources of a piece of sky are drawn from cells of the sky keyed by (seed, cell), so any part
 * of a survey can be rendered alone and by any rank. Fluxes in nJy, positions in pixels of the tile. Local, reentrant. */
#ifndef SQ_SIM_OPTICAL_H
#define SQ_SIM_OPTICAL_H

#include <stdint.h>

#include "base/config.h"
#include "base/rng.h"
#include "base/status.h"
#include "fits/cutout.h"

typedef struct sq_sim_source {
    double x, y;                        /* pixels of the tile's reference grid */
    double flux[SQ_MAX_BANDS];          /* nJy */
    int star;                           /* 1 star, 0 galaxy */
    double bulge_fraction;              /* of the flux, all bands alike; galaxies only, as all below */
    double disk_radius, bulge_radius;   /* half-light radii, semi-major axis, arcsec */
    double disk_e1, disk_e2, bulge_e1, bulge_e2; /* (a-b)/(a+b) cos 2phi, sin 2phi; phi from +x to +y */
    /* Of the total profile: half-light radius (arcsec, circularised) and the flux-weighted ellipticity. */
    double radius, e1, e2;
} sq_sim_source;

typedef struct sq_sim_optical sq_sim_optical;    /* a configured simulator */

/* The keys of SKY.yaml (see `skyquilt simulate --help`); `sq_sim_optical_config` is filled by run/yaml. */
typedef struct sq_sim_optical_config sq_sim_optical_config;

#endif
