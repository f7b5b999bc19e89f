#include "store/verify.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "cli/commands.h"
#include "run/inputs.h"
#include "store/ledger.h"
#include "store/tile_index.h"

static const char help[] =
    "NAME\n"
    "    skyquilt verify - check hashes, counts and manifests\n\n"
    "SYNOPSIS\n"
    "    skyquilt verify [--inputs] PATH...\n\n"
    "DESCRIPTION\n"
    "    A release: the XXH3 of all its bytes against the seal in its first 512 bytes, so that any "
    "flipped bit is\n"
    "    found, also in attributes, in /run and in HDF5's own structures; then every dataset's "
    "type, shape,\n"
    "    attributes and content against the manifest, so that the line says which one, and that "
    "the columns of a\n"
    "    table have one length.\n"
    "    A tile index: the XXH3 of all its bytes against its seal, and that its columns agree with "
    "one another.\n"
    "    An output folder: every byte of the ledger (each line has a checksum that covers the line "
    "before it);\n"
    "    every record of the shards that the ledger names, header and content; the files of "
    "finished phases and\n"
    "    run.yaml, every byte; tiles.h5; and the release when there is one, which must be the one "
    "that the\n"
    "    ledger names.\n"
    "    Not covered: records in shards that no line of the ledger names (a killed run leaves "
    "some; nothing reads\n"
    "    them), tiles.bad and exit.json.\n"
    "    Everything is read once, by one process; nothing is written.\n\n"
    "OPTIONS\n"
    "    --inputs    of a tile index, also that its input files are there with the size and time "
    "that were\n"
    "                indexed. Of an output folder, also the model against the hash in the ledger, "
    "every byte; and\n"
    "                every patch that is done is read again: pixels, masks, PSF and calibration, "
    "as far as they\n"
    "                were used, against the hash that was committed with it. Bytes of input files "
    "that no patch\n"
    "                used (comments in headers, padding, other HDUs, mask bits without a meaning,\n"
    "                which NaN it is, denormals) are not covered\n\n"
    "EXIT CODES\n"
    "    0  everything is as it was written\n"
    "    1  usage error\n"
    "    4  something differs, or cannot be read: one line each on standard error\n";

typedef struct session {
    int inputs;
    int64_t problems;
    sq_verify_report total;
} session;

static void show(void *user, const char *line)
{
    session *s = user;
    s->problems++;
    fprintf(stderr, "skyquilt verify: %s\n", line);
}

static void show_error(session *s)
{
    show(s, sq_error());
}

static void add(session *s, const sq_verify_report *r)
{
    s->total.datasets += r->datasets;
    s->total.rows += r->rows;
    s->total.records += r->records;
    s->total.lines += r->lines;
    s->total.tiles += r->tiles;
    s->total.bytes += r->bytes;
}

/* ---- A release ---- */

static void verify_release(session *s, const char *path, const sq_hash *expected)
{
    sq_verify_report report;
    char text[SQ_HASH_TEXT];
    int64_t before = s->problems;
    sq_status rc = sq_verify_release(path, show, s, &report);
    if (rc != SQ_OK && s->problems == before)
        show_error(s);
    add(s, &report);
    if (rc != SQ_OK)
        return;
    sq_hash_text(report.manifest, text);
    printf("%s: release with %lld datasets, %.1f MB, manifest %s: ok\n", path,
           (long long)report.datasets, (double)report.bytes / 1e6, text);
    if (expected && !sq_hash_equal(*expected, report.manifest)) {
        sq_fail(SQ_ERR_CORRUPT, "%s: is not the release that the ledger names", path);
        show_error(s);
    }
}

/* ---- A tile index ---- */

static void check_input(session *s, const char *tile, const sq_file_identity *file)
{
    struct stat info;
    if (!file->path)
        return;
    if (stat(file->path, &info) != 0)
        sq_fail(SQ_ERR_CHANGED, "tile %s: %s: %s", tile, file->path, strerror(errno));
    else if (info.st_size != file->size)
        sq_fail(SQ_ERR_CHANGED, "tile %s: %s: %lld bytes, indexed with %lld", tile, file->path,
                (long long)info.st_size, (long long)file->size);
    else if (fabs((double)info.st_mtim.tv_sec + 1e-9 * (double)info.st_mtim.tv_nsec - file->mtime) >
             1e-3)
        sq_fail(SQ_ERR_CHANGED, "tile %s: %s: written since it was indexed", tile, file->path);
    else
        return;
    show_error(s);
}

static sq_status check_tile(void *user, const sq_tile *tile)
{
    session *s = user;
    s->total.tiles++;
    if (!s->inputs)
        return SQ_OK;
    check_input(s, tile->name, &tile->psf);
    check_input(s, tile->name, &tile->calibration);
    for (int b = 0; b < tile->nband; b++) {
        check_input(s, tile->name, &tile->band[b].image);
        check_input(s, tile->name, &tile->band[b].mask);
    }
    return SQ_OK;
}

static void verify_index(session *s, const char *path)
{
    int64_t tiles = s->total.tiles, before = s->problems;
    sq_verify_report report;
    if (sq_verify_sealed(path, show, s, &report) != SQ_OK && s->problems == before)
        show_error(s);
    add(s, &report);
    if (sq_tile_index_read(path, check_tile, s) != SQ_OK) {
        show_error(s);
        return;
    }
    if (s->problems == before)
        printf("%s: index of %lld tiles%s: ok\n", path, (long long)(s->total.tiles - tiles),
               s->inputs ? ", inputs unchanged" : "");
}

