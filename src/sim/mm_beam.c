/* The beams of the mm simulator: from files or Gaussian, and as texts. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "base/mem.h"
#include "sim/mm_internal.h"

static const double ARCMIN = M_PI / 180 / 60;
enum { FILE_LIMIT = 1 << 26 };

/* Rows "l b_l", l ascending; '#' comments. Between the rows linear, beyond the last 0; divided by
 * the first value. */
static sq_status parse(const char *path, char *text, int lmax, double *out)
{
    int last = -1, line = 0;
    double before = 0;
    for (char *row = text, *next; row && *row; row = next) {
        char *end = strchr(row, '\n'), *rest;
        next = end ? end + 1 : NULL;
        if (end)
            *end = '\0';
        line++;
        row += strspn(row, " \t\r");
        if (*row == '#' || *row == '\0')
            continue;
        double l = strtod(row, &rest), b = strtod(rest, &end);
        if (end == rest || !isfinite(b) || l != floor(l) || !(l > last) || l > 1e7)
            return sq_fail(SQ_ERR_DATA, "%s:%d: not a row \"l b_l\" with ascending l", path, line);
        if (last < 0)
            before = b;
        for (int k = last + 1; k <= (int)l && k <= lmax; k++)
            out[k] = before + (b - before) * (k - last) / (l - last);
        last = (int)l;
        before = b;
    }
    if (last < 1000 || !(out[0] > 0))
        return sq_fail(SQ_ERR_DATA, "%s: a beam must begin above 0 and reach l = 1000", path);
    for (int k = lmax; k >= 0; k--)
        out[k] = k > last ? 0 : out[k] / out[0];
    return SQ_OK;
}

static sq_status read_beam(const char *path, int lmax, double *out)
{
    sq_status rc = SQ_OK;
    char *text = NULL;
    size_t size;
    SQ_TRY(sq_file_read(path, FILE_LIMIT, &text, &size));
    SQ_TRY(parse(path, text, lmax, out));
cleanup:
    sq_free(text);
    return rc;
}

sq_status sq_mm_load_beams(sq_sim_mm *s)
{
    sq_status rc = SQ_OK;
    const sq_sim_mm_config *c = &s->config;
    /* The corner of the plane of modes. */
    int nyquist = (int)(M_PI / s->flat.dx);
    s->lmax = (int)ceil(M_PI * sqrt(2) / s->flat.dx) + 1;
    s->resolved = c->beams;
    for (int b = 0; b < s->nband && c->beams; b++) {
        const char *path = c->beam_files.count ? c->beam_files.value[b] : "";
        SQ_TRY(SQ_ALLOC(s->beam[b], s->lmax + 1, "beam"));
        if (path[0])
            SQ_TRY(read_beam(path, s->lmax, s->beam[b]));
        else
            sq_beam_gauss(c->fwhm.value[b] * ARCMIN, s->lmax, s->beam[b]);
        s->resolved = s->resolved && fabs(s->beam[b][nyquist]) < 0.2;
    }
cleanup:
    return rc;
}

void sq_sim_mm_beam(const sq_sim_mm *s, int band, int lmax, double *out)
{
    for (int l = 0; l <= lmax; l++)
        out[l] = !s->beam[band] ? 1 : l <= s->lmax ? s->beam[band][l] : 0;
}

/* The profile of b_l: sum of (2 l + 1) / (4 pi) b_l P_l(cos theta), 1 in the centre. */
static double profile_at(const double *b, int lmax, double theta)
{
    double x = cos(theta), p0 = 1, p1 = x, sum = 0, peak = 0;
    for (int l = 0; l <= lmax; l++) {
        double p = l == 0 ? p0 : p1;
        sum += (2 * l + 1) * b[l] * p;
        peak += (2 * l + 1) * b[l];
        if (l > 0) {
            double p2 = ((2 * l + 1) * x * p1 - l * p0) / (l + 1);
            p0 = p1;
            p1 = p2;
        }
    }
    return sum / peak;
}

static void print_beam(FILE *file, const sq_sim_mm *s, int band, const double *b, int lmax)
{
    double step = 0.05, end = 30;
    fprintf(file, "# beam at %g GHz\n", s->config.ghz.value[band]);
    if (!s->config.beam_format) {
        fprintf(file, "# l b_l\n");
        for (int l = 0; l <= lmax; l++)
            fprintf(file, "%d %.9g\n", l, b[l]);
        return;
    }
    fprintf(file, "# arcmin profile\n");
    for (int k = 0; k * step <= end; k++)
        fprintf(file, "%.2f %.9g\n", k * step, profile_at(b, lmax, k * step * ARCMIN));
}

sq_status sq_mm_write_beam(const sq_sim_mm *s, int band, const char *path)
{
    sq_status rc = SQ_OK;
    char partial[4200];
    double *b = NULL;
    FILE *file = NULL;
    int lmax = s->lmax;
    SQ_TRY(SQ_ALLOC(b, lmax + 1, "beam"));
    sq_sim_mm_beam(s, band, lmax, b);
    while (lmax > 10000 && fabs(b[lmax]) < 1e-6)
        lmax--;
    snprintf(partial, sizeof partial, "%s.partial", path);
    file = fopen(partial, "w");
    if (file)
        print_beam(file, s, band, b, lmax);
    int failed = !file || ferror(file) || fflush(file) != 0 || fsync(fileno(file)) != 0;
    failed |= file && fclose(file) != 0;
    if (failed || rename(partial, path) != 0)
        rc = sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
cleanup:
    sq_free(b);
    return rc;
}
