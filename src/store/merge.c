#include "store/merge.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/durable_internal.h"
#include "store/hdf5_internal.h"
#include "store/manifest_internal.h"
#include "store/merge_internal.h"

enum { MAX_TABLES = 16 };

static const uint64_t default_memory = 128u << 20, largest_buffer = 512u << 20;

static void progress(const merge *m, const char *what, double fraction)
{
    if (m->rank == 0 && m->in->progress)
        m->in->progress(m->in->user, what, fraction);
}

static sq_status check_input(const sq_merge *in)
{
    if (in->ntable > MAX_TABLES || in->deflate < 0 || in->deflate > 9)
        return sq_fail(SQ_ERR_USAGE, "reduce: %d tables, compression %d", in->ntable, in->deflate);
    for (int t = 0; t < in->ntable; t++) {
        sq_status rc = sq_schema_check(in->table[t]);
        if (rc != SQ_OK)
            return rc;
    }
    for (int k = 0; k < in->nmap; k++) {
        const sq_map_schema *map = in->map[k];
        if ((map->type != SQ_F32 && map->type != SQ_F64) || map->planes < 1 || map->nx < 1 ||
            map->ny < 1)
            return sq_fail(SQ_ERR_USAGE, "reduce: map %s: type or shape", map->name);
    }
    return SQ_OK;
}

static sq_status begin(merge *m, const sq_comm *comm)
{
    const sq_merge *in = m->in;
    sq_status rc;
    sq_hdf5_quiet();
    SQ_TRY(sq_comm_dup(comm, &m->comm));
    m->rank = sq_comm_rank(m->comm);
    m->size = sq_comm_size(m->comm);
    SQ_TRY_ALL(m->comm, check_input(in));
    SQ_TRY_ALL(m->comm,
               sq_alloc(&m->partial, strlen(in->path) + sizeof ".partial", 1, "file name"));
    sprintf(m->partial, "%s.partial", in->path);
    sq_segment_reader_init(&m->reader, in->shards);
    /* A round holds rows packed, to send and received, with their order: about four buffers. */
    m->limit = (in->memory ? in->memory : default_memory) / 4;
    m->limit = m->limit > largest_buffer ? largest_buffer : m->limit < 4096 ? 4096 : m->limit;
cleanup:
    return rc;
}

static sq_status write_products(merge *m)
{
    const sq_merge *in = m->in;
    int parts = in->ntable + in->nmap + 1;
    sq_status rc;
    SQ_TRY(merge_create_file(m));
    SQ_TRY_ALL(m->comm, m->rank == 0 ? merge_reserve(m) : SQ_OK);
    for (int t = 0; t < in->ntable; t++) {
        merge_keep keep = {0};
        progress(m, in->table[t]->name, (double)t / parts);
        rc = merge_reconcile(m, t, &keep);
        if (rc == SQ_OK)
            rc = merge_write_table(m, t, &keep);
        merge_keep_clear(&keep);
        SQ_TRY(rc);
    }
    if (in->nmap)
        SQ_TRY(merge_group(m, "maps", "Maps: [plane][y][x]"));
    for (int k = 0; k < in->nmap; k++) {
        progress(m, in->map[k]->name, (double)(in->ntable + k) / parts);
        SQ_TRY(merge_write_map(m, k));
    }
    SQ_TRY(merge_close_file(m));
cleanup:
    return rc;
}

static sq_status write_records(merge *m)
{
    void *timing = NULL;
    size_t bytes;
    sq_status rc;
    SQ_TRY(sq_comm_gather(m->comm, m->timing, (size_t)m->ntask * sizeof *m->timing, &timing, &bytes,
                          NULL));
    rc =
        m->rank == 0 ? merge_write_records(m, timing, (int64_t)(bytes / sizeof *m->timing)) : SQ_OK;
    rc = sq_comm_agree(m->comm, rc);
cleanup:
    sq_free(timing);
    return rc;
}

