#include "lensing/statistics.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static const uint64_t MAGIC = UINT64_C(0x31736e656c515300); /* "SQlens1" */

typedef struct header {
    uint64_t magic;
    int64_t powers, fields, modes, patches, realisations;
    int64_t index, survey; /* offsets */
} header;

typedef struct entry {
    uint64_t patch;
    int64_t offset;
} entry;

int64_t lensing_mean_modes(const sq_flat *flat, const lensing_pairs *pairs, int32_t *v, int32_t *u)
{
    int columns = flat->nx / 2 + 1;
    double step_y = 2 * M_PI / (flat->ny * flat->dy), step_x = 2 * M_PI / (flat->nx * flat->dx);
    int64_t n = 0;
    for (int j = 0; j < flat->ny; j++) {
        for (int i = 0; i < columns; i++) {
            double l = hypot((j < flat->ny / 2 ? j : j - flat->ny) * step_y, i * step_x);
            if (!(l > 0 && l < pairs->edges[pairs->bins]))
                continue;
            if (v) {
                v[n] = j;
                u[n] = i;
            }
            n++;
        }
    }
    return n;
}

void lensing_statistics_free(lensing_statistics *s)
{
    double *all[] = {s->mean, s->scatter, s->noise_data, s->noise_sims, s->noise_cmb};
    for (int i = 0; i < 5; i++)
        sq_free(all[i]);
    for (int h = 0; h < 2; h++)
        sq_free(s->half[h]);
    memset(s, 0, sizeof *s);
}

static sq_status make(lensing_statistics *s, int64_t powers, int64_t mean_modes)
{
    sq_status rc = SQ_OK;
    double **all[] = {&s->mean, &s->scatter, &s->noise_data, &s->noise_sims, &s->noise_cmb};
    memset(s, 0, sizeof *s);
    for (int i = 0; i < 5; i++)
        SQ_TRY(sq_alloc(all[i], (size_t)powers, sizeof(double), "statistics"));
    for (int h = 0; h < 2; h++)
        SQ_TRY(SQ_ALLOC(s->half[h], mean_modes, "mean field"));
cleanup:
    if (rc != SQ_OK)
        lensing_statistics_free(s);
    return rc;
}

/* ---- writing ---- */

typedef struct writer {
    const char *path;
    FILE *file;
    header head;
    int64_t modes; /* fields * mean modes */
    lensing_statistics now;
    uint64_t patch;
    entry *entry;
    size_t entries, capacity;
    double *survey, *weight; /* sums over patches, [realisations][LENSING_KINDS][powers], [..] */
    size_t capacity_survey, capacity_weight;
} writer;

static sq_status put(writer *w, const void *data, size_t size)
{
    if (fwrite(data, 1, size, w->file) != size)
        return sq_fail(SQ_ERR_IO, "%s: cannot be written: %s", w->path, strerror(errno));
    return SQ_OK;
}

static void add_powers(writer *w, const simulation_row *row)
{
    lensing_statistics *s = &w->now;
    for (int64_t k = 0; k < w->head.powers; k++) {
        s->mean[k] += row[k].first + row[k].second;
        s->scatter[k] += row[k].first * row[k].first + row[k].second * row[k].second;
        s->noise_data[k] += row[k].noise_data;
        s->noise_sims[k] += row[k].noise_sims;
        s->noise_cmb[k] += row[k].noise_cmb;
    }
    s->area = row[0].area;
    s->count++;
}

static sq_status add_survey(writer *w, uint32_t realisation, const simulation_row *row)
{
    sq_status rc = SQ_OK;
    size_t block = (size_t)(LENSING_KINDS * w->head.powers);
    SQ_TRY(SQ_GROW(w->survey, w->capacity_survey, (realisation + 1) * block, "statistics"));
    SQ_TRY(SQ_GROW(w->weight, w->capacity_weight, realisation + 1, "statistics"));
    double *out = w->survey + realisation * block;
    for (int64_t k = 0; k < w->head.powers; k++) {
        const double *value = &row[k].first;
        for (int kind = 0; kind < LENSING_KINDS; kind++)
            out[kind * w->head.powers + k] += row[k].area * value[kind];
    }
    w->weight[realisation] += row[0].area;
    if (w->head.realisations < (int64_t)realisation + 1)
        w->head.realisations = (int64_t)realisation + 1;
cleanup:
    return rc;
}

