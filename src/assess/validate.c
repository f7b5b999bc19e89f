#include "assess/validate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assess/columns.h"
#include "assess/matching.h"
#include "assess/quantity.h"
#include "assess/region.h"
#include "base/mem.h"
#include "sky/zones.h"

enum { LEAST_BLOCKS = 200 };
/* The same source in two tiles differs by rounding only. */
static const double same_source = 0.02;

const double sq_level[SQ_LEVELS] = {0.50, 0.68, 0.90, 0.95};

/* One of the two catalogues: what counts and what it belongs to. */
typedef struct side {
    catalog columns;
    int64_t n;
    const double *ra, *dec, *flux, *star; /* star: 0/1, or the probability of a detection */
    double *mag;
    uint8_t *match;  /* takes part in the matching */
    uint8_t *inside; /* lies in footprint and region */
    uint8_t *count;  /* is counted: match and inside */
    int64_t *partner, *block;
} side;

typedef struct job {
    const sq_validate_options *options;
    side truth, found;
    const double *probability; /* of the detections, NULL: all are certain */
    const double *flags;       /* NULL without a bit to reject */
    footprint footprint;
    polygon *region;
    sq_bootstrap *bootstrap;
    int64_t blocks;
    double *sum[12]; /* per block, see count_bin */
    pairs pairs;
    sq_validate_report *report;
} job;

void sq_validate_defaults(sq_validate_options *options)
{
    *options = (sq_validate_options){
        .match = 0.6,
        .limit = NAN,
        .bright = NAN,
        .threshold = 0.5,
        .margin = 2,
        .bin_low = NAN,
        .bin_step = 0.5,
        .seed = 1,
        .replicas = 200,
    };
}

static sq_status check_options(const sq_validate_options *o)
{
    if (!o->release || !o->truth)
        return sq_fail(SQ_ERR_USAGE, "a release and a truth are needed");
    if (!(o->match > 0 && o->match <= 3600))
        return sq_fail(SQ_ERR_USAGE, "match: %g arcsec is not in (0, 3600]", o->match);
    if (!(o->bin_step > 0) || !(o->margin >= 0) || o->replicas < 0 || o->replicas > 10000)
        return sq_fail(SQ_ERR_USAGE, "bins, margin or replicas out of range");
    if (o->limit <= o->bright)
        return sq_fail(SQ_ERR_USAGE, "limit %g is not fainter than %g", o->limit, o->bright);
    return SQ_OK;
}

static sq_status choose_band(job *job, char *flux, size_t size)
{
    char *band = job->report->band;
    const char *wanted = job->options->band ? job->options->band : "r";
    const size_t room = sizeof job->report->band;
    snprintf(flux, size, "flux_%.20s", wanted);
    snprintf(band, room, "%.15s", wanted);
    if (catalog_has(&job->found.columns, flux) && catalog_has(&job->truth.columns, flux))
        return SQ_OK;
    for (int i = 0; !job->options->band && i < job->truth.columns.count; i++) {
        const char *name = job->truth.columns.column[i].name;
        if (strncmp(name, "flux_", 5) != 0 || !catalog_has(&job->found.columns, name))
            continue;
        snprintf(flux, size, "%s", name);
        snprintf(band, room, "%.15s", name + 5);
        return SQ_OK;
    }
    return sq_fail(SQ_ERR_FORMAT, "%s, %s: %s: not a column of both", job->options->release,
                   job->options->truth, flux);
}

static sq_status open_side(side *s, const char *flux)
{
    sq_status rc;
    catalog *c = &s->columns;
    s->n = c->rows;
    SQ_TRY(catalog_column(c, "ra", &s->ra));
    SQ_TRY(catalog_column(c, "dec", &s->dec));
    SQ_TRY(catalog_column(c, flux, &s->flux));
    SQ_TRY(SQ_ALLOC(s->mag, s->n + 1, "magnitudes"));
    SQ_TRY(SQ_ALLOC(s->match, s->n + 1, "selection"));
    SQ_TRY(SQ_ALLOC(s->inside, s->n + 1, "selection"));
    SQ_TRY(SQ_ALLOC(s->count, s->n + 1, "selection"));
    SQ_TRY(SQ_ALLOC(s->partner, s->n + 1, "matches"));
    SQ_TRY(SQ_ALLOC(s->block, s->n + 1, "blocks"));
    for (int64_t i = 0; i < s->n; i++) {
        s->mag[i] = s->flux[i] > 0 ? 31.4 - 2.5 * log10(s->flux[i]) : INFINITY;
        s->match[i] = isfinite(s->ra[i]) && isfinite(s->dec[i]);
    }
cleanup:
    return rc;
}

