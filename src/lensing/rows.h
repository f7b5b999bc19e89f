/* The tables of the lensing probe, as rows in memory. All members are doubles, in the order of the
 * columns, whatever the column's type. Local. */
#ifndef SQ_LENSING_ROWS_H
#define SQ_LENSING_ROWS_H

#include "probe/probe.h"

enum lensing_table {
    TABLE_PATCHES,
    TABLE_BANDPOWERS,
    TABLE_SURVEY,
    TABLE_AMPLITUDE,
    TABLE_SIMULATIONS,
    TABLE_MEAN_FIELD,
    LENSING_TABLES
};

enum lensing_flag {
    LENSING_EMPTY = 1,         /* no usable data */
    LENSING_U_SIGN = 2,        /* U seems to have the other sign */
    LENSING_TE_SIGN = 4,       /* TE has not the sign that the spectra have */
    LENSING_SPECTRUM = 8,      /* the power of the map is not that of spectra, beam and noise */
    LENSING_CURL_POWER = 16,   /* the curl's power is not that of noise */
    LENSING_OUT_OF_DOMAIN = 32 /* noise, beam or amplitude beyond those of the network's training */
};

typedef struct patch_row {
    double ra, dec, area, held, noise_t, noise_p, iterations, residual;
    double tt_ratio, ee_ratio, bb_ratio, te_ratio, bb_flipped, te_flipped;
    double curl_chi2, curl_dof, scatter, amplitude, amplitude_error, flags;
} patch_row;

typedef struct bandpower_row {
    double ra, dec, method_a, method_b, l_min, l_max, modes, area;
    double power, noise, noise_sims, n1, mean_field, transfer_a, transfer_b;
    double kappa, error, split, signal, n0, n1_theory, rho, snr, snr_mv, snr_iterated;
} bandpower_row;

typedef struct survey_row {
    double method_a, method_b, l_min, l_max, patches, area;
    double transfer, kappa, error, split, signal, rho, snr, snr_mv, snr_iterated;
} survey_row;

typedef struct amplitude_row {
    double method, amplitude, error, chi2, dof, simulations;
} amplitude_row;

typedef struct simulation_row {
    double method_a, method_b, l_min, l_max, area;
    double first, second, noise_data, noise_sims, low, high, noise_cmb;
} simulation_row;

typedef struct mode_row {
    double method, v, u, re, im;
} mode_row;

extern const sq_schema lensing_schemas[LENSING_TABLES];

/* Rows, an array of the table's structure, into the product. */
sq_status lensing_rows_write(enum lensing_table table, int64_t n, const void *rows,
                             sq_product *product);
/* The rows of a product's table, as such an array: sq_free. */
sq_status lensing_rows_read(enum lensing_table table, const sq_product_view *view, void **rows);

#endif
