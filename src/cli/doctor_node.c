#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/doctor_internal.h"

/* What a rank is promised to stay below, and what Open MPI's shared-memory transport takes a rank.
 */
static const double rank_mib = 600, shm_mib = 64;

static void shared_memory(report *r, int ranks)
{
    struct statvfs fs;
    if (statvfs("/dev/shm", &fs) != 0) {
        doctor_say(r, ranks > 1 ? VERDICT_FAIL : VERDICT_WARN, "shm",
                   "/dev/shm is not there: ranks on one node cannot share memory");
        return;
    }
    double total = (double)fs.f_blocks * (double)fs.f_frsize / (1 << 20);
    double free_mib = (double)fs.f_bavail * (double)fs.f_frsize / (1 << 20);
    verdict v = free_mib < 4 * ranks         ? VERDICT_FAIL
                : free_mib < shm_mib * ranks ? VERDICT_WARN
                                             : VERDICT_OK;
    doctor_say(r, v, "shm", "/dev/shm has %.0f MiB, %.0f free%s", total, free_mib,
               v == VERDICT_OK ? ""
                               : ": below 64 MiB a rank; in a container raise --shm-size, or set "
                                 "OMPI_MCA_btl=self,tcp");
}

static double meminfo_mib(const char *key)
{
    FILE *file = fopen("/proc/meminfo", "r");
    char line[256];
    double kib = -1024;
    size_t length = strlen(key);
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) == 0 && line[length] == ':')
            kib = atof(line + length + 1);
    }
    if (file)
        fclose(file);
    return kib / 1024;
}

static void memory(report *r, int ranks)
{
    double available = meminfo_mib("MemAvailable"), need = rank_mib * ranks;
    if (available < 0) {
        doctor_say(r, VERDICT_WARN, "memory", "/proc/meminfo does not say what is available");
        return;
    }
    doctor_say(r, available < need ? VERDICT_WARN : VERDICT_OK, "memory",
               "%.0f MiB available, %.0f MiB for %d rank%s of %.0f MiB", available, need, ranks,
               ranks == 1 ? "" : "s", rank_mib);
}

static int usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

static void threads(report *r, int ranks)
{
    const char *text = getenv("OMP_NUM_THREADS");
    int online = (int)sysconf(_SC_NPROCESSORS_ONLN), mine = usable_cores();
    /* A rank that is bound sees its own cores; one that is not shares the node. */
    int share = mine < online ? mine : online / ranks;
    doctor_say(r, ranks > online ? VERDICT_WARN : VERDICT_OK, "cores",
               "%d core%s online, %d usable by this rank, %d rank%s on this node%s", online,
               online == 1 ? "" : "s", mine, ranks, ranks == 1 ? "" : "s",
               ranks > online + 1 ? ": more ranks than cores"
               : ranks > online ? ": rank 0 mostly sleeps, so that one more than cores is well used"
                                : "");
    if ((!text || !*text) && mine == 1) {
        doctor_say(r, VERDICT_OK, "threads", "one core, one thread");
        return;
    }
    if (!text || !*text) {
        doctor_say(r, VERDICT_WARN, "threads",
                   "OMP_NUM_THREADS is not set: libraries may start %d threads in each rank; "
                   "set it to 1",
                   mine);
        return;
    }
    int count = atoi(text);
    verdict v = count < 1 || (count > 1 && count > share) ? VERDICT_WARN : VERDICT_OK;
    doctor_say(r, v, "threads", "OMP_NUM_THREADS=%s%s", text,
               v == VERDICT_OK ? "" : ": more threads than this rank's share of the cores");
}

static void limits(report *r)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    int low = files.rlim_cur != RLIM_INFINITY && files.rlim_cur < 1024;
    doctor_say(r, low ? VERDICT_WARN : VERDICT_OK, "open-files", "limit %llu%s",
               (unsigned long long)files.rlim_cur,
               low ? ": below 1024; raise it with ulimit -n" : "");
}

void doctor_node(report *r, int ranks)
{
    shared_memory(r, ranks);
    memory(r, ranks);
    threads(r, ranks);
    limits(r);
}