static void close_side(side *s)
{
    if (s->columns.file)
        catalog_close(&s->columns);
    sq_free(s->mag);
    sq_free(s->match);
    sq_free(s->inside);
    sq_free(s->count);
    sq_free(s->partner);
    sq_free(s->block);
}

/* A source in the overlap of tiles stands in the truth once for each of them: keep one. */
static sq_status drop_repeats(side *truth)
{
    sq_status rc;
    const double *tile;
    sq_zones *z = NULL;
    sq_zone_hits hits = {0};
    SQ_TRY(catalog_optional(&truth->columns, "tile", &tile));
    if (!tile)
        return SQ_OK;
    SQ_TRY(sq_zones_create(SQ_METRIC_SKY, truth->n, truth->ra, truth->dec, truth->match,
                           same_source, &z));
    for (int64_t i = 0; i < truth->n; i++) {
        if (!truth->match[i])
            continue;
        SQ_TRY(sq_zones_query(z, truth->ra[i], truth->dec[i], &hits));
        for (size_t k = 0; k < hits.count; k++) {
            int64_t j = hits.hit[k].index;
            double a = truth->flux[i], b = truth->flux[j];
            if (tile[j] < tile[i] && fabs(a - b) <= 1e-3 * fmax(fabs(a), fabs(b)))
                truth->match[i] = 0;
        }
    }
cleanup:
    sq_free(hits.hit);
    sq_zones_destroy(z);
    return rc;
}

static int is_inside(const job *job, double ra, double dec)
{
    return footprint_depth(&job->footprint, ra, dec) >= job->options->margin &&
           (!job->region || polygon_depth(job->region, ra, dec) >= 0);
}

static int64_t mark_inside(const job *job, side *s)
{
    int64_t used = 0;
    for (int64_t i = 0; i < s->n; i++) {
        s->inside[i] = s->match[i] && is_inside(job, s->ra[i], s->dec[i]);
        used += s->inside[i];
    }
    return used;
}

static sq_status load(job *job)
{
    const sq_validate_options *o = job->options;
    sq_validate_report *report = job->report;
    sq_status rc;
    char flux[80];
    SQ_TRY(catalog_open(o->release, o->table, &job->found.columns));
    SQ_TRY(catalog_open(o->truth, NULL, &job->truth.columns));
    SQ_TRY(choose_band(job, flux, sizeof flux));
    SQ_TRY(open_side(&job->truth, flux));
    SQ_TRY(open_side(&job->found, flux));
    SQ_TRY(catalog_optional(&job->truth.columns, "star", &job->truth.star));
    SQ_TRY(catalog_optional(&job->found.columns, "star_probability", &job->found.star));
    SQ_TRY(catalog_optional(&job->found.columns, "detection_probability", &job->probability));
    SQ_TRY(footprint_read(job->found.columns.file, &job->footprint));
    if (o->region)
        SQ_TRY(polygon_create(o->region, o->vertices, &job->region));
    if (o->reject)
        SQ_TRY(catalog_column(&job->found.columns, "flags", &job->flags));
    SQ_TRY(drop_repeats(&job->truth));
    report->truth_rows = job->truth.n;
    report->catalog_rows = job->found.n;
    report->truth_used = mark_inside(job, &job->truth);
    report->catalog_used = mark_inside(job, &job->found);
    if (report->truth_used == 0)
        SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: no true source inside the footprint and the region",
                       o->truth));
cleanup:
    return rc;
}

/* Pairs of the truth with the detections whose probability reaches the threshold. */
static sq_status match(job *job, double threshold)
{
    side *t = &job->truth, *f = &job->found;
    for (int64_t i = 0; i < f->n; i++) {
        f->match[i] = isfinite(f->ra[i]) && isfinite(f->dec[i]) &&
                      (!job->probability || job->probability[i] >= threshold) &&
                      (!job->flags || !((uint64_t)job->flags[i] & job->options->reject));
        f->count[i] = f->match[i] && f->inside[i];
    }
    memcpy(t->count, t->inside, (size_t)t->n);
    match_list truth = {t->n, t->ra, t->dec, t->mag, t->match};
    match_list found = {f->n, f->ra, f->dec, f->mag, f->match};
    return match_pairs(&truth, &found, job->options->match, job->options->tolerance, t->partner,
                       f->partner);
}

