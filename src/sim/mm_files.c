/* An mm survey as files: truth, beams, a catalogue; the maps are in mm_maps.c. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "fits/write.h"
#include "sim/mm_internal.h"
#include "store/tensor.h"

/* ---- truth ---- */

typedef struct column {
    const char *name;
    size_t offset;
    int whole; /* an int; else a double */
    const char *unit, *text;
} column;

#define HALO(member, unit, text)                                                                   \
    {                                                                                              \
        "halos/" #member, offsetof(sq_mm_halo, member), 0, unit, text                              \
    }
static const column halo_columns[] = {
    HALO(z, "", "redshift"),
    HALO(m500, "solMass", "within 500 times the critical density"),
    HALO(m200m, "solMass", "within 200 times the mean density"),
    HALO(mvir, "solMass", "virial (Bryan & Norman 1998)"),
    HALO(y0, "", "central Compton y, with its scatter"),
    HALO(theta500, "arcmin", "angle of R500"),
    HALO(velocity, "km/s", "along the line of sight, away from us"),
};
static const column source_columns[] = {
    {"sources/flux", offsetof(sq_mm_source, flux), 0, "mJy", "at 150 GHz"},
    {"sources/alpha", offsetof(sq_mm_source, alpha), 0, "", "flux ~ frequency^alpha"},
    {"sources/cluster", offsetof(sq_mm_source, cluster), 1, "", "1: in a halo"},
};
static const column place_columns[] = {
    {"field", 0, 0, "", "number of the field"},
    {"x", 0, 0, "pix", "0-based column in the field's maps"},
    {"y", 0, 0, "pix", "0-based row"},
    {"ra", 0, 0, "deg", "right ascension, ICRS"},
    {"dec", 0, 0, "deg", "declination, ICRS"},
};
enum {
    HALOS = sizeof halo_columns / sizeof *halo_columns,
    SOURCES = sizeof source_columns / sizeof *source_columns,
    PLACES = sizeof place_columns / sizeof *place_columns
};

static sq_status describe(sq_h5 *file, const char *name, const column *c)
{
    sq_status rc = SQ_OK;
    SQ_TRY(sq_h5_attribute_text(file, name, "units", c->unit));
    SQ_TRY(sq_h5_attribute_text(file, name, "description", c->text));
cleanup:
    return rc;
}

static sq_status describe_group(sq_h5 *file, const char *group, const column *list, int count)
{
    sq_status rc = SQ_OK;
    char name[32];
    for (int i = 0; i < PLACES; i++) {
        snprintf(name, sizeof name, "%s/%s", group, place_columns[i].name);
        SQ_TRY(describe(file, name, &place_columns[i]));
    }
    for (int i = 0; i < count; i++)
        SQ_TRY(describe(file, list[i].name, &list[i]));
cleanup:
    return rc;
}

/* x, y, ra, dec of records whose first two members are the pixel on the field's own grid. */
static sq_status write_places(sq_h5 *file, const char *group, const sq_wcs *grid, const sq_wcs *zea,
                              int64_t field, const void *record, size_t size, int64_t n)
{
    sq_status rc = SQ_OK;
    double *v = NULL;
    int32_t *number = NULL;
    char name[32];
    SQ_TRY(SQ_ALLOC(v, 4 * n + 1, "truth"));
    SQ_TRY(SQ_ALLOC(number, n + 1, "truth"));
    double *x = v, *y = v + n, *ra = v + 2 * n, *dec = v + 3 * n;
    for (int64_t i = 0; i < n; i++) {
        memcpy(&x[i], (const char *)record + (size_t)i * size, sizeof *x);
        memcpy(&y[i], (const char *)record + (size_t)i * size + sizeof *x, sizeof *y);
        number[i] = (int32_t)field;
    }
    SQ_TRY(sq_wcs_pix2sky(zea, (size_t)n, x, y, ra, dec));
    SQ_TRY(sq_wcs_sky2pix(grid, (size_t)n, ra, dec, x, y));
    snprintf(name, sizeof name, "%s/field", group);
    SQ_TRY(sq_h5_append(file, name, SQ_I32, 1, &n, number));
    for (int k = 1; k < PLACES; k++) {
        snprintf(name, sizeof name, "%s/%s", group, place_columns[k].name);
        SQ_TRY(sq_h5_append(file, name, SQ_F64, 1, &n, v + (k - 1) * n));
    }
cleanup:
    sq_free(v);
    sq_free(number);
    return rc;
}

