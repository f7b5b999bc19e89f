/* The machinery's side of products: made for a task, filled by a probe, packed for a shard; and the
 * committed products of a phase read back for its barrier. Local. */
#ifndef SQ_PROBE_PRODUCT_H
#define SQ_PROBE_PRODUCT_H

#include <stddef.h>

#include "probe/probe.h"
#include "store/shard.h"

/* The description is borrowed. */
sq_status sq_product_create(const sq_probe_description *description, sq_product **out);
/* Empty it for the next task; keeps memory. */
void sq_product_reset(sq_product *product);
/* The payload of a record (free with sq_free) and the number of rows of all tables. */
sq_status sq_product_pack(const sq_product *product, void **data, size_t *size, uint64_t *rows);
/* The rows of all tables of a payload. SQ_ERR_CORRUPT when it does not fit the description. */
sq_status sq_product_count(const sq_product *product, const void *data, size_t size,
                           uint64_t *rows);
double sq_product_seconds(const sq_product *product, sq_probe_clock clock);
void sq_product_destroy(sq_product *product);

/* Committed tasks, sorted by (patch, realisation), with their places in `shards`; all are borrowed.
 */
sq_status sq_phase_products_create(const sq_probe_description *description, const char *shards,
                                   const sq_task *task, const sq_record_place *place, int64_t count,
                                   sq_phase_products **out);
void sq_phase_products_destroy(sq_phase_products *products);

#endif
