#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "lensing/maximum.h"
#include "lensing/quadratic.h"
#include "store/tensor.h"

enum { ALL = (1 << SQ_QE_COUNT) - 1, MV = SQ_QE_COUNT, REPEATS_MAX = 1000 };
enum { MAP_STEPS = 40 };
static const double ARCMIN = M_PI / 180 / 60, MAP_TOLERANCE = 0.005;
/* Rows of the dataset "spectra". */
enum { W_TT, W_EE, W_TE, R_TT, R_EE, R_TE, T_TT, T_EE, T_BB, LENSED_BB, UNLENSED_EE, PHI, ROWS };

static const char help[] =
    "NAME\n"
    "    skyquilt bench lensing - time quadratic estimators of lensing on given maps\n\n"
    "SYNOPSIS\n"
    "    skyquilt bench lensing IN.h5 [--repeats N] [--output OUT.h5] [--maximum]\n\n"
    "DESCRIPTION\n"
    "    Reads periodic flat maps and spectra, estimates kappa by TT, TE, EE, TB, EB and their\n"
    "    minimum-variance combination, and prints one JSON object with the CPU milliseconds of\n"
    "    every repeat, on one thread:\n"
    "        estimate   from T, Q and U maps to the modes of all six kappas, responses cached\n"
    "        n0         the tables of the spectra, all responses and N0 of the five and of MV, "
    "with\n"
    "                   the covariances of all pairs\n"
    "        maximum    the maximum a posteriori reconstruction (--maximum; once a map)\n"
    "    With --output it writes what was estimated: the same maps can be given to other codes.\n\n"
    "INPUT\n"
    "    maps      [count][3][ny][nx] of T, Q and U in uK, beam deconvolved; x is the last axis\n"
    "    spectra   [12][rows] at l = 0..rows-1, rows above lmax, in uK^2 sr: weights TT, EE, TE;\n"
    "              of the response TT, EE, TE; total TT, EE, BB; lensed BB, unlensed EE, phi (sr)\n"
    "    attributes of the file: pixel (arcmin), lmin, lmax\n\n"
    "OPTIONS\n"
    "    --repeats N     of each figure, on the maps in turn, default 5\n"
    "    --output FILE   kappa [count][6][ny][nx] in the order above; n0 [6][ny][nx/2+1];\n"
    "                    maximum [count][ny][nx]\n"
    "    --maximum       reconstruct by maximum a posteriori too\n\n"
    "EXIT CODES\n"
    "    0  complete\n"
    "    1  usage error, or maps and spectra that do not fit\n"
    "    4  a file cannot be read or written, or no memory\n";

typedef struct bench {
    const char *input, *output;
    int repeats, maximum, lmin, lmax, top;
    int64_t count, pixels, modes;
    sq_flat flat;
    sq_fft *fft;
    sq_h5 *in, *out;
    double *maps, *spectra, *row[ROWS], *map, *n0;
    double _Complex *field[3], *kappa[SQ_QE_COUNT + 1];
    sq_qe_spectra use;
    sq_quadratic *q;
    double *estimate, *noise;
} bench;

static sq_status parse(int argc, char **argv, bench *b)
{
    b->repeats = 5;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--maximum") == 0) {
            b->maximum = 1;
        } else if (strcmp(argv[i], "--output") == 0 && i + 1 < argc) {
            b->output = argv[++i];
        } else if (strcmp(argv[i], "--repeats") == 0 && i + 1 < argc) {
            char *end;
            long n = strtol(argv[++i], &end, 10);
            if (*end || n < 1 || n > REPEATS_MAX)
                return sq_fail(SQ_ERR_USAGE, "--repeats: '%s' is not within 1..%d", argv[i],
                               REPEATS_MAX);
            b->repeats = (int)n;
        } else if (argv[i][0] == '-' || b->input) {
            return sq_fail(SQ_ERR_USAGE, "'%s': unknown, or without its value; see --help",
                           argv[i]);
        } else {
            b->input = argv[i];
        }
    }
    return b->input ? SQ_OK : sq_fail(SQ_ERR_USAGE, "IN.h5 is missing; see --help");
}

static sq_status read_integer(bench *b, const char *name, int *out)
{
    double value;
    sq_status rc = sq_h5_read_real(b->in, "/", name, &value);
    if (rc == SQ_OK && !(value >= 2 && value <= 100000 && value == floor(value)))
        return sq_fail(SQ_ERR_FORMAT, "%s: %s = %g is not within 2..100000", b->input, name, value);
    *out = rc == SQ_OK ? (int)value : 0;
    return rc;
}

