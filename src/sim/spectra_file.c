#include "sim/spectra_file.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/spline.h"

enum { COLUMNS_MAX = 64, TOKEN_MAX = 64, FILE_MAX = 64 << 20, ELL_MAX = 1000000 };
enum { IGNORED = -1, ELL = -2 };
static const double T_CMB = 2.7255e6; /* uK */
/* Means of D over L = 200..300 and of [L (L + 1)]^2 C / (2 pi) over 40..100, LCDM; and how far a
 * file's may be off: less than half the way (T = 2.7255 in power) from relative units to K^2. */
static const double HEIGHT_TT = 5300, HEIGHT_PP = 1e-7, HEIGHT_FACTOR = 2.6, FACTOR_PP = 5;

static const char *const column_names[] = {"TT", "EE", "BB", "TE", "PP"};
static const char *const unit_names[] = {"dl-uK2", "cl-uK2", "dl-K2", "cl-K2", "dl-one", "cl-one"};

typedef struct row {
    double l, value[SQ_CL_COUNT];
} row;

typedef struct table {
    const char *path;
    int line, columns; /* 0 columns: not known yet */
    int meaning[COLUMNS_MAX];
    row *rows;
    size_t count, capacity;
    int repeated, repeated_line;
} table;

typedef struct token {
    char text[TOKEN_MAX];
} token;

const char *sq_cl_name(sq_cl column)
{
    return column_names[column];
}

const char *sq_cl_unit_name(sq_cl_unit unit)
{
    return unit_names[unit];
}

sq_status sq_cl_unit_parse(const char *name, sq_cl_unit *unit)
{
    for (int u = 0; u < SQ_CL_UNITS; u++) {
        if (strcasecmp(name, unit_names[u]) == 0) {
            *unit = (sq_cl_unit)u;
            return SQ_OK;
        }
    }
    return sq_fail(SQ_ERR_USAGE, "'%s' is not one of dl-uK2, cl-uK2, dl-K2, cl-K2, dl-one, cl-one",
                   name);
}

void sq_spectra_free(sq_spectra *spectra)
{
    for (int c = 0; c < SQ_CL_COUNT; c++)
        sq_free(spectra->cl[c]);
    memset(spectra, 0, sizeof *spectra);
}

/* The next word of start..end, NULL at the end of the line; too long a word is cut, and no number.
 */
static const char *next_token(const char *start, const char *end, token *out)
{
    size_t size = 0;
    while (start < end && isspace((unsigned char)*start))
        start++;
    if (start == end)
        return NULL;
    for (; start < end && !isspace((unsigned char)*start); start++) {
        if (size < TOKEN_MAX - 1)
            out->text[size++] = *start;
    }
    out->text[size] = '\0';
    return start;
}

/* What a word of a header stands for: "TT", "TxT", "2:TT", "TT[uK^2]". */
static int meaning_of(const char *text)
{
    char name[3] = "";
    size_t size = 0, digits = strspn(text, "0123456789");
    text += digits && text[digits] == ':' ? digits + 1 : 0;
    if (strcasecmp(text, "l") == 0 || strcasecmp(text, "ell") == 0)
        return ELL;
    for (; *text && *text != '[' && *text != '('; text++) {
        if (*text == 'x' || *text == 'X')
            continue;
        if (size == 2)
            return IGNORED;
        name[size++] = (char)toupper((unsigned char)*text);
    }
    if (strcmp(name, "ET") == 0)
        return SQ_CL_TE;
    for (int c = 0; c < SQ_CL_COUNT; c++) {
        if (strcmp(name, column_names[c]) == 0)
            return c;
    }
    return IGNORED;
}

