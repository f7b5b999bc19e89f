#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/mem.h"
#include "catalog/training.h"
#include "cli/commands.h"
#include "par/comm.h"
#include "run/yaml.h"
#include "sim/optical.h"

typedef struct options {
    const char *sky, *output, *training;
    int64_t seed, samples, first, side, tile, sources; /* -1: not given */
    double limit, min_snr, margin;
    int truth_only, quiet;
} options;

static void help(void)
{
    sq_sim_optical_config defaults;
    printf(
        "NAME\n"
        "    skyquilt simulate - make tiles with truth, and training sets\n\n"
        "SYNOPSIS\n"
        "    [mpirun -n RANKS] skyquilt simulate SKY.yaml --output DIR [--seed N] [--truth-only]\n"
        "    skyquilt simulate SKY.yaml --training FILE.h5 [--samples N] [--side N] [--seed N] "
        "...\n\n"
        "DESCRIPTION\n"
        "    Simulates optical images of stars and of galaxies with an exponential disk and a\n"
        "    de Vaucouleurs bulge, with a PSF, sky and noise that vary over the tile, and with "
        "the\n"
        "    usual defects, each with its mask bit. Every part of the survey depends on the seed "
        "and\n"
        "    its place alone, so that the output is the same for any number of ranks.\n\n"
        "    With --output, each tile becomes NAME-BAND.fits (LSST afw Exposures: image, mask and\n"
        "    variance in nJy) and NAME-psf.fits (the PSF and the sky level on a grid), and "
        "DIR/truth.h5\n"
        "    lists the sources, one-dimensional columns: tile, x, y (0-based pixels), ra, dec "
        "(deg),\n"
        "    flux_BAND (nJy), star, bulge_fraction, radius (arcsec, half light, circularised), e1, "
        "e2\n"
        "    ((a-b)/(a+b), from +x to +y), and the same of disk and bulge. Tiles that are there "
        "already\n"
        "    are kept when all their files are complete; DIR/sky.yaml records the "
        "configuration.\n\n"
        "    With --training, square patches, each under conditions and at a source density of its "
        "own,\n"
        "    go to one HDF5 file: image (divided by the sky rms), planes, mf_flux, mf_error, "
        "mf_peak,\n"
        "    sigma, count and source, with the fields of `source` in an attribute.\n\n"
        "OPTIONS\n"
        "    --output DIR      write tiles and truth.h5 there\n"
        "    --training FILE   write a training set; one process\n"
        "    --seed N          instead of the seed in SKY.yaml\n"
        "    --truth-only      no tiles, only truth.h5\n"
        "    --samples N       training: number of patches, default 1024\n"
        "    --first N         training: number of the first patch in the seed's stream, default "
        "0\n"
        "    --side N          training: side of a patch in pixels, default 80\n"
        "    --tile N          training: side of a detection tile, default 4\n"
        "    --sources N       training: room for so many sources a patch (brightest first)\n"
        "    --limit MAG       training: list sources to this r magnitude, default 24 (sdss), 27.5 "
        "(lsst)\n"
        "    --min-snr S       training: and those with a PSF S/N above S in a band; 0 (default): "
        "no rule\n"
        "    --margin PIX      training: and those so far outside the patch, default 0\n"
        "    --quiet           no progress lines\n\n"
        "KEYS OF SKY.yaml (defaults of the preset sdss)\n");
    sq_sim_optical_defaults(SQ_SIM_SDSS, &defaults);
    sq_yaml_print_help(sq_sim_optical_fields, &defaults, stdout);
    printf("\nKEYS OF SKY.yaml (defaults of the preset lsst)\n");
    sq_sim_optical_defaults(SQ_SIM_LSST, &defaults);
    sq_yaml_print_help(sq_sim_optical_fields, &defaults, stdout);
    printf("\nEXAMPLE\n"
           "    echo 'preset: sdss' > sky.yaml\n"
           "    mpirun -n 4 skyquilt simulate sky.yaml --output sky\n"
           "    skyquilt simulate sky.yaml --training set.h5 --samples 4096 --seed 7\n\n"
           "EXIT CODES\n"
           "    0  complete\n"
           "    1  usage or configuration error\n"
           "    4  a file cannot be written, or no memory\n");
}

static sq_status whole(const char *name, const char *text, int64_t low, int64_t high, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < low || value > high)
        return sq_fail(SQ_ERR_USAGE, "%s: '%s' is not a whole number in %lld..%lld", name, text,
                       (long long)low, (long long)high);
    *out = value;
    return SQ_OK;
}

static sq_status real(const char *name, const char *text, double low, double high, double *out)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= low && value <= high))
        return sq_fail(SQ_ERR_USAGE, "%s: '%s' is not a number in %g..%g", name, text, low, high);
    *out = value;
    return SQ_OK;
}