static sq_status read_input(bench *b)
{
    sq_status rc = SQ_OK;
    sq_dtype type;
    int rank[2];
    int64_t dim[2][8] = {{0}};
    double pixel;
    SQ_TRY(sq_h5_open(b->input, &b->in));
    SQ_TRY(sq_h5_shape(b->in, "maps", &type, &rank[0], dim[0]));
    SQ_TRY(sq_h5_shape(b->in, "spectra", &type, &rank[1], dim[1]));
    SQ_TRY(read_integer(b, "lmin", &b->lmin));
    SQ_TRY(read_integer(b, "lmax", &b->lmax));
    SQ_TRY(sq_h5_read_real(b->in, "/", "pixel", &pixel));
    if (rank[0] != 4 || dim[0][0] < 1 || dim[0][1] != 3 || dim[0][2] < 8 || dim[0][2] > 8192 ||
        dim[0][3] < 8 || dim[0][3] > 8192 || rank[1] != 2 || dim[1][0] != ROWS ||
        dim[1][1] <= b->lmax || dim[1][1] > 100000 || !(pixel > 0 && pixel < 600)) {
        rc = sq_fail(SQ_ERR_FORMAT,
                     "%s: not maps [count][3][ny][nx], spectra [%d][above lmax] and pixel",
                     b->input, ROWS);
        goto cleanup;
    }
    b->count = dim[0][0];
    b->flat = (sq_flat){(int)dim[0][2], (int)dim[0][3], pixel * ARCMIN, pixel * ARCMIN};
    b->pixels = sq_flat_pixels(&b->flat);
    b->modes = sq_flat_modes(&b->flat);
    b->top = (int)dim[1][1] - 1;
    SQ_TRY(SQ_ALLOC(b->maps, 3 * b->count * b->pixels, "maps"));
    SQ_TRY(SQ_ALLOC(b->spectra, ROWS * dim[1][1], "spectra"));
    SQ_TRY(sq_h5_read(b->in, "maps", SQ_F64, 0, b->count, b->maps));
    SQ_TRY(sq_h5_read(b->in, "spectra", SQ_F64, 0, ROWS, b->spectra));
    for (int i = 0; i < ROWS; i++)
        b->row[i] = b->spectra + i * dim[1][1];
    double *const *r = b->row;
    b->use = (sq_qe_spectra){r[W_TT], r[W_EE], r[W_TE], r[R_TT], r[R_EE],
                             r[R_TE], r[T_TT], r[T_EE], r[T_BB]};
cleanup:
    return rc;
}

static sq_status make(bench *b)
{
    sq_status rc = SQ_OK;
    SQ_TRY(sq_fft_create(b->flat.ny, b->flat.nx, &b->fft));
    SQ_TRY(SQ_ALLOC(b->map, b->pixels, "map"));
    SQ_TRY(SQ_ALLOC(b->n0, b->modes, "noise"));
    for (int i = 0; i < 3; i++)
        SQ_TRY(SQ_ALLOC(b->field[i], b->modes, "modes"));
    for (int i = 0; i <= MV; i++)
        SQ_TRY(SQ_ALLOC(b->kappa[i], b->modes, "modes"));
    SQ_TRY(SQ_ALLOC(b->estimate, b->repeats, "times"));
    SQ_TRY(SQ_ALLOC(b->noise, b->repeats, "times"));
cleanup:
    return rc;
}

static void drop(bench *b)
{
    sq_h5_abandon(b->out);
    if (b->in)
        sq_h5_close(b->in);
    sq_fft_destroy(b->fft);
    sq_quadratic_destroy(b->q);
    for (int i = 0; i < 3; i++)
        sq_free(b->field[i]);
    for (int i = 0; i <= MV; i++)
        sq_free(b->kappa[i]);
    double *real[] = {b->maps, b->spectra, b->map, b->n0, b->estimate, b->noise};
    for (size_t i = 0; i < sizeof real / sizeof *real; i++)
        sq_free(real[i]);
}

/* N0 of all by a fresh estimator. */
static sq_status time_noise(bench *b, int repeat)
{
    sq_status rc = SQ_OK;
    sq_quadratic_destroy(b->q);
    b->q = NULL;
    double start = sq_cpu_now();
    SQ_TRY(sq_quadratic_create(&b->flat, b->lmin, b->lmax, &b->use, &b->q));
    SQ_TRY(sq_quadratic_combined_n0(b->q, ALL, b->use.weight_te, b->n0));
    for (int e = 0; e < SQ_QE_COUNT; e++)
        SQ_TRY(sq_quadratic_n0(b->q, (sq_qe)e, b->n0));
    b->noise[repeat] = 1e3 * (sq_cpu_now() - start);
cleanup:
    return rc;
}

static void fields(bench *b, int64_t map)
{
    for (int i = 0; i < 3; i++)
        sq_fft_forward(b->fft, b->maps + (3 * map + i) * b->pixels, b->field[i]);
    sq_filter_qu_to_eb(&b->flat, b->field[1], b->field[2]);
}

