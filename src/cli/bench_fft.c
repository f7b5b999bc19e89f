#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cli/commands.h"
#include "fourier/fft.h"

enum { SIZES_MAX = 32 };

typedef struct options {
    int size[SIZES_MAX][2];
    int sizes, patient, json;
    double seconds;
    const char *wisdom;
} options;

/* Milliseconds of one transform: [single, double][forward, backward]. */
typedef struct timing {
    double ms[2][2];
} timing;

static void help(void)
{
    printf(
        "NAME\n"
        "    skyquilt bench fft - time Fourier transforms; make the wisdom file\n\n"
        "SYNOPSIS\n"
        "    skyquilt bench fft [--sizes LIST] [--wisdom FILE] [--patient] [--seconds S] "
        "[--json]\n\n"
        "DESCRIPTION\n"
        "    Times two-dimensional transforms of real maps, forward and backward, in single and "
        "double\n"
        "    precision, on one thread, twice: with the plans that FFTW chooses without measuring\n"
        "    (what a run uses by default), and with plans chosen by measurement.\n\n"
        "    A run must not depend on timing, so that it never measures plans itself. Measured "
        "plans\n"
        "    reach it through a wisdom file, which is an input like a model: made once with "
        "--wisdom,\n"
        "    named in the run configuration, hashed, and then the only source of plans. A wisdom "
        "file\n"
        "    fits one FFTW build and one kind of CPU.\n\n"
        "OPTIONS\n"
        "    --sizes LIST    sides in pixels, N or NYxNX, separated by commas (at most %d);\n"
        "                    default 128,256,512,1024\n"
        "    --wisdom FILE   write the measured plans of these sizes to FILE, replacing it\n"
        "    --patient       try many more plans: slower to make, up to some 20%% faster to use\n"
        "    --seconds S     time spent on each figure, default 0.1\n"
        "    --json          print JSON instead of the table\n\n"
        "OUTPUT\n"
        "    Milliseconds of one transform (the fastest seen) and GFLOP/s, counting 2.5 N log2 N\n"
        "    operations for N pixels.\n\n"
        "EXIT CODES\n"
        "    0  complete\n"
        "    1  usage error\n"
        "    4  the wisdom file cannot be written, or no memory\n",
        SIZES_MAX);
}

static sq_status parse_sizes(const char *list, options *o)
{
    const char *at = list;
    o->sizes = 0;
    for (;;) {
        char *end;
        long ny = strtol(at, &end, 10), nx = ny;
        int empty = end == at;
        if (!empty && *end == 'x') {
            at = end + 1;
            nx = strtol(at, &end, 10);
            empty = end == at;
        }
        if (empty || (*end && *end != ',') || ny < 1 || nx < 1 || ny > 16384 || nx > 16384)
            return sq_fail(SQ_ERR_USAGE, "--sizes: '%s' is not a list of N or NYxNX in 1..16384",
                           list);
        if (o->sizes == SIZES_MAX)
            return sq_fail(SQ_ERR_USAGE, "--sizes: more than %d sizes", SIZES_MAX);
        o->size[o->sizes][0] = (int)ny;
        o->size[o->sizes++][1] = (int)nx;
        if (!*end)
            return SQ_OK;
        at = end + 1;
    }
}

static sq_status parse(int argc, char **argv, options *o)
{
    sq_status rc = parse_sizes("128,256,512,1024", o);
    o->seconds = 0.1;
    for (int i = 1; i < argc && rc == SQ_OK; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(name, "--patient") == 0) {
            o->patient = 1;
            continue;
        }
        if (strcmp(name, "--json") == 0) {
            o->json = 1;
            continue;
        }
        int known = strcmp(name, "--sizes") == 0 || strcmp(name, "--wisdom") == 0 ||
                    strcmp(name, "--seconds") == 0;
        if (!known)
            return sq_fail(SQ_ERR_USAGE, "'%s' is not an option; see 'skyquilt bench fft --help'",
                           name);
        if (!value)
            return sq_fail(SQ_ERR_USAGE, "%s needs a value", name);
        i++;
        if (strcmp(name, "--wisdom") == 0) {
            o->wisdom = value;
        } else if (strcmp(name, "--sizes") == 0) {
            rc = parse_sizes(value, o);
        } else {
            char *end;
            o->seconds = strtod(value, &end);
            if (end == value || *end || !(o->seconds > 0 && o->seconds <= 60))
                return sq_fail(SQ_ERR_USAGE, "--seconds: '%s' is not within 0..60", value);
        }
    }
    return rc;
}

typedef struct arrays {
    double *map;
    double _Complex *modes;
    float *mapf;
    float _Complex *modesf;
    sq_fft *fft;
    sq_fftf *fftf;
} arrays;

static void transform(arrays *a, int precision, int backward)
{
    if (precision && backward)
        sq_fft_backward(a->fft, a->modes, a->map);
    else if (precision)
        sq_fft_forward(a->fft, a->map, a->modes);
    else if (backward)
        sq_fftf_backward(a->fftf, a->modesf, a->mapf);
    else
        sq_fftf_forward(a->fftf, a->mapf, a->modesf);
}

