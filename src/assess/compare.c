#include "assess/compare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "assess/compare_report.h"
#include "base/mem.h"

#define LIMIT(name, doc)                                                                           \
    {                                                                                              \
#name, SQ_CONFIG_REAL, offsetof(sq_compare_thresholds, name), 0, 0, 1e9, NULL, NULL, doc   \
    }

const sq_config_field sq_compare_fields[] = {
    LIMIT(position_shift, "arcsec: median shift of ra or dec"),
    LIMIT(position_scatter, "arcsec: scatter of ra or dec"),
    LIMIT(flux_shift, "mag: median shift of a flux"),
    LIMIT(flux_scatter, "sigma: scatter of the pulls of a flux"),
    LIMIT(class_flips, "fraction of matched rows that changed from star to galaxy or back"),
    LIMIT(count_change, "fraction: rows appeared less vanished, over the rows of A"),
    LIMIT(unmatched, "fraction of the rows of both without a partner"),
    LIMIT(drift, "Kolmogorov-Smirnov distance of a column"),
    LIMIT(map_difference, "rms of the difference of a map over the rms of A"),
    {"significance", SQ_CONFIG_REAL, offsetof(sq_compare_thresholds, significance), 0, 0, 1, NULL,
     NULL, "adjusted probability below which an effect counts"},
    {"least", SQ_CONFIG_INT, offsetof(sq_compare_thresholds, least), 0, 1, 1e9, NULL, NULL,
     "rows of an area that is judged"},
    {NULL, SQ_CONFIG_BOOL, 0, 0, 0, 0, NULL, NULL, NULL}};

void sq_compare_thresholds_defaults(sq_compare_thresholds *thresholds)
{
    *thresholds = (sq_compare_thresholds){.position_shift = 0.05,
                                          .position_scatter = 0.2,
                                          .flux_shift = 0.02,
                                          .flux_scatter = 0.5,
                                          .class_flips = 0.05,
                                          .count_change = 0.05,
                                          .unmatched = 0.2,
                                          .drift = 0.1,
                                          .map_difference = 0.01,
                                          .significance = 0.01,
                                          .least = 20};
}

void sq_compare_defaults(sq_compare_options *options)
{
    *options = (sq_compare_options){.match = 1, .bin_low = NAN, .bin_step = 1};
    sq_compare_thresholds_defaults(&options->thresholds);
}

/* ---- What is to be compared ---- */

typedef struct files {
    sq_h5 *h5[2];
    char **group[2], **map[2];
    int groups[2], maps[2];
} files;

static void files_clear(files *f)
{
    for (int s = 0; s < 2; s++) {
        sq_h5_free_names(f->group[s], f->groups[s]);
        sq_h5_free_names(f->map[s], f->maps[s]);
        sq_h5_abandon(f->h5[s]);
    }
}

/* Tables of products name their columns. */
static int is_table(sq_h5 *h5, const char *group)
{
    char *text = NULL;
    sq_status rc = sq_h5_read_text(h5, group, "columns", &text);
    sq_free(text);
    sq_error_clear();
    return rc == SQ_OK;
}

static sq_status open_files(const sq_compare_options *options, files *f)
{
    sq_status rc = SQ_OK;
    const char *path[2] = {options->a, options->b};
    for (int s = 0; s < 2; s++) {
        char **all = NULL;
        int count = 0;
        SQ_TRY(sq_h5_open(path[s], &f->h5[s]));
        SQ_TRY(sq_h5_groups(f->h5[s], "/", &all, &count));
        rc = SQ_ALLOC(f->group[s], count + 1, "tables");
        for (int i = 0; rc == SQ_OK && i < count; i++) {
            if (is_table(f->h5[s], all[i])) {
                f->group[s][f->groups[s]++] = all[i];
                all[i] = NULL;
            }
        }
        sq_h5_free_names(all, count);
        if (rc == SQ_OK && sq_h5_has(f->h5[s], "maps"))
            rc = sq_h5_list(f->h5[s], "maps", &f->map[s], &f->maps[s]);
        if (rc != SQ_OK)
            goto cleanup;
    }
cleanup:
    return rc;
}

static int contains(char **list, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(list[i], name) == 0)
            return 1;
    }
    return 0;
}

static sq_status note_alone(const files *f, sq_compare_report *r)
{
    sq_status rc = SQ_OK;
    char name[CMP_NAME + 8];
    for (int s = 0; s < 2; s++) {
        SQ_TRY(SQ_ALLOC(r->only_name[s], f->groups[s] + f->maps[s] + 1, "names"));
        for (int i = 0; i < f->groups[s]; i++) {
            if (!contains(f->group[1 - s], f->groups[1 - s], f->group[s][i]))
                SQ_TRY(sq_strdup(&r->only_name[s][r->only[s]++], f->group[s][i]));
        }
        for (int i = 0; i < f->maps[s]; i++) {
            if (contains(f->map[1 - s], f->maps[1 - s], f->map[s][i]))
                continue;
            snprintf(name, sizeof name, "maps/%.80s", f->map[s][i]);
            SQ_TRY(sq_strdup(&r->only_name[s][r->only[s]++], name));
        }
    }
cleanup:
    return rc;
}

