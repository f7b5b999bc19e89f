/* Which nodes are done inside others: what is constant or never read is dropped; BatchNormalization
 * and affine maps of channels go into the weights of the convolution before them; activations (x *
 * sigmoid(x) too), residual sums and products become post-ops; zero padding becomes the
 * convolution's own.
 *
 * A chain is computed where its last node stands, so that whatever its post-ops read is there. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "nn/engine.h"

typedef struct fuser {
    sq_engine *e;
    const sq_model *m;
    int *uses;        /* of a value by live nodes and as an output */
    int (*reader)[2]; /* the first two nodes that read it */
    unsigned char *wanted;
} fuser;

static int same_shape(const nn_tensor *a, const nn_tensor *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, (size_t)a->rank * sizeof *a->dim) == 0;
}

static void set_stages(fuser *f)
{
    sq_engine *e = f->e;
    for (int i = 0; i < f->m->inputs; i++)
        e->value_stage[f->m->input[i]] = e->input_stage[i];
    for (int i = 0; i < f->m->nodes; i++) {
        const nn_node *node = &f->m->node[i];
        int stage = 0;
        for (int k = 0; k < node->inputs; k++) {
            int v = node->in[k];
            if (v >= 0 && !nn_is_constant(&e->instance, v) && e->value_stage[v] > stage)
                stage = e->value_stage[v];
        }
        e->fused[i].stage = stage;
        for (int k = 0; k < node->outputs; k++) {
            if (node->out[k] >= 0)
                e->value_stage[node->out[k]] = stage;
        }
    }
}

/* Backwards: a node is needed when one of its outputs is, and is not a constant. */
static void drop_unused(fuser *f)
{
    sq_engine *e = f->e;
    for (int i = 0; i < f->m->outputs; i++) {
        f->wanted[f->m->output[i]] = 1;
        f->uses[f->m->output[i]] += 2; /* an output is never an inner value of a chain */
    }
    for (int i = f->m->nodes - 1; i >= 0; i--) {
        const nn_node *node = &f->m->node[i];
        int live = 0;
        for (int k = 0; k < node->outputs; k++) {
            int v = node->out[k];
            live = live || (v >= 0 && f->wanted[v] && !nn_is_constant(&e->instance, v));
        }
        e->fused[i].dead = !live;
        e->fused[i].head = e->fused[i].owner = live ? i : -1;
        for (int k = 0; live && k < node->inputs; k++) {
            if (node->in[k] >= 0)
                f->wanted[node->in[k]] = 1;
        }
    }
    for (int i = 0; i < f->m->nodes; i++) {
        const nn_node *node = &f->m->node[i];
        for (int k = 0; !e->fused[i].dead && k < node->inputs; k++) {
            int v = node->in[k];
            if (v < 0)
                continue;
            if (f->uses[v] < 2)
                f->reader[v][f->uses[v]] = i;
            f->uses[v]++;
        }
    }
}

int fx_is_activation(const nn_call *call, dnnl_alg_kind_t *alg, float *alpha, float *beta)
{
    double a = 1, b = 0;
    switch (call->node->op->code) {
    case NN_EW_RELU:
        *alg = dnnl_eltwise_relu;
        a = 0;
        break;
    case NN_EW_LEAKY:
        *alg = dnnl_eltwise_relu;
        nn_float(call, "alpha", 0.01, &a);
        break;
    case NN_EW_SIGMOID:
        *alg = dnnl_eltwise_logistic;
        break;
    case NN_EW_TANH:
        *alg = dnnl_eltwise_tanh;
        break;
    case NN_EW_SOFTPLUS:
        *alg = dnnl_eltwise_soft_relu;
        break;
    case NN_EW_EXP:
        *alg = dnnl_eltwise_exp;
        break;
    case NN_EW_LOG:
        *alg = dnnl_eltwise_log;
        break;
    case NN_EW_ELU:
        *alg = dnnl_eltwise_elu;
        nn_float(call, "alpha", 1, &a);
        break;
    case NN_EW_ABS:
        *alg = dnnl_eltwise_abs;
        break;
    case NN_EW_NEG:
        *alg = dnnl_eltwise_linear;
        a = -1;
        break;
    case NN_EW_SQRT:
        *alg = dnnl_eltwise_sqrt;
        break;
    case NN_EW_CLIP:
        *alg = dnnl_eltwise_clip;
        if (nn_clip_bounds(call, &a, &b) != SQ_OK)
            return 0;
        a = fmax(a, -3.4e38);
        b = fmin(b, 3.4e38);
        if (a > b)
            return 0;
        break;
    default:
        return 0;
    }
    *alpha = (float)a;
    *beta = (float)b;
    return call->in[0]->type == NN_F32;
}

