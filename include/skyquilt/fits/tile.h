/* A tile of a survey: the files of all its bands, their identity, and reading of patches from it.
 *
 * sq_tile is plain data that the tile index stores; sq_exposure is an open tile. Sections only are
 * read from uncompressed and tile-compressed images; .bz2 and .gz files are read whole, up to a
 * cap. An exposure is used by one thread at a time; different exposures may be used by different
 * threads. Local. */
#ifndef SQ_FITS_TILE_H
#define SQ_FITS_TILE_H

#include <stdint.h>

#include "base/status.h"
#include "fits/cutout.h"
#include "sky/wcs.h"

typedef enum sq_tile_format {
    SQ_TILE_SDSS_FRAME = 1, /* frame-*.fits[.bz2] with psField, photoField, fpM */
    SQ_TILE_SDSS_FPC,       /* fpC with tsField, psField, fpM */
    SQ_TILE_LSST_EXPOSURE,  /* afw Exposure layout; PSF images from a side file */
    SQ_TILE_CELL_COADD      /* lsst.images CellCoadd: a PSF image a cell in the file itself */
} sq_tile_format;

enum { SQ_PATH_MAX = 1024, SQ_NAME_MAX = 64 };

typedef struct sq_file_identity {
    char *path; /* owned; NULL: there is no such file */
    int64_t size;
    double mtime;      /* seconds since 1970 */
    char checksum[24]; /* CHECKSUM card of the image HDU, "" without */
    char datasum[24];
} sq_file_identity;

typedef struct sq_tile_band {
    char name[8];
    sq_file_identity image;
    sq_file_identity mask; /* fpM; none when the mask is in the image file or missing */
    int64_t nx, ny;
    char *wcs_header; /* 80-character cards, owned */
} sq_tile_band;

typedef struct sq_tile {
    char name[SQ_NAME_MAX]; /* "000094-1-0012", "9813/42", ... unique in the index */
    sq_tile_format format;
    int nband;
    int reference; /* number of the band whose grid the tile's patches use */
    sq_tile_band band[SQ_MAX_BANDS];
    sq_file_identity psf;         /* psField or PSF side file */
    sq_file_identity calibration; /* photoField or tsField */
    double corner_ra[4],
        corner_dec[4]; /* of the reference band's grid, counter-clockwise in pixels */
} sq_tile;

void sq_tile_clear(sq_tile *tile); /* frees what it owns; leaves zeros */
sq_status sq_tile_copy(const sq_tile *tile, sq_tile *out);
/* Are all files still as they were recorded (size, mtime)? SQ_ERR_CHANGED otherwise; nothing is
 * opened. */
sq_status sq_tile_check(const sq_tile *tile);

/* Names by which files are known (each also with .gz, .bz2 or .fz behind, `.fit` or `.fits`):
 *   SDSS  frame-B-RRRRRR-C-FFFF, psField-RRRRRR-C-FFFF, photoField-RRRRRR-C, fpM-RRRRRR-BC-FFFF;
 *         fpC-RRRRRR-BC-FFFF, tsField-RRRRRR-C-RERUN-FFFF; the tile is RRRRRR-C-FFFF, over all
 * folders LSST  NAME-B, NAME_B or calexp-B-NAME, with NAME-psf (sq_write_psf_grid) in the same
 * folder; B is one of ugrizy. A cell coadd is known by its header (DATAMODL): it has these names
 * without a PSF side file, or any other name; its tree then says the band and the tile, TRACT-PATCH,
 * whose bands lie in one folder or in folders B beside each other. psField and fpM files are shared by a field's frames and fpC images.
 * fpM and photoField may be missing: psField has gains too. A psField, tsField or PSF side file
 * that is missing makes the tile a problem.
 *
 * Group files found under `paths` (files and folders, recursively; names as the surveys use) into
 * tiles, reading headers only, each header once and in one call. `reference` is a band name, "r" by
 * default. Problems of a single tile go to `problem` (may be NULL), one line each, and the tile is
 * left out. */
typedef void (*sq_tile_problem)(void *user, const char *name, sq_status code, const char *message);
sq_status sq_tile_scan(const char *const *paths, int count, const char *reference,
                       sq_tile_problem problem, void *user, sq_tile **out, int64_t *ntile);
/* The work of sq_tile_scan in two halves, for a parallel index: list names (cheap), then read
 * headers of some. Tiles come in the order of their names. */
sq_status sq_tile_group(const char *const *paths, int count, const char *reference, sq_tile **out,
                        int64_t *ntile);
sq_status sq_tile_headers(sq_tile *tile);

typedef struct sq_exposure sq_exposure;

/* Opens the files and checks them against the tile's recorded identity (SQ_ERR_CHANGED). `bands`:
 * the wanted band names in the order of the cutout's planes; a band that the tile lacks is an error
 * unless allow_missing. */
sq_status sq_exposure_open(const sq_tile *tile, const char *const *bands, int nband,
                           int allow_missing, sq_exposure **out);
const sq_wcs *sq_exposure_wcs(const sq_exposure *exposure); /* of the reference band */
void sq_exposure_shape(const sq_exposure *exposure, int64_t *nx, int64_t *ny);
/* Fill a cutout of the reference grid with origin (x0, y0). Parts outside the tile are masked
 * OUTSIDE. The cutout's nband, nx, ny say what is wanted. */
sq_status sq_exposure_read(sq_exposure *exposure, int64_t x0, int64_t y0, sq_cutout *cutout);
/* Are the images that are read from still what was indexed (SQ_ERR_CHANGED)? After a read that says
 * that what was read is good. */
sq_status sq_exposure_check(const sq_exposure *exposure);
void sq_exposure_close(sq_exposure *exposure);

#endif
