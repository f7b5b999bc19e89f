#include "cli/plan_base.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/job.h"

sq_status sq_cli_plan_base(const sq_survey *survey, const char *release, sq_base_count *count)
{
    char path[SQ_PATH_MAX];
    sq_status rc = sq_cli_temporary("skyquilt-base", sizeof path, path);
    if (rc != SQ_OK)
        return rc;
    rc = sq_base_make(survey, release, path, count);
    if (rc == SQ_OK)
        rc = sq_base_check_inputs(survey, release, path, count);
    unlink(path);
    return rc;
}

/* "3 input, 2 new"; nothing for what is taken over. */
static void print_reasons(const sq_base_count *count, int64_t tile)
{
    const char *separator = "";
    for (int r = 0; r < SQ_BASE_REASONS; r++) {
        uint64_t n = tile < 0 ? count->total[r] : count->tile[r][tile];
        if (r == SQ_BASE_SAME || !n)
            continue;
        printf("%s%llu %s", separator, (unsigned long long)n, sq_base_reason_name[r]);
        separator = ", ";
    }
    printf("\n");
}

static uint64_t redone(const sq_base_count *count, int64_t tile)
{
    uint64_t n = 0;
    for (int r = 0; r < SQ_BASE_REASONS; r++) {
        if (r != SQ_BASE_SAME)
            n += tile < 0 ? count->total[r] : count->tile[r][tile];
    }
    return n;
}

void sq_cli_plan_base_text(const sq_survey *survey, const sq_base_count *count, int verbose)
{
    printf("    taken over      %llu\n    redone          %llu",
           (unsigned long long)count->total[SQ_BASE_SAME], (unsigned long long)redone(count, -1));
    if (!redone(count, -1)) {
        printf("\n");
        return;
    }
    printf(": ");
    print_reasons(count, -1);
    for (int64_t t = 0; verbose && t < survey->ntile; t++) {
        if (!redone(count, t))
            continue;
        printf("        %-15s ", sq_tile_list_name(survey->tiles, t));
        print_reasons(count, t);
    }
}

void sq_cli_plan_base_json(const sq_base_count *count)
{
    for (int r = 0; r < SQ_BASE_REASONS; r++)
        printf("%s\"%s\": %llu", r ? ", " : "{", sq_base_reason_name[r],
               (unsigned long long)count->total[r]);
    printf("}");
}
