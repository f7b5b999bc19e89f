/* A release on one page: HTML with inline SVG, no scripts, nothing from elsewhere.
 *
 * Reads a release and, when given, the JSON of `validate` and of `compare`. Every text from these
 * files is escaped. Columns are read one at a time. Local, one process. */
#ifndef SQ_ASSESS_REPORT_H
#define SQ_ASSESS_REPORT_H

#include "base/status.h"

typedef struct sq_report_options {
    const char *release;
    const char *validate, *compare; /* JSON files, NULL: none */
    const char *output;             /* the page; it is complete under this name */
    const char *title;              /* NULL: the name of the release */
} sq_report_options;

/* SQ_ERR_FORMAT when the release is none, or a JSON file is not what its command writes. */
sq_status sq_report(const sq_report_options *options);

#endif
