/* The naive executor: every node of the file in order, in plain layout, with the kernels of the
 * operator table. It is the oracle of the tests, so it shares shape rules with the engine but no
 * arithmetic. */
#include <string.h>

#include "base/mem.h"
#include "nn/graph.h"
#include "nn/ops.h"

static sq_status load_inputs(const sq_model *m, const int64_t (*shape)[SQ_MAX_RANK],
                             const float *const *inputs, nn_tensor *value)
{
    for (int i = 0; i < m->inputs; i++) {
        const nn_value *v = &m->value[m->input[i]];
        nn_tensor *t = &value[m->input[i]];
        sq_status rc = nn_tensor_shape(t, v->type, v->rank, shape[i], m->limit, v->name);
        if (rc == SQ_OK)
            rc = nn_tensor_alloc(t, v->name);
        if (rc != SQ_OK)
            return rc;
        for (int64_t k = 0; k < t->count; k++)
            nn_set(t, k, inputs[i][k]);
    }
    return SQ_OK;
}

static sq_status run_node(const sq_model *m, const nn_node *node, nn_tensor *value)
{
    nn_call call = {.model = m, .node = node};
    for (int k = 0; k < node->inputs; k++)
        call.in[k] = node->in[k] < 0 ? NULL : &value[node->in[k]];
    for (int k = 0; k < node->outputs; k++)
        call.out[k] = node->out[k] < 0 ? NULL : &value[node->out[k]];
    sq_status rc = nn_infer(&call);
    for (int k = 0; rc == SQ_OK && k < node->outputs; k++) {
        if (call.out[k])
            rc = nn_tensor_alloc(call.out[k], m->value[node->out[k]].name);
    }
    return rc == SQ_OK ? nn_eval(&call) : rc;
}

static int owned(const sq_model *m, int v)
{
    return m->value[v].constant.type == NN_NONE;
}

/* Free what no later node reads. */
static void drop_dead(const sq_model *m, const int *last, int node, nn_tensor *value)
{
    for (int v = 0; v < m->values; v++) {
        if (last[v] == node && owned(m, v))
            nn_tensor_free(&value[v]);
    }
}

sq_status sq_reference_run(const sq_model *m, const int64_t (*shape)[SQ_MAX_RANK],
                           const float *const *inputs, float *const *outputs)
{
    nn_tensor *value = NULL;
    int *last = NULL;
    sq_status rc;
    SQ_TRY(SQ_ALLOC(value, m->values + 1, "values"));
    SQ_TRY(SQ_ALLOC(last, m->values + 1, "values"));
    for (int v = 0; v < m->values; v++) {
        last[v] = -1;
        if (!owned(m, v))
            value[v] = m->value[v].constant;
    }
    for (int i = 0; i < m->nodes; i++) {
        for (int k = 0; k < m->node[i].inputs; k++) {
            if (m->node[i].in[k] >= 0)
                last[m->node[i].in[k]] = i;
        }
    }
    for (int i = 0; i < m->outputs; i++)
        last[m->output[i]] = m->nodes;
    SQ_TRY(load_inputs(m, shape, inputs, value));
    for (int i = 0; i < m->nodes; i++) {
        SQ_TRY(run_node(m, &m->node[i], value));
        drop_dead(m, last, i, value);
    }
    for (int i = 0; i < m->outputs; i++) {
        const nn_tensor *t = &value[m->output[i]];
        for (int64_t k = 0; outputs[i] && k < t->count; k++)
            outputs[i][k] = (float)nn_get(t, k);
    }
cleanup:
    for (int v = 0; value && v < m->values; v++) {
        if (owned(m, v))
            nn_tensor_free(&value[v]);
    }
    sq_free(value);
    sq_free(last);
    return rc;
}
