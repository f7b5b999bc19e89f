#include "clusters/patch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "clusters/beam.h"
#include "clusters/holes.h"
#include "fits/mosaic.h"

static const double ARCMIN = M_PI / 180 / 60;
static const double FULL = 0.95;     /* window from which pixels count */
static const double FIRST_SNR = 4.5; /* of clusters that are left out of the noise */
static const double APART = 2;       /* arcmin between candidates */
static const double POINT = 0.01;    /* arcmin: theta500 of what no beam resolves */
static const double STAMP = 12;      /* arcmin: radius of a source's profile */
static const double STEP = 0.05;     /* arcmin, of the profile's table */
static const double DAZZLE = 30;     /* S/N of a source whose core is masked too */
static const double RING = 10;       /* arcmin: how far a cluster reaches in maps of sources */
static const double RINGING = 0.15;  /* of a cluster's S/N, at most */
enum { PROFILE = 242, RESPONSES = 24, ROUNDS = 2, RINGS = 120 /* arcmin */ };

struct cluster_patch {
    cluster_setup setup;
    sq_flat flat;
    int64_t pixels;
    int nscale, reference;
    double theta[CLUSTER_SCALES_MAX]; /* rad */
    sq_mmf *mmf, *single[SQ_MMF_BANDS];
    double *profile[SQ_MMF_BANDS]; /* of the beam, per steradian */
    double *model[SQ_MMF_BANDS * SQ_MMF_BANDS], *level[SQ_MMF_BANDS * SQ_MMF_BANDS];
    float *raw[SQ_MMF_BANDS];    /* for the network */
    float *map[SQ_MMF_BANDS];    /* holes filled, sources taken out, without window */
    float *masked[SQ_MMF_BANDS]; /* what is transformed */
    uint8_t *valid, *work;
    float *window, *relative, *y0[CLUSTER_SCALES_MAX], *clean, *snr;
    double norm, sigma[CLUSTER_SCALES_MAX], sigma_clean;
    double response_theta[RESPONSES], response[RESPONSES];
    sq_finder *finder;
    sq_candidate *candidate;
    int64_t candidates;
    sq_candidate *source; /* taken out */
    size_t capacity;
    int sources;
    double *ring[CLUSTER_SCALES_MAX][CLUSTER_SCALES_MAX]; /* of the filters, by arcmin */
    double response_seen; /* to y over noise, of a point: the greatest of decrements so far */
};

static int nearest_scale(const cluster_patch *p, double theta)
{
    int best = 0;
    for (int s = 1; s < p->nscale; s++) {
        if (fabs(log(p->theta[s] / theta)) < fabs(log(p->theta[best] / theta)))
            best = s;
    }
    return best;
}

static sq_status create_filters(cluster_patch *p)
{
    const cluster_settings *s = p->setup.settings;
    sq_status rc = SQ_OK;
    sq_mmf_setup all = {
        .flat = p->flat, .nband = p->setup.nband, .lmax = p->setup.lmax, .lmin = s->lmin};
    for (int b = 0; b < all.nband; b++) {
        all.signal[b] = sq_cluster_signal(s->ghz.value[b]);
        all.deproject[b] = s->deproject && all.nband > 1 ? sq_cluster_dust(s->ghz.value[b]) : 0;
        all.transfer[b] = p->setup.transfer[b];
        sq_mmf_setup one = {.flat = p->flat,
                            .nband = 1,
                            .signal = {1},
                            .transfer = {p->setup.transfer[b]},
                            .lmax = p->setup.lmax,
                            .lmin = s->lmin};
        SQ_TRY(sq_mmf_create(&one, &p->single[b]));
        SQ_TRY(SQ_ALLOC(p->profile[b], PROFILE, "beam"));
        cluster_beam_profile(p->setup.transfer[b], p->setup.lmax, STEP * ARCMIN, PROFILE,
                             p->profile[b]);
    }
    SQ_TRY(sq_mmf_create(&all, &p->mmf));
cleanup:
    return rc;
}

