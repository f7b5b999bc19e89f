/* A neutral description of configuration keys, so that a layer can say what it takes from a YAML
 * file without knowing the YAML library. run/yaml.h turns it into a libcyaml schema. Local. */
#ifndef SQ_BASE_CONFIG_H
#define SQ_BASE_CONFIG_H

#include <stddef.h>
#include <stdint.h>

typedef enum sq_config_type {
    SQ_CONFIG_BOOL,     /* bool */
    SQ_CONFIG_INT,      /* int64_t, with min and max */
    SQ_CONFIG_REAL,     /* double, with min and max */
    SQ_CONFIG_TEXT,     /* char *, owned by the loader */
    SQ_CONFIG_CHOICE,   /* int, index into choices */
    SQ_CONFIG_REALS,    /* sq_config_reals: a sequence of numbers */
    SQ_CONFIG_TEXTS,    /* sq_config_texts: a sequence of strings */
    SQ_CONFIG_GROUP     /* a nested mapping at `offset` described by `fields` */
} sq_config_type;

typedef struct sq_config_reals {
    double *value;
    unsigned count;
} sq_config_reals;

typedef struct sq_config_texts {
    char **value;
    unsigned count;
} sq_config_texts;

typedef struct sq_config_field {
    const char *key;
    sq_config_type type;
    size_t offset;             /* in the structure that is filled */
    int required;              /* 0: the value that the structure holds before loading stays */
    double min, max;           /* INT and REAL; both 0: unbounded */
    const char *const *choices;/* CHOICE: NULL-terminated */
    const struct sq_config_field *fields; /* GROUP: terminated by key == NULL */
    const char *doc;           /* one line with the unit, shown by --help */
} sq_config_field;

#endif