static sq_status write_columns(sq_h5 *file, const column *list, int count, const void *record,
                               size_t size, int64_t n)
{
    sq_status rc = SQ_OK;
    double *v = NULL;
    int32_t *whole = NULL;
    SQ_TRY(SQ_ALLOC(v, n + 1, "truth"));
    SQ_TRY(SQ_ALLOC(whole, n + 1, "truth"));
    for (int c = 0; c < count; c++) {
        for (int64_t i = 0; i < n; i++) {
            const char *at = (const char *)record + (size_t)i * size + list[c].offset;
            if (list[c].whole)
                memcpy(&whole[i], at, sizeof(int));
            else
                memcpy(&v[i], at, sizeof *v);
        }
        SQ_TRY(list[c].whole ? sq_h5_append(file, list[c].name, SQ_I32, 1, &n, whole)
                             : sq_h5_append(file, list[c].name, SQ_F64, 1, &n, v));
    }
cleanup:
    sq_free(v);
    sq_free(whole);
    return rc;
}

static sq_status describe_file(const sq_sim_mm *sim, sq_h5 *file)
{
    sq_status rc = SQ_OK;
    SQ_TRY(describe_group(file, "halos", halo_columns, HALOS));
    SQ_TRY(describe_group(file, "sources", source_columns, SOURCES));
    SQ_TRY(sq_h5_attribute_real(file, "/", "seed", (double)sim->config.seed));
    SQ_TRY(sq_h5_attribute_real(file, "/", "mass_min", sim->config.mass_min));
    SQ_TRY(sq_h5_attribute_real(file, "/", "field_area",
                                sq_flat_area(&sim->flat) * pow(180 / M_PI, 2)));
cleanup:
    return rc;
}

static sq_status write_truth(const sq_sim_mm *sim, int64_t field, const sq_mm_field *m,
                             const char *path)
{
    sq_status rc = SQ_OK;
    sq_h5 *file = NULL;
    sq_wcs *zea = NULL, *grid = NULL;
    int64_t nx, ny;
    SQ_TRY(sq_sim_mm_grid(sim, field, &grid, &nx, &ny));
    SQ_TRY(sq_mm_own_grid(sim, field, &zea));
    SQ_TRY(sq_h5_create(path, &file));
    SQ_TRY(write_places(file, "halos", grid, zea, field, m->halo, sizeof *m->halo, m->nhalo));
    SQ_TRY(write_columns(file, halo_columns, HALOS, m->halo, sizeof *m->halo, m->nhalo));
    SQ_TRY(
        write_places(file, "sources", grid, zea, field, m->source, sizeof *m->source, m->nsource));
    SQ_TRY(write_columns(file, source_columns, SOURCES, m->source, sizeof *m->source, m->nsource));
    SQ_TRY(describe_file(sim, file));
    sq_h5 *done = file;
    file = NULL;
    SQ_TRY(sq_h5_close(done));
cleanup:
    sq_h5_abandon(file);
    sq_wcs_destroy(zea);
    sq_wcs_destroy(grid);
    return rc;
}

sq_status sq_sim_mm_write_field(sq_sim_mm *sim, int64_t field, bool truth_only, const char *folder)
{
    sq_status rc = SQ_OK;
    mm_sky sky = {.work = NULL};
    sq_mm_field m = {.nband = 0};
    char path[MM_PATH];
    if (strlen(folder) > 3900)
        return sq_fail(SQ_ERR_USAGE, "%.80s...: path is too long", folder);
    if (sim->config.fields > sim->placed)
        return sq_fail(SQ_ERR_CONFIG, "fields: the sky holds %lld of this side and gap",
                       (long long)sim->placed);
    sq_mm_path(folder, field, "truth.h5", path);
    int maps = !truth_only && !sq_mm_maps_are_there(sim, folder, field);
    int truth = access(path, F_OK) != 0;
    if (!maps && !truth)
        return SQ_OK;
    SQ_TRY(maps ? sq_mm_sky(sim, field, &sky, &m) : sq_mm_truth(sim, field, NULL, NULL, &m));
    if (maps)
        SQ_TRY(sq_mm_write_maps(sim, field, &m, &sky, folder));
    if (truth)
        SQ_TRY(write_truth(sim, field, &m, path));
cleanup:
    sq_mm_sky_clear(&sky);
    sq_mm_field_clear(&m);
    return rc;
}

/* ---- the survey ---- */