static sq_status create_model(cluster_patch *p)
{
    const cluster_settings *s = p->setup.settings;
    int n = p->setup.nband, lmax = p->setup.lmax;
    sq_status rc = SQ_OK;
    for (int i = 0; i < n && s->power != SQ_MMF_DATA; i++) {
        for (int j = 0; j <= i; j++) {
            int k = i * n + j;
            SQ_TRY(SQ_ALLOC(p->model[k], lmax + 1, "noise model"));
            SQ_TRY(SQ_ALLOC(p->level[k], lmax + 1, "noise model"));
            SQ_TRY(sq_cluster_sky_power(s->ghz.value[i], s->ghz.value[j], lmax, p->model[k]));
            for (int l = 0; l <= lmax; l++)
                p->model[k][l] *= p->setup.transfer[i][l] * p->setup.transfer[j][l];
        }
    }
cleanup:
    return rc;
}

static sq_status allocate(cluster_patch *p)
{
    sq_status rc = SQ_OK;
    for (int b = 0; b < p->setup.nband; b++) {
        SQ_TRY(SQ_ALLOC(p->raw[b], p->pixels, "map"));
        SQ_TRY(SQ_ALLOC(p->map[b], p->pixels, "map"));
        SQ_TRY(SQ_ALLOC(p->masked[b], p->pixels, "map"));
    }
    for (int s = 0; s < p->nscale; s++)
        SQ_TRY(SQ_ALLOC(p->y0[s], p->pixels, "filtered map"));
    SQ_TRY(SQ_ALLOC(p->clean, p->pixels, "filtered map"));
    SQ_TRY(SQ_ALLOC(p->snr, p->pixels, "S/N map"));
    SQ_TRY(SQ_ALLOC(p->valid, p->pixels, "flags"));
    SQ_TRY(SQ_ALLOC(p->work, p->pixels, "flags"));
    SQ_TRY(SQ_ALLOC(p->window, p->pixels, "window"));
    SQ_TRY(SQ_ALLOC(p->relative, p->pixels, "relative noise"));
cleanup:
    return rc;
}

sq_status cluster_patch_create(const cluster_setup *setup, cluster_patch **out)
{
    sq_status rc = SQ_OK;
    cluster_patch *p = NULL;
    double step = setup->settings->pixel * ARCMIN;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(p, 1, "patch"));
    p->setup = *setup;
    p->flat = (sq_flat){setup->side, setup->side, step, step};
    p->pixels = sq_flat_pixels(&p->flat);
    p->nscale = cluster_settings_scales(setup->settings, p->theta);
    for (int s = 0; s < p->nscale; s++)
        p->theta[s] *= ARCMIN;
    p->reference = nearest_scale(p, setup->settings->reference * ARCMIN);
    SQ_TRY(allocate(p));
    SQ_TRY(create_filters(p));
    SQ_TRY(create_model(p));
    SQ_TRY(sq_finder_create(setup->side, setup->side, p->relative, p->reference, &p->finder));
    *out = p;
    p = NULL;
cleanup:
    cluster_patch_destroy(p);
    return rc;
}

static void forget_rings(cluster_patch *p)
{
    for (int k = 0; k < CLUSTER_SCALES_MAX * CLUSTER_SCALES_MAX; k++) {
        sq_free(p->ring[k / CLUSTER_SCALES_MAX][k % CLUSTER_SCALES_MAX]);
        p->ring[k / CLUSTER_SCALES_MAX][k % CLUSTER_SCALES_MAX] = NULL;
    }
}

void cluster_patch_destroy(cluster_patch *p)
{
    if (!p)
        return;
    for (int b = 0; b < SQ_MMF_BANDS; b++) {
        sq_mmf_destroy(p->single[b]);
        sq_free(p->profile[b]);
        sq_free(p->raw[b]);
        sq_free(p->map[b]);
        sq_free(p->masked[b]);
    }
    for (int k = 0; k < SQ_MMF_BANDS * SQ_MMF_BANDS; k++) {
        sq_free(p->model[k]);
        sq_free(p->level[k]);
    }
    for (int s = 0; s < CLUSTER_SCALES_MAX; s++)
        sq_free(p->y0[s]);
    forget_rings(p);
    sq_mmf_destroy(p->mmf);
    sq_free(p->clean);
    sq_free(p->snr);
    sq_free(p->valid);
    sq_free(p->work);
    sq_free(p->window);
    sq_free(p->relative);
    sq_finder_destroy(p->finder);
    sq_free(p->candidate);
    sq_free(p->source);
    sq_free(p);
}

