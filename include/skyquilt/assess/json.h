/* JSON: a writer that takes care of commas and escapes, and a reader.
 *
 * Writing: every function writes one complete value or member; `name` is NULL inside an array.
 * Reading: RFC 8259, nested at most 64 deep; \\u escapes become UTF-8. Local. */
#ifndef SQ_ASSESS_JSON_H
#define SQ_ASSESS_JSON_H

#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

typedef struct json {
    FILE *out;
    int first; /* no comma is due */
} json;

sq_status json_create(const char *path, json *out);
void json_open(json *j, const char *name, char bracket); /* '{' or '[' */
void json_close(json *j, char bracket);
void json_real(json *j, const char *name, double value); /* null when it is not finite */
void json_integer(json *j, const char *name, int64_t value);
void json_boolean(json *j, const char *name, int value);
void json_text(json *j, const char *name, const char *value);
/* Ends the file and closes it. */
sq_status json_finish(json *j, const char *path);

typedef enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
} json_kind;

typedef struct json_value {
    json_kind kind;
    char *name; /* of a member; NULL in an array and at the top */
    double number;
    char *string;
    int64_t count; /* of an array or object */
    struct json_value *item;
} json_value;

/* The file as a tree, at most 256 MiB. SQ_ERR_FORMAT "PATH:LINE: reason". */
sq_status json_load(const char *path, json_value **out);
sq_status json_parse(const char *data, size_t size, const char *path, json_value **out);
/* The member; NULL when `object` is NULL, no object, or lacks it. */
const json_value *json_member(const json_value *object, const char *name);
/* Its number, NaN when there is none; its string, "" when there is none. */
double json_number(const json_value *object, const char *name);
const char *json_string(const json_value *object, const char *name);
void json_free(json_value *value);

#endif
