/* Seconds for a field of the mm simulator: 100 deg^2, three bands of 0.5 arcmin. */
#include <stdio.h>
#include <time.h>

#include "base/status.h"
#include "sim/mm.h"

int main(void)
{
    enum { FIELDS = 3 };
    static const char *const name[] = {"arnaud, deflected CMB", "battaglia, Gaussian CMB"};
    for (int kind = 0; kind < 2; kind++) {
        sq_sim_mm_config c;
        sq_sim_mm *sim = NULL;
        sq_mm_field f;
        sq_sim_mm_defaults(&c);
        c.fields = FIELDS;
        c.gas = kind;
        c.lensing = kind;
        clock_t start = clock();
        sq_status rc = sq_sim_mm_create(&c, &sim);
        double made = (double)(clock() - start) / CLOCKS_PER_SEC;
        start = clock();
        for (int64_t k = 0; k < FIELDS && rc == SQ_OK; k++) {
            rc = sq_sim_mm_field(sim, k, &f);
            sq_mm_field_clear(&f);
        }
        double each = (double)(clock() - start) / CLOCKS_PER_SEC / FIELDS;
        sq_sim_mm_destroy(sim);
        if (rc != SQ_OK) {
            fprintf(stderr, "bench_mm: %s\n", sq_error());
            return 1;
        }
        printf("%s: %.2f processor seconds a field of 100 deg^2, %.2f to set up\n", name[kind],
               each, made);
    }
    return 0;
}
