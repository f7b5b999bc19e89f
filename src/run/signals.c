#include "run/signals.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static const int caught[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2}; /* ends first */
enum { CAUGHT = sizeof caught / sizeof *caught };
static struct sigaction before[CAUGHT];
static volatile sig_atomic_t wanted, where, first;

static void note(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (number != SIGUSR2)
        wanted = number;
    else if (first || info->si_pid != getppid())
        where = 1; /* a launcher asks all ranks, and the first answers for all */
}

void sq_signals_install(int rank)
{
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    wanted = where = 0;
    first = rank == 0;
    for (int i = 0; i < CAUGHT; i++)
        sigaction(caught[i], &action, &before[i]);
}

void sq_signals_restore(void)
{
    for (int i = 0; i < CAUGHT; i++)
        sigaction(caught[i], &before[i], NULL);
}

void sq_signals_end_stops(void)
{
    for (int i = 0; i < 2; i++)
        sigaction(caught[i], &before[i], NULL);
}

int sq_signals_stop_wanted(void)
{
    return (int)wanted;
}

int sq_signals_where_wanted(void)
{
    int was = (int)where;
    where = 0;
    return was;
}
