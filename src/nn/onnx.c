#include "nn/onnx.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "nn/onnx_wire.h"
#include "nn/ops.h"

enum { FIRST_OPSET = 1, LAST_OPSET = 21, MAX_NAME = 4096, MAX_LIST = 1 << 20 };

/* Names of values to their indices: open addressing over a power of two. */
typedef struct name_table {
    int *slot;
    size_t size;
} name_table;

typedef struct parser {
    sq_model *model;
    const Onnx__GraphProto *graph;
    name_table names;
    size_t capacity;
    int64_t max_nodes;
} parser;

static int *find_slot(const parser *p, const char *name)
{
    size_t i = sq_hash64(name, strlen(name)) & (p->names.size - 1);
    while (p->names.slot[i] >= 0 && strcmp(p->model->value[p->names.slot[i]].name, name) != 0)
        i = (i + 1) & (p->names.size - 1);
    return &p->names.slot[i];
}

static int lookup(const parser *p, const char *name)
{
    return *find_slot(p, name);
}

static sq_status add_value(parser *p, const char *name, int *index)
{
    sq_model *m = p->model;
    int *slot = find_slot(p, name);
    if (*slot >= 0) {
        *index = *slot;
        return SQ_OK;
    }
    if (strlen(name) > MAX_NAME)
        return sq_fail(SQ_ERR_CONFIG, "%s: a name of %zu characters", m->name, strlen(name));
    sq_status rc = SQ_GROW(m->value, p->capacity, m->values + 1, "values of a model");
    if (rc != SQ_OK)
        return rc;
    m->value[m->values].producer = -1;
    rc = sq_strdup(&m->value[m->values].name, name);
    if (rc == SQ_OK)
        *index = *slot = m->values++;
    return rc;
}

static sq_status make_names(parser *p)
{
    size_t count = p->graph->n_input + p->graph->n_initializer + 16;
    for (size_t i = 0; i < p->graph->n_node; i++)
        count += p->graph->node[i]->n_output;
    p->names.size = 64;
    while (p->names.size < 2 * count)
        p->names.size *= 2;
    sq_status rc = SQ_ALLOC(p->names.slot, p->names.size, "names of a model");
    for (size_t i = 0; rc == SQ_OK && i < p->names.size; i++)
        p->names.slot[i] = -1;
    return rc;
}

