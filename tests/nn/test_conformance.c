/* The operator cases that ONNX itself publishes (Debian: libonnx-testdata), run through the naive
 * executor and the engine.
 *
 *     test_conformance [FOLDER] [reference|fp32|bf16]
 *
 * Every case whose main operator is supported is run; weights and whatever must be known when a
 * graph is compiled are made constants. Prints one line for each case that is skipped, with its
 * reason, and the totals. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "nn/graph.h"
#include "nn/model.h"
#include "nn/onnx.h"
#include "nn/ops.h"

#define FOLDER "/usr/share/libonnx-testdata/data"

enum { MAX_CASES = 4096 };

/* Operators that only shape arithmetic needs; the rest of the table is what networks compute with.
 */
typedef enum outcome { PASSED, FAILED, SKIPPED } outcome;

typedef struct result {
    outcome outcome;
    char reason[400];
} result;

static char *read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    struct stat st;
    if (!f)
        return NULL;
    if (fstat(fileno(f), &st) == 0 && sq_alloc(&data, (size_t)st.st_size + 1, 1, "file") == SQ_OK)
        *size = fread(data, 1, (size_t)st.st_size, f);
    fclose(f);
    return data;
}

static sq_status read_tensor(const char *folder, const char *kind, int i, nn_tensor *out)
{
    char path[512];
    size_t size = 0;
    snprintf(path, sizeof path, "%s/test_data_set_0/%s_%d.pb", folder, kind, i);
    char *data = read_file(path, &size);
    if (!data)
        return sq_fail(SQ_ERR_IO, "%s: cannot read", path);
    sq_status rc = nn_onnx_tensor(data, size, kind, out);
    sq_free(data);
    return rc;
}

/* Inputs that a network would hold as constants: integers, and the parameters of operators that
 * have them. */
static int is_parameter(const sq_model *m, int value, const nn_tensor *data)
{
    static const char *const parametric[] = {
        "Conv", "ConvTranspose", "BatchNormalization", "Resize", "Upsample", "Pad", "Clip"};
    if (data->type == NN_I64 || data->type == NN_BOOL)
        return m->node[0].in[0] != value || strcmp(m->node[0].op_name, "Cast") == 0 ||
               strcmp(m->node[0].op_name, "ConstantOfShape") == 0;
    for (int i = 0; i < m->nodes; i++) {
        for (int k = 1; k < m->node[i].inputs; k++) {
            for (size_t p = 0; p < sizeof parametric / sizeof *parametric; p++) {
                if (m->node[i].in[k] == value && strcmp(m->node[i].op_name, parametric[p]) == 0)
                    return 1;
            }
        }
    }
    return 0;
}

typedef struct problem {
    sq_model *model;
    nn_tensor input[SQ_MAX_IO], expected[SQ_MAX_IO];
    float *in[SQ_MAX_IO], *out[SQ_MAX_IO];
    int64_t shape[SQ_MAX_IO][SQ_MAX_RANK];
    int inputs;
} problem;

static void free_problem(problem *p)
{
    for (int i = 0; i < SQ_MAX_IO; i++) {
        nn_tensor_free(&p->input[i]);
        nn_tensor_free(&p->expected[i]);
        sq_free(p->in[i]);
        sq_free(p->out[i]);
    }
    sq_model_destroy(p->model);
}

static sq_status to_floats(const nn_tensor *t, float **out)
{
    sq_status rc = sq_alloc(out, (size_t)t->count + 1, sizeof **out, "numbers");
    for (int64_t i = 0; rc == SQ_OK && i < t->count; i++)
        (*out)[i] = (float)nn_get(t, i);
    return rc;
}

/* bfloat16 data are stored as the bits in 16-bit integers. */
static void retype(nn_tensor *data, nn_type declared)
{
    if (declared == NN_BF16 && data->type == NN_U16)
        data->type = NN_BF16;
}

static int fits(const nn_tensor *data, const nn_value *value)
{
    int same = data->rank == value->rank;
    for (int i = 0; same && i < data->rank; i++)
        same = value->dim[i] < 0 || value->dim[i] == data->dim[i];
    return same;
}

