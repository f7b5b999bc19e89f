#include "run/survey.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/pulse.h"
#include "run/share.h"
#include "run/yaml.h"
#include "store/tile_index.h"

enum { WCS_KEPT = 256 };

const char *sq_survey_software(void)
{
    static char text[256];
    if (!text[0])
        snprintf(text, sizeof text, "skyquilt %s, %s", SQ_VERSION, sq_nn_version());
    return text;
}

static int in_region(const double *box, double ra, double dec)
{
    int inside = box[0] <= box[1] ? ra >= box[0] && ra <= box[1] : ra >= box[0] || ra <= box[1];
    return inside && dec >= box[2] && dec <= box[3];
}

static double width_of(const double *box)
{
    return box[1] - box[0] + (box[1] < box[0] ? 360 : 0);
}

/* Is the circle around the tile clear of the box? Most tiles of a large survey are. */
static int is_far(const sq_footprint *f, const double *box)
{
    const double rad = M_PI / 180;
    if (f->dec - f->radius > box[3] || f->dec + f->radius < box[2])
        return 1;
    if (fabs(f->dec) + f->radius >= 90)
        return 0;
    double reach = asin(fmin(1, sin(f->radius * rad) / cos(f->dec * rad))) / rad + 1e-9;
    return fmod(f->ra + reach - box[0] + 720, 360) > width_of(box) + 2 * reach;
}

/* Does the tile touch the box? Both are sampled on a grid of points. */
static int touches(const sq_wcs *wcs, int64_t nx, int64_t ny, const double *box)
{
    enum { N = 17 };
    double width = width_of(box);
    sq_footprint circle;
    if (sq_footprint_of(wcs, nx, ny, &circle) == SQ_OK && is_far(&circle, box))
        return 0;
    for (int j = 0; j < N; j++) {
        for (int i = 0; i < N; i++) {
            double u = (double)i / (N - 1), v = (double)j / (N - 1), ra, dec, x, y;
            x = u * (double)(nx - 1);
            y = v * (double)(ny - 1);
            if (sq_wcs_pix2sky(wcs, 1, &x, &y, &ra, &dec) == SQ_OK && in_region(box, ra, dec))
                return 1;
            ra = fmod(box[0] + u * width, 360);
            dec = box[2] + v * (box[3] - box[2]);
            if (sq_wcs_sky2pix(wcs, 1, &ra, &dec, &x, &y) == SQ_OK && x >= 0 && y >= 0 &&
                x < (double)nx && y < (double)ny)
                return 1;
        }
    }
    sq_error_clear();
    return 0;
}

static sq_status solve(const sq_tile *tile, sq_wcs **out)
{
    const sq_tile_band *band = &tile->band[tile->reference];
    if (!band->wcs_header)
        return sq_fail(SQ_ERR_CORRUPT, "tile %s: no image with a WCS", tile->name);
    return sq_wcs_from_header(band->wcs_header, tile->name, out);
}

/* For the pool. */
static sq_status solve_number(void *user, uint32_t number, sq_wcs **out)
{
    const sq_survey *s = user;
    sq_tile tile;
    sq_status rc = sq_tile_list_get(s->tiles, number, &tile);
    if (rc != SQ_OK)
        return rc;
    rc = solve(&tile, out);
    sq_tile_clear(&tile);
    return rc;
}

typedef struct selection {
    const sq_run_config *config;
    uint8_t *found; /* [select.count] */
    sq_tile_list *tiles;
} selection;

static sq_status in_selection(selection *in, const sq_tile *tile, int *wanted)
{
    const sq_run_config *c = in->config;
    const sq_tile_band *band = &tile->band[tile->reference];
    sq_wcs *wcs;
    *wanted = !c->select.count;
    for (unsigned i = 0; i < c->select.count; i++) {
        if (strcmp(c->select.value[i], tile->name) == 0)
            *wanted = in->found[i] = 1;
    }
    if (!*wanted || !c->region.count)
        return SQ_OK;
    sq_status rc = solve(tile, &wcs);
    if (rc != SQ_OK)
        return rc;
    *wanted = touches(wcs, band->nx, band->ny, c->region.value);
    sq_wcs_destroy(wcs);
    return SQ_OK;
}

static sq_status select_tile(void *user, const sq_tile *tile)
{
    selection *in = user;
    int wanted;
    sq_status rc = in_selection(in, tile, &wanted);
    return rc == SQ_OK && wanted ? sq_tile_list_add(in->tiles, tile) : rc;
}

