/* Errors of YAML files: where the key in question stands, and what libcyaml had to say. Local. */
#ifndef SQ_RUN_YAML_INTERNAL_H
#define SQ_RUN_YAML_INTERNAL_H

#include <cyaml/cyaml.h>

#include "run/yaml.h"

enum { MAX_DEPTH = 8, LOG_SIZE = 4096 };

typedef struct reader {
    const char *name;
    const uint8_t *data;
    size_t size;
    const char *key[MAX_DEPTH]; /* path to the present field */
    int depth;
} reader;

typedef struct text_log {
    char text[LOG_SIZE];
    size_t used;
} text_log;

/* What libcyaml says is collected in `log`. */
cyaml_config_t sq_yaml_settings(text_log *log);
/* The line of the value at a path of keys, 0 when there is none. */
unsigned sq_yaml_locate(const reader *r, const char *const *key, int depth);
/* "FILE:LINE: key: reason" */
sq_status sq_yaml_complain(const reader *r, unsigned line, const char *const *key, int depth,
                           const char *reason);
/* The value of the present field is wrong. */
sq_status sq_yaml_reject(const reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Turn what libcyaml logged into one line with file, line and key. */
sq_status sq_yaml_explain(const reader *r, const sq_config_field *fields, cyaml_err_t error,
                          const char *text);

#endif