/* A line that names columns, when its first word is L. */
static sq_status take_header(table *t, const char *at, const char *end)
{
    token word;
    int meaning[COLUMNS_MAX], count = 0;
    unsigned seen = 0;
    while (at < end && (isspace((unsigned char)*at) || *at == '#'))
        at++;
    while ((at = next_token(at, end, &word)) != NULL) {
        int m = meaning_of(word.text);
        if (count == 0 && m != ELL)
            return SQ_OK;
        if (count == COLUMNS_MAX)
            return sq_fail(SQ_ERR_FORMAT, "%s:%d: more than %d columns", t->path, t->line,
                           COLUMNS_MAX);
        if (m >= 0 && seen & 1u << m)
            return sq_fail(SQ_ERR_FORMAT, "%s:%d: the header names %s twice", t->path, t->line,
                           column_names[m]);
        seen |= m >= 0 ? 1u << m : 0;
        meaning[count++] = m;
    }
    /* "# l = 2 .. 100" is no header. */
    if (!seen)
        return SQ_OK;
    memcpy(t->meaning, meaning, sizeof meaning);
    t->columns = count;
    return SQ_OK;
}

/* Columns of a file without header. */
static sq_status guess_columns(table *t, int count)
{
    static const int layouts[][8] = {
        {ELL, SQ_CL_TT},
        {ELL, SQ_CL_TT, SQ_CL_EE, SQ_CL_TE},
        {ELL, SQ_CL_TT, SQ_CL_EE, SQ_CL_BB, SQ_CL_TE},
        {ELL, SQ_CL_TT, SQ_CL_EE, SQ_CL_TE, SQ_CL_PP, IGNORED},
        {ELL, SQ_CL_TT, SQ_CL_EE, SQ_CL_BB, SQ_CL_TE, SQ_CL_PP, IGNORED, IGNORED}};
    static const int sizes[] = {2, 4, 5, 6, 8};
    for (int i = 0; i < 5; i++) {
        if (sizes[i] == count) {
            memcpy(t->meaning, layouts[i], (size_t)count * sizeof **layouts);
            t->columns = count;
            return SQ_OK;
        }
    }
    return sq_fail(SQ_ERR_FORMAT,
                   "%s:%d: %d column(s) without a header line '# L TT EE ...': CAMB's files have "
                   "2, 4, 5, 6 or 8",
                   t->path, t->line, count);
}

/* Fortran's 0.1D+04 is a number, too. */
static int read_number(token *word, double *out)
{
    char *end;
    if (strpbrk(word->text, "xX"))
        return 0;
    for (char *c = word->text; *c; c++) {
        if (*c == 'D' || *c == 'd')
            *c = 'E';
    }
    *out = strtod(word->text, &end);
    return end != word->text && !*end && isfinite(*out);
}

static int same(const row *a, const row *b, double tolerance)
{
    for (int c = 0; c < SQ_CL_COUNT; c++) {
        double most = fmax(fabs(a->value[c]), fabs(b->value[c]));
        if (fabs(a->value[c] - b->value[c]) > tolerance * most)
            return 0;
    }
    return 1;
}

static sq_status add_row(table *t, const row *now)
{
    const row *last = t->count ? &t->rows[t->count - 1] : NULL;
    sq_status rc = SQ_OK;
    if (now->l < 0 || now->l > ELL_MAX || now->l != floor(now->l))
        return sq_fail(SQ_ERR_FORMAT, "%s:%d: L = %g is not a whole number from 0 to %d", t->path,
                       t->line, now->l, ELL_MAX);
    if (last && now->l < last->l)
        return sq_fail(SQ_ERR_FORMAT, "%s:%d: L = %.0f after %.0f: rows must ascend", t->path,
                       t->line, now->l, last->l);
    if (last && now->l == last->l) {
        if (!same(now, last, 0.01))
            return sq_fail(SQ_ERR_DATA,
                           "%s:%d: L = %.0f a second time, with values that differ by more than "
                           "1%%: remove one of the rows",
                           t->path, t->line, now->l);
        if (!same(now, last, 1e-6) && !t->repeated++)
            t->repeated_line = t->line;
        return SQ_OK;
    }
    if (!last && now->l > 2)
        return sq_fail(SQ_ERR_DATA, "%s:%d: starts at L = %.0f, not at 0, 1 or 2", t->path, t->line,
                       now->l);
    SQ_TRY(SQ_GROW(t->rows, t->capacity, t->count + 1, "spectra"));
    t->rows[t->count++] = *now;
cleanup:
    return rc;
}