/* The tiles of the index that are asked for. */
static sq_status read_tiles(sq_survey *s, const char *index)
{
    sq_status rc = SQ_OK;
    const sq_config_texts *names = &s->config->select;
    selection in = {.config = s->config};
    if (!index)
        return sq_fail(SQ_ERR_CONFIG, "index: probe %s needs an index or tiles",
                       s->config->cls->name);
    SQ_TRY(sq_tile_list_create(&s->tiles));
    in.tiles = s->tiles;
    SQ_TRY(SQ_ALLOC(in.found, names->count, "selected tiles"));
    SQ_TRY(sq_tile_index_read(index, select_tile, &in));
    for (unsigned i = 0; i < names->count; i++) {
        if (!in.found[i])
            SQ_TRY(sq_fail(SQ_ERR_CONFIG, "select: the index has no tile '%s'", names->value[i]));
    }
    SQ_TRY(sq_tile_list_finish(s->tiles));
    if (!sq_tile_list_count(s->tiles))
        SQ_TRY(sq_fail(SQ_ERR_CONFIG, "no tile of the index is selected"));
    SQ_TRY(sq_tile_index_hash(s->tiles, &s->index_hash));
cleanup:
    sq_free(in.found);
    return rc;
}

/* Where tiles [first, end) lie. */
static sq_status find_footprints(const sq_survey *s, int64_t first, int64_t end, sq_footprint *out)
{
    sq_status rc = SQ_OK;
    for (int64_t t = first; t < end && rc == SQ_OK; t++) {
        const char *name = sq_tile_list_name(s->tiles, t);
        int64_t nx, ny;
        sq_wcs *wcs = NULL;
        sq_tile_list_shape(s->tiles, t, &nx, &ny);
        rc = solve_number((sq_survey *)s, (uint32_t)t, &wcs);
        if (rc == SQ_OK)
            rc = sq_footprint_of(wcs, nx, ny, &out[t]);
        if (rc != SQ_OK)
            rc = sq_fail_in(rc, "tile %s", name);
        sq_wcs_destroy(wcs);
        sq_pulse("solving the WCS of the tiles");
    }
    return rc;
}

/* Every rank solves its share of the tiles; all get the few numbers that come of it. */
static sq_status make_owner(sq_survey *s, const sq_comm *comm)
{
    sq_status rc = SQ_OK;
    sq_footprint *print = NULL;
    void *all = NULL;
    size_t total;
    int rank = sq_share_rank(comm), size = comm ? sq_comm_size(comm) : 1;
    int64_t n = s->ntile, first = n * rank / size, end = n * (rank + 1) / size;
    SQ_TRY(sq_share_agree(comm, SQ_ALLOC(print, n, "footprints")));
    SQ_TRY(sq_share_agree(comm, find_footprints(s, first, end, print)));
    if (comm) {
        SQ_TRY(sq_comm_gather(comm, print + first, (size_t)(end - first) * sizeof *print, &all,
                              &total, NULL));
        if (rank == 0)
            memcpy(print, all, (size_t)n * sizeof *print);
        SQ_TRY(sq_comm_broadcast(comm, 0, print, (size_t)n * sizeof *print));
    }
    SQ_TRY(sq_share_agree(comm, sq_wcs_pool_create((uint32_t)n, WCS_KEPT, solve_number, s,
                                                   &s->wcs)));
    SQ_TRY(sq_share_agree(comm, sq_owner_create(print, (uint32_t)n, s->wcs, &s->owner)));
cleanup:
    sq_free(print);
    sq_free(all);
    return rc;
}

static sq_status make_tiles(sq_survey *s, const sq_comm *comm, const char *index)
{
    sq_status rc = SQ_OK;
    SQ_TRY(sq_share_agree(comm, sq_share_rank(comm) == 0 ? read_tiles(s, index) : SQ_OK));
    SQ_TRY(sq_share_tiles(comm, &s->tiles));
    if (comm)
        SQ_TRY(sq_comm_broadcast(comm, 0, &s->index_hash, sizeof s->index_hash));
    s->ntile = sq_tile_list_count(s->tiles);
    s->parts = (uint32_t)s->ntile;
    SQ_TRY(make_owner(s, comm));
cleanup:
    return rc;
}

static int same_shape(sq_patch_shape a, sq_patch_shape b)
{
    return a.core == b.core && a.halo == b.halo && a.passes == b.passes;
}

/* Tiles of one size have as many patches: most surveys have one size, so that tilings are rarely
 * made. */
