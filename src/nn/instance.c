/* Shapes of every value for given input shapes, with everything that depends on constants only
 * folded. */
#include <string.h>

#include "base/mem.h"
#include "nn/graph.h"
#include "nn/ops.h"

/* A file of a few bytes can ask for constants of any size: what folding may make is bounded. */
enum { MAX_FOLDED = 1 << 24 };

int nn_is_constant(const nn_instance *instance, int value)
{
    return value >= 0 && instance->value[value].data != NULL;
}

static void set_call(nn_instance *in, const nn_node *node, nn_call *call)
{
    memset(call, 0, sizeof *call);
    call->model = in->model;
    call->node = node;
    for (int k = 0; k < node->inputs; k++)
        call->in[k] = node->in[k] < 0 ? NULL : &in->value[node->in[k]];
    for (int k = 0; k < node->outputs; k++)
        call->out[k] = node->out[k] < 0 ? NULL : &in->value[node->out[k]];
}

static int foldable(const nn_instance *in, const nn_node *node)
{
    if (strcmp(node->op_name, "Shape") == 0)
        return 1;
    for (int k = 0; k < node->inputs; k++) {
        if (node->in[k] >= 0 && !nn_is_constant(in, node->in[k]))
            return 0;
    }
    return 1;
}

static sq_status fold(nn_instance *in, nn_call *call)
{
    const nn_node *node = call->node;
    for (int k = 0; k < node->outputs; k++) {
        nn_tensor *t = call->out[k];
        if (!t)
            continue;
        if (t->count > MAX_FOLDED)
            return nn_fail(call, SQ_ERR_UNSUPPORTED, "a constant of more than %d elements",
                           MAX_FOLDED);
        sq_status rc = nn_tensor_alloc(t, "folded constant");
        if (rc != SQ_OK)
            return rc;
        in->owned[node->out[k]] = 1;
    }
    return nn_eval(call);
}

static sq_status set_inputs(nn_instance *in, const int64_t (*shape)[SQ_MAX_RANK])
{
    const sq_model *m = in->model;
    for (int i = 0; i < m->inputs; i++) {
        const nn_value *v = &m->value[m->input[i]];
        int64_t dim[SQ_MAX_RANK] = {0};
        for (int k = 0; k < v->rank; k++) {
            dim[k] = shape[i][k];
            if (v->dim[k] >= 0 && dim[k] != v->dim[k])
                return sq_fail(SQ_ERR_CONFIG, "%s: input %s: dimension %d is %lld, given as %lld",
                               m->name, v->name, k, (long long)v->dim[k], (long long)dim[k]);
        }
        if (!v->has_shape)
            return sq_fail(SQ_ERR_UNSUPPORTED, "%s: input %s has no rank", m->name, v->name);
        sq_status rc =
            nn_tensor_shape(&in->value[m->input[i]], v->type, v->rank, dim, m->limit, v->name);
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

/* Nodes whose inputs have no shape, after a node that could not be inferred (partial only). */
static int unknown(const nn_instance *in, const nn_node *node)
{
    for (int k = 0; k < node->inputs; k++) {
        if (node->in[k] >= 0 && in->value[node->in[k]].type == NN_NONE)
            return 1;
    }
    return 0;
}

static sq_status infer_node(nn_instance *in, const nn_node *node)
{
    nn_call call;
    set_call(in, node, &call);
    sq_status rc = nn_infer(&call);
    if (rc == SQ_OK && foldable(in, node))
        rc = fold(in, &call);
    return rc;
}

static void forget_outputs(nn_instance *in, const nn_node *node)
{
    for (int k = 0; k < node->outputs; k++) {
        int v = node->out[k];
        if (v < 0)
            continue;
        if (in->owned[v])
            nn_tensor_free(&in->value[v]);
        in->owned[v] = 0;
        memset(&in->value[v], 0, sizeof in->value[v]);
    }
}

sq_status nn_instance_create(const sq_model *m, const int64_t (*shape)[SQ_MAX_RANK], int partial,
                             nn_instance *out)
{
    sq_status rc;
    *out = (nn_instance){.model = m};
    SQ_TRY(SQ_ALLOC(out->value, m->values + 1, "shapes of a model"));
    SQ_TRY(SQ_ALLOC(out->owned, m->values + 1, "shapes of a model"));
    for (int i = 0; i < m->values; i++) {
        if (m->value[i].constant.type != NN_NONE)
            out->value[i] = m->value[i].constant;
    }
    SQ_TRY(set_inputs(out, shape));
    for (int i = 0; i < m->nodes; i++) {
        if (partial && unknown(out, &m->node[i]))
            continue;
        rc = infer_node(out, &m->node[i]);
        if (rc != SQ_OK && partial) {
            forget_outputs(out, &m->node[i]);
            continue;
        }
        if (rc != SQ_OK)
            goto cleanup;
    }
    return SQ_OK;
cleanup:
    nn_instance_destroy(out);
    return rc;
}

void nn_instance_destroy(nn_instance *in)
{
    for (int i = 0; in->value && in->owned && i < in->model->values; i++) {
        if (in->owned[i])
            nn_tensor_free(&in->value[i]);
    }
    sq_free(in->value);
    sq_free(in->owned);
    in->value = NULL;
    in->owned = NULL;
}
