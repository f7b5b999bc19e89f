#include "nn/metadata.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

sq_status sq_metadata_text(const sq_model *model, const char *path, const char *key,
                           const char **out)
{
    char full[80];
    snprintf(full, sizeof full, "skyquilt.%s", key);
    *out = sq_model_metadata(model, full);
    return *out ? SQ_OK : sq_fail(SQ_ERR_CONFIG, "%s: %s: not in the model's metadata", path, full);
}

sq_status sq_metadata_bad(const char *path, const char *key, const char *text)
{
    return sq_fail(SQ_ERR_CONFIG, "%s: skyquilt.%s: '%.60s' is not possible", path, key, text);
}

sq_status sq_metadata_real(const sq_model *model, const char *path, const char *key, double low,
                           double high, double *out)
{
    const char *text;
    char *end;
    sq_status rc = sq_metadata_text(model, path, key, &text);
    if (rc != SQ_OK)
        return rc;
    *out = strtod(text, &end);
    if (end == text || *end || !(*out >= low && *out <= high))
        return sq_metadata_bad(path, key, text);
    return SQ_OK;
}

sq_status sq_metadata_integer(const sq_model *model, const char *path, const char *key, int low,
                              int high, int *out)
{
    double value;
    const char *text;
    sq_status rc = sq_metadata_real(model, path, key, low, high, &value);
    if (rc != SQ_OK)
        return rc;
    *out = (int)value;
    if (*out == value)
        return SQ_OK;
    rc = sq_metadata_text(model, path, key, &text);
    return rc == SQ_OK ? sq_metadata_bad(path, key, text) : rc;
}

sq_status sq_metadata_name(const sq_model *model, const char *path, const char *key, char *out,
                           size_t size)
{
    const char *text;
    sq_status rc = sq_metadata_text(model, path, key, &text);
    if (rc != SQ_OK)
        return rc;
    if (!*text || strlen(text) >= size)
        return sq_metadata_bad(path, key, text);
    memcpy(out, text, strlen(text) + 1);
    return SQ_OK;
}

/* Exactly n numbers separated by commas. */
sq_status sq_metadata_reals(const sq_model *model, const char *path, const char *key, int n,
                            double low, double high, double *out)
{
    const char *text;
    sq_status rc = sq_metadata_text(model, path, key, &text);
    if (rc != SQ_OK)
        return rc;
    const char *at = text;
    for (int i = 0; i < n; i++) {
        char *end;
        out[i] = strtod(at, &end);
        if (end == at || !(out[i] >= low && out[i] <= high) || *end != (i + 1 < n ? ',' : '\0'))
            return sq_metadata_bad(path, key, text);
        at = end + 1;
    }
    return SQ_OK;
}
