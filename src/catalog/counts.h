/* Expected numbers of sources of a patch's core, cell by cell of the network, summed over the
 * HEALPix pixels (RING) of a given nside that hold the cells' centres. Cells that another tile owns
 * or that have no usable pixel are left out, so that the rows of a survey add up. Local. */
#ifndef SQ_CATALOG_COUNTS_H
#define SQ_CATALOG_COUNTS_H

#include "catalog/decode.h"
#include "catalog/rows.h"

typedef struct sq_catalog_counter sq_catalog_counter;

sq_status sq_catalog_counter_create(const sq_catalog_net *net, int64_t nside, int core, int halo,
                                    sq_catalog_counter **out);
/* Add a row to `rows` for every pixel that the patch meets. */
sq_status sq_catalog_count(sq_catalog_counter *counter, const sq_place *place,
                           const sq_decoder *decoder, const sq_inputs *inputs,
                           sq_catalog_rows *rows);
void sq_catalog_counter_destroy(sq_catalog_counter *counter);

#endif
