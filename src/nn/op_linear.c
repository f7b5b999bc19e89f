/* ReduceMean, ReduceSum, ReduceMax, Gemm, MatMul, Softmax and LogSoftmax: shape rules and naive
 * kernels (sums in double). */
#include <math.h>
#include <string.h>

#include "nn/ops.h"

sq_status nn_reduce_axes(const nn_call *call, unsigned char axis[SQ_MAX_RANK], int *keep)
{
    int rank = call->in[0]->rank, count;
    int64_t axes[SQ_MAX_RANK], keepdims, nothing;
    sq_status rc = nn_list(call, "axes", 1, SQ_MAX_RANK, axes, &count);
    if (rc == SQ_OK)
        rc = nn_int(call, "keepdims", 1, &keepdims);
    if (rc == SQ_OK)
        rc = nn_int(call, "noop_with_empty_axes", 0, &nothing);
    if (rc != SQ_OK)
        return rc;
    *keep = keepdims != 0;
    memset(axis, (count <= 0 && !nothing) ? 1 : 0, SQ_MAX_RANK);
    for (int i = 0; i < count; i++) {
        int a;
        rc = nn_axis(call, axes[i], rank, &a);
        if (rc != SQ_OK)
            return rc;
        axis[a] = 1;
    }
    return SQ_OK;
}

sq_status nn_infer_reduce(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    unsigned char axis[SQ_MAX_RANK];
    int keep, n = 0;
    int64_t dim[SQ_MAX_RANK];
    sq_status rc = nn_reduce_axes(call, axis, &keep);
    if (rc != SQ_OK)
        return rc;
    for (int i = 0; i < x->rank; i++) {
        if (axis[i] && x->dim[i] == 0)
            return nn_fail(call, SQ_ERR_UNSUPPORTED, "a reduction of nothing");
        if (!axis[i] || keep)
            dim[n++] = axis[i] ? 1 : x->dim[i];
    }
    return nn_out(call, 0, x->type, n, dim);
}

sq_status nn_eval_reduce(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    unsigned char axis[SQ_MAX_RANK];
    int keep, mean = strcmp(call->node->op_name, "ReduceMean") == 0;
    int max = strcmp(call->node->op_name, "ReduceMax") == 0;
    int64_t kept[SQ_MAX_RANK], reduced[SQ_MAX_RANK], own[SQ_MAX_RANK], index[SQ_MAX_RANK], n = 1;
    sq_status rc = nn_reduce_axes(call, axis, &keep);
    if (rc != SQ_OK)
        return rc;
    nn_strides(x, own);
    for (int i = 0; i < x->rank; i++) {
        kept[i] = axis[i] ? 1 : x->dim[i];
        reduced[i] = axis[i] ? x->dim[i] : 1;
        n *= reduced[i];
    }
    for (int64_t o = 0; o < call->out[0]->count; o++) {
        int64_t rest = o, base = 0;
        for (int i = x->rank - 1; i >= 0; i--) {
            base += rest % kept[i] * own[i];
            rest /= kept[i];
        }
        double sum = 0, most = -INFINITY;
        memset(index, 0, sizeof index);
        for (int64_t k = 0, at = base; k < n; k++) {
            double value = nn_get(x, at);
            sum += value;
            most = value > most || isnan(value) ? value : most;
            for (int i = x->rank - 1; i >= 0; i--) {
                at += own[i];
                if (++index[i] < reduced[i])
                    break;
                at -= own[i] * reduced[i];
                index[i] = 0;
            }
        }
        nn_set(call->out[0], o, mean ? sum / (double)n : max ? most : sum);
    }
    return SQ_OK;
}