/* The fastest of the repeats: others that share the machine only ever add to a time. */
static double fastest_ms(arrays *a, int precision, int backward, double seconds)
{
    double best = INFINITY, start = sq_now();
    int repeats = 0;
    while (repeats < 3 || sq_now() - start < seconds) {
        double before = sq_now();
        transform(a, precision, backward);
        double spent = sq_now() - before;
        /* The first one warms the caches. */
        if (repeats++ && spent < best)
            best = spent;
    }
    return 1e3 * best;
}

static sq_status time_size(const options *o, int k, timing *out)
{
    sq_status rc = SQ_OK;
    arrays a = {0};
    int ny = o->size[k][0], nx = o->size[k][1];
    int64_t pixels = (int64_t)ny * nx, modes = (int64_t)ny * (nx / 2 + 1);
    SQ_TRY(SQ_ALLOC(a.map, pixels, "map"));
    SQ_TRY(SQ_ALLOC(a.mapf, pixels, "map"));
    SQ_TRY(SQ_ALLOC(a.modes, modes, "modes"));
    SQ_TRY(SQ_ALLOC(a.modesf, modes, "modes"));
    SQ_TRY(sq_fft_create(ny, nx, &a.fft));
    SQ_TRY(sq_fftf_create(ny, nx, &a.fftf));
    sq_rng rng;
    sq_rng_init(&rng, 1, 0, 0);
    sq_rng_normal_fill(&rng, a.mapf, pixels);
    for (int64_t i = 0; i < pixels; i++)
        a.map[i] = a.mapf[i];
    for (int precision = 0; precision < 2; precision++) {
        for (int backward = 0; backward < 2; backward++)
            out->ms[precision][backward] = fastest_ms(&a, precision, backward, o->seconds);
    }
cleanup:
    sq_fft_destroy(a.fft);
    sq_fftf_destroy(a.fftf);
    sq_free(a.map);
    sq_free(a.mapf);
    sq_free(a.modes);
    sq_free(a.modesf);
    return rc;
}

static double gflops(const options *o, int k, const double ms[2])
{
    double n = (double)o->size[k][0] * o->size[k][1];
    return 2.5 * n * log2(n) / (0.5 * (ms[0] + ms[1])) / 1e6;
}

static void print_json(const options *o, const timing *estimated, const timing *measured)
{
    static const char *const precisions[] = {"single", "double"};
    printf("{\"fftw\": \"%s\", \"results\": [", sq_fft_version());
    for (int k = 0; k < o->sizes; k++) {
        for (int p = 0; p < 2; p++) {
            const double *e = estimated[k].ms[p], *m = measured[k].ms[p];
            printf("%s\n  {\"ny\": %d, \"nx\": %d, \"precision\": \"%s\", "
                   "\"estimated_ms\": [%.5g, %.5g], \"measured_ms\": [%.5g, %.5g], "
                   "\"estimated_gflops\": %.4g, \"measured_gflops\": %.4g}",
                   k || p ? "," : "", o->size[k][0], o->size[k][1], precisions[p], e[0], e[1], m[0],
                   m[1], gflops(o, k, e), gflops(o, k, m));
        }
    }
    printf("\n]}\n");
}

static void print_table(const options *o, const timing *estimated, const timing *measured)
{
    printf("%s, one thread\n", sq_fft_version());
    printf("%-12s %-7s %33s   %33s\n", "", "", "------- estimated plan ------",
           "------- measured plan -------");
    printf("%-12s %-7s %10s %11s %10s   %10s %11s %10s\n", "size", "", "forward ms", "backward ms",
           "GFLOP/s", "forward ms", "backward ms", "GFLOP/s");
    for (int k = 0; k < o->sizes; k++) {
        char size[32];
        snprintf(size, sizeof size, "%dx%d", o->size[k][0], o->size[k][1]);
        for (int p = 0; p < 2; p++) {
            const double *e = estimated[k].ms[p], *m = measured[k].ms[p];
            printf("%-12s %-7s %10.4g %11.4g %10.3g   %10.4g %11.4g %10.3g\n", size,
                   p ? "double" : "single", e[0], e[1], gflops(o, k, e), m[0], m[1],
                   gflops(o, k, m));
        }
    }
}

int sq_cli_bench_fft(int argc, char **argv)
{
    sq_status rc = SQ_OK;
    options o = {0};
    timing estimated[SIZES_MAX], measured[SIZES_MAX];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            help();
            return 0;
        }
    }
    SQ_TRY(parse(argc, argv, &o));
    /* Estimated plans come first: afterwards the planner knows the measured ones. */
    sq_fft_wisdom_forget();
    for (int k = 0; k < o.sizes; k++)
        SQ_TRY(time_size(&o, k, &estimated[k]));
    for (int k = 0; k < o.sizes; k++)
        SQ_TRY(sq_fft_wisdom_learn(o.size[k][0], o.size[k][1], o.patient));
    for (int k = 0; k < o.sizes; k++)
        SQ_TRY(time_size(&o, k, &measured[k]));
    if (o.wisdom)
        SQ_TRY(sq_fft_wisdom_save(o.wisdom));
    (o.json ? print_json : print_table)(&o, estimated, measured);
cleanup:
    return rc == SQ_OK ? 0 : sq_cli_fail("bench fft", rc);
}
