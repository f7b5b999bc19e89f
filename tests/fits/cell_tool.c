/* What the Python test of cell coadds calls: a box of the only tile under a folder.
 *   cell_tool FOLDER BANDS X0 Y0 NX NY OUT
 * prints the tile's name, its bands and the sky at the box's first pixel; OUT gets, for each letter
 * of BANDS, image, variance, sky and sky_sigma (float), mask (uint32), then all PSF images (float).
 * Errors go to stdout with exit status 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fits/tile.h"

static void say(void *user, const char *name, sq_status code, const char *message)
{
    (void)user;
    printf("%s: %s: %s\n", name, sq_status_name(code), message);
}

static void put(const sq_cutout *c, const char *path)
{
    FILE *f = fopen(path, "wb");
    size_t plane = (size_t)c->nx * (size_t)c->ny;
    for (int b = 0; b < c->nband; b++) {
        int64_t at = sq_cutout_plane(c, b);
        fwrite(c->image + at, 4, plane, f);
        fwrite(c->variance + at, 4, plane, f);
        fwrite(c->sky + at, 4, plane, f);
        fwrite(c->sky_sigma + at, 4, plane, f);
        fwrite(c->mask + at, 4, plane, f);
    }
    fwrite(c->psf, 4, (size_t)c->nband * SQ_PSF_NODES * SQ_PSF_NODES * SQ_PSF_SIDE * SQ_PSF_SIDE,
           f);
    fclose(f);
}

static sq_status dump(const sq_tile *tile, char **argument)
{
    char name[SQ_MAX_BANDS][2] = {{0}};
    const char *bands[SQ_MAX_BANDS];
    int nband = (int)strlen(argument[2]);
    int64_t x0 = atoi(argument[3]), y0 = atoi(argument[4]);
    double x = (double)x0, y = (double)y0, ra, dec;
    sq_exposure *e = NULL;
    sq_cutout *c = NULL;
    sq_status rc = SQ_OK;
    for (int b = 0; b < nband; b++) {
        name[b][0] = argument[2][b];
        bands[b] = name[b];
    }
    SQ_TRY(sq_exposure_open(tile, bands, nband, 1, &e));
    SQ_TRY(sq_cutout_create(nband, atoi(argument[5]), atoi(argument[6]), &c));
    SQ_TRY(sq_exposure_read(e, x0, y0, c));
    SQ_TRY(sq_wcs_pix2sky(sq_exposure_wcs(e), 1, &x, &y, &ra, &dec));
    printf("%s ", tile->name);
    for (int b = 0; b < tile->nband; b++)
        printf("%s", tile->band[b].name);
    printf(" %.15g %.15g\n", ra, dec);
    put(c, argument[7]);
cleanup:
    sq_cutout_destroy(c);
    sq_exposure_close(e);
    return rc;
}

int main(int argc, char **argv)
{
    sq_tile *tile = NULL;
    int64_t count = 0;
    if (argc != 8 || strlen(argv[2]) > SQ_MAX_BANDS)
        return 2;
    const char *folder = argv[1];
    sq_status rc = sq_tile_scan(&folder, 1, "r", say, NULL, &tile, &count);
    if (rc == SQ_OK && count == 1)
        rc = dump(&tile[0], argv);
    if (rc != SQ_OK)
        printf("%s\n", sq_error());
    for (int64_t t = 0; t < count; t++)
        sq_tile_clear(&tile[t]);
    sq_free(tile);
    return rc != SQ_OK || count != 1;
}
