#include "cli/progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void duration(double seconds, char out[32])
{
    if (!(seconds > 0))
        snprintf(out, 32, "--");
    else if (seconds < 100)
        snprintf(out, 32, "%.0fs", seconds);
    else if (seconds < 6000)
        snprintf(out, 32, "%dm%02ds", (int)seconds / 60, (int)seconds % 60);
    else
        snprintf(out, 32, "%dh%02dm", (int)(seconds / 3600), (int)fmod(seconds / 60, 60));
}

void sq_cli_show_progress(void *user, const sq_run_progress *p)
{
    enum { WIDTH = 28 };
    sq_cli_progress *state = user;
    uint64_t settled = p->done + p->failed + p->quarantined;
    double share = p->total ? (double)settled / (double)p->total : 1;
    char eta[32], failures[64] = "", slowest[64] = "", bar[WIDTH + 1];
    duration(p->eta, eta);
    if (p->failed + p->quarantined)
        snprintf(failures, sizeof failures, ", %llu failed",
                 (unsigned long long)(p->failed + p->quarantined));
    if (!isatty(STDERR_FILENO)) {
        fprintf(stderr, "%s: %llu/%llu (%.1f%%), %.2f/s, ETA %s%s, slowest %.2f s (patch %llu)\n",
                p->what, (unsigned long long)settled, (unsigned long long)p->total, 100 * share,
                p->rate, eta, failures, p->slowest, (unsigned long long)p->slowest_patch);
        return;
    }
    int filled = (int)(share * WIDTH);
    for (int i = 0; i < WIDTH; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[WIDTH] = 0;
    if (p->slowest > 0)
        snprintf(slowest, sizeof slowest, "  slowest %.2f s (%llu)", p->slowest,
                 (unsigned long long)p->slowest_patch);
    fprintf(stderr, "\r\033[K%s [%s] %5.1f%%  %.2f/s  ETA %s%s%s", p->what, bar, 100 * share,
            p->rate, eta, slowest, failures);
    fflush(stderr);
    state->drawn = 1;
}

void sq_cli_end_progress(sq_cli_progress *state)
{
    if (state->drawn)
        fputc('\n', stderr);
    state->drawn = 0;
}

int sq_cli_seconds(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && *out > 0 && *out < 1e9;
}
