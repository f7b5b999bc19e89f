#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[SQ_ERROR_MAX];

static const char *const names[SQ_STATUS_COUNT] = {
    [SQ_OK] = "ok",
    [SQ_ERR_USAGE] = "usage",
    [SQ_ERR_CONFIG] = "config",
    [SQ_ERR_FORMAT] = "format",
    [SQ_ERR_DATA] = "data",
    [SQ_ERR_CHANGED] = "changed",
    [SQ_ERR_UNSUPPORTED] = "unsupported",
    [SQ_ERR_IO] = "io",
    [SQ_ERR_NOMEM] = "nomem",
    [SQ_ERR_COMM] = "comm",
    [SQ_ERR_STOPPED] = "stopped",
    [SQ_ERR_CORRUPT] = "corrupt",
    [SQ_ERR_INTERNAL] = "internal",
};

static const int exit_codes[SQ_STATUS_COUNT] = {
    [SQ_OK] = 0,           [SQ_ERR_USAGE] = 1,   [SQ_ERR_CONFIG] = 1,  [SQ_ERR_FORMAT] = 1,
    [SQ_ERR_DATA] = 1,     [SQ_ERR_CHANGED] = 1, [SQ_ERR_IO] = 4,      [SQ_ERR_UNSUPPORTED] = 1,
    [SQ_ERR_NOMEM] = 4,    [SQ_ERR_COMM] = 4,    [SQ_ERR_STOPPED] = 3, [SQ_ERR_CORRUPT] = 4,
    [SQ_ERR_INTERNAL] = 4,
};

/* A message is one line: control characters of a file name or header must not break a log. */
static void flatten(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
    }
}

sq_status sq_fail(sq_status code, const char *format, ...)
{
    char text[SQ_ERROR_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    flatten(text);
    memcpy(message, text, sizeof text);
    return code;
}

sq_status sq_fail_in(sq_status code, const char *format, ...)
{
    char text[SQ_ERROR_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    flatten(text);
    const char *const parts[] = {": ", message};
    size_t used = strlen(text);
    for (int i = 0; i < 2; i++) {
        size_t room = sizeof text - 1 - used, size = strlen(parts[i]);
        size = size < room ? size : room;
        memcpy(text + used, parts[i], size);
        used += size;
    }
    text[used] = '\0';
    memcpy(message, text, sizeof text);
    return code;
}

const char *sq_error(void)
{
    return message;
}

void sq_error_clear(void)
{
    message[0] = '\0';
}

const char *sq_status_name(sq_status code)
{
    return (unsigned)code < SQ_STATUS_COUNT ? names[code] : "unknown";
}

int sq_exit_code(sq_status code)
{
    return (unsigned)code < SQ_STATUS_COUNT ? exit_codes[code] : 4;
}
