/* Status codes and the error message of the calling thread.
 *
 * Every function that can fail returns sq_status. The first failure records one clear line (file,
 * HDU or key, reason) in a thread-local buffer; callers pass the code on and may add a prefix.
 * Local: nothing here communicates. */
#ifndef SQ_BASE_STATUS_H
#define SQ_BASE_STATUS_H

typedef enum sq_status {
    SQ_OK = 0,
    SQ_ERR_USAGE,       /* command line or API misuse                       -> exit code 1 */
    SQ_ERR_CONFIG,      /* configuration or model file                      -> exit code 1 */
    SQ_ERR_FORMAT,      /* a data file that does not follow its format      -> patch or tile fails */
    SQ_ERR_DATA,        /* well-formed input that cannot be processed       -> patch or tile fails */
    SQ_ERR_CHANGED,     /* an input changed or vanished since it was indexed -> patch or tile fails */
    SQ_ERR_UNSUPPORTED, /* a feature that is not built or not implemented by design */
    SQ_ERR_IO,          /* storage or environment                           -> exit code 4 */
    SQ_ERR_NOMEM,       /* allocation failed                                -> exit code 4 */
    SQ_ERR_COMM,        /* message passing failed                           -> exit code 4 */
    SQ_ERR_STOPPED,     /* stopped on request, resumable                    -> exit code 3 */
    SQ_ERR_CORRUPT,     /* a checksum or count does not match               -> exit code 4 */
    SQ_ERR_INTERNAL,    /* a broken invariant: a bug */
    SQ_STATUS_COUNT
} sq_status;

enum { SQ_ERROR_MAX = 1024 };

/* Record a message and return `code`, so that `return sq_fail(SQ_ERR_IO, "%s: ...", path)` works. */
sq_status sq_fail(sq_status code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Put "prefix: " in front of the present message and return `code`. */
sq_status sq_fail_in(sq_status code, const char *format, ...) __attribute__((format(printf, 2, 3)));

const char *sq_error(void);   /* the calling thread's last message, "" when there is none */
void sq_error_clear(void);
const char *sq_status_name(sq_status code);   /* "format", "data", ... stable: stored in ledgers */
int sq_exit_code(sq_status code);             /* the documented exit code: 0, 1, 2, 3 or 4 */

/* Leave the function through its `cleanup:` label when `call` fails. Needs `sq_status rc`. */
#define SQ_TRY(call)                                                                               \
    do {                                                                                           \
        rc = (call);                                                                               \
        if (rc != SQ_OK)                                                                           \
            goto cleanup;                                                                          \
    } while (0)

#endif