/* ---- preparation ---- */

/* out = window (map - its mean under the window). */
static void apply_window(const cluster_patch *p, const float *map, float *out)
{
    double sum = 0, weight = 0;
    for (int64_t i = 0; i < p->pixels; i++) {
        sum += (double)p->window[i] * map[i];
        weight += p->window[i];
    }
    float mean = (float)(sum / weight);
    for (int64_t i = 0; i < p->pixels; i++)
        out[i] = p->window[i] * (map[i] - mean);
}

static sq_status prepare(cluster_patch *p, const cluster_input *in)
{
    sq_status rc = SQ_OK;
    double edge = fmin(p->setup.settings->edge * ARCMIN, 0.25 * p->flat.nx * p->flat.dx), sum = 0;
    for (int64_t i = 0; i < p->pixels; i++)
        p->valid[i] = in->noise[0][i] > 0;
    SQ_TRY(cluster_window(&p->flat, p->valid, edge, p->window));
    for (int64_t i = 0; i < p->pixels; i++)
        sum += (double)p->window[i] * p->window[i];
    p->norm = sum / (double)p->pixels;
    if (!(p->norm > 0))
        return sq_fail(SQ_ERR_DATA, "no pixel lies far enough from the borders of the data");
    for (int b = 0; b < p->setup.nband; b++) {
        memcpy(p->map[b], in->map[b], (size_t)p->pixels * sizeof *p->map[b]);
        SQ_TRY(cluster_fill(p->flat.ny, p->flat.nx, p->valid, p->map[b]));
        apply_window(p, p->map[b], p->raw[b]);
    }
    for (int64_t i = 0; i < p->pixels; i++)
        p->relative[i] = p->valid[i] && p->window[i] >= FULL;
cleanup:
    return rc;
}

/* ---- point sources ---- */

static double profile_at(const cluster_patch *p, int band, double arcmin)
{
    double k = arcmin / STEP;
    int i = (int)k;
    return i + 1 < PROFILE
               ? p->profile[band][i] + (k - i) * (p->profile[band][i + 1] - p->profile[band][i])
               : 0;
}

/* Less flux (uK steradian) at x, y. */
static void subtract(cluster_patch *p, int band, double x, double y, double flux)
{
    double pixel = p->setup.settings->pixel, reach = STAMP / pixel;
    int n = p->flat.nx, low = (int)fmax(0, ceil(y - reach)), left = (int)fmax(0, ceil(x - reach));
    for (int v = low; v < n && v <= y + reach; v++) {
        for (int u = left; u < n && u <= x + reach; u++)
            p->map[band][(int64_t)v * n + u] -=
                (float)(flux * profile_at(p, band, pixel * hypot(u - x, v - y)));
    }
}

static sq_status remember_source(cluster_patch *p, const sq_candidate *c)
{
    sq_status rc = SQ_GROW(p->source, p->capacity, p->sources + 1, "sources");
    if (rc == SQ_OK)
        p->source[p->sources++] = *c;
    return rc;
}

/* The least of a map within `radius` arcmin of a candidate, at most 0. */
static double deepest(const cluster_patch *p, const float *map, const sq_candidate *c,
                      double radius)
{
    int n = p->flat.nx, reach = (int)(radius / p->setup.settings->pixel);
    int low = c->row < reach ? 0 : c->row - reach, left = c->column < reach ? 0 : c->column - reach;
    float least = 0;
    for (int y = low; y < n && y <= c->row + reach; y++) {
        for (int x = left; x < n && x <= c->column + reach; x++)
            least = fminf(least, map[(int64_t)y * n + x]);
    }
    return least;
}

/* The filter of a beam answers to the decrement of a cluster that it resolves with a ring of up to
 * 0.8 of its depth, and above 217 GHz a cluster is an increment. So a peak is a source when nothing
 * near it is as deep, in its own band (filtered map and noise) or in those before, and when it is
 * twice the increment of a cluster whose decrement is at its place in those before. */
static int is_source(const cluster_patch *p, const sq_candidate *c, double signal, double sigma)
{
    double increment = signal > 0 && p->response_seen > 0
                           ? -2 * signal / sigma / p->response_seen * deepest(p, p->snr, c, APART)
                           : 0;
    return c->snr > -deepest(p, p->y0[0], c, RING) / sigma &&
           c->snr > -deepest(p, p->snr, c, RING) && c->snr > increment;
}