/* What was in memory against what is read back. */
static sq_status compare_checks(merge *m, const sq_manifest *manifest)
{
    sq_status rc = SQ_OK;
    int64_t *sum = NULL;
    SQ_TRY_ALL(m->comm, SQ_ALLOC(sum, m->nchecks + 1, "checks"));
    for (size_t i = 0; i < m->nchecks; i++)
        memcpy(&sum[i], &m->check[i].sum, sizeof *sum);
    SQ_TRY(sq_comm_reduce_i64(m->comm, SQ_SUM, sum, (int)m->nchecks));
    for (size_t i = 0; i < m->nchecks; i++) {
        const sq_manifest_entry *entry = NULL;
        for (size_t k = 0; k < manifest->count && !entry; k++) {
            if (strcmp(manifest->entry[k].name, m->check[i].name) == 0)
                entry = &manifest->entry[k];
        }
        if (!entry || memcmp(&entry->sum, &sum[i], sizeof *sum) != 0)
            SQ_TRY(sq_fail(SQ_ERR_CORRUPT, "%s: %s: read back differs from what was written",
                           m->partial, m->check[i].name));
    }
    for (int t = 0; t < m->in->ntable; t++) {
        size_t n = strlen(m->in->table[t]->name);
        for (size_t k = 0; k < manifest->count; k++) {
            const sq_manifest_entry *e = &manifest->entry[k];
            if (strncmp(e->name, m->in->table[t]->name, n) == 0 && e->name[n] == '/' &&
                e->rows != m->report.rows[t])
                SQ_TRY(sq_fail(SQ_ERR_CORRUPT, "%s: %s: %lld rows instead of %lld", m->partial,
                               e->name, (long long)e->rows, (long long)m->report.rows[t]));
        }
    }
cleanup:
    sq_free(sum);
    return rc;
}

static sq_status seal(merge *m, const sq_manifest *manifest)
{
    sq_hash hash;
    sq_status rc;
    SQ_TRY_ALL(m->comm, m->rank == 0 ? sq_manifest_store(m->partial, manifest) : SQ_OK);
    SQ_TRY(sq_seal_compute(m->partial, m->comm, &hash, &m->report.bytes));
    if (m->rank == 0)
        rc = sq_seal_write(m->partial, hash, m->report.bytes, manifest->hash);
    /* Gives back what merge_reserve took too much; what cannot be given back does no harm. */
    if (m->rank == 0 && rc == SQ_OK &&
        truncate(m->partial, (off_t)(m->report.bytes + SQ_USER_BLOCK)) != 0)
        sq_debug("%s: reserved space stays", m->partial);
    if (m->rank == 0 && rc == SQ_OK)
        rc = sq_durable_rename(m->partial, m->in->path);
    rc = sq_comm_agree(m->comm, rc);
    m->report.bytes += SQ_USER_BLOCK;
    m->report.manifest = manifest->hash;
cleanup:
    return rc;
}

static void end(merge *m, sq_status rc)
{
    /* After a failed write the ranks do not agree on what HDF5 still has to flush: closing would
     * hang. The file is deleted, its handle is left. */
    if (rc != SQ_OK && m->rank == 0 && m->partial)
        unlink(m->partial);
    sq_segment_reader_clear(&m->reader);
    sq_free(m->task);
    sq_free(m->timing);
    sq_free(m->rows);
    sq_free(m->block);
    sq_free(m->check);
    sq_free(m->partial);
    sq_comm_destroy(m->comm);
}

sq_status sq_merge_release(const sq_comm *comm, const sq_merge *in, sq_merge_report *report)
{
    merge m = {.in = in, .file = -1};
    sq_manifest manifest = {0};
    double start = sq_now();
    sq_status rc;
    m.reader.fd = -1;
    SQ_TRY(begin(&m, comm));
    progress(&m, "records", 0);
    SQ_TRY(merge_share_tasks(&m));
    SQ_TRY(merge_survey(&m));
    SQ_TRY(write_products(&m));
    SQ_TRY(write_records(&m));
    progress(&m, "checking", 0.9);
    SQ_TRY(sq_manifest_compute(m.partial, m.comm, &manifest));
    SQ_TRY_ALL(m.comm, compare_checks(&m, &manifest));
    SQ_TRY(seal(&m, &manifest));
    m.report.seconds = sq_now() - start;
    if (report)
        *report = m.report;
    progress(&m, "release", 1);
cleanup:
    sq_manifest_clear(&manifest);
    if (rc != SQ_OK) {
        char message[SQ_ERROR_MAX];
        strncpy(message, sq_error(), sizeof message - 1);
        message[sizeof message - 1] = '\0';
        end(&m, rc);
        return sq_fail(rc, "%s", message);
    }
    end(&m, rc);
    return rc;
}
