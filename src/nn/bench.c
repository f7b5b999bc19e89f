#include "nn/bench.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "nn/engine.h"

typedef struct bare_conv {
    sq_engine e; /* only its oneDNN engine and stream */
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t primitive;
    nd_md md[4];
    void *data[4];
    dnnl_memory_t memory[4];
} bare_conv;

static void free_bare(bare_conv *b)
{
    for (int i = 0; i < 4; i++) {
        dnnl_memory_destroy(b->memory[i]);
        sq_free(b->data[i]);
        nd_md_free(&b->md[i]);
    }
    dnnl_primitive_destroy(b->primitive);
    dnnl_primitive_desc_destroy(b->pd);
    dnnl_stream_destroy(b->e.stream);
    dnnl_engine_destroy(b->e.dnnl);
}

static sq_status describe_bare(bare_conv *b, int channels, int side, dnnl_data_type_t type)
{
    int64_t image[DNNL_MAX_NDIMS] = {1, channels, side, side};
    int64_t filter[DNNL_MAX_NDIMS] = {channels, channels, 3, 3};
    nd_window w = {.kernel = {3, 3}, .stride = {1, 1}, .begin = {1, 1}, .end = {1, 1}};
    nd_post post = {.count = 1, .op = {{.kind = ND_ELTWISE, .alg = dnnl_eltwise_relu}}};
    nd_md any_image = {0}, any_filter = {0};
    sq_status rc;
    SQ_TRY(nd_check(dnnl_engine_create(&b->e.dnnl, dnnl_cpu, 0), "engine"));
    SQ_TRY(
        nd_check(dnnl_stream_create(&b->e.stream, b->e.dnnl, dnnl_stream_default_flags), "stream"));
    SQ_TRY(nd_md_tag(&any_image, 4, image, type, dnnl_format_tag_any));
    SQ_TRY(nd_md_tag(&any_filter, 4, filter, type, dnnl_format_tag_any));
    SQ_TRY(nd_conv(b->e.dnnl, 0, &any_image, &any_filter, NULL, &any_image, &w, &post, &b->pd));
    SQ_TRY(nd_query(b->pd, dnnl_query_src_md, 0, &b->md[0]));
    SQ_TRY(nd_query(b->pd, dnnl_query_weights_md, 0, &b->md[1]));
    SQ_TRY(nd_query(b->pd, dnnl_query_dst_md, 0, &b->md[2]));
    SQ_TRY(nd_query(b->pd, dnnl_query_scratchpad_md, 0, &b->md[3]));
    SQ_TRY(nd_check(dnnl_primitive_create(&b->primitive, b->pd), "convolution"));
cleanup:
    nd_md_free(&any_image);
    nd_md_free(&any_filter);
    return rc;
}

sq_status sq_bench_convolution(int channels, int side, sq_precision precision, double seconds,
                               double *flops)
{
    static const int name[4] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};
    bare_conv b;
    dnnl_exec_arg_t arg[4];
    sq_status rc;
    memset(&b, 0, sizeof b);
    ex_one_thread();
    SQ_TRY(describe_bare(&b, channels, side, precision == SQ_BF16 ? dnnl_bf16 : dnnl_f32));
    for (int i = 0; i < 4; i++) {
        size_t bytes = nd_md_size(&b.md[i]);
        SQ_TRY(sq_alloc(&b.data[i], bytes + 64, 1, "benchmark"));
        /* 0x3c3c.. is 0.0115 in both formats */
        memset(b.data[i], 0x3c, bytes);
        SQ_TRY(nd_memory(&b.md[i], b.e.dnnl, b.data[i], &b.memory[i]));
        arg[i] = (dnnl_exec_arg_t){name[i], b.memory[i]};
    }
    double best = INFINITY, begin = sq_now();
    for (int i = 0; i < 3 || sq_now() - begin < seconds; i++) {
        double start = sq_cpu_now();
        SQ_TRY(nd_check(dnnl_primitive_execute(b.primitive, b.e.stream, 4, arg), "convolution"));
        SQ_TRY(nd_check(dnnl_stream_wait(b.e.stream), "convolution"));
        best = fmin(best, sq_cpu_now() - start);
    }
    *flops = 2.0 * 9 * channels * channels * (double)side * side / best;
cleanup:
    free_bare(&b);
    return rc;
}

sq_status sq_bench_bandwidth(double seconds, double *bytes_per_second)
{
    enum { N = 1 << 24 };
    double *a = NULL, *b = NULL, *c = NULL;
    double best = INFINITY, begin = sq_now();
    sq_status rc;
    SQ_TRY(SQ_ALLOC(a, N, "benchmark"));
    SQ_TRY(SQ_ALLOC(b, N, "benchmark"));
    SQ_TRY(SQ_ALLOC(c, N, "benchmark"));
    for (int i = 0; i < N; i++)
        b[i] = c[i] = i;
    for (int k = 0; k < 3 || sq_now() - begin < seconds; k++) {
        double start = sq_cpu_now(), scale = 1 + k;
        for (int i = 0; i < N; i++)
            a[i] = b[i] + scale * c[i];
        best = fmin(best, sq_cpu_now() - start);
        double *swap = b; /* so that every pass is needed */
        b = a;
        a = swap;
    }
    *bytes_per_second = 3.0 * N * sizeof *a / best;
cleanup:
    sq_free(a);
    sq_free(b);
    sq_free(c);
    return rc;
}

sq_status sq_engine_bare(sq_engine *e, double *compute, double *moves)
{
    *compute = *moves = 0;
    ex_one_thread();
    for (int i = 0; i < e->ops; i++) {
        ex_op *op = &e->op[i];
        double start = sq_cpu_now();
        sq_status rc = ex_run_op(e, op);
        if (rc == SQ_OK)
            rc = nd_check(dnnl_stream_wait(e->stream), op->name);
        if (rc != SQ_OK)
            return rc;
        if (op->kind == EX_PRIMITIVE)
            *(op->type[0] == '(' ? moves : compute) += sq_cpu_now() - start;
    }
    return SQ_OK;
}

const char *sq_engine_implementation(const sq_engine *e, int i)
{
    return e->op[i].implementation;
}
