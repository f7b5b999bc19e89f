#include "store/hdf5_internal.h"

#include <string.h>

#include "base/mem.h"

void sq_hdf5_quiet(void)
{
    static int begun;
    /* A shared file that could not be written is left open (see merge_write.c): no attempt at exit
     * either. */
    if (!begun)
        H5dont_atexit();
    begun = 1;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

/* Keeps the innermost description: it names the cause, the outer ones only repeat the call. */
static herr_t innermost(unsigned n, const H5E_error2_t *error, void *user)
{
    const char **reason = user;
    (void)n;
    if (error->desc && error->desc[0])
        *reason = error->desc;
    return 0;
}

sq_status sq_hdf5_fail(const char *path, const char *what)
{
    const char *reason = "HDF5 gives no reason";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, innermost, &reason);
    /* Of "file write failed: time = ..., error message = 'No space left on device', ..." the cause. */
    static const char before[] = "error message = '";
    const char *cause = strstr(reason, before);
    cause = cause ? cause + sizeof before - 1 : reason;
    int length = (int)(cause == reason ? strlen(cause) : strcspn(cause, "'"));
    sq_status rc = sq_fail(SQ_ERR_IO, "%s: %s: %.*s", path, what, length, cause);
    H5Eclear2(H5E_DEFAULT);
    return rc;
}

int64_t sq_dtype_size(sq_dtype type)
{
    static const int64_t size[SQ_DTYPE_COUNT] = {
        [SQ_F32] = 4, [SQ_F64] = 8, [SQ_I32] = 4, [SQ_I64] = 8, [SQ_U8] = 1,
        [SQ_U32] = 4, [SQ_U64] = 8, [SQ_F16] = 2, [SQ_I8] = 1,  [SQ_U16] = 2};
    return (unsigned)type < SQ_DTYPE_COUNT ? size[type] : 0;
}

/* IEEE 754 binary16, little-endian: HDF5 1.10 has no predefined one. */
static hid_t half_type(void)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (type < 0)
        return type;
    if (H5Tset_fields(type, 15, 10, 5, 0, 10) < 0 || H5Tset_size(type, 2) < 0 ||
        H5Tset_ebias(type, 15) < 0) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

hid_t sq_hdf5_file_type(sq_dtype type)
{
    switch (type) {
    case SQ_F32:
        return H5Tcopy(H5T_IEEE_F32LE);
    case SQ_F64:
        return H5Tcopy(H5T_IEEE_F64LE);
    case SQ_I32:
        return H5Tcopy(H5T_STD_I32LE);
    case SQ_I64:
        return H5Tcopy(H5T_STD_I64LE);
    case SQ_U8:
        return H5Tcopy(H5T_STD_U8LE);
    case SQ_U32:
        return H5Tcopy(H5T_STD_U32LE);
    case SQ_U64:
        return H5Tcopy(H5T_STD_U64LE);
    case SQ_F16:
        return half_type();
    case SQ_I8:
        return H5Tcopy(H5T_STD_I8LE);
    case SQ_U16:
        return H5Tcopy(H5T_STD_U16LE);
    }
    return -1;
}

hid_t sq_hdf5_memory_type(sq_dtype type)
{
    switch (type) {
    case SQ_F32:
        return H5T_NATIVE_FLOAT;
    case SQ_F64:
        return H5T_NATIVE_DOUBLE;
    case SQ_I32:
        return H5T_NATIVE_INT32;
    case SQ_I64:
        return H5T_NATIVE_INT64;
    case SQ_U8:
        return H5T_NATIVE_UINT8;
    case SQ_U32:
        return H5T_NATIVE_UINT32;
    case SQ_U64:
        return H5T_NATIVE_UINT64;
    case SQ_F16:
        return -1;
    case SQ_I8:
        return H5T_NATIVE_INT8;
    case SQ_U16:
        return H5T_NATIVE_UINT16;
    }
    return -1;
}

/* Of fixed width: variable-width texts live in a heap that parallel HDF5 cannot write. */
hid_t sq_hdf5_text_type(int width)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, (size_t)width);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

static int integer_dtype(size_t size, int is_signed, sq_dtype *out)
{
    switch (size) {
    case 1:
        *out = is_signed ? SQ_I8 : SQ_U8;
        return 1;
    case 2:
        *out = SQ_U16;
        return !is_signed;
    case 4:
        *out = is_signed ? SQ_I32 : SQ_U32;
        return 1;
    case 8:
        *out = is_signed ? SQ_I64 : SQ_U64;
        return 1;
    default:
        return 0;
    }
}

