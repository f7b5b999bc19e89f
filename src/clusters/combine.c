#include "clusters/combine.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn/metadata.h"

static const char *const names[SQ_CLUSTER_FEATURES] = {
    "snr", "clean", "theta", "halo", "cluster", "target", "mass", "far", "cutout", "beam"};
static const char *const truths[2] = {"target", "halo"};

static sq_status read_features(const sq_model *model, const char *path, sq_cluster_combination *c)
{
    const char *text;
    sq_status rc = sq_metadata_text(model, path, "combination_features", &text);
    for (const char *at = text; rc == SQ_OK && *at;) {
        size_t n = strcspn(at, ",");
        int f = 0;
        while (f < SQ_CLUSTER_FEATURES && (strlen(names[f]) != n || strncmp(names[f], at, n) != 0))
            f++;
        if (f == SQ_CLUSTER_FEATURES || c->features == SQ_CLUSTER_FEATURES)
            return sq_metadata_bad(path, "combination_features", text);
        c->feature[c->features++] = (sq_cluster_feature)f;
        at += n + (at[n] == ',');
    }
    return rc == SQ_OK && c->features == 0 ? sq_metadata_bad(path, "combination_features", text)
                                           : rc;
}

static sq_status read_curve(const sq_model *model, const char *path, int i,
                            sq_cluster_combination *c)
{
    char key[64];
    const char *text, *name = names[c->feature[i]];
    sq_status rc = SQ_OK;
    snprintf(key, sizeof key, "combination_%s_knots", name);
    SQ_TRY(sq_metadata_text(model, path, key, &text));
    c->knots[i] = 1;
    for (const char *at = text; *at; at++)
        c->knots[i] += *at == ',';
    if (c->knots[i] > SQ_COMBINATION_KNOTS)
        return sq_metadata_bad(path, key, text);
    SQ_TRY(sq_metadata_reals(model, path, key, c->knots[i], -1e6, 1e6, c->knot[i]));
    for (int k = 1; k < c->knots[i]; k++) {
        if (!(c->knot[i][k] > c->knot[i][k - 1]))
            return sq_metadata_bad(path, key, text);
    }
    for (int t = 0; t < 2; t++) {
        snprintf(key, sizeof key, "combination_%s_%s", name, truths[t]);
        SQ_TRY(sq_metadata_reals(model, path, key, c->knots[i], -1e3, 1e3, c->value[t][i]));
    }
cleanup:
    return rc;
}

sq_status sq_cluster_combination_read(const sq_model *model, const char *path,
                                      sq_cluster_combination *c)
{
    sq_status rc = SQ_OK;
    *c = (sq_cluster_combination){.features = 0};
    SQ_TRY(sq_metadata_name(model, path, "combination", c->name, sizeof c->name));
    if (strcmp(c->name, "none") == 0)
        return SQ_OK;
    SQ_TRY(read_features(model, path, c));
    SQ_TRY(sq_metadata_reals(model, path, "combination_bias", 2, -1e3, 1e3, c->bias));
    for (int i = 0; i < c->features; i++)
        SQ_TRY(read_curve(model, path, i, c));
cleanup:
    return rc;
}

void sq_cluster_evidence(const float head[SQ_CLUSTER_HEADS], double feature[SQ_CLUSTER_FEATURES])
{
    feature[SQ_FEATURE_HALO] = head[SQ_HEAD_HALO];
    feature[SQ_FEATURE_CLUSTER] = head[SQ_HEAD_CLUSTER];
    feature[SQ_FEATURE_TARGET] = head[SQ_HEAD_TARGET];
    feature[SQ_FEATURE_MASS] = head[SQ_HEAD_LN_MASS] * exp(-head[SQ_HEAD_LN_SIGMA]);
    feature[SQ_FEATURE_FAR] = head[SQ_HEAD_FAR];
}

static double curve_at(int n, const double *knot, const double *value, double x)
{
    if (x <= knot[0])
        return value[0];
    for (int k = 1; k < n; k++) {
        if (x < knot[k])
            return value[k - 1] +
                   (value[k] - value[k - 1]) * (x - knot[k - 1]) / (knot[k] - knot[k - 1]);
    }
    return value[n - 1];
}

void sq_cluster_combine(const sq_cluster_combination *c, const double feature[SQ_CLUSTER_FEATURES],
                        double *target, double *halo)
{
    double logit[2] = {c->bias[0], c->bias[1]};
    for (int i = 0; i < c->features; i++) {
        double x = feature[c->feature[i]];
        for (int t = 0; t < 2; t++)
            logit[t] += isnan(x) ? NAN : curve_at(c->knots[i], c->knot[i], c->value[t][i], x);
    }
    *target = c->features ? 1 / (1 + exp(-logit[0])) : NAN;
    *halo = c->features ? 1 / (1 + exp(-logit[1])) : NAN;
}
