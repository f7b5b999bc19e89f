#include "catalog/decode.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn/metadata.h"

static sq_status read_bands(const sq_model *model, const char *path, sq_catalog_net *net)
{
    const char *text, *reference;
    sq_status rc = sq_metadata_text(model, path, "bands", &text);
    if (rc == SQ_OK)
        rc = sq_metadata_text(model, path, "reference", &reference);
    if (rc != SQ_OK)
        return rc;
    net->reference = -1;
    for (const char *at = text; *at;) {
        size_t n = strcspn(at, ",");
        if (n < 1 || n >= sizeof net->band[0] || net->nband == SQ_MAX_BANDS)
            return sq_metadata_bad(path, "bands", text);
        memcpy(net->band[net->nband], at, n);
        net->band[net->nband][n] = '\0';
        if (strcmp(net->band[net->nband], reference) == 0)
            net->reference = net->nband;
        net->nband++;
        at += n + (at[n] == ',');
    }
    if (net->nband == 0)
        return sq_metadata_bad(path, "bands", text);
    return net->reference >= 0 ? SQ_OK : sq_metadata_bad(path, "reference", reference);
}

static sq_status read_calibration(const sq_model *model, const char *path, sq_catalog_net *net)
{
    static const char *const shape[SQ_CATALOG_SHAPES] = {"radius", "e1", "e2", "bulge"};
    sq_catalog_calibration *c = &net->calibration;
    char key[64];
    sq_status rc = SQ_OK;
    c->probability[1] = 1.0;
    SQ_TRY(sq_metadata_name(model, path, "calibration", c->name, sizeof c->name));
    if (strcmp(c->name, "none") == 0)
        return SQ_OK;
    SQ_TRY(sq_metadata_integer(model, path, "calibration_knots", 1, SQ_CATALOG_KNOTS, &c->knots));
    SQ_TRY(sq_metadata_reals(model, path, "calibration_ln_snr", c->knots, -20, 40, c->ln_snr));
    for (int k = 1; k < c->knots; k++)
        if (!(c->ln_snr[k] > c->ln_snr[k - 1]))
            return sq_fail(SQ_ERR_CONFIG, "%s: skyquilt.calibration_ln_snr: not increasing", path);
    SQ_TRY(sq_metadata_reals(model, path, "calibration_position", c->knots, 0.05, 20, c->position));
    for (int b = 0; b < net->nband; b++) {
        snprintf(key, sizeof key, "calibration_flux_%s", net->band[b]);
        SQ_TRY(sq_metadata_reals(model, path, key, c->knots, 0.05, 20, c->flux[b]));
        snprintf(key, sizeof key, "calibration_offset_%s", net->band[b]);
        SQ_TRY(sq_metadata_reals(model, path, key, c->knots, -1, 1, c->offset[b]));
    }
    for (int i = 0; i < SQ_CATALOG_SHAPES; i++) {
        snprintf(key, sizeof key, "calibration_%s", shape[i]);
        SQ_TRY(sq_metadata_reals(model, path, key, c->knots, 0.05, 20, c->shape[i]));
    }
    SQ_TRY(sq_metadata_reals(model, path, "calibration_probability", 2, -10, 10, c->probability));
    if (!(c->probability[1] > 0))
        return sq_fail(SQ_ERR_CONFIG, "%s: skyquilt.calibration_probability: slope <= 0", path);
cleanup:
    return rc;
}

/* The channels of an input or output against what the metadata say. */
static sq_status check_tensor(const char *path, sq_tensor_info info, const char *name,
                              int64_t channels)
{
    if (!info.name || strcmp(info.name, name) != 0)
        return sq_fail(SQ_ERR_CONFIG, "%s: '%s' stands where a catalog network has '%s'", path,
                       info.name ? info.name : "", name);
    if (info.rank != 4 || (info.dim[1] != channels && info.dim[1] != -1))
        return sq_fail(SQ_ERR_CONFIG, "%s: %s: rank %d with %lld channels, not 4 with %lld", path,
                       name, info.rank, (long long)(info.rank > 1 ? info.dim[1] : 0),
                       (long long)channels);
    return SQ_OK;
}