static int push(fx_node *head, dnnl_alg_kind_t alg, float alpha, float beta, int other, int node)
{
    if (head->posts == FX_MAX_POST)
        return 0;
    head->post[head->posts++] = (fx_post){alg, alpha, beta, other, node};
    return 1;
}

/* Let the chain of `head` end with node n, whose result is `value`. */
static void advance(fuser *f, int head, int last, int n)
{
    f->e->fused[last].head = -1;
    f->e->fused[n].head = head;
    f->e->fused[n].owner = head;
    f->e->fused[head].output = f->m->node[n].out[0];
}

/* v * sigmoid(v), both reading v and nothing else doing so. */
static int find_swish(const fuser *f, int v, int *sigmoid, int *product)
{
    if (f->uses[v] != 2)
        return 0;
    for (int k = 0; k < 2; k++) {
        int s = f->reader[v][k], p = f->reader[v][1 - k];
        const nn_node *ns = &f->m->node[s], *np = &f->m->node[p];
        if (!ns->op || ns->op->code != NN_EW_SIGMOID || !np->op || np->op->code != NN_EW_MUL)
            continue;
        int o = ns->out[0];
        if (f->e->fused[s].head != s || f->e->fused[p].head != p)
            continue; /* already part of another chain */
        if (f->uses[o] != 1 || f->reader[o][0] != p || f->e->instance.value[v].type != NN_F32 ||
            !same_shape(&f->e->instance.value[v], &f->e->instance.value[np->out[0]]))
            continue;
        *sigmoid = s;
        *product = p;
        return f->e->fused[s].stage == f->e->fused[p].stage;
    }
    return 0;
}

/* One value for each channel (axis) of `shape`, or one for all: 1. */
static int per_channel(const nn_tensor *t, const nn_tensor *shape, int axis)
{
    if (!t->data || t->type != NN_F32 || t->rank > shape->rank)
        return 0;
    for (int i = 0; i < t->rank; i++) {
        int k = i + shape->rank - t->rank;
        if (t->dim[i] != 1 && (k != axis || t->dim[i] != shape->dim[axis]))
            return 0;
    }
    return 1;
}

static void fold_affine(fx_node *h, int64_t channels, const double *scale, const double *shift)
{
    for (int64_t c = 0; c < channels; c++) {
        h->scale[c] *= scale[c];
        h->shift[c] = h->shift[c] * scale[c] + shift[c];
    }
}

static sq_status need_affine(fx_node *h, int64_t channels)
{
    if (h->scale)
        return SQ_OK;
    sq_status rc = SQ_ALLOC(h->scale, channels, "folded scales");
    if (rc == SQ_OK)
        rc = SQ_ALLOC(h->shift, channels, "folded shifts");
    for (int64_t c = 0; rc == SQ_OK && c < channels; c++)
        h->scale[c] = 1;
    return rc;
}

