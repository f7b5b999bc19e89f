/* Faults on demand, by LD_PRELOAD: at the Nth matching call of a process something fails, or the
 * process dies right before, in the middle of or right after it.
 *
 *   SQ_FAULT=CALL:ACTION:N[+]:RANK:PATTERN
 *     CALL     write (also pwrite, writev, stdio), sync (fsync, fdatasync), rename, open (for
 *              writing), truncate, reserve (fallocate), read, alloc (by the program itself),
 *              malloc (by anybody)
 *     ACTION   an errno (ENOSPC, EIO, EINTR, EMFILE, EACCES), short (half the bytes are written),
 *              before, middle, after (SIGKILL of the process there), power-before, power-middle,
 *              power-after (of mpirun and all its ranks), count (nothing)
 *     N        counted from 0 over the matching calls of this process; N+ is all from there on
 *     RANK     of the process that it happens to; -1: any
 *     PATTERN  part of the path; not for alloc and malloc
 *   SQ_FAULT_COUNT=FILE  two 64-bit numbers a process, in FILE.RANK: matching calls, faults
 *
 * An allocation that is told to fail returns NULL. Children that are no ranks are left alone. */
#undef _FILE_OFFSET_BITS /* both names of each call are wanted */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t align, size_t size);

typedef enum moment { NEVER, FAIL, SHORT, BEFORE, MIDDLE, AFTER } moment;

static struct {
    char call[16], pattern[128];
    moment what;
    int error, power, forever, ready;
    long at;
    uintptr_t low, high; /* of the program's own text */
} fault;

static atomic_long own_counter[2];
static atomic_long *counter = own_counter;

/* ---- Setting up ---- */

static int parse_action(const char *text)
{
    static const struct {
        const char *name;
        int error;
    } errors[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"EINTR", EINTR},
                  {"EMFILE", EMFILE}, {"EACCES", EACCES}, {"ENOMEM", ENOMEM}};
    static const char *const moments[] = {"count", "", "short", "before", "middle", "after"};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (strcmp(text, errors[i].name) == 0) {
            fault.what = FAIL;
            fault.error = errors[i].error;
            return 1;
        }
    }
    fault.power = strncmp(text, "power-", 6) == 0;
    for (int i = 0; i < 6; i++) {
        if (strcmp(text + (fault.power ? 6 : 0), moments[i]) == 0) {
            fault.what = (moment)i;
            return 1;
        }
    }
    return 0;
}

static void map_counter(const char *base, int rank)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.%d", base, rank);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    if (ftruncate(fd, sizeof own_counter) == 0) {
        void *at = mmap(NULL, sizeof own_counter, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        counter = at == MAP_FAILED ? own_counter : at;
    }
    close(fd);
}

static int find_program(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size;
    (void)user;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_LOAD && p->p_flags & PF_X) {
            fault.low = info->dlpi_addr + p->p_vaddr;
            fault.high = fault.low + p->p_memsz;
        }
    }
    return 1; /* the first object is the program */
}

__attribute__((constructor)) static void set_up(void)
{
    const char *text = getenv("SQ_FAULT"), *own = getenv("OMPI_COMM_WORLD_RANK"),
               *count = getenv("SQ_FAULT_COUNT");
    char action[24], at[24], program[256] = "";
    int rank = own ? atoi(own) : 0, wanted;
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    const char *name = n > 0 ? strrchr(program, '/') : NULL;
    /* Launchers and shells inherit the environment too. */
    if (!text || !name || strstr(name, "mpirun") || strstr(name, "orte") || strstr(name, "prte") ||
        strstr(name, "bash") || strstr(name, "dash") || strstr(name, "python"))
        return;
    if (sscanf(text, "%15[^:]:%23[^:]:%23[^:]:%d:%127[^\n]", fault.call, action, at, &wanted,
               fault.pattern) < 4 ||
        !parse_action(action)) {
        fprintf(stderr, "SQ_FAULT: '%s' is not CALL:ACTION:N:RANK:PATTERN\n", text);
        _exit(125);
    }
    if (wanted >= 0 && wanted != rank)
        return;
    fault.at = atol(at);
    fault.forever = strchr(at, '+') != NULL;
    if (count)
        map_counter(count, rank);
    dl_iterate_phdr(find_program, NULL);
    fault.ready = 1;
}

/* ---- Deciding ---- */

