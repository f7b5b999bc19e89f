/* Keys "skyquilt.KEY" in the metadata of a model. Every function fails with SQ_ERR_CONFIG, which
 * names `path` and the key, when the key is missing or its value is not possible. Local. */
#ifndef SQ_NN_METADATA_H
#define SQ_NN_METADATA_H

#include <stddef.h>

#include "base/status.h"
#include "nn/model.h"

/* *out is owned by the model. */
sq_status sq_metadata_text(const sq_model *model, const char *path, const char *key,
                           const char **out);
/* Neither empty nor longer than size - 1 bytes. */
sq_status sq_metadata_name(const sq_model *model, const char *path, const char *key, char *out,
                           size_t size);
sq_status sq_metadata_real(const sq_model *model, const char *path, const char *key, double low,
                           double high, double *out);
sq_status sq_metadata_integer(const sq_model *model, const char *path, const char *key, int low,
                              int high, int *out);
/* Exactly n numbers separated by commas. */
sq_status sq_metadata_reals(const sq_model *model, const char *path, const char *key, int n,
                            double low, double high, double *out);
/* The error for a value that is not possible. */
sq_status sq_metadata_bad(const char *path, const char *key, const char *text);

#endif