/* One numbering of blocks for both lists. */
static sq_status make_blocks(job *job)
{
    side *t = &job->truth, *f = &job->found;
    int64_t n = t->n + f->n;
    double *ra = NULL, *dec = NULL;
    int64_t *block = NULL;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(ra, n + 1, "blocks"));
    SQ_TRY(SQ_ALLOC(dec, n + 1, "blocks"));
    SQ_TRY(SQ_ALLOC(block, n + 1, "blocks"));
    for (int64_t i = 0; i < n; i++) {
        const side *s = i < t->n ? t : f;
        int64_t k = i < t->n ? i : i - t->n;
        ra[i] = s->inside[k] ? s->ra[k] : NAN;
        dec[i] = s->inside[k] ? s->dec[k] : NAN;
    }
    SQ_TRY(sq_sky_blocks(n, ra, dec, LEAST_BLOCKS, block, &job->blocks));
    memcpy(t->block, block, (size_t)t->n * sizeof *block);
    memcpy(f->block, block + t->n, (size_t)f->n * sizeof *block);
    SQ_TRY(sq_bootstrap_create(job->options->seed, job->blocks, job->options->replicas,
                               &job->bootstrap));
    for (size_t k = 0; k < sizeof job->sum / sizeof *job->sum; k++)
        SQ_TRY(SQ_ALLOC(job->sum[k], job->blocks, "sums per block"));
    job->report->blocks = job->blocks;
cleanup:
    sq_free(ra);
    sq_free(dec);
    sq_free(block);
    return rc;
}

enum {
    TRUTH,
    MATCHED,
    FOUND,
    RIGHT,
    STARS,
    STARS_MATCHED,
    GALAXIES,
    GALAXIES_MATCHED,
    CLASSED,
    CLASS_RIGHT,
    STARS_RIGHT,
    GALAXIES_RIGHT
};

static void count_class(job *job, int64_t i, int star)
{
    const side *t = &job->truth, *f = &job->found;
    int64_t j = t->partner[i], b = t->block[i];
    job->sum[star ? STARS : GALAXIES][b]++;
    if (j < 0)
        return;
    job->sum[star ? STARS_MATCHED : GALAXIES_MATCHED][b]++;
    if (!f->star || !isfinite(f->star[j]))
        return;
    int right = (f->star[j] >= 0.5) == star;
    job->sum[CLASSED][b]++;
    job->sum[CLASS_RIGHT][b] += right;
    job->sum[star ? STARS_RIGHT : GALAXIES_RIGHT][b] += right;
}

static int in_range(double mag, double low, double high)
{
    return mag >= low && mag < high;
}

static sq_estimate fraction(const job *job, int part, int whole)
{
    return sq_bootstrap_ratio(job->bootstrap, job->sum[part], job->sum[whole]);
}