static sq_status take_row(table *t, const char *at, const char *end)
{
    sq_status rc = SQ_OK;
    token word;
    double value[COLUMNS_MAX];
    int count = 0;
    row now = {.l = -1};
    while ((at = next_token(at, end, &word)) != NULL) {
        if (count == COLUMNS_MAX)
            return sq_fail(SQ_ERR_FORMAT, "%s:%d: more than %d columns", t->path, t->line,
                           COLUMNS_MAX);
        if (!read_number(&word, &value[count++]))
            return sq_fail(SQ_ERR_FORMAT, "%s:%d: column %d: '%s' is not a finite number", t->path,
                           t->line, count, word.text);
    }
    if (!t->columns)
        SQ_TRY(guess_columns(t, count));
    if (count != t->columns)
        return sq_fail(SQ_ERR_FORMAT, "%s:%d: %d column(s) instead of %d", t->path, t->line, count,
                       t->columns);
    for (int c = 0; c < count; c++) {
        if (t->meaning[c] == ELL)
            now.l = value[c];
        else if (t->meaning[c] >= 0)
            now.value[t->meaning[c]] = value[c];
    }
    SQ_TRY(add_row(t, &now));
cleanup:
    return rc;
}

static sq_status take_line(table *t, const char *at, const char *end)
{
    while (at < end && isspace((unsigned char)*at))
        at++;
    if (at == end)
        return SQ_OK;
    if (*at == '#' || isalpha((unsigned char)*at)) {
        if (t->count == 0 && *at == '#')
            return take_header(t, at, end);
        if (t->count == 0) {
            int before = t->columns;
            sq_status rc = take_header(t, at, end);
            if (rc != SQ_OK || t->columns != before)
                return rc;
        } else if (*at == '#') {
            return SQ_OK;
        }
    }
    return take_row(t, at, end);
}

static sq_status take_lines(table *t, const char *text, size_t size)
{
    const char *at = text, *end = text + size;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        t->line++;
        sq_status rc = take_line(t, at, stop);
        if (rc != SQ_OK)
            return rc;
        at = stop + 1;
    }
    if (t->count == 0)
        return sq_fail(SQ_ERR_FORMAT, "%s: no rows of numbers", t->path);
    return SQ_OK;
}

static unsigned columns_of(const table *t)
{
    unsigned has = 0;
    for (int c = 0; c < t->columns; c++)
        has |= t->meaning[c] >= 0 ? 1u << t->meaning[c] : 0;
    return has;
}

/* What turns a file's value into D in uK^2, or into [L (L + 1)]^2 C / (2 pi) of phi. */
static double to_d(sq_cl column, sq_cl_unit unit, int scalar, double l)
{
    double ll = l * (l + 1), t2 = T_CMB * T_CMB;
    double power = unit <= SQ_CL_UK2 ? 1 : unit <= SQ_CL_K2 ? 1e12 : t2;
    int bare = unit == SQ_CL_UK2 || unit == SQ_CL_K2 || unit == SQ_CL_ONE;
    if (column != SQ_CL_PP)
        return power * (bare ? ll / (2 * M_PI) : 1);
    if (scalar)
        return power / t2 * ll * ll / (2 * M_PI * pow(l, 4));
    return bare ? ll * ll / (2 * M_PI) : 1;
}