/* Find and subtract the sources of one band; in the last round, or without any, p->snr becomes the
 * least S/N of the bands so far. */
static sq_status clean_band(cluster_patch *p, int band, int last, int *found)
{
    sq_status rc = SQ_OK;
    sq_candidate *c = NULL;
    const float *map[] = {p->masked[0]};
    double theta = POINT * ARCMIN, sigma;
    double signal = sq_cluster_signal(p->setup.settings->ghz.value[band]);
    double unit = theta * theta * sq_gas_transform(SQ_GAS_ARNAUD, 0);
    int64_t count = 0;
    apply_window(p, p->map[band], p->masked[0]);
    sq_mmf_load(p->single[band], map);
    SQ_TRY(sq_mmf_noise(p->single[band], SQ_MMF_DATA, p->norm, 0, NULL));
    SQ_TRY(sq_mmf_filter(p->single[band], SQ_GAS_ARNAUD, theta, 0, p->y0[0], &sigma));
    sq_finder_add(p->finder, 0, p->y0[0], sigma);
    SQ_TRY(sq_finder_peaks(p->finder, p->setup.settings->source_snr,
                           APART / p->setup.settings->pixel, &c, &count));
    *found = 0;
    for (int64_t k = 0; k < count; k++) {
        if (!is_source(p, &c[k], signal, sigma))
            continue;
        (*found)++;
        subtract(p, band, c[k].x, c[k].y, c[k].y0 * unit);
        SQ_TRY(remember_source(p, &c[k]));
    }
    for (int64_t i = 0; i < p->pixels && (last || !*found); i++)
        p->snr[i] = fminf(p->snr[i], (float)(p->y0[0][i] / sigma));
    p->response_seen = fmax(p->response_seen, -signal / sigma);
cleanup:
    sq_free(c);
    return rc;
}

/* Errors of the beam leave rings around the brightest: their cores become holes. */
static sq_status mask_brightest(cluster_patch *p)
{
    sq_status rc = SQ_OK;
    int masked = 0;
    for (int k = 0; k < p->sources; k++) {
        const sq_candidate *s = &p->source[k];
        if (s->snr < DAZZLE)
            continue;
        double radius = 1.5 + log(s->snr / DAZZLE); /* arcmin */
        sq_disc_clear(p->flat.ny, p->flat.nx, s->x, s->y, radius / p->setup.settings->pixel,
                      p->valid);
        masked++;
    }
    for (int b = 0; b < p->setup.nband && masked; b++)
        SQ_TRY(cluster_fill(p->flat.ny, p->flat.nx, p->valid, p->map[b]));
    for (int64_t i = 0; i < p->pixels; i++)
        p->relative[i] *= p->valid[i];
cleanup:
    return rc;
}

/* Bands in the order of ascending response to y: those with the deepest decrements first. */
static void by_depth(const cluster_patch *p, int order[SQ_MMF_BANDS])
{
    const double *ghz = p->setup.settings->ghz.value;
    for (int b = 0; b < p->setup.nband; b++) {
        int k = b;
        for (; k > 0 && sq_cluster_signal(ghz[order[k - 1]]) > sq_cluster_signal(ghz[b]); k--)
            order[k] = order[k - 1];
        order[k] = b;
    }
}

static sq_status take_out_sources(cluster_patch *p)
{
    sq_status rc = SQ_OK;
    int order[SQ_MMF_BANDS];
    p->sources = 0;
    p->response_seen = 0;
    memset(p->snr, 0, (size_t)p->pixels * sizeof *p->snr);
    by_depth(p, order);
    for (int b = 0; b < p->setup.nband; b++) {
        int found = 1;
        /* The brightest raise the noise in which the others are found. */
        for (int round = 0; round < ROUNDS && found; round++)
            SQ_TRY(clean_band(p, order[b], round == ROUNDS - 1, &found));
    }
    SQ_TRY(mask_brightest(p));
cleanup:
    return rc;
}

/* ---- filters ---- */

