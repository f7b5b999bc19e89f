/* Rank 0's memory and time over the ledger of a large survey: makes one of so many tasks, all
 * committed, as many workers interleave them, then reads it as a resume, a scheduler and a reduce
 * do, and checks every task.
 *
 * journal_scale FOLDER TASKS [KEEP]: the ledger is made unless it is there, and stays with KEEP. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "run/journal.h"

enum { WORKERS = 1000, RANGE = 50 };

#define DO(call)                                                                                   \
    do {                                                                                           \
        if ((call) != SQ_OK) {                                                                     \
            fprintf(stderr, "%s: %s\n", #call, sq_error());                                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static sq_hash hash_of(uint64_t task, uint64_t what)
{
    uint64_t key[2] = {task, what};
    return sq_hash_bytes(key, sizeof key);
}

static sq_event event_of(uint64_t task)
{
    sq_event e = {.kind = SQ_EVENT_COMMIT, .execution = 1, .patch = task, .attempt = 1};
    e.rows = 200 + task % 100;
    e.input = hash_of(task, 1);
    snprintf(e.place.segment, sizeof e.place.segment, "e1-r%d-000001.sqs",
             (int)(task / RANGE % WORKERS));
    e.place.offset = task / WORKERS * 20000;
    e.place.length = 20000;
    e.place.hash = hash_of(task, 2);
    if (task % 1000 == 999) {
        e.kind = SQ_EVENT_QUARANTINE;
        e.status = SQ_ERR_DATA;
        e.place = (sq_record_place){.offset = 0};
        snprintf(e.text, sizeof e.text, "tile T-%" PRIu64 ": all pixels are masked", task / 1000);
    }
    return e;
}

/* Ranges of many workers at a time, one task of each in turn. */
static void make_ledger(const char *path, const sq_survey *s, uint64_t tasks)
{
    sq_ledger *ledger;
    sq_event plan = {.kind = SQ_EVENT_PLAN, .config = s->identity, .count = tasks};
    DO(sq_ledger_open(path, NULL, NULL, &ledger));
    DO(sq_ledger_append(ledger, &plan));
    for (uint64_t first = 0; first < tasks; first += WORKERS * RANGE) {
        for (uint64_t k = 0; k < WORKERS * RANGE; k++) {
            uint64_t task = first + k % WORKERS * RANGE + k / WORKERS;
            if (task >= tasks)
                continue;
            sq_event e = event_of(task);
            DO(sq_ledger_append(ledger, &e));
        }
    }
    DO(sq_ledger_close(ledger));
}

static uint64_t check_entries(const journal *j)
{
    uint64_t n = 0;
    run_entry entry;
    char reason[SQ_EVENT_TEXT];
    for (journal_at at = {0}; sq_journal_at(j, &at); at.index++, n++) {
        sq_event e = event_of(at.index);
        DO(sq_journal_entry(j, at, &entry));
        DO(sq_entries_text(j->entries, &entry, reason));
        if (entry.rows != e.rows || !sq_hash_equal(entry.place.hash, e.place.hash) ||
            strcmp(entry.place.segment, e.place.segment) != 0 || strcmp(reason, e.text) != 0 ||
            sq_journal_is_done(sq_journal_state(j, 0, at.index)) != (e.kind == SQ_EVENT_COMMIT)) {
            fprintf(stderr, "task %" PRIu64 " is not what was committed\n", at.index);
            exit(1);
        }
    }
    return n;
}

static void settle(const journal *j, const sq_survey *s)
{
    sq_phase_plan plan[SQ_MAX_PHASES];
    sq_scheduler *scheduler;
    sq_survey_plan(s, plan);
    DO(sq_scheduler_create(plan, 1, NULL, &scheduler));
    for (journal_at at = {0}; sq_journal_at(j, &at); at.index++)
        DO(sq_scheduler_settle(scheduler, 0, at.index, SQ_SETTLED_DONE));
    DO(sq_scheduler_begin(scheduler, 0));
    sq_scheduler_destroy(scheduler);
}

int main(int argc, char **argv)
{
    char path[SQ_PATH_MAX];
    struct stat info;
    if (argc < 3)
        return 1;
    uint64_t tasks = strtoull(argv[2], NULL, 10);
    static uint64_t base[2];
    sq_survey s = {.parts = 1, .identity = {1, 2}};
    s.d.nphase = 1;
    s.d.phase[0].realisations = 1;
    base[1] = tasks;
    s.base[0] = base;
    snprintf(path, sizeof path, "%.900s/ledger", argv[1]);
    double start = sq_now();
    if (access(path, F_OK) != 0)
        make_ledger(path, &s, tasks);
    double made = sq_now();
    stat(path, &info);
    journal j = {.survey = &s, .folder = argv[1]};
    sq_ledger *ledger;
    DO(sq_ledger_open(path, sq_journal_visit, &j, &ledger));
    double replayed = sq_now();
    settle(&j, &s);
    double settled = sq_now();
    uint64_t n = check_entries(&j);
    double checked = sq_now();
    printf("{\"tasks\": %" PRIu64 ", \"checked\": %" PRIu64 ", \"ledger_bytes\": %lld, "
           "\"make_seconds\": %.1f, \"replay_seconds\": %.1f, \"schedule_seconds\": %.1f, "
           "\"entries_seconds\": %.1f, \"peak_bytes\": %llu}\n",
           tasks, n, (long long)info.st_size, made - start, replayed - made, settled - replayed,
           checked - settled, (unsigned long long)sq_mem_resident_peak());
    DO(sq_ledger_close(ledger));
    sq_journal_clear(&j);
    if (argc < 4)
        unlink(path);
    return n == tasks ? 0 : 1;
}
