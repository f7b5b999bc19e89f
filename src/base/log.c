#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"

static int log_rank = 0;
static sq_log_level log_level = SQ_LOG_INFO;

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
    if (level > log_level)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sq_timestamp(stamp, sizeof stamp);
    fprintf(stderr, "%s [%d] %s: %s\n", stamp, log_rank, tags[level], text);
}
