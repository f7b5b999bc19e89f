/* From the heads of a catalog network to sources with posteriors.
 *
 * The network says for every tile of T pixels how many sources it has (0, 1, 2 or more) and
 * describes up to two of them, the brighter in the reference band first. Tiles are decoded in four
 * colours of a 2 x 2 checkerboard, (row, column) = (0,0), (0,1), (1,0), (1,1); what one colour
 * yields is context for the next. The layout of the channels is in tools/train/catalog_net.py and
 * follows from the bands; everything else is in the model's metadata.
 *
 * Posteriors: position normal in x, y; ln flux of all bands jointly normal; ln half-light radius,
 * e1, e2 and logit of the bulge fraction normal each; star or galaxy Bernoulli. A calibration in
 * the metadata scales widths by the tile's S/N and maps detection probabilities; widths before it
 * are kept. Deterministic. Local, one thread a decoder. */
#ifndef SQ_CATALOG_DECODE_H
#define SQ_CATALOG_DECODE_H

#include <stdint.h>

#include "base/rng.h"
#include "base/status.h"
#include "catalog/inputs.h"
#include "nn/model.h"

enum { SQ_CATALOG_COLOURS = 4, SQ_CATALOG_SLOTS = 2, SQ_CATALOG_SHAPES = 4, SQ_CATALOG_KNOTS = 16 };

/* Factors on posterior widths at `knots` values of ln S/N, linear between, constant outside. knots
 * 0: none. */
typedef struct sq_catalog_calibration {
    char name[64];
    int knots;
    double ln_snr[SQ_CATALOG_KNOTS];
    double position[SQ_CATALOG_KNOTS];
    double flux[SQ_MAX_BANDS][SQ_CATALOG_KNOTS];
    double offset[SQ_MAX_BANDS][SQ_CATALOG_KNOTS]; /* added to the mean ln flux */
    double shape[SQ_CATALOG_SHAPES][SQ_CATALOG_KNOTS];
    double probability[2]; /* logit p -> [0] + [1] logit p */
} sq_catalog_calibration;

/* What the metadata of a model say. */
typedef struct sq_catalog_net {
    char name[64], version[16];
    int nband, reference;
    char band[SQ_MAX_BANDS][8];
    int tile, multiple;      /* T; sides of patches are multiples of this */
    int context, slot, head; /* channels: of a context input, of one source, of a head */
    int core, halo;          /* default patch, pixels */
    double limit;            /* faintest reference magnitude of a source in training */
    double scale;            /* arcsec per pixel in training */
    sq_catalog_calibration calibration;
} sq_catalog_net;

/* SQ_ERR_CONFIG, with the model's name, for a model that is no catalog network or whose shapes and
 * metadata differ. */
sq_status sq_catalog_net_read(const sq_model *model, const char *path, sq_catalog_net *out);

typedef struct sq_catalog_source {
    double x, y;                         /* pixels of the patch */
    double xx, xy, yy;                   /* covariance, pixels^2 */
    double probability, raw_probability; /* of existing, calibrated and not */
    double expected;   /* expected number of sources in the tile, 2 or more as 2 */
    double neighbours; /* expected number of others in the tile and the eight around it */
    double star;       /* probability */
    double ln_flux[SQ_MAX_BANDS];                  /* nJy */
    double covariance[SQ_MAX_BANDS][SQ_MAX_BANDS]; /* of ln flux */
    double raw_sigma[SQ_MAX_BANDS];                /* of ln flux before calibration */
    double shape[SQ_CATALOG_SHAPES]; /* ln radius / arcsec, e1, e2, logit bulge fraction */
    double shape_sigma[SQ_CATALOG_SHAPES];
    double snr;            /* of the matched filter at the tile's peak, all bands */
    int row, column, slot; /* tile and place in it */
} sq_catalog_source;

typedef struct sq_decoder sq_decoder;

sq_status sq_decoder_create(const sq_catalog_net *net, int tiles, sq_decoder **out);
void sq_decoder_begin(sq_decoder *decoder);
/* Decode the tiles of one colour from its head [head][M/2][M/2]; colours in order, each once. */
void sq_decoder_colour(sq_decoder *decoder, int colour, const float *head, const sq_inputs *inputs);
/* The context of the next colour [context][M][M]; valid until the next colour is decoded. */
const float *sq_decoder_context(const sq_decoder *decoder);
/* One joint draw of a colour, after sq_decoder_colour of the same head: the sources drawn (`star` 0
 * or 1, x, y, ln_flux and shape drawn, the rest of the posterior) join the list, and are the
 * context of the next colours instead of the likeliest ones. */
sq_status sq_decoder_draw(sq_decoder *decoder, int colour, const float *head,
                          const sq_inputs *inputs, sq_rng *rng);
/* What was drawn since sq_decoder_begin. Owned by the decoder. */
void sq_decoder_drawn(const sq_decoder *decoder, const sq_catalog_source **source, int64_t *count);
/* Sources with at least `threshold` of probability in tiles with usable pixels, by row, column,
 * slot. Owned by the decoder. */
sq_status sq_decoder_collect(sq_decoder *decoder, double threshold,
                             const sq_catalog_source **source, int64_t *count);
/* Mean and variance of the number of sources in a tile, 2 or more as 2, calibrated. */
void sq_decoder_expected(const sq_decoder *decoder, int row, int column, double *mean,
                         double *variance);
void sq_decoder_destroy(sq_decoder *decoder);

#endif