static sq_status read_initialisers(parser *p)
{
    sq_model *m = p->model;
    if (p->graph->n_sparse_initializer > 0)
        return sq_fail(SQ_ERR_UNSUPPORTED, "%s: sparse initialisers are not supported", m->name);
    for (size_t i = 0; i < p->graph->n_initializer; i++) {
        const Onnx__TensorProto *t = p->graph->initializer[i];
        char what[256];
        if (!t->name || !t->name[0])
            return sq_fail(SQ_ERR_CONFIG, "%s: initialiser %zu has no name", m->name, i);
        snprintf(what, sizeof what, "%s: initialiser %.100s", m->name, t->name);
        int index;
        sq_status rc = add_value(p, t->name, &index);
        if (rc != SQ_OK)
            return rc;
        if (m->value[index].constant.type != NN_NONE)
            return sq_fail(SQ_ERR_CONFIG, "%s is defined twice", what);
        rc = nn_wire_copy_tensor(t, m->limit, what, &m->value[index].constant);
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

static sq_status read_type(parser *p, const Onnx__ValueInfoProto *info, nn_value *value)
{
    const Onnx__TypeProto *type = info->type;
    const sq_model *m = p->model;
    if (!type || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !type->tensor_type)
        return sq_fail(SQ_ERR_UNSUPPORTED, "%s: %s: not a tensor", m->name, value->name);
    value->type = nn_wire_type(type->tensor_type->elem_type);
    if (value->type == NN_NONE)
        return sq_fail(SQ_ERR_UNSUPPORTED, "%s: %s: element type %d is not supported", m->name,
                       value->name, (int)type->tensor_type->elem_type);
    const Onnx__TensorShapeProto *shape = type->tensor_type->shape;
    value->has_shape = shape != NULL;
    if (!shape)
        return SQ_OK;
    if (shape->n_dim > SQ_MAX_RANK)
        return sq_fail(SQ_ERR_CONFIG, "%s: %s: rank %zu is above %d", m->name, value->name,
                       shape->n_dim, SQ_MAX_RANK);
    value->rank = (int)shape->n_dim;
    for (int i = 0; i < value->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = shape->dim[i];
        int known = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        value->dim[i] = known ? d->dim_value : -1;
        if (known && (d->dim_value < 0 || d->dim_value > NN_MAX_DIM))
            return sq_fail(SQ_ERR_CONFIG, "%s: %s: dimension %d is %lld", m->name, value->name, i,
                           (long long)d->dim_value);
    }
    return SQ_OK;
}

static sq_status read_inputs(parser *p)
{
    sq_model *m = p->model;
    for (size_t i = 0; i < p->graph->n_input; i++) {
        const Onnx__ValueInfoProto *info = p->graph->input[i];
        if (!info->name || !info->name[0])
            return sq_fail(SQ_ERR_CONFIG, "%s: input %zu has no name", m->name, i);
        int known = lookup(p, info->name), index;
        if (known >= 0 && m->value[known].constant.type != NN_NONE)
            continue; /* older files list their initialisers as inputs */
        if (known >= 0)
            return sq_fail(SQ_ERR_CONFIG, "%s: input %s is listed twice", m->name, info->name);
        if (m->inputs >= SQ_MAX_IO)
            return sq_fail(SQ_ERR_UNSUPPORTED, "%s: more than %d inputs", m->name, SQ_MAX_IO);
        sq_status rc = add_value(p, info->name, &index);
        if (rc == SQ_OK)
            rc = read_type(p, info, &m->value[index]);
        if (rc != SQ_OK)
            return rc;
        m->input[m->inputs++] = index;
    }
    return SQ_OK;
}

static sq_status read_outputs(parser *p)
{
    sq_model *m = p->model;
    if (p->graph->n_output == 0)
        return sq_fail(SQ_ERR_CONFIG, "%s: the graph has no outputs", m->name);
    if (p->graph->n_output > SQ_MAX_IO)
        return sq_fail(SQ_ERR_UNSUPPORTED, "%s: more than %d outputs", m->name, SQ_MAX_IO);
    for (size_t i = 0; i < p->graph->n_output; i++) {
        const Onnx__ValueInfoProto *info = p->graph->output[i];
        int index = info->name ? lookup(p, info->name) : -1;
        if (index < 0)
            return sq_fail(SQ_ERR_CONFIG, "%s: output %s is not computed by any node", m->name,
                           info->name ? info->name : "?");
        if (m->value[index].type == NN_NONE && info->type) {
            sq_status rc = read_type(p, info, &m->value[index]);
            if (rc != SQ_OK)
                return rc;
        }
        m->output[m->outputs++] = index;
    }
    return SQ_OK;
}

static sq_status read_attr(const parser *p, const nn_node *node, const Onnx__AttributeProto *a,
                           nn_attr *out)
{
    char what[256];
    snprintf(what, sizeof what, "%s: node %.80s (%.40s): attribute %.60s", p->model->name,
             node->name, node->op_name, a->name ? a->name : "?");
    if (!a->name || !a->name[0])
        return sq_fail(SQ_ERR_CONFIG, "%s has no name", what);
    if (a->n_ints > MAX_LIST || a->n_floats > MAX_LIST || a->s.len > MAX_LIST)
        return sq_fail(SQ_ERR_CONFIG, "%s is too long", what);
    sq_status rc = sq_strdup(&out->name, a->name);
    out->kind = NN_ATTR_OTHER;
    if (rc != SQ_OK)
        return rc;
    switch (a->type) {
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT:
        out->kind = NN_ATTR_FLOAT;
        out->f = a->f;
        return SQ_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT:
        out->kind = NN_ATTR_INT;
        out->i = a->i;
        return SQ_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING:
        out->kind = NN_ATTR_TEXT;
        rc = SQ_ALLOC(out->text, a->s.len + 1, "attribute");
        if (rc == SQ_OK && a->s.len > 0)
            memcpy(out->text, a->s.data, a->s.len);
        return rc;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR:
        if (!a->t)
            return sq_fail(SQ_ERR_CONFIG, "%s has no tensor", what);
        out->kind = NN_ATTR_TENSOR;
        return nn_wire_copy_tensor(a->t, p->model->limit, what, &out->tensor);
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS:
        out->kind = NN_ATTR_INTS;
        out->count = (int)a->n_ints;
        rc = SQ_ALLOC(out->ints, a->n_ints + 1, "attribute");
        if (rc == SQ_OK && a->n_ints > 0)
            memcpy(out->ints, a->ints, a->n_ints * sizeof *a->ints);
        return rc;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS:
        out->kind = NN_ATTR_FLOATS;
        out->count = (int)a->n_floats;
        rc = SQ_ALLOC(out->floats, a->n_floats + 1, "attribute");
        for (size_t i = 0; rc == SQ_OK && i < a->n_floats; i++)
            out->floats[i] = a->floats[i];
        return rc;
    default: /* of no operator that is supported; seen again only by name */
        return SQ_OK;
    }
}

static sq_status read_outputs_of(parser *p, const Onnx__NodeProto *proto, int index)
{
    nn_node *node = &p->model->node[index];
    int count = (int)proto->n_output;
    while (count > 0 && !proto->output[count - 1][0])
        count--;
    sq_status rc = SQ_ALLOC(node->out, count + 1, "outputs of a node");
    for (int i = 0; rc == SQ_OK && i < count; i++) {
        node->out[i] = -1;
        node->outputs = i + 1;
        if (!proto->output[i][0])
            continue;
        if (lookup(p, proto->output[i]) >= 0)
            return sq_fail(SQ_ERR_CONFIG, "%s: node %s (%s): output %s is defined twice",
                           p->model->name, node->name, node->op_name, proto->output[i]);
        rc = add_value(p, proto->output[i], &node->out[i]);
        if (rc == SQ_OK)
            p->model->value[node->out[i]].producer = index;
    }
    return rc;
}

static sq_status read_node(parser *p, const Onnx__NodeProto *proto, int index)
{
    nn_node *node = &p->model->node[index];
    const char *op = proto->op_type && proto->op_type[0] ? proto->op_type : "?";
    char name[160];
    snprintf(name, sizeof name, "%.60s#%d", op, index);
    sq_status rc = sq_strdup(&node->op_name, op);
    if (rc == SQ_OK)
        rc = sq_strdup(&node->name, proto->name && proto->name[0] ? proto->name : name);
    if (rc != SQ_OK)
        return rc;
    int standard = !proto->domain || !proto->domain[0] || strcmp(proto->domain, "ai.onnx") == 0;
    node->op = standard ? nn_op_find(op) : NULL;
    if (proto->n_input > NN_MAX_ARGS || proto->n_output > NN_MAX_ARGS)
        return sq_fail(SQ_ERR_UNSUPPORTED, "%s: node %s (%s): more than %d arguments",
                       p->model->name, node->name, op, NN_MAX_ARGS);
    if (proto->n_attribute > 256)
        return sq_fail(SQ_ERR_CONFIG, "%s: node %s (%s): %zu attributes", p->model->name,
                       node->name, op, proto->n_attribute);
    rc = SQ_ALLOC(node->attr, proto->n_attribute + 1, "attributes");
    for (size_t i = 0; rc == SQ_OK && i < proto->n_attribute; i++)
        rc = read_attr(p, node, proto->attribute[i], &node->attr[node->attrs++]);
    return rc == SQ_OK ? read_outputs_of(p, proto, index) : rc;
}

static sq_status resolve_inputs(parser *p, const Onnx__NodeProto *proto, nn_node *node)
{
    int count = (int)proto->n_input;
    while (count > 0 && !proto->input[count - 1][0])
        count--;
    sq_status rc = SQ_ALLOC(node->in, count + 1, "inputs of a node");
    for (int i = 0; rc == SQ_OK && i < count; i++) {
        node->in[i] = proto->input[i][0] ? lookup(p, proto->input[i]) : -1;
        node->inputs = i + 1;
        if (proto->input[i][0] && node->in[i] < 0)
            return sq_fail(SQ_ERR_CONFIG, "%s: node %s (%s): input %s is not defined",
                           p->model->name, node->name, node->op_name, proto->input[i]);
    }
    return rc;
}

static sq_status read_nodes(parser *p)
{
    sq_model *m = p->model;
    if ((int64_t)p->graph->n_node > p->max_nodes)
        return sq_fail(SQ_ERR_CONFIG, "%s: %zu nodes, the limit is %lld", m->name, p->graph->n_node,
                       (long long)p->max_nodes);
    sq_status rc = SQ_ALLOC(m->node, p->graph->n_node + 1, "nodes of a model");
    for (size_t i = 0; rc == SQ_OK && i < p->graph->n_node; i++) {
        m->nodes = (int)i + 1;
        rc = read_node(p, p->graph->node[i], (int)i);
    }
    for (int i = 0; rc == SQ_OK && i < m->nodes; i++)
        rc = resolve_inputs(p, p->graph->node[i], &m->node[i]);
    return rc;
}

/* ONNX demands that nodes come after what they use; so a cycle shows as a use before the
 * definition. */
static sq_status check_order(const sq_model *m)
{
    for (int i = 0; i < m->nodes; i++) {
        const nn_node *node = &m->node[i];
        for (int k = 0; k < node->inputs; k++) {
            if (node->in[k] >= 0 && m->value[node->in[k]].producer >= i)
                return sq_fail(SQ_ERR_CONFIG,
                               "%s: node %s (%s): input %s is computed by this or a later node (a "
                               "cycle, or nodes out of order)",
                               m->name, node->name, node->op_name, m->value[node->in[k]].name);
        }
    }
    return SQ_OK;
}

static sq_status read_opset(parser *p, const Onnx__ModelProto *proto)
{
    for (size_t i = 0; i < proto->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *id = proto->opset_import[i];
        if (id->domain && id->domain[0] && strcmp(id->domain, "ai.onnx") != 0)
            continue;
        if (id->version < FIRST_OPSET || id->version > LAST_OPSET)
            return sq_fail(SQ_ERR_UNSUPPORTED, "%s: operator set %lld is outside %d..%d",
                           p->model->name, (long long)id->version, FIRST_OPSET, LAST_OPSET);
        p->model->opset = (int)id->version;
    }
    if (p->model->opset == 0)
        return sq_fail(SQ_ERR_CONFIG, "%s: names no operator set", p->model->name);
    return SQ_OK;
}

static sq_status read_metadata(sq_model *m, const Onnx__ModelProto *proto)
{
    sq_status rc = SQ_ALLOC(m->key, proto->n_metadata_props + 1, "metadata");
    if (rc == SQ_OK)
        rc = SQ_ALLOC(m->text, proto->n_metadata_props + 1, "metadata");
    for (size_t i = 0; rc == SQ_OK && i < proto->n_metadata_props; i++) {
        const Onnx__StringStringEntryProto *e = proto->metadata_props[i];
        m->metadata = (int)i + 1;
        rc = sq_strdup(&m->key[i], e->key ? e->key : "");
        if (rc == SQ_OK)
            rc = sq_strdup(&m->text[i], e->value ? e->value : "");
    }
    return rc;
}

sq_status nn_onnx_parse(sq_model *model, const void *data, size_t size, int64_t max_nodes)
{
    Onnx__ModelProto *proto = NULL;
    parser p = {.model = model, .max_nodes = max_nodes};
    sq_status rc;
    SQ_TRY(nn_wire_model(data, size, model->name, &proto));
    p.graph = proto->graph;
    if (!p.graph) {
        rc = sq_fail(SQ_ERR_CONFIG, "%s: holds no graph", model->name);
        goto cleanup;
    }
    SQ_TRY(SQ_ALLOC(model->input, SQ_MAX_IO, "inputs of a model"));
    SQ_TRY(SQ_ALLOC(model->output, SQ_MAX_IO, "outputs of a model"));
    SQ_TRY(read_opset(&p, proto));
    SQ_TRY(make_names(&p));
    SQ_TRY(read_initialisers(&p));
    SQ_TRY(read_inputs(&p));
    SQ_TRY(read_nodes(&p));
    SQ_TRY(read_outputs(&p));
    SQ_TRY(check_order(model));
    SQ_TRY(read_metadata(model, proto));
cleanup:
    sq_free(p.names.slot);
    nn_wire_model_free(proto);
    return rc;
}

sq_status nn_onnx_tensor(const void *data, size_t size, const char *what, nn_tensor *out)
{
    Onnx__TensorProto *proto = NULL;
    sq_status rc = nn_wire_tensor(data, size, what, &proto);
    if (rc == SQ_OK)
        rc = nn_wire_copy_tensor(proto, (int64_t)1 << 31, what, out);
    nn_wire_tensor_free(proto);
    return rc;
}
