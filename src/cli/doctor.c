#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "cli/doctor_internal.h"
#include "fourier/fft.h"
#include "nn/model.h"
#include "par/comm.h"
#include "store/version.h"

/* What every rank tells rank 0. */
typedef struct rank_facts {
    char host[128], isa[160], hdf5[64], fftw[96];
} rank_facts;

static void help(void)
{
    printf(
        "NAME\n"
        "    skyquilt doctor - check the environment\n\n"
        "SYNOPSIS\n"
        "    [mpirun -n RANKS] skyquilt doctor [--output DIR] [--json]\n\n"
        "DESCRIPTION\n"
        "    Looks at what a run depends on and prints one line for each finding: ok, warn (it "
        "works, but\n"
        "    slower or less safely than it could) or fail (a run will not work). Run it as a run "
        "would\n"
        "    be run: inside the job, with the same ranks, threads and output folder.\n\n"
        "    mpi           the MPI library, ranks and nodes\n"
        "    mpi-io        the MPI-IO component (OMPI_MCA_io); ROMIO is the safer one with HDF5\n"
        "    launcher      whether the loss of a rank ends the job\n"
        "    hdf5          the parallel HDF5 library that is loaded\n"
        "    isa           oneDNN, the instruction set that it uses, and whether bf16 is native\n"
        "    fftw          the FFTW library\n"
        "    same-ranks    all ranks have the same instruction set and libraries: a release is\n"
        "                  reproducible for one of each\n"
        "    shm, memory, cores, threads, open-files\n"
        "                  of rank 0's node\n"
        "    file-system, space, fsync, hdf5-file, hdf5-locking\n"
        "                  of the output folder; small files are written there and removed\n\n"
        "OPTIONS\n"
        "    --output DIR    the output folder of the run, default the present one; it is made, "
        "and removed\n"
        "                    again, if it is not there\n"
        "    --json          print a JSON array of {check, verdict, text}\n\n"
        "EXIT CODES\n"
        "    0  no check failed (there may be warnings)\n"
        "    1  usage error\n"
        "    4  a check failed\n");
}

static void print_quoted(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar((unsigned char)*text < 0x20 ? ' ' : *text);
    }
    putchar('"');
}

void doctor_say(report *r, verdict v, const char *check, const char *format, ...)
{
    static const char *const words[] = {"ok", "warn", "fail"};
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (r->json) {
        int first = r->count[0] + r->count[1] + r->count[2] == 0;
        printf("%s\n  {\"check\": \"%s\", \"verdict\": \"%s\", \"text\": ", first ? "[" : ",",
               check, words[v]);
        print_quoted(text);
        putchar('}');
    } else {
        printf("%-5s %-13s %s\n", words[v], check, text);
    }
    r->count[v]++;
}

static int hosts(const rank_facts *facts, int ranks)
{
    int count = 0;
    for (int i = 0; i < ranks; i++) {
        int known = 0;
        for (int j = 0; j < i && !known; j++)
            known = strcmp(facts[i].host, facts[j].host) == 0;
        count += !known;
    }
    return count;
}

/* `io` is OMPI_MCA_io as the user set it: the program sets it too, at the start of message passing.
 */
static void message_passing(report *r, const char *io, const rank_facts *facts, int ranks)
{
    const char *version = sq_comm_version();
    int nodes = hosts(facts, ranks), open_mpi = strstr(version, "Open MPI") != NULL;
    doctor_say(r, VERDICT_OK, "mpi", "%s, %d rank%s on %d node%s", version, ranks,
               ranks == 1 ? "" : "s", nodes, nodes == 1 ? "" : "s");
    if (!open_mpi)
        doctor_say(r, VERDICT_OK, "mpi-io", "of %s", version);
    else if (!io || !*io || strncmp(io, "romio", 5) == 0)
        doctor_say(r, VERDICT_OK, "mpi-io", "%s%s", io && *io ? io : "ROMIO",
                   io && *io ? "" : ", chosen by the program");
    else
        doctor_say(r, VERDICT_WARN, "mpi-io",
                   "OMPI_MCA_io=%s: collective writes of HDF5 are known to hang with it on many "
                   "ranks; romio321 is safer",
                   io);
    if (getenv("SLURM_STEP_ID") && getenv("PMIX_RANK") && !getenv("OMPI_COMM_WORLD_SIZE"))
        doctor_say(r, VERDICT_WARN, "launcher",
                   "srun ends the step when one rank is lost; start the run with "
                   "mpirun --enable-recovery");
    else
        doctor_say(r, VERDICT_OK, "launcher", "%s", ranks > 1 ? "mpirun" : "none, or one rank");
}