static double mean_square(const cluster_patch *p, const float *noise)
{
    double sum = 0, weight = 0;
    for (int64_t i = 0; i < p->pixels; i++) {
        double w = noise[i] > 0 ? (double)p->window[i] * p->window[i] : 0;
        sum += w * noise[i] * noise[i];
        weight += w;
    }
    return weight > 0 ? sum / weight : 0;
}

static sq_status measure_noise(cluster_patch *p, const cluster_input *in)
{
    const cluster_settings *s = p->setup.settings;
    int n = p->setup.nband;
    for (int i = 0; i < n && s->power != SQ_MMF_DATA; i++) {
        double white = mean_square(p, in->noise[i]) * ARCMIN * ARCMIN;
        for (int j = 0; j <= i; j++) {
            for (int l = 0; l <= p->setup.lmax; l++)
                p->level[i * n + j][l] = p->model[i * n + j][l] + (i == j ? white : 0);
        }
    }
    return sq_mmf_noise(p->mmf, (sq_mmf_power)s->power, p->norm, 0,
                        (const double *const *)p->level);
}

static sq_status filter_all(cluster_patch *p)
{
    sq_status rc = SQ_OK;
    for (int k = 0; k < p->nscale; k++) {
        SQ_TRY(sq_mmf_filter(p->mmf, (sq_gas_model)p->setup.settings->gas, p->theta[k], 0, p->y0[k],
                             &p->sigma[k]));
        sq_finder_add(p->finder, k, p->y0[k], p->sigma[k]);
    }
cleanup:
    return rc;
}

/* The noise again, on maps in which the clusters found are holes. */
static sq_status remeasure(cluster_patch *p, const cluster_input *in, int64_t *left_out)
{
    sq_status rc = SQ_OK;
    sq_candidate *c = NULL;
    double pixel = p->setup.settings->pixel;
    SQ_TRY(sq_finder_peaks(p->finder, FIRST_SNR, APART / pixel, &c, left_out));
    if (!*left_out)
        goto cleanup;
    memcpy(p->work, p->valid, (size_t)p->pixels);
    for (int64_t k = 0; k < *left_out; k++) {
        double radius = fmin(10, fmax(2.5, 2 * p->theta[c[k].scale] / ARCMIN));
        sq_disc_clear(p->flat.ny, p->flat.nx, c[k].x, c[k].y, radius / pixel, p->work);
    }
    for (int b = 0; b < p->setup.nband; b++) {
        memcpy(p->y0[0], p->map[b], (size_t)p->pixels * sizeof *p->y0[0]);
        SQ_TRY(cluster_fill(p->flat.ny, p->flat.nx, p->work, p->y0[0]));
        apply_window(p, p->y0[0], p->masked[b]);
    }
    sq_mmf_load(p->mmf, (const float *const *)p->masked);
    SQ_TRY(measure_noise(p, in));
cleanup:
    sq_free(c);
    return rc;
}

/* At the reference scale: how noise follows depth. */
static sq_status scale_noise(cluster_patch *p, const cluster_input *in)
{
    sq_status rc = SQ_OK;
    double *psi = NULL, sigma;
    double part[SQ_MMF_BANDS], mean[SQ_MMF_BANDS];
    int columns = p->flat.nx / 2 + 1;
    SQ_TRY(SQ_ALLOC(psi, sq_flat_modes(&p->flat), "weights"));
    SQ_TRY(sq_mmf_filter(p->mmf, (sq_gas_model)p->setup.settings->gas, p->theta[p->reference], 0,
                         NULL, &sigma));
    for (int b = 0; b < p->setup.nband; b++) {
        double sum = 0;
        sq_mmf_weights(p->mmf, b, psi);
        for (int64_t k = 0; k < sq_flat_modes(&p->flat); k++)
            sum += sq_flat_weight(&p->flat, (int)(k % columns)) * psi[k] * psi[k];
        mean[b] = mean_square(p, in->noise[b]);
        part[b] = sum / sq_flat_area(&p->flat) * mean[b] * ARCMIN * ARCMIN / (sigma * sigma);
    }
    for (int64_t i = 0; i < p->pixels; i++) {
        double square = 1;
        for (int b = 0; b < p->setup.nband; b++)
            square += part[b] * ((double)in->noise[b][i] * in->noise[b][i] / mean[b] - 1);
        p->relative[i] = p->relative[i] > 0 ? (float)sqrt(fmax(square, 0.01)) : 0;
    }
cleanup:
    sq_free(psi);
    return rc;
}