static sq_status estimate(bench *b, int64_t map)
{
    sq_status rc = SQ_OK;
    fields(b, map);
    SQ_TRY(sq_quadratic_estimates(b->q, ALL, b->field[0], b->field[1], b->field[2], b->kappa));
    SQ_TRY(sq_quadratic_combine(b->q, ALL, (const double _Complex *const *)b->kappa, b->kappa[MV]));
cleanup:
    return rc;
}

static sq_status measure(bench *b)
{
    sq_status rc = SQ_OK;
    for (int i = 0; i < b->repeats; i++)
        SQ_TRY(time_noise(b, i));
    /* The first one allocates. */
    for (int i = -1; i < b->repeats; i++) {
        double start = sq_cpu_now();
        SQ_TRY(estimate(b, (i + 1) % b->count));
        if (i >= 0)
            b->estimate[i] = 1e3 * (sq_cpu_now() - start);
    }
cleanup:
    return rc;
}

static sq_status write_maps(bench *b)
{
    sq_status rc = SQ_OK;
    const int64_t shape[] = {1, MV + 1, b->flat.ny, b->flat.nx};
    const int64_t noise[] = {1, b->flat.ny, b->flat.nx / 2 + 1};
    double *maps = NULL;
    SQ_TRY(SQ_ALLOC(maps, (MV + 1) * b->pixels, "maps"));
    for (int64_t i = 0; i < b->count; i++) {
        SQ_TRY(estimate(b, i));
        for (int e = 0; e <= MV; e++)
            sq_fft_backward(b->fft, b->kappa[e], maps + e * b->pixels);
        SQ_TRY(sq_h5_append(b->out, "kappa", SQ_F64, 4, shape, maps));
    }
    for (int e = 0; e <= MV; e++) {
        SQ_TRY(e < MV ? sq_quadratic_n0(b->q, (sq_qe)e, b->n0)
                      : sq_quadratic_combined_n0(b->q, ALL, b->use.weight_te, b->n0));
        SQ_TRY(sq_h5_append(b->out, "n0", SQ_F64, 3, noise, b->n0));
    }
cleanup:
    sq_free(maps);
    return rc;
}

static sq_status maximise(bench *b)
{
    sq_status rc = SQ_OK;
    sq_maximum *m = NULL;
    sq_maximum_result result;
    const int64_t shape[] = {1, b->flat.ny, b->flat.nx};
    SQ_TRY(sq_maximum_create(&b->flat, b->lmin, b->lmax, &b->use, b->row[LENSED_BB], b->row[PHI],
                             b->top, b->row[UNLENSED_EE], &m));
    for (int64_t i = 0; i < b->count; i++) {
        double start = sq_cpu_now();
        fields(b, i);
        SQ_TRY(sq_maximum_run(m, b->field[1], b->field[2], NULL, MAP_STEPS, MAP_TOLERANCE,
                              b->kappa[0], NULL, &result));
        printf("%s%.5g", i ? ", " : ",\n \"maximum\": [", 1e3 * (sq_cpu_now() - start));
        sq_fft_backward(b->fft, b->kappa[0], b->map);
        if (b->out)
            SQ_TRY(sq_h5_append(b->out, "maximum", SQ_F64, 3, shape, b->map));
    }
    printf("]");
cleanup:
    sq_maximum_destroy(m);
    return rc;
}

static void print_times(const char *name, const double *ms, int count)
{
    printf(",\n \"%s\": [", name);
    for (int i = 0; i < count; i++)
        printf("%s%.5g", i ? ", " : "", ms[i]);
    printf("]");
}

static sq_status run(bench *b)
{
    sq_status rc = SQ_OK;
    SQ_TRY(read_input(b));
    SQ_TRY(make(b));
    SQ_TRY(b->output ? sq_h5_create(b->output, &b->out) : SQ_OK);
    SQ_TRY(measure(b));
    printf("{\"ny\": %d, \"nx\": %d, \"lmin\": %d, \"lmax\": %d, \"unit\": \"ms of CPU\"",
           b->flat.ny, b->flat.nx, b->lmin, b->lmax);
    print_times("estimate", b->estimate, b->repeats);
    print_times("n0", b->noise, b->repeats);
    SQ_TRY(b->maximum ? maximise(b) : SQ_OK);
    printf("}\n");
    if (b->out) {
        SQ_TRY(write_maps(b));
        sq_h5 *out = b->out;
        b->out = NULL;
        SQ_TRY(sq_h5_close(out));
    }
cleanup:
    return rc;
}

int sq_cli_bench_lensing(int argc, char **argv)
{
    bench b = {0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            return 0;
        }
    }
    sq_status rc = parse(argc, argv, &b);
    if (rc == SQ_OK)
        rc = run(&b);
    drop(&b);
    return rc == SQ_OK ? 0 : sq_cli_fail("bench lensing", rc);
}