static void libraries(report *r)
{
    const char *isa = sq_nn_version();
    int slow = !strstr(isa, "avx2") && !strstr(isa, "avx512") && !strstr(isa, "sve");
    doctor_say(r, sq_hdf5_matches() ? VERDICT_OK : VERDICT_FAIL, "hdf5", "%s, parallel%s",
               sq_hdf5_version(),
               sq_hdf5_matches() ? "" : ": not the version that the program was built with");
    doctor_say(r, slow ? VERDICT_WARN : VERDICT_OK, "isa", "%s, bf16 %s%s", isa,
               sq_nn_has_bf16() ? "native" : "not native: networks run in fp32",
               slow ? "; no AVX2: several times slower than a current node" : "");
    doctor_say(r, VERDICT_OK, "fftw", "%s", sq_fft_version());
}

static void compare_ranks(report *r, const rank_facts *facts, int ranks)
{
    for (int i = 1; i < ranks; i++) {
        const char *what = strcmp(facts[i].isa, facts[0].isa)     ? "instruction set"
                           : strcmp(facts[i].hdf5, facts[0].hdf5) ? "HDF5"
                           : strcmp(facts[i].fftw, facts[0].fftw) ? "FFTW"
                                                                  : NULL;
        if (!what)
            continue;
        doctor_say(r, VERDICT_FAIL, "same-ranks",
                   "rank %d on %s has another %s than rank 0 on %s: cap ONEDNN_MAX_CPU_ISA to a "
                   "common one, or ask for one kind of node",
                   i, facts[i].host, what, facts[0].host);
        return;
    }
    doctor_say(r, VERDICT_OK, "same-ranks", "%s", ranks > 1 ? "all alike" : "one rank");
}

static int examine(report *r, const char *folder, const char *io, const rank_facts *facts,
                   int ranks)
{
    int here = 0;
    for (int i = 0; i < ranks; i++)
        here += strcmp(facts[i].host, facts[0].host) == 0;
    message_passing(r, io, facts, ranks);
    libraries(r);
    compare_ranks(r, facts, ranks);
    doctor_node(r, here);
    doctor_storage(r, folder);
    if (r->json)
        printf("\n]\n");
    else
        printf("\n%d ok, %d warn, %d fail\n", r->count[0], r->count[1], r->count[2]);
    return r->count[VERDICT_FAIL] ? 4 : 0;
}

static sq_status parse(int argc, char **argv, const char **folder, int *json)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            *json = 1;
        } else if (strcmp(argv[i], "--output") == 0 && i + 1 < argc) {
            *folder = argv[++i];
        } else {
            return strcmp(argv[i], "--output") == 0
                       ? sq_fail(SQ_ERR_USAGE, "--output needs a folder")
                       : sq_fail(SQ_ERR_USAGE,
                                 "'%s' is not an option; see 'skyquilt doctor --help'", argv[i]);
        }
    }
    return SQ_OK;
}

int sq_cli_doctor(int argc, char **argv)
{
    sq_status rc = SQ_OK;
    const char *folder = ".", *io = getenv("OMPI_MCA_io");
    report r = {0};
    rank_facts mine = {0}, *all = NULL;
    int code = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            help();
            return 0;
        }
    }
    SQ_TRY(parse(argc, argv, &folder, &r.json));
    SQ_TRY(sq_comm_init(&argc, &argv));
    const sq_comm *world = sq_comm_world();
    int ranks = sq_comm_size(world);
    snprintf(mine.host, sizeof mine.host, "%s", sq_comm_host());
    snprintf(mine.isa, sizeof mine.isa, "%s", sq_nn_version());
    snprintf(mine.hdf5, sizeof mine.hdf5, "%s", sq_hdf5_version());
    snprintf(mine.fftw, sizeof mine.fftw, "%s", sq_fft_version());
    SQ_TRY(sq_comm_agree(world, SQ_ALLOC(all, ranks, "ranks")));
    SQ_TRY(sq_comm_all_gather(world, &mine, sizeof mine, all));
    if (sq_comm_rank(world) == 0)
        code = examine(&r, folder, io, all, ranks);
    SQ_TRY(sq_comm_broadcast(world, 0, &code, sizeof code));
cleanup:
    sq_free(all);
    if (rc != SQ_OK)
        code = sq_cli_fail("doctor", rc);
    if (sq_comm_running())
        sq_comm_finalize();
    return code;
}
