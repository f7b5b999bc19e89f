#include "run/watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pulse.h"
#include "run/present.h"
#include "run/signals.h"
#include "run/verdict.h"

static const double TICK = 0.25; /* seconds */
/* That a process is gone matters after so long: a rank that left in order may be ahead of others.
 */
static const double GRACE = 5;
enum { EXIT = 4 };

typedef struct peer {
    int rank;
    pid_t pid;
    int gone, told, forgotten;
} peer;

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int running, stop, armed, rank, size, from_environment;
    double limit, task_limit;
    pid_t parent;
    peer *peer;
    int peers;
    char folder[SQ_PATH_MAX];
    const sq_run_verdict *verdict;
    int settled; /* the verdict stands */
    double zero_gone;
} dog = {.lock = PTHREAD_MUTEX_INITIALIZER, .limit = 300};

/* The end of this process. The lock is held and is not given back. */
static void leave(const char *reason)
{
    sq_log(SQ_LOG_ERROR, "rank %d: %s; leaving", dog.rank, reason);
    sq_present_leave();
    int code = EXIT;
    if (dog.settled) {
        code = dog.verdict ? dog.verdict->exit_code : EXIT;
    } else if (dog.rank == 0 && dog.folder[0]) {
        sq_run_verdict v = dog.verdict ? *dog.verdict : (sq_run_verdict){0};
        v.exit_code = 3;
        v.relaunch = 1;
        v.manifest = (sq_hash){0};
        snprintf(v.reason, sizeof v.reason, "%s; run again to resume", reason);
        sq_verdict_write(dog.folder, &v);
    }
    fflush(stderr);
    _exit(code);
}

static void look_at_peers(double idle, double elapsed)
{
    char text[160];
    double grace = dog.limit < GRACE ? dog.limit : GRACE;
    for (int i = 0; i < dog.peers; i++) {
        peer *p = &dog.peer[i];
        if (!p->gone && kill(p->pid, 0) != 0 && errno == ESRCH)
            p->gone = 1;
        if (!p->gone || p->forgotten)
            continue;
        if (p->rank == 0 && (dog.zero_gone += elapsed) > grace)
            leave("rank 0 has died");
        if (dog.armed && idle > grace) {
            snprintf(text, sizeof text, "rank %d has died, no progress with '%s' for %.0f s",
                     p->rank, sq_pulse_what(), idle);
            leave(text);
        }
    }
}

static void look_at_task(double now)
{
    char text[160];
    for (int i = 0; i < PRESENT_PLACES && dog.task_limit > 0; i++) {
        present_task t;
        if (!sq_present_get((present_place)i, &t) || now - t.since <= dog.task_limit)
            continue;
        sq_present_note_hang((present_place)i);
        snprintf(text, sizeof text, "phase %d, patch %llu has taken %.0f s: it hangs", t.task.phase,
                 (unsigned long long)t.task.patch, now - t.since);
        leave(text);
    }
}

static void say_where(double now)
{
    present_task t;
    if (sq_present_get(PRESENT_PROCESS, &t) || sq_present_get(PRESENT_READ, &t))
        fprintf(stderr, "rank %d: phase %d, patch %llu, realisation %u, attempt %u, for %.1f s\n",
                dog.rank, t.task.phase, (unsigned long long)t.task.patch, t.task.realisation,
                t.task.attempt, now - t.since);
    else
        fprintf(stderr, "rank %d: no patch, %s\n", dog.rank,
                dog.armed ? sq_pulse_what() : "waiting");
}

static void look(double now, double idle, double elapsed)
{
    char text[160];
    if (dog.size > 1 && dog.parent > 1 && getppid() != dog.parent)
        leave("the launcher has died");
    look_at_peers(idle, elapsed);
    look_at_task(now);
    if (dog.armed && idle > dog.limit) {
        snprintf(text, sizeof text, "no progress with '%s' for %.0f s", sq_pulse_what(), idle);
        leave(text);
    }
    if ((dog.rank > 0 || dog.size == 1) && sq_signals_where_wanted())
        say_where(now);
}

static void *watch(void *user)
{
    double before = sq_now(), idle = 0;
    uint64_t count = sq_pulse_count();
    (void)user;
    pthread_mutex_lock(&dog.lock);
    while (!dog.stop) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (long)(TICK * 1e9);
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&dog.wake, &dog.lock, &until);
        double now = sq_now(), elapsed = now - before;
        before = now;
        if (elapsed > 8 * TICK)
            elapsed = TICK; /* this process did not run */
        if (sq_pulse_count() != count || !dog.armed)
            idle = 0;
        else
            idle += elapsed;
        count = sq_pulse_count();
        if (!dog.stop)
            look(now, idle, elapsed);
    }
    pthread_mutex_unlock(&dog.lock);
    return NULL;
}

static int number_of(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}

