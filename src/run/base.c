#include "run/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/paths.h"
#include "store/archive.h"
#include "store/ledger.h"
#include "store/merge.h"
#include "store/tensor.h"
#include "store/tile_index.h"

enum { HEX = SQ_HASH_TEXT - 1 };

const char *const sq_base_reason_name[SQ_BASE_REASONS] = {
    "taken over", "input read first", "code",       "model", "configuration", "input",
    "new",        "failed before",    "record lost"};

/* ---- What an earlier release says ---- */

/* The last commit of a task in the earlier ledger. */
typedef struct old_record {
    uint64_t patch, order, offset, length; /* length 0: void */
    uint32_t phase, realisation;
    sq_hash input;
    char segment[SQ_SEGMENT_NAME];
} old_record;

enum { SAME_GEOMETRY = 1, SAME_FILES = 2 };

typedef struct old_release {
    const sq_survey *survey; /* the present one */
    const char *path;
    sq_hash identity;
    sq_base_reason differs; /* of all its tasks; SQ_BASE_SAME: nothing does */
    int64_t tasks, tiles;
    uint32_t *phase, *realisation, *tile, *state;
    uint64_t *patch;
    char *input;                    /* [tasks][HEX] */
    char *name;                     /* [tiles][SQ_NAME_MAX] */
    char *geometry, *files;         /* [tiles][HEX]; NULL for maps */
    int64_t *now;                   /* [tiles] number in the present survey, -1: none */
    uint8_t *same; /* [tiles] SAME_GEOMETRY and SAME_FILES where the present survey has them */
    uint64_t *first[SQ_MAX_PHASES]; /* [max(tiles, 1)] least patch */
    sq_hash phase_hash[SQ_MAX_PHASES];
    /* Where its records are. */
    old_record *record; /* of the ledger, sorted; NULL: in the archive */
    size_t records, capacity;
    uint64_t order, void_before[SQ_MAX_PHASES];
    int other_ledger;
    uint64_t *offset, *length; /* of the archive */
} old_release;

static void clear_old(old_release *o)
{
    void *const all[] = {o->phase,  o->realisation, o->tile,     o->state, o->patch,
                         o->input,  o->name,        o->geometry, o->files, o->now,
                         o->record, o->offset,      o->length,   o->same};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sq_free(all[i]);
    for (int p = 0; p < SQ_MAX_PHASES; p++)
        sq_free(o->first[p]);
    *o = (old_release){.path = o->path};
}

static sq_status read_hash(sq_h5 *h5, const char *name, sq_hash *out)
{
    char *text = NULL;
    sq_status rc = sq_h5_read_string(h5, name, &text);
    if (rc == SQ_OK)
        rc = sq_hash_parse(text, out);
    sq_free(text);
    return rc;
}

/* What all its products were made with. */
static sq_status read_provenance(old_release *o, sq_h5 *h5)
{
    sq_status rc = SQ_OK;
    char *software = NULL;
    sq_hash results, model;
    const sq_survey *s = o->survey;
    SQ_TRY(sq_h5_read_string(h5, "provenance/software", &software));
    SQ_TRY(read_hash(h5, "provenance/identity", &o->identity));
    SQ_TRY(read_hash(h5, "provenance/results_hash", &results));
    SQ_TRY(read_hash(h5, "provenance/model_hash", &model));
    o->differs = strcmp(software, sq_survey_software()) != 0 ? SQ_BASE_CODE
                 : !sq_hash_equal(model, s->model_hash)      ? SQ_BASE_MODEL
                 : !sq_hash_equal(results, s->results_hash)  ? SQ_BASE_CONFIG
                                                             : SQ_BASE_SAME;
cleanup:
    sq_free(software);
    return rc;
}

static sq_status read_u32(sq_h5 *h5, const char *name, int64_t n, uint32_t **out)
{
    sq_status rc = SQ_ALLOC(*out, n + 1, "patches of the base");
    return rc == SQ_OK && n ? sq_h5_read(h5, name, SQ_U32, 0, n, *out) : rc;
}

