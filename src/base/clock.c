#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static double seconds(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double sq_now(void)
{
    return seconds(CLOCK_MONOTONIC);
}

double sq_cpu_now(void)
{
    return seconds(CLOCK_THREAD_CPUTIME_ID);
}

double sq_busy_now(void)
{
    double now = sq_now();
    long long ran, waited;
    FILE *file = fopen("/proc/thread-self/schedstat", "r");
    if (!file)
        return now;
    if (fscanf(file, "%lld %lld", &ran, &waited) == 2)
        now -= 1e-9 * (double)waited;
    fclose(file);
    return now;
}

double sq_wall(void)
{
    return seconds(CLOCK_REALTIME);
}

void sq_timestamp(char *out, size_t size)
{
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    if (strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0 && size)
        out[0] = '\0';
}