static void count_bin(job *job, double low, double high, sq_validate_bin *out)
{
    const side *t = &job->truth, *f = &job->found;
    for (size_t k = 0; k < sizeof job->sum / sizeof *job->sum; k++)
        memset(job->sum[k], 0, (size_t)job->blocks * sizeof(double));
    *out = (sq_validate_bin){.low = low, .high = high};
    for (int64_t i = 0; i < t->n; i++) {
        if (!t->count[i] || !in_range(t->mag[i], low, high))
            continue;
        out->truth++;
        out->matched += t->partner[i] >= 0;
        job->sum[TRUTH][t->block[i]]++;
        job->sum[MATCHED][t->block[i]] += t->partner[i] >= 0;
        if (t->star)
            count_class(job, i, t->star[i] != 0);
    }
    for (int64_t j = 0; j < f->n; j++) {
        if (!f->count[j] || !in_range(f->mag[j], low, high))
            continue;
        out->found++;
        out->right += f->partner[j] >= 0;
        job->sum[FOUND][f->block[j]]++;
        job->sum[RIGHT][f->block[j]] += f->partner[j] >= 0;
    }
    out->completeness = fraction(job, MATCHED, TRUTH);
    out->purity = fraction(job, RIGHT, FOUND);
    out->f1 = sq_bootstrap_f1(job->bootstrap, job->sum[MATCHED], job->sum[TRUTH], job->sum[RIGHT],
                              job->sum[FOUND]);
    out->star_completeness = fraction(job, STARS_MATCHED, STARS);
    out->galaxy_completeness = fraction(job, GALAXIES_MATCHED, GALAXIES);
    out->class_accuracy = fraction(job, CLASS_RIGHT, CLASSED);
    out->star_accuracy = fraction(job, STARS_RIGHT, STARS_MATCHED);
    out->galaxy_accuracy = fraction(job, GALAXIES_RIGHT, GALAXIES_MATCHED);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* From whole magnitudes below the brightest percent to the limit, or to the faintest sources. */
static sq_status choose_range(const job *job, double *low, double *high)
{
    const side *t = &job->truth;
    double *mag = NULL;
    int64_t n = 0;
    sq_status rc = SQ_ALLOC(mag, t->n + 1, "magnitudes");
    if (rc != SQ_OK)
        return rc;
    for (int64_t i = 0; i < t->n; i++) {
        if (t->count[i] && isfinite(t->mag[i]))
            mag[n++] = t->mag[i];
    }
    qsort(mag, (size_t)n, sizeof *mag, by_value);
    *low = isfinite(job->options->bin_low)  ? job->options->bin_low
           : isfinite(job->options->bright) ? job->options->bright
           : n                              ? floor(mag[n / 100])
                                            : 0;
    *high = isfinite(job->options->limit) ? job->options->limit
            : n                           ? ceil(mag[n - 1 - n / 1000])
                                          : 0;
    sq_free(mag);
    return SQ_OK;
}

static sq_status count_bins(job *job)
{
    sq_validate_report *r = job->report;
    double low, high, step = job->options->bin_step;
    sq_status rc = choose_range(job, &low, &high);
    if (rc != SQ_OK)
        return rc;
    count_bin(job, isnan(job->options->bright) ? -INFINITY : job->options->bright,
              isnan(job->options->limit) ? INFINITY : job->options->limit, &r->all);
    for (int k = 0; k < SQ_MAX_MAG_BINS && low + k * step < high - 1e-9; k++) {
        double end = fmin(low + (k + 1) * step, high);
        count_bin(job, low + k * step, end, &r->bin[k]);
        count_bin(job, r->all.low, end, &r->brighter[k]);
        r->bins = k + 1;
    }
    return SQ_OK;
}

static sq_status list_pairs(job *job)
{
    const side *t = &job->truth;
    pairs *p = &job->pairs;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(p->truth, t->n + 1, "pairs"));
    SQ_TRY(SQ_ALLOC(p->found, t->n + 1, "pairs"));
    SQ_TRY(SQ_ALLOC(p->block, t->n + 1, "pairs"));
    SQ_TRY(SQ_ALLOC(p->mag, t->n + 1, "pairs"));
    for (int64_t i = 0; i < t->n; i++) {
        if (!t->count[i] || t->partner[i] < 0)
            continue;
        p->truth[p->n] = i;
        p->found[p->n] = t->partner[i];
        p->block[p->n] = t->block[i];
        p->mag[p->n++] = t->mag[i];
    }
cleanup:
    return rc;
}

/* Star/galaxy separation over the matched sources of the summary's range. */
static sq_status separate(job *job)
{
    const side *t = &job->truth, *f = &job->found;
    const pairs *p = &job->pairs;
    sq_validate_report *r = job->report;
    double *score = NULL, total[2] = {0, 0};
    uint8_t *star = NULL;
    int64_t *block = NULL, n = 0;
    sq_status rc;
    if (!t->star || !f->star)
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(score, p->n + 1, "scores"));
    SQ_TRY(SQ_ALLOC(star, p->n + 1, "scores"));
    SQ_TRY(SQ_ALLOC(block, p->n + 1, "scores"));
    for (int64_t i = 0; i < p->n; i++) {
        double s = f->star[p->found[i]];
        if (!isfinite(s) || !in_range(p->mag[i], r->all.low, r->all.high))
            continue;
        score[n] = s;
        block[n] = p->block[i];
        star[n] = t->star[p->truth[i]] != 0;
        total[star[n++]]++;
    }
    r->has_class = n > 0;
    SQ_TRY(sq_bootstrap_auc(job->bootstrap, n, score, star, block, &r->auc));
    for (int k = 0; k < SQ_ROC_POINTS; k++) {
        double above[2] = {0, 0}, threshold = 1 - k / (SQ_ROC_POINTS - 1.0);
        for (int64_t i = 0; i < n; i++)
            above[star[i]] += score[i] >= threshold;
        r->roc[k][0] = total[0] > 0 ? above[0] / total[0] : NAN;
        r->roc[k][1] = total[1] > 0 ? above[1] / total[1] : NAN;
    }
