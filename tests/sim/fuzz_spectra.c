/* Any bytes as a file of spectra: no crash, no leak, and what is accepted is finite. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "sim/spectra_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t held = sq_mem_held();
    sq_spectra spectra;
    if (size < 1)
        return 0;
    /* The first byte chooses the unit and the columns that must be there. */
    sq_cl_unit unit = (sq_cl_unit)(data[0] % SQ_CL_UNITS);
    unsigned need = data[0] / SQ_CL_UNITS % (1u << SQ_CL_COUNT);
    if (sq_spectra_parse((const char *)data + 1, size - 1, "fuzz", unit, need, 300, &spectra) ==
        SQ_OK) {
        for (int c = 0; c < SQ_CL_COUNT; c++) {
            if (need & 1u << c && !spectra.cl[c])
                abort();
            for (int l = 0; spectra.cl[c] && need & 1u << c && l <= 300; l++) {
                if (!isfinite(spectra.cl[c][l]))
                    abort();
            }
        }
        sq_spectra_free(&spectra);
    }
    if (sq_mem_held() != held)
        abort();
    return 0;
}
