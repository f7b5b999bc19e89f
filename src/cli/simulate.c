#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/files.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/simulate.h"
#include "par/comm.h"
#include "run/yaml.h"

typedef sq_simulate_options options;

static void help(void)
{
    printf(
        "NAME\n"
        "    skyquilt simulate - make skies with truth, and training sets\n\n"
        "SYNOPSIS\n"
        "    [mpirun -n RANKS] skyquilt simulate SKY.yaml --output DIR [--seed N] [--truth-only]\n"
        "    skyquilt simulate SKY.yaml --training FILE.h5 [--samples N] [--seed N] ...\n\n"
        "DESCRIPTION\n"
        "    The key `preset` of SKY.yaml says what is simulated: sdss or lsst, optical images; "
        "mm,\n"
        "    maps of the millimetre sky; cmb, maps of the lensed CMB. Every part of a survey "
        "depends\n"
        "    on the seed and its place alone, so that the output is the same for any number of\n"
        "    ranks. Files that are there already are kept: each has its final name only when it "
        "is\n"
        "    complete. DIR/sky.yaml records the configuration.\n\n"
        "    sdss, lsst: stars, and galaxies with an exponential disk and a de Vaucouleurs bulge,\n"
        "    with a PSF, sky and noise that vary over the tile, and with the usual defects, each\n"
        "    with its mask bit. Each tile becomes NAME-BAND.fits (LSST afw Exposures: image, mask\n"
        "    and variance in nJy) and NAME-psf.fits (the PSF and the sky level on a grid), or, "
        "with\n"
        "    `format: cell_coadd`, LSST cell coadds NAME-BAND.fits that hold all of it, and\n"
        "    DIR/truth.h5 lists the sources, one-dimensional columns: tile, x, y (0-based "
        "pixels),\n"
        "    ra, dec (deg), flux_BAND (nJy), star, bulge_fraction, radius (arcsec, half light,\n"
        "    circularised), e1, e2 ((a-b)/(a+b), from +x to +y), and the same of disk and bulge.\n"
        "    Training: square patches, each under conditions and at a source density of its own:\n"
        "    image (divided by the sky rms), planes, mf_flux, mf_error, mf_peak, sigma, count and\n"
        "    source, with the fields of `source` in an attribute.\n\n"
        "    mm: thermal and kinetic SZ effect of clusters, lensed CMB, dust, radio sources, "
        "beams\n"
        "    and noise, in square fields that stand apart on the sky. Each field becomes\n"
        "    field-NNN-BAND.fits with the planes I (uK or K) and ivar (or ivar and hits in files\n"
        "    of their own), BAND being the frequency in GHz; beam-BAND.txt is the beam. A map "
        "that\n"
        "    is not ZEA covers its field; pixels outside are NaN. DIR/truth.h5 has the groups\n"
        "    halos (field, x, y, ra, dec, z, m500, m200m, mvir, y0, theta500, velocity) and\n"
        "    sources (field, x, y, ra, dec, flux, alpha, cluster); field-NNN-truth.h5 the same of\n"
        "    one field. Training: --samples fields with network inputs, halos and cutouts.\n\n"
        "    cmb makes the same fields with the planes Q and U (IAU, about north) beside I, of the "
        "lensed\n"
        "    CMB of the fiducial spectra or of CAMB's lenspotentialCls in a file "
        "(tools/cosmologies\n"
        "    has some), in splits with noise of their own if wanted; field-NNN-kappa.fits is the\n"
        "    true convergence, field-NNN-mask.fits a mask. What the preset mm has besides is "
        "there\n"
        "    on demand: set tsz, velocity, dust or radio to 1. Training: periodic boxes of lensed\n"
        "    polarisation with noise, the network's inputs and what it is to say.\n\n"
        "OPTIONS\n"
        "    --output DIR      write the survey there\n"
        "    --training FILE   write a training set; one process\n"
        "    --seed N          instead of the seed in SKY.yaml\n"
        "    --truth-only      no images, only truth\n"
        "    --samples N       training: number of patches, default 1024 (mm: fields, 8)\n"
        "    --first N         training: number of the first one in the seed's stream, default 0\n"
        "    --quiet           no progress lines\n"
        "  Training, sdss and lsst\n"
        "    --side N          side of a patch in pixels, default 80\n"
        "    --tile N          side of a detection tile, default 4\n"
        "    --sources N       room for so many sources a patch (brightest first)\n"
        "    --limit MAG       list sources to this r magnitude, default 24 (sdss), 27.5 (lsst)\n"
        "    --min-snr S       and those with a PSF S/N above S in a band; 0 (default): no rule\n"
        "    --margin PIX      and those so far outside the patch, default 0\n"
        "  Training, mm\n"
        "    --halos N         room for so many halos a field (heaviest first)\n"
        "    --cutouts N       cutouts a field\n"
        "    --mass-min MSUN   list halos of a virial mass above this\n"
        "    --fixed           no field changes the configuration\n"
        "  Training, cmb\n"
        "    --fixed           noise, beam and amplitude of SKY.yaml; maps to compare with\n"
        "    --maximum N       so many of them with a maximum a posteriori map, default 0\n");
    sq_simulate_optical_help();
    sq_simulate_mm_help();
    sq_simulate_cmb_help();
    printf("\nEXAMPLE\n"
           "    echo 'preset: sdss' > sky.yaml\n"
           "    mpirun -n 4 skyquilt simulate sky.yaml --output sky\n"
           "    printf 'preset: mm\\nfields: 5\\nprojection: car\\n' > mm.yaml\n"
           "    mpirun -n 4 skyquilt simulate mm.yaml --output mm\n"
           "    skyquilt simulate sky.yaml --training set.h5 --samples 4096 --seed 7\n"
           "    printf 'preset: cmb\\nsplits: 4\\nnoise: [1]\\n' > cmb.yaml\n"
           "    mpirun -n 4 skyquilt simulate cmb.yaml --output cmb\n\n"
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
    } wholes[] = {{"--seed", 0, 1LL << 53, &o->seed},    {"--samples", 1, 1LL << 35, &o->samples},
                  {"--first", 0, 1LL << 35, &o->first},  {"--side", 4, 4096, &o->side},
                  {"--tile", 1, 16, &o->tile},           {"--sources", 1, 1 << 20, &o->sources},
                  {"--halos", 1, 1 << 20, &o->halos},    {"--cutouts", 0, 1 << 20, &o->cutouts},
                  {"--maximum", 0, 1 << 20, &o->maximum}};
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
    if (strcmp(name, "--mass-min") == 0)
        return real(name, value, 1e12, 1e16, &o->mass_min);
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
                   .margin = -1,
                   .halos = -1,
                   .cutouts = -1,
                   .maximum = -1,
                   .mass_min = -1};
    for (int i = 1; i < argc; i++) {
        sq_status rc = SQ_OK;
        if (strcmp(argv[i], "--truth-only") == 0)
            o->truth_only = 1;
        else if (strcmp(argv[i], "--fixed") == 0)
            o->fixed = 1;
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

static sq_status record(const char *folder, const sq_config_field *fields, const void *config)
{
    char path[PATH_MAX], *text = NULL, *old = NULL;
    FILE *file = NULL;
    sq_status rc = SQ_OK;
    snprintf(path, sizeof path, "%.3900s/sky.yaml", folder);
    SQ_TRY(sq_yaml_canonical(fields, config, &text));
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

sq_status sq_simulate_folder(const options *o, const sq_config_field *fields, const void *config)
{
    sq_status rc = make_folder(o->output);
    return rc == SQ_OK ? record(o->output, fields, config) : rc;
}

/* The preset decides which keys there are: the first line that begins with the key. Whatever else
 * is wrong with the file is found when it is loaded. */
static sq_status find_preset(const char *path, char out[16])
{
    sq_status rc = SQ_OK;
    char *text = NULL;
    size_t size;
    snprintf(out, 16, "sdss");
    SQ_TRY(sq_file_read(path, 1 << 20, &text, &size));
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "preset : %15[a-z0-9_]", out) == 1)
            break;
    }
