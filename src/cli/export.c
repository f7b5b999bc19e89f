#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "fits/tile.h"
#include "fits/write.h"
#include "store/tensor.h"

static const char help[] = "NAME\n"
                           "    skyquilt export - write a release as FITS tables\n\n"
                           "SYNOPSIS\n"
                           "    skyquilt export RELEASE [--output DIR] [--table NAME]...\n\n"
                           "DESCRIPTION\n"
                           "    Writes each table of products of the release to DIR/NAME.fits: a "
                           "binary table whose columns have their\n"
                           "    names, order and values, units (TUNITn), UCDs (TUCDn) and "
                           "descriptions (TCOMMn) as in the release. Unsigned\n"
                           "    and 8- and 16-bit integers become signed integers that hold them. "
                           "Maps stay in the release. Files\n"
                           "    are complete under their names.\n\n"
                           "OPTIONS\n"
                           "    --output DIR    where the files go, default the present folder; it "
                           "is made when it is not there\n"
                           "    --table NAME    only this table; may be given several times\n\n"
                           "EXIT CODES\n"
                           "    0  complete\n"
                           "    1  usage error, or not a release\n"
                           "    4  a file could not be read or written\n";

enum { MAX_TABLES = 64, MAX_COLUMNS = 512 };

typedef struct table {
    int count;
    int64_t rows;
    sq_fits_column column[MAX_COLUMNS];
    char *text[4 * MAX_COLUMNS]; /* names, units, UCDs, descriptions */
    void *data[MAX_COLUMNS];
} table;

static void table_clear(table *t)
{
    for (int i = 0; i < 4 * t->count; i++)
        sq_free(t->text[i]);
    for (int i = 0; i < t->count; i++)
        sq_free(t->data[i]);
    memset(t, 0, sizeof *t);
}

/* The FITS type that holds a type of the release, and how it is read. */
static char fits_type(sq_dtype stored, sq_dtype *as)
{
    switch (stored) {
    case SQ_F64:
        *as = SQ_F64;
        return 'D';
    case SQ_F32:
    case SQ_F16:
        *as = SQ_F32;
        return 'E';
    case SQ_U8:
        *as = SQ_U8;
        return 'B';
    case SQ_I8:
    case SQ_U16:
    case SQ_I32:
        *as = SQ_I32;
        return 'J';
    default:
        *as = SQ_I64;
        return 'K';
    }
}

static sq_status load_column(sq_h5 *h5, const char *group, const char *name, table *t)
{
    static const char *const keys[] = {"units", "ucd", "description"};
    char path[160];
    sq_dtype stored, as;
    int rank, c = t->count++;
    int64_t dim[8];
    char **text = &t->text[4 * c];
    sq_fits_column *column = &t->column[c];
    sq_status rc;
    snprintf(path, sizeof path, "%.64s/%.64s", group, name);
    SQ_TRY(sq_h5_shape(h5, path, &stored, &rank, dim));
    if (rank != 1 || (c && dim[0] != t->rows))
        SQ_TRY(sq_fail(SQ_ERR_FORMAT, "%s: not a column as long as the others", path));
    t->rows = dim[0];
    SQ_TRY(sq_strdup(&text[0], name));
    for (int k = 0; k < 3; k++)
        SQ_TRY(sq_h5_read_text(h5, path, keys[k], &text[1 + k]));
    *column = (sq_fits_column){text[0], text[1], text[2], text[3], fits_type(stored, &as), NULL};
    SQ_TRY(sq_alloc(&t->data[c], (size_t)t->rows + 1, (size_t)sq_dtype_size(as), "column"));
    SQ_TRY(sq_h5_read(h5, path, as, 0, t->rows, t->data[c]));
    column->data = t->data[c];
cleanup:
    return rc;
}

static sq_status load_table(sq_h5 *h5, const char *group, table *t)
{
    char *names = NULL, *save = NULL;
    sq_status rc;
    SQ_TRY(sq_h5_read_text(h5, group, "columns", &names));
    for (char *name = strtok_r(names, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
        if (t->count == MAX_COLUMNS)
            SQ_TRY(sq_fail(SQ_ERR_UNSUPPORTED, "%s: more than %d columns", group, MAX_COLUMNS));
        SQ_TRY(load_column(h5, group, name, t));
    }
cleanup:
    sq_free(names);
    return rc;
}

static sq_status export_table(sq_h5 *h5, const char *group, const char *folder)
{
    char path[SQ_PATH_MAX];
    table *t = NULL;
    sq_status rc;
    snprintf(path, sizeof path, "%.900s/%.64s.fits", folder, group);
    SQ_TRY(SQ_ALLOC(t, 1, "table"));
    SQ_TRY(load_table(h5, group, t));
    SQ_TRY(sq_write_table(path, group, t->rows, t->count, t->column));
    printf("%s: %lld rows, %d columns\n", path, (long long)t->rows, t->count);
cleanup:
    if (t)
        table_clear(t);
    sq_free(t);
    return rc;
}

/* A table of products is a group that names its columns. */
static int is_table(sq_h5 *h5, const char *group)
{
    char *text = NULL;
    sq_status rc = sq_h5_read_text(h5, group, "columns", &text);
    sq_free(text);
    sq_error_clear();
    return rc == SQ_OK;
}

static sq_status export_all(const char *release, const char *folder, char **wanted, int nwanted)
{
    sq_h5 *h5 = NULL;
    char **group = NULL;
    int count = 0, done = 0;
    sq_status rc;
    SQ_TRY(sq_h5_open(release, &h5));
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        SQ_TRY(sq_fail(SQ_ERR_IO, "%s: cannot make the folder: %s", folder, strerror(errno)));
    for (int i = 0; i < nwanted; i++) {
        if (strchr(wanted[i], '/') || !sq_h5_has(h5, wanted[i]) || !is_table(h5, wanted[i]))
            SQ_TRY(sq_fail(SQ_ERR_USAGE, "%s: %s: no such table", release, wanted[i]));
        SQ_TRY(export_table(h5, wanted[i], folder));
    }
    if (nwanted)
        goto cleanup;
    SQ_TRY(sq_h5_groups(h5, "/", &group, &count));
    for (int i = 0; i < count; i++) {
        if (!is_table(h5, group[i]))
            continue;
        SQ_TRY(export_table(h5, group[i], folder));
        done++;
    }
    if (!done)
        rc = sq_fail(SQ_ERR_FORMAT, "%s: has no tables: not a release?", release);
cleanup:
    sq_h5_free_names(group, count);
    sq_h5_abandon(h5);
    return rc;
}

int sq_cli_export(int argc, char **argv)
{
    const char *release = NULL, *folder = ".";
    char *wanted[MAX_TABLES];
    int nwanted = 0;
    for (int i = 1; i < argc; i++) {
        int more = i + 1 < argc;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--output") == 0 && more)
            folder = argv[++i];
        else if (strcmp(argv[i], "--table") == 0 && more && nwanted < MAX_TABLES)
            wanted[nwanted++] = argv[++i];
        else if (argv[i][0] != '-' && !release)
            release = argv[i];
        else
            return sq_cli_fail("export",
                               sq_fail(SQ_ERR_USAGE, "unexpected '%s'; see --help", argv[i]));
    }
    if (!release)
        return sq_cli_fail("export", sq_fail(SQ_ERR_USAGE, "no RELEASE given; see --help"));
    sq_status rc = export_all(release, folder, wanted, nwanted);
    return rc == SQ_OK ? 0 : sq_cli_fail("export", rc);
}