static sq_status check_tt(const table *t, sq_cl_unit unit, const double *cl)
{
    double mean[SQ_CL_UNITS] = {0};
    for (int l = 200; l <= 300; l++) {
        double d = cl[l] * l * (l + 1) / (2 * M_PI) / to_d(SQ_CL_TT, unit, 0, l);
        for (int u = 0; u < SQ_CL_UNITS; u++)
            mean[u] += d * to_d(SQ_CL_TT, (sq_cl_unit)u, 0, l) / 101;
    }
    if (mean[unit] > HEIGHT_TT / HEIGHT_FACTOR && mean[unit] < HEIGHT_TT * HEIGHT_FACTOR)
        return SQ_OK;
    for (int u = 0; u < SQ_CL_UNITS; u++) {
        if (mean[u] > HEIGHT_TT / HEIGHT_FACTOR && mean[u] < HEIGHT_TT * HEIGHT_FACTOR)
            return sq_fail(
                SQ_ERR_DATA,
                "%s: TT: as %s its mean D over L = 200..300 is %.3g uK^2 instead of "
                "about %.0f; as %s it is %.0f: give --cls-unit %s, or spectra_unit in a run "
                "configuration",
                t->path, unit_names[unit], mean[unit], HEIGHT_TT, unit_names[u], mean[u],
                unit_names[u]);
    }
    return sq_fail(SQ_ERR_DATA,
                   "%s: TT: its mean D over L = 200..300 is %.3g uK^2 instead of about %.0f, and "
                   "fits no --cls-unit: is it a CMB spectrum?",
                   t->path, mean[unit], HEIGHT_TT);
}

static sq_status check_pp(const table *t, const double *cl)
{
    double mean = 0;
    for (int l = 40; l <= 100; l++)
        mean += cl[l] * pow(l * (l + 1.0), 2) / (2 * M_PI) / 61;
    if (mean > HEIGHT_PP / FACTOR_PP && mean < HEIGHT_PP * FACTOR_PP)
        return SQ_OK;
    return sq_fail(SQ_ERR_DATA,
                   "%s: PP: its mean [L (L + 1)]^2 C_L / (2 pi) over L = 40..100 is %.3g instead "
                   "of about %.0g: PP must be as CAMB's lenspotentialCls has it (or C_L of phi "
                   "with --cls-unit cl-...)",
                   t->path, mean, HEIGHT_PP);
}

/* Powers are not negative and |TE| is below sqrt(TT EE), with room for gradient spectra. */
static sq_status check_values(const table *t, unsigned need, const sq_spectra *s)
{
    const unsigned all = 1u << SQ_CL_TT | 1u << SQ_CL_EE | 1u << SQ_CL_TE;
    for (int l = 2; l <= s->lmax; l++) {
        for (int c = 0; c < SQ_CL_COUNT; c++) {
            if (need & 1u << c && !isfinite(s->cl[c][l]))
                return sq_fail(SQ_ERR_DATA, "%s: %s is too large at L = %d", t->path,
                               column_names[c], l);
            if (need & 1u << c && c != SQ_CL_TE && s->cl[c][l] < 0)
                return sq_fail(
                    SQ_ERR_DATA,
                    "%s: %s is negative at L = %d: are the columns in another order, or is the "
                    "file good to lower L alone?",
                    t->path, column_names[c], l);
        }
        if ((need & all) == all && l >= 30 && l <= 2000 &&
            pow(s->cl[SQ_CL_TE][l], 2) > 1.5 * s->cl[SQ_CL_TT][l] * s->cl[SQ_CL_EE][l])
            return sq_fail(SQ_ERR_DATA,
                           "%s: |TE| is above sqrt(TT EE) at L = %d: are the columns in another "
                           "order?",
                           t->path, l);
    }
    return SQ_OK;
}

