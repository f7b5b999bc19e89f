#include "lensing/sky_maps.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "fits/mosaic.h"

struct lensing_maps {
    const lensing_settings *settings;
    int splits, planes;
    sq_mosaic *split[LENSING_SPLITS];
    sq_map *mask;
    sq_disc *disc;
    size_t discs;
    sq_hash identity;
};

static sq_status open_split(lensing_maps *m, const sq_probe_setup *setup, unsigned k)
{
    const lensing_settings *s = m->settings;
    sq_mosaic_options options = {.group = "lensing",
                                 .folder = setup->folder,
                                 .maps = s->maps.value[k],
                                 .weights = s->weights.count ? s->weights.value[k] : NULL,
                                 .noise = s->noise > 0 ? s->noise : NAN,
                                 .unit = s->unit,
                                 .frame = s->frame,
                                 .polarisation = s->polarisation,
                                 .polarised = m->planes > 1,
                                 .average = 1,
                                 .check = setup->root};
    sq_status rc = sq_mosaic_open(&options, &m->split[k]);
    if (rc == SQ_OK) {
        m->splits++;
        m->identity = sq_hash_combine(m->identity, sq_mosaic_identity(m->split[k]));
    }
    return rc;
}

static sq_status load_sources(lensing_maps *m, const sq_probe_setup *setup)
{
    char path[SQ_PATH_MAX];
    const void *data;
    size_t size;
    sq_status rc = SQ_OK;
    SQ_TRY(sq_input_path("lensing", setup->folder, m->settings->sources, path, sizeof path));
    SQ_TRY(sq_files_read(setup->files, path, &data, &size));
    m->identity = sq_hash_combine(m->identity, sq_hash_bytes(data, size));
    SQ_TRY(sq_discs_parse(path, data, size, &m->disc, &m->discs));
cleanup:
    return rc;
}

static sq_status open_mask(lensing_maps *m, const sq_probe_setup *setup)
{
    char path[SQ_PATH_MAX];
    sq_map_options options = {"1", *m->settings->frame ? m->settings->frame : NULL, NULL};
    sq_status rc = SQ_OK;
    SQ_TRY(sq_input_path("lensing", setup->folder, m->settings->mask, path, sizeof path));
    SQ_TRY(sq_map_open(path, &options, &m->mask));
    m->identity = sq_hash_combine(m->identity, sq_map_identity(m->mask));
cleanup:
    return rc;
}

sq_status lensing_maps_open(const lensing_settings *s, const sq_probe_setup *setup,
                            lensing_maps **out)
{
    sq_status rc = SQ_OK;
    lensing_maps *m = NULL;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(m, 1, "maps"));
    m->settings = s;
    m->planes = s->temperature_only ? 1 : 3;
    m->identity = sq_hash_bytes("lensing", 7);
    for (unsigned k = 0; k < s->maps.count; k++)
        SQ_TRY(open_split(m, setup, k));
    if (*s->mask)
        SQ_TRY(open_mask(m, setup));
    if (*s->sources)
        SQ_TRY(load_sources(m, setup));
    *out = m;
    m = NULL;
cleanup:
    lensing_maps_close(m);
    return rc;
}

void lensing_maps_close(lensing_maps *m)
{
    if (!m)
        return;
    for (int k = 0; k < m->splits; k++)
        sq_mosaic_close(m->split[k]);
    sq_map_close(m->mask);
    sq_free(m->disc);
    sq_free(m);
}

sq_hash lensing_maps_identity(const lensing_maps *m)
{
    return m->identity;
}

sq_status lensing_maps_window(const lensing_maps *m, int lmax, double *out)
{
    return sq_mosaic_window(m->split[0], m->settings->pixel, m->settings->pixel_window, lmax, out);
}

void lensing_maps_extent(const lensing_maps *m, double *ra, double *width, double *low,
                         double *high)
{
    sq_mosaic_extent(m->split, 1, ra, width, low, high);
}

