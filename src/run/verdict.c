#include "run/verdict.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/paths.h"

/* A JSON string without the quotes. */
static void escape(const char *text, char *out, size_t size)
{
    size_t used = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c && used + 8 < size; c++) {
        if (*c == '"' || *c == '\\')
            used += (size_t)snprintf(out + used, size - used, "\\%c", *c);
        else if (*c < ' ')
            used += (size_t)snprintf(out + used, size - used, "\\u%04x", *c);
        else
            out[used++] = (char)*c;
    }
    out[used] = 0;
}

sq_status sq_verdict_write(const char *folder, const sq_run_verdict *v)
{
    char text[8192], reason[1100], release[2100], hash[SQ_HASH_TEXT], now[32];
    escape(v->reason, reason, sizeof reason);
    escape(v->release, release, sizeof release);
    sq_hash_text(v->manifest, hash);
    sq_timestamp(now, sizeof now);
    snprintf(text, sizeof text,
             "{\n  \"exit_code\": %d,\n  \"relaunch\": %s,\n  \"reason\": \"%s\",\n  \"counts\": {\"total\": %llu, "
             "\"done\": %llu, \"failed\": %llu, \"quarantined\": %llu, \"rows\": %lld, "
             "\"left_out\": %llu, \"taken_over\": %llu},\n"
             "  \"release\": \"%s\",\n  \"manifest\": \"%s\",\n  \"seconds\": %.3f,\n"
             "  \"finished\": \"%s\"\n}\n",
             v->exit_code, v->relaunch ? "true" : "false", reason, (unsigned long long)v->total, (unsigned long long)v->done,
             (unsigned long long)v->failed, (unsigned long long)v->quarantined, (long long)v->rows,
             (unsigned long long)v->left_out, (unsigned long long)v->taken, release, hash, v->seconds, now);
    return sq_run_write_file(folder, SQ_RUN_VERDICT, text);
}

sq_status sq_verdict_remove(const char *folder)
{
    char path[SQ_PATH_MAX];
    sq_status rc = sq_run_path(folder, SQ_RUN_VERDICT, path);
    if (rc != SQ_OK)
        return rc;
    if (unlink(path) != 0 && errno != ENOENT)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    return SQ_OK;
}

sq_status sq_verdict_read(const char *folder, int *there, int *exit_code, char *reason, size_t size)
{
    char path[SQ_PATH_MAX], text[8192];
    sq_status rc = sq_run_path(folder, SQ_RUN_VERDICT, path);
    *there = 0;
    reason[0] = 0;
    if (rc != SQ_OK)
        return rc;
    FILE *file = fopen(path, "r");
    if (!file)
        return errno == ENOENT ? SQ_OK : sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    size_t got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[got] = 0;
    const char *code = strstr(text, "\"exit_code\": "), *why = strstr(text, "\"reason\": \"");
    if (!code || !why)
        return sq_fail(SQ_ERR_CORRUPT, "%s: is not a verdict", path);
    *there = 1;
    *exit_code = atoi(code + strlen("\"exit_code\": "));
    why += strlen("\"reason\": \"");
    size_t used = 0;
    for (; *why && *why != '"' && used + 1 < size; why++) {
        if (*why == '\\' && why[1])
            why++;
        reason[used++] = *why;
    }
    reason[used] = 0;
    return SQ_OK;
}