sq_status nn_infer_gemm(nn_call *call)
{
    const nn_tensor *a = call->in[0], *b = call->in[1], *c = call->in[2];
    int64_t ta, tb;
    double alpha;
    sq_status rc = nn_int(call, "transA", 0, &ta);
    if (rc == SQ_OK)
        rc = nn_int(call, "transB", 0, &tb);
    if (rc == SQ_OK)
        rc = nn_float(call, "alpha", 1, &alpha);
    if (rc == SQ_OK)
        rc = nn_float(call, "beta", 1, &alpha);
    if (rc != SQ_OK)
        return rc;
    if (a->rank != 2 || b->rank != 2 || a->type != NN_F32 || b->type != NN_F32)
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "inputs that are not float32 matrices");
    int64_t dim[2] = {a->dim[ta != 0], b->dim[tb == 0]};
    if (a->dim[ta == 0] != b->dim[tb != 0])
        return nn_fail(call, SQ_ERR_CONFIG, "%lld columns times %lld rows",
                       (long long)a->dim[ta == 0], (long long)b->dim[tb != 0]);
    if (c && (c->type != NN_F32 || c->rank > 2))
        return nn_fail(call, SQ_ERR_CONFIG, "the third input is not a float32 matrix");
    for (int i = 0; c && i < c->rank; i++) {
        if (c->dim[i] != 1 && c->dim[i] != dim[2 - c->rank + i])
            return nn_fail(call, SQ_ERR_CONFIG, "the third input does not broadcast");
    }
    return nn_out(call, 0, NN_F32, 2, dim);
}

sq_status nn_eval_gemm(nn_call *call)
{
    const nn_tensor *a = call->in[0], *b = call->in[1], *c = call->in[2];
    nn_tensor *out = call->out[0];
    int64_t ta, tb, cs[SQ_MAX_RANK] = {0};
    double alpha, beta;
    nn_int(call, "transA", 0, &ta);
    nn_int(call, "transB", 0, &tb);
    nn_float(call, "alpha", 1, &alpha);
    nn_float(call, "beta", 1, &beta);
    const float *pa = a->data, *pb = b->data;
    int64_t k_max = a->dim[ta == 0];
    if (c)
        nn_broadcast_strides(c, 2, cs);
    for (int64_t i = 0; i < out->dim[0]; i++) {
        for (int64_t j = 0; j < out->dim[1]; j++) {
            double sum = 0;
            for (int64_t k = 0; k < k_max; k++)
                sum += (double)pa[ta ? k * a->dim[1] + i : i * a->dim[1] + k] *
                       pb[tb ? j * b->dim[1] + k : k * b->dim[1] + j];
            sum = alpha * sum + (c ? beta * nn_get(c, i * cs[0] + j * cs[1]) : 0.0);
            nn_set(out, i * out->dim[1] + j, sum);
        }
    }
    return SQ_OK;
}

/* Matrix operands with vectors promoted: a row in front, a column behind. */
static void promote(const nn_tensor *t, int column, nn_tensor *out)
{
    *out = *t;
    if (t->rank == 1) {
        out->rank = 2;
        out->dim[0] = column ? t->dim[0] : 1;
        out->dim[1] = column ? 1 : t->dim[0];
    }
}

sq_status nn_infer_matmul(nn_call *call)
{
    nn_tensor a, b;
    int64_t dim[SQ_MAX_RANK];
    promote(call->in[0], 0, &a);
    promote(call->in[1], 1, &b);
    if (a.type != NN_F32 || b.type != NN_F32 || a.rank < 2 || b.rank < 2)
        return nn_fail(call, SQ_ERR_UNSUPPORTED, "inputs that are not float32 matrices");
    if (a.dim[a.rank - 1] != b.dim[b.rank - 2])
        return nn_fail(call, SQ_ERR_CONFIG, "%lld columns times %lld rows",
                       (long long)a.dim[a.rank - 1], (long long)b.dim[b.rank - 2]);
    int rank = a.rank > b.rank ? a.rank : b.rank, n = 0;
    for (; n < rank - 2; n++) {
        int ia = n - (rank - a.rank), ib = n - (rank - b.rank);
        int64_t da = ia < 0 ? 1 : a.dim[ia], db = ib < 0 ? 1 : b.dim[ib];
        if (da != db && da != 1 && db != 1)
            return nn_fail(call, SQ_ERR_CONFIG, "sizes %lld and %lld do not broadcast",
                           (long long)da, (long long)db);
        dim[n] = da == 1 ? db : da;
    }
    if (call->in[0]->rank > 1)
        dim[n++] = a.dim[a.rank - 2];
    if (call->in[1]->rank > 1)
        dim[n++] = b.dim[b.rank - 1];
    return nn_out(call, 0, NN_F32, n, dim);
}