static sq_status load_problem(const char *folder, problem *p)
{
    char path[512];
    sq_status rc;
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    SQ_TRY(sq_model_load(path, NULL, &p->model));
    int total = sq_model_inputs(p->model), at = 0;
    for (int i = 0; i < total; i++) {
        nn_tensor data = {0};
        const nn_value *value = &p->model->value[p->model->input[at]];
        SQ_TRY(read_tensor(folder, "input", i, &data));
        retype(&data, value->type);
        if (!fits(&data, value)) {
            nn_tensor_free(&data);
            rc = sq_fail(SQ_ERR_UNSUPPORTED, "the data of input %s do not have its shape",
                         value->name);
            goto cleanup;
        }
        if (is_parameter(p->model, p->model->input[at], &data)) {
            rc = nn_model_freeze(p->model, at, &data);
            nn_tensor_free(&data);
            if (rc != SQ_OK)
                goto cleanup;
        } else {
            p->input[at] = data;
            memcpy(p->shape[at], data.dim, sizeof data.dim);
            SQ_TRY(to_floats(&data, &p->in[at]));
            at++;
        }
    }
    p->inputs = at;
    for (int i = 0; i < sq_model_outputs(p->model); i++) {
        SQ_TRY(read_tensor(folder, "output", i, &p->expected[i]));
        retype(&p->expected[i], p->model->value[p->model->output[i]].type);
        SQ_TRY(sq_alloc(&p->out[i], (size_t)p->expected[i].count + 1, sizeof(float), "numbers"));
    }
cleanup:
    return rc;
}

/* rtol and atol: what ONNX's own runner allows (1e-3, 1e-7), atol widened to the rounding of sums
 * in float32; for bfloat16 the 8 bits of its mantissa. */
static int close_enough(const problem *p, int bf16, char *reason, size_t size)
{
    for (int i = 0; i < sq_model_outputs(p->model); i++) {
        const nn_tensor *t = &p->expected[i];
        double rtol = bf16 ? 4e-2 : 1e-3, atol = bf16 ? 4e-2 : 1e-5;
        if (t->type == NN_BF16) /* the published data are truncated, not rounded */
            rtol = 1.0 / 128;
        for (int64_t k = 0; k < t->count; k++) {
            double want = (float)nn_get(t, k), got = p->out[i][k];
            if (isnan(want) && isnan(got))
                continue;
            if (!(fabs(got - want) <= atol + rtol * fabs(want)) && got != want) {
                snprintf(reason, size, "output %d[%lld] is %.9g, expected %.9g", i, (long long)k,
                         got, want);
                return 0;
            }
        }
    }
    return 1;
}

static sq_status check_shapes(const problem *p, const sq_engine *e)
{
    for (int i = 0; i < sq_model_outputs(p->model); i++) {
        sq_tensor_info info = sq_engine_output(e, i);
        int same = info.rank == p->expected[i].rank;
        for (int k = 0; same && k < info.rank; k++)
            same = info.dim[k] == p->expected[i].dim[k];
        if (!same)
            return sq_fail(SQ_ERR_DATA, "output %d has another shape", i);
    }
    return SQ_OK;
}

static sq_status run_engine(problem *p, sq_precision precision)
{
    sq_engine *e = NULL;
    sq_status rc =
        sq_engine_create(p->model, (const int64_t(*)[SQ_MAX_RANK])p->shape, NULL, precision, &e);
    if (rc == SQ_OK)
        rc = check_shapes(p, e);
    if (rc == SQ_OK)
        rc = sq_engine_run(e, 0, 0, (const float *const *)p->in, p->out);
    sq_engine_destroy(e);
    return rc;
}

static result run_case(const char *folder, const char *mode)
{
    result r = {.outcome = FAILED};
    problem p = {0};
    sq_status rc = load_problem(folder, &p);
    if (rc == SQ_OK)
        rc = strcmp(mode, "reference") == 0
                 ? sq_reference_run(p.model, (const int64_t(*)[SQ_MAX_RANK])p.shape,
                                    (const float *const *)p.in, p.out)
                 : run_engine(&p, strcmp(mode, "bf16") == 0 ? SQ_BF16 : SQ_FP32);
    if (rc == SQ_ERR_UNSUPPORTED) {
        r.outcome = SKIPPED;
        snprintf(r.reason, sizeof r.reason, "%s", sq_error());
    } else if (rc != SQ_OK) {
        snprintf(r.reason, sizeof r.reason, "%s", sq_error());
    } else if (close_enough(&p, strcmp(mode, "bf16") == 0, r.reason, sizeof r.reason)) {
        r.outcome = PASSED;
    }
    free_problem(&p);
    return r;
}