static sq_status copy_column(sq_h5 *from, sq_h5 *to, const char *name)
{
    sq_status rc = SQ_OK;
    sq_dtype type;
    int rank;
    int64_t dim[8];
    double *v = NULL;
    SQ_TRY(sq_h5_shape(from, name, &type, &rank, dim));
    SQ_TRY(SQ_ALLOC(v, dim[0] + 1, "truth"));
    SQ_TRY(sq_h5_read(from, name, type, 0, dim[0], v));
    SQ_TRY(sq_h5_append(to, name, type, 1, dim, v));
cleanup:
    sq_free(v);
    return rc;
}

static sq_status copy_group(sq_h5 *from, sq_h5 *to, const char *group, const column *list,
                            int count)
{
    sq_status rc = SQ_OK;
    char name[32];
    for (int i = 0; i < PLACES; i++) {
        snprintf(name, sizeof name, "%s/%s", group, place_columns[i].name);
        SQ_TRY(copy_column(from, to, name));
    }
    for (int i = 0; i < count; i++)
        SQ_TRY(copy_column(from, to, list[i].name));
cleanup:
    return rc;
}

static sq_status join_truth(const sq_sim_mm *sim, const char *folder, const char *path)
{
    sq_status rc = SQ_OK;
    char part[MM_PATH];
    sq_h5 *file = NULL, *in = NULL;
    SQ_TRY(sq_h5_create(path, &file));
    for (int64_t field = 0; field < sim->config.fields; field++) {
        sq_mm_path(folder, field, "truth.h5", part);
        SQ_TRY(sq_h5_open(part, &in));
        SQ_TRY(copy_group(in, file, "halos", halo_columns, HALOS));
        SQ_TRY(copy_group(in, file, "sources", source_columns, SOURCES));
        sq_h5 *read = in;
        in = NULL;
        SQ_TRY(sq_h5_close(read));
    }
    SQ_TRY(describe_file(sim, file));
    sq_h5 *done = file;
    file = NULL;
    SQ_TRY(sq_h5_close(done));
cleanup:
    sq_h5_abandon(in);
    sq_h5_abandon(file);
    return rc;
}

/* The bright sources, as a survey would have them from other observations. */
static sq_status write_catalogue(const sq_sim_mm *sim, const char *truth, const char *path)
{
    static const char *const name[] = {"sources/ra", "sources/dec", "sources/flux"};
    sq_status rc = SQ_OK;
    sq_dtype type;
    int rank;
    int64_t dim[8], kept = 0;
    double *v[3] = {NULL};
    sq_h5 *file = NULL;
    SQ_TRY(sq_h5_open(truth, &file));
    for (int k = 0; k < 3; k++) {
        SQ_TRY(sq_h5_shape(file, name[k], &type, &rank, dim));
        SQ_TRY(SQ_ALLOC(v[k], dim[0] + 1, "catalogue"));
        SQ_TRY(sq_h5_read(file, name[k], SQ_F64, 0, dim[0], v[k]));
    }
    for (int64_t i = 0; i < dim[0]; i++) {
        if (v[2][i] < sim->config.catalogue)
            continue;
        for (int k = 0; k < 3; k++)
            v[k][kept] = v[k][i];
        kept++;
    }
    const sq_fits_column columns[] = {
        {"ra", "deg", "pos.eq.ra;meta.main", "right ascension, ICRS", 'D', v[0]},
        {"dec", "deg", "pos.eq.dec;meta.main", "declination, ICRS", 'D', v[1]},
        {"flux", "mJy", "phot.flux.density;em.mm", "at 150 GHz", 'D', v[2]}};
    SQ_TRY(sq_write_table(path, "SOURCES", kept, 3, columns));
cleanup:
    for (int k = 0; k < 3; k++)
        sq_free(v[k]);
    sq_h5_abandon(file);
    return rc;
}

sq_status sq_sim_mm_write_survey(sq_sim_mm *sim, const char *folder)
{
    sq_status rc = SQ_OK;
    char path[MM_PATH], table[MM_PATH];
    for (int b = 0; b < sim->nband; b++) {
        snprintf(path, sizeof path, "%.3900s/beam-%g.txt", folder, sim->config.ghz.value[b]);
        SQ_TRY(sq_mm_write_beam(sim, b, path));
    }
    snprintf(path, sizeof path, "%.3900s/truth.h5", folder);
    SQ_TRY(join_truth(sim, folder, path));
    if (sim->config.catalogue > 0) {
        snprintf(table, sizeof table, "%.3900s/sources.fits", folder);
        SQ_TRY(write_catalogue(sim, path, table));
    }
cleanup:
    return rc;
}
