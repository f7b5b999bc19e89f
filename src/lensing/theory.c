#include "lensing/theory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "fits/mosaic.h"
#include "fourier/flat.h"
#include "sim/spectra.h"
#include "sim/spectra_file.h"

static const double ARCMIN = M_PI / 180 / 60;
enum {
    TT = 1 << SQ_CL_TT,
    EE = 1 << SQ_CL_EE,
    BB = 1 << SQ_CL_BB,
    TE = 1 << SQ_CL_TE,
    PP = 1 << SQ_CL_PP
};
static const sq_cl columns[4] = {SQ_CL_TT, SQ_CL_EE, SQ_CL_TE, SQ_CL_BB};

typedef struct source {
    const lensing_settings *settings;
    const char *folder;
    sq_files *files;
    lensing_theory *out;
} source;

static sq_status text_of(const source *s, const char *name, char *path, size_t size,
                         const void **data, size_t *length)
{
    sq_status rc = sq_input_path("lensing", s->folder, name, path, size);
    if (rc == SQ_OK)
        rc = sq_files_read(s->files, path, data, length);
    if (rc == SQ_OK)
        s->out->hash = sq_hash_combine(s->out->hash, sq_hash_bytes(*data, *length));
    return rc;
}

/* The columns of a file; they must reach lmax. */
static sq_status read_file(const source *s, const char *key, const char *name, unsigned need,
                           sq_spectra *file)
{
    char path[4096];
    const void *data;
    size_t size;
    sq_status rc = SQ_OK;
    sq_cl_unit unit = (sq_cl_unit)s->settings->spectra_unit;
    SQ_TRY(text_of(s, name, path, sizeof path, &data, &size));
    SQ_TRY(sq_spectra_parse(data, size, path, unit, need, 0, file));
    if (file->warning[0])
        sq_log(SQ_LOG_WARNING, "%s", file->warning);
    if (file->lmax < s->settings->lmax)
        SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: ends at L = %d, below lmax %d", path, file->lmax,
                       (int)s->settings->lmax));
cleanup:
    return rc == SQ_OK ? rc : sq_fail_in(rc, "lensing: %s", key);
}

/* A column as a table to top: beyond the file's end with the slope of its last tenth. */
static sq_status take(const source *s, const sq_spectra *file, sq_cl column, double **out)
{
    int top = s->out->top;
    int last = top < file->lmax ? top : file->lmax, before = (int)(0.9 * last);
    sq_status rc = SQ_ALLOC(*out, top + 1, "spectrum");
    if (rc != SQ_OK)
        return rc;
    memcpy(*out, file->cl[column], ((size_t)last + 1) * sizeof **out);
    /* TE is left at 0: its sign changes. */
    double ratio = column == SQ_CL_TE ? 0 : (*out)[last] / (*out)[before];
    if (ratio > 0 && ratio < 1) {
        double slope = log(ratio) / log((double)last / before);
        for (int l = last + 1; l <= top; l++)
            (*out)[l] = (*out)[last] * pow((double)l / last, slope);
    }
    return SQ_OK;
}

static sq_status read_spectra(const source *s)
{
    sq_status rc = SQ_OK;
    const lensing_settings *c = s->settings;
    unsigned all = c->temperature_only ? TT : TT | EE | TE;
    unsigned bb = c->temperature_only ? 0 : BB;
    sq_spectra file = {0};
    SQ_TRY(read_file(s, "lensed", c->lensed, all | bb, &file));
    if (bb && !(file.cl[SQ_CL_BB][1000 < file.lmax ? 1000 : file.lmax] > 0))
        SQ_TRY(sq_fail(SQ_ERR_DATA, "lensing: lensed: %s: no lensing B modes: not lensed spectra",
                       c->lensed));
    for (int k = 0; k < 4; k++) {
        if ((all | bb) & 1u << columns[k])
            SQ_TRY(take(s, &file, columns[k], &s->out->lensed[k]));
    }
    sq_spectra_free(&file);
    SQ_TRY(read_file(s, "potential", c->potential, all | PP, &file));
    for (int k = 0; k < 3; k++) {
        if (all & 1u << columns[k])
            SQ_TRY(take(s, &file, columns[k], &s->out->unlensed[k]));
    }
    SQ_TRY(take(s, &file, SQ_CL_PP, &s->out->phi));
    sq_spectra_free(&file);
    if (!*c->gradient)
        return SQ_OK;
    SQ_TRY(read_file(s, "gradient", c->gradient, all, &file));
    for (int k = 0; k < 3; k++) {
        if (all & 1u << columns[k])
            SQ_TRY(take(s, &file, columns[k], &s->out->gradient[k]));
    }
cleanup:
    sq_spectra_free(&file);
    return rc;
}