static sq_status option(options *o, const char *name, const char *value)
{
    const struct {
        const char *name;
        int64_t low, high, *out;
    } wholes[] = {{"--seed", 0, 1LL << 53, &o->seed},   {"--samples", 1, 1LL << 35, &o->samples},
                  {"--first", 0, 1LL << 35, &o->first}, {"--side", 4, 4096, &o->side},
                  {"--tile", 1, 16, &o->tile},          {"--sources", 1, 1 << 20, &o->sources}};
    for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
        if (strcmp(name, wholes[i].name) == 0)
            return whole(name, value, wholes[i].low, wholes[i].high, wholes[i].out);
    }
    if (strcmp(name, "--limit") == 0)
        return real(name, value, 10, 35, &o->limit);
    if (strcmp(name, "--min-snr") == 0)
        return real(name, value, 0, 1e6, &o->min_snr);
    if (strcmp(name, "--margin") == 0)
        return real(name, value, 0, 1000, &o->margin);
    if (strcmp(name, "--output") == 0)
        o->output = value;
    else if (strcmp(name, "--training") == 0)
        o->training = value;
    else
        return sq_fail(SQ_ERR_USAGE, "'%s' is not an option; see 'skyquilt simulate --help'", name);
    return SQ_OK;
}

static sq_status parse(int argc, char **argv, options *o)
{
    *o = (options){.seed = -1,
                   .samples = -1,
                   .first = -1,
                   .side = -1,
                   .tile = -1,
                   .sources = -1,
                   .limit = -1,
                   .min_snr = -1,
                   .margin = -1};
    for (int i = 1; i < argc; i++) {
        sq_status rc = SQ_OK;
        if (strcmp(argv[i], "--truth-only") == 0)
            o->truth_only = 1;
        else if (strcmp(argv[i], "--quiet") == 0)
            o->quiet = 1;
        else if (argv[i][0] != '-' && !o->sky)
            o->sky = argv[i];
        else if (argv[i][0] != '-')
            return sq_fail(SQ_ERR_USAGE, "more than one configuration: %s, %s", o->sky, argv[i]);
        else if (i + 1 == argc)
            return sq_fail(SQ_ERR_USAGE, "%s: a value is missing, or this is not an option",
                           argv[i]);
        else {
            rc = option(o, argv[i], argv[i + 1]);
            i++;
        }
        if (rc != SQ_OK)
            return rc;
    }
    if (!o->sky)
        return sq_fail(SQ_ERR_USAGE, "name a SKY.yaml; see 'skyquilt simulate --help'");
    if (!o->output == !o->training)
        return sq_fail(SQ_ERR_USAGE, "give one of --output DIR and --training FILE");
    return SQ_OK;
}

/* The preset decides the defaults, so the file is read twice. */
static sq_status load(const options *o, sq_sim_optical_config *config)
{
    sq_sim_optical_defaults(SQ_SIM_SDSS, config);
    sq_status rc = sq_yaml_load(o->sky, sq_sim_optical_fields, config);
    if (rc != SQ_OK)
        return rc;
    int preset = config->preset;
    sq_yaml_free(sq_sim_optical_fields, config);
    sq_sim_optical_defaults((sq_sim_preset)preset, config);
    rc = sq_yaml_load(o->sky, sq_sim_optical_fields, config);
    if (rc == SQ_OK && o->seed >= 0)
        config->seed = o->seed;
    return rc;
}

static sq_status training(const options *o, const sq_sim_optical_config *config)
{
    sq_training_options t;
    sq_training_defaults(config->preset, &t);
    t.seed = (uint64_t)config->seed;
    t.samples = o->samples > 0 ? o->samples : t.samples;
    t.first = o->first >= 0 ? o->first : t.first;
    t.side = o->side > 0 ? (int)o->side : t.side;
    t.tile = o->tile > 0 ? (int)o->tile : t.tile;
    t.sources = o->sources > 0 ? (int)o->sources : t.sources;
    t.limit = o->limit > 0 ? o->limit : t.limit;
    t.min_snr = o->min_snr >= 0 ? o->min_snr : t.min_snr;
    t.margin = o->margin >= 0 ? o->margin : t.margin;
    double start = sq_now();
    sq_status rc = sq_training_write(o->training, config, &t);
    if (rc == SQ_OK && !o->quiet)
        fprintf(stderr, "simulate: %lld patches of %d pixels in %.1f s: %s\n", (long long)t.samples,
                t.side, sq_now() - start, o->training);
    return rc;
}

static sq_status make_folder(const char *path)
{
    char part[PATH_MAX];
    if (strlen(path) >= sizeof part)
        return sq_fail(SQ_ERR_USAGE, "%.80s...: path is too long", path);
    for (size_t i = 1; i <= strlen(path); i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        snprintf(part, i + 1, "%s", path);
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return sq_fail(SQ_ERR_IO, "%s: %s", part, strerror(errno));
    }
    return SQ_OK;
}

