#include "nn/graph.h"

#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "base/mem.h"
#include "nn/onnx.h"
#include "nn/ops.h"

static const sq_model_limits defaults = {
    .file_bytes = (uint64_t)1 << 30, .tensor_elements = (uint64_t)1 << 31, .nodes = 100000};

static sq_model_limits effective(const sq_model_limits *limits)
{
    sq_model_limits l = defaults;
    if (limits && limits->file_bytes)
        l.file_bytes = limits->file_bytes;
    if (limits && limits->tensor_elements && limits->tensor_elements < defaults.tensor_elements)
        l.tensor_elements = limits->tensor_elements;
    if (limits && limits->nodes > 0)
        l.nodes = limits->nodes;
    return l;
}

sq_status sq_model_parse(const void *data, size_t size, const char *name,
                         const sq_model_limits *limits, sq_model **out)
{
    sq_model_limits l = effective(limits);
    sq_model *m = NULL;
    sq_status rc;
    *out = NULL;
    if (size == 0)
        return sq_fail(SQ_ERR_CONFIG, "%s: empty", name);
    if (size > l.file_bytes)
        return sq_fail(SQ_ERR_CONFIG, "%s: %zu bytes, the limit is %llu", name, size,
                       (unsigned long long)l.file_bytes);
    SQ_TRY(SQ_ALLOC(m, 1, "model"));
    SQ_TRY(sq_strdup(&m->name, name));
    m->limit = (int64_t)l.tensor_elements;
    m->hash = sq_hash_bytes(data, size);
    SQ_TRY(nn_onnx_parse(m, data, size, l.nodes));
    *out = m;
    m = NULL;
cleanup:
    sq_model_destroy(m);
    return rc;
}

sq_status sq_model_load(const char *path, const sq_model_limits *limits, sq_model **out)
{
    char *data = NULL;
    size_t size = 0;
    *out = NULL;
    sq_status rc = sq_file_read(path, effective(limits).file_bytes, &data, &size);
    if (rc == SQ_OK)
        rc = sq_model_parse(data, size, path, limits, out);
    sq_free(data);
    return rc;
}

static void free_node(nn_node *node)
{
    for (int i = 0; i < node->attrs; i++) {
        sq_free(node->attr[i].name);
        sq_free(node->attr[i].text);
        sq_free(node->attr[i].ints);
        sq_free(node->attr[i].floats);
        nn_tensor_free(&node->attr[i].tensor);
    }
    sq_free(node->attr);
    sq_free(node->name);
    sq_free(node->op_name);
    sq_free(node->in);
    sq_free(node->out);
}

void sq_model_destroy(sq_model *m)
{
    if (!m)
        return;
    for (int i = 0; i < m->values; i++) {
        sq_free(m->value[i].name);
        nn_tensor_free(&m->value[i].constant);
    }
    for (int i = 0; i < m->nodes; i++)
        free_node(&m->node[i]);
    for (int i = 0; i < m->metadata; i++) {
        sq_free(m->key[i]);
        sq_free(m->text[i]);
    }
    sq_free(m->value);
    sq_free(m->node);
    sq_free(m->input);
    sq_free(m->output);
    sq_free(m->key);
    sq_free(m->text);
    sq_free(m->name);
    sq_free(m);
}

sq_hash sq_model_hash(const sq_model *model)
{
    return model->hash;
}

int sq_model_inputs(const sq_model *model)
{
    return model->inputs;
}

int sq_model_outputs(const sq_model *model)
{
    return model->outputs;
}

static sq_tensor_info info_of(const nn_value *value)
{
    sq_tensor_info info = {.name = value->name, .rank = value->rank};
    for (int i = 0; i < value->rank; i++)
        info.dim[i] = value->dim[i];
    return info;
}

sq_tensor_info sq_model_input(const sq_model *model, int i)
{
    return info_of(&model->value[model->input[i]]);
}

sq_tensor_info sq_model_output(const sq_model *model, int i)
{
    return info_of(&model->value[model->output[i]]);
}

const char *sq_model_metadata(const sq_model *model, const char *key)
{
    for (int i = 0; i < model->metadata; i++) {
        if (strcmp(model->key[i], key) == 0)
            return model->text[i];
    }
    return NULL;
}

sq_status nn_model_freeze(sq_model *model, int input, const nn_tensor *data)
{
    nn_value *value = &model->value[model->input[input]];
    sq_status rc = nn_tensor_copy(&value->constant, data, "constant input");
    if (rc != SQ_OK)
        return rc;
    for (int i = input; i + 1 < model->inputs; i++)
        model->input[i] = model->input[i + 1];
    model->inputs--;
    return SQ_OK;
}

const nn_attr *nn_attr_find(const nn_node *node, const char *name)
{
    for (int i = 0; i < node->attrs; i++) {
        if (strcmp(node->attr[i].name, name) == 0)
            return &node->attr[i];
    }
    return NULL;
}
