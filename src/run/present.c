#include "run/present.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "run/paths.h"

static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
enum { FATAL = sizeof fatal / sizeof *fatal, STACK = 64 << 10 };

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

static void write_note(const sq_task *task, int signal)
{
    char text[128], *at = text;
    at = put_number(at, (uint64_t)task->phase);
    at = put_number(at, task->patch);
    at = put_number(at, task->realisation);
    at = put_number(at, (uint64_t)signal);
    at[-1] = '\n';
    int fd = open(note_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return;
    ssize_t written = write(fd, text, (size_t)(at - text));
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

sq_status sq_present_install(const char *folder, uint32_t execution, int rank)
{
    char name[64];
    struct sigaction action = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    snprintf(name, sizeof name, SQ_RUN_DEATHS "/e%u-r%d", execution, rank);
    sq_status rc = sq_run_path(folder, name, note_path);
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
    sq_present_thread_end();
}

void sq_present_begin(present_place place, const sq_task *task)
{
    pthread_mutex_lock(&lock);
    present[place].task = (present_task){*task, sq_now()};
    present[place].busy = 1;
    pthread_mutex_unlock(&lock);
    place_of_thread = place;
}

void sq_present_end(present_place place)
{
    place_of_thread = -1;
    pthread_mutex_lock(&lock);
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

sq_status sq_present_read_note(const char *folder, const char *name, present_note *out)
{
    char path[SQ_PATH_MAX], text[128] = "";
    unsigned long long patch;
    int end = 0;
    *out = (present_note){.signal = 0};
    sq_status rc = sq_run_path(folder, name, path);
    if (rc != SQ_OK)
        return rc;
    FILE *file = fopen(path, "r");
    if (!file)
        return sq_fail(SQ_ERR_IO, "%s: %s", path, strerror(errno));
    size_t got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    if (got == 0 || text[got - 1] != '\n' ||
        sscanf(name, "e%u-r%d%n", &out->execution, &out->rank, &end) != 2 || name[end] ||
        sscanf(text, "%d %llu %u %d", &out->task.phase, &patch, &out->task.realisation,
               &out->signal) != 4)
        return sq_fail(SQ_ERR_CORRUPT, "%s: is not the note of a death", path);
    out->task.patch = patch;
    return SQ_OK;
}
