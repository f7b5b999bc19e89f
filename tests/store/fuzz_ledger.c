/* Any bytes as a ledger. The first byte says whether the checksums of the lines are put right
 * first: only then does the fuzzer get to the fields. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "store/ledger.h"

static sq_status visit(void *user, const sq_event *event, int64_t line)
{
    (void)user;
    if (event->kind >= SQ_EVENT_COUNT || line < 1 || !memchr(event->text, 0, sizeof event->text))
        abort();
    return SQ_OK;
}

static void mend(char *text, size_t size)
{
    uint64_t chain = 0;
    for (char *at = text, *end; (end = memchr(at, '\n', size - (size_t)(at - text)));
         at = end + 1) {
        size_t n = (size_t)(end - at);
        if (n < 16)
            continue;
        char hash[17];
        uint64_t parts[2] = {chain, sq_hash64(at + 16, n - 16)};
        snprintf(hash, sizeof hash, "%016" PRIx64, sq_hash64(parts, sizeof parts));
        memcpy(at, hash, 16);
        chain = sq_hash64(at, n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t good;
    if (size < 2)
        return 0;
    char *text = malloc(size - 1);
    memcpy(text, data + 1, size - 1);
    if (data[0] & 1)
        mend(text, size - 1);
    sq_ledger_replay_bytes(text, size - 1, "fuzz", visit, NULL, &good);
    if (good > size - 1)
        abort();
    free(text);
    return 0;
}
