#include "lensing/rows.h"

#include <math.h>

#include "base/mem.h"

#define METHOD                                                                                     \
    "0: tt, 1: te, 2: ee, 3: tb, 4: eb, 5: mv, 6: qen (QE of delensed maps), 7: map, 8: network, " \
    "9: curl of mv"
#define COUNT(list) (int)(sizeof(list) / sizeof *(list))

static const sq_column patch_columns[] = {
    {"ra", SQ_F64, "deg", "pos.eq.ra;meta.main", "ICRS, centre of the patch", 0},
    {"dec", SQ_F64, "deg", "pos.eq.dec;meta.main", "ICRS, centre of the patch", 0},
    {"area", SQ_F64, "deg2", "phys.angArea", "under the square of the window of the powers", 0},
    {"held", SQ_F64, "", "stat.value", "fraction of the pixels, halo included, with data", 0},
    {"noise_t", SQ_F64, "uK.arcmin", "stat.stdev", "median white noise of T", 0},
    {"noise_p", SQ_F64, "uK.arcmin", "stat.stdev", "median white noise of Q and of U", 0},
    {"iterations", SQ_I32, "", "meta.number", "conjugate gradients of the filter", 0},
    {"residual", SQ_F64, "", "stat.fit.residual", "of the filter, relative", 0},
    {"tt_ratio", SQ_F64, "", "stat.value",
     "power TT of the map over that of spectra, beam and noise, l = 300..1500", 0},
    {"ee_ratio", SQ_F64, "", "stat.value", "the same of EE", 0},
    {"bb_ratio", SQ_F64, "", "stat.value", "the same of BB", 0},
    {"te_ratio", SQ_F64, "", "stat.value", "regression of the map's TE on the spectra's", 0},
    {"bb_ratio_flipped", SQ_F64, "", "stat.value", "bb_ratio with U of the other sign", 0},
    {"te_ratio_flipped", SQ_F64, "", "stat.value", "te_ratio with U of the other sign", 0},
    {"curl_chi2", SQ_F64, "", "stat.fit.chi2", "of the curl's bandpowers about zero", 0},
    {"curl_dof", SQ_I32, "", "stat.fit.dof", "bandpowers in it", 0},
    {"network_scatter", SQ_F64, "", "stat.stdev",
     "rms of the networks of the ensemble about their mean, over what the base leaves", 0},
    {"lensing_ratio", SQ_F64, "", "stat.fit.param",
     "lensing power of the patch over that of the spectra, by mv or the last estimator in use", 0},
    {"lensing_ratio_err", SQ_F64, "", "stat.error", "its scatter in simulations", 0},
    {"flags", SQ_I32, "", "meta.code",
     "1: no usable data, 2: U seems to have the other sign, 4: TE has the wrong sign, 8: power of "
     "the map is not that of spectra, beam and noise (unit, D_l for C_l, noise), 16: curl above "
     "noise (p < 0.001), 32: noise, beam or, by 2 sigma, lensing power are "
     "beyond those of the network's training",
     0}};

