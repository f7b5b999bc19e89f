#include "lensing/survey.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "lensing/amplitude.h"

/* Sums over patches, weighted by area but for the first and the last two. */
typedef struct sums {
    double patches, area, power, noise, n1, mean_field, transfer, split, signal, rho;
    double snr2, iterated2;
} sums;

int lensing_data_pairs(const lensing_pairs *p, int *index)
{
    int n = 0;
    for (int k = 0; k < p->pairs; k++) {
        if (p->field[p->a[k]] == LENSING_TRUTH || p->field[p->b[k]] == LENSING_TRUTH)
            continue;
        if (index)
            index[n] = k;
        n++;
    }
    return n;
}

static void add(sums *s, const bandpower_row *r)
{
    double w = r->area, transfer = r->transfer_a * r->transfer_b;
    s->patches++;
    s->area += w;
    s->power += w * r->power;
    s->noise += w * r->noise;
    s->n1 += w * r->n1;
    s->mean_field += w * r->mean_field;
    s->transfer += w * transfer;
    s->split += w * r->split * transfer;
    s->signal += w * r->signal;
    s->rho += w * r->rho;
    s->snr2 += r->snr * r->snr;
    s->iterated2 += pow(r->snr / r->snr_iterated, 2);
}

sq_status lensing_survey_write(const lensing_pairs *pairs, const lensing_release *release,
                               sq_phase_products *products, const char *path)
{
    sq_status rc = SQ_OK;
    lensing_stitch stitch = {NULL, NULL};
    sums *sum = NULL;
    void *row = NULL;
    int n = lensing_data_pairs(pairs, NULL) * pairs->bins;
    FILE *file = fopen(path, "wb");
    if (!file)
        return sq_fail(SQ_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    SQ_TRY(SQ_ALLOC(sum, n, "sums"));
    if (release)
        SQ_TRY(lensing_stitch_make(release, &stitch));
    for (;;) {
        sq_product_view view;
        int more;
        SQ_TRY(sq_phase_products_next(products, &view, &more));
        if (!more)
            break;
        if (release)
            lensing_stitch_add(release, &view, &stitch);
        if (view.rows[TABLE_BANDPOWERS] != n)
            continue;
        SQ_TRY(lensing_rows_read(TABLE_BANDPOWERS, &view, &row));
        for (int k = 0; k < n; k++)
            add(&sum[k], (const bandpower_row *)row + k);
        sq_free(row);
        row = NULL;
    }
    if (fwrite(sum, sizeof *sum, (size_t)n, file) != (size_t)n)
        SQ_TRY(sq_fail(SQ_ERR_IO, "%s: cannot be written: %s", path, strerror(errno)));
    if (release)
        SQ_TRY(lensing_stitch_save(release, &stitch, file, path));
cleanup:
    if (fclose(file) != 0 && rc == SQ_OK)
        rc = sq_fail(SQ_ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    lensing_stitch_free(&stitch);
    sq_free(sum);
    sq_free(row);
    return rc;
}

static sq_status open_sums(const lensing_pairs *pairs, const char *path, FILE **file, sums **out)
{
    int n = lensing_data_pairs(pairs, NULL) * pairs->bins;
    sq_status rc = SQ_ALLOC(*out, n, "sums");
    if (rc != SQ_OK)
        return rc;
    *file = fopen(path, "rb");
    if (!*file)
        return sq_fail(SQ_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    if (fread(*out, sizeof **out, (size_t)n, *file) != (size_t)n)
        return sq_fail(SQ_ERR_CORRUPT, "%s: is cut off", path);
    return SQ_OK;
}

/* Standard deviation of a power over the simulated surveys. */
static double scatter(const lensing_survey_sims *sims, int powers, int at)
{
    double sum = 0, square = 0, n = 2 * (double)sims->count;
    for (int64_t i = 0; i < 2 * sims->count; i++) {
        double value = sims->power[(i / 2 * LENSING_KINDS + i % 2) * powers + at];
        sum += value;
        square += value * value;
    }
    return n > 1 ? sqrt(fmax(0, square - sum * sum / n) / (n - 1)) : NAN;
}

static sq_status write_rows(const lensing_pairs *p, const sums *sum,
                            const lensing_survey_sims *sims, sq_product *product)
{
    sq_status rc = SQ_OK;
    int index[LENSING_PAIRS], n = lensing_data_pairs(p, index), powers = p->pairs * p->bins;
    int mv = -1;
    survey_row *row = NULL;
    SQ_TRY(SQ_ALLOC(row, n * p->bins, "rows"));
    for (int k = 0; k < n; k++) {
        if (p->field[p->a[index[k]]] == LENSING_MV && p->field[p->b[index[k]]] == LENSING_MV)
            mv = k;
    }
    for (int k = 0; k < n * p->bins; k++) {
        int pair = index[k / p->bins], bin = k % p->bins;
        const sums *s = &sum[k];
        int curl = p->field[p->a[pair]] == LENSING_CURL;
        double w = s->area, transfer = curl ? 1 : s->transfer / w;
        row[k] = (survey_row){.method_a = p->field[p->a[pair]],
                              .method_b = p->field[p->b[pair]],
                              .l_min = p->edges[bin],
                              .l_max = p->edges[bin + 1],
                              .patches = s->patches,
                              .area = w,
                              .transfer = transfer,
                              .kappa = (s->power - s->noise - s->n1) / w / transfer,
                              .error = scatter(sims, powers, pair * p->bins + bin) / fabs(transfer),
                              .split = s->split / w / transfer,
                              .signal = curl ? 0 : s->signal / w,
                              .rho = s->rho / w,
                              .snr = sqrt(s->snr2),
                              .snr_mv = mv < 0 ? NAN : sqrt(s->snr2 / sum[mv * p->bins + bin].snr2),
                              .snr_iterated = sqrt(s->snr2 / s->iterated2)};
    }
    SQ_TRY(lensing_rows_write(TABLE_SURVEY, n * p->bins, row, product));
cleanup:
    sq_free(row);
    return rc;
}

/* The data's powers of a method, as those of the simulations: with all their noise, for the bias
 * that is made of the data has less scatter and follows the amplitude itself. */
static void data_vector(const lensing_pairs *p, const sums *sum, double *out)
{
    for (int b = 0; b < p->bins; b++)
        out[b] = sum[b].power / sum[b].area;
}

static sq_status fit(const lensing_pairs *p, int pair, const sums *sum,
                     const lensing_survey_sims *sims, amplitude_row *row)
{
    static const double nodes[3] = {0.8, 1, 1.2};
    enum { FIRST, SECOND, LOW = 4, HIGH };
    static const int kind_of[3] = {LOW, FIRST, HIGH};
    sq_status rc = SQ_OK;
    sq_amplitude *a = NULL;
    sq_amplitude_fit result;
    double vector[LENSING_BINS];
    int powers = p->pairs * p->bins;
    SQ_TRY(sq_amplitude_create(p->bins, 3, nodes, &a));
    for (int64_t r = 0; r < sims->count; r++) {
        const double *from = sims->power + r * LENSING_KINDS * powers + pair * p->bins;
        /* Every node has both skies, the second one at other amplitudes by what these do to the
         * first: of different skies, the scatter would look like a response. */
        for (int k = 0; k < 6; k++) {
            int node = k / 2;
            for (int b = 0; b < p->bins; b++) {
                double other = k % 2 ? from[SECOND * powers + b] - from[FIRST * powers + b] : 0;
                vector[b] =
                    from[kind_of[node] * powers + b] + other - sum[b].mean_field / sum[b].area;
            }
            sq_amplitude_add(a, node, vector);
        }
    }
    data_vector(p, sum, vector);
    *row = (amplitude_row){.method = p->field[p->a[pair]],
                           .amplitude = NAN,
                           .error = NAN,
                           .chi2 = NAN,
                           .simulations = 2 * (double)sims->count};
    rc = sq_amplitude_estimate(a, vector, 1, NULL, &result);
    if (rc == SQ_ERR_DATA) { /* too few simulations */
        sq_error_clear();
        rc = SQ_OK;
    } else if (rc == SQ_OK) {
        row->amplitude = result.a;
        row->error = result.sigma;
        row->chi2 = result.chi2;
        row->dof = result.dof;
    }
cleanup:
    sq_amplitude_destroy(a);
    return rc;
}

sq_status lensing_survey_rows(const lensing_pairs *p, const char *path, const char *statistics,
                              int amplitude, sq_product *product)
{
    sq_status rc = SQ_OK;
    FILE *file = NULL;
    sums *sum = NULL;
    lensing_survey_sims sims = {0};
    amplitude_row row[LENSING_METHODS];
    int index[LENSING_PAIRS], n = lensing_data_pairs(p, index), fits = 0;
    SQ_TRY(open_sums(p, path, &file, &sum));
    SQ_TRY(lensing_survey_sims_read(statistics, p, &sims));
    if (!(sum[0].patches > 0))
        goto cleanup;
    SQ_TRY(write_rows(p, sum, &sims, product));
    for (int k = 0; k < n && amplitude; k++) {
        if (p->a[index[k]] == p->b[index[k]] && p->field[p->a[index[k]]] != LENSING_CURL)
            SQ_TRY(fit(p, index[k], sum + k * p->bins, &sims, &row[fits++]));
    }
    SQ_TRY(lensing_rows_write(TABLE_AMPLITUDE, fits, row, product));
cleanup:
    if (file)
        fclose(file);
    sq_free(sum);
    sq_free(sims.power);
    return rc;
}

sq_status lensing_survey_cell(const lensing_pairs *pairs, const lensing_release *release,
                              const char *path, const sq_patch *place, sq_product *product)
{
    long offset = (long)(lensing_data_pairs(pairs, NULL) * pairs->bins) * (long)sizeof(sums);
    FILE *file = fopen(path, "rb");
    if (!file)
        return sq_fail(SQ_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
    sq_status rc = lensing_stitch_cell(release, file, path, offset, place, product);
    fclose(file);
    return rc;
}
