#include "fits/cards.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CARD = 80 };

/* The keyword of a card into `key`; returns where the value begins, NULL for a card without one. */
static const char *split(const char *card, char key[CARD + 1])
{
    size_t length = 0;
    if (memcmp(card, "HIERARCH ", 9) == 0) {
        const char *equals = memchr(card + 9, '=', CARD - 9);
        if (!equals)
            return NULL;
        const char *from = card + 9, *to = equals;
        while (from < to && *from == ' ')
            from++;
        while (to > from && to[-1] == ' ')
            to--;
        length = (size_t)(to - from);
        memcpy(key, from, length);
        key[length] = '\0';
        return equals + 1;
    }
    if (card[8] != '=')
        return NULL;
    while (length < 8 && card[length] != ' ')
        length++;
    memcpy(key, card, length);
    key[length] = '\0';
    return card + 9;
}

/* The value field of the first card of that name, trimmed, with quotes kept. */
static int find(const char *header, const char *key, char value[CARD + 1])
{
    char name[CARD + 1];
    for (size_t n = strlen(header), i = 0; i + CARD <= n; i += CARD) {
        const char *from = split(header + i, name), *end = header + i + CARD;
        if (!from || strcmp(name, key) != 0)
            continue;
        while (from < end && *from == ' ')
            from++;
        size_t length = (size_t)(end - from);
        memcpy(value, from, length);
        value[length] = '\0';
        return 1;
    }
    return 0;
}

static int parse_int(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || errno == ERANGE)
        return 0;
    while (*end == ' ')
        end++;
    if (*end && *end != '/')
        return 0;
    *out = value;
    return 1;
}

int sq_cards_int(const char *header, const char *key, int64_t *out)
{
    char value[CARD + 1];
    return find(header, key, value) && parse_int(value, out);
}

int sq_cards_text(const char *header, const char *key, char *out, size_t size)
{
    char value[CARD + 1];
    size_t n = 0;
    if (!find(header, key, value) || value[0] != '\'')
        return 0;
    for (const char *c = value + 1; *c; c++) {
        if (*c == '\'' && c[1] != '\'')
            break;
        c += *c == '\'';
        if (n + 1 < size)
            out[n++] = *c;
    }
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
    return 1;
}

int sq_cards_real(const char *header, const char *key, double *out)
{
    char value[CARD + 1], *end, *from = value;
    if (!find(header, key, value))
        return 0;
    if (*from == '\'')
        from++;
    for (char *c = from; *c && *c != '/'; c++) {
        if (*c == 'D' || *c == 'd')
            *c = 'E'; /* FITS allows Fortran's exponent letter */
    }
    double number = strtod(from, &end);
    if (end == from || !isfinite(number))
        return 0;
    while (*end == ' ')
        end++;
    if (*end && *end != '/' && *end != '\'')
        return 0;
    *out = number;
    return 1;
}

int sq_cards_true(const char *header, const char *key)
{
    char value[CARD + 1];
    return find(header, key, value) && value[0] == 'T';
}

int sq_cards_next(const char *header, const char *prefix, size_t *at, char *name, size_t size,
                  int64_t *value)
{
    char key[CARD + 1], text[CARD + 1];
    size_t n = strlen(header), skip = strlen(prefix);
    for (; *at + CARD <= n; *at += CARD) {
        const char *from = split(header + *at, key);
        if (!from || strncmp(key, prefix, skip) != 0)
            continue;
        size_t length = (size_t)(header + *at + CARD - from);
        memcpy(text, from, length);
        text[length] = '\0';
        if (!parse_int(text, value))
            continue;
        size_t rest = strlen(key + skip);
        rest = rest < size ? rest : size - 1;
        memcpy(name, key + skip, rest);
        name[rest] = '\0';
        *at += CARD;
        return 1;
    }
    return 0;
}
