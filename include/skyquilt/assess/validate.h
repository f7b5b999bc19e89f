/* Validation: a catalogue against the truth.
 *
 * A detection and a true source belong together when each is the other's nearest within the radius
 * (and, with a tolerance, among the pairs whose magnitudes agree). Truth outside the catalogue's
 * footprint or the region is not counted, nor are detections there; they may still take part in
 * pairs across its border. Completeness is counted in bins of true magnitude, purity in bins of
 * measured magnitude, always against the whole truth. Errors: statistics.h. AB magnitudes, m = 31.4
 * - 2.5 log10(flux / nJy).
 *
 * Both files are HDF5 with one-dimensional columns, in the group catalog (or the one given) or at
 * the top: ra, dec (deg), flux_BAND (nJy); the truth has star (1 star, 0 galaxy) and may have tile,
 * radius, e1, ...; the catalogue may have detection_probability, star_probability, and for any
 * column X also X_err and quantiles X_q05, X_q16 ... (the digits are decimals of the probability).
 * Local, one process. */
#ifndef SQ_ASSESS_VALIDATE_H
#define SQ_ASSESS_VALIDATE_H

#include <stdint.h>
#include <stdio.h>

#include "assess/statistics.h"
#include "base/status.h"

enum { SQ_LEVELS = 4, SQ_RELIABILITY_BINS = 10, SQ_ROC_POINTS = 101, SQ_MAX_MAG_BINS = 64 };
extern const double sq_level[SQ_LEVELS]; /* 0.50, 0.68, 0.90, 0.95 */

typedef struct sq_validate_options {
    const char *release, *truth; /* paths */
    const char *table;           /* group of the catalogue, NULL: catalog, else the top */
    const char *band;            /* of the magnitudes, NULL: r, else the first that both have */
    double match;                /* arcsec */
    double tolerance;            /* mag; <= 0: none */
    double limit;                /* faint end of the summary in mag; NaN: none */
    double bright;               /* bright end; NaN: none */
    double threshold;            /* detection probability of the counted detections */
    uint64_t reject; /* detections with one of these bits in the column flags do not exist */
    double margin;   /* arcsec from the footprint's border that are left out */
    double bin_low, bin_step; /* NaN: chosen */
    const double *region;     /* polygon ra, dec, ra, dec, ...; NULL: none */
    int vertices;
    uint64_t seed;
    int replicas;
} sq_validate_options;

void sq_validate_defaults(sq_validate_options *options);

/* Counts in one range of magnitude. */
typedef struct sq_validate_bin {
    double low, high;
    int64_t truth, matched; /* by true magnitude */
    int64_t found, right;   /* by measured magnitude */
    sq_estimate completeness, purity, f1;
    sq_estimate star_completeness, galaxy_completeness;
    sq_estimate class_accuracy, star_accuracy, galaxy_accuracy; /* of matched sources */
} sq_validate_bin;

/* Residuals (measured minus true) of one quantity of the matched sources. */
typedef struct sq_validate_residual {
    double low, high; /* true magnitude */
    int64_t n;
    sq_estimate median, mad;           /* in the quantity's unit */
    sq_estimate pull_median, pull_mad; /* normal scores of the truth in its posterior */
    sq_estimate coverage[SQ_LEVELS];
} sq_validate_residual;

typedef struct sq_validate_quantity {
    char name[64], unit[16];
    char intervals[16]; /* "quantiles", "gaussian", "none"; "ellipse": of the position as a whole */
    sq_validate_residual all;
    int bins;
    sq_validate_residual bin[SQ_MAX_MAG_BINS];
} sq_validate_quantity;

typedef struct sq_validate_reliability {
    int64_t n;
    double probability, fraction; /* mean of the probabilities; how many of them are real */
} sq_validate_reliability;

typedef struct sq_validate_report {
    char band[16];
    double match, tolerance, threshold;
    int64_t truth_rows, catalog_rows; /* in the files */
    int64_t truth_used, catalog_used; /* inside footprint and region */
    int64_t blocks;
    uint64_t seed;
    sq_validate_bin all; /* between the bright end and the limit */
    int bins;
    sq_validate_bin bin[SQ_MAX_MAG_BINS];      /* each range alone */
    sq_validate_bin brighter[SQ_MAX_MAG_BINS]; /* everything brighter than its end */
    int quantities;
    sq_validate_quantity *quantity;
    int has_class;
    sq_estimate auc;
    double roc[SQ_ROC_POINTS][2]; /* false, true positive rate at star_probability 1, .99 ... 0 */
    int has_probability;
    sq_validate_reliability reliability[SQ_RELIABILITY_BINS];
    sq_estimate calibration_error; /* expected calibration error (Naeini et al. 2015) */
    double expected;               /* sum of the detection probabilities inside */
} sq_validate_report;

/* SQ_ERR_FORMAT when a file lacks a needed column, SQ_ERR_DATA when nothing is left to compare. */
sq_status sq_validate(const sq_validate_options *options, sq_validate_report **out);
void sq_validate_print(const sq_validate_report *report, FILE *out);
/* The whole report as one JSON object; undefined values are null. */
sq_status sq_validate_json(const sq_validate_report *report, const char *path);
void sq_validate_destroy(sq_validate_report *report);

#endif
