#include "fits/version.h"

#include <fitsio.h>
#include <stdio.h>

const char *sq_cfitsio_version(void)
{
    static _Thread_local char text[32];
    snprintf(text, sizeof text, "cfitsio %d.%d.%d", CFITSIO_MAJOR, CFITSIO_MINOR, CFITSIO_MICRO);
    return text;
}
