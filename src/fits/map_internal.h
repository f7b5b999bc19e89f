/* Shared by the files of the map reader. Local. */
#ifndef SQ_FITS_MAP_INTERNAL_H
#define SQ_FITS_MAP_INTERNAL_H

#include "fits/input.h"
#include "fits/map.h"

enum { SQ_MAP_BLOCK = 1 << 22 }; /* pixels that are held at once */

struct sq_map {
    sq_input *input;
    sq_map_info info;
    struct {
        int hdu;                 /* 0-based */
        int64_t layer;           /* on the third axis, 0-based; column number of a table, 1-based */
        char key[16], given[72]; /* where the unit stands and what it says */
        int kind;                /* power of temperature: 1, 2, -2; 0 other */
    } source[SQ_MAP_PLANES];
    /* flat */
    sq_wcs *wcs;
    double period;  /* pixels around the sky of a cylindrical map, else 0 */
    int64_t turn;   /* the period where whole turns are in the map, else 0 */
    double pole[2]; /* y of the south and north pole of a cylindrical map whose rows are
                       parallels, else NaN */
    /* HEALPix */
    int64_t repeat, npix, listed;
    int64_t *pixel, *row; /* of a partial map: sorted pixel numbers and where they are */
};

int sq_map_missing(float value);
sq_status sq_map_judge_unit(sq_map *map, int plane, const char *where, const char *header,
                            const char *key, const char *name, const sq_map_options *options);
sq_status sq_map_open_flat(sq_map *map, const sq_map_options *options);
sq_status sq_map_open_healpix(sq_map *map, int hdu, const sq_map_options *options);
/* A point of the map's frame in ICRS, degrees. */
void sq_map_from_frame(char frame, double lon, double lat, double *ra, double *dec);
/* Values as the file has them (NaN: missing). Points are in the map's own frame for HEALPix. */
/* The same at pixels of the map, 0-based; x is brought into the map. */
sq_status sq_map_flat_at(sq_map *map, int plane, sq_map_method method, size_t n, double *x,
                         const double *y, float *value);
sq_status sq_map_flat_values(sq_map *map, int plane, sq_map_method method, size_t n,
                             const double *ra, const double *dec, float *value);
sq_status sq_map_healpix_values(sq_map *map, int plane, sq_map_method method, size_t n,
                                const double *ra, const double *dec, float *value);

#endif