static sq_status read_texts(sq_h5 *h5, const char *name, int width, int64_t n, char **out)
{
    sq_status rc = SQ_ALLOC(*out, n * width + 1, "texts of the base");
    return rc == SQ_OK && n ? sq_h5_read_rows_text(h5, name, width, 0, n, *out) : rc;
}

static sq_status read_patches(old_release *o, sq_h5 *h5)
{
    sq_status rc = SQ_OK;
    sq_dtype type;
    int rank, width;
    int64_t dim[8];
    SQ_TRY(sq_h5_shape(h5, "patches/patch", &type, &rank, dim));
    o->tasks = dim[0];
    SQ_TRY(SQ_ALLOC(o->patch, o->tasks + 1, "patches of the base"));
    if (o->tasks)
        SQ_TRY(sq_h5_read(h5, "patches/patch", SQ_U64, 0, o->tasks, o->patch));
    SQ_TRY(read_u32(h5, "patches/phase", o->tasks, &o->phase));
    SQ_TRY(read_u32(h5, "patches/realisation", o->tasks, &o->realisation));
    SQ_TRY(read_u32(h5, "patches/tile", o->tasks, &o->tile));
    SQ_TRY(read_u32(h5, "patches/state", o->tasks, &o->state));
    SQ_TRY(read_texts(h5, "patches/input_hash", HEX, o->tasks, &o->input));
    SQ_TRY(sq_h5_text_shape(h5, "tiles/name", &width, &o->tiles));
    SQ_TRY(read_texts(h5, "tiles/name", SQ_NAME_MAX, o->tiles, &o->name));
    if (o->tiles) {
        SQ_TRY(read_texts(h5, "run/tiles/geometry", HEX, o->tiles, &o->geometry));
        SQ_TRY(read_texts(h5, "run/tiles/files", HEX, o->tiles, &o->files));
    }
cleanup:
    return rc;
}

static sq_status read_phase_hashes(old_release *o, sq_h5 *h5)
{
    char *text = NULL, *save = NULL;
    sq_status rc = sq_h5_read_string(h5, "run/phase_files", &text);
    int p = 0;
    for (char *word = rc == SQ_OK ? strtok_r(text, " ", &save) : NULL;
         word && p < SQ_MAX_PHASES && rc == SQ_OK; word = strtok_r(NULL, " ", &save))
        rc = sq_hash_parse(word, &o->phase_hash[p++]);
    sq_free(text);
    return rc;
}

static sq_status read_release(old_release *o)
{
    sq_status rc = SQ_OK;
    sq_h5 *h5 = NULL;
    SQ_TRY(sq_h5_open(o->path, &h5));
    if (!sq_h5_has(h5, "provenance/results_hash") || !sq_h5_has(h5, "patches/patch")) {
        rc = sq_fail(SQ_ERR_CONFIG, "%s: not a release that says what its patches were made with",
                     o->path);
        goto cleanup;
    }
    SQ_TRY(read_provenance(o, h5));
    SQ_TRY(read_patches(o, h5));
    SQ_TRY(read_phase_hashes(o, h5));
cleanup:
    sq_h5_abandon(h5);
    return rc;
}

/* ---- Where its records are ---- */

static sq_status visit(void *user, const sq_event *e, int64_t line)
{
    old_release *o = user;
    (void)line;
    o->order++;
    if (e->kind == SQ_EVENT_PLAN)
        o->other_ledger = !sq_hash_equal(e->config, o->identity);
    if (e->kind == SQ_EVENT_REOPEN && e->count && e->phase < SQ_MAX_PHASES)
        o->void_before[e->phase] = o->order;
    int reopened = e->kind == SQ_EVENT_REOPEN && !e->count;
    if (e->kind != SQ_EVENT_COMMIT && !reopened)
        return SQ_OK;
    sq_status rc = SQ_GROW(o->record, o->capacity, o->records + 1, "records of the base");
    if (rc != SQ_OK)
        return rc;
    old_record *r = &o->record[o->records++];
    *r = (old_record){.patch = e->patch,
                      .order = o->order,
                      .offset = e->place.offset,
                      .length = reopened ? 0 : e->place.length,
                      .phase = e->phase,
                      .realisation = e->realisation,
                      .input = e->input};
    memcpy(r->segment, e->place.segment, sizeof r->segment);
    return SQ_OK;
}