static sq_status finish_patch(writer *w)
{
    sq_status rc = SQ_OK;
    lensing_statistics *s = &w->now;
    double n = (double)s->count, head[4] = {n, s->area, s->halves[0], s->halves[1]};
    size_t powers = (size_t)w->head.powers;
    if (!s->count)
        return SQ_OK;
    for (size_t k = 0; k < powers; k++) {
        s->mean[k] /= 2 * n;
        s->scatter[k] =
            sqrt(fmax(0, s->scatter[k] / (2 * n) - s->mean[k] * s->mean[k]) * 2 * n / (2 * n - 1));
        s->noise_data[k] /= n;
        s->noise_sims[k] /= n;
        s->noise_cmb[k] /= n;
    }
    for (int h = 0; h < 2; h++) {
        for (int64_t k = 0; k < w->modes && s->halves[h] > 0; k++)
            s->half[h][k] /= s->halves[h];
    }
    SQ_TRY(SQ_GROW(w->entry, w->capacity, w->entries + 1, "statistics"));
    w->entry[w->entries++] = (entry){w->patch, ftell(w->file)};
    SQ_TRY(put(w, head, sizeof head));
    const double *all[] = {s->mean, s->scatter, s->noise_data, s->noise_sims, s->noise_cmb};
    for (int i = 0; i < 5; i++)
        SQ_TRY(put(w, all[i], powers * sizeof(double)));
    for (int h = 0; h < 2; h++)
        SQ_TRY(put(w, s->half[h], (size_t)w->modes * sizeof(double _Complex)));
cleanup:
    return rc;
}

static sq_status start_patch(writer *w, uint64_t patch)
{
    sq_status rc = finish_patch(w);
    if (rc != SQ_OK)
        return rc;
    lensing_statistics_free(&w->now);
    w->patch = patch;
    return make(&w->now, w->head.powers, w->modes);
}

static sq_status take(writer *w, const sq_product_view *view)
{
    sq_status rc = SQ_OK;
    void *row = NULL, *mode = NULL;
    if (!view->rows[TABLE_SIMULATIONS])
        return SQ_OK;
    if (view->rows[TABLE_SIMULATIONS] != w->head.powers || view->rows[TABLE_MEAN_FIELD] != w->modes)
        return sq_fail(SQ_ERR_CORRUPT, "lensing: a simulation of another size");
    if (!w->now.count || w->patch != view->task.patch)
        SQ_TRY(start_patch(w, view->task.patch));
    SQ_TRY(lensing_rows_read(TABLE_SIMULATIONS, view, &row));
    SQ_TRY(lensing_rows_read(TABLE_MEAN_FIELD, view, &mode));
    add_powers(w, row);
    SQ_TRY(add_survey(w, view->task.realisation, row));
    int half = view->task.realisation % 2;
    w->now.halves[half]++;
    for (int64_t k = 0; k < w->modes; k++) {
        const mode_row *m = (const mode_row *)mode + k;
        w->now.half[half][k] += m->re + I * m->im;
    }
cleanup:
    sq_free(row);
    sq_free(mode);
    return rc;
}

static sq_status finish_file(writer *w)
{
    sq_status rc = SQ_OK;
    size_t block = (size_t)(LENSING_KINDS * w->head.powers);
    w->head.patches = (int64_t)w->entries;
    w->head.index = ftell(w->file);
    SQ_TRY(put(w, w->entry, w->entries * sizeof *w->entry));
    w->head.survey = ftell(w->file);
    for (int64_t r = 0; r < w->head.realisations; r++) {
        for (size_t k = 0; k < block; k++)
            w->survey[(size_t)r * block + k] /= w->weight[r];
    }
    SQ_TRY(put(w, w->survey, (size_t)w->head.realisations * block * sizeof(double)));
    if (fseek(w->file, 0, SEEK_SET) != 0)
        SQ_TRY(sq_fail(SQ_ERR_IO, "%s: %s", w->path, strerror(errno)));
    SQ_TRY(put(w, &w->head, sizeof w->head));
cleanup:
    return rc;
}

