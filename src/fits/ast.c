#include "fits/ast.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "fits/cards.h"

sq_status sq_tangent_read(const char *cards, const char *where, sq_tangent *t)
{
    static const char *const cd[4] = {"CD1_1", "CD1_2", "CD2_1", "CD2_2"};
    static const char *const pc[4] = {"PC1_1", "PC1_2", "PC2_1", "PC2_2"};
    const double radian = M_PI / 180;
    char type[16] = "";
    double step[2] = {1, 1};
    sq_cards_text(cards, "CTYPE1", type, sizeof type);
    if (strcmp(type, "RA---TAN") != 0 || !sq_cards_real(cards, "CRPIX1", &t->x) ||
        !sq_cards_real(cards, "CRPIX2", &t->y) || !sq_cards_real(cards, "CRVAL1", &t->ra) ||
        !sq_cards_real(cards, "CRVAL2", &t->dec))
        return sq_fail(SQ_ERR_USAGE, "%s: its projection is not a plain TAN", where);
    sq_cards_real(cards, "CDELT1", &step[0]);
    sq_cards_real(cards, "CDELT2", &step[1]);
    for (int k = 0; k < 4; k++) {
        t->cd[k] = k % 3 == 0;
        if (!sq_cards_real(cards, cd[k], &t->cd[k])) {
            sq_cards_real(cards, pc[k], &t->cd[k]);
            t->cd[k] *= step[k / 2];
        }
        t->cd[k] *= radian;
    }
    t->x -= 1;
    t->y -= 1;
    t->ra *= radian;
    t->dec *= radian;
    return SQ_OK;
}

/* A line of the dump, inside a JSON text. */
__attribute__((format(printf, 2, 3))) static void line(FILE *f, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vfprintf(f, format, list);
    va_end(list);
    fprintf(f, "\\n");
}

static void put_matrix(FILE *f, int n, const double *m)
{
    line(f, "Begin MatrixMap");
    line(f, "Nin = %d", n);
    line(f, "IsA Mapping");
    for (int k = 0; k < n * n; k++)
        line(f, "M%d = %.17g", k, m[k]);
    line(f, "Form = \\\"Full\\\"");
    line(f, "End MatrixMap");
}

static void begin_pair(FILE *f, int in, int out, int inverse)
{
    line(f, "Begin CmpMap");
    line(f, "Nin = %d", in);
    line(f, "Nout = %d", out);
    line(f, "IsA Mapping");
    if (inverse)
        line(f, "InvA = 1");
    line(f, "MapA =");
}

static void put_sphere(FILE *f, double longitude)
{
    line(f, "Begin SphMap");
    line(f, "Nin = 3");
    line(f, "Nout = 2");
    line(f, "IsA Mapping");
    line(f, "UntRd = 1");
    line(f, "PlrLg = %.17g", longitude);
    line(f, "End SphMap");
}

void sq_ast_mapping(FILE *f, const sq_tangent *t)
{
    double sa = sin(t->ra), ca = cos(t->ra), sd = sin(t->dec), cd = cos(t->dec);
    const double turn[9] = {sd * ca, -sa, cd * ca, sd * sa, ca, cd * sa, -cd, 0, sd};
    begin_pair(f, 2, 2, 0);
    begin_pair(f, 2, 2, 0);
    line(f, "Begin ShiftMap");
    line(f, "Nin = 2");
    line(f, "IsA Mapping");
    line(f, "Sft1 = %.17g", -t->x);
    line(f, "Sft2 = %.17g", -t->y);
    line(f, "End ShiftMap");
    line(f, "MapB =");
    put_matrix(f, 2, t->cd);
    line(f, "End CmpMap");
    line(f, "MapB =");
    begin_pair(f, 2, 2, 1);
    line(f, "Begin WcsMap");
    line(f, "Nin = 2");
    line(f, "IsA Mapping");
    line(f, "Type = \\\"TAN\\\"");
    line(f, "End WcsMap");
    line(f, "MapB =");
    begin_pair(f, 2, 2, 1);
    put_sphere(f, 0);
    line(f, "MapB =");
    begin_pair(f, 3, 2, 0);
    put_matrix(f, 3, turn);
    line(f, "MapB =");
    put_sphere(f, t->ra);
    for (int k = 0; k < 4; k++)
        line(f, "End CmpMap");
}
