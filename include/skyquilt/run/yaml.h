/* YAML files read through a schema: from the neutral field tables of base/config.h to a structure.
 *
 * An unknown key, a wrong type, a value out of range and a missing key are SQ_ERR_CONFIG with one
 * line "FILE:LINE: key.subkey: reason". Aliases, several documents and files above 1 MiB are
 * refused. The result of a load owns all its texts and sequences, also those that came from the
 * defaults: release with sq_yaml_free. After a failed load the structure is as it was before.
 * Local. */
#ifndef SQ_RUN_YAML_H
#define SQ_RUN_YAML_H

#include <stdio.h>

#include "base/config.h"
#include "base/hash.h"
#include "base/status.h"

/* `out` holds the defaults on entry. SQ_ERR_IO when the file cannot be read. */
sq_status sq_yaml_load(const char *path, const sq_config_field *fields, void *out);
/* The same from memory; `name` stands for the file in messages. */
sq_status sq_yaml_parse(const void *data, size_t size, const char *name,
                        const sq_config_field *fields, void *out);
void sq_yaml_free(const sq_config_field *fields, void *out);

/* The keys as people read them: key, type, range, default (from `defaults`, may be NULL), meaning.
 */
void sq_yaml_print_help(const sq_config_field *fields, const void *defaults, FILE *out);

/* The values as YAML with every key in table order and numbers in full precision: reading it back
 * gives the same values. Free with sq_free. */
sq_status sq_yaml_canonical(const sq_config_field *fields, const void *value, char **text);
/* Hash of the canonical text. */
sq_status sq_yaml_hash(const sq_config_field *fields, const void *value, sq_hash *hash);

#endif