/* One column through its spline to C_l. */
static sq_status fill(const table *t, sq_cl column, sq_cl_unit unit, int scalar, int lmax,
                      double *cl)
{
    sq_status rc = SQ_OK;
    double *x = NULL, *y = NULL, *second = NULL, *work = NULL;
    double **all[] = {&x, &y, &second, &work};
    int count = 0;
    for (int i = 0; i < 4; i++)
        SQ_TRY(sq_alloc(all[i], t->count, sizeof(double), "spectra"));
    for (size_t i = 0; i < t->count; i++) {
        const row *r = &t->rows[i];
        if (r->l < 2)
            continue;
        x[count] = r->l;
        y[count++] = r->value[column] * to_d(column, unit, scalar, r->l);
    }
    sq_spline_fit(count, x, y, second, work);
    for (int l = (int)x[0], i = 0; l <= lmax; l++) {
        while (i < count - 2 && l > x[i + 1])
            i++;
        double ll = l * (l + 1.0);
        cl[l] = sq_spline_at(x, y, second, i, l) * 2 * M_PI / (column == SQ_CL_PP ? ll * ll : ll);
    }
cleanup:
    for (int i = 0; i < 4; i++)
        sq_free(*all[i]);
    return rc;
}

static sq_status check_extent(const table *t, unsigned need, int lmax)
{
    unsigned has = columns_of(t);
    size_t low = 0;
    double last = t->rows[t->count - 1].l;
    for (int c = 0; c < SQ_CL_COUNT; c++) {
        if (need & ~has & 1u << c)
            return sq_fail(SQ_ERR_DATA, "%s: no column %s", t->path, column_names[c]);
    }
    while (low < t->count && t->rows[low].l < 2)
        low++;
    if (last < lmax)
        return sq_fail(SQ_ERR_DATA, "%s: ends at L = %.0f, below %d", t->path, last, lmax);
    if (t->count - low < 2 || t->rows[low].l > 2)
        return sq_fail(SQ_ERR_DATA, "%s: no rows from L = 2 on", t->path);
    return SQ_OK;
}

sq_status sq_spectra_parse(const char *text, size_t size, const char *path, sq_cl_unit unit,
                           unsigned need, int lmax, sq_spectra *out)
{
    sq_status rc = SQ_OK;
    table t = {.path = path};
    memset(out, 0, sizeof *out);
    if (lmax && (lmax < 300 || lmax > ELL_MAX))
        return sq_fail(SQ_ERR_USAGE, "spectra: lmax %d is not within 300..%d", lmax, ELL_MAX);
    SQ_TRY(take_lines(&t, text, size));
    if (!lmax)
        lmax = (int)fmax(300, t.rows[t.count - 1].l);
    SQ_TRY(check_extent(&t, need, lmax));
    out->lmax = lmax;
    out->has = columns_of(&t);
    int scalar = !(out->has & 1u << SQ_CL_BB);
    for (int c = 0; c < SQ_CL_COUNT; c++) {
        if (!(out->has & 1u << c))
            continue;
        SQ_TRY(SQ_ALLOC(out->cl[c], lmax + 1, "spectra"));
        SQ_TRY(fill(&t, (sq_cl)c, unit, scalar, lmax, out->cl[c]));
    }
    if (need & 1u << SQ_CL_TT)
        SQ_TRY(check_tt(&t, unit, out->cl[SQ_CL_TT]));
    SQ_TRY(check_values(&t, need, out));
    if (need & 1u << SQ_CL_PP)
        SQ_TRY(check_pp(&t, out->cl[SQ_CL_PP]));
    if (t.repeated)
        snprintf(out->warning, sizeof out->warning,
                 "%.150s:%d: repeated L with values that differ by less than 1%% (%d rows): the "
                 "first holds",
                 path, t.repeated_line, t.repeated);
cleanup:
    sq_free(t.rows);
    if (rc != SQ_OK)
        sq_spectra_free(out);
    return rc;
}

