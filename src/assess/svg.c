#include "assess/svg.h"

#include <math.h>
#include <string.h>

#include "sky/sphere.h"

/* Bytes of the UTF-8 character at `c`, 0 when it is none (RFC 3629, without U+FFFE and U+FFFF). */
static int utf8(const unsigned char *c)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    int n = c[0] < 0x80 ? 1 : c[0] >> 5 == 6 ? 2 : c[0] >> 4 == 14 ? 3 : c[0] >> 3 == 30 ? 4 : 0;
    if (n < 2)
        return n;
    unsigned code = c[0] & (0xff >> (n + 1));
    for (int k = 1; k < n; k++) {
        if (c[k] >> 6 != 2)
            return 0;
        code = code << 6 | (c[k] & 63);
    }
    int bad = code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ||
              code == 0xfffe || code == 0xffff;
    return bad ? 0 : n;
}

void svg_escape(FILE *out, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        int n = utf8(c);
        if (n == 0 || (*c < 32 && *c != '\n' && *c != '\t') || *c == 127)
            fputs("&#xFFFD;", out);
        else if (*c == '<')
            fputs("&lt;", out);
        else if (*c == '>')
            fputs("&gt;", out);
        else if (*c == '&')
            fputs("&amp;", out);
        else if (*c == '"')
            fputs("&quot;", out);
        else if (*c == '\'')
            fputs("&#39;", out);
        else
            fwrite(c, 1, (size_t)n, out);
        c += n ? n : 1;
    }
}

void svg_begin(FILE *out, double width, double height, const char *title)
{
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" width=\"%g\" "
            "height=\"%g\" font-family=\"sans-serif\" role=\"img\">\n<title>",
            width, height, width, height);
    svg_escape(out, title);
    fputs("</title>\n", out);
    svg_rect(out, 0, 0, width, height, "#ffffff", "none", NULL);
}

void svg_end(FILE *out)
{
    fputs("</svg>\n", out);
}

void svg_text(FILE *out, double x, double y, double size, const char *anchor, const char *text)
{
    fprintf(out,
            "<text x=\"%.2f\" y=\"%.2f\" font-size=\"%g\" text-anchor=\"%s\" fill=\"#222222\">", x,
            y, size, anchor);
    svg_escape(out, text);
    fputs("</text>\n", out);
}

void svg_halo_text(FILE *out, double x, double y, double size, const char *text)
{
    fprintf(out, "<g stroke=\"#ffffff\" stroke-width=\"3\" stroke-linejoin=\"round\">");
    svg_text(out, x, y, size, "middle", text);
    fputs("</g>", out);
    svg_text(out, x, y, size, "middle", text);
}

void svg_turned_text(FILE *out, double x, double y, double size, const char *text)
{
    fprintf(out,
            "<text transform=\"translate(%.2f %.2f) rotate(-90)\" font-size=\"%g\" "
            "text-anchor=\"middle\" fill=\"#222222\">",
            x, y, size);
    svg_escape(out, text);
    fputs("</text>\n", out);
}

void svg_line(FILE *out, double x0, double y0, double x1, double y1, const char *colour,
              double width)
{
    fprintf(out,
            "<line x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\" stroke=\"%s\" "
            "stroke-width=\"%g\"/>\n",
            x0, y0, x1, y1, colour, width);
}

/* The end of a shape, with its tool tip. */
static void finish(FILE *out, const char *element, const char *tip)
{
    if (!tip) {
        fputs("/>\n", out);
        return;
    }
    fputs("><title>", out);
    svg_escape(out, tip);
    fprintf(out, "</title></%s>\n", element);
}

void svg_rect(FILE *out, double x, double y, double w, double h, const char *fill,
              const char *stroke, const char *tip)
{
    fprintf(out,
            "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\" "
            "stroke=\"%s\"",
            x, y, fmax(w, 0), fmax(h, 0), fill, stroke);
    finish(out, "rect", tip);
}

void svg_polygon(FILE *out, const double *xy, int n, const char *fill, const char *stroke,
                 double width, const char *tip)
{
    fputs("<polygon points=\"", out);
    for (int i = 0; i < n; i++)
        fprintf(out, "%s%.2f,%.2f", i ? " " : "", xy[2 * i], xy[2 * i + 1]);
    fprintf(out, "\" fill=\"%s\" stroke=\"%s\" stroke-width=\"%g\"", fill, stroke, width);
    finish(out, "polygon", tip);
}

