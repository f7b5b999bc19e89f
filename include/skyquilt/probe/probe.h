/* The interface that every probe implements, and the register of probes.
 *
 * A probe turns patches into products. Its work is a list of phases with a barrier between them: in
 * a phase every (patch, realisation) is a task; when all its tasks are committed, rank 0 may
 * condense their products into a phase file, which every task of later phases can read. A product
 * is rows of tables, blocks of maps, or both.
 *
 * What a task yields may depend on the configuration, the input, the models, the phase files and
 * the task itself, never on rank, order, attempt, time or other tasks: random numbers are keyed by
 * (seed, phase, patch, realisation). Over tiles nothing may depend on the numbers of patches and
 * tiles, which change with the selection: later runs take products over under other numbers.
 *
 * Threads: on a rank one thread calls `read` and `close` for the next tasks while another calls
 * `process` and `release` for the present one; `read` may only use what `create`, `load_phase` and
 * `open` left unchanged in the instance. All other functions are called while neither runs. Local:
 * a probe does not communicate. */
#ifndef SQ_PROBE_PROBE_H
#define SQ_PROBE_PROBE_H

#include <stdint.h>

#include "base/config.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/status.h"
#include "fits/tile.h"
#include "nn/model.h"
#include "sky/owner.h"
#include "sky/patch.h"
#include "store/table.h"

enum {
    SQ_MAX_PHASES = 16,
    SQ_MAX_MODELS = 8,
    SQ_MAX_PROBES = 16,
    SQ_MAX_TABLES = 8,
    SQ_MAX_MAPS = 8
};

/* One unit of work. */
typedef struct sq_task {
    int phase;
    uint64_t
        patch; /* number in the phase's survey: base of the tile + index in the tile's tiling */
    uint32_t realisation; /* 0 .. realisations - 1 of the phase */
    uint32_t attempt;     /* 1, 2, ...: for records only, results must not depend on it */
} sq_task;

/* What a run gives to a probe when it makes an instance. Pointers are valid as long as the
 * instance. */
typedef struct sq_probe_setup {
    const char *const
        *bands; /* wanted bands in the order of the cutout's planes; none: the probe's own choice */
    int nband;
    const char *reference; /* band whose grid the patches use, "" when not given */
    const char *model;     /* path of the network, resolved already; "" when not given */
    sq_precision precision;
    int core, halo;   /* overrides of the patch shape in pixels, -1: the probe's own */
    double threshold; /* detection probability from which rows are written */
    uint64_t seed;
    const char *folder; /* of the run configuration: relative paths start here */
    int root; /* 1 on one rank of a job: the one that checks what all would read alike */
    sq_files *files; /* through which `create` reads whole files; gone when it has returned */
} sq_probe_setup;

/* A file whose content decides results: it is hashed into the configuration. */
typedef struct sq_probe_model {
    char path[SQ_PATH_MAX];
    sq_hash hash;
} sq_probe_model;

typedef enum sq_footprint_kind {
    SQ_FOOTPRINT_TILES, /* the tiles of an index, bricks on each tile's reference grid */
    SQ_FOOTPRINT_GRID,  /* one flat map of nx by ny pixels, bricks */
    SQ_FOOTPRINT_SPHERE /* ring cells over the whole sphere */
} sq_footprint_kind;

typedef struct sq_probe_phase {
    char name[SQ_NAME_MAX];
    sq_patch_shape shape;
    uint32_t realisations; /* >= 1 */
    int has_file;          /* finish_phase writes a phase file that later phases load */
} sq_probe_phase;

/* Filled by `describe`; fixed for the life of an instance. */
typedef struct sq_probe_description {
    sq_footprint_kind footprint;
    int64_t nx, ny; /* GRID */
    double scale;   /* SPHERE: arcmin per pixel */
    int nphase;
    sq_probe_phase phase[SQ_MAX_PHASES];
    int nband; /* TILES: bands that are read, in the order of the cutout's planes */
    char band[SQ_MAX_BANDS][8];
    int allow_missing; /* a tile may lack bands other than its reference */
    sq_hash inputs; /* identity of maps that tasks read by sections; zeros without */
    int nmodel;
    sq_probe_model model[SQ_MAX_MODELS];
    int ntable;
    const sq_schema *table[SQ_MAX_TABLES]; /* of the release; owned by the instance or static */
    int nmap;
    const sq_map_schema *map[SQ_MAX_MAPS];
    uint64_t memory; /* bytes that one worker needs beside the program itself, estimated */
} sq_probe_description;

