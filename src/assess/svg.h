/* Drawings in SVG 1.1, alone in a file or inside a page. Units are CSS pixels, y down. Texts and
 * tool tips may hold anything: what is not XML is escaped or replaced by U+FFFD. Local. */
#ifndef SQ_ASSESS_SVG_H
#define SQ_ASSESS_SVG_H

#include <stdint.h>
#include <stdio.h>

/* Text as it may stand in XML and HTML, in content and in quoted attributes. */
void svg_escape(FILE *out, const char *text);

void svg_begin(FILE *out, double width, double height, const char *title);
void svg_end(FILE *out);
/* `anchor`: "start", "middle" or "end". */
void svg_text(FILE *out, double x, double y, double size, const char *anchor, const char *text);
/* Centred and readable on any colour. */
void svg_halo_text(FILE *out, double x, double y, double size, const char *text);
void svg_turned_text(FILE *out, double x, double y, double size, const char *text); /* upward */
void svg_line(FILE *out, double x0, double y0, double x1, double y1, const char *colour,
              double width);
/* fill and stroke may be "none"; tip NULL: none. */
void svg_rect(FILE *out, double x, double y, double w, double h, const char *fill,
              const char *stroke, const char *tip);
/* xy: x, y, x, y, ... of n corners. */
void svg_polygon(FILE *out, const double *xy, int n, const char *fill, const char *stroke,
                 double width, const char *tip);
void svg_polyline(FILE *out, const double *xy, int n, const char *colour, double width);
void svg_circle(FILE *out, double x, double y, double r, const char *fill, const char *tip);

/* Colours as "#rrggbb". */
void svg_ramp(double t, char colour[8]);      /* 0 to 1: light to dark; grey for NaN */
void svg_diverging(double t, char colour[8]); /* -1 blue, 0 white, 1 red; grey for NaN */
const char *svg_series(int k);                /* distinct colours, repeated after sixteen */
/* A bar of colours with its ends labelled. */
void svg_colour_bar(FILE *out, double x, double y, double w, int diverging, double low, double high,
                    const char *label);

/* A graph: a box in the drawing and the ranges that it shows. */
typedef struct svg_graph {
    double x, y, w, h; /* box */
    double x0, x1, y0, y1;
} svg_graph;

double svg_x(const svg_graph *g, double value);
double svg_y(const svg_graph *g, double value);
/* Frame, ticks with numbers, grid, labels. */
void svg_axes(FILE *out, const svg_graph *g, const char *title, const char *x, const char *y);

/* A piece of sky in a box, equal-area about its centre, east to the left. */
typedef struct svg_sky {
    double ra, dec, scale, x, y; /* centre in deg and in the drawing; pixels per deg */
} svg_sky;

/* Holds all n points; a point alone gets a field of a degree. */
void svg_sky_fit(svg_sky *sky, int64_t n, const double *ra, const double *dec, double x, double y,
                 double w, double h);
void svg_sky_point(const svg_sky *sky, double ra, double dec, double *x, double *y);
/* A bar with its length on the sky, and arrows to north and east. */
void svg_sky_scale(FILE *out, const svg_sky *sky, double x, double y, double most);

#endif