static sq_status check_tensors(const sq_model *model, const char *path, const sq_catalog_net *net)
{
    char name[16];
    sq_status rc = SQ_OK;
    if (sq_model_inputs(model) != 1 + SQ_CATALOG_COLOURS ||
        sq_model_outputs(model) != SQ_CATALOG_COLOURS)
        return sq_fail(SQ_ERR_CONFIG,
                       "%s: %d inputs and %d outputs, a catalog network has %d and %d", path,
                       sq_model_inputs(model), sq_model_outputs(model), 1 + SQ_CATALOG_COLOURS,
                       (int)SQ_CATALOG_COLOURS);
    SQ_TRY(check_tensor(path, sq_model_input(model, 0), "image", 2 * net->nband));
    SQ_TRY(check_tensor(path, sq_model_input(model, 1), "planes", SQ_PLANES_PER_BAND * net->nband));
    for (int k = 0; k < SQ_CATALOG_COLOURS; k++) {
        snprintf(name, sizeof name, "ctx%d", k);
        if (k > 0)
            SQ_TRY(check_tensor(path, sq_model_input(model, 1 + k), name, net->context));
        snprintf(name, sizeof name, "head%d", k);
        SQ_TRY(check_tensor(path, sq_model_output(model, k), name, net->head));
    }
cleanup:
    return rc;
}

sq_status sq_catalog_net_read(const sq_model *model, const char *path, sq_catalog_net *net)
{
    const char *kind;
    int slots, planes;
    sq_status rc = SQ_OK;
    memset(net, 0, sizeof *net);
    SQ_TRY(sq_metadata_text(model, path, "kind", &kind));
    if (strcmp(kind, "catalog") != 0)
        return sq_fail(SQ_ERR_CONFIG, "%s: a network for '%s', not a catalog network", path, kind);
    SQ_TRY(sq_metadata_name(model, path, "name", net->name, sizeof net->name));
    SQ_TRY(sq_metadata_name(model, path, "version", net->version, sizeof net->version));
    SQ_TRY(read_bands(model, path, net));
    SQ_TRY(sq_metadata_integer(model, path, "tile", 2, 16, &net->tile));
    SQ_TRY(sq_metadata_integer(model, path, "multiple", 2 * net->tile, 1024, &net->multiple));
    SQ_TRY(sq_metadata_integer(model, path, "slots", SQ_CATALOG_SLOTS, SQ_CATALOG_SLOTS, &slots));
    SQ_TRY(sq_metadata_integer(model, path, "planes", SQ_PLANES_PER_BAND, SQ_PLANES_PER_BAND,
                               &planes));
    SQ_TRY(
        sq_metadata_integer(model, path, "context", 3 + 4 * SQ_CATALOG_SLOTS, 1024, &net->context));
    int least = 6 + 2 * SQ_CATALOG_SHAPES + net->nband + net->nband * (net->nband + 1) / 2;
    SQ_TRY(sq_metadata_integer(model, path, "slot_size", least, 1024, &net->slot));
    SQ_TRY(sq_metadata_integer(model, path, "head", 3 + SQ_CATALOG_SLOTS * net->slot, 4096,
                               &net->head));
    SQ_TRY(sq_metadata_integer(model, path, "core", net->multiple, 8192, &net->core));
    SQ_TRY(sq_metadata_integer(model, path, "halo", 0, 1024, &net->halo));
    SQ_TRY(sq_metadata_real(model, path, "limit", 0, 40, &net->limit));
    SQ_TRY(sq_metadata_real(model, path, "scale", 0.01, 100, &net->scale));
    SQ_TRY(read_calibration(model, path, net));
    SQ_TRY(check_tensors(model, path, net));
cleanup:
    return rc;
}