/* Where a task lies. `source` is what `open` returned for the tile. */
typedef struct sq_place {
    sq_patch patch;
    const sq_tiling *tiling;
    uint32_t tile;         /* number in the index; 0 for maps */
    const sq_tile *info;   /* NULL for maps */
    sq_exposure *exposure; /* TILES: open, used by the reading thread only */
    const sq_wcs *wcs; /* TILES: of the reference grid; usable from both threads. NULL for maps */
    const sq_owner *owner; /* TILES: sky ownership over the index */
} sq_place;

/* Seconds that a probe accounts for within `process`. */
typedef enum sq_probe_clock {
    SQ_CLOCK_INFER,
    SQ_CLOCK_DECODE,
    SQ_CLOCK_FFT,
    SQ_CLOCK_COUNT
} sq_probe_clock;

/* The product of one task, filled by `process`. */
typedef struct sq_product sq_product;

/* Append n rows to table `table`; column[i] points to n values of the schema's column i. */
sq_status sq_product_rows(sq_product *product, int table, int64_t n, const void *const *column);
/* A block of map `map` with origin (x0, y0): all planes, row-major [plane][ny][nx], in the map's
 * type. Blocks of one map may overlap; they are stitched in the order of (phase, patch,
 * realisation). */
sq_status sq_product_block(sq_product *product, int map, int64_t x0, int64_t y0, int64_t nx,
                           int64_t ny, const void *data);
void sq_product_clock(sq_product *product, sq_probe_clock clock, double seconds);

/* The committed products of a phase in the order (patch, realisation), for finish_phase. */
typedef struct sq_phase_products sq_phase_products;
typedef struct sq_product_view {
    sq_task task;
    int ntable;
    int64_t rows[SQ_MAX_TABLES];
    /* value[t][c]: rows[t] values of column c of table t; NULL without rows. Valid until the next
     * call. */
    const void *const *value[SQ_MAX_TABLES];
    int nblock;
    const sq_block *block;
} sq_product_view;
/* *more = 0 at the end. Failed and quarantined tasks have no product and do not appear. */
sq_status sq_phase_products_next(sq_phase_products *products, sq_product_view *view, int *more);

typedef struct sq_probe_class {
    const char *name, *summary;
    /* The probe's own group in the run configuration (key = name): may be NULL. */
    const sq_config_field *fields;
    size_t config_size;
    void (*defaults)(void *config); /* may be NULL: zeros */

    /* Cheap: every rank makes one. Checks the configuration; reads networks, wisdom and other whole
     * files, by setup->files alone: rank 0 opens them and the other ranks get its bytes. `config`
     * outlives the instance. */
    sq_status (*create)(const void *config, const sq_probe_setup *setup, void **self);
    sq_status (*describe)(void *self, sq_probe_description *out);
    /* Once on a rank that computes, before its first task: compile networks, allocate. May be
     * NULL. */
    sq_status (*start)(void *self);
    /* Take over the file of a finished phase, before the first task of a later one. May be NULL
     * without such files. */
    sq_status (*load_phase)(void *self, int phase, const char *path);
    /* Reading thread: the task's input. Also the hash of what was read. */
    sq_status (*read)(void *self, const sq_task *task, const sq_place *place, void **input,
                      sq_hash *input_hash);
    sq_status (*process)(void *self, const sq_task *task, const sq_place *place, void *input,
                         sq_product *product);
    void (*release)(void *self, void *input);
    /* Rank 0, at the barrier: write the phase file to `path`. The run flushes and renames it. May
     * be NULL. */
    sq_status (*finish_phase)(void *self, int phase, sq_phase_products *products, const char *path);
    void (*destroy)(void *self);
} sq_probe_class;

/* The register. Classes are static; registering a name twice is SQ_ERR_USAGE. Not thread-safe:
 * called at start-up. */
sq_status sq_probe_register(const sq_probe_class *cls);
int sq_probe_count(void);
const sq_probe_class *sq_probe_at(int i);
const sq_probe_class *sq_probe_find(const char *name); /* NULL when unknown */

#endif
