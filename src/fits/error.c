#include "fits/fits_internal.h"

#include <string.h>

static sq_status classify(int status)
{
    switch (status) {
    case MEMORY_ALLOCATION:
        return SQ_ERR_NOMEM;
    case FILE_NOT_OPENED:
    case FILE_NOT_CREATED:
    case WRITE_ERROR:
    case FILE_NOT_CLOSED:
    case READONLY_FILE:
        return SQ_ERR_IO;
    default:
        return SQ_ERR_FORMAT;
    }
}

sq_status sq_fits_fail(int status, const char *path, int hdu, const char *what)
{
    char text[FLEN_STATUS] = "", first[FLEN_ERRMSG] = "", rest[FLEN_ERRMSG];
    fits_get_errstatus(status, text);
    if (fits_read_errmsg(first)) {
        while (fits_read_errmsg(rest)) {
        }
    }
    if (first[0] && strcmp(first, text) != 0)
        return sq_fail(classify(status), "%s[%d]: %s: %s (%s)", path, hdu, what, text, first);
    return sq_fail(classify(status), "%s[%d]: %s: %s", path, hdu, what, text);
}