cleanup:
    sq_free(score);
    sq_free(star);
    sq_free(block);
    return rc;
}

/* Expected calibration error: the mean over detections of |fraction - probability| of their bin. */
static double calibration_error(const sq_validate_reliability *bin)
{
    double sum = 0, n = 0;
    for (int k = 0; k < SQ_RELIABILITY_BINS; k++) {
        if (bin[k].n == 0)
            continue;
        sum += (double)bin[k].n * fabs(bin[k].fraction - bin[k].probability);
        n += (double)bin[k].n;
    }
    return n > 0 ? sum / n : NAN;
}

static void reliability_add(sq_validate_reliability *bin, double p, int real)
{
    int k = (int)(p * SQ_RELIABILITY_BINS);
    k = k < 0 ? 0 : k >= SQ_RELIABILITY_BINS ? SQ_RELIABILITY_BINS - 1 : k;
    bin[k].n++;
    bin[k].probability += (p - bin[k].probability) / (double)bin[k].n;
    bin[k].fraction += (real - bin[k].fraction) / (double)bin[k].n;
}

/* Matches every row, however improbable. */
static sq_status judge_probabilities(job *job)
{
    const side *f = &job->found;
    sq_validate_report *r = job->report;
    sq_status rc;
    if (!job->probability)
        return SQ_OK;
    SQ_TRY(match(job, -INFINITY));
    for (int64_t j = 0; j < f->n; j++) {
        if (!f->count[j] || !isfinite(job->probability[j]))
            continue;
        reliability_add(r->reliability, job->probability[j], f->partner[j] >= 0);
        r->expected += job->probability[j];
        r->has_probability = 1;
    }
    r->calibration_error = (sq_estimate){calibration_error(r->reliability), NAN};
cleanup:
    return rc;
}

static void job_clear(job *job)
{
    close_side(&job->truth);
    close_side(&job->found);
    footprint_clear(&job->footprint);
    polygon_destroy(job->region);
    sq_bootstrap_destroy(job->bootstrap);
    for (size_t k = 0; k < sizeof job->sum / sizeof *job->sum; k++)
        sq_free(job->sum[k]);
    sq_free(job->pairs.truth);
    sq_free(job->pairs.found);
    sq_free(job->pairs.block);
    sq_free(job->pairs.mag);
}

sq_status sq_validate(const sq_validate_options *options, sq_validate_report **out)
{
    sq_status rc;
    job job = {.options = options};
    SQ_TRY(check_options(options));
    SQ_TRY(SQ_ALLOC(job.report, 1, "report"));
    job.report->match = options->match;
    job.report->tolerance = options->tolerance;
    job.report->threshold = options->threshold;
    job.report->seed = options->seed;
    SQ_TRY(load(&job));
    SQ_TRY(match(&job, options->threshold));
    SQ_TRY(make_blocks(&job));
    SQ_TRY(count_bins(&job));
    SQ_TRY(list_pairs(&job));
    SQ_TRY(quantities_compare(&job.found.columns, &job.truth.columns, &job.pairs, job.bootstrap,
                              job.report->all.low, job.report->all.high, job.report));
    SQ_TRY(separate(&job));
    SQ_TRY(judge_probabilities(&job));
    *out = job.report;
    job.report = NULL;
cleanup:
    job_clear(&job);
    sq_validate_destroy(job.report);
    return rc;
}

void sq_validate_destroy(sq_validate_report *report)
{
    if (!report)
        return;
    sq_free(report->quantity);
    sq_free(report);
}
