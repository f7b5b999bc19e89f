    7.4078046124e-01, /* lensed TT at l = 220 */
    2.6422438354e-04, /* lensed EE at l = 1000 */
    6.1243539336e-07, /* lensed BB at l = 1000 */
    6.2623421252e-15, /* potential at L = 100 */
    1.0000000000e+00, /* spectra written in CAMB's format and read back */
    9.4519615292e-08, /* N0 of kappa, TT at L = 500 */
    1.0761086721e-07, /* N0 of kappa, TT at L = 1000 */
    5.4420301672e-07, /* N0 of kappa, TE at L = 500 */
    8.0485255718e-07, /* N0 of kappa, TE at L = 1000 */
    1.1999350298e-07, /* N0 of kappa, EE at L = 500 */
    1.7662046979e-07, /* N0 of kappa, EE at L = 1000 */
    1.3979312911e-07, /* N0 of kappa, TB at L = 500 */
    2.2040833724e-07, /* N0 of kappa, TB at L = 1000 */
    1.1813105826e-08, /* N0 of kappa, EB at L = 500 */
    1.8113404374e-08, /* N0 of kappa, EB at L = 1000 */
    1.0495274709e-08, /* N0 of kappa, MV at L = 500 */
    1.5518395861e-08, /* N0 of kappa, MV at L = 1000 */
    6.3727621524e-09, /* N0 of kappa, iterated EB at L = 500 */
    1.1074737000e-08, /* N0 of kappa, iterated EB at L = 1000 */
    5.8421606992e-01, /* kappa, TT: correlation with the truth */
    1.0630847780e+00, /* kappa, TT: mean ratio to the truth */
    3.9724109478e-01, /* kappa, TE: correlation with the truth */
    1.4477802577e+00, /* kappa, TE: mean ratio to the truth */
    3.9108518619e-01, /* kappa, EE: correlation with the truth */
    6.7067351456e-01, /* kappa, EE: mean ratio to the truth */
    5.6987546784e-01, /* kappa, TB: correlation with the truth */
    1.1987123094e+00, /* kappa, TB: mean ratio to the truth */
    8.3722584348e-01, /* kappa, EB: correlation with the truth */
    1.0108252987e+00, /* kappa, EB: mean ratio to the truth */
    8.6412674025e-01, /* kappa, MV: correlation with the truth */
    1.0145857546e+00, /* kappa, MV: mean ratio to the truth */
