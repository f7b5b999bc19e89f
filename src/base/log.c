#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static int log_rank = 0;
static FILE *log_file;
static sq_log_level log_level = SQ_LOG_INFO;

sq_status sq_log_open(const char *path)
{
    FILE *file = fopen(path, "a");
    if (!file)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    setvbuf(file, NULL, _IOLBF, 0);
    if (log_file)
        fclose(log_file);
    log_file = file;
    return SQ_OK;
}

void sq_log_setup(int rank, sq_log_level level)
{
    log_rank = rank;
    log_level = level;
}

void sq_log(sq_log_level level, const char *format, ...)
{
    static const char *const tags[] = {"error", "warning", "info", "debug"};
    char text[2048], stamp[24];
    va_list args;
    if (level > log_level && !log_file)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sq_timestamp(stamp, sizeof stamp);
    if (level <= log_level)
        fprintf(stderr, "%s [%d] %s: %s\n", stamp, log_rank, tags[level], text);
    if (log_file)
        fprintf(log_file, "%s [%d] %s: %s\n", stamp, log_rank, tags[level], text);
}
