#include "assess/report.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "assess/report_page.h"
#include "assess/svg.h"
#include "base/mem.h"

static const char style[] =
    "body{font:15px/1.45 system-ui,sans-serif;color:#222;max-width:1080px;margin:2em auto;"
    "padding:0 1em}h1{font-size:1.6em;margin-bottom:.1em}h2{font-size:1.2em;margin-top:2em;"
    "border-bottom:2px solid #dde3ea;padding-bottom:.2em}table{border-collapse:collapse;"
    "margin:.6em 0;font-size:.93em}td,th{padding:.22em .8em;text-align:left;"
    "border-bottom:1px solid #e6eaee;vertical-align:top}th{background:#f3f6f9;font-weight:600}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code,pre{font:.9em monospace}"
    "td{overflow-wrap:anywhere}pre{background:#f6f8fa;padding:.7em;overflow-x:auto;margin:.3em 0;"
    "white-space:pre-wrap}svg{max-width:100%;height:auto;display:inline-block}"
    ".bad{color:#b00020;font-weight:600}.good{color:#1b7a3d;font-weight:600}.note{color:#667}"
    ".facts td:first-child{color:#556;white-space:nowrap}";

static void cell(const page *p, const char *text)
{
    fputs("<td>", p->out);
    svg_escape(p->out, text);
    fputs("</td>", p->out);
}

static void fact(const page *p, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void fact(const page *p, const char *name, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fputs("<tr>", p->out);
    cell(p, name);
    cell(p, text);
    fputs("</tr>\n", p->out);
}

static const char *text_of(const report_text *list, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(list[i].name, name) == 0)
            return list[i].text;
    }
    return "";
}

static void put_summary(const page *p)
{
    int64_t state[3] = {0, 0, 0};
    for (int64_t i = 0; i < p->task.n; i++) {
        if (p->task.state[i] >= 0 && p->task.state[i] < 3)
            state[p->task.state[i]]++;
    }
    fputs("<table class=\"facts\">\n", p->out);
    fact(p, "probe", "%s", text_of(p->provenance, p->provenances, "probe"));
    if (p->tiles)
        fact(p, "tiles", "%lld", (long long)p->tiles);
    fact(p, "tasks", "%lld done, %lld failed, %lld quarantined", (long long)state[0],
         (long long)state[1], (long long)state[2]);
    for (int i = 0; i < p->tables; i++)
        fact(p, p->table[i].name, "%lld rows: %.400s", (long long)p->table[i].rows,
             p->table[i].description ? p->table[i].description : "");
    for (int i = 0; i < p->maps; i++)
        fact(p, "map", "%s", p->map[i]);
    fact(p, "run", "%.100s to %.100s, %.20s ranks", text_of(p->run, p->runs, "started"),
         text_of(p->run, p->runs, "finished"), text_of(p->run, p->runs, "ranks"));
    fact(p, "software", "%.300s", text_of(p->provenance, p->provenances, "software"));
    fact(p, "manifest", "%.64s", p->manifest ? p->manifest : "");
    fputs("</table>\n", p->out);
}

static void put_failures(const page *p)
{
    static const char *const state[] = {"done", "failed", "quarantined"};
    const report_failures *f = &p->failure;
    fprintf(p->out, "<h2>Failures</h2>\n");
    if (f->n == 0) {
        fputs("<p class=\"good\">None: every task is done.</p>\n", p->out);
        return;
    }
    fprintf(p->out,
            "<p>%lld tasks without a product%s.</p>\n<table><tr><th>tile</th><th "
            "class=\"n\">patch</th><th class=\"n\">phase</th><th>state</th><th>class</th>"
            "<th>reason</th></tr>\n",
            (long long)f->n, f->shown < f->n ? "; the first of them" : "");
    for (int64_t i = 0; i < f->shown; i++) {
        fputs("<tr>", p->out);
        cell(p, f->tile[i] >= 0 && f->tile[i] < p->tiles ? p->tile_name[f->tile[i]] : "");
        fprintf(p->out, "<td class=\"n\">%lld</td><td class=\"n\">%lld</td>",
                (long long)f->patch[i], (long long)f->phase[i]);
        cell(p, f->state[i] >= 0 && f->state[i] < 3 ? state[f->state[i]] : "");
        cell(p, f->status + i * (f->status_width + 1));
        cell(p, f->reason + i * (f->reason_width + 1));
        fputs("</tr>\n", p->out);
    }
    fputs("</table>\n", p->out);
}

