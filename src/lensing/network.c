#include "lensing/network.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "nn/metadata.h"

static const double ARCMIN = M_PI / 180 / 60;

struct sq_lensing_network {
    sq_flat flat;
    int pad, wide, high, members;
    sq_engine *engine;
    float *image, *out; /* of the padded box */
    float *mean, *scatter;
};

static sq_status check_tensors(const sq_model *model, const char *path, sq_lensing_net *net)
{
    if (sq_model_inputs(model) != 2 || sq_model_outputs(model) != 1)
        return sq_fail(SQ_ERR_CONFIG, "%s: %d inputs and %d outputs, not 2 and 1", path,
                       sq_model_inputs(model), sq_model_outputs(model));
    sq_tensor_info image = sq_model_input(model, 0), condition = sq_model_input(model, 1),
                   members = sq_model_output(model, 0);
    if (!image.name || strcmp(image.name, "image") != 0 || image.rank != 4 ||
        image.dim[1] != SQ_LENSING_CHANNELS)
        return sq_fail(SQ_ERR_CONFIG, "%s: the first input is not 'image' with %d channels", path,
                       SQ_LENSING_CHANNELS);
    if (!condition.name || strcmp(condition.name, "condition") != 0 || condition.rank != 2 ||
        condition.dim[1] != SQ_LENSING_CONDITIONS)
        return sq_fail(SQ_ERR_CONFIG, "%s: the second input is not 'condition' of %d", path,
                       SQ_LENSING_CONDITIONS);
    if (!members.name || strcmp(members.name, "members") != 0 || members.rank != 4 ||
        members.dim[1] < 1 || members.dim[1] > SQ_LENSING_MEMBERS)
        return sq_fail(SQ_ERR_CONFIG, "%s: the output is not 'members' of 1 to %d maps", path,
                       SQ_LENSING_MEMBERS);
    net->members = (int)members.dim[1];
    return SQ_OK;
}

sq_status sq_lensing_net_read(const sq_model *model, const char *path, sq_lensing_net *net)
{
    const char *text;
    sq_status rc = SQ_OK;
    *net = (sq_lensing_net){.members = 0};
    SQ_TRY(sq_metadata_text(model, path, "kind", &text));
    if (strcmp(text, "lensing") != 0)
        return sq_fail(SQ_ERR_CONFIG, "%s: a network for '%s', not a lensing network", path, text);
    SQ_TRY(sq_metadata_text(model, path, "layout", &text));
    if (strcmp(text, "lensing-1") != 0)
        return sq_metadata_bad(path, "layout", text);
    SQ_TRY(sq_metadata_name(model, path, "name", net->name, sizeof net->name));
    SQ_TRY(sq_metadata_name(model, path, "version", net->version, sizeof net->version));
    SQ_TRY(sq_metadata_real(model, path, "pixel", 0.1, 10, &net->pixel));
    SQ_TRY(sq_metadata_integer(model, path, "lmin", 2, 10000, &net->lmin));
    SQ_TRY(sq_metadata_integer(model, path, "lmax", net->lmin + 1, 12000, &net->lmax));
    SQ_TRY(sq_metadata_integer(model, path, "pad", 0, 256, &net->pad));
    SQ_TRY(sq_metadata_integer(model, path, "multiple", 1, 256, &net->multiple));
    SQ_TRY(sq_metadata_reals(model, path, "domain_low", SQ_LENSING_CONDITIONS, -100, 100,
                             net->domain[0]));
    SQ_TRY(sq_metadata_reals(model, path, "domain_high", SQ_LENSING_CONDITIONS, -100, 100,
                             net->domain[1]));
    SQ_TRY(check_tensors(model, path, net));
cleanup:
    return rc;
}

int sq_lensing_out_of_domain(const sq_lensing_net *net, const float *conditions)
{
    for (int i = 0; i < SQ_LENSING_CONDITIONS; i++) {
        if (!(conditions[i] >= net->domain[0][i] && conditions[i] <= net->domain[1][i]))
            return 1;
    }
    return 0;
}

void sq_lensing_network_destroy(sq_lensing_network *n)
{
    if (!n)
        return;
    sq_engine_destroy(n->engine);
    sq_free(n->image);
    sq_free(n->out);
    sq_free(n->mean);
    sq_free(n->scatter);
    sq_free(n);
}

