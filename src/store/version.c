#include "store/version.h"

#include <hdf5.h>
#include <stdio.h>

const char *sq_hdf5_version(void)
{
    static _Thread_local char text[64];
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    snprintf(text, sizeof text, "HDF5 %u.%u.%u", major, minor, release);
    return text;
}

int sq_hdf5_matches(void)
{
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    return major == H5_VERS_MAJOR && minor == H5_VERS_MINOR;
}
