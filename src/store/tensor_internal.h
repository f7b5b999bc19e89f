/* An open file of arrays. Local. */
#ifndef SQ_STORE_TENSOR_INTERNAL_H
#define SQ_STORE_TENSOR_INTERNAL_H

#include <hdf5.h>

#include "store/tensor.h"

enum { SQ_H5_MAX_RANK = 8 };

/* A dataset that is being appended to; kept open so that its last chunk stays in the cache. */
typedef struct growing {
    char *name;
    hid_t id;
    sq_dtype type;
    int width; /* of texts; 0 for numbers */
    int rank;
    int64_t dim[SQ_H5_MAX_RANK];
} growing;

struct sq_h5 {
    char *path, *partial; /* partial is NULL for a file opened to read */
    hid_t id;
    int sealed; /* closing adds the seal */
    growing *set;
    size_t count, capacity;
};

/* Elements of one row: the product of the dimensions but the first. */
static inline int64_t sq_h5_row(int rank, const int64_t *dim)
{
    int64_t n = 1;
    for (int i = 1; i < rank; i++)
        n *= dim[i];
    return n;
}

#endif