static sq_status fiducial(lensing_theory *t)
{
    static const sq_fiducial kinds[] = {SQ_LENSED_TT,   SQ_LENSED_EE,   SQ_LENSED_TE,
                                        SQ_LENSED_BB,   SQ_GRADIENT_TT, SQ_GRADIENT_EE,
                                        SQ_GRADIENT_TE, SQ_UNLENSED_TT, SQ_UNLENSED_EE,
                                        SQ_UNLENSED_TE, SQ_POTENTIAL};
    double **out[] = {&t->lensed[0],   &t->lensed[1],   &t->lensed[2],   &t->lensed[3],
                      &t->gradient[0], &t->gradient[1], &t->gradient[2], &t->unlensed[0],
                      &t->unlensed[1], &t->unlensed[2], &t->phi};
    sq_status rc = SQ_OK;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        SQ_TRY(SQ_ALLOC(*out[i], t->top + 1, "spectrum"));
        SQ_TRY(sq_fiducial_spectrum(kinds[i], t->top, *out[i]));
    }
cleanup:
    return rc;
}

static sq_status load_beam(const source *s)
{
    char path[4096];
    const void *data;
    size_t size;
    sq_status rc = SQ_OK;
    const lensing_settings *c = s->settings;
    lensing_theory *t = s->out;
    SQ_TRY(SQ_ALLOC(t->beam, t->top + 1, "beam"));
    if (!*c->beam) {
        sq_beam_gauss(c->fwhm * ARCMIN, t->top, t->beam);
        return SQ_OK;
    }
    SQ_TRY(text_of(s, c->beam, path, sizeof path, &data, &size));
    /* Signal above lmax that the filter knew nothing of would leak into the multipoles in use. */
    SQ_TRY(sq_beam_parse(data, size, path, (int)c->lmax, t->top, t->beam));
cleanup:
    return rc;
}

/* Rows "l N_T N_P", ascending, up to lmax; linear in between, constant outside. */
static sq_status load_noise(const source *s)
{
    char path[4096], *copy = NULL;
    const void *data;
    size_t size;
    int line = 0, rows = 0, last = 0;
    sq_status rc = SQ_OK;
    lensing_theory *t = s->out;
    SQ_TRY(text_of(s, s->settings->noise_spectrum, path, sizeof path, &data, &size));
    SQ_TRY(SQ_ALLOC(copy, size + 1, "noise"));
    memcpy(copy, data, size);
    for (int k = 0; k < 2; k++)
        SQ_TRY(SQ_ALLOC(t->noise[k], t->top + 1, "noise"));
    for (char *at = copy, *next; at && *at; at = next) {
        char *end = strchr(at, '\n');
        double v[3];
        next = end ? end + 1 : NULL;
        if (end)
            *end = '\0';
        line++;
        at += strspn(at, " \t\r");
        if (*at == '#' || !*at)
            continue;
        if (sscanf(at, "%lf %lf %lf", &v[0], &v[1], &v[2]) != 3 || v[0] != floor(v[0]) ||
            v[0] < 0 || v[0] > 1e6 || (rows && v[0] <= last) || !(v[1] > 0 && v[1] < 1) ||
            !(v[2] > 0 && v[2] < 1))
            SQ_TRY(sq_fail(SQ_ERR_DATA,
                           "%s:%d: not l, ascending, and N_T and N_P in uK^2 "
                           "steradian",
                           path, line));
        int l = (int)v[0];
        for (int k = 0; k < 2; k++) {
            for (int i = rows ? last + 1 : 0; i <= l && i <= t->top; i++)
                t->noise[k][i] = rows ? t->noise[k][last < t->top ? last : t->top] +
                                            (v[k + 1] - t->noise[k][last]) * (i - last) / (l - last)
                                      : v[k + 1];
        }
        rows++;
        last = l < t->top ? l : t->top;
        if (l >= t->top)
            break;
    }
    if (!rows || last < s->settings->lmax)
        SQ_TRY(sq_fail(SQ_ERR_DATA, "%s: ends at l = %d, below lmax %d", path, last,
                       (int)s->settings->lmax));
    for (int k = 0; k < 2; k++) {
        for (int i = last + 1; i <= t->top; i++)
            t->noise[k][i] = t->noise[k][last];
    }
cleanup:
    sq_free(copy);
    return rc;
}

sq_status lensing_theory_load(const lensing_settings *settings, const char *folder, sq_files *files,
                              int top, lensing_theory *out)
{
    sq_status rc = SQ_OK;
    source s = {settings, folder, files, out};
    *out = (lensing_theory){.top = top, .hash = sq_hash_bytes("theory", 6)};
    SQ_TRY(*settings->lensed ? read_spectra(&s) : fiducial(out));
    SQ_TRY(load_beam(&s));
    if (*settings->noise_spectrum)
        SQ_TRY(load_noise(&s));
cleanup:
    if (rc != SQ_OK)
        lensing_theory_free(out);
    return rc;
}

void lensing_theory_free(lensing_theory *t)
{
    for (int k = 0; k < 4; k++)
        sq_free(t->lensed[k]);
    for (int k = 0; k < 3; k++) {
        sq_free(t->gradient[k]);
        sq_free(t->unlensed[k]);
    }
    sq_free(t->phi);
    sq_free(t->beam);
    for (int k = 0; k < 2; k++)
        sq_free(t->noise[k]);
    memset(t, 0, sizeof *t);
}
