#include "run/present.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/paths.h"

static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
enum { FATAL = sizeof fatal / sizeof *fatal, STACK = 64 << 10, LINE = 128 };

static struct {
    int busy;
    present_task task;
} present[PRESENT_PLACES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local int place_of_thread = -1;

static struct sigaction before[FATAL];
static int installed;
static char note_path[SQ_PATH_MAX]; /* of this rank and execution */
static char stacks[PRESENT_PLACES][STACK];
static _Atomic int stacks_used;
static _Thread_local stack_t stack_before; /* whoever set it (a sanitizer) frees it itself */
static _Thread_local int stack_is_set;

static char now_path[SQ_PATH_MAX], *now; /* a LINE a place: IDLE, or a note; NULL: no file */
static _Atomic int now_closed;
static const char IDLE = '-';
#define PRESENT_NOW "-now"

/* Only what a handler may do: no stdio. */
static char *put_number(char *at, uint64_t value)
{
    char digits[24];
    int n = 0;
    do
        digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    while (n)
        *at++ = digits[--n];
    *at++ = ' ';
    return at;
}

/* Its length. */
static size_t put_note(char text[LINE], const sq_task *task, int signal)
{
    char *at = text;
    at = put_number(at, (uint64_t)task->phase);
    at = put_number(at, task->patch);
    at = put_number(at, task->realisation);
    at = put_number(at, (uint64_t)signal);
    at[-1] = '\n';
    return (size_t)(at - text);
}

/* What the file says of a place; task NULL: nothing. Whoever is killed in the middle was idle. */
static void show(present_place place, const sq_task *task)
{
    if (!now || now_closed)
        return;
    char *line = now + place * LINE, text[LINE];
    line[0] = IDLE;
    if (!task)
        return;
    size_t size = put_note(text, task, SIGKILL);
    atomic_signal_fence(memory_order_seq_cst);
    memcpy(line + 1, text + 1, size - 2); /* the line's end is there */
    memset(line + size - 1, ' ', LINE - size);
    atomic_signal_fence(memory_order_seq_cst);
    line[0] = text[0];
}

static sq_status open_now(void)
{
    char text[PRESENT_PLACES * LINE];
    sq_status rc = SQ_OK;
    memset(text, ' ', sizeof text);
    for (int i = 0; i < PRESENT_PLACES; i++) {
        text[i * LINE] = IDLE;
        text[(i + 1) * LINE - 1] = '\n';
    }
    int fd = open(now_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    /* Written, so that the page has its place on the disk. */
    if (fd < 0 || write(fd, text, sizeof text) != (ssize_t)sizeof text)
        rc = sq_fail(SQ_ERR_IO, "%s: %s", now_path, strerror(errno));
    if (rc == SQ_OK) {
        void *at = mmap(NULL, sizeof text, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        now = at == MAP_FAILED ? NULL : at; /* some file systems cannot: then kills are not seen */
    }
    if (fd >= 0)
        close(fd);
    if (!now)
        unlink(now_path);
    now_closed = 0;
    return rc;
}

void sq_present_leave(void)
{
    now_closed = 1;
    for (int i = 0; now && i < PRESENT_PLACES; i++)
        now[i * LINE] = IDLE;
}

static void close_now(void)
{
    sq_present_leave();
    pthread_mutex_lock(&lock); /* a reader may still be at work */
    if (now) {
        munmap(now, PRESENT_PLACES * LINE);
        unlink(now_path);
    }
    now = NULL;
    pthread_mutex_unlock(&lock);
}

static void write_note(const sq_task *task, int signal)
{
    char text[LINE];
    size_t size = put_note(text, task, signal);
    int fd = open(note_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return;
    ssize_t written = write(fd, text, size);
    (void)written;
    fsync(fd);
    close(fd);
}

static void on_fatal(int number, siginfo_t *info, void *context)
{
    int saved = errno, i = 0;
    (void)context;
    if (place_of_thread >= 0 && (info->si_code > 0 || info->si_pid == getpid()))
        write_note(&present[place_of_thread].task.task, number);
    sq_present_leave();
    while (fatal[i] != number)
        i++;
    /* To whoever was there before, or the end. */
    sigaction(number, &before[i], NULL);
    raise(number);
    errno = saved;
}

void sq_present_thread(void)
{
    int mine = stacks_used++;
    if (mine >= PRESENT_PLACES || stack_is_set)
        return;
    stack_t stack = {.ss_sp = stacks[mine], .ss_size = STACK};
    stack_is_set = sigaltstack(&stack, &stack_before) == 0;
}

void sq_present_thread_end(void)
{
    if (stack_is_set)
        sigaltstack(&stack_before, NULL);
    stack_is_set = 0;
}

sq_status sq_present_install(const char *folder, uint32_t execution, int rank, int alone)
{
    char name[64];
    struct sigaction action = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    snprintf(name, sizeof name, SQ_RUN_DEATHS "/e%u-r%d", execution, rank);
    sq_status rc = sq_run_path(folder, name, note_path);
    if (rc == SQ_OK && alone) {
        strcat(name, PRESENT_NOW);
        rc = sq_run_path(folder, name, now_path);
        if (rc == SQ_OK)
            rc = open_now();
    }
    if (rc != SQ_OK || installed)
        return rc;
    stacks_used = 0;
    sq_present_thread();
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < FATAL; i++)
        sigaction(fatal[i], &action, &before[i]);
    installed = 1;
    return SQ_OK;
}

void sq_present_restore(void)
{
    for (int i = 0; installed && i < FATAL; i++)
        sigaction(fatal[i], &before[i], NULL);
    installed = 0;
    close_now();
    sq_present_thread_end();
}

void sq_present_begin(present_place place, const sq_task *task)
{
    pthread_mutex_lock(&lock);
    present[place].task = (present_task){*task, sq_now()};
    present[place].busy = 1;
    show(place, task);
    pthread_mutex_unlock(&lock);
    place_of_thread = place;
}

void sq_present_end(present_place place)
{
    place_of_thread = -1;
    pthread_mutex_lock(&lock);
    show(place, NULL);
    present[place].busy = 0;
    pthread_mutex_unlock(&lock);
}

int sq_present_get(present_place place, present_task *out)
{
    pthread_mutex_lock(&lock);
    int busy = present[place].busy;
    *out = present[place].task;
    pthread_mutex_unlock(&lock);
    return busy;
}

void sq_present_note_hang(present_place place)
{
    present_task task;
    if (sq_present_get(place, &task))
        write_note(&task.task, 0);
}

/* 1: a note; 0: nothing; -1: neither. */
static int parse_note(const char *line, present_note *out)
{
    unsigned long long patch;
    if (line[0] == IDLE)
        return 0;
    int got = sscanf(line, "%d %llu %u %d", &out->task.phase, &patch, &out->task.realisation,
                     &out->signal);
    out->task.patch = patch;
    return got == 4 ? 1 : -1;
}

sq_status sq_present_read_notes(const char *folder, const char *name,
                                present_note out[PRESENT_PLACES], int *n)
{
    char path[SQ_PATH_MAX], text[PRESENT_PLACES * LINE + 1] = "", *save = NULL;
    present_note note = {.signal = 0};
    int end = 0, good = 1;
    *n = 0;
    sq_status rc = sq_run_path(folder, name, path);
    if (rc != SQ_OK)
        return rc;
    FILE *file = fopen(path, "r");
    if (!file)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    size_t got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    good = got && text[got - 1] == '\n' &&
           sscanf(name, "e%u-r%d%n", &note.execution, &note.rank, &end) == 2 &&
           (!name[end] || strcmp(name + end, PRESENT_NOW) == 0);
    char *line = strtok_r(text, "\n", &save);
    for (int i = 0; good && line && i < PRESENT_PLACES; i++, line = strtok_r(NULL, "\n", &save)) {
        int kind = parse_note(line, &note);
        good = kind >= 0;
        if (kind > 0)
            out[(*n)++] = note;
    }
    return good ? SQ_OK : sq_fail(SQ_ERR_CORRUPT, "%s: is not the note of a death", path);
}