static int by_task(const void *a, const void *b)
{
    const old_record *x = a, *y = b;
    if (x->phase != y->phase)
        return x->phase < y->phase ? -1 : 1;
    if (x->patch != y->patch)
        return x->patch < y->patch ? -1 : 1;
    return (x->realisation > y->realisation) - (x->realisation < y->realisation);
}

static int by_task_and_order(const void *a, const void *b)
{
    int order = by_task(a, b);
    const old_record *x = a, *y = b;
    return order ? order : (x->order > y->order) - (x->order < y->order);
}

/* The last word about each task. */
static void settle(old_release *o)
{
    size_t kept = 0;
    qsort(o->record, o->records, sizeof *o->record, by_task_and_order);
    for (size_t i = 0; i < o->records; i++) {
        const old_record *r = &o->record[i];
        int last = i + 1 == o->records || by_task(r, r + 1) != 0;
        if (last && r->length && r->phase < SQ_MAX_PHASES && r->order > o->void_before[r->phase])
            o->record[kept++] = *r;
    }
    o->records = kept;
}

static void folder_of(const char *path, char out[SQ_PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    snprintf(out, SQ_PATH_MAX, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
}

/* The ledger beside the release, when it is that release's and the shards are there. */
static sq_status read_shards(old_release *o, int *there)
{
    sq_status rc = SQ_OK;
    char folder[SQ_PATH_MAX], ledger[SQ_PATH_MAX], shards[SQ_PATH_MAX];
    int torn;
    *there = 0;
    folder_of(o->path, folder);
    SQ_TRY(sq_run_path(folder, SQ_RUN_LEDGER, ledger));
    SQ_TRY(sq_run_path(folder, SQ_RUN_SHARDS, shards));
    if (access(ledger, R_OK) != 0 || access(shards, R_OK | X_OK) != 0)
        return SQ_OK;
    SQ_TRY(sq_ledger_replay(ledger, visit, o, &torn));
    if (o->other_ledger)
        return SQ_OK;
    settle(o);
    *there = 1;
cleanup:
    return rc;
}

static sq_status find_records(old_release *o)
{
    int there;
    sq_status rc = read_shards(o, &there);
    if (rc == SQ_OK && there)
        return SQ_OK;
    if (rc == SQ_ERR_NOMEM)
        return rc;
    if (rc != SQ_OK)
        sq_warn("base: %s", sq_error());
    sq_free(o->record);
    o->record = NULL;
    o->records = o->capacity = 0;
    rc = sq_archive_places(o->path, o->tasks, &o->offset, &o->length, &there);
    if (rc != SQ_OK || there)
        return rc;
    return sq_fail(SQ_ERR_CONFIG,
                   "%s: base: no ledger and shards of it stand beside it, and it has no archive: "
                   "its patches cannot be merged again",
                   o->path);
}

/* ---- Its tasks among those of the present survey ---- */

typedef struct named_tile {
    const char *name;
    int64_t tile;
} named_tile;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const named_tile *)a)->name, ((const named_tile *)b)->name);
}

static sq_status match_tiles(old_release *o)
{
    sq_status rc = SQ_OK;
    const sq_survey *s = o->survey;
    named_tile *sorted = NULL;
    SQ_TRY(SQ_ALLOC(o->now, o->tiles + 1, "tiles of the base"));
    SQ_TRY(SQ_ALLOC(sorted, s->ntile + 1, "tiles of the base"));
    for (int64_t t = 0; t < s->ntile; t++)
        sorted[t] = (named_tile){sq_tile_list_name(s->tiles, t), t};
    qsort(sorted, (size_t)s->ntile, sizeof *sorted, by_name);
    for (int64_t t = 0; t < o->tiles; t++) {
        char name[SQ_NAME_MAX];
        named_tile key = {.name = name}, *found;
        snprintf(name, sizeof name, "%.*s", SQ_NAME_MAX - 1, o->name + t * SQ_NAME_MAX);
        found = bsearch(&key, sorted, (size_t)s->ntile, sizeof *sorted, by_name);
        o->now[t] = found ? found->tile : -1;
    }
    if (!o->tiles && !s->ntile)
        o->now[0] = 0;
    else if (!o->tiles)
        o->now[0] = -1;
cleanup:
    sq_free(sorted);
    return rc;
}

