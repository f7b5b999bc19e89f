/* What this rank works on now, and the note that it leaves when a task kills it.
 *
 * A rank works on two tasks at most: it reads one while it processes another. A fatal signal
 * (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) that a thread brings upon itself while it works on a
 * task makes it write a note, FOLDER/eE-rR with execution and rank, that names the task; then the
 * signal takes its course. So a task that kills a run of one rank, or a launch that dies with its
 * first rank, is known to the next execution. A rank that is killed from outside (SIGKILL, a power
 * cut, kill -SEGV) leaves none: nothing is suspected for what others did. There is neither a file
 * nor a write while all goes well.
 *
 * A run of one rank has nobody who would see it die when the kernel kills it for want of memory. It
 * keeps a page of memory that is also a file, FOLDER/eE-rR-now, and says in it what it works on: two
 * stores a task, no call. It is removed when the rank leaves, for whatever reason that it knows of;
 * one that is found later tells which tasks the rank was killed in. Local, process-wide. */
#ifndef SQ_RUN_PRESENT_H
#define SQ_RUN_PRESENT_H

#include "base/status.h"
#include "probe/probe.h"

#define SQ_RUN_DEATHS "deaths"

typedef enum present_place { PRESENT_PROCESS, PRESENT_READ, PRESENT_PLACES } present_place;

typedef struct present_task {
    sq_task task;
    double since; /* sq_now() */
} present_task;

/* Before the first task: where notes go, and handlers of fatal signals on this thread. `alone`: the
 * run has no other rank. */
sq_status sq_present_install(const char *folder, uint32_t execution, int rank, int alone);
/* On every other thread that works on tasks: a stack for the handlers. */
void sq_present_thread(void);
/* Before such a thread ends: its alternate stack is what it was. */
void sq_present_thread_end(void);
void sq_present_restore(void);
/* Before this process ends for a reason that is not its task's. */
void sq_present_leave(void);

/* By the thread that works on it. */
void sq_present_begin(present_place place, const sq_task *task);
void sq_present_end(present_place place);
/* From any thread: 0 when there is none. */
int sq_present_get(present_place place, present_task *out);
/* Leave a note about the task in hand for a watchdog that ends a rank that hangs in it. */
void sq_present_note_hang(present_place place);

/* The n notes of a file, all of one rank. SQ_ERR_CORRUPT when it is none. */
typedef struct present_note {
    uint32_t execution;
    int rank, signal; /* 0: it hung; SIGKILL: it was killed */
    sq_task task;
} present_note;
sq_status sq_present_read_notes(const char *folder, const char *name,
                                present_note out[PRESENT_PLACES], int *n);

#endif
