/* The life of an engine: compile, place, bind, run. */
#include "nn/engine.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/mem.h"

/* oneDNN's OpenMP runtime is asked for one thread; when it has another runtime the symbol is not
 * there. */
extern void omp_set_num_threads(int count) __attribute__((weak));

void ex_one_thread(void)
{
    if (omp_set_num_threads)
        omp_set_num_threads(1);
}

int sq_nn_has_bf16(void)
{
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return (isa & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

static const char *isa_name(void)
{
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    static const struct {
        dnnl_cpu_isa_t bits;
        const char *name;
    } names[] = {{dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"},
                 {dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"},
                 {dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"},
                 {dnnl_cpu_isa_avx512_core, "avx512_core"},
                 {dnnl_cpu_isa_avx2_vnni, "avx2_vnni"},
                 {dnnl_cpu_isa_avx2, "avx2"},
                 {dnnl_cpu_isa_avx, "avx"},
                 {dnnl_cpu_isa_sse41, "sse41"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if ((isa & names[i].bits) == names[i].bits)
            return names[i].name;
    }
    return "generic";
}

const char *sq_nn_version(void)
{
    static __thread char text[96];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "oneDNN %d.%d.%d, %s", v->major, v->minor, v->patch, isa_name());
    return text;
}

enum { HUGE_PAGE = 2 << 20 };

/* Large activations are read and written once a pass each: with small pages the address translation
 * costs several per cent. The pages were touched (zeroed) when they were allocated, so they are
 * given back first. */
static char *prefer_huge_pages(char *base, size_t bytes)
{
    char *start = base + (HUGE_PAGE - (uintptr_t)base % HUGE_PAGE) % HUGE_PAGE;
    size_t whole = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    if (madvise(start, whole, MADV_HUGEPAGE) == 0)
        madvise(start, whole, MADV_DONTNEED);
    return start;
}

static sq_status allocate(sq_engine *e)
{
    size_t bytes = e->arena_bytes + 64;
    if (bytes < HUGE_PAGE) {
        sq_status rc = SQ_ALLOC(e->arena_memory, bytes, "arena");
        e->arena = e->arena_memory;
        return rc;
    }
    sq_status rc = SQ_ALLOC(e->arena_memory, bytes + 2 * (size_t)HUGE_PAGE, "arena");
    if (rc == SQ_OK)
        e->arena = prefer_huge_pages(e->arena_memory, bytes);
    return rc;
}

/* Memory objects of every argument; those of the caller's memory get their address when it is
 * known. */
static sq_status bind_op(sq_engine *e, ex_op *op)
{
    for (int i = 0; op->kind == EX_PRIMITIVE && i < op->args; i++) {
        const ex_view *v = &e->view[op->arg_view[i]];
        size_t offset;
        ex_kind kind = e->buffer[ex_root(e, v->buffer, &offset)].kind;
        int callers = kind == EX_INPUT || kind == EX_OUTPUT;
        void *data = callers ? DNNL_MEMORY_NONE : ex_address(e, op->arg_view[i]);
        op->arg[i].arg = op->arg_name[i];
        sq_status rc = nd_memory(&v->md, e->dnnl, data, &op->arg[i].memory);
        if (rc != SQ_OK)
            return rc;
        op->bound |= callers;
    }
    if (op->kind == EX_PRIMITIVE) {
        op->arg[op->args].arg = DNNL_ARG_SCRATCHPAD;
        op->arg[op->args].memory = op->scratch_memory;
        return nd_check(dnnl_memory_set_data_handle(op->scratch_memory, e->scratch), "scratchpad");
    }
    return SQ_OK;
}

static sq_status create(sq_engine *e, const int64_t (*shape)[SQ_MAX_RANK])
{
    const sq_model *m = e->model;
    sq_status rc;
    SQ_TRY(nd_check(dnnl_engine_create(&e->dnnl, dnnl_cpu, 0), "engine"));
    SQ_TRY(nd_check(dnnl_stream_create(&e->stream, e->dnnl, dnnl_stream_default_flags), "stream"));
    SQ_TRY(nn_instance_create(m, shape, 0, &e->instance));
    SQ_TRY(SQ_ALLOC(e->value_stage, m->values + 1, "stages"));
    SQ_TRY(SQ_ALLOC(e->home, m->values + 1, "views"));
    SQ_TRY(SQ_ALLOC(e->last_use, m->values + 1, "views"));
    SQ_TRY(SQ_ALLOC(e->fused, m->nodes + 1, "fusion"));
    for (int i = 0; i < m->values; i++)
        e->home[i] = -1;
    SQ_TRY(fx_fuse(e));
    SQ_TRY(ex_compile(e));
    SQ_TRY(ex_plan_arena(e));
    SQ_TRY(allocate(e));
    SQ_TRY(SQ_ALLOC(e->scratch, e->scratch_bytes + 64, "scratchpad"));
    for (int i = 0; i < e->ops; i++)
        SQ_TRY(bind_op(e, &e->op[i]));
cleanup:
    return rc;
}

sq_status sq_engine_create(const sq_model *model, const int64_t (*shape)[SQ_MAX_RANK],
                           const int *stage, sq_precision precision, sq_engine **out)
{
    sq_engine *e = NULL;
    sq_status rc;
    *out = NULL;
    ex_one_thread();
    SQ_TRY(SQ_ALLOC(e, 1, "engine"));
    e->model = model;
    e->precision = precision;
    if (precision == SQ_PRECISION_AUTO)
        e->precision = sq_nn_has_bf16() ? SQ_BF16 : SQ_FP32;
    for (int i = 0; i < model->inputs; i++) {
        e->input_stage[i] = stage ? stage[i] : 0;
        if (e->input_stage[i] < 0 || e->input_stage[i] > 1024) {
            rc = sq_fail(SQ_ERR_USAGE, "%s: input %d: stage %d", model->name, i, e->input_stage[i]);
            goto cleanup;
        }
        if (e->input_stage[i] > e->last_stage)
            e->last_stage = e->input_stage[i];
    }
    SQ_TRY(create(e, shape));
    *out = e;
    e = NULL;
cleanup:
    sq_engine_destroy(e);
    return rc;
}

void sq_engine_destroy(sq_engine *e)
{
    if (!e)
        return;
    for (int i = 0; i < e->ops; i++)
        ex_free_op(&e->op[i]);
    for (int i = 0; i < e->views; i++)
        nd_md_free(&e->view[i].md);
    for (int i = 0; i < e->buffers; i++)
        sq_free(e->buffer[i].data);
    for (int i = 0; e->fused && i < e->model->nodes; i++) {
        sq_free(e->fused[i].scale);
        sq_free(e->fused[i].shift);
    }
    nn_instance_destroy(&e->instance);
    dnnl_stream_destroy(e->stream);
    dnnl_engine_destroy(e->dnnl);
    sq_free(e->value_stage);
    sq_free(e->home);
    sq_free(e->last_use);
    sq_free(e->fused);
    sq_free(e->view);
    sq_free(e->buffer);
    sq_free(e->op);
    sq_free(e->arena_memory);
    sq_free(e->scratch);
    sq_free(e);
}

sq_tensor_info sq_engine_output(const sq_engine *e, int i)
{
    int value = e->model->output[i];
    const nn_tensor *t = &e->instance.value[value];
    sq_tensor_info info = {.name = e->model->value[value].name, .rank = t->rank};
    for (int k = 0; k < t->rank; k++)
        info.dim[k] = t->dim[k];
    return info;
}

/* ---- running ---- */

static sq_status bind_callers(sq_engine *e, ex_op *op)
{
    for (int i = 0; i < op->args; i++) {
        size_t offset;
        ex_kind kind = e->buffer[ex_root(e, e->view[op->arg_view[i]].buffer, &offset)].kind;
        if (kind != EX_INPUT && kind != EX_OUTPUT)
            continue;
        dnnl_status_t status =
            dnnl_memory_set_data_handle(op->arg[i].memory, ex_address(e, op->arg_view[i]));
        if (status != dnnl_success)
            return nd_check(status, "caller's memory");
    }
    return SQ_OK;
}

static sq_status run_primitive(sq_engine *e, ex_op *op)
{
    sq_status rc = op->bound ? bind_callers(e, op) : SQ_OK;
    if (rc == SQ_OK)
        rc = nd_check(dnnl_primitive_execute(op->primitive, e->stream, op->args + 1, op->arg),
                      op->name);
    return rc;
}

sq_status ex_run_op(sq_engine *e, ex_op *op)
{
    if (op->output >= 0 && !e->output[op->output])
        return SQ_OK;
    if (op->kind == EX_PRIMITIVE)
        return run_primitive(e, op);
    for (int i = 0; i < op->tensors; i++) {
        if (op->tensor_view[i] >= 0 && op->tensor[i].type != NN_NONE)
            op->tensor[i].data = ex_address(e, op->tensor_view[i]);
    }
    nn_tensor *t = &op->tensor[0];
    switch (op->kind) {
    case EX_KERNEL:
        return nn_eval(op->call);
    case EX_LOAD:
        for (int64_t i = 0; i < t->count; i++)
            nn_set(t, i, e->input[op->args][i]);
        return SQ_OK;
    case EX_STORE:
        for (int64_t i = 0; i < t->count; i++)
            e->output[op->output][i] = (float)nn_get(t, i);
        return SQ_OK;
    default:
        memset(t->data, 0, e->buffer[e->view[op->tensor_view[0]].buffer].bytes);
        return SQ_OK;
    }
}

static sq_status check_run(sq_engine *e, int first, int last)
{
    if (first < 0 || first > last || last > e->last_stage)
        return sq_fail(SQ_ERR_USAGE, "%s: stages %d..%d of 0..%d", e->model->name, first, last,
                       e->last_stage);
    if (first > e->next_stage)
        return sq_fail(SQ_ERR_USAGE, "%s: stage %d is run where stage %d comes next",
                       e->model->name, first, e->next_stage);
    for (int i = 0; i < e->model->inputs; i++) {
        if (e->input_stage[i] >= first && e->input_stage[i] <= last && !e->input[i])
            return sq_fail(SQ_ERR_USAGE, "%s: input %s is not given", e->model->name,
                           e->model->value[e->model->input[i]].name);
    }
    return SQ_OK;
}

sq_status sq_engine_run(sq_engine *e, int first, int last, const float *const *inputs,
                        float *const *outputs)
{
    for (int i = 0; i < e->model->inputs; i++)
        e->input[i] = inputs ? inputs[i] : NULL;
    for (int i = 0; i < e->model->outputs; i++)
        e->output[i] = outputs ? outputs[i] : NULL;
    sq_status rc = check_run(e, first, last);
    e->next_stage = 0;
    ex_one_thread();
    for (int i = 0; rc == SQ_OK && i < e->ops; i++) {
        ex_op *op = &e->op[i];
        if (op->stage < first || op->stage > last)
            continue;
        double start = e->profile ? sq_cpu_now() : 0;
        rc = ex_run_op(e, op);
        if (e->profile) {
            dnnl_stream_wait(e->stream);
            op->seconds = sq_cpu_now() - start;
        }
    }
    if (rc == SQ_OK)
        rc = nd_check(dnnl_stream_wait(e->stream), "run");
    if (rc == SQ_OK)
        e->next_stage = last + 1;
    return rc;
}

/* ---- the engine's account ---- */

sq_precision sq_engine_precision(const sq_engine *e)
{
    return e->precision;
}

int sq_engine_ops(const sq_engine *e)
{
    return e->ops;
}

sq_engine_op sq_engine_op_at(const sq_engine *e, int i)
{
    const ex_op *op = &e->op[i];
    double bytes = 0;
    for (int k = 0; k < op->args; k++)
        bytes += (double)nd_md_size(&e->view[op->arg_view[k]].md);
    return (sq_engine_op){op->name, op->type, op->flop, op->seconds, bytes};
}

void sq_engine_profile(sq_engine *e, int on)
{
    e->profile = on;
}

uint64_t sq_engine_bytes(const sq_engine *e)
{
    return e->arena_bytes + e->scratch_bytes + e->weight_bytes;
}