static const sq_column bandpower_columns[] = {
    {"ra", SQ_F64, "deg", "pos.eq.ra;meta.main", "ICRS, centre of the patch", 0},
    {"dec", SQ_F64, "deg", "pos.eq.dec;meta.main", "ICRS, centre of the patch", 0},
    {"method_a", SQ_I32, "", "meta.id", METHOD, 0},
    {"method_b", SQ_I32, "", "meta.id", "as method_a", 0},
    {"l_min", SQ_F64, "", "", "lower edge of the bin of L", 0},
    {"l_max", SQ_F64, "", "", "upper edge of the bin of L", 0},
    {"modes", SQ_F64, "", "meta.number", "independent modes in bin and window", 0},
    {"area", SQ_F64, "deg2", "phys.angArea", "weight of the patch in the survey", 0},
    {"power", SQ_F64, "sr", "", "C_L of the estimates as they are, less the mean field", 0},
    {"noise", SQ_F64, "sr", "stat.variance",
     "noise bias: RDN0 of quadratic methods; of others what simulations have beside signal", 0},
    {"noise_sims", SQ_F64, "sr", "stat.variance", "noise bias that simulations alone expect", 0},
    {"n1", SQ_F64, "sr", "stat.variance",
     "what simulations have beside signal, noise and mean field", 0},
    {"mean_field", SQ_F64, "sr", "", "power of the mean field, from two halves of simulations", 0},
    {"transfer_a", SQ_F64, "", "", "of the estimate of method_a: its cross power with the truth",
     0},
    {"transfer_b", SQ_F64, "", "", "of method_b", 0},
    {"kappa", SQ_F64, "sr", "", "C_L of kappa: (power - noise - n1) / (transfer_a transfer_b)", 0},
    {"kappa_err", SQ_F64, "sr", "stat.error", "its scatter in simulations", 0},
    {"kappa_split", SQ_F64, "sr", "",
     "C_L of kappa from 4 or more splits without bias of their noise, less that of the CMB and n1",
     0},
    {"signal", SQ_F64, "sr", "", "C_L of kappa of the spectra", 0},
    {"n0", SQ_F64, "sr", "stat.variance", "N0 of the whole sky with the patch's median noise", 0},
    {"n1_theory", SQ_F64, "sr", "stat.variance", "N1 of the same, for n1, which has scatter", 0},
    {"rho", SQ_F64, "", "stat.correlation", "with the truth, in simulations", 0},
    {"snr", SQ_F64, "", "stat.snr", "S/N of the lensing power: sqrt(modes rho^4 / 2)", 0},
    {"snr_mv", SQ_F64, "", "", "snr over that of mv", 0},
    {"snr_iterated", SQ_F64, "", "", "snr over that of iterated estimates of the whole sky", 0}};

static const sq_column survey_columns[] = {
    {"method_a", SQ_I32, "", "meta.id", METHOD, 0},
    {"method_b", SQ_I32, "", "meta.id", "as method_a", 0},
    {"l_min", SQ_F64, "", "", "lower edge of the bin of L", 0},
    {"l_max", SQ_F64, "", "", "upper edge of the bin of L", 0},
    {"patches", SQ_I32, "", "meta.number", "patches with data", 0},
    {"area", SQ_F64, "deg2", "phys.angArea", "sum over patches", 0},
    {"transfer", SQ_F64, "", "", "product of both methods' transfers, mean over patches", 0},
    {"kappa", SQ_F64, "sr", "", "C_L of kappa", 0},
    {"kappa_err", SQ_F64, "sr", "stat.error", "its scatter in simulations of all patches", 0},
    {"kappa_split", SQ_F64, "sr", "", "C_L of kappa from splits, without noise bias", 0},
    {"signal", SQ_F64, "sr", "", "C_L of kappa of the spectra", 0},
    {"rho", SQ_F64, "", "stat.correlation", "with the truth, in simulations", 0},
    {"snr", SQ_F64, "", "stat.snr", "S/N of the lensing power, of all patches", 0},
    {"snr_mv", SQ_F64, "", "", "snr over that of mv", 0},
    {"snr_iterated", SQ_F64, "", "", "snr over that of iterated estimates of the whole sky", 0}};

static const sq_column amplitude_columns[] = {
    {"method", SQ_I32, "", "meta.id", METHOD, 0},
    {"amplitude", SQ_F64, "", "stat.fit.param", "power of lensing over that of the spectra", 0},
    {"amplitude_err", SQ_F64, "", "stat.error", "from the curvature of the likelihood", 0},
    {"chi2", SQ_F64, "", "stat.fit.chi2", "of the bandpowers", 0},
    {"dof", SQ_I32, "", "stat.fit.dof", "bandpowers less one", 0},
    {"simulations", SQ_I32, "", "meta.number", "skies in the covariance", 0}};

static const sq_column simulation_columns[] = {
    {"method_a", SQ_I32, "", "meta.id", METHOD ", 10: true kappa", 0},
    {"method_b", SQ_I32, "", "meta.id", "as method_a", 0},
    {"l_min", SQ_F64, "", "", "lower edge of the bin of L", 0},
    {"l_max", SQ_F64, "", "", "upper edge of the bin of L", 0},
    {"area", SQ_F64, "deg2", "phys.angArea", "weight of the patch in the survey", 0},
    {"power_first", SQ_F64, "sr", "", "C_L of the estimates of the first sky", 0},
    {"power_second", SQ_F64, "sr", "", "of the second", 0},
    {"noise_data", SQ_F64, "sr", "", "4 C_L of the estimates from data and a simulation", 0},
    {"noise_sims", SQ_F64, "sr", "", "2 C_L of the estimates from both skies", 0},
    {"power_low", SQ_F64, "sr", "", "the first sky with lensing amplitude 0.8", 0},
    {"power_high", SQ_F64, "sr", "", "the first sky with lensing amplitude 1.2", 0},
    {"noise_cmb", SQ_F64, "sr", "",
     "2 C_L of the estimates from both skies without noise, for 4 or more splits", 0}};