int sq_hdf5_dtype(hid_t type, sq_dtype *out)
{
    size_t size = H5Tget_size(type);
    switch (H5Tget_class(type)) {
    case H5T_FLOAT:
        *out = size == 2 ? SQ_F16 : size == 4 ? SQ_F32 : SQ_F64;
        return size == 2 || size == 4 || size == 8;
    case H5T_INTEGER:
        return integer_dtype(size, H5Tget_sign(type) == H5T_SGN_2, out);
    default:
        return 0;
    }
}

static hid_t without_times(hid_t class)
{
    hid_t list = H5Pcreate(class);
    if (list >= 0)
        H5Pset_obj_track_times(list, 0);
    return list;
}

hid_t sq_hdf5_file_properties(void)
{
    return without_times(H5P_FILE_CREATE);
}

hid_t sq_hdf5_group_properties(void)
{
    return without_times(H5P_GROUP_CREATE);
}

hid_t sq_hdf5_link_properties(void)
{
    hid_t list = H5Pcreate(H5P_LINK_CREATE);
    if (list >= 0)
        H5Pset_create_intermediate_group(list, 1);
    return list;
}

static sq_status write_attribute(hid_t object, const char *path, const char *name, hid_t file_type,
                                 hid_t memory_type, const void *data)
{
    sq_status rc = SQ_OK;
    hid_t space = H5Screate(H5S_SCALAR), attribute = -1;
    if (H5Aexists(object, name) > 0)
        H5Adelete(object, name);
    attribute = H5Acreate2(object, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, memory_type, data) < 0)
        rc = sq_hdf5_fail(path, name);
    if (attribute >= 0)
        H5Aclose(attribute);
    H5Sclose(space);
    return rc;
}

sq_status sq_hdf5_close_dataset(hid_t set, const char *path, const char *name, sq_status rc)
{
    if (set >= 0 && H5Dclose(set) < 0 && rc == SQ_OK)
        return sq_hdf5_fail(path, name);
    return rc;
}

/* A fixed-width, NUL-padded UTF-8 string: variable-width ones live in a heap that parallel HDF5
 * cannot write. */
sq_status sq_hdf5_attribute(hid_t object, const char *path, const char *name, const char *text)
{
    size_t size = strlen(text);
    hid_t type = sq_hdf5_text_type(size ? (int)size : 1);
    sq_status rc = write_attribute(object, path, name, type, type, text);
    H5Tclose(type);
    return rc;
}

sq_status sq_hdf5_attribute_f64(hid_t object, const char *path, const char *name, double value)
{
    return write_attribute(object, path, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

sq_status sq_hdf5_attribute_i64(hid_t object, const char *path, const char *name, int64_t value)
{
    return write_attribute(object, path, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

static sq_status get_fixed(hid_t attribute, hid_t type, const char *path, const char *name,
                           char **text)
{
    size_t size = H5Tget_size(type);
    sq_status rc = sq_alloc(text, size + 1, 1, "attribute");
    if (rc != SQ_OK)
        return rc;
    if (H5Aread(attribute, type, *text) < 0) {
        sq_free(*text);
        *text = NULL;
        return sq_hdf5_fail(path, name);
    }
    return SQ_OK;
}

/* Written by other programs (h5py): strings of variable width. */
static sq_status get_variable(hid_t attribute, hid_t type, const char *path, const char *name,
                              char **text)
{
    char *value = NULL;
    if (H5Aread(attribute, type, &value) < 0)
        return sq_hdf5_fail(path, name);
    sq_status rc = sq_strdup(text, value ? value : "");
    if (value)
        H5free_memory(value);
    return rc;
}

sq_status sq_hdf5_attribute_get(hid_t object, const char *path, const char *name, char **text)
{
    sq_status rc;
    *text = NULL;
    hid_t attribute = H5Aexists(object, name) > 0 ? H5Aopen(object, name, H5P_DEFAULT) : -1;
    if (attribute < 0)
        return sq_fail(SQ_ERR_FORMAT, "%s: attribute %s: missing", path, name);
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    if (H5Tget_class(type) != H5T_STRING || H5Sget_simple_extent_npoints(space) != 1)
        rc = sq_fail(SQ_ERR_FORMAT, "%s: attribute %s: not a string", path, name);
    else if (H5Tis_variable_str(type) > 0)
        rc = get_variable(attribute, type, path, name, text);
    else
        rc = get_fixed(attribute, type, path, name, text);
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
    return rc;
}
