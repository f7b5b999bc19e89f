/* make_index OUT.h5 TILES SIDE: the index of a survey that is not there, for measurements of
 * memory. Tiles of five bands, SIDE pixels wide and high at 0.4 arcsec, each with image and mask
 * files of every band, a PSF and a calibration file, checksum cards, and a WCS of its own in every
 * band. They overlap by a tenth and cover the sky from the equator outwards. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "store/tile_index.h"

enum { BANDS = 5, CARD = 80 };
static const double SCALE = 0.4 / 3600;

static sq_status make_file(const char *name, int field, int image, sq_rng *rng,
                           sq_file_identity *out)
{
    char path[128];
    snprintf(path, sizeof path, "/data/survey/dr17/eboss/photoObj/frames/301/%d/%d/%s-%06d.fits",
             field / 600, field % 6, name, field);
    out->size = 2000000 + sq_rng_u32(rng) % 3000000;
    out->mtime = sq_rng_range(rng, 1.2e9, 1.3e9);
    for (int i = 0; i < 16 && image; i++)
        out->checksum[i] = (char)('A' + sq_rng_u32(rng) % 26);
    if (image)
        snprintf(out->datasum, sizeof out->datasum, "%u", sq_rng_u32(rng));
    return sq_strdup(&out->path, path);
}

static void card(char **at, const char *key, const char *value, const char *comment)
{
    char text[CARD + 64];
    snprintf(text, sizeof text, *value == '\'' ? "%-8s= %-20s / %-47s" : "%-8s= %20s / %-47s", key,
             value, comment);
    memcpy(*at, text, CARD);
    *at += CARD;
}

static void number(char **at, const char *key, double value, const char *comment)
{
    char text[32];
    snprintf(text, sizeof text, "%.17G", value);
    card(at, key, strpbrk(text, ".E") ? text : strcat(text, ".0"), comment);
}

/* The cards that an index has, with the digits that differ from tile to tile. */
static sq_status make_wcs(double ra, double dec, int side, sq_rng *rng, char **out)
{
    static const char *const axis[] = {"Pixel coordinate of reference point",
                                       "Coordinate transformation matrix element",
                                       "[deg] Coordinate increment at reference point",
                                       "[deg] Coordinate value at reference point"};
    char *at;
    double turn = sq_rng_range(rng, -0.01, 0.01);
    sq_status rc = sq_alloc(out, 18 * CARD + 1, 1, "WCS");
    if (rc != SQ_OK)
        return rc;
    at = *out;
    card(&at, "WCSAXES", "2", "Number of coordinate axes");
    number(&at, "CRPIX1", 0.5 * side + sq_rng_range(rng, -9, 9), axis[0]);
    number(&at, "CRPIX2", 0.5 * side + sq_rng_range(rng, -9, 9), axis[0]);
    number(&at, "PC1_1", -SCALE * cos(turn), axis[1]);
    number(&at, "PC1_2", SCALE * sin(turn), axis[1]);
    number(&at, "PC2_1", SCALE * sin(turn), axis[1]);
    number(&at, "PC2_2", SCALE * cos(turn), axis[1]);
    number(&at, "CDELT1", 1, axis[2]);
    number(&at, "CDELT2", 1, axis[2]);
    card(&at, "CUNIT1", "'deg'", "Units of coordinate increment and value");
    card(&at, "CUNIT2", "'deg'", "Units of coordinate increment and value");
    card(&at, "CTYPE1", "'RA---TAN'", "Right ascension, gnomonic projection");
    card(&at, "CTYPE2", "'DEC--TAN'", "Declination, gnomonic projection");
    number(&at, "CRVAL1", ra, axis[3]);
    number(&at, "CRVAL2", dec, axis[3]);
    number(&at, "LONPOLE", 180, "[deg] Native longitude of celestial pole");
    number(&at, "LATPOLE", dec, "[deg] Native latitude of celestial pole");
    card(&at, "RADESYS", "'ICRS'", "Equatorial coordinate system");
    return SQ_OK;
}

static sq_status make_tile(int field, double ra, double dec, int side, sq_rng *rng, sq_tile *t)
{
    sq_status rc = SQ_OK;
    double half = 0.5 * side * SCALE, wide = half / fmax(cos(dec * M_PI / 180), 0.01);
    snprintf(t->name, sizeof t->name, "%06d-%d-%04d", field / 600, field % 6, field % 600);
    t->format = SQ_TILE_SDSS_FRAME;
    t->nband = BANDS;
    t->reference = 2;
    for (int k = 0; k < 4; k++) {
        t->corner_ra[k] = fmod(ra + (k == 1 || k == 2 ? -wide : wide) + 360, 360);
        t->corner_dec[k] = dec + (k < 2 ? -half : half);
    }
    SQ_TRY(make_file("psField", field, 0, rng, &t->psf));
    SQ_TRY(make_file("photoField", field, 0, rng, &t->calibration));
    for (int b = 0; b < BANDS; b++) {
        sq_tile_band *band = &t->band[b];
        char name[16];
        band->name[0] = "ugriz"[b];
        band->nx = band->ny = side;
        snprintf(name, sizeof name, "frame-%s", band->name);
        SQ_TRY(make_file(name, field, 1, rng, &band->image));
        snprintf(name, sizeof name, "fpM-%s", band->name);
        SQ_TRY(make_file(name, field, 0, rng, &band->mask));
        SQ_TRY(make_wcs(ra + sq_rng_range(rng, -1e-4, 1e-4), dec, side, rng, &band->wcs_header));
    }
cleanup:
    return rc;
}

/* Rows of tiles, alternately north and south of the equator. */
static sq_status make_all(sq_tile_list *list, int tiles, int side)
{
    sq_status rc = SQ_OK;
    double step = 0.9 * side * SCALE;
    sq_tile tile = {.nband = 0};
    int made = 0;
    for (int row = 0; made < tiles && row * step < 170; row++) {
        double dec = (row % 2 ? -1 : 1) * ((row + 1) / 2) * step;
        int columns = (int)(360 / step * cos(dec * M_PI / 180));
        for (int c = 0; c < columns && made < tiles; c++, made++) {
            sq_rng rng;
            sq_rng_init(&rng, 1, 0, (uint64_t)made);
            SQ_TRY(make_tile(made, 360.0 * c / columns, dec, side, &rng, &tile));
            SQ_TRY(sq_tile_list_add(list, &tile));
            sq_tile_clear(&tile);
        }
    }
    if (made < tiles)
        rc = sq_fail(SQ_ERR_USAGE, "the sky has room for %d such tiles", made);
cleanup:
    sq_tile_clear(&tile);
    return rc;
}

int main(int argc, char **argv)
{
    sq_status rc = SQ_OK;
    sq_tile_list *list = NULL;
    if (argc != 4)
        return 1;
    SQ_TRY(sq_tile_list_create(&list));
    SQ_TRY(make_all(list, atoi(argv[2]), atoi(argv[3])));
    SQ_TRY(sq_tile_list_finish(list));
    SQ_TRY(sq_tile_index_write(argv[1], (const sq_tile_list *const *)&list, 1));
    size_t size, total = 0;
    for (int i = 0; i < sq_tile_list_pieces(list); i++) {
        const void *bytes;
        sq_tile_list_piece(list, i, &bytes, &size);
        total += size;
    }
    printf("%.0f bytes a tile in memory\n", (double)total / atoi(argv[2]));
cleanup:
    sq_tile_list_destroy(list);
    if (rc != SQ_OK)
        fprintf(stderr, "make_index: %s\n", sq_error());
    return rc != SQ_OK;
}