static const sq_column mode_columns[] = {
    {"method", SQ_I32, "", "meta.id", METHOD, 0},
    {"v", SQ_I32, "", "", "row of the mode in the patch's half plane, as of numpy.fft.rfft2", 0},
    {"u", SQ_I32, "", "", "column of the mode", 0},
    {"re", SQ_F32, "", "", "mean over simulations of the estimate of kappa, unnormalised transform",
     0},
    {"im", SQ_F32, "", "", "imaginary part", 0}};

const sq_schema lensing_schemas[LENSING_TABLES] = {
    [TABLE_PATCHES] = {.name = "quality",
                       .description = "patches of the footprint, their data and null tests",
                       .count = COUNT(patch_columns),
                       .column = patch_columns,
                       .ra = "ra",
                       .dec = "dec",
                       .phase = 1},
    [TABLE_BANDPOWERS] = {.name = "bandpowers",
                          .description = "lensing power of every patch by pair of methods",
                          .count = COUNT(bandpower_columns),
                          .column = bandpower_columns,
                          .ra = "ra",
                          .dec = "dec",
                          .phase = 1},
    [TABLE_SURVEY] = {.name = "survey",
                      .description = "lensing power of all patches by pair of methods",
                      .count = COUNT(survey_columns),
                      .column = survey_columns,
                      .phase = 2},
    [TABLE_AMPLITUDE] = {.name = "amplitude",
                         .description = "amplitude of lensing by method",
                         .count = COUNT(amplitude_columns),
                         .column = amplitude_columns,
                         .phase = 2},
    [TABLE_SIMULATIONS] = {.name = "simulations",
                           .description = "powers of every simulated sky by pair of methods",
                           .count = COUNT(simulation_columns),
                           .column = simulation_columns,
                           .phase = 0},
    [TABLE_MEAN_FIELD] = {.name = "mean_field",
                          .description = "modes of the mean field of every patch",
                          .count = COUNT(mode_columns),
                          .column = mode_columns,
                          .phase = 1}};

sq_status lensing_rows_write(enum lensing_table table, int64_t n, const void *rows,
                             sq_product *product)
{
    sq_status rc = SQ_OK;
    const sq_schema *schema = &lensing_schemas[table];
    const double *from = rows;
    char *data = NULL;
    const void *column[32];
    if (!n)
        return SQ_OK;
    SQ_TRY(SQ_ALLOC(data, 8 * n * schema->count, "rows"));
    for (int c = 0; c < schema->count; c++) {
        char *out = data + (size_t)c * 8 * (size_t)n;
        for (int64_t i = 0; i < n; i++) {
            double value = from[i * schema->count + c];
            if (schema->column[c].type == SQ_I32)
                ((int32_t *)out)[i] = (int32_t)value;
            else if (schema->column[c].type == SQ_F32)
                ((float *)out)[i] = (float)value;
            else
                ((double *)out)[i] = value;
        }
        column[c] = out;
    }
    SQ_TRY(sq_product_rows(product, table, n, column));
cleanup:
    sq_free(data);
    return rc;
}

sq_status lensing_rows_read(enum lensing_table table, const sq_product_view *view, void **rows)
{
    const sq_schema *schema = &lensing_schemas[table];
    int64_t n = view->rows[table];
    double *out = NULL;
    sq_status rc = SQ_ALLOC(out, n * schema->count, "rows");
    *rows = out;
    for (int c = 0; rc == SQ_OK && c < schema->count && n; c++) {
        const void *from = view->value[table][c];
        for (int64_t i = 0; i < n; i++)
            out[i * schema->count + c] =
                schema->column[c].type == SQ_I32   ? ((const int32_t *)from)[i]
                : schema->column[c].type == SQ_F32 ? ((const float *)from)[i]
                                                   : ((const double *)from)[i];
    }
    return rc;
}