sq_status nn_eval_matmul(nn_call *call)
{
    nn_tensor a, b;
    promote(call->in[0], 0, &a);
    promote(call->in[1], 1, &b);
    int rank = a.rank > b.rank ? a.rank : b.rank;
    int64_t sa[SQ_MAX_RANK], sb[SQ_MAX_RANK], batch[SQ_MAX_RANK], batches = 1;
    nn_broadcast_strides(&a, rank, sa);
    nn_broadcast_strides(&b, rank, sb);
    for (int i = 0; i < rank - 2; i++) {
        int ia = i - (rank - a.rank), ib = i - (rank - b.rank);
        int64_t da = ia < 0 ? 1 : a.dim[ia], db = ib < 0 ? 1 : b.dim[ib];
        batch[i] = da == 1 ? db : da;
        batches *= batch[i];
    }
    int64_t m = a.dim[a.rank - 2], k_max = a.dim[a.rank - 1], n = b.dim[b.rank - 1];
    float *out = call->out[0]->data;
    for (int64_t t = 0; t < batches; t++) {
        int64_t rest = t, oa = 0, ob = 0;
        for (int i = rank - 3; i >= 0; i--) {
            oa += rest % batch[i] * sa[i];
            ob += rest % batch[i] * sb[i];
            rest /= batch[i];
        }
        for (int64_t ij = 0; ij < m * n; ij++) {
            double sum = 0;
            for (int64_t k = 0; k < k_max; k++)
                sum += (double)((float *)a.data)[oa + ij / n * k_max + k] *
                       ((float *)b.data)[ob + k * n + ij % n];
            out[t * m * n + ij] = (float)sum;
        }
    }
    return SQ_OK;
}

/* Rows of `length` elements `inner` apart. Before operator set 13 all axes from `axis` on form the
 * row. */
static sq_status softmax_rows(const nn_call *call, int64_t *length, int64_t *inner)
{
    const nn_tensor *x = call->in[0];
    int64_t value;
    int axis = 0, flat = call->model->opset < 13;
    sq_status rc = nn_int(call, "axis", flat ? 1 : -1, &value);
    if (rc == SQ_OK && x->rank > 0)
        rc = nn_axis(call, value, x->rank, &axis);
    *length = *inner = 1;
    for (int i = axis; rc == SQ_OK && i < x->rank; i++) {
        if (flat || i == axis)
            *length *= x->dim[i];
        else
            *inner *= x->dim[i];
    }
    return rc;
}

sq_status nn_infer_softmax(nn_call *call)
{
    int64_t length, inner;
    sq_status rc = softmax_rows(call, &length, &inner);
    if (rc == SQ_OK && !nn_is_float(call->in[0]->type))
        return nn_fail(call, SQ_ERR_CONFIG, "%s input", nn_type_name(call->in[0]->type));
    return rc == SQ_OK ? nn_infer_same(call) : rc;
}

sq_status nn_eval_softmax(nn_call *call)
{
    const nn_tensor *x = call->in[0];
    int64_t length, inner;
    int logarithm = strcmp(call->node->op_name, "LogSoftmax") == 0;
    sq_status rc = softmax_rows(call, &length, &inner);
    if (rc != SQ_OK || x->count == 0)
        return rc;
    for (int64_t row = 0; row < x->count / length; row++) {
        int64_t base = row / inner * inner * length + row % inner;
        double most = -INFINITY, sum = 0;
        for (int64_t i = 0; i < length; i++)
            most = fmax(most, nn_get(x, base + i * inner));
        for (int64_t i = 0; i < length; i++)
            sum += exp(nn_get(x, base + i * inner) - most);
        for (int64_t i = 0; i < length; i++) {
            double d = nn_get(x, base + i * inner) - most;
            nn_set(call->out[0], base + i * inner, logarithm ? d - log(sum) : exp(d) / sum);
        }
    }
    return SQ_OK;
}