sq_status lensing_statistics_write(const lensing_pairs *pairs, int64_t mean_modes,
                                   sq_phase_products *products, const char *path)
{
    sq_status rc = SQ_OK;
    writer w = {.path = path, .head = {.magic = MAGIC}};
    int more = 1;
    w.head.powers = (int64_t)pairs->pairs * pairs->bins;
    w.head.fields = pairs->fields - 1; /* not the truth */
    w.head.modes = mean_modes;
    w.modes = w.head.fields * mean_modes;
    w.file = fopen(path, "wb");
    if (!w.file)
        return sq_fail(SQ_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    SQ_TRY(put(&w, &w.head, sizeof w.head));
    for (;;) {
        sq_product_view view;
        SQ_TRY(sq_phase_products_next(products, &view, &more));
        if (!more)
            break;
        SQ_TRY(take(&w, &view));
    }
    SQ_TRY(finish_patch(&w));
    SQ_TRY(finish_file(&w));
cleanup:
    if (fclose(w.file) != 0 && rc == SQ_OK)
        rc = sq_fail(SQ_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    lensing_statistics_free(&w.now);
    sq_free(w.entry);
    sq_free(w.survey);
    sq_free(w.weight);
    return rc;
}

/* ---- reading ---- */

static sq_status get(FILE *file, const char *path, void *data, size_t size)
{
    if (fread(data, 1, size, file) != size)
        return sq_fail(SQ_ERR_CORRUPT, "%s: is cut off", path);
    return SQ_OK;
}

static sq_status open_file(const char *path, const lensing_pairs *pairs, FILE **file, header *head)
{
    *file = fopen(path, "rb");
    if (!*file)
        return sq_fail(SQ_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    sq_status rc = get(*file, path, head, sizeof *head);
    if (rc == SQ_OK && (head->magic != MAGIC || head->fields != pairs->fields - 1 ||
                        head->powers != (int64_t)pairs->pairs * pairs->bins))
        rc = sq_fail(SQ_ERR_CORRUPT, "%s: not the statistics of this run", path);
    return rc;
}

static sq_status find_patch(FILE *file, const char *path, const header *head, uint64_t patch,
                            int64_t *offset)
{
    int64_t low = 0, high = head->patches;
    *offset = -1;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        entry e;
        if (fseek(file, (long)(head->index + middle * (int64_t)sizeof e), SEEK_SET) != 0)
            return sq_fail(SQ_ERR_CORRUPT, "%s: is cut off", path);
        sq_status rc = get(file, path, &e, sizeof e);
        if (rc != SQ_OK)
            return rc;
        if (e.patch == patch) {
            *offset = e.offset;
            return SQ_OK;
        }
        if (e.patch < patch)
            low = middle + 1;
        else
            high = middle;
    }
    return SQ_OK;
}

sq_status lensing_statistics_read(const char *path, const lensing_pairs *pairs, int64_t mean_modes,
                                  uint64_t patch, lensing_statistics *s, int *found)
{
    sq_status rc = SQ_OK;
    FILE *file = NULL;
    header head;
    int64_t offset;
    double numbers[4];
    memset(s, 0, sizeof *s);
    *found = 0;
    SQ_TRY(open_file(path, pairs, &file, &head));
    if (head.modes != mean_modes)
        SQ_TRY(sq_fail(SQ_ERR_CORRUPT, "%s: not the statistics of this run", path));
    SQ_TRY(find_patch(file, path, &head, patch, &offset));
    if (offset < 0)
        goto cleanup;
    SQ_TRY(make(s, head.powers, head.fields * mean_modes));
    if (fseek(file, (long)offset, SEEK_SET) != 0)
        SQ_TRY(sq_fail(SQ_ERR_CORRUPT, "%s: is cut off", path));
    SQ_TRY(get(file, path, numbers, sizeof numbers));
    s->count = (int64_t)numbers[0];
    s->area = numbers[1];
    double *all[] = {s->mean, s->scatter, s->noise_data, s->noise_sims, s->noise_cmb};
    for (int i = 0; i < 5; i++)
        SQ_TRY(get(file, path, all[i], (size_t)head.powers * sizeof(double)));
    for (int h = 0; h < 2; h++) {
        s->halves[h] = numbers[2 + h];
        SQ_TRY(get(file, path, s->half[h],
                   (size_t)(head.fields * mean_modes) * sizeof(double _Complex)));
    }
    *found = 1;
cleanup:
    if (file)
        fclose(file);
    if (rc != SQ_OK)
        lensing_statistics_free(s);
    return rc;
}

sq_status lensing_survey_sims_read(const char *path, const lensing_pairs *pairs,
                                   lensing_survey_sims *out)
{
    sq_status rc = SQ_OK;
    FILE *file = NULL;
    header head;
    memset(out, 0, sizeof *out);
    SQ_TRY(open_file(path, pairs, &file, &head));
    size_t n = (size_t)(head.realisations * LENSING_KINDS * head.powers);
    SQ_TRY(SQ_ALLOC(out->power, n + 1, "statistics"));
    if (fseek(file, (long)head.survey, SEEK_SET) != 0)
        SQ_TRY(sq_fail(SQ_ERR_CORRUPT, "%s: is cut off", path));
    SQ_TRY(get(file, path, out->power, n * sizeof(double)));
    out->count = head.realisations;
cleanup:
    if (file)
        fclose(file);
    if (rc != SQ_OK) {
        sq_free(out->power);
        memset(out, 0, sizeof *out);
    }
    return rc;
}