static sq_status create_input(int side, int splits, int planes, lensing_input **out)
{
    sq_status rc = SQ_OK;
    lensing_input *in = NULL;
    size_t n = (size_t)side * (size_t)side;
    *out = NULL;
    SQ_TRY(SQ_ALLOC(in, 1, "patch"));
    in->side = side;
    in->splits = splits;
    in->planes = planes;
    for (int k = 0; k < splits; k++) {
        for (int p = 0; p < planes; p++)
            SQ_TRY(SQ_ALLOC(in->map[k][p], n, "map of a patch"));
        SQ_TRY(SQ_ALLOC(in->noise[k], n, "noise of a patch"));
    }
    *out = in;
    in = NULL;
cleanup:
    lensing_input_destroy(in);
    return rc;
}

/* Keep the pixels that all splits have; and from the polarisation about the +y axis, U towards
 * east, to that about the +x axis, U towards +y: x points west. */
static void intersect(lensing_input *in, const uint8_t *clear)
{
    for (int64_t i = 0; i < (int64_t)in->side * in->side; i++) {
        int held = clear[i];
        for (int k = 0; k < in->splits; k++)
            held = held && in->noise[k][i] > 0;
        in->held += held;
        for (int k = 0; k < in->splits; k++) {
            for (int p = 0; p < in->planes; p++)
                in->map[k][p][i] = held ? (p ? -in->map[k][p][i] : in->map[k][p][i]) : 0;
            in->noise[k][i] = held ? in->noise[k][i] : 0;
        }
    }
}

sq_status lensing_maps_read(lensing_maps *m, const sq_patch *patch, const sq_wcs *grid,
                            lensing_input **out)
{
    sq_status rc = SQ_OK;
    lensing_input *in = NULL;
    uint8_t *clear = NULL;
    double pixel = m->settings->pixel;
    int64_t n = (int64_t)patch->side * patch->side;
    *out = NULL;
    for (int k = 0; k < m->splits; k++) {
        if (!sq_mosaic_near(m->split[k], patch, pixel))
            return SQ_OK;
    }
    SQ_TRY(create_input(patch->side, m->splits, m->planes, &in));
    SQ_TRY(SQ_ALLOC(clear, n, "flags"));
    memset(clear, 1, (size_t)n);
    for (int k = 0; k < m->splits; k++)
        SQ_TRY(sq_mosaic_read(m->split[k], patch, grid, pixel, in->map[k], in->noise[k]));
    if (m->mask)
        SQ_TRY(sq_mask_apply(m->mask, grid, patch->side, clear));
    SQ_TRY(sq_discs_apply(m->disc, m->discs, grid, patch->side, pixel, clear));
    intersect(in, clear);
    *out = in;
    in = NULL;
cleanup:
    sq_free(clear);
    lensing_input_destroy(in);
    return rc;
}

sq_status lensing_input_copy(const lensing_input *from, lensing_input **out)
{
    size_t size = (size_t)from->side * (size_t)from->side * sizeof(float);
    sq_status rc = create_input(from->side, from->splits, from->planes, out);
    if (rc != SQ_OK)
        return rc;
    (*out)->held = from->held;
    for (int k = 0; k < from->splits; k++) {
        for (int p = 0; p < from->planes; p++)
            memcpy((*out)->map[k][p], from->map[k][p], size);
        memcpy((*out)->noise[k], from->noise[k], size);
    }
    return SQ_OK;
}

void lensing_input_destroy(lensing_input *in)
{
    if (!in)
        return;
    for (int k = 0; k < LENSING_SPLITS; k++) {
        for (int p = 0; p < 3; p++)
            sq_free(in->map[k][p]);
        sq_free(in->noise[k]);
    }
    sq_free(in);
}

sq_hash lensing_input_hash(const lensing_input *in)
{
    sq_hash hash = sq_hash_bytes(&in->side, sizeof in->side);
    size_t size = (size_t)in->side * (size_t)in->side * sizeof(float);
    for (int k = 0; k < in->splits; k++) {
        for (int p = 0; p < in->planes; p++)
            hash = sq_hash_combine(hash, sq_hash_bytes(in->map[k][p], size));
        hash = sq_hash_combine(hash, sq_hash_bytes(in->noise[k], size));
    }
    return hash;
}
