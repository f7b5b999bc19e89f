/* What the Python tests of maps call: one command on one map, numbers through binary files.
 *   map_tool MAP UNIT FRAME POLARISATION info
 *   map_tool ... sample PLANE METHOD POINTS OUT    points: n doubles ra, n dec; out: n float, n
 * bytes map_tool ... sample_qu METHOD POINTS OUT       out: n float q, n float u, n bytes map_tool
 * ... patch_qu METHOD RA DEC NX NY OUT  on a north-up TAN grid turned by 30 deg map_tool ... check
 * PLANE | window L | copy OUT
 * "-" stands for no option. Errors go to stdout with exit status 1. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "fits/map.h"
#include "fits/write.h"

static sq_map *map;

static int info(void)
{
    const sq_map_info *i = sq_map_information(map);
    printf("%s %lld %lld nside=%lld nested=%d partial=%d frame=%c pol=%s given=%d scale=%.6f",
           i->projection, (long long)i->nx, (long long)i->ny, (long long)i->nside, i->nested,
           i->partial, i->frame, i->polarisation, i->polarisation_given, i->scale);
    for (int k = 0; k < i->nplane; k++)
        printf(" %s:%s:%g", i->plane[k].name, i->plane[k].unit, i->plane[k].scale);
    printf(" checksum=%s\n", i->file.checksum);
    return 0;
}

static void put(const char *path, size_t n, int planes, const float *value, const uint8_t *valid)
{
    FILE *f = fopen(path, "wb");
    fwrite(value, sizeof *value, n * (size_t)planes, f);
    fwrite(valid, 1, n, f);
    fclose(f);
}

static sq_status sample(int plane, sq_map_method method, const char *points, const char *out)
{
    FILE *f = fopen(points, "rb");
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f) / 16;
    double *sky = calloc(2 * n, sizeof *sky);
    float *value = calloc(2 * n, sizeof *value);
    uint8_t *valid = calloc(n, 1);
    rewind(f);
    if (fread(sky, 16, n, f) != n)
        return SQ_ERR_IO;
    fclose(f);
    sq_status rc = plane >= 0
                       ? sq_map_sample(map, plane, method, n, sky, sky + n, value, valid)
                       : sq_map_sample_qu(map, method, n, sky, sky + n, value, value + n, valid);
    if (rc == SQ_OK)
        put(out, n, plane >= 0 ? 1 : 2, value, valid);
    free(sky);
    free(value);
    free(valid);
    return rc;
}

static sq_wcs *turned_grid(double ra, double dec, int nx, int ny)
{
    double c = cos(M_PI / 6), s = sin(M_PI / 6), step = 0.02;
    const double cd[4] = {-step * c, step * s, step * s, step * c};
    sq_wcs *grid = NULL;
    if (sq_wcs_tan(ra, dec, 0.5 * (nx - 1), 0.5 * (ny - 1), cd, &grid) != SQ_OK)
        exit(2);
    return grid;
}

static sq_status patch(sq_map_method method, char **arg)
{
    int nx = atoi(arg[2]), ny = atoi(arg[3]);
    size_t n = (size_t)nx * (size_t)ny;
    sq_wcs *grid = turned_grid(atof(arg[0]), atof(arg[1]), nx, ny);
    float *qu = calloc(2 * n, sizeof *qu);
    uint8_t *valid = calloc(n, 1);
    sq_status rc = sq_map_patch_qu(map, grid, nx, ny, method, qu, qu + n, valid);
    if (rc == SQ_OK)
        put(arg[4], n, 2, qu, valid);
    sq_wcs_destroy(grid);
    free(qu);
    free(valid);
    return rc;
}

/* The first plane on a grid, and at the same points one by one: the greatest difference. */
static sq_status mesh(sq_map_method method, char **arg)
{
    int nx = atoi(arg[2]), ny = atoi(arg[3]), bad = 0;
    size_t n = (size_t)nx * (size_t)ny;
    sq_wcs *grid = turned_grid(atof(arg[0]), atof(arg[1]), nx, ny);
    double *sky = calloc(4 * n, sizeof *sky), *ra = sky, *dec = ra + n, *x = dec + n, *y = x + n;
    float *value = calloc(2 * n, sizeof *value), most = 0;
    uint8_t *valid = calloc(2 * n, 1);
    for (size_t k = 0; k < n; k++) {
        x[k] = (double)(k % (size_t)nx);
        y[k] = (double)(k / (size_t)nx);
    }
    sq_status rc = sq_wcs_pix2sky(grid, n, x, y, ra, dec);
    if (rc == SQ_OK)
        rc = sq_map_patch(map, 0, grid, nx, ny, method, value, valid);
    if (rc == SQ_OK)
        rc = sq_map_sample(map, 0, method, n, ra, dec, value + n, valid + n);
    for (size_t k = 0; k < n; k++) {
        bad += valid[k] != valid[n + k];
        most = fmaxf(most, valid[k] && valid[n + k] ? fabsf(value[k] - value[n + k]) : 0);
    }
    if (rc == SQ_OK)
        printf("%g %d\n", most, bad);
    sq_wcs_destroy(grid);
    free(sky);
    free(value);
    free(valid);
    return rc;
}