/* A case is of interest when every operator in it is one of the table, or when it is named after
 * one and does not load (which is then said). */
static int of_interest(const char *folder, const char *name)
{
    char path[512];
    size_t size = 0;
    sq_model *m = NULL;
    int known = 0;
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    char *data = read_file(path, &size);
    if (data && sq_model_parse(data, size, name, NULL, &m) == SQ_OK) {
        known = m->nodes > 0;
        for (int i = 0; i < m->nodes && known; i++)
            known = m->node[i].op != NULL;
    } else {
        /* named after a supported operator, but not loadable: say so */
        int count;
        const nn_op *table = nn_op_table(&count);
        for (int i = 0; i < count && !known; i++) {
            size_t n = strlen(table[i].name);
            known = strncasecmp(name + 5, table[i].name, n) == 0 &&
                    (name[5 + n] == '_' || name[5 + n] == '\0');
        }
    }
    sq_free(data);
    sq_model_destroy(m);
    return known;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_cases(const char *folder, char **name)
{
    DIR *d = opendir(folder);
    int count = 0;
    for (struct dirent *entry; d && (entry = readdir(d)) && count < MAX_CASES;) {
        if (strncmp(entry->d_name, "test_", 5) == 0)
            name[count++] = strdup(entry->d_name);
    }
    if (d)
        closedir(d);
    qsort(name, (size_t)count, sizeof *name, by_name);
    return count;
}

static int run_mode(const char *folder, char **name, int count, const char *mode)
{
    int seen[3] = {0};
    for (int i = 0; i < count; i++) {
        char path[400];
        snprintf(path, sizeof path, "%s/%.200s", folder, name[i]);
        if (!of_interest(path, name[i]))
            continue;
        result r = run_case(path, mode);
        seen[r.outcome]++;
        if (r.outcome != PASSED)
            printf("%s %s: %s: %s\n", r.outcome == FAILED ? "FAILED" : "skipped", mode, name[i],
                   r.reason);
    }
    printf("%s: %d passed, %d failed, %d skipped of %d conformance cases\n", mode, seen[PASSED],
           seen[FAILED], seen[SKIPPED], seen[PASSED] + seen[FAILED] + seen[SKIPPED]);
    return seen[FAILED] > 0 || seen[PASSED] == 0;
}

static int run_folder(const char *folder, const char *only)
{
    static const char *const modes[] = {"reference", "fp32", "bf16"};
    static char *name[MAX_CASES];
    int failed = 0, count = list_cases(folder, name);
    if (count == 0) {
        printf("skipped: %s is not there (Debian: libonnx-testdata)\n", folder);
        return 77;
    }
    printf("%s\n", folder);
    for (int i = 0; i < 3; i++) {
        if (only && strcmp(only, modes[i]) != 0)
            continue;
        if (i == 2 && !sq_nn_has_bf16() && !only) {
            printf("bf16: not worth using on this machine, skipped\n");
            continue;
        }
        failed |= run_mode(folder, name, count, modes[i]);
    }
    for (int i = 0; i < count; i++)
        free(name[i]);
    return failed;
}

int main(int argc, char **argv)
{
    static const char *const parts[] = {"node", "pytorch-converted", "pytorch-operator", "simple"};
    int failed = 0, skipped = 0;
    printf("%s\n", sq_nn_version());
    if (argc > 1)
        return run_folder(argv[1], argc > 2 ? argv[2] : NULL);
    for (int i = 0; i < 4; i++) {
        char folder[200];
        snprintf(folder, sizeof folder, "%s/%s", FOLDER, parts[i]);
        int rc = run_folder(folder, NULL);
        skipped += rc == 77;
        failed |= rc != 77 && rc;
    }
    return failed ? 1 : skipped == 4 ? 77 : 0;
}
