#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "map_probe.h"

static int overflow(int depth)
{
    volatile char here[4096];
    here[0] = (char)depth;
    return depth == 1 << 30 ? 0 : overflow(depth + 1) + here[0];
}

sq_status sq_test_trouble(const char *where, const sq_task *task)
{
    const char *wish = getenv("SQ_TEST_TROUBLE");
    char kind[16], place[16];
    int phase, length;
    unsigned long long patch;
    volatile int *nowhere = NULL;
    for (; wish &&
           sscanf(wish, "%15[^:]:%15[^:]:%d:%llu%n", kind, place, &phase, &patch, &length) == 4;
         wish += length + (wish[length] == ',')) {
        if (strcmp(place, where) != 0 || task->phase != phase || task->patch != patch)
            continue;
        if (strcmp(kind, "segv") == 0)
            *nowhere = 1;
        if (strcmp(kind, "abort") == 0)
            abort();
        if (strcmp(kind, "kill") == 0)
            kill(getpid(), SIGKILL);
        if (strcmp(kind, "stack") == 0)
            return overflow(0) ? SQ_OK : SQ_ERR_DATA;
        if (strcmp(kind, "hang") == 0)
            for (;;)
                pause();
        if (strcmp(kind, "slow") == 0)
            sleep(3);
        if (strcmp(kind, "fail") == 0)
            return sq_fail(SQ_ERR_DATA, "patch %llu fails as it was told", patch);
    }
    return SQ_OK;
}
