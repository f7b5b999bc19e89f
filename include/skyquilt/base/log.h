/* One line per event on standard error. Rank and level are shown; the default level is info on rank 0
 * and warning elsewhere. Thread-safe. Local. */
#ifndef SQ_BASE_LOG_H
#define SQ_BASE_LOG_H

#include "base/status.h"

typedef enum sq_log_level { SQ_LOG_ERROR, SQ_LOG_WARNING, SQ_LOG_INFO, SQ_LOG_DEBUG } sq_log_level;

void sq_log_setup(int rank, sq_log_level level);
/* Everything also goes to this file, whatever its level; appended. Not thread-safe. */
sq_status sq_log_open(const char *path);
void sq_log(sq_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define sq_info(...) sq_log(SQ_LOG_INFO, __VA_ARGS__)
#define sq_warn(...) sq_log(SQ_LOG_WARNING, __VA_ARGS__)
#define sq_debug(...) sq_log(SQ_LOG_DEBUG, __VA_ARGS__)

#endif
