/* Arbitrary bytes as the file of a map: headers, units, and a few values. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fits/map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const sq_map_options options = {.unit = NULL};
    char path[64];
    sq_map *map = NULL;
    snprintf(path, sizeof path, "/dev/shm/fuzz_map_%ld", (long)getpid());
    FILE *f = size <= 1 << 18 ? fopen(path, "wb") : NULL;
    if (!f)
        return 0;
    fwrite(data, 1, size, f);
    fclose(f);
    if (sq_map_open(path, &options, &map) == SQ_OK) {
        const double ra[4] = {0, 10, 180, 359}, dec[4] = {0, -30, 89.9, -90};
        float value[4];
        uint8_t valid[4];
        sq_map_sample(map, 0, SQ_MAP_BILINEAR, 4, ra, dec, value, valid);
        sq_map_check_unit(map, 0, NULL);
        sq_map_close(map);
    }
    unlink(path);
    return 0;
}