static moment count_call(void)
{
    long n = atomic_fetch_add(&counter[0], 1);
    int hit = fault.what != NEVER && (n == fault.at || (fault.forever && n > fault.at));
    if (hit)
        atomic_fetch_add(&counter[1], 1);
    return hit ? fault.what : NEVER;
}

static moment decide_path(const char *call, const char *path)
{
    if (!fault.ready || strcmp(fault.call, call) != 0 || !path || !strstr(path, fault.pattern))
        return NEVER;
    return count_call();
}

static moment decide_fd(const char *call, int fd)
{
    char link[32], path[1024];
    if (!fault.ready || strcmp(fault.call, call) != 0)
        return NEVER;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0)
        return NEVER;
    path[n] = '\0';
    return decide_path(call, path);
}

static int allocation_fails(const void *caller)
{
    if (!fault.ready)
        return 0;
    int own = (uintptr_t)caller >= fault.low && (uintptr_t)caller < fault.high;
    if (strcmp(fault.call, "malloc") != 0 && (strcmp(fault.call, "alloc") != 0 || !own))
        return 0;
    if (count_call() == NEVER)
        return 0;
    errno = ENOMEM;
    return 1;
}

/* ---- Dying ---- */

static int parent_of(int pid)
{
    char path[64], text[512];
    int parent = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *end = strrchr(text, ')');
    return end && sscanf(end, ") %*c %d", &parent) == 1 ? parent : 0;
}

/* All ranks under the same mpirun, and that: as when the power goes. */
static void cut_power(void)
{
    int launcher = getppid();
    if (!getenv("OMPI_COMM_WORLD_RANK"))
        return;
    DIR *folder = opendir("/proc");
    for (struct dirent *e; folder && (e = readdir(folder)) != NULL;) {
        int pid = atoi(e->d_name);
        if (pid > 1 && pid != getpid() && parent_of(pid) == launcher)
            kill(pid, SIGKILL);
    }
    kill(launcher, SIGKILL);
}

static void die(void)
{
    if (fault.power)
        cut_power();
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, #name))

/* Leaves with the error, dies before, or goes on to the real call; then dies after it. */
#define GUARDED(decision, result, call)                                                            \
    do {                                                                                           \
        moment now = decision;                                                                     \
        if (now == FAIL) {                                                                         \
            errno = fault.error;                                                                   \
            return -1;                                                                             \
        }                                                                                          \
        if (now == BEFORE || now == MIDDLE)                                                        \
            die();                                                                                 \
        result = call;                                                                             \
        if (now == AFTER)                                                                          \
            die();                                                                                 \
    } while (0)

/* ---- Writes ---- */

/* 1: the call is over with *result. *size is what may be written. */
static int before_write(moment now, size_t *size)
{
    if (now == FAIL) {
        errno = fault.error;
        return 1;
    }
    if (now == BEFORE)
        die();
    if (now == MIDDLE || now == SHORT)
        *size = *size > 1 ? *size / 2 : *size;
    return 0;
}

static ssize_t after_write(moment now, ssize_t result)
{
    if (now == MIDDLE || now == AFTER)
        die();
    return result;
}

PUBLIC ssize_t write(int fd, const void *data, size_t size)
{
    moment now = decide_fd("write", fd);
    if (before_write(now, &size))
        return -1;
    return after_write(now, REAL(write, ssize_t(*)(int, const void *, size_t))(fd, data, size));
}

PUBLIC ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    moment now = decide_fd("write", fd);
    if (before_write(now, &size))
        return -1;
    return after_write(now, REAL(pwrite, ssize_t(*)(int, const void *, size_t, off_t))(fd, data,
                                                                                       size, at));
}

PUBLIC ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    return pwrite(fd, data, size, at);
}

/* Only the first piece, when something is to happen: a short write is always allowed. */
PUBLIC ssize_t writev(int fd, const struct iovec *piece, int count)
{
    moment now = decide_fd("write", fd);
    size_t size = count > 0 ? piece[0].iov_len : 0;
    if (now == NEVER)
        return REAL(writev, ssize_t(*)(int, const struct iovec *, int))(fd, piece, count);
    if (before_write(now, &size))
        return -1;
    return after_write(now, REAL(write, ssize_t(*)(int, const void *, size_t))(
                                fd, count > 0 ? piece[0].iov_base : NULL, size));
}

/* ---- stdio writes through write above ---- */