static sq_status count_patches(sq_survey *s, int phase)
{
    sq_status rc = SQ_OK;
    int64_t nx = -1, ny = -1;
    uint64_t count = 0;
    for (int earlier = 0; earlier < phase; earlier++) {
        if (same_shape(s->d.phase[earlier].shape, s->d.phase[phase].shape)) {
            SQ_TRY(SQ_ALLOC(s->base[phase], s->parts + 1, "patch numbers"));
            memcpy(s->base[phase], s->base[earlier], (s->parts + 1) * sizeof *s->base[phase]);
            return SQ_OK;
        }
    }
    SQ_TRY(SQ_ALLOC(s->base[phase], s->parts + 1, "patch numbers"));
    for (uint32_t t = 0; t < s->parts; t++) {
        int64_t width = 0, height = 0;
        if (s->ntile)
            sq_tile_list_shape(s->tiles, t, &width, &height);
        if (width != nx || height != ny) {
            sq_tiling *tiling = NULL;
            SQ_TRY(sq_survey_tiling(s, phase, t, NULL, &tiling));
            count = sq_tiling_count(tiling);
            sq_tiling_destroy(tiling);
            nx = width;
            ny = height;
        }
        s->base[phase][t + 1] = s->base[phase][t] + count;
    }
cleanup:
    return rc;
}

/* Selections of tiles do not change what a patch yields. */
static sq_status hash_results(sq_survey *s)
{
    char *text = NULL;
    const sq_probe_description *d = &s->d;
    sq_status rc = sq_run_config_results(s->config, &text);
    if (rc != SQ_OK)
        return rc;
    double footprint[4] = {d->footprint, (double)d->nx, (double)d->ny, d->scale};
    s->results_hash = sq_hash_combine(sq_hash_bytes(text, strlen(text)),
                                      sq_hash_bytes(footprint, sizeof footprint));
    for (int p = 0; p < d->nphase; p++) {
        int64_t shape[4] = {d->phase[p].shape.core, d->phase[p].shape.halo,
                            d->phase[p].shape.passes, d->phase[p].realisations};
        s->results_hash = sq_hash_combine(s->results_hash, sq_hash_bytes(shape, sizeof shape));
    }
    sq_free(text);
    return SQ_OK;
}

static sq_status hash_identity(sq_survey *s)
{
    sq_status rc = sq_run_config_identity(s->config, &s->identity_text);
    if (rc != SQ_OK)
        return rc;
    s->config_hash = sq_hash_bytes(s->identity_text, strlen(s->identity_text));
    rc = hash_results(s);
    if (rc != SQ_OK)
        return rc;
    s->model_hash = sq_hash_bytes("models", 6);
    for (int i = 0; i < s->d.nmodel; i++)
        s->model_hash = sq_hash_combine(s->model_hash, s->d.model[i].hash);
    static const sq_hash none;
    if (!sq_hash_equal(s->d.inputs, none))
        s->model_hash = sq_hash_combine(s->model_hash, s->d.inputs);
    const char *software = sq_survey_software();
    s->identity = sq_hash_combine(s->config_hash, s->model_hash);
    s->identity = sq_hash_combine(s->identity, s->index_hash);
    s->identity = sq_hash_combine(s->identity, sq_hash_bytes(software, strlen(software)));
    return SQ_OK;
}

static sq_status check_description(const sq_survey *s)
{
    const sq_probe_description *d = &s->d;
    const char *name = s->config->cls->name;
    if (d->nphase < 1 || d->nphase > SQ_MAX_PHASES || d->ntable < 0 || d->ntable > SQ_MAX_TABLES ||
        d->nmap < 0 || d->nmap > SQ_MAX_MAPS)
        return sq_fail(SQ_ERR_INTERNAL, "probe %s: impossible number of phases or products", name);
    for (int t = 0; t < d->ntable; t++) {
        sq_status rc = sq_schema_check(d->table[t]);
        if (rc != SQ_OK)
            return sq_fail_in(rc, "probe %s", name);
    }
    for (int p = 0; p < d->nphase; p++) {
        if (d->phase[p].realisations < 1)
            return sq_fail(SQ_ERR_INTERNAL, "probe %s: phase %d without realisations", name, p);
        if (d->phase[p].has_file && (!s->config->cls->finish_phase || !s->config->cls->load_phase))
            return sq_fail(SQ_ERR_INTERNAL, "probe %s: phase %d has a file that nobody makes", name,
                           p);
    }
    return SQ_OK;
}

static sq_status number_patches(sq_survey *s)
{
    sq_status rc = SQ_OK;
    for (int p = 0; p < s->d.nphase; p++)
        SQ_TRY(count_patches(s, p));
    SQ_TRY(hash_identity(s));
cleanup:
    return rc;
}