/* Every task stands in /patches, so that the least number of a tile is its first. */
static sq_status number_patches(old_release *o)
{
    int64_t parts = o->tiles ? o->tiles : 1;
    for (int p = 0; p < SQ_MAX_PHASES; p++) {
        sq_status rc = SQ_ALLOC(o->first[p], parts, "patches of the base");
        if (rc != SQ_OK)
            return rc;
        for (int64_t t = 0; t < parts; t++)
            o->first[p][t] = UINT64_MAX;
    }
    for (int64_t i = 0; i < o->tasks; i++) {
        if (o->phase[i] >= SQ_MAX_PHASES || o->tile[i] >= parts)
            return sq_fail(SQ_ERR_CORRUPT, "%s: /patches: row %lld: phase or tile", o->path,
                           (long long)i);
        uint64_t *first = &o->first[o->phase[i]][o->tile[i]];
        *first = o->patch[i] < *first ? o->patch[i] : *first;
    }
    return SQ_OK;
}

static int same_text(const char *hex, sq_hash hash)
{
    char text[SQ_HASH_TEXT];
    sq_hash_text(hash, text);
    return memcmp(hex, text, HEX) == 0;
}

/* What has stayed of the tiles that the present survey has. */
static sq_status compare_tiles(old_release *o)
{
    sq_status rc = SQ_OK;
    SQ_TRY(SQ_ALLOC(o->same, o->tiles + 1, "tiles of the base"));
    for (int64_t t = 0; t < o->tiles && o->geometry && o->files; t++) {
        sq_tile tile;
        if (o->now[t] < 0)
            continue;
        SQ_TRY(sq_tile_list_get(o->survey->tiles, o->now[t], &tile));
        o->same[t] = (same_text(o->geometry + t * HEX, sq_tile_geometry_hash(&tile))
                          ? SAME_GEOMETRY
                          : 0) |
                     (same_text(o->files + t * HEX, sq_tile_files_hash(&tile)) ? SAME_FILES : 0);
        sq_tile_clear(&tile);
    }
cleanup:
    return rc;
}

/* Where the record of row i lies. */
static int find_place(const old_release *o, int64_t i, sq_base_entry *e)
{
    if (!o->record) {
        e->offset = o->offset[i];
        e->length = o->length[i];
        return e->length > 0;
    }
    old_record key = {.phase = o->phase[i], .patch = o->patch[i], .realisation = o->realisation[i]};
    const old_record *r = bsearch(&key, o->record, o->records, sizeof key, by_task);
    if (!r || !sq_hash_equal(r->input, e->input))
        return 0;
    e->offset = r->offset;
    e->length = r->length;
    memcpy(e->segment, r->segment, sizeof e->segment);
    return 1;
}

/* What becomes of row i, which is `patch` in the present survey. Fills *e when it may be taken
 * over. */
static sq_base_reason judge(const old_release *o, int64_t i, uint64_t patch, sq_base_entry *e)
{
    const sq_survey *s = o->survey;
    char text[SQ_HASH_TEXT] = "";
    if (o->differs != SQ_BASE_SAME)
        return o->differs;
    if (s->ntile && !(o->same[o->tile[i]] & SAME_GEOMETRY))
        return SQ_BASE_INPUT;
    if (o->state[i] != SQ_TASK_DONE)
        return SQ_BASE_FAILED;
    *e = (sq_base_entry){.index = sq_survey_index(s, (int)o->phase[i], patch, o->realisation[i]),
                         .patch = o->patch[i],
                         .phase = o->phase[i],
                         .realisation = o->realisation[i]};
    memcpy(text, o->input + i * HEX, HEX);
    if (sq_hash_parse(text, &e->input) != SQ_OK || !find_place(o, i, e))
        return SQ_BASE_LOST;
    e->same_files = s->ntile && o->same[o->tile[i]] & SAME_FILES;
    return e->same_files ? SQ_BASE_SAME : SQ_BASE_CHECK;
}

typedef struct entry_list {
    sq_base_entry *entry;
    size_t count, capacity;
} entry_list;

