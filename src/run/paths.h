/* Names within an output folder. Local. */
#ifndef SQ_RUN_PATHS_H
#define SQ_RUN_PATHS_H

#include "base/hash.h"
#include "base/status.h"
#include "fits/tile.h"

#define SQ_RUN_SHARDS "shards"
#define SQ_RUN_LEDGER "ledger"
#define SQ_RUN_RELEASE "release.h5"
#define SQ_RUN_TILES "tiles.h5"
#define SQ_RUN_BAD_TILES "tiles.bad"
#define SQ_RUN_CONFIG "run.yaml"
#define SQ_RUN_VERDICT "exit.json"
#define SQ_RUN_PART "part-%d-of-%d"

sq_status sq_run_path(const char *folder, const char *name, char out[SQ_PATH_MAX]);
sq_status sq_run_phase_path(const char *folder, int phase, char out[SQ_PATH_MAX]);
/* Make a folder and its parents. */
sq_status sq_run_make_folder(const char *path);
/* Write a small file so that it is complete under its name: temporary name, fsync, rename, fsync of
 * the folder. */
sq_status sq_run_write_file(const char *folder, const char *name, const char *text);
/* The same for lines of YAML, closed by a comment with their XXH3; and is such a file as it was
 * written? SQ_ERR_CORRUPT when it is not. */
sq_status sq_run_write_sealed(const char *folder, const char *name, const char *text);
sq_status sq_run_check_sealed(const char *path);
/* The same for a file that stands complete under `from`. */
sq_status sq_run_settle_file(const char *folder, const char *from, const char *to);

/* fsync of a folder: names made in it stay. */
sq_status sq_run_sync_folder(const char *folder);

#endif
