/* Values from a header of 80-character cards without separators. Keywords are matched exactly;
 * `HIERARCH key` cards too. Functions return 1 when the card is there with a value of that kind,
 * else 0. Local, reentrant. */
#ifndef SQ_FITS_CARDS_H
#define SQ_FITS_CARDS_H

#include <stddef.h>
#include <stdint.h>

/* An integer card. */
int sq_cards_int(const char *header, const char *key, int64_t *out);
/* A number; also one that is quoted as a string (SDSS: EXPTIME). Finite. */
int sq_cards_real(const char *header, const char *key, double *out);
/* A string without its trailing blanks, cut to `size`. */
int sq_cards_text(const char *header, const char *key, char *out, size_t size);
int sq_cards_true(const char *header, const char *key);
/* Integer cards whose keyword begins with `prefix`: call with *at = 0, then again until it returns
 * 0. `name` gets the rest of the keyword. */
int sq_cards_next(const char *header, const char *prefix, size_t *at, char *name, size_t size,
                  int64_t *value);

#endif
