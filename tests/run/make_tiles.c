/* make_tiles FOLDER: overlapping tiles of two bands around RA = 0, with spots at known places, and
 * FOLDER/truth.txt. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "fits/write.h"
#include "sky/wcs.h"

enum { NX = 220, NY = 170, STEP_X = 180, STEP_Y = 135, COLUMNS = 3, ROWS = 2, SPOTS = 400 };
enum { WIDTH = STEP_X * (COLUMNS - 1) + NX, HEIGHT = STEP_Y * (ROWS - 1) + NY };
static const double SCALE = 0.2 / 3600;

typedef struct spot {
    int x, y;
    double flux;
} spot;

/* Spots at least 6 pixels apart and 3 from the outer border, many of them on seams of patches and
 * tiles. */
static int place_spots(spot *list)
{
    sq_rng rng;
    int n = 0;
    sq_rng_init(&rng, 11, 0, 0);
    for (int tries = 0; tries < 100000 && n < SPOTS; tries++) {
        int x = 3 + (int)(sq_rng_uniform(&rng) * (WIDTH - 6));
        int y = 3 + (int)(sq_rng_uniform(&rng) * (HEIGHT - 6));
        if (n % 3 == 0)
            x = x / 32 * 32 + (int)(sq_rng_u32(&rng) % 3) + 3;
        int good = x < WIDTH - 3;
        for (int i = 0; i < n && good; i++)
            good = abs(list[i].x - x) > 6 || abs(list[i].y - y) > 6;
        if (good)
            list[n++] = (spot){x, y, 500 + 1000 * sq_rng_uniform(&rng)};
    }
    return n;
}

static sq_status make_tile(const char *folder, int column, int row, const spot *list, int n)
{
    sq_status rc = SQ_OK;
    char path[1024];
    float *image = NULL, *variance = NULL;
    uint32_t *mask = NULL;
    sq_wcs *wcs = NULL;
    const double cd[4] = {-SCALE, 0, 0, SCALE};
    SQ_TRY(SQ_ALLOC(image, NX * NY, "image"));
    SQ_TRY(SQ_ALLOC(variance, NX * NY, "variance"));
    SQ_TRY(SQ_ALLOC(mask, NX * NY, "mask"));
    SQ_TRY(
        sq_wcs_tan(0.0, 1.0, WIDTH / 2.0 - column * STEP_X, HEIGHT / 2.0 - row * STEP_Y, cd, &wcs));
    for (int y = 0; y < NY; y++) {
        for (int x = 0; x < NX; x++) {
            double value = 0;
            for (int i = 0; i < n; i++) {
                double dx = x + column * STEP_X - list[i].x, dy = y + row * STEP_Y - list[i].y;
                if (fabs(dx) < 6 && fabs(dy) < 6)
                    value += list[i].flux * exp(-(dx * dx + dy * dy) / 2);
            }
            image[y * NX + x] = (float)value;
            variance[y * NX + x] = 25;
        }
    }
    for (const char *band = "gr"; *band; band++) {
        char name[2] = {*band, 0};
        snprintf(path, sizeof path, "%s/t%d%d-%c.fits", folder, row, column, *band);
        SQ_TRY(sq_write_exposure(path, name, NX, NY, wcs, image, mask, variance, 0.5));
    }
cleanup:
    sq_free(image);
    sq_free(variance);
    sq_free(mask);
    sq_wcs_destroy(wcs);
    return rc;
}

static sq_status write_psf(const char *folder, int column, int row)
{
    enum { SIDE = 51 };
    static float psf[2 * 4 * SIDE * SIDE], sky[8];
    static const char band[2][8] = {"g", "r"};
    char path[1024];
    for (int k = 0; k < 8; k++) {
        double sum = 0;
        for (int y = 0; y < SIDE; y++) {
            for (int x = 0; x < SIDE; x++)
                sum += exp(-((x - 25.0) * (x - 25.0) + (y - 25.0) * (y - 25.0)) / 2);
        }
        for (int y = 0; y < SIDE; y++) {
            for (int x = 0; x < SIDE; x++)
                psf[(k * SIDE + y) * SIDE + x] =
                    (float)(exp(-((x - 25.0) * (x - 25.0) + (y - 25.0) * (y - 25.0)) / 2) / sum);
        }
    }
    snprintf(path, sizeof path, "%s/t%d%d-psf.fits", folder, row, column);
    return sq_write_psf_grid(path, 2, band, 2, 2, NX, NY, SIDE, psf, sky);
}

int main(int argc, char **argv)
{
    static spot list[SPOTS];
    char path[1024];
    if (argc != 2)
        return 1;
    int n = place_spots(list);
    for (int row = 0; row < ROWS; row++) {
        for (int column = 0; column < COLUMNS; column++) {
            if (make_tile(argv[1], column, row, list, n) != SQ_OK ||
                write_psf(argv[1], column, row) != SQ_OK) {
                fprintf(stderr, "%s\n", sq_error());
                return 4;
            }
        }
    }
    snprintf(path, sizeof path, "%s/truth.txt", argv[1]);
    FILE *file = fopen(path, "w");
    if (!file)
        return 4;
    for (int i = 0; i < n; i++)
        fprintf(file, "%d %d %.9g\n", list[i].x, list[i].y, list[i].flux);
    fclose(file);
    return 0;
}
