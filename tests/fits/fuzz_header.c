/* Arbitrary bytes as a FITS file: header walk, cards, coordinates, the afw planes, a PSF side
 * file's cards, a section. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "fits/band.h"
#include "fits/cards.h"
#include "fits/input.h"

static void look_at_hdu(sq_input *in)
{
    char *header = NULL, text[64];
    int64_t nx, ny, value;
    double number;
    sq_wcs *wcs = NULL;
    if (sq_input_header(in, &header) != SQ_OK)
        return;
    sq_cards_text(header, "FILTER", text, sizeof text);
    sq_cards_real(header, "EXPTIME", &number);
    sq_afw_unit(header, "fuzz", &number);
    for (size_t at = 0; sq_cards_next(header, "MP_", &at, text, sizeof text, &value);) {
    }
    if (sq_wcs_from_header(header, "fuzz", &wcs) == SQ_OK) {
        char *cards = NULL;
        double x = 3, y = 4, ra, dec;
        sq_wcs_pix2sky(wcs, 1, &x, &y, &ra, &dec);
        if (sq_wcs_to_header(wcs, &cards) == SQ_OK)
            sq_free(cards);
        sq_wcs_destroy(wcs);
    }
    sq_free(header);
    if (sq_input_image_size(in, &nx, &ny) == SQ_OK) {
        static float pixels[8 * 8];
        int w = nx < 8 ? (int)nx : 8, h = ny < 8 ? (int)ny : 8;
        sq_input_read_float(in, 0, 0, w, h, pixels);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sq_input *in = NULL;
    int hdu;
    if (size > 1 << 18 || sq_input_memory("fuzz", data, size, &in) != SQ_OK)
        return 0;
    for (int k = 0; k < 8 && sq_input_goto(in, k) == SQ_OK; k++)
        look_at_hdu(in);
    sq_afw_find(in, "IMAGE", &hdu);
    sq_input_close(in);
    return 0;
}