void svg_polyline(FILE *out, const double *xy, int n, const char *colour, double width)
{
    fputs("<polyline points=\"", out);
    for (int i = 0; i < n; i++)
        fprintf(out, "%s%.2f,%.2f", i ? " " : "", xy[2 * i], xy[2 * i + 1]);
    fprintf(out, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"%g\"/>\n", colour, width);
}

void svg_circle(FILE *out, double x, double y, double r, const char *fill, const char *tip)
{
    fprintf(out, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"%.2f\" fill=\"%s\"", x, y, r, fill);
    finish(out, "circle", tip);
}

static void mix(const double a[3], const double b[3], double t, char colour[8])
{
    int c[3];
    for (int k = 0; k < 3; k++)
        c[k] = (int)lround(fmax(0, fmin(255, a[k] + t * (b[k] - a[k]))));
    snprintf(colour, 8, "#%02x%02x%02x", c[0] & 255, c[1] & 255, c[2] & 255);
}

void svg_ramp(double t, char colour[8])
{
    static const double low[3] = {236, 242, 250}, middle[3] = {74, 144, 196}, high[3] = {8, 36, 92};
    if (isnan(t))
        snprintf(colour, 8, "#dddddd");
    else if (t < 0.5)
        mix(low, middle, 2 * fmax(t, 0), colour);
    else
        mix(middle, high, 2 * fmin(t, 1) - 1, colour);
}

void svg_diverging(double t, char colour[8])
{
    static const double white[3] = {247, 247, 247}, red[3] = {178, 24, 43},
                        blue[3] = {33, 102, 172};
    if (isnan(t))
        snprintf(colour, 8, "#dddddd");
    else
        mix(white, t < 0 ? blue : red, fmin(fabs(t), 1), colour);
}

const char *svg_series(int k)
{
    static const char *const colour[] = {
        "#4169b0", "#2a9d5c", "#c8502d", "#7b3fa0", "#444444", "#b8860b", "#0c8f9c", "#c2437f",
        "#8fb0e8", "#8fd0a8", "#f0a890", "#c8a0e0", "#aaaaaa", "#e0c060", "#80d0d8", "#f0a0c8"};
    return colour[k & 15];
}

void svg_colour_bar(FILE *out, double x, double y, double w, int diverging, double low, double high,
                    const char *label)
{
    enum { STEPS = 40 };
    char colour[8], text[32];
    for (int k = 0; k < STEPS; k++) {
        double t = (k + 0.5) / STEPS;
        if (diverging)
            svg_diverging(2 * t - 1, colour);
        else
            svg_ramp(t, colour);
        svg_rect(out, x + w * k / STEPS, y, w / STEPS + 0.5, 10, colour, "none", NULL);
    }
    snprintf(text, sizeof text, "%.3g", low);
    svg_text(out, x, y + 22, 11, "start", text);
    snprintf(text, sizeof text, "%.3g", high);
    svg_text(out, x + w, y + 22, 11, "end", text);
    svg_text(out, x + w / 2, y + 22, 11, "middle", label);
}

double svg_x(const svg_graph *g, double value)
{
    return g->x + g->w * (value - g->x0) / (g->x1 - g->x0);
}

double svg_y(const svg_graph *g, double value)
{
    return g->y + g->h * (1 - (value - g->y0) / (g->y1 - g->y0));
}

/* 1, 2 or 5 times a power of ten, so that a range has about `count` steps. */
static double nice_step(double range, double count)
{
    double step = pow(10, floor(log10(range / count)));
    double rest = range / count / step;
    return step * (rest < 1.5 ? 1 : rest < 3.5 ? 2 : rest < 7.5 ? 5 : 10);
}