static sq_status match_tasks(const old_release *o, entry_list *list, sq_base_count *count)
{
    sq_status rc = SQ_OK;
    const sq_survey *s = o->survey;
    for (int64_t i = 0; i < o->tasks; i++) {
        int p = (int)o->phase[i];
        int64_t now = o->now[o->tile[i]];
        if (now < 0 || p >= s->d.nphase || o->realisation[i] >= s->d.phase[p].realisations)
            continue;
        uint64_t patch = s->base[p][now] + (o->patch[i] - o->first[p][o->tile[i]]);
        if (patch >= s->base[p][now + 1])
            continue;
        SQ_TRY(SQ_GROW(list->entry, list->capacity, list->count + 1, "entries of the base"));
        sq_base_reason reason = judge(o, i, patch, &list->entry[list->count]);
        count->tile[reason][now]++;
        list->count += reason == SQ_BASE_SAME || reason == SQ_BASE_CHECK;
    }
cleanup:
    return rc;
}

/* What the earlier release knows nothing of. */
static void count_new(const sq_survey *s, sq_base_count *count)
{
    for (uint32_t t = 0; t < s->parts; t++) {
        uint64_t tasks = 0;
        for (int p = 0; p < s->d.nphase; p++)
            tasks += (s->base[p][t + 1] - s->base[p][t]) * s->d.phase[p].realisations;
        for (int r = 0; r < SQ_BASE_REASONS; r++)
            tasks -= r == SQ_BASE_NEW ? 0 : count->tile[r][t];
        count->tile[SQ_BASE_NEW][t] = tasks;
        for (int r = 0; r < SQ_BASE_REASONS; r++)
            count->total[r] += count->tile[r][t];
    }
}

void sq_base_count_clear(sq_base_count *count)
{
    for (int r = 0; r < SQ_BASE_REASONS; r++)
        sq_free(count->tile[r]);
    *count = (sq_base_count){.total = {0}};
}

