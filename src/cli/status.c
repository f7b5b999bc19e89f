#include <getopt.h>
#include <stdio.h>

#include "cli/commands.h"
#include "run/run.h"

static void help(void)
{
    printf("NAME\n"
           "    skyquilt status - progress of a run, from its ledger\n\n"
           "SYNOPSIS\n"
           "    skyquilt status [--json] DIR\n"
           "    skyquilt status --exit-code DIR\n\n"
           "DESCRIPTION\n"
           "    Reads the ledger of an output folder, without disturbing a run that goes on, and "
           "prints\n"
           "    what is done. With --exit-code it prints one line and exits with the verdict that "
           "rank 0\n"
           "    left in DIR/exit.json: what job scripts ask, because a launcher's own exit code "
           "does not\n"
           "    tell when ranks were lost.\n\n"
           "OPTIONS\n"
           "    --exit-code       exit with the verdict of the last execution; 3 when it left none "
           "(it goes\n"
           "                      on, or crashed: running again resumes)\n"
           "    --json            print JSON\n\n"
           "EXIT CODES\n"
           "    0  printed; with --exit-code: complete\n"
           "    1  usage error, or DIR is not an output folder\n"
           "    2  with --exit-code: complete, with failed patches\n"
           "    3  with --exit-code: stopped, running or crashed\n"
           "    4  storage error, or a damaged ledger\n");
}

static const char *phase_of_life(const sq_run_state *s)
{
    if (s->has_verdict)
        return s->exit_code == 0   ? "complete"
               : s->exit_code == 2 ? "complete with failures"
               : s->exit_code == 3 ? "stopped"
                                   : "ended with an error";
    return s->running ? "running, or crashed" : "not finished";
}

static void print_text(const char *folder, const sq_run_state *s)
{
    uint64_t settled = s->done + s->failed + s->quarantined;
    printf("%s: %s\n", folder, phase_of_life(s));
    if (s->reason[0])
        printf("    reason      %s\n", s->reason);
    printf("    tasks       %llu of %llu (%.1f%%)\n    done        %llu (%llu taken over)\n"
           "    failed      %llu\n"
           "    quarantined %llu\n    retries     %llu\n    deaths      %llu\n"
           "    executions  %llu (the last with %u ranks)\n    release     %s\n",
           (unsigned long long)settled, (unsigned long long)s->total,
           s->total ? 100.0 * (double)settled / (double)s->total : 0.0, (unsigned long long)s->done,
           (unsigned long long)s->taken, (unsigned long long)s->failed,
           (unsigned long long)s->quarantined, (unsigned long long)s->retries,
           (unsigned long long)s->deaths,
           (unsigned long long)s->executions, s->ranks, s->reduced ? "made" : "not made yet");
}

static void print_json(const sq_run_state *s)
{
    printf(
        "{\"state\": \"%s\", \"total\": %llu, \"done\": %llu, \"taken_over\": %llu, "
        "\"failed\": %llu, \"quarantined\": "
        "%llu, \"retries\": %llu, \"deaths\": %llu, \"executions\": %llu, \"ranks\": %u, "
        "\"reduced\": %s, \"exit_code\": ",
        phase_of_life(s), (unsigned long long)s->total, (unsigned long long)s->done,
        (unsigned long long)s->taken, (unsigned long long)s->failed,
        (unsigned long long)s->quarantined,
        (unsigned long long)s->retries, (unsigned long long)s->deaths,
        (unsigned long long)s->executions, s->ranks, s->reduced ? "true" : "false");
    if (s->has_verdict)
        printf("%d}\n", s->exit_code);
    else
        printf("null}\n");
}

int sq_cli_status(int argc, char **argv)
{
    static const struct option known[] = {{"exit-code", no_argument, NULL, 'e'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    sq_run_state state;
    int option, by_code = 0, json = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (option) {
        case 'e':
            by_code = 1;
            break;
        case 'j':
            json = 1;
            break;
        case 'h':
            help();
            return 0;
        default:
            return 1;
        }
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "skyquilt status: give one output folder; see 'skyquilt status --help'\n");
        return 1;
    }
    sq_status rc = sq_run_inspect(argv[optind], &state);
    if (rc != SQ_OK && !(by_code && state.has_verdict))
        return sq_cli_fail("status", rc);
    if (json)
        print_json(&state);
    else if (!by_code)
        print_text(argv[optind], &state);
    else
        printf("%s: %s%s%s\n", argv[optind], phase_of_life(&state), state.reason[0] ? ": " : "",
               state.reason);
    if (!by_code)
        return 0;
    return state.has_verdict ? state.exit_code : 3;
}