static void put_texts(const page *p, const char *title, const report_text *list, int count)
{
    fprintf(p->out, "<h3>%s</h3>\n<table class=\"facts\">\n", title);
    for (int i = 0; i < count; i++) {
        int lines = strchr(list[i].text, '\n') != NULL;
        fputs("<tr>", p->out);
        cell(p, list[i].name);
        fputs(lines ? "<td><pre>" : "<td><code>", p->out);
        svg_escape(p->out, list[i].text);
        fputs(lines ? "</pre></td></tr>\n" : "</code></td></tr>\n", p->out);
    }
    fputs("</table>\n", p->out);
}

static sq_status put_products(const page *p)
{
    sq_status rc = SQ_OK;
    for (int i = 0; i < p->tables; i++) {
        const report_table *t = &p->table[i];
        if (!t->sky || t->rows == 0)
            continue;
        fputs("<h2>", p->out);
        svg_escape(p->out, t->name);
        fputs("</h2>\n", p->out);
        SQ_TRY(page_sky(p, t));
        SQ_TRY(page_magnitudes(p, t));
    }
    SQ_TRY(page_lensing(p));
    if (p->maps)
        fputs("<h2>Maps</h2>\n", p->out);
    for (int i = 0; i < p->maps; i++)
        SQ_TRY(page_map(p, p->map[i]));
cleanup:
    return rc;
}

static sq_status put_page(const page *p, const char *title)
{
    sq_status rc;
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width\">\n<title>",
          p->out);
    svg_escape(p->out, title);
    fprintf(p->out, "</title>\n<style>%s</style></head><body>\n<h1>", style);
    svg_escape(p->out, title);
    fputs("</h1>\n", p->out);
    put_summary(p);
    SQ_TRY(page_footprint(p));
    SQ_TRY(put_products(p));
    page_times(p);
    put_failures(p);
    page_validation(p);
    page_comparison(p);
    fputs("<h2>Provenance</h2>\n", p->out);
    put_texts(p, "What the content was made from", p->provenance, p->provenances);
    put_texts(p, "This execution", p->run, p->runs);
    fputs("</body></html>\n", p->out);
cleanup:
    return rc;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

sq_status sq_report(const sq_report_options *options)
{
    page p = {.options = options};
    char partial[4096] = "";
    sq_status rc;
    SQ_TRY(page_read(&p));
    if (snprintf(partial, sizeof partial, "%s.partial", options->output) >= (int)sizeof partial)
        SQ_TRY(sq_fail(SQ_ERR_USAGE, "%.60s...: path is too long", options->output));
    p.out = fopen(partial, "w");
    if (!p.out)
        SQ_TRY(sq_fail(SQ_ERR_IO, "%s: %s", partial, strerror(errno)));
    SQ_TRY(put_page(&p, options->title ? options->title : base_name(options->release)));
    int bad = ferror(p.out);
    bad |= fclose(p.out) != 0;
    p.out = NULL;
    if (bad || rename(partial, options->output) != 0)
        SQ_TRY(sq_fail(SQ_ERR_IO, "%s: cannot write: %s", options->output, strerror(errno)));
    partial[0] = '\0';
cleanup:
    if (p.out)
        fclose(p.out);
    if (partial[0])
        unlink(partial);
    page_clear(&p);
    return rc;
}