static sq_status add_table(const char *group, sq_compare_report *r)
{
    cmp_table *t = &r->table[r->tables++];
    return cmp_table_compare(&r->options, group, t);
}

/* The tables of both; files without such tables are catalogues: the group catalog, or the top. */
static sq_status compare_tables(const files *f, sq_compare_report *r)
{
    const char *table = r->options.table;
    sq_status rc = SQ_ALLOC(r->table, f->groups[0] + 1, "tables");
    int plain = !f->groups[0] || !f->groups[1];
    if (rc == SQ_OK && (table || (plain && !f->maps[0] && !f->maps[1])))
        return add_table(table ? table : "", r);
    for (int i = 0; rc == SQ_OK && i < f->groups[0]; i++) {
        if (contains(f->group[1], f->groups[1], f->group[0][i]))
            rc = add_table(f->group[0][i], r);
    }
    return rc;
}

static sq_status compare_maps(const files *f, sq_compare_report *r)
{
    sq_status rc = SQ_OK;
    size_t capacity = 0;
    sq_dtype type;
    int rank;
    int64_t dim[8];
    char path[CMP_NAME + 8];
    for (int i = 0; i < f->maps[0] && !r->options.table; i++) {
        if (!contains(f->map[1], f->maps[1], f->map[0][i]))
            continue;
        snprintf(path, sizeof path, "maps/%.80s", f->map[0][i]);
        SQ_TRY(sq_h5_shape(f->h5[0], path, &type, &rank, dim));
        for (int64_t p = 0; p < (rank == 3 ? dim[0] : 1); p++) {
            SQ_TRY(SQ_GROW(r->map, capacity, r->maps + 1, "maps"));
            cmp_map *m = &r->map[r->maps++];
            SQ_TRY(cmp_map_compare(f->h5[0], f->h5[1], f->map[0][i], p, m));
            if (!m->same_shape)
                break;
        }
    }
cleanup:
    return rc;
}

static void read_manifests(const files *f, sq_compare_report *r)
{
    for (int s = 0; s < 2; s++) {
        char *hash = NULL;
        if (sq_h5_has(f->h5[s], "manifest") &&
            sq_h5_read_text(f->h5[s], "manifest", "hash", &hash) == SQ_OK)
            snprintf(r->manifest[s], sizeof r->manifest[s], "%s", hash);
        sq_error_clear();
        sq_free(hash);
    }
    r->identical = r->manifest[0][0] && strcmp(r->manifest[0], r->manifest[1]) == 0;
}

static sq_status check_options(const sq_compare_options *o)
{
    if (!o->a || !o->b)
        return sq_fail(SQ_ERR_USAGE, "two releases are needed");
    if (!(o->match > 0 && o->match <= 3600))
        return sq_fail(SQ_ERR_USAGE, "match: %g arcsec is not in (0, 3600]", o->match);
    if (!(o->bin_step > 0))
        return sq_fail(SQ_ERR_USAGE, "bins: a width of %g is not above 0", o->bin_step);
    return SQ_OK;
}

sq_status sq_compare(const sq_compare_options *options, sq_compare_report **out)
{
    sq_status rc;
    files f = {{NULL, NULL}, {NULL, NULL}, {NULL, NULL}, {0, 0}, {0, 0}};
    sq_compare_report *r = NULL;
    SQ_TRY(check_options(options));
    SQ_TRY(SQ_ALLOC(r, 1, "report"));
    r->options = *options;
    snprintf(r->path[0], sizeof r->path[0], "%s", options->a);
    snprintf(r->path[1], sizeof r->path[1], "%s", options->b);
    SQ_TRY(open_files(options, &f));
    read_manifests(&f, r);
    SQ_TRY(note_alone(&f, r));
    SQ_TRY(compare_tables(&f, r));
    SQ_TRY(compare_maps(&f, r));
    if (!r->tables && !r->maps)
        SQ_TRY(
            sq_fail(SQ_ERR_FORMAT, "%s, %s: no table or map is in both", options->a, options->b));
    SQ_TRY(cmp_judge(r));
    *out = r;
    r = NULL;
cleanup:
    files_clear(&f);
    sq_compare_destroy(r);
    return rc;
}

int64_t sq_compare_exceeded(const sq_compare_report *report)
{
    return (int64_t)report->exceeded;
}

void sq_compare_destroy(sq_compare_report *report)
{
    if (!report)
        return;
    for (int i = 0; i < report->tables; i++)
        cmp_table_clear(&report->table[i]);
    for (int s = 0; s < 2; s++)
        sq_h5_free_names(report->only_name[s], report->only[s]);
    sq_free(report->table);
    sq_free(report->map);
    sq_free(report->exceed);
    sq_free(report);
}
