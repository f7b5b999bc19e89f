#include "store/merge.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pulse.h"
#include "store/durable_internal.h"
#include "store/hdf5_internal.h"
#include "store/manifest_internal.h"
#include "store/merge_internal.h"
#include "store/write_guard.h"

enum { MAX_TABLES = 16 };

static const uint64_t default_memory = 128u << 20, least_memory = 65536;

const char *const sq_reduce_part_name[SQ_REDUCE_PARTS] = {
    "read", "border", "pack", "sort", "write", "record", "check", "seal", "flush"};

void merge_clock(merge *m, sq_reduce_part part, double since)
{
    m->report.part[part] += sq_now() - since;
}

static void progress(const merge *m, const char *what, double fraction)
{
    sq_pulse(what);
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
    m->limit = in->memory ? in->memory : default_memory;
    m->limit = m->limit < least_memory ? least_memory : m->limit;
    SQ_TRY_ALL(m->comm, SQ_ALLOC(m->part, in->ntable + 1, "tables"));
cleanup:
    return rc;
}

static void clear_part(merge_part *part)
{
    merge_post_clear(&part->post);
    if (part->border.width)
        merge_sort_clear(&part->border);
    sq_free(part->first);
    sq_free(part->keep);
    sq_free(part->span);
    sq_free(part->sample);
    memset(part, 0, sizeof *part);
}

static sq_status write_products(merge *m)
{
    const sq_merge *in = m->in;
    int parts = in->ntable + in->nmap + 1;
    sq_status rc;
    SQ_TRY(merge_create_file(m));
    SQ_TRY_ALL(m->comm, m->rank == 0 ? merge_reserve(m) : SQ_OK);
    for (int t = 0; t < in->ntable; t++)
        SQ_TRY(merge_reconcile(m, &m->part[t]));
    for (int t = 0; t < in->ntable; t++) {
        progress(m, in->table[t]->name, (double)t / parts);
        SQ_TRY(merge_write_table(m, t));
        clear_part(&m->part[t]);
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
    double start = sq_now();
    sq_status rc;
    SQ_TRY_ALL(m->comm, m->rank == 0 ? sq_manifest_store(m->partial, manifest) : SQ_OK);
    SQ_TRY(sq_seal_compute(m->partial, m->comm, &hash, &m->report.bytes));
    merge_clock(m, SQ_REDUCE_SEAL, start);
    start = sq_now();
    if (m->rank == 0)
        rc = sq_seal_write(m->partial, hash, m->report.bytes, manifest->hash);
    /* Gives back what merge_reserve took too much; what cannot be given back does no harm. */
    if (m->rank == 0 && rc == SQ_OK &&
        truncate(m->partial, (off_t)(m->report.bytes + SQ_USER_BLOCK)) != 0)
        sq_debug("%s: reserved space stays", m->partial);
    if (m->rank == 0 && rc == SQ_OK)
        rc = sq_durable_rename(m->partial, m->in->path);
    rc = sq_comm_agree(m->comm, rc);
    merge_clock(m, SQ_REDUCE_FLUSH, start);
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
    for (int t = 0; m->part && t < m->in->ntable; t++)
        clear_part(&m->part[t]);
    sq_free(m->part);
    sq_free(m->block);
    merge_flush_end(m);
    sq_write_guard_end();
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
    SQ_TRY(merge_write_records(&m));
    if (in->archive)
        SQ_TRY(merge_write_archive(&m));
    progress(&m, "checking", 0.9);
    double checked = sq_now();
    SQ_TRY(sq_manifest_compute(m.partial, m.comm, &manifest));
    SQ_TRY_ALL(m.comm, compare_checks(&m, &manifest));
    merge_clock(&m, SQ_REDUCE_CHECK, checked);
    SQ_TRY(seal(&m, &manifest));
    SQ_TRY(sq_comm_reduce_f64(m.comm, SQ_MAX, m.report.part, SQ_REDUCE_PARTS));
    int64_t bytes[2] = {m.report.read_again, m.report.spilled};
    SQ_TRY(sq_comm_reduce_i64(m.comm, SQ_SUM, bytes, 2));
    m.report.read_again = bytes[0];
    m.report.spilled = bytes[1];
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