static sq_status read_text(const char *path, char **out, size_t *size)
{
    sq_status rc = SQ_OK;
    size_t capacity = 0;
    FILE *file = fopen(path, "rb");
    *out = NULL;
    *size = 0;
    if (!file)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    while (!feof(file)) {
        SQ_TRY(sq_grow(out, &capacity, *size + (1 << 16), 1, "text file"));
        *size += fread(*out + *size, 1, capacity - *size, file);
        if (ferror(file)) {
            rc = sq_fail(SQ_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
            goto cleanup;
        }
        if (*size > FILE_MAX) {
            rc = sq_fail(SQ_ERR_FORMAT, "%s: more than 64 MiB", path);
            goto cleanup;
        }
    }
cleanup:
    fclose(file);
    if (rc != SQ_OK) {
        sq_free(*out);
        *out = NULL;
    }
    return rc;
}

sq_status sq_spectra_read(const char *path, sq_cl_unit unit, unsigned need, int lmax,
                          sq_spectra *out)
{
    char *text = NULL;
    size_t size;
    memset(out, 0, sizeof *out);
    sq_status rc = read_text(path, &text, &size);
    if (rc == SQ_OK)
        rc = sq_spectra_parse(text, size, path, unit, need, lmax, out);
    sq_free(text);
    return rc;
}

typedef struct beam_rows {
    const char *path;
    int lmax, top, next, ended; /* next: the l that must come */
    double *out;
} beam_rows;

static sq_status beam_row(beam_rows *r, int line, const char *at, const char *end)
{
    token word;
    double value[3] = {0};
    int count = 0;
    while ((at = next_token(at, end, &word)) != NULL && word.text[0] != '#') {
        if (count == 2 || !read_number(&word, &value[count]))
            return sq_fail(SQ_ERR_FORMAT, "%s:%d: '%s': a row is 'l b_l' or b_l", r->path, line,
                           word.text);
        count++;
    }
    if (count == 0)
        return SQ_OK;
    double l = count == 2 ? value[0] : r->next, b = value[count - 1];
    if (l != r->next && !(r->next == 0 && (l == 1 || l == 2)))
        return sq_fail(SQ_ERR_FORMAT, "%s:%d: l = %g where %d is due", r->path, line, l, r->next);
    int good = b > 0 && b <= 1.02 && !(r->next == 0 && b < 0.98);
    /* Where nothing is left of a beam, measurements scatter about 0. */
    r->ended = !good && l > r->lmax;
    if (r->ended)
        return SQ_OK;
    if (!good)
        return sq_fail(SQ_ERR_DATA, "%s:%d: b_l = %g at l = %.0f is not within 0..1 from about 1",
                       r->path, line, b, l);
    for (int k = r->next; k <= l && k <= r->top; k++)
        r->out[k] = b;
    r->next = (int)l + 1;
    return SQ_OK;
}

sq_status sq_beam_parse(const char *text, size_t size, const char *path, int lmax, int top,
                        double *out)
{
    beam_rows r = {.path = path, .lmax = lmax, .top = top, .out = out};
    int line = 0;
    for (const char *at = text, *end = text + size; at < end && r.next <= top && !r.ended;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        sq_status rc = beam_row(&r, ++line, at, stop);
        if (rc != SQ_OK)
            return rc;
        at = stop + 1;
    }
    int last = r.next - 1;
    if (last < lmax)
        return sq_fail(SQ_ERR_DATA, "%s: b_l ends at l = %d, below %d", path, last, lmax);
    for (int l = r.next; l <= top; l++)
        out[l] = pow(fmin(1, out[last]), l * (l + 1.0) / (last * (last + 1.0)));
    return SQ_OK;
}

sq_status sq_beam_read(const char *path, int lmax, double *out)
{
    char *text = NULL;
    size_t size;
    sq_status rc = read_text(path, &text, &size);
    if (rc == SQ_OK)
        rc = sq_beam_parse(text, size, path, lmax, lmax, out);
    sq_free(text);
    return rc;
}