static void ticks(FILE *out, const svg_graph *g, int vertical)
{
    char text[32];
    double low = vertical ? g->y0 : g->x0, high = vertical ? g->y1 : g->x1;
    double step = nice_step(high - low, vertical ? g->h / 35 : g->w / 60);
    for (double k = ceil(low / step - 1e-9); k * step <= high + 1e-9 * step && k < 1e9; k++) {
        double value = k == 0 ? 0 : k * step;
        snprintf(text, sizeof text, "%.6g", value);
        if (vertical) {
            svg_line(out, g->x, svg_y(g, value), g->x + g->w, svg_y(g, value), "#e4e4e4", 0.7);
            svg_text(out, g->x - 5, svg_y(g, value) + 4, 11, "end", text);
        } else {
            svg_line(out, svg_x(g, value), g->y, svg_x(g, value), g->y + g->h, "#e4e4e4", 0.7);
            svg_text(out, svg_x(g, value), g->y + g->h + 14, 11, "middle", text);
        }
    }
}

void svg_axes(FILE *out, const svg_graph *g, const char *title, const char *x, const char *y)
{
    if (!(g->x1 > g->x0) || !(g->y1 > g->y0) || !isfinite(g->x1 - g->x0) ||
        !isfinite(g->y1 - g->y0))
        return;
    ticks(out, g, 0);
    ticks(out, g, 1);
    svg_rect(out, g->x, g->y, g->w, g->h, "none", "#888888", NULL);
    svg_text(out, g->x + g->w / 2, g->y - 8, 13, "middle", title);
    svg_text(out, g->x + g->w / 2, g->y + g->h + 30, 12, "middle", x);
    svg_turned_text(out, g->x - 42, g->y + g->h / 2, 12, y);
}

void svg_sky_fit(svg_sky *sky, int64_t n, const double *ra, const double *dec, double x, double y,
                 double w, double h)
{
    double sum[3] = {0, 0, 0}, v[3], low[2] = {INFINITY, INFINITY},
           high[2] = {-INFINITY, -INFINITY};
    for (int64_t i = 0; i < n; i++) {
        sq_unit_vector(ra[i], dec[i], v);
        for (int k = 0; k < 3; k++)
            sum[k] += isfinite(v[k]) ? v[k] : 0;
    }
    *sky = (svg_sky){0, 0, 1, 0, 0};
    if (n)
        sq_from_vector(sum, &sky->ra, &sky->dec);
    for (int64_t i = 0; i < n; i++) {
        double at[2];
        svg_sky_point(sky, ra[i], dec[i], &at[0], &at[1]);
        for (int k = 0; k < 2; k++) {
            if (isfinite(at[k])) {
                low[k] = fmin(low[k], at[k]);
                high[k] = fmax(high[k], at[k]);
            }
        }
    }
    double dx = fmax(high[0] - low[0], 0), dy = fmax(high[1] - low[1], 0);
    if (!isfinite(dx) || !isfinite(dy) || (dx == 0 && dy == 0)) {
        dx = dy = 1;
        low[0] = low[1] = -0.5;
    }
    sky->scale = fmin(dx > 0 ? w / dx : INFINITY, dy > 0 ? h / dy : INFINITY);
    sky->x = x + w / 2 - sky->scale * (low[0] + dx / 2);
    sky->y = y + h / 2 - sky->scale * (low[1] + dy / 2);
}

void svg_sky_point(const svg_sky *sky, double ra, double dec, double *x, double *y)
{
    double east, north;
    sq_project_zea(sky->ra, sky->dec, ra, dec, &east, &north);
    *x = sky->x - sky->scale * east;
    *y = sky->y - sky->scale * north;
}

void svg_sky_scale(FILE *out, const svg_sky *sky, double x, double y, double most)
{
    char text[64];
    double step = nice_step(1.5 * most / sky->scale, 1), arcmin = 60 * step;
    while (step * sky->scale > most)
        step /= 2;
    arcmin = 60 * step;
    svg_line(out, x, y, x + step * sky->scale, y, "#222222", 2);
    if (step >= 1)
        snprintf(text, sizeof text, "%.3g deg", step);
    else if (arcmin >= 1)
        snprintf(text, sizeof text, "%.3g arcmin", arcmin);
    else
        snprintf(text, sizeof text, "%.3g arcsec", 60 * arcmin);
    svg_text(out, x, y - 5, 11, "start", text);
    svg_text(out, x, y + 14, 11, "start", "north up, east left");
}