static sq_status fold_constant(fx_node *h, const nn_tensor *t, int code, int left, int64_t channels)
{
    double *a = NULL, *b = NULL;
    sq_status rc;
    SQ_TRY(need_affine(h, channels));
    SQ_TRY(SQ_ALLOC(a, channels, "folded scales"));
    SQ_TRY(SQ_ALLOC(b, channels, "folded shifts"));
    for (int64_t c = 0; c < channels; c++) {
        double x = nn_get(t, t->count == 1 ? 0 : c);
        a[c] = code == NN_EW_MUL            ? x
               : code == NN_EW_DIV          ? 1 / x
               : code == NN_EW_SUB && !left ? -1
                                            : 1;
        b[c] = code == NN_EW_ADD || (code == NN_EW_SUB && !left) ? x : code == NN_EW_SUB ? -x : 0;
    }
    fold_affine(h, channels, a, b);
cleanup:
    sq_free(a);
    sq_free(b);
    return rc;
}

static int all_constant(const fuser *f, const nn_node *node, int first)
{
    for (int k = first; k < node->inputs; k++) {
        if (node->in[k] >= 0 && !nn_is_constant(&f->e->instance, node->in[k]))
            return 0;
    }
    return 1;
}

/* The convolution whose bare result is `value` and goes nowhere else; NULL: there is none. */
static fx_node *bare_convolution(const fuser *f, int value)
{
    int producer = f->m->value[value].producer;
    int head = producer < 0 ? -1 : f->e->fused[producer].head;
    if (head < 0 || f->uses[value] != 1 || f->e->fused[head].posts > 0)
        return NULL;
    const nn_node *node = &f->m->node[head];
    if (strcmp(node->op_name, "Conv") != 0 && strcmp(node->op_name, "ConvTranspose") != 0)
        return NULL;
    return all_constant(f, node, 1) ? &f->e->fused[head] : NULL;
}

/* other: a convolution whose result has been added, NULL: none. */
static sq_status fold_batchnorm(fx_node *h, fx_node *other, const nn_call *call, int64_t channels)
{
    double *a = NULL, *b = NULL, epsilon;
    sq_status rc;
    SQ_TRY(nn_float(call, "epsilon", 1e-5, &epsilon));
    SQ_TRY(need_affine(h, channels));
    SQ_TRY(SQ_ALLOC(a, channels, "folded scales"));
    SQ_TRY(SQ_ALLOC(b, channels, "folded shifts"));
    for (int64_t c = 0; c < channels; c++) {
        a[c] = nn_get(call->in[1], c) / sqrt(nn_get(call->in[4], c) + epsilon);
        b[c] = nn_get(call->in[2], c) - nn_get(call->in[3], c) * a[c];
    }
    fold_affine(h, channels, a, b);
    if (other) {
        SQ_TRY(need_affine(other, channels));
        memset(b, 0, (size_t)channels * sizeof *b);
        fold_affine(other, channels, a, b);
    }
cleanup:
    sq_free(a);
    sq_free(b);
    return rc;
}

/* BatchNormalization of a convolution, or of the sum of two. */
static sq_status take_batchnorm(fuser *f, fx_node *h, const nn_call *call, int *taken)
{
    fx_node *other = NULL;
    if (h->posts > 1 || (h->posts == 1 && h->post[0].alg != dnnl_binary_add))
        return SQ_OK;
    if (h->posts == 1 && !(other = bare_convolution(f, h->post[0].other)))
        return SQ_OK;
    *taken = 1;
    return fold_batchnorm(h, other, call, call->in[0]->dim[1]);
}

/* A binary node after the chain: into the weights, or as a post-op. */
static sq_status take_binary(fuser *f, int head, int axis, int v, int n, int *taken)
{
    static const dnnl_alg_kind_t algs[] = {dnnl_binary_add, dnnl_binary_sub, dnnl_binary_mul,
                                           dnnl_binary_div};
    const nn_node *node = &f->m->node[n];
    fx_node *h = &f->e->fused[head];
    int code = node->op->code, left = node->in[0] == v, other = node->in[left];
    const nn_tensor *x = &f->e->instance.value[v], *t = &f->e->instance.value[other];
    if (!same_shape(x, &f->e->instance.value[node->out[0]]) || x->type != NN_F32)
        return SQ_OK;
    if (axis >= 0 && h->posts == 0 && per_channel(t, x, axis) && (left || code != NN_EW_DIV)) {
        *taken = 1;
        return fold_constant(h, t, code, left, x->dim[axis]);
    }
    if (nn_is_constant(&f->e->instance, other) || !same_shape(x, t) ||
        (!left && code != NN_EW_ADD && code != NN_EW_MUL))
        return SQ_OK;
    for (int i = 0; i < h->posts; i++) {
        if (h->post[i].other >= 0)
            return SQ_OK;
    }
    *taken = axis >= 0 && push(h, algs[code - NN_EW_ADD], 0, 0, other, n);
    return SQ_OK;
}

