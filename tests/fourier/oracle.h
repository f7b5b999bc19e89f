/* Ask numpy: write an array, run tests/fourier/oracle.py, read the answer. */
#ifndef SQ_TEST_FOURIER_ORACLE_H
#define SQ_TEST_FOURIER_ORACLE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A path in the folder for temporary files, for mkstemp or mkdtemp. */
static inline const char *temporary(char *out, size_t size, const char *name)
{
    const char *folder = getenv("TMPDIR");
    snprintf(out, size, "%s/%s_XXXXXX", folder && *folder ? folder : P_tmpdir, name);
    return out;
}

static inline void oracle(const char *what, int ny, int nx, const double *in, size_t n_in,
                          double *out, size_t n_out)
{
    const char *python = getenv("SQ_PYTHON"), *root = getenv("SQ_SOURCE");
    char source[512], target[512], command[2048];
    temporary(source, sizeof source, "sq_oracle");
    temporary(target, sizeof target, "sq_oracle");
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