static int by_index(const void *a, const void *b)
{
    const sq_base_entry *x = a, *y = b;
    if (x->phase != y->phase)
        return x->phase < y->phase ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* The file: the phase files' hashes, then the entries. A scratch file: what is torn by a crash is
 * made again by the next execution, before anyone reads it. */
static sq_status write_entries(const old_release *o, const entry_list *list, const char *path)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    int good = fwrite(o->phase_hash, sizeof o->phase_hash, 1, file) == 1 &&
               fwrite(list->entry, sizeof *list->entry, list->count, file) == list->count;
    if (fclose(file) != 0 || !good)
        return sq_fail(SQ_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
    return SQ_OK;
}

sq_status sq_base_make(const sq_survey *survey, const char *release, const char *path,
                       sq_base_count *count)
{
    sq_status rc = SQ_OK;
    old_release o = {.survey = survey, .path = release};
    entry_list list = {0};
    *count = (sq_base_count){.total = {0}};
    for (int r = 0; r < SQ_BASE_REASONS; r++)
        SQ_TRY(SQ_ALLOC(count->tile[r], survey->parts + 1, "counts"));
    SQ_TRY(read_release(&o));
    SQ_TRY(find_records(&o));
    SQ_TRY(match_tiles(&o));
    SQ_TRY(compare_tiles(&o));
    SQ_TRY(number_patches(&o));
    SQ_TRY(match_tasks(&o, &list, count));
    count_new(survey, count);
    if (list.count)
        qsort(list.entry, list.count, sizeof *list.entry, by_index);
    SQ_TRY(write_entries(&o, &list, path));
cleanup:
    clear_old(&o);
    sq_free(list.entry);
    return rc == SQ_OK ? rc : sq_fail_in(rc, "base");
}

/* ---- On the ranks that compute ---- */

struct sq_base {
    const sq_survey *survey;
    char release[SQ_PATH_MAX], shards[SQ_PATH_MAX];
    void *map;
    size_t bytes, count;
    const sq_hash *phase_hash;
    sq_base_entry *entry;
    int phases;          /* later ones depend on files that are not the earlier ones */
    uint32_t tile;       /* whose files were looked at last */
    int looked, trusted; /* at any; and what was found */
};

sq_status sq_base_open(const sq_survey *survey, const char *release, const char *path,
                       sq_base **out)
{
    sq_status rc = SQ_OK;
    sq_base *b = NULL;
    struct stat info;
    size_t head = SQ_MAX_PHASES * sizeof *b->phase_hash;
    char folder[SQ_PATH_MAX];
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return SQ_OK;
    if (fd < 0 || fstat(fd, &info) != 0 || (size_t)info.st_size < head) {
        rc = sq_fail(SQ_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
        goto cleanup;
    }
    SQ_TRY(SQ_ALLOC(b, 1, "base"));
    b->survey = survey;
    b->phases = SQ_MAX_PHASES;
    snprintf(b->release, sizeof b->release, "%s", release);
    folder_of(release, folder);
    SQ_TRY(sq_run_path(folder, SQ_RUN_SHARDS, b->shards));
    b->bytes = (size_t)info.st_size;
    b->count = (b->bytes - head) / sizeof *b->entry;
    b->map = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (b->map == MAP_FAILED) {
        b->map = NULL;
        rc = sq_fail(SQ_ERR_IO, "%s: cannot be mapped: %s", path, strerror(errno));
        goto cleanup;
    }
    b->phase_hash = b->map;
    b->entry = (void *)((char *)b->map + head);
    *out = b;
    b = NULL;
cleanup:
    if (fd >= 0)
        close(fd);
    sq_base_close(b);
    return rc;
}

void sq_base_close(sq_base *b)
{
    if (!b)
        return;
    if (b->map)
        munmap(b->map, b->bytes);
    sq_free(b);
}

const sq_base_entry *sq_base_find(const sq_base *b, int phase, uint64_t index)
{
    sq_base_entry key = {.phase = (uint32_t)phase, .index = index};
    if (!b || phase >= b->phases)
        return NULL;
    const sq_base_entry *entry = bsearch(&key, b->entry, b->count, sizeof key, by_index);
    return entry && entry->length ? entry : NULL;
}

static sq_status check_tile(const sq_survey *s, uint32_t number)
{
    sq_tile tile;
    sq_status rc = sq_tile_list_get(s->tiles, number, &tile);
    if (rc != SQ_OK)
        return rc;
    rc = sq_tile_check(&tile);
    sq_tile_clear(&tile);
    return rc;
}

int sq_base_trusts(sq_base *b, const sq_base_entry *e)
{
    if (!e->same_files)
        return 0;
    uint64_t patch = sq_survey_task(b->survey, (int)e->phase, e->index).patch;
    uint32_t tile = sq_survey_tile_of(b->survey, (int)e->phase, patch);
    if (!b->looked || b->tile != tile) {
        b->looked = 1;
        b->tile = tile;
        b->trusted = check_tile(b->survey, tile) == SQ_OK;
        sq_error_clear();
    }
    return b->trusted;
}

void sq_base_set_phase(sq_base *b, int phase, sq_hash hash)
{
    if (b && !sq_hash_equal(hash, b->phase_hash[phase]) && phase + 1 < b->phases)
        b->phases = phase + 1;
}

sq_status sq_base_read(sq_base *b, const sq_base_entry *e, sq_record *record, void **payload,
                       size_t *size)
{
    sq_status rc = SQ_OK;
    char path[SQ_PATH_MAX];
    *payload = NULL;
    if (e->segment[0])
        SQ_TRY(sq_run_path(b->shards, e->segment, path));
    else
        snprintf(path, sizeof path, "%s", b->release);
    SQ_TRY(sq_record_read(path, e->offset, e->length, record, payload, size));
    if (record->patch != e->patch || record->phase != e->phase ||
        record->realisation != e->realisation || record->kind != SQ_RECORD_PRODUCT ||
        !sq_hash_equal(record->input, e->input)) {
        sq_free(*payload);
        *payload = NULL;
        rc = sq_fail(SQ_ERR_CORRUPT, "%s: record at byte %llu: is another patch's", path,
                     (unsigned long long)e->offset);
    }
cleanup:
    if (rc != SQ_OK)
        b->entry[e - b->entry].length = 0; /* of this rank's private map: not tried again */
    return rc;
}