/* Try to take the reader of value v into the chain. */
static sq_status extend(fuser *f, int head, int axis, int v, int *last, int *grown)
{
    fx_node *h = &f->e->fused[head];
    int s, p, taken = 0;
    sq_status rc = SQ_OK;
    *grown = 0;
    if (find_swish(f, v, &s, &p) && f->e->fused[p].stage == h->stage) {
        if (!push(h, dnnl_eltwise_swish, 1, 0, -1, p))
            return SQ_OK;
        f->e->fused[s].head = -1;
        f->e->fused[s].owner = head;
        advance(f, head, *last, p);
        *last = p;
        *grown = 1;
        return SQ_OK;
    }
    if (f->uses[v] != 1)
        return SQ_OK;
    int n = f->reader[v][0];
    const nn_node *node = &f->m->node[n];
    nn_call call;
    dnnl_alg_kind_t alg;
    float alpha, beta;
    ex_call(f->e, n, &call);
    if (f->e->fused[n].stage != h->stage || f->e->fused[n].head != n || !node->op)
        return SQ_OK;
    if (strcmp(node->op_name, "BatchNormalization") == 0) {
        if (axis == 1 && node->in[0] == v && all_constant(f, node, 1))
            rc = take_batchnorm(f, h, &call, &taken);
    } else if (node->in[0] == v && fx_is_activation(&call, &alg, &alpha, &beta)) {
        taken = push(h, alg, alpha, beta, -1, n);
    } else if (node->op->code >= NN_EW_ADD) {
        rc = take_binary(f, head, axis, v, n, &taken);
    }
    if (rc == SQ_OK && taken) {
        advance(f, head, *last, n);
        *last = n;
        *grown = 1;
    }
    return rc;
}

/* Zero padding in front of a convolution. */
static void take_padding(fuser *f, int i)
{
    const nn_node *node = &f->m->node[i];
    int v = node->in[0], p = f->m->value[v].producer;
    int64_t begin[SQ_MAX_RANK], end[SQ_MAX_RANK];
    double value;
    const char *mode, *auto_pad;
    nn_call call, conv;
    if (p < 0 || f->uses[v] != 1 || f->e->fused[p].head != p ||
        strcmp(f->m->node[p].op_name, "Pad") != 0 || f->e->fused[p].stage != f->e->fused[i].stage)
        return;
    ex_call(f->e, p, &call);
    ex_call(f->e, i, &conv);
    if (nn_pad_range(&call, begin, end, &value) != SQ_OK || value != 0 ||
        nn_text(&call, "mode", "constant", &mode) != SQ_OK || strcmp(mode, "constant") != 0 ||
        nn_text(&conv, "auto_pad", "NOTSET", &auto_pad) != SQ_OK ||
        strcmp(auto_pad, "NOTSET") != 0 || call.in[0]->rank > 5)
        return;
    for (int k = 0; k < call.in[0]->rank; k++) {
        if (begin[k] < 0 || end[k] < 0 || (k < 2 && (begin[k] || end[k])))
            return;
    }
    for (int k = 2; k < call.in[0]->rank; k++) {
        f->e->fused[i].pad_begin[k - 2] = begin[k];
        f->e->fused[i].pad_end[k - 2] = end[k];
    }
    f->e->fused[i].input = f->m->node[p].in[0];
    f->e->fused[p].head = -1;
    f->e->fused[p].owner = i;
}

/* The axis of the channels when node i can head a chain with weights, -2: activations only, -1: no
 * head. */