void sq_watchdog_start(void)
{
    const char *text = getenv("SKYQUILT_WATCHDOG");
    pthread_condattr_t clock;
    sigset_t all, old;
    if (dog.running)
        return;
    double seconds = text ? strtod(text, NULL) : 0;
    dog.from_environment = seconds > 0;
    if (dog.from_environment)
        dog.limit = seconds;
    /* What the launcher says, until message passing runs. */
    dog.rank = number_of("OMPI_COMM_WORLD_RANK", number_of("PMIX_RANK", 0));
    dog.size = number_of("OMPI_COMM_WORLD_SIZE", 1);
    dog.parent = getppid();
    dog.armed = 1;
    dog.stop = 0;
    sq_pulse("start");
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&dog.wake, &clock);
    pthread_condattr_destroy(&clock);
    /* Signals are for the main thread: they end its waits. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&dog.thread, NULL, watch, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    dog.running = error == 0;
    if (error)
        sq_warn("there is no watchdog: %s", strerror(error));
}

void sq_watchdog_stop(void)
{
    if (!dog.running)
        return;
    pthread_mutex_lock(&dog.lock);
    dog.stop = 1;
    pthread_cond_signal(&dog.wake);
    pthread_mutex_unlock(&dog.lock);
    pthread_join(dog.thread, NULL);
    pthread_cond_destroy(&dog.wake);
    sq_free(dog.peer);
    dog.peer = NULL;
    dog.peers = dog.running = 0;
}

void sq_watchdog_limit(double seconds)
{
    pthread_mutex_lock(&dog.lock);
    if (!dog.from_environment)
        dog.limit = seconds;
    pthread_mutex_unlock(&dog.lock);
}

double sq_watchdog_seconds(void)
{
    return dog.limit;
}

void sq_watchdog_progress(const char *what)
{
    sq_pulse(what);
    pthread_mutex_lock(&dog.lock);
    dog.armed = 1;
    pthread_mutex_unlock(&dog.lock);
}

void sq_watchdog_rest(void)
{
    pthread_mutex_lock(&dog.lock);
    dog.armed = 0;
    pthread_mutex_unlock(&dog.lock);
}

void sq_watchdog_task_limit(double seconds)
{
    pthread_mutex_lock(&dog.lock);
    dog.task_limit = seconds;
    pthread_mutex_unlock(&dog.lock);
}

void sq_watchdog_verdict(const char *folder, const sq_run_verdict *verdict)
{
    pthread_mutex_lock(&dog.lock);
    dog.settled = !folder;
    snprintf(dog.folder, sizeof dog.folder, "%s", folder ? folder : "");
    dog.verdict = verdict;
    pthread_mutex_unlock(&dog.lock);
}

/* Process ids mean the same in one namespace of one boot of one machine. */
static uint64_t process_space(void)
{
    char text[64] = "";
    struct stat space = {0};
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    size_t got = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    if (!got || stat("/proc/self/ns/pid", &space) != 0)
        return 0;
    uint64_t parts[2] = {sq_hash64(text, got), space.st_ino};
    return sq_hash64(parts, sizeof parts);
}

sq_status sq_watchdog_meet(const sq_comm *comm)
{
    sq_status rc = SQ_OK;
    struct identity {
        uint64_t space;
        int64_t pid;
    } own = {process_space(), getpid()}, *all = NULL;
    int size = sq_comm_size(comm), rank = sq_comm_rank(comm), n = 0;
    peer *list = NULL;
    SQ_TRY_ALL(comm, SQ_ALLOC(all, size, "processes of the job"));
    SQ_TRY(sq_comm_all_gather(comm, &own, sizeof own, all));
    for (int r = 0; r < size; r++)
        n += r != rank && own.space && all[r].space == own.space;
    SQ_TRY_ALL(comm, SQ_ALLOC(list, n + 1, "processes of the node"));
    n = 0;
    for (int r = 0; r < size; r++) {
        if (r != rank && own.space && all[r].space == own.space)
            list[n++] = (peer){.rank = r, .pid = (pid_t)all[r].pid};
    }
    pthread_mutex_lock(&dog.lock);
    sq_free(dog.peer);
    dog.peer = list;
    dog.peers = n;
    dog.rank = rank;
    dog.size = size;
    dog.zero_gone = 0;
    pthread_mutex_unlock(&dog.lock);
cleanup:
    sq_free(all);
    return rc;
}

int sq_watchdog_gone(void)
{
    int found = -1;
    pthread_mutex_lock(&dog.lock);
    for (int i = 0; i < dog.peers && found < 0; i++) {
        peer *p = &dog.peer[i];
        if (p->gone && !p->told && !p->forgotten) {
            p->told = 1;
            found = p->rank;
        }
    }
    pthread_mutex_unlock(&dog.lock);
    return found;
}

void sq_watchdog_forget(int rank)
{
    pthread_mutex_lock(&dog.lock);
    for (int i = 0; i < dog.peers; i++) {
        if (dog.peer[i].rank == rank)
            dog.peer[i].forgotten = 1;
    }
    pthread_mutex_unlock(&dog.lock);
}
