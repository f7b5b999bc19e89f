/* The parts of `doctor`: a report of findings, and the checks that fill it. Local. */
#ifndef SQ_CLI_DOCTOR_INTERNAL_H
#define SQ_CLI_DOCTOR_INTERNAL_H

#include <stdint.h>

typedef enum verdict { VERDICT_OK, VERDICT_WARN, VERDICT_FAIL } verdict;

typedef struct report {
    int json, count[3];
} report;

/* One finding: a line, or an element of the JSON array. */
void doctor_say(report *r, verdict v, const char *check, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Type, free space and fsync time of the output folder, and whether HDF5 can make a file there. */
void doctor_storage(report *r, const char *folder);
/* Shared memory, memory, threads and limits for `ranks` ranks on this host. */
void doctor_node(report *r, int ranks);

#endif