cleanup:
    sq_free(text);
    return rc;
}

static sq_status simulate(const options *o, int collective)
{
    char preset[16];
    sq_status rc = find_preset(o->sky, preset);
    if (collective)
        rc = sq_comm_agree(sq_comm_world(), rc);
    if (rc != SQ_OK)
        return rc;
    return strcmp(preset, "mm") == 0    ? sq_simulate_mm(o, collective)
           : strcmp(preset, "cmb") == 0 ? sq_simulate_cmb(o, collective)
                                        : sq_simulate_optical(o, collective);
}

int sq_cli_simulate(int argc, char **argv)
{
    options o;
    sq_status rc = SQ_OK;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            help();
            return 0;
        }
    }
    SQ_TRY(parse(argc, argv, &o));
    /* Training sets are made by one process, which a trainer starts often: without message passing.
     */
    if (o.output)
        SQ_TRY(sq_comm_init(&argc, &argv));
    SQ_TRY(simulate(&o, o.output != NULL));
cleanup:;
    int code = 0, speaks = !sq_comm_running() || sq_comm_rank(sq_comm_world()) == 0;
    if (rc != SQ_OK)
        code = speaks ? sq_cli_fail("simulate", rc) : sq_exit_code(rc);
    if (sq_comm_running())
        sq_comm_finalize();
    return code;
}