static sq_status find_responses(cluster_patch *p)
{
    sq_status rc = SQ_OK;
    sq_gas_model gas = (sq_gas_model)p->setup.settings->gas;
    double sigma;
    SQ_TRY(sq_mmf_filter(p->mmf, gas, p->theta[p->reference], 0, NULL, &sigma));
    for (int i = 0; i < RESPONSES; i++) {
        p->response_theta[i] = 0.2 * ARCMIN * pow(150, (double)i / (RESPONSES - 1));
        SQ_TRY(sq_mmf_response(p->mmf, gas, p->response_theta[i], &p->response[i]));
    }
cleanup:
    return rc;
}

/* What the filter of a scale answers, `apart` arcmin away, to a cluster of another of unit y0. */
static sq_status ring_at(cluster_patch *p, int scale, int other, double apart, double *out)
{
    sq_status rc = SQ_OK;
    sq_gas_model gas = (sq_gas_model)p->setup.settings->gas;
    double **table = &p->ring[scale][other], sigma;
    if (!*table) {
        SQ_TRY(SQ_ALLOC(*table, RINGS + 1, "rings of a filter"));
        SQ_TRY(sq_mmf_filter(p->mmf, gas, p->theta[scale], 0, NULL, &sigma));
        SQ_TRY(sq_mmf_profile(p->mmf, gas, p->theta[other], ARCMIN, RINGS + 1, *table));
    }
    int i = (int)apart;
    *out = (*table)[i] + (apart - i) * ((*table)[i + 1] - (*table)[i]);
cleanup:
    return rc;
}

/* The filter rings: a tenth of a strong cluster comes back at some distance. What is left of a
 * candidate without the rings of those before it must be above the threshold. Candidates lie in the
 * order of falling S/N. */
static sq_status drop_rings(cluster_patch *p)
{
    sq_status rc = SQ_OK;
    double pixel = p->setup.settings->pixel;
    int64_t kept = 0;
    forget_rings(p);
    for (int64_t i = 0; i < p->candidates; i++) {
        const sq_candidate *c = &p->candidate[i];
        double left = c->snr;
        for (int64_t k = 0; k < kept && c->snr < RINGING * p->candidate[k].snr; k++) {
            const sq_candidate *strong = &p->candidate[k];
            double apart = hypot(c->x - strong->x, c->y - strong->y) * pixel, response;
            if (apart >= RINGS)
                continue;
            SQ_TRY(ring_at(p, c->scale, strong->scale, apart, &response));
            left -= fmax(0, response) * strong->y0 / c->y0_error;
        }
        if (left >= p->setup.settings->min_snr)
            p->candidate[kept++] = *c;
    }
    p->candidates = kept;
cleanup:
    return rc;
}

static sq_status find_clusters(cluster_patch *p, const cluster_input *in)
{
    const cluster_settings *s = p->setup.settings;
    sq_status rc = SQ_OK;
    for (int b = 0; b < p->setup.nband; b++)
        apply_window(p, p->map[b], p->masked[b]);
    sq_mmf_load(p->mmf, (const float *const *)p->masked);
    SQ_TRY(measure_noise(p, in));
    for (int i = 0; i < s->iterations; i++) {
        int64_t left_out;
        SQ_TRY(filter_all(p));
        SQ_TRY(remeasure(p, in, &left_out));
        if (!left_out)
            break;
        for (int b = 0; b < p->setup.nband; b++)
            apply_window(p, p->map[b], p->masked[b]);
        sq_mmf_reload(p->mmf, (const float *const *)p->masked);
    }
    SQ_TRY(scale_noise(p, in));
    SQ_TRY(filter_all(p));
    memcpy(p->snr, sq_finder_snr(p->finder), (size_t)p->pixels * sizeof *p->snr);
    SQ_TRY(sq_finder_peaks(p->finder, s->min_snr, APART / s->pixel, &p->candidate, &p->candidates));
    SQ_TRY(drop_rings(p));
    p->sigma_clean = NAN;
    if (s->deproject && p->setup.nband > 1)
        SQ_TRY(sq_mmf_filter(p->mmf, (sq_gas_model)s->gas, p->theta[p->reference], 1, p->clean,
                             &p->sigma_clean));
    SQ_TRY(find_responses(p));
cleanup:
    return rc;
}

