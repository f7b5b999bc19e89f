#include "clusters/mosaic.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "clusters/beam.h"
#include "fits/mosaic.h"

static const double ARCMIN = M_PI / 180 / 60;

struct cluster_mosaic {
    const cluster_settings *settings;
    int nband, lmax;
    sq_mosaic *band[SQ_MMF_BANDS];
    double *transfer[SQ_MMF_BANDS];
    sq_map *mask;
    sq_disc *disc;
    size_t discs;
    sq_hash identity;
};

static sq_status full_path(const sq_probe_setup *setup, const char *path, char out[SQ_PATH_MAX])
{
    return sq_input_path("clusters", setup->folder, path, out, SQ_PATH_MAX);
}

static sq_status open_band(cluster_mosaic *m, const sq_probe_setup *setup, int band)
{
    const cluster_settings *s = m->settings;
    sq_mosaic_options options = {.group = "clusters",
                                 .folder = setup->folder,
                                 .maps = s->maps.value[band],
                                 .weights = s->weights.count ? s->weights.value[band] : NULL,
                                 .noise = s->noise.count ? s->noise.value[band] : NAN,
                                 .unit = s->unit,
                                 .frame = s->frame,
                                 .check = setup->root};
    sq_status rc = sq_mosaic_open(&options, &m->band[band]);
    if (rc == SQ_OK)
        m->identity = sq_hash_combine(m->identity, sq_mosaic_identity(m->band[band]));
    return rc;
}

static sq_status load_transfer(cluster_mosaic *m, const sq_probe_setup *setup, int band)
{
    const cluster_settings *s = m->settings;
    sq_status rc = SQ_OK;
    double *out = NULL, *window = NULL;
    SQ_TRY(SQ_ALLOC(window, m->lmax + 1, "beam"));
    SQ_TRY(SQ_ALLOC(m->transfer[band], m->lmax + 1, "beam"));
    out = m->transfer[band];
    if (s->beams.count) {
        char path[SQ_PATH_MAX];
        const void *text;
        size_t size;
        SQ_TRY(full_path(setup, s->beams.value[band], path));
        SQ_TRY(sq_files_read(setup->files, path, &text, &size));
        SQ_TRY(cluster_beam_parse(path, text, size, m->lmax, out));
    } else {
        sq_beam_gauss(s->fwhm.value[band] * ARCMIN, m->lmax, out);
    }
    SQ_TRY(sq_mosaic_window(m->band[band], s->pixel, s->pixel_window, m->lmax, window));
    for (int l = 0; l <= m->lmax; l++)
        out[l] *= window[l];
cleanup:
    sq_free(window);
    return rc;
}

static sq_status load_mask(cluster_mosaic *m, const sq_probe_setup *setup)
{
    char path[SQ_PATH_MAX];
    sq_map_options options = {.unit = "1",
                              .frame = *m->settings->frame ? m->settings->frame : NULL};
    sq_status rc = SQ_OK;
    SQ_TRY(full_path(setup, m->settings->mask, path));
    SQ_TRY(sq_map_open(path, &options, &m->mask));
    m->identity = sq_hash_combine(m->identity, sq_map_identity(m->mask));
cleanup:
    return rc;
}

static sq_status load_sources(cluster_mosaic *m, const sq_probe_setup *setup)
{
    char path[SQ_PATH_MAX];
    const void *data;
    size_t size;
    sq_status rc = SQ_OK;
    SQ_TRY(full_path(setup, m->settings->sources, path));
    SQ_TRY(sq_files_read(setup->files, path, &data, &size));
    SQ_TRY(sq_discs_parse(path, data, size, &m->disc, &m->discs));
cleanup:
    return rc;
}

sq_status cluster_mosaic_open(const cluster_settings *s, const sq_probe_setup *setup,
                              cluster_mosaic **out)
{
    sq_status rc = SQ_OK;
    cluster_mosaic *m = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(m, 1, "maps"));
    m->settings = s;
    m->identity = sq_hash_bytes("maps", 4);
    m->lmax = (int)fmin(s->lmax, M_PI / (s->pixel * ARCMIN));
    m->nband = (int)s->ghz.count;
    for (int b = 0; b < m->nband; b++) {
        SQ_TRY(open_band(m, setup, b));
        SQ_TRY(load_transfer(m, setup, b));
    }
    if (*s->mask)
        SQ_TRY(load_mask(m, setup));
    if (*s->sources)
        SQ_TRY(load_sources(m, setup));
    *out = m;
    m = NULL;
cleanup:
    cluster_mosaic_close(m);
    return rc;
}

void cluster_mosaic_close(cluster_mosaic *m)
{
    if (!m)
        return;
    for (int b = 0; b < m->nband; b++) {
        sq_mosaic_close(m->band[b]);
        sq_free(m->transfer[b]);
    }
    sq_map_close(m->mask);
    sq_free(m->disc);
    sq_free(m);
}

