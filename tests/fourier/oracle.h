/* Ask numpy: write an array, run tests/fourier/oracle.py, read the answer. */
#ifndef SQ_TEST_FOURIER_ORACLE_H
#define SQ_TEST_FOURIER_ORACLE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void oracle(const char *what, int ny, int nx, const double *in, size_t n_in,
                          double *out, size_t n_out)
{
    const char *python = getenv("SQ_PYTHON"), *root = getenv("SQ_SOURCE");
    char source[] = "/tmp/sq_oracle_XXXXXX", target[] = "/tmp/sq_oracle_XXXXXX", command[1024];
    int in_fd = mkstemp(source), out_fd = mkstemp(target);
    assert_true(in_fd >= 0 && out_fd >= 0);
    FILE *file = fdopen(in_fd, "wb");
    assert_int_equal(fwrite(in, sizeof *in, n_in, file), n_in);
    fclose(file);
    snprintf(command, sizeof command, "'%s' '%s/tests/fourier/oracle.py' %s %d %d %s %s",
             python ? python : "python3", root ? root : ".", what, ny, nx, source, target);
    assert_int_equal(system(command), 0);
    file = fdopen(out_fd, "rb");
    assert_int_equal(fread(out, sizeof *out, n_out, file), n_out);
    fclose(file);
    unlink(source);
    unlink(target);
}

#endif
