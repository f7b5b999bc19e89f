/* cmocka with the headers that it needs. */
#ifndef CM_H
#define CM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/status.h"

#define ok(call)                                                                                   \
    do {                                                                                           \
        sq_status ok_rc = (call);                                                                  \
        if (ok_rc != SQ_OK)                                                                        \
            fail_msg("%s: %s", #call, sq_error());                                                 \
    } while (0)

#endif
