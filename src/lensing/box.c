#include "lensing/box.h"

#include <math.h>

#include "base/mem.h"
#include "sim/cmb.h"

enum { DOMAIN_SKY = 0x6c6501, DOMAIN_NOISE };
static const double ARCMIN = M_PI / 180 / 60, FINE = 1.2;

struct sq_lensing_box {
    sq_flat flat, work;
    sq_fft *fft;
    sq_cmb *cmb;
    double _Complex *wide[SQ_CMB_FIELDS]; /* unlensed, of the working grid */
    double _Complex *noise;
};

void sq_lensing_noise(double level, double fwhm, int lmax, double *out)
{
    double sigma2 = pow(fwhm * ARCMIN, 2) / (8 * log(2));
    for (int l = 0; l <= lmax; l++)
        out[l] = pow(level * ARCMIN, 2) * exp(l * (l + 1.0) * sigma2);
}

void sq_lensing_box_destroy(sq_lensing_box *b)
{
    if (!b)
        return;
    for (int i = 0; i < SQ_CMB_FIELDS; i++)
        sq_free(b->wide[i]);
    sq_free(b->noise);
    sq_cmb_destroy(b->cmb);
    sq_fft_destroy(b->fft);
    sq_free(b);
}

sq_status sq_lensing_box_create(const sq_flat *flat, const char *spectra, sq_lensing_box **out)
{
    sq_status rc = SQ_OK;
    sq_lensing_box *b = NULL;
    int64_t modes = sq_flat_modes(flat);
    int finer = (int)ceil(fmax(flat->dx, flat->dy) / (FINE * ARCMIN));
    *out = NULL;
    SQ_TRY(SQ_ALLOC(b, 1, "lensed box"));
    b->flat = *flat;
    b->work = (sq_flat){flat->ny * finer, flat->nx * finer, flat->dy / finer, flat->dx / finer};
    SQ_TRY(sq_fft_create(flat->ny, flat->nx, &b->fft));
    SQ_TRY(sq_cmb_from_file(&b->work, &b->flat, spectra, &b->cmb));
    for (int i = 0; i < SQ_CMB_FIELDS; i++)
        SQ_TRY(SQ_ALLOC(b->wide[i], sq_flat_modes(&b->work), "lensed box"));
    SQ_TRY(SQ_ALLOC(b->noise, modes, "lensed box"));
    *out = b;
    b = NULL;
cleanup:
    sq_lensing_box_destroy(b);
    return rc;
}

/* Add noise to modes. */
static sq_status add_noise(sq_lensing_box *b, sq_rng *rng, int lmax, const double *power,
                           double _Complex *modes)
{
    sq_status rc = sq_field_modes(b->fft, &b->flat, rng, power, lmax, b->noise);
    for (int64_t k = 0; rc == SQ_OK && k < sq_flat_modes(&b->flat); k++)
        modes[k] += b->noise[k];
    return rc;
}

sq_status sq_lensing_box_draw(sq_lensing_box *box, uint64_t seed, uint64_t number, double amplitude,
                              int lmax, const double *noise, double _Complex *e, double _Complex *b,
                              double _Complex *kappa)
{
    sq_status rc = SQ_OK;
    sq_rng rng;
    sq_rng_init(&rng, seed, DOMAIN_SKY, number);
    SQ_TRY(
        sq_cmb_draw(box->cmb, &rng,
                    (double _Complex *const[]){NULL, box->wide[SQ_CMB_E], box->wide[SQ_CMB_PHI]}));
    sq_cmb_kappa(box->cmb, amplitude, box->wide[SQ_CMB_PHI], kappa);
    SQ_TRY(sq_cmb_lens(box->cmb, amplitude, box->wide[SQ_CMB_PHI], NULL, box->wide[SQ_CMB_E], NULL,
                       NULL, e, b));
    sq_filter_qu_to_eb(&box->flat, e, b);
    sq_rng_init(&rng, seed, DOMAIN_NOISE, number);
    SQ_TRY(add_noise(box, &rng, lmax, noise, e));
    SQ_TRY(add_noise(box, &rng, lmax, noise, b));
cleanup:
    return rc;
}
