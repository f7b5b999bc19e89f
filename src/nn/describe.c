/* What a model needs, for people. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "nn/engine.h"

/* How a value sees the input: extent and step in input pixels; infinite extent: all of it. */
typedef struct field {
    double extent, step;
} field;

typedef struct report {
    const sq_model *m;
    nn_instance in;
    field *field;
    double flop, parameters, pixels;
    int unsupported, unshaped;
} report;

static field widest(const report *r, const nn_node *node)
{
    field f = {0, 1};
    for (int k = 0; k < node->inputs; k++) {
        int v = node->in[k];
        if (v < 0 || nn_is_constant(&r->in, v) || r->field[v].extent == 0)
            continue;
        if (r->field[v].extent > f.extent)
            f.extent = r->field[v].extent;
        f.step = r->field[v].step;
    }
    return f;
}

/* One step through a window: Araujo, Norris & Sim 2019 (Distill), eq. 1. */
static field through_window(field f, const nn_window *w, int transposed)
{
    double reach = 0, stride = 1;
    for (int i = 0; i < w->n; i++) {
        reach = fmax(reach, (double)((w->kernel[i] - 1) * w->dilation[i]));
        stride = fmax(stride, (double)w->stride[i]);
    }
    if (transposed) {
        f.extent += ceil(reach / stride) * f.step;
        f.step /= stride;
    } else {
        f.extent += reach * f.step;
        f.step *= stride;
    }
    return f;
}

static void cost(report *r, const nn_call *call, field *f)
{
    const char *op = call->node->op_name;
    nn_window w;
    nn_resize z;
    const nn_tensor *out = call->out[0];
    double outputs = out ? (double)out->count : 0;
    if (strcmp(op, "Conv") == 0 && nn_conv_window(call, &w) == SQ_OK) {
        r->flop += 2 * outputs * (double)(call->in[1]->count / call->in[1]->dim[0]);
        *f = through_window(*f, &w, 0);
    } else if (strcmp(op, "ConvTranspose") == 0 && nn_deconv_window(call, &w) == SQ_OK) {
        r->flop +=
            2 * (double)call->in[0]->count * (double)(call->in[1]->count / call->in[1]->dim[0]);
        *f = through_window(*f, &w, 1);
    } else if ((strcmp(op, "MaxPool") == 0 || strcmp(op, "AveragePool") == 0) &&
               nn_pool_window(call, &w) == SQ_OK) {
        *f = through_window(*f, &w, 0);
    } else if ((strcmp(op, "Resize") == 0 || strcmp(op, "Upsample") == 0) &&
               nn_resize_plan(call, &z) == SQ_OK) {
        double scale = z.rank > 2 ? z.scale[z.rank - 1] : 1;
        f->extent += (z.mode == 0 ? 0 : z.mode == 1 ? 1 : 3) * f->step;
        f->step /= scale;
    } else if (strcmp(op, "GlobalAveragePool") == 0 || strncmp(op, "Reduce", 6) == 0 ||
               strcmp(op, "Gemm") == 0 || strcmp(op, "Flatten") == 0) {
        f->extent = INFINITY;
    }
    if (strcmp(op, "Gemm") == 0 || strcmp(op, "MatMul") == 0) {
        const nn_tensor *a = call->in[0];
        double n = a->rank > 0 ? (double)a->dim[a->rank - 1] : 1;
        r->flop += 2 * outputs * n;
    }
}

static void look_at_node(report *r, int i)
{
    const nn_node *node = &r->m->node[i];
    nn_call call = {.model = r->m, .node = node};
    field f = widest(r, node);
    int known = 1;
    for (int k = 0; k < node->inputs; k++) {
        call.in[k] = node->in[k] < 0 ? NULL : &r->in.value[node->in[k]];
        known = known && (!call.in[k] || call.in[k]->type != NN_NONE);
    }
    for (int k = 0; k < node->outputs; k++) {
        call.out[k] = node->out[k] < 0 ? NULL : &r->in.value[node->out[k]];
        known = known && (!call.out[k] || call.out[k]->type != NN_NONE);
    }
    if (!known || !node->op)
        r->unshaped += node->op != NULL;
    else if (call.out[0] && !call.out[0]->data)
        cost(r, &call, &f);
    for (int k = 0; k < node->outputs; k++) {
        if (node->out[k] >= 0)
            r->field[node->out[k]] = f;
    }
}

static void print_shape(FILE *out, const char *name, int rank, const int64_t *dim)
{
    fprintf(out, "%s [", name);
    for (int i = 0; i < rank; i++) {
        if (dim[i] < 0)
            fprintf(out, "%s?", i ? ", " : "");
        else
            fprintf(out, "%s%lld", i ? ", " : "", (long long)dim[i]);
    }
    fprintf(out, "]\n");
}

static void print_operators(report *r, FILE *out)
{
    fprintf(out, "operators:\n");
    for (int i = 0; i < r->m->nodes; i++) {
        const nn_node *node = &r->m->node[i];
        int first = 1, count = 0;
        for (int k = 0; k < r->m->nodes; k++) {
            int same = strcmp(r->m->node[k].op_name, node->op_name) == 0 &&
                       (r->m->node[k].op == NULL) == (node->op == NULL);
            first = first && !(same && k < i);
            count += same;
        }
        if (first)
            fprintf(out, "    %5d  %s%s\n", count, node->op_name,
                    node->op ? "" : "    NOT SUPPORTED");
        r->unsupported += node->op == NULL;
    }
}