/* A file has its final name only when complete, and the PSF grid comes last. */
static int tile_is_there(const sq_sim_optical *sim, int64_t tile, const char *folder)
{
    char name[64], path[PATH_MAX];
    struct stat st;
    sq_sim_optical_tile_name(sim, tile, name);
    snprintf(path, sizeof path, "%.3900s/%s-psf.fits", folder, name);
    return stat(path, &st) == 0;
}

/* This rank's tiles: every size-th, from its own number on. */
static sq_status make_tiles(const options *o, sq_sim_optical *sim, int rank, int size)
{
    int64_t tiles = sq_sim_optical_tiles(sim);
    double start = sq_now();
    for (int64_t t = rank; t < tiles; t += size) {
        if (tile_is_there(sim, t, o->output))
            continue;
        sq_status rc = sq_sim_optical_write_tile(sim, t, o->output);
        if (rc != SQ_OK)
            return rc;
        if (!o->quiet && rank == 0)
            fprintf(stderr, "simulate: tile %lld of %lld, %.1f s\n", (long long)t + 1,
                    (long long)tiles, sq_now() - start);
    }
    return SQ_OK;
}

/* Write DIR/sky.yaml, or see that the one that is there says the same: tiles that exist are kept.
 */
static sq_status record_configuration(const options *o, const sq_sim_optical_config *config)
{
    char path[PATH_MAX], *text = NULL, *old = NULL;
    FILE *file = NULL;
    sq_status rc = SQ_OK;
    snprintf(path, sizeof path, "%.3900s/sky.yaml", o->output);
    SQ_TRY(sq_yaml_canonical(sq_sim_optical_fields, config, &text));
    size_t size = strlen(text);
    file = fopen(path, "r");
    if (file) {
        SQ_TRY(SQ_ALLOC(old, size + 2, "configuration"));
        size_t held = fread(old, 1, size + 1, file);
        fclose(file);
        if (held != size || memcmp(old, text, size) != 0)
            rc = sq_fail(SQ_ERR_CONFIG,
                         "%s: another survey was simulated here; choose another folder", path);
        goto cleanup;
    }
    file = fopen(path, "w");
    int failed = !file || fputs(text, file) < 0;
    failed |= file && fclose(file) != 0;
    if (failed)
        rc = sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
cleanup:
    sq_free(text);
    sq_free(old);
    return rc;
}

static sq_status survey(const options *o, const sq_sim_optical_config *config)
{
    sq_sim_optical *sim = NULL;
    char path[PATH_MAX];
    const sq_comm *world = sq_comm_world();
    sq_status rc = SQ_OK;
    int rank = sq_comm_rank(world);
    SQ_TRY_ALL(world, sq_sim_optical_create(config, &sim));
    sq_status mine = rank == 0 ? make_folder(o->output) : SQ_OK;
    if (rank == 0 && mine == SQ_OK)
        mine = record_configuration(o, config);
    SQ_TRY_ALL(world, mine);
    if (!o->truth_only)
        SQ_TRY_ALL(world, make_tiles(o, sim, rank, sq_comm_size(world)));
    snprintf(path, sizeof path, "%.3900s/truth.h5", o->output);
    SQ_TRY_ALL(world, rank == 0 ? sq_sim_optical_write_truth(sim, path) : SQ_OK);
cleanup:
    sq_sim_optical_destroy(sim);
    return rc;
}

int sq_cli_simulate(int argc, char **argv)
{
    sq_sim_optical_config config = {0};
    options o;
    sq_status rc = SQ_OK;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            help();
            return 0;
        }
    }
    int loaded = 0;
    SQ_TRY(parse(argc, argv, &o));
    /* Training sets are made by one process, which a trainer starts often: without message passing.
     */
    if (o.training) {
        SQ_TRY(load(&o, &config));
        loaded = 1;
        SQ_TRY(training(&o, &config));
    } else {
        SQ_TRY(sq_comm_init(&argc, &argv));
        sq_status mine = load(&o, &config);
        loaded = mine == SQ_OK;
        SQ_TRY(sq_comm_agree(sq_comm_world(), mine));
        SQ_TRY(survey(&o, &config));
    }
cleanup:
    if (loaded)
        sq_yaml_free(sq_sim_optical_fields, &config);
    int code = 0, speaks = !sq_comm_running() || sq_comm_rank(sq_comm_world()) == 0;
    if (rc != SQ_OK)
        code = speaks ? sq_cli_fail("simulate", rc) : sq_exit_code(rc);
    if (sq_comm_running())
        sq_comm_finalize();
    return code;
}
