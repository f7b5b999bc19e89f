#include "run/provenance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

sq_status sq_provenance_add(provenance *p, const char *name, const char *text)
{
    if (p->count == SQ_PROVENANCE_TEXTS)
        return sq_fail(SQ_ERR_INTERNAL, "provenance: too many texts");
    sq_status rc = sq_strdup(&p->owned[p->count], text ? text : "");
    if (rc != SQ_OK)
        return rc;
    p->text[p->count] = (sq_merge_text){name, p->owned[p->count]};
    p->count++;
    return SQ_OK;
}

void sq_provenance_clear(provenance *p)
{
    for (int i = 0; i < p->count; i++)
        sq_free(p->owned[i]);
    *p = (provenance){.count = 0};
}

static sq_status add_hash(provenance *p, const char *name, sq_hash hash)
{
    char text[SQ_HASH_TEXT];
    sq_hash_text(hash, text);
    return sq_provenance_add(p, name, text);
}

static sq_status add_number(provenance *p, const char *name, double value)
{
    char text[64];
    snprintf(text, sizeof text, "%.15g", value);
    return sq_provenance_add(p, name, text);
}

sq_status sq_provenance_survey(const sq_survey *s, provenance *out)
{
    sq_status rc = SQ_OK;
    char models[SQ_MAX_MODELS * (SQ_HASH_TEXT + 1) + 1] = "";
    for (int i = 0; i < s->d.nmodel; i++) {
        char one[SQ_HASH_TEXT];
        size_t used = strlen(models);
        sq_hash_text(s->d.model[i].hash, one);
        snprintf(models + used, sizeof models - used, "%s%s", i ? " " : "", one);
    }
    SQ_TRY(sq_provenance_add(out, "probe", s->config->cls->name));
    SQ_TRY(sq_provenance_add(out, "config", s->identity_text));
    SQ_TRY(sq_provenance_add(out, "software", sq_survey_software()));
    SQ_TRY(add_hash(out, "identity", s->identity));
    SQ_TRY(add_hash(out, "config_hash", s->config_hash));
    SQ_TRY(add_hash(out, "results_hash", s->results_hash));
    SQ_TRY(add_hash(out, "model_hash", s->model_hash));
    SQ_TRY(add_hash(out, "index_hash", s->index_hash));
    SQ_TRY(sq_provenance_add(out, "models", models));
cleanup:
    return rc;
}

typedef struct rank_facts {
    char host[64];
    double resident, held;
} rank_facts;

static sq_status add_ranks(provenance *p, const rank_facts *fact, int count)
{
    sq_status rc = SQ_OK;
    char *hosts = NULL;
    double peak = 0;
    size_t size = (size_t)count * 80 + 1, used = 0;
    SQ_TRY(SQ_ALLOC(hosts, size, "host names"));
    for (int r = 0; r < count; r++) {
        peak = fact[r].resident > peak ? fact[r].resident : peak;
        used += (size_t)snprintf(hosts + used, size - used, "%s%.63s", r ? " " : "", fact[r].host);
    }
    SQ_TRY(sq_provenance_add(p, "hosts", hosts));
    SQ_TRY(add_number(p, "peak_memory_bytes", peak));
    SQ_TRY(add_number(p, "ranks", count));
cleanup:
    sq_free(hosts);
    return rc;
}

static sq_status add_environment(provenance *p)
{
    static const char *const names[] = {
        "SLURM_JOB_ID",        "SLURM_JOB_NAME", "SLURM_CLUSTER_NAME",  "SLURM_JOB_NODELIST",
        "SLURM_JOB_NUM_NODES", "SLURM_NTASKS",   "SLURM_RESTART_COUNT", "SLURM_ARRAY_TASK_ID",
        "OMP_NUM_THREADS",     "OMPI_MCA_io"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        sq_status rc = value ? sq_provenance_add(p, names[i], value) : SQ_OK;
        if (rc != SQ_OK)
            return rc;
    }
    return SQ_OK;
}

static sq_status add_execution(provenance *p, const sq_survey *s, uint32_t execution,
                               const char *started)
{
    sq_status rc = SQ_OK;
    char *config = NULL, now[32];
    struct utsname name;
    sq_timestamp(now, sizeof now);
    SQ_TRY(sq_run_config_text(s->config, &config));
    SQ_TRY(sq_provenance_add(p, "config", config));
    SQ_TRY(sq_provenance_add(p, "version", SQ_VERSION));
    SQ_TRY(sq_provenance_add(p, "engine", sq_nn_version()));
    SQ_TRY(sq_provenance_add(p, "mpi", sq_comm_version()));
    SQ_TRY(add_number(p, "execution", execution));
    SQ_TRY(sq_provenance_add(p, "started", started));
    SQ_TRY(sq_provenance_add(p, "finished", now));
    if (uname(&name) == 0) {
        SQ_TRY(sq_provenance_add(p, "system", name.release));
        SQ_TRY(sq_provenance_add(p, "machine", name.machine));
    }
    SQ_TRY(add_environment(p));
cleanup:
    sq_free(config);
    return rc;
}

sq_status sq_provenance_execution(const sq_comm *comm, const sq_survey *survey, uint32_t execution,
                                  const char *started, provenance *out)
{
    sq_status rc = SQ_OK, mine = SQ_OK;
    rank_facts own = {.resident = (double)sq_mem_resident_peak(), .held = (double)sq_mem_peak()};
    rank_facts *all = NULL;
    int size = sq_comm_size(comm);
    snprintf(own.host, sizeof own.host, "%.63s", sq_comm_host());
    SQ_TRY_ALL(comm, SQ_ALLOC(all, size, "facts of ranks"));
    SQ_TRY(sq_comm_all_gather(comm, &own, sizeof own, all));
    if (sq_comm_rank(comm) == 0) {
        mine = add_execution(out, survey, execution, started);
        if (mine == SQ_OK)
            mine = add_ranks(out, all, size);
    }
    SQ_TRY_ALL(comm, mine);
cleanup:
    sq_free(all);
    return rc;
}