/* ---- An output folder ---- */

enum { MAX_PHASES = 64 };

typedef struct ledger_facts {
    int has_phase[MAX_PHASES], has_release;
    sq_hash phase[MAX_PHASES], release;
} ledger_facts;

static sq_status note(void *user, const sq_event *event, int64_t line)
{
    ledger_facts *f = user;
    (void)line;
    if (event->kind == SQ_EVENT_BARRIER && event->phase < MAX_PHASES) {
        f->has_phase[event->phase] = event->config.low || event->config.high;
        f->phase[event->phase] = event->config;
    }
    if (event->kind == SQ_EVENT_REDUCE) {
        f->has_release = 1;
        f->release = event->config;
    }
    return SQ_OK;
}

static void verify_phase(session *s, const char *path, sq_hash expected)
{
    sq_hash now;
    if (sq_hash_file(path, &now) != SQ_OK) {
        show_error(s);
    } else if (!sq_hash_equal(now, expected)) {
        sq_fail(SQ_ERR_CORRUPT, "%s: content changed since the phase ended", path);
        show_error(s);
    } else {
        printf("%s: ok\n", path);
    }
}

static void verify_ledger(session *s, const char *ledger, const char *shards)
{
    sq_verify_report report;
    int64_t before = s->problems;
    sq_status rc = sq_verify_run(ledger, shards, show, s, &report);
    if (rc != SQ_OK && s->problems == before)
        show_error(s);
    add(s, &report);
    if (rc == SQ_OK)
        printf("%s: %lld lines, %lld records, %.1f MB: ok\n", ledger, (long long)report.lines,
               (long long)report.records, (double)report.bytes / 1e6);
}

/* What else a run leaves, and what it was made from. */
static void verify_config(session *s, const char *folder)
{
    if (sq_run_verify_config(folder) == SQ_OK)
        printf("%s/run.yaml: ok\n", folder);
    else
        show_error(s);
}

static void verify_inputs(session *s, const char *folder)
{
    sq_inputs_report report;
    int64_t before = s->problems;
    sq_status rc = sq_cli_register_probes();
    if (rc == SQ_OK)
        rc = sq_run_verify_inputs(folder, show, s, &report);
    if (rc != SQ_OK)
        show_error(s);
    else if (s->problems == before)
        printf("%s: inputs of %lld patches, %lld model%s: ok\n", folder, (long long)report.patches,
               (long long)report.models, report.models == 1 ? "" : "s");
}

static void verify_folder(session *s, const char *folder)
{
    char ledger[SQ_PATH_MAX], path[SQ_PATH_MAX];
    ledger_facts facts = {0};
    snprintf(ledger, sizeof ledger, "%.900s/ledger", folder);
    snprintf(path, sizeof path, "%.900s/shards", folder);
    if (access(ledger, F_OK) != 0) {
        sq_fail(SQ_ERR_FORMAT, "%s: not an output folder: it has no ledger", folder);
        show_error(s);
        return;
    }
    verify_ledger(s, ledger, path);
    /* What cannot be replayed was reported above. */
    if (sq_ledger_replay(ledger, note, &facts, NULL) != SQ_OK)
        sq_error_clear();
    for (int p = 0; p < MAX_PHASES; p++) {
        snprintf(path, sizeof path, "%.900s/phase-%d", folder, p);
        if (facts.has_phase[p])
            verify_phase(s, path, facts.phase[p]);
    }
    snprintf(path, sizeof path, "%.900s/run.yaml", folder);
    if (access(path, F_OK) == 0)
        verify_config(s, folder);
    snprintf(path, sizeof path, "%.900s/tiles.h5", folder);
    if (access(path, F_OK) == 0)
        verify_index(s, path);
    if (s->inputs)
        verify_inputs(s, folder);
    snprintf(path, sizeof path, "%.900s/release.h5", folder);
    if (access(path, F_OK) == 0)
        verify_release(s, path, facts.has_release ? &facts.release : NULL);
    else if (facts.has_release) {
        sq_fail(SQ_ERR_CORRUPT, "%s: the ledger names a release, but it is not there", path);
        show_error(s);
    }
}

/* Both begin with a seal that says what they are. */
static int begins_like_an_index(const char *path)
{
    static const char seal[] = "skyquilt data";
    char first[sizeof seal - 1] = "";
    FILE *file = fopen(path, "rb");
    if (!file)
        return 0;
    size_t n = fread(first, 1, sizeof first, file);
    fclose(file);
    return n == sizeof first && memcmp(first, seal, sizeof first) == 0;
}

static void verify_path(session *s, const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
        show_error(s);
    } else if (S_ISDIR(info.st_mode)) {
        verify_folder(s, path);
    } else if (begins_like_an_index(path)) {
        verify_index(s, path);
    } else {
        verify_release(s, path, NULL);
    }
}

int sq_cli_verify(int argc, char **argv)
{
    session s = {0};
    int paths = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--inputs") == 0)
            s.inputs = 1;
        else if (argv[i][0] == '-')
            return sq_cli_fail("verify",
                               sq_fail(SQ_ERR_USAGE, "unknown option '%s'; see --help", argv[i]));
        else
            paths++;
    }
    if (!paths)
        return sq_cli_fail("verify", sq_fail(SQ_ERR_USAGE, "no PATH given; see --help"));
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-')
            verify_path(&s, argv[i]);
    }
    if (s.problems)
        fprintf(stderr, "skyquilt verify: %lld problem%s\n", (long long)s.problems,
                s.problems == 1 ? "" : "s");
    return s.problems ? 4 : 0;
}