sq_status sq_lensing_network_create(const sq_model *model, const sq_lensing_net *net,
                                    const sq_flat *flat, sq_precision precision,
                                    sq_lensing_network **out)
{
    sq_status rc = SQ_OK;
    sq_lensing_network *n = NULL;
    int64_t pixels = sq_flat_pixels(flat);
    *out = NULL;
    if (fabs(flat->dx / (net->pixel * ARCMIN) - 1) > 1e-3 ||
        fabs(flat->dy / (net->pixel * ARCMIN) - 1) > 1e-3)
        return sq_fail(SQ_ERR_CONFIG, "%s: the network was trained for pixels of %g arcmin",
                       net->name, net->pixel);
    if ((flat->nx + 2 * net->pad) % net->multiple || (flat->ny + 2 * net->pad) % net->multiple ||
        flat->nx < net->pad || flat->ny < net->pad)
        return sq_fail(SQ_ERR_CONFIG,
                       "%s: a box of %d x %d pixels with %d around is no multiple of %d", net->name,
                       flat->nx, flat->ny, net->pad, net->multiple);
    SQ_TRY(SQ_ALLOC(n, 1, "lensing network"));
    n->flat = *flat;
    n->pad = net->pad;
    n->members = net->members;
    n->wide = flat->nx + 2 * net->pad;
    n->high = flat->ny + 2 * net->pad;
    int64_t padded = (int64_t)n->wide * n->high;
    const int64_t shape[2][SQ_MAX_RANK] = {{1, SQ_LENSING_CHANNELS, n->high, n->wide},
                                           {1, SQ_LENSING_CONDITIONS}};
    SQ_TRY(sq_engine_create(model, shape, NULL, precision, &n->engine));
    SQ_TRY(SQ_ALLOC(n->image, SQ_LENSING_CHANNELS * padded, "lensing network"));
    SQ_TRY(SQ_ALLOC(n->out, n->members * padded, "lensing network"));
    SQ_TRY(SQ_ALLOC(n->mean, pixels, "lensing network"));
    SQ_TRY(SQ_ALLOC(n->scatter, pixels, "lensing network"));
    *out = n;
    n = NULL;
cleanup:
    sq_lensing_network_destroy(n);
    return rc;
}

/* The box with pixels of itself around. */
static void pad(sq_lensing_network *n, const float *image)
{
    int nx = n->flat.nx, ny = n->flat.ny;
    float *to = n->image;
    for (int c = 0; c < SQ_LENSING_CHANNELS; c++) {
        for (int y = 0; y < n->high; y++) {
            const float *row = image + ((int64_t)c * ny + (y - n->pad + ny) % ny) * nx;
            for (int x = 0; x < n->wide; x++)
                *to++ = row[(x - n->pad + nx) % nx];
        }
    }
}

sq_status sq_lensing_network_run(sq_lensing_network *n, const sq_lensing_inputs *in)
{
    pad(n, sq_lensing_inputs_image(in));
    const float *const input[] = {n->image, sq_lensing_inputs_conditions(in)};
    float *const output[] = {n->out};
    sq_status rc = sq_engine_run(n->engine, 0, 0, input, output);
    if (rc != SQ_OK)
        return rc;
    int64_t plane = (int64_t)n->wide * n->high;
    for (int y = 0; y < n->flat.ny; y++) {
        for (int x = 0; x < n->flat.nx; x++) {
            const float *value = n->out + (int64_t)(y + n->pad) * n->wide + x + n->pad;
            double sum = 0, square = 0;
            for (int m = 0; m < n->members; m++)
                sum += value[m * plane];
            sum /= n->members;
            for (int m = 0; m < n->members; m++)
                square += (value[m * plane] - sum) * (value[m * plane] - sum);
            int64_t at = (int64_t)y * n->flat.nx + x;
            n->mean[at] = (float)sum;
            n->scatter[at] = n->members > 1 ? (float)sqrt(square / (n->members - 1)) : 0;
        }
    }
    return SQ_OK;
}

const float *sq_lensing_network_mean(const sq_lensing_network *n)
{
    return n->mean;
}

const float *sq_lensing_network_scatter(const sq_lensing_network *n)
{
    return n->scatter;
}