static sq_status make_instance(sq_survey *s, sq_files *files, int root)
{
    sq_status rc = SQ_OK;
    const sq_run_config *config = s->config;
    sq_probe_setup setup = sq_run_config_setup(config);
    setup.files = files;
    setup.root = root;
    SQ_TRY(config->cls->create(config->own, &setup, &s->self));
    SQ_TRY(config->cls->describe(s->self, &s->d));
    SQ_TRY(check_description(s));
cleanup:
    return rc;
}

/* Rank 0's instance opens the files, the others' get their bytes. */
static sq_status make_instances(sq_survey *s, const sq_comm *comm)
{
    sq_status rc = SQ_OK;
    sq_files *files = NULL;
    int root = sq_share_rank(comm) == 0;
    SQ_TRY(sq_share_agree(comm, sq_files_create(!root, &files)));
    SQ_TRY(sq_share_agree(comm, root ? make_instance(s, files, 1) : SQ_OK));
    SQ_TRY(sq_share_files(comm, files));
    SQ_TRY(sq_share_agree(comm, root ? SQ_OK : make_instance(s, files, 0)));
cleanup:
    sq_files_destroy(files);
    return rc;
}

sq_status sq_survey_create(const sq_comm *comm, const sq_run_config *config, const char *index,
                           sq_survey **out)
{
    sq_status rc = SQ_OK;
    sq_survey *s = NULL;
    *out = NULL;
    SQ_TRY(sq_share_agree(comm, SQ_ALLOC(s, 1, "survey")));
    s->config = config;
    s->parts = 1;
    SQ_TRY(make_instances(s, comm));
    if (s->d.footprint == SQ_FOOTPRINT_TILES)
        SQ_TRY(make_tiles(s, comm, index));
    SQ_TRY(sq_share_agree(comm, number_patches(s)));
    *out = s;
    s = NULL;
cleanup:
    sq_survey_destroy(s);
    return rc;
}

void sq_survey_destroy(sq_survey *s)
{
    if (!s)
        return;
    sq_owner_destroy(s->owner);
    sq_wcs_pool_destroy(s->wcs);
    sq_tile_list_destroy(s->tiles);
    for (int p = 0; p < SQ_MAX_PHASES; p++)
        sq_free(s->base[p]);
    sq_free(s->cut);
    if (s->self)
        s->config->cls->destroy(s->self);
    sq_free(s->identity_text);
    sq_free(s);
}

sq_status sq_survey_tiling(const sq_survey *s, int phase, uint32_t tile, const sq_wcs *wcs,
                           sq_tiling **out)
{
    int64_t nx, ny;
    sq_patch_shape shape = s->d.phase[phase].shape;
    switch (s->d.footprint) {
    case SQ_FOOTPRINT_GRID:
        return sq_tiling_bricks(s->d.nx, s->d.ny, shape, NULL, out);
    case SQ_FOOTPRINT_SPHERE:
        return sq_tiling_rings(s->d.scale, shape, out);
    case SQ_FOOTPRINT_TILES:
        break;
    }
    sq_tile_list_shape(s->tiles, tile, &nx, &ny);
    return sq_tiling_bricks(nx, ny, shape, wcs, out);
}

uint64_t sq_survey_tasks(const sq_survey *s, int phase)
{
    return s->base[phase][s->parts] * s->d.phase[phase].realisations;
}

void sq_survey_plan(const sq_survey *s, sq_phase_plan plan[SQ_MAX_PHASES])
{
    for (int p = 0; p < s->d.nphase; p++)
        plan[p] = (sq_phase_plan){s->d.phase[p].realisations, s->parts,
                                  s->cut ? s->cut : s->base[p], NULL};
}

uint64_t sq_survey_planned(const sq_survey *s)
{
    uint64_t total = 0;
    sq_phase_plan plan[SQ_MAX_PHASES];
    sq_survey_plan(s, plan);
    for (int p = 0; p < s->d.nphase; p++)
        total += (plan[p].base[s->parts] - plan[p].base[0]) * plan[p].realisations;
    return total;
}

uint32_t sq_survey_tile_of(const sq_survey *s, int phase, uint64_t patch)
{
    uint32_t low = 0, high = s->parts;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (s->base[phase][middle] <= patch)
            low = middle;
        else
            high = middle;
    }
    return low;
}

sq_task sq_survey_task(const sq_survey *s, int phase, uint64_t index)
{
    uint32_t realisations = s->d.phase[phase].realisations;
    return (sq_task){.phase = phase,
                     .patch = index / realisations,
                     .realisation = (uint32_t)(index % realisations),
                     .attempt = 1};
}

uint64_t sq_survey_index(const sq_survey *s, int phase, uint64_t patch, uint32_t realisation)
{
    return patch * s->d.phase[phase].realisations + realisation;
}
