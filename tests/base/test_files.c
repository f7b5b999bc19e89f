/* Whole files: read once, handed on to a closed set, refused when they are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/files.h"
#include "base/mem.h"

static char path[] = "/tmp/sq_files_XXXXXX";

static void write_file(const char *text)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

static void a_file_is_read_once(void **state)
{
    (void)state;
    const void *first, *again;
    size_t size;
    sq_files *files, *closed;
    uint64_t held = sq_mem_held();
    write_file("one\ntwo");
    assert_int_equal(sq_files_create(0, &files), SQ_OK);
    assert_int_equal(sq_files_read(files, path, &first, &size), SQ_OK);
    assert_int_equal(size, 7);
    assert_string_equal(first, "one\ntwo");
    write_file("another");
    assert_int_equal(sq_files_read(files, path, &again, &size), SQ_OK);
    assert_ptr_equal(first, again);
    assert_int_equal(sq_files_count(files), 1);
    /* What another rank gets: the same bytes, and nothing beside them. */
    assert_int_equal(sq_files_create(1, &closed), SQ_OK);
    assert_int_equal(sq_files_read(closed, path, &again, &size), SQ_ERR_INTERNAL);
    assert_string_equal(sq_files_at(files, 0, &first, &size), path);
    assert_int_equal(sq_files_put(closed, path, first, size), SQ_OK);
    assert_int_equal(sq_files_read(closed, path, &again, &size), SQ_OK);
    assert_string_equal(again, "one\ntwo");
    sq_files_destroy(files);
    sq_files_destroy(closed);
    assert_true(sq_mem_held() == held);
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    char *data;
    size_t size;
    write_file("0123456789");
    assert_int_equal(sq_file_read(path, 9, &data, &size), SQ_ERR_CONFIG);
    assert_non_null(strstr(sq_error(), path));
    assert_int_equal(sq_file_read(path, 10, &data, &size), SQ_OK);
    sq_free(data);
    assert_int_equal(sq_file_read("/nonexistent/file", 10, &data, &size), SQ_ERR_CONFIG);
    assert_int_equal(sq_file_read("/", 10, &data, &size), SQ_ERR_CONFIG);
    write_file("");
    assert_int_equal(sq_file_read(path, 10, &data, &size), SQ_OK);
    assert_int_equal(size, 0);
    sq_free(data);
}

static void memory_that_fails_is_given_back(void **state)
{
    (void)state;
    const void *data;
    size_t size;
    uint64_t held = sq_mem_held();
    write_file("text");
    int after = 0;
    for (sq_status rc = SQ_ERR_NOMEM; rc != SQ_OK; after++) {
        sq_files *files = NULL;
        sq_mem_fail_after(after);
        rc = sq_files_create(0, &files);
        if (rc == SQ_OK)
            rc = sq_files_read(files, path, &data, &size);
        sq_mem_fail_after(-1);
        assert_true(rc == SQ_OK || rc == SQ_ERR_NOMEM);
        sq_files_destroy(files);
        assert_true(sq_mem_held() == held);
    }
    assert_true(after > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_once),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(memory_that_fails_is_given_back),
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
