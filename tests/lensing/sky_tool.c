/* A lensed sky for tests of the probe, on a periodic plane.
 *
 *     sky_tool SIDE ARCMIN SEED AMPLITUDE FWHM NOISE OUT
 *
 * Writes doubles [4][SIDE][SIDE]: T, Q, U (uK, about the x axis of the plane, behind the beam, with
 * white noise NOISE in T and sqrt 2 of it in Q and U, uK arcmin) and the true kappa. */
#include <stdio.h>

#include "lensed_sky.h"

int main(int argc, char **argv)
{
    static sky s;
    static double beam[SKY_LMAX + 1];
    if (argc != 8)
        return 1;
    double arcmin = atof(argv[2]), noise = atof(argv[6]), *kappa = NULL;
    sky_open(&s, atoi(argv[1]), arcmin);
    sky_draw(&s, (uint64_t)atoll(argv[3]), atof(argv[4]), 0, 0);
    sq_beam_gauss(atof(argv[5]) * ARCMIN, SKY_LMAX, beam);
    sq_filter_eb_to_qu(&s.flat, s.field[1], s.field[2]);
    FILE *file = fopen(argv[7], "wb");
    sq_rng rng;
    sq_rng_init(&rng, 8812, 5, (uint64_t)atoll(argv[3]));
    for (int i = 0; file && i < 3; i++) {
        sq_filter_table(&s.flat, beam, SKY_LMAX, s.field[i]);
        sq_fft_backward(s.fft, s.field[i], s.map[i]);
        for (int64_t k = 0; k < s.pixels; k++)
            s.map[i][k] += (i ? M_SQRT2 : 1) * noise / arcmin * sq_rng_normal(&rng);
        fwrite(s.map[i], sizeof(double), (size_t)s.pixels, file);
    }
    if (!file || SQ_ALLOC(kappa, s.pixels, "kappa") != SQ_OK)
        return 1;
    sq_fft_backward(s.fft, s.kappa, kappa);
    fwrite(kappa, sizeof(double), (size_t)s.pixels, file);
    sq_free(kappa);
    sky_close(&s);
    return fclose(file) != 0;
}