static int head_axis(const fuser *f, int i)
{
    const nn_node *node = &f->m->node[i];
    const nn_tensor *out = &f->e->instance.value[node->out[0]];
    if (!node->op || out->type != NN_F32 || out->count == 0)
        return -1;
    if (strncmp(node->op_name, "Conv", 4) == 0 && strcmp(node->op_name, "ConstantOfShape") != 0)
        return all_constant(f, node, 1) ? 1 : -1;
    if (strcmp(node->op_name, "MatMul") == 0 && out->rank >= 2 &&
        nn_is_constant(&f->e->instance, node->in[1]) && f->e->instance.value[node->in[1]].rank == 2)
        return out->rank - 1;
    return node->op->code >= NN_EW_ADD ? -2 : -1;
}

static sq_status fuse_node(fuser *f, int i)
{
    sq_engine *e = f->e;
    int axis = head_axis(f, i), last = i, grown = 1, s, p;
    sq_status rc = SQ_OK;
    if (axis == -1) {
        /* x * sigmoid(x) on its own: computed at the product, by its sigmoid */
        int v = f->m->node[i].inputs > 0 ? f->m->node[i].in[0] : -1;
        if (f->m->node[i].op && f->m->node[i].op->code == NN_EW_SIGMOID && v >= 0) {
            if (find_swish(f, v, &s, &p) && s == i && !e->fused[p].dead) {
                push(&e->fused[i], dnnl_eltwise_swish, 1, 0, -1, p);
                advance(f, i, i, p);
            }
        }
        return SQ_OK;
    }
    if (axis == 1 && strcmp(f->m->node[i].op_name, "Conv") == 0)
        take_padding(f, i);
    while (rc == SQ_OK && grown)
        rc = extend(f, i, axis, e->fused[i].output, &last, &grown);
    return rc;
}

int64_t ex_order(const sq_engine *e, int stage, int node)
{
    return (int64_t)stage * (e->model->nodes + 1) + node;
}

/* A chain reads whatever its nodes read when its last node is reached. What a later stage reads is
 * never used up, for that stage may be run again. */
static void set_last_uses(fuser *f)
{
    sq_engine *e = f->e;
    for (int i = 0; i < f->m->nodes; i++) {
        if (e->fused[i].head >= 0)
            e->fused[e->fused[i].head].end = i;
    }
    for (int v = 0; v < f->m->values; v++)
        e->last_use[v] = -1;
    for (int i = 0; i < f->m->nodes; i++) {
        if (e->fused[i].dead || e->fused[i].owner < 0)
            continue;
        const fx_node *owner = &e->fused[e->fused[i].owner];
        for (int k = 0; k < f->m->node[i].inputs; k++) {
            int v = f->m->node[i].in[k];
            if (v < 0)
                continue;
            int64_t at = owner->stage > e->value_stage[v]
                             ? INT64_MAX
                             : ex_order(e, owner->stage, owner->end);
            if (at > e->last_use[v])
                e->last_use[v] = at;
        }
    }
}

sq_status fx_fuse(sq_engine *e)
{
    const sq_model *m = e->model;
    fuser f = {.e = e, .m = m};
    sq_status rc;
    SQ_TRY(SQ_ALLOC(f.uses, m->values + 1, "fusion"));
    SQ_TRY(SQ_ALLOC(f.reader, m->values + 1, "fusion"));
    SQ_TRY(SQ_ALLOC(f.wanted, m->values + 1, "fusion"));
    set_stages(&f);
    drop_unused(&f);
    for (int i = 0; i < m->nodes; i++) {
        e->fused[i].input = m->node[i].inputs > 0 ? m->node[i].in[0] : -1;
        e->fused[i].output = m->node[i].outputs > 0 ? m->node[i].out[0] : -1;
    }
    for (int i = 0; i < m->nodes; i++) {
        if (!e->fused[i].dead && e->fused[i].head == i)
            SQ_TRY(fuse_node(&f, i));
    }
    set_last_uses(&f);
cleanup:
    sq_free(f.uses);
    sq_free(f.reader);
    sq_free(f.wanted);
    return rc;
}