static sq_status extent(void)
{
    double ra, dec, radius;
    sq_status rc = sq_map_extent(map, &ra, &dec, &radius);
    if (rc == SQ_OK)
        printf("%.6f %.6f %.6f\n", ra, dec, radius);
    return rc;
}

/* All planes written again: pixel (x, y) holds 1000 plane + 10 y + x. */
static sq_status copy(const char *out)
{
    const char *name[] = {"I", "Q", "U"}, *unit[] = {"uK", "uK", "uK"};
    static float data[3 * 20 * 30];
    for (int k = 0; k < 3 * 20 * 30; k++)
        data[k] = (float)(1000 * (k / 600) + 10 * (k % 600 / 30) + k % 30);
    return sq_write_map(out, sq_map_wcs(map), 30, 20, 3, name, unit, data);
}

int main(int argc, char **argv)
{
    sq_status rc;
    double rms = 0;
    if (argc < 6)
        return 2;
    sq_map_options options = {.unit = strcmp(argv[2], "-") ? argv[2] : NULL,
                              .frame = strcmp(argv[3], "-") ? argv[3] : NULL,
                              .polarisation = strcmp(argv[4], "-") ? argv[4] : NULL};
    char **arg = argv + 6;
    rc = sq_map_open(argv[1], &options, &map);
    if (rc == SQ_OK) {
        if (strcmp(argv[5], "info") == 0)
            info();
        else if (strcmp(argv[5], "sample") == 0)
            rc =
                sample(sq_map_find_plane(map, arg[0]), (sq_map_method)atoi(arg[1]), arg[2], arg[3]);
        else if (strcmp(argv[5], "sample_qu") == 0)
            rc = sample(-1, (sq_map_method)atoi(arg[0]), arg[1], arg[2]);
        else if (strcmp(argv[5], "patch_qu") == 0)
            rc = patch((sq_map_method)atoi(arg[0]), arg + 1);
        else if (strcmp(argv[5], "mesh") == 0)
            rc = mesh((sq_map_method)atoi(arg[0]), arg + 1);
        else if (strcmp(argv[5], "extent") == 0)
            rc = extent();
        else if (strcmp(argv[5], "check") == 0) {
            rc = sq_map_check_unit(map, sq_map_find_plane(map, arg[0]), &rms);
            printf("%.6g\n", rms);
        } else if (strcmp(argv[5], "window") == 0)
            printf("%.9f\n", sq_map_window(map, atof(arg[0])));
        else if (strcmp(argv[5], "copy") == 0)
            rc = copy(arg[0]);
    }
    sq_map_close(map);
    if (rc != SQ_OK)
        printf("%s\n", sq_error());
    return rc != SQ_OK;
}
