/* A cell coadd's tree with bytes changed at arbitrary places (three bytes an edit: where, twice,
 * and what), and arbitrary bytes as a tree. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "fits/cell_tree.h"

static const char whole[] =
    "{\"min_read_version\":1,\"image\":{\"data\":{\"value\":{\"source\":\"fits:IMAGE\",\"shape\":"
    "[12,12]},\"unit\":\"nJy\"},\"yx0\":[48,36]},\"mask\":{\"data\":[{\"source\":\"fits:MASK,2\","
    "\"shape\":[12,12]}]},\"variance\":{\"data\":{\"value\":{\"source\":\"fits:VARIANCE\","
    "\"shape\":"
    "[12,12]}}},\"sky_projection\":{\"pixel_to_sky\":{\"frames\":[{\"tract\":9813},\"ICRS\"]}},"
    "\"band\":\"r\",\"psf\":{\"array\":{\"source\":\"fits:PSF\",\"shape\":[2,2,5,5]},\"bounds\":{"
    "\"grid\":{\"bbox\":{\"y\":{\"start\":0,\"stop\":132},\"x\":{\"start\":0,\"stop\":132}},"
    "\"cell_shape\":[6,6]},\"bbox\":{\"y\":{\"start\":48,\"stop\":60},\"x\":{\"start\":36,\"stop\":"
    "48"
    "}},\"missing\":[{\"i\":8,\"j\":6}]}},\"patch\":{\"id\":43},\"backgrounds\":{\"fields\":{\"b\":"
    "{"
    "\"bounds\":{\"y\":{\"start\":48,\"stop\":60},\"x\":{\"start\":36,\"stop\":48}},"
    "\"coefficients\":"
    "{\"data\":[[1.5,2],[Infinity,NaN]]},\"field_type\":\"CHEBYSHEV\"}},\"subtracted\":\"b\"}}";

static void use(const char *text, size_t size)
{
    sq_cell_tree tree;
    float row[16];
    if (sq_cell_tree_parse(text, size, "fuzz", &tree) != SQ_OK)
        return;
    for (int64_t k = 0, n = tree.cells_x * tree.cells_y; k < n; k++)
        tree.missing[k] = (uint8_t)!tree.missing[k];
    sq_cell_sky_row(&tree, tree.ny - 1, 0, tree.nx < 16 ? (int)tree.nx : 16, row);
    sq_cell_tree_clear(&tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[sizeof whole];
    memcpy(text, whole, sizeof whole);
    for (size_t k = 0; k + 2 < size; k += 3)
        text[(data[k] << 8 | data[k + 1]) % (sizeof whole - 1)] = (char)data[k + 2];
    use(text, sizeof whole - 1);
    use((const char *)data, size);
    return 0;
}