static ssize_t cookie_write(void *cookie, const char *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = write((int)(intptr_t)cookie, data + done, size - done);
        if (n <= 0)
            return done ? (ssize_t)done : 0; /* 0 is an error here */
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static int cookie_close(void *cookie)
{
    return close((int)(intptr_t)cookie);
}

PUBLIC FILE *fopen(const char *path, const char *mode)
{
    int flags = mode[0] == 'w' ? O_WRONLY | O_CREAT | O_TRUNC : O_WRONLY | O_CREAT | O_APPEND;
    if (!fault.ready || (mode[0] != 'w' && mode[0] != 'a') || strchr(mode, '+'))
        return REAL(fopen, FILE *(*)(const char *, const char *))(path, mode);
    int fd = open(path, flags | O_CLOEXEC, 0666);
    if (fd < 0)
        return NULL;
    cookie_io_functions_t io = {.write = cookie_write, .close = cookie_close};
    FILE *file = fopencookie((void *)(intptr_t)fd, mode, io);
    if (!file)
        close(fd);
    return file;
}

PUBLIC FILE *fopen64(const char *path, const char *mode)
{
    return fopen(path, mode);
}

/* ---- Reads ---- */

PUBLIC ssize_t read(int fd, void *data, size_t size)
{
    ssize_t n;
    GUARDED(decide_fd("read", fd), n, REAL(read, ssize_t(*)(int, void *, size_t))(fd, data, size));
    return n;
}

PUBLIC ssize_t pread(int fd, void *data, size_t size, off_t at)
{
    ssize_t n;
    GUARDED(decide_fd("read", fd), n,
            REAL(pread, ssize_t(*)(int, void *, size_t, off_t))(fd, data, size, at));
    return n;
}

PUBLIC ssize_t pread64(int fd, void *data, size_t size, off64_t at)
{
    return pread(fd, data, size, at);
}

/* ---- Everything else ---- */

PUBLIC int fsync(int fd)
{
    int rc;
    GUARDED(decide_fd("sync", fd), rc, REAL(fsync, int (*)(int))(fd));
    return rc;
}

PUBLIC int fdatasync(int fd)
{
    int rc;
    GUARDED(decide_fd("sync", fd), rc, REAL(fdatasync, int (*)(int))(fd));
    return rc;
}

PUBLIC int ftruncate(int fd, off_t size)
{
    int rc;
    GUARDED(decide_fd("truncate", fd), rc, REAL(ftruncate, int (*)(int, off_t))(fd, size));
    return rc;
}

PUBLIC int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

PUBLIC int truncate(const char *path, off_t size)
{
    int rc;
    GUARDED(decide_path("truncate", path), rc,
            REAL(truncate, int (*)(const char *, off_t))(path, size));
    return rc;
}

PUBLIC int truncate64(const char *path, off64_t size)
{
    return truncate(path, size);
}

PUBLIC int fallocate(int fd, int mode, off_t at, off_t size)
{
    int rc;
    GUARDED(decide_fd("reserve", fd), rc,
            REAL(fallocate, int (*)(int, int, off_t, off_t))(fd, mode, at, size));
    return rc;
}

PUBLIC int fallocate64(int fd, int mode, off64_t at, off64_t size)
{
    return fallocate(fd, mode, at, size);
}

PUBLIC int rename(const char *from, const char *to)
{
    int rc;
    GUARDED(decide_path("rename", from), rc,
            REAL(rename, int (*)(const char *, const char *))(from, to));
    return rc;
}

PUBLIC int open(const char *path, int flags, ...)
{
    int fd, mode = 0;
    if (flags & (O_CREAT | __O_TMPFILE)) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, int);
        va_end(args);
    }
    GUARDED((flags & O_ACCMODE) == O_RDONLY ? NEVER : decide_path("open", path), fd,
            REAL(open, int (*)(const char *, int, ...))(path, flags, mode));
    return fd;
}

PUBLIC int open64(const char *path, int flags, ...)
{
    int mode = 0;
    if (flags & (O_CREAT | __O_TMPFILE)) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, int);
        va_end(args);
    }
    return open(path, flags, mode);
}

/* ---- Memory ---- */

PUBLIC void *malloc(size_t size)
{
    return allocation_fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

PUBLIC void *calloc(size_t count, size_t size)
{
    return allocation_fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

PUBLIC void *realloc(void *old, size_t size)
{
    return allocation_fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

PUBLIC int posix_memalign(void **out, size_t align, size_t size)
{
    if (allocation_fails(__builtin_return_address(0)))
        return ENOMEM;
    void *at = __libc_memalign(align, size);
    if (!at && size)
        return ENOMEM;
    *out = at;
    return 0;
}
