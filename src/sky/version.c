#include "sky/version.h"

#include <stdio.h>
#include <wcslib/wcs.h>

const char *sq_wcslib_version(void)
{
    static _Thread_local char text[64];
    int version[3] = {0};
    wcslib_version(version);
    snprintf(text, sizeof text, "wcslib %d.%d", version[0], version[1]);
    return text;
}