sq_status cluster_patch_run(cluster_patch *p, const cluster_input *in)
{
    sq_status rc = SQ_OK;
    sq_free(p->candidate);
    p->candidate = NULL;
    p->candidates = 0;
    SQ_TRY(prepare(p, in));
    SQ_TRY(take_out_sources(p));
    SQ_TRY(find_clusters(p, in));
cleanup:
    return rc;
}

/* ---- what was found ---- */

const sq_candidate *cluster_patch_candidates(const cluster_patch *p, int64_t *count)
{
    *count = p->candidates;
    return p->candidate;
}

static int64_t pixel_of(const cluster_patch *p, const sq_candidate *c)
{
    return (int64_t)c->row * p->flat.nx + c->column;
}

void cluster_patch_snr(const cluster_patch *p, const sq_candidate *c, float *by_scale, float *clean)
{
    int64_t i = pixel_of(p, c);
    for (int s = 0; s < p->nscale; s++)
        by_scale[s] = (float)(p->y0[s][i] / (p->sigma[s] * p->relative[i]));
    *clean = (float)(p->clean[i] / (p->sigma_clean * p->relative[i]));
}

sq_candidate cluster_patch_at(const cluster_patch *p, int column, int row)
{
    int64_t i = (int64_t)row * p->flat.nx + column;
    double noise = p->relative[i];
    sq_candidate c = {
        .x = column, .y = row, .column = column, .row = row, .error_x = 1, .error_y = 1};
    c.snr = noise > 0 ? -INFINITY : NAN;
    for (int s = 0; s < p->nscale; s++) {
        double q = p->y0[s][i] / (p->sigma[s] * noise);
        if (q > c.snr) {
            c.snr = q;
            c.scale = s;
        }
    }
    c.y0 = p->y0[c.scale][i];
    c.y0_error = p->sigma[c.scale] * noise;
    c.y0_fixed = p->y0[p->reference][i];
    c.y0_fixed_error = p->sigma[p->reference] * noise;
    c.snr_fixed = c.y0_fixed / c.y0_fixed_error;
    return c;
}

int cluster_patch_flags(const cluster_patch *p, const sq_candidate *c)
{
    static const double HOLE = 4, SOURCE = 2; /* arcmin */
    double pixel = p->setup.settings->pixel;
    int flags = p->window[pixel_of(p, c)] < 1 ? CLUSTER_NEAR_EDGE : 0, n = p->flat.nx;
    int reach = (int)(HOLE / pixel);
    for (int y = (int)c->y - reach; y <= c->y + reach; y++) {
        for (int x = (int)c->x - reach; x <= c->x + reach; x++) {
            int inside = x >= 0 && y >= 0 && x < n && y < n;
            if (inside && !p->valid[(int64_t)y * n + x] && hypot(x - c->x, y - c->y) <= reach)
                flags |= CLUSTER_NEAR_HOLE;
        }
    }
    for (int k = 0; k < p->sources; k++) {
        if (hypot(p->source[k].x - c->x, p->source[k].y - c->y) * pixel < SOURCE)
            flags |= CLUSTER_NEAR_SOURCE;
    }
    return flags;
}

const float *cluster_patch_snr_map(const cluster_patch *p)
{
    return p->snr;
}

const float *cluster_patch_relative(const cluster_patch *p)
{
    return p->relative;
}

double cluster_patch_sigma(const cluster_patch *p, int scale)
{
    return p->sigma[scale];
}

int cluster_patch_sources(const cluster_patch *p)
{
    return p->sources;
}

const float *const *cluster_patch_maps(const cluster_patch *p)
{
    return (const float *const *)p->raw;
}

double cluster_patch_response(const cluster_patch *p, double theta500)
{
    double k = log(theta500 / p->response_theta[0]) / log(150) * (RESPONSES - 1);
    k = fmin(fmax(k, 0), RESPONSES - 1.001);
    int i = (int)k;
    return p->response[i] + (k - i) * (p->response[i + 1] - p->response[i]);
}