static void print_totals(report *r, int64_t side, FILE *out)
{
    field widest_output = {0, 1};
    fprintf(out, "outputs:\n");
    for (int i = 0; i < r->m->outputs; i++) {
        int v = r->m->output[i];
        const nn_tensor *t = &r->in.value[v];
        fprintf(out, "    ");
        if (t->type != NN_NONE)
            print_shape(out, r->m->value[v].name, t->rank, t->dim);
        else
            fprintf(out, "%s (shape not known)\n", r->m->value[v].name);
        if (r->field[v].extent > widest_output.extent)
            widest_output = r->field[v];
    }
    fprintf(out, "parameters: %.0f\n", r->parameters);
    fprintf(
        out,
        "FLOP: %.4g for inputs with symbolic sides of %lld, %.4g per pixel of the first input\n",
        r->flop, (long long)side, r->pixels > 0 ? r->flop / r->pixels : 0);
    if (isinf(widest_output.extent))
        fprintf(out, "receptive field: the whole input\n");
    else
        fprintf(out, "receptive field: %.0f pixels\n", widest_output.extent);
}

static void print_verdict(report *r, const int64_t (*shape)[SQ_MAX_RANK], FILE *out)
{
    nn_instance again;
    if (nn_instance_create(r->m, shape, 0, &again) == SQ_OK) {
        fprintf(out, "supported: yes\n");
        nn_instance_destroy(&again);
    } else {
        fprintf(out, "supported: no: %s\n", sq_error());
    }
}

static void start_fields(report *r, const int64_t (*shape)[SQ_MAX_RANK])
{
    for (int i = 0; i < r->m->inputs; i++) {
        const nn_value *v = &r->m->value[r->m->input[i]];
        double side = v->rank > 2 ? (double)shape[i][v->rank - 1] : 1;
        double first = r->m->value[r->m->input[0]].rank > 2
                           ? (double)shape[0][r->m->value[r->m->input[0]].rank - 1]
                           : 1;
        double step = side > 0 ? first / side : 1;
        r->field[r->m->input[i]] = (field){step > 1 ? step : 1, step > 1 ? step : 1};
    }
    for (int v = 0; v < r->m->values; v++) {
        if (r->m->value[v].constant.type == NN_F32 && r->m->value[v].constant.count > 1)
            r->parameters += (double)r->m->value[v].constant.count;
    }
    const nn_value *v = r->m->inputs > 0 ? &r->m->value[r->m->input[0]] : NULL;
    if (v && v->rank > 2)
        r->pixels = (double)shape[0][0];
    for (int k = 2; v && k < v->rank; k++)
        r->pixels *= (double)shape[0][k];
}

static void set_shapes(const sq_model *m, int64_t side, int64_t ratio,
                       int64_t (*shape)[SQ_MAX_RANK])
{
    for (int i = 0; i < m->inputs; i++) {
        const nn_value *v = &m->value[m->input[i]];
        for (int k = 0; k < v->rank; k++)
            shape[i][k] = v->dim[k] >= 0 ? v->dim[k] : k == 0 ? 1 : i == 0 ? side : side / ratio;
    }
}

sq_status sq_model_shapes(const sq_model *m, int64_t side, int64_t (*shape)[SQ_MAX_RANK])
{
    for (int64_t ratio = 1; ratio <= 32 && side / ratio > 0; ratio *= 2) {
        nn_instance instance;
        set_shapes(m, side, ratio, shape);
        sq_status rc = nn_instance_create(m, (const int64_t(*)[SQ_MAX_RANK])shape, 0, &instance);
        if (rc == SQ_OK)
            nn_instance_destroy(&instance);
        if (rc == SQ_OK || rc == SQ_ERR_NOMEM)
            return rc;
    }
    set_shapes(m, side, 1, shape); /* there is no agreement: what follows will say why */
    return SQ_OK;
}

sq_status sq_model_describe(const sq_model *m, int64_t side, FILE *out)
{
    report r = {.m = m};
    int64_t(*shape)[SQ_MAX_RANK] = NULL;
    char hash[SQ_HASH_TEXT];
    sq_status rc;
    SQ_TRY(SQ_ALLOC(shape, SQ_MAX_IO, "shapes"));
    SQ_TRY(SQ_ALLOC(r.field, m->values + 1, "receptive fields"));
    SQ_TRY(sq_model_shapes(m, side, shape));
    sq_hash_text(m->hash, hash);
    fprintf(out, "%s\nhash: %s\noperator set: %d\nnodes: %d\n", m->name, hash, m->opset, m->nodes);
    for (int i = 0; i < m->metadata; i++)
        fprintf(out, "metadata: %s = %s\n", m->key[i], m->text[i]);
    fprintf(out, "inputs:\n");
    for (int i = 0; i < m->inputs; i++) {
        const nn_value *v = &m->value[m->input[i]];
        fprintf(out, "    ");
        print_shape(out, v->name, v->rank, v->dim);
    }
    SQ_TRY(nn_instance_create(m, (const int64_t(*)[SQ_MAX_RANK])shape, 1, &r.in));
    start_fields(&r, (const int64_t(*)[SQ_MAX_RANK])shape);
    for (int i = 0; i < m->nodes; i++)
        look_at_node(&r, i);
    print_totals(&r, side, out);
    print_operators(&r, out);
    print_verdict(&r, (const int64_t(*)[SQ_MAX_RANK])shape, out);
cleanup:
    if (r.in.value)
        nn_instance_destroy(&r.in);
    sq_free(r.field);
    sq_free(shape);
    return rc;
}
