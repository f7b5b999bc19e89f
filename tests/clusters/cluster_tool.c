/* Runs functions of clusters/ on raw arrays for the Python tests:
 *     cluster_tool inputs  NBAND SIDE LMAX IN OUT
 *     cluster_tool cutout  NBAND SIDE LMAX IN OUT X Y
 *     cluster_tool network NBAND SIDE LMAX IN OUT MODEL PASSES TILE
 *     cluster_tool combine N MODEL IN OUT
 * IN holds the frequencies in GHz and the transfers [NBAND][LMAX + 1] (double), maps and noise
 * [NBAND][SIDE][SIDE] (float), pixels of 0.5 arcmin; of
 * combine, features [N][SQ_CLUSTER_FEATURES] (double), to which OUT has two probabilities each. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "clusters/combine.h"
#include "clusters/inputs.h"
#include "clusters/network.h"

typedef struct patch {
    sq_cluster_bands bands;
    float *map[SQ_MMF_BANDS], *noise[SQ_MMF_BANDS];
    double *transfer[SQ_MMF_BANDS];
    int64_t pixels;
} patch;

static void die(const char *what)
{
    fprintf(stderr, "cluster_tool: %s: %s\n", what, sq_error());
    exit(1);
}

static void need(sq_status rc, const char *what)
{
    if (rc != SQ_OK)
        die(what);
}

static void take(FILE *file, void *to, size_t size)
{
    if (fread(to, 1, size, file) != size)
        die("short input");
}

static void give(FILE *file, const void *from, size_t size)
{
    if (fwrite(from, 1, size, file) != size)
        die("cannot write");
}

static FILE *open_or_die(const char *path, const char *mode)
{
    FILE *file = fopen(path, mode);
    if (!file)
        die(path);
    return file;
}

static void read_patch(char **a, patch *p)
{
    int nband = atoi(a[0]), side = atoi(a[1]), lmax = atoi(a[2]);
    double pixel = 0.5 * M_PI / 180 / 60;
    *p = (patch){.bands = {.flat = {side, side, pixel, pixel}, .nband = nband, .lmax = lmax},
                 .pixels = (int64_t)side * side};
    FILE *file = open_or_die(a[3], "rb");
    take(file, p->bands.ghz, (size_t)nband * sizeof(double));
    for (int b = 0; b < nband; b++) {
        need(SQ_ALLOC(p->transfer[b], lmax + 1, "transfer"), "memory");
        take(file, p->transfer[b], (size_t)(lmax + 1) * sizeof(double));
        p->bands.transfer[b] = p->transfer[b];
    }
    for (int k = 0; k < 2 * nband; k++) {
        float **to = k < nband ? &p->map[k] : &p->noise[k - nband];
        need(SQ_ALLOC(*to, p->pixels, "map"), "memory");
        take(file, *to, (size_t)p->pixels * sizeof(float));
    }
    fclose(file);
}

static void drop(patch *p)
{
    for (int b = 0; b < SQ_MMF_BANDS; b++) {
        sq_free(p->map[b]);
        sq_free(p->noise[b]);
        sq_free(p->transfer[b]);
    }
}

static void run_inputs(const patch *p, FILE *out)
{
    sq_cluster_inputs *in;
    need(sq_cluster_inputs_create(&p->bands, &in), "inputs");
    need(sq_cluster_inputs_fill(in, (const float *const *)p->map, (const float *const *)p->noise),
         "inputs");
    give(out, sq_cluster_inputs_image(in),
         (size_t)(sq_cluster_inputs_channels(in) * p->pixels) * sizeof(float));
    give(out, sq_cluster_inputs_planes(in),
         (size_t)(sq_cluster_inputs_conditions(in) * p->pixels / 64) * sizeof(float));
    sq_cluster_inputs_destroy(in);
}

static void run_cutout(const patch *p, char **a, FILE *out)
{
    enum { SIZE = SQ_CLUSTER_CUTOUT * SQ_CLUSTER_CUTOUT };
    float cutout[SQ_MMF_BANDS * SIZE];
    sq_cluster_cutout(&p->bands.flat, p->bands.nband, (const float *const *)p->map, atof(a[0]),
                      atof(a[1]), cutout);
    give(out, cutout, (size_t)p->bands.nband * SIZE * sizeof(float));
}

/* With one more argument only the pixels of every so many rows and columns are wanted. */
static void run_network(const patch *p, char **a, FILE *out)
{
    sq_model *model;
    uint8_t *wanted = NULL;
    sq_cluster_network *network;
    sq_cluster_network_setup setup = {
        .bands = p->bands, .precision = SQ_FP32, .passes = atoi(a[1]), .tile = atoi(a[2])};
    need(sq_model_load(a[0], NULL, &model), "model");
    need(sq_cluster_net_read(model, a[0], &setup.net), "model");
    setup.model = model;
    need(sq_cluster_network_create(&setup, &network), "network");
    if (a[3])
        need(SQ_ALLOC(wanted, p->pixels, "pixels"), "memory");
    for (int y = 0, nx = p->bands.flat.nx; a[3] && y < p->bands.flat.ny; y += atoi(a[3])) {
        for (int x = 0; x < nx; x += atoi(a[3]))
            wanted[y * nx + x] = 1;
    }
    need(sq_cluster_network_run(network, (const float *const *)p->map,
                                (const float *const *)p->noise, wanted),
         "network");
    sq_free(wanted);
    for (int h = 0; h < setup.net.heads; h++)
        give(out, sq_cluster_network_map(network, h), (size_t)p->pixels * sizeof(float));
    give(out, sq_cluster_network_depth(network), (size_t)p->pixels * sizeof(float));
    for (int y = 0; y < p->bands.flat.ny; y += SQ_CLUSTER_CELL) {
        for (int x = 0; x < p->bands.flat.nx; x += SQ_CLUSTER_CELL) {
            float in = (float)sq_cluster_network_in_domain(network, x, y);
            give(out, &in, sizeof in);
        }
    }
    sq_cluster_network_destroy(network);
    sq_model_destroy(model);
}

static void run_combine(int n, char **a)
{
    sq_model *model;
    sq_cluster_combination combination;
    need(sq_model_load(a[0], NULL, &model), "model");
    need(sq_cluster_combination_read(model, a[0], &combination), "model");
    FILE *in = open_or_die(a[1], "rb"), *out = open_or_die(a[2], "wb");
    for (int i = 0; i < n; i++) {
        double feature[SQ_CLUSTER_FEATURES], p[2];
        take(in, feature, sizeof feature);
        sq_cluster_combine(&combination, feature, &p[0], &p[1]);
        give(out, p, sizeof p);
    }
    fclose(in);
    if (fclose(out) != 0)
        die("cannot write");
    sq_model_destroy(model);
}

int main(int argc, char **argv)
{
    patch p;
    if (argc == 6 && strcmp(argv[1], "combine") == 0) {
        run_combine(atoi(argv[2]), argv + 3);
        return 0;
    }
    if (argc < 7)
        die("arguments");
    read_patch(argv + 2, &p);
    FILE *out = open_or_die(argv[6], "wb");
    if (strcmp(argv[1], "inputs") == 0)
        run_inputs(&p, out);
    else if (strcmp(argv[1], "cutout") == 0 && argc == 9)
        run_cutout(&p, argv + 7, out);
    else if (strcmp(argv[1], "network") == 0 && (argc == 10 || argc == 11))
        run_network(&p, argv + 7, out);
    else
        die("arguments");
    if (fclose(out) != 0)
        die("cannot write");
    drop(&p);
    return 0;
}
