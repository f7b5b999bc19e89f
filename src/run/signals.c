#include "run/signals.h"

#include <signal.h>
#include <stddef.h>

static const int caught[] = {SIGTERM, SIGINT, SIGUSR1};
enum { CAUGHT = sizeof caught / sizeof *caught };
static struct sigaction before[CAUGHT];
static volatile sig_atomic_t wanted;

static void note(int number)
{
    wanted = number;
}

void sq_signals_install(void)
{
    struct sigaction action = {.sa_handler = note};
    sigemptyset(&action.sa_mask);
    wanted = 0;
    for (int i = 0; i < CAUGHT; i++)
        sigaction(caught[i], &action, &before[i]);
}

void sq_signals_restore(void)
{
    for (int i = 0; i < CAUGHT; i++)
        sigaction(caught[i], &before[i], NULL);
}

int sq_signals_stop_wanted(void)
{
    return (int)wanted;
}