int cluster_mosaic_lmax(const cluster_mosaic *m)
{
    return m->lmax;
}

const double *cluster_mosaic_transfer(const cluster_mosaic *m, int band)
{
    return m->transfer[band];
}

sq_hash cluster_mosaic_identity(const cluster_mosaic *m)
{
    return m->identity;
}

void cluster_mosaic_extent(const cluster_mosaic *m, double *ra, double *width, double *low,
                           double *high)
{
    sq_mosaic_extent(m->band, m->nband, ra, width, low, high);
}

/* ---- patches ---- */

/* Keep the pixels that all bands have. */
static void intersect(const cluster_mosaic *m, const uint8_t *clear, cluster_input *in)
{
    size_t n = (size_t)in->side * (size_t)in->side;
    for (size_t i = 0; i < n; i++) {
        int bands = 0;
        for (int b = 0; b < m->nband; b++)
            bands += in->noise[b][i] > 0;
        int held = clear[i] && bands == m->nband;
        in->held += held;
        in->partial += clear[i] && bands && bands < m->nband;
        for (int b = 0; b < m->nband && !held; b++)
            in->map[b][i] = in->noise[b][i] = 0;
    }
}

/* A map in K that is read as uK, or one in uK read as K, has an rms that no CMB sky has. */
static sq_status check_values(const cluster_mosaic *m, const cluster_input *in)
{
    size_t n = (size_t)in->side * (size_t)in->side;
    for (int b = 0; b < m->nband && in->held > 1000; b++) {
        double sum = 0, square = 0;
        for (size_t i = 0; i < n; i++) {
            sum += in->map[b][i];
            square += (double)in->map[b][i] * in->map[b][i];
        }
        double mean = sum / (double)in->held, rms = sqrt(square / (double)in->held - mean * mean);
        if (!(rms > 0.05 && rms < 1e5))
            return sq_fail(SQ_ERR_DATA, "%s: rms %.3g uK in the patch: not a CMB map in uK",
                           sq_mosaic_name(m->band[b]), rms);
    }
    return SQ_OK;
}

static sq_status create_input(const cluster_mosaic *m, int side, cluster_input **out)
{
    sq_status rc = SQ_OK;
    cluster_input *in = NULL;
    size_t n = (size_t)side * (size_t)side;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(in, 1, "patch"));
    in->nband = m->nband;
    in->side = side;
    for (int b = 0; b < m->nband; b++) {
        SQ_TRY(SQ_ALLOC(in->map[b], n, "map of a patch"));
        SQ_TRY(SQ_ALLOC(in->noise[b], n, "noise of a patch"));
    }
    *out = in;
    in = NULL;
cleanup:
    cluster_input_destroy(in);
    return rc;
}

sq_status cluster_mosaic_read(cluster_mosaic *m, const sq_patch *patch, const sq_wcs *grid,
                              cluster_input **out)
{
    sq_status rc = SQ_OK;
    cluster_input *in = NULL;
    uint8_t *clear = NULL;
    double pixel = m->settings->pixel;
    int any = 0;
    size_t n = (size_t)patch->side * (size_t)patch->side;
    *out = NULL;
    for (int b = 0; b < m->nband; b++)
        any |= sq_mosaic_near(m->band[b], patch, pixel);
    if (!any)
        return SQ_OK;
    SQ_TRY(create_input(m, patch->side, &in));
    SQ_TRY(SQ_ALLOC(clear, n, "flags"));
    memset(clear, 1, n);
    if (m->mask)
        SQ_TRY(sq_mask_apply(m->mask, grid, patch->side, clear));
    SQ_TRY(sq_discs_apply(m->disc, m->discs, grid, patch->side, pixel, clear));
    /* Where nothing is wanted nothing is read. */
    for (int b = 0; b < m->nband && memchr(clear, 1, n); b++)
        SQ_TRY(sq_mosaic_read(m->band[b], patch, grid, pixel,
                              (float *const[3]){in->map[b], NULL, NULL}, in->noise[b]));
    intersect(m, clear, in);
    SQ_TRY(check_values(m, in));
    *out = in;
    in = NULL;
cleanup:
    sq_free(clear);
    cluster_input_destroy(in);
    return rc;
}

void cluster_input_destroy(cluster_input *in)
{
    if (!in)
        return;
    for (int b = 0; b < SQ_MMF_BANDS; b++) {
        sq_free(in->map[b]);
        sq_free(in->noise[b]);
    }
    sq_free(in);
}

sq_hash cluster_input_hash(const cluster_input *in)
{
    sq_hash hash = sq_hash_bytes(&in->side, sizeof in->side);
    size_t size = (size_t)in->side * (size_t)in->side * sizeof(float);
    for (int b = 0; b < in->nband; b++) {
        hash = sq_hash_combine(hash, sq_hash_bytes(in->map[b], size));
        hash = sq_hash_combine(hash, sq_hash_bytes(in->noise[b], size));
    }
    return hash;
}
