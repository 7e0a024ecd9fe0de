/* Preloaded into the program: counts the calls that change the files of one directory, and lets one of them go wrong.
 *
 * CRASH_DIR   the directory, absolute and without links
 * CRASH_LOG   a file that gets a line for each call: its name
 * CRASH_AT    which call, from 1; 0 for none
 * CRASH_KEEP  what the caller ignores stays ignored. Otherwise signals end the program wherever the tests run: in the
 *             background of a script SIGINT is ignored
 * CRASH_DO    what happens at it:
 *   kill      the process is gone before the call
 *   torn      the same, but half of what a write has to write is written
 *   short     a write writes half and says so
 *   ENOSPC, EIO   the call fails
 *   SIGINT, SIGTERM   the signal comes; the next write, if there is one, never returns
 *   truncate  the file CRASH_FILE loses its second half
 *   wait, wait-EIO   CRASH_FILE is made, then nothing happens until it is gone; then the call is made, or fails
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static atomic_long count;
static atomic_int signalled;

enum outcome { GO, HALF_AND_DIE, HALF, FAIL };

static int within(const char *path) {
    const char *dir = getenv("CRASH_DIR");
    if (!dir || !path) return 0;
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == 0);
}

static int open_within(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return within(path);
}

/* For somebody who ends the process meanwhile; if nobody does, that is what went wrong. */
static void hold(void) {
    sleep(60);
    _exit(99);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    hold();
}

__attribute__((constructor)) static void begin(void) {
    if (getenv("CRASH_KEEP")) return;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
}

static enum outcome happens(const char *name, int is_write) {
    const char *log = getenv("CRASH_LOG"), *what = getenv("CRASH_DO"), *at = getenv("CRASH_AT");
    const char *file = getenv("CRASH_FILE");
    if (log) {
        int fd = REAL(open)(log, O_WRONLY | O_APPEND | O_CREAT, 0666);
        char line[64];
        int n = snprintf(line, sizeof line, "%s\n", name);
        if (fd < 0 || REAL(write)(fd, line, n) != n) abort();
        close(fd);
    }
    long number = atomic_fetch_add(&count, 1) + 1;
    /* Calls that give names are not held up: whoever makes one owns the right to, and the cleaning up needs it. */
    if (signalled && is_write) hold();
    if (!what || !at || number != atol(at)) return GO;
    if (!strcmp(what, "kill")) die();
    if (!strcmp(what, "torn")) {
        if (!is_write) die();
        return HALF_AND_DIE;
    }
    if (!strcmp(what, "short")) return is_write ? HALF : GO;
    if (!strcmp(what, "ENOSPC")) { errno = ENOSPC; return FAIL; }
    if (!strcmp(what, "EIO")) { errno = EIO; return FAIL; }
    if (!strcmp(what, "truncate")) {
        struct stat s;
        if (stat(file, &s) || truncate(file, s.st_size / 2)) abort();
        return GO;
    }
    if (!strncmp(what, "wait", 4)) {
        int fd = REAL(open)(file, O_WRONLY | O_CREAT, 0666);
        if (fd < 0) abort();
        close(fd);
        while (access(file, F_OK) == 0) usleep(500);
        if (!strcmp(what, "wait")) return GO;
        errno = EIO;
        return FAIL;
    }
    signalled = 1;
    kill(getpid(), !strcmp(what, "SIGINT") ? SIGINT : SIGTERM);
    if (is_write) hold();
    return GO;
}

static int fails(const char *name) { return happens(name, 0) == FAIL; }

#define OPEN(function)                                                              \
    int function(const char *path, int flags, ...) {                                \
        va_list list;                                                               \
        va_start(list, flags);                                                      \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;     \
        va_end(list);                                                               \
        int writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC); \
        if (writes && within(path) && fails("open")) return -1;                     \
        return REAL(function)(path, flags, mode);                                   \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(function)                                                            \
    int function(int at, const char *path, int flags, ...) {                        \
        va_list list;                                                               \
        va_start(list, flags);                                                      \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;     \
        va_end(list);                                                               \
        int writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC); \
        int here = within(path) || (path[0] != '/' && at != AT_FDCWD && open_within(at)); \
        if (writes && here && fails("open")) return -1;                             \
        return REAL(function)(at, path, flags, mode);                               \
    }
OPENAT(openat)
OPENAT(openat64)

/* A write of `n` bytes by `call`, which may use half. */
#define WRITING(fd, n, call)                                                        \
    if (open_within(fd)) {                                                          \
        enum outcome o = happens("write", 1);                                       \
        if (o == FAIL) return -1;                                                   \
        size_t half = (n) / 2;                                                      \
        if (o != GO && half > 0) {                                                  \
            ssize_t done = call;                                                    \
            if (o == HALF_AND_DIE) die();                                           \
            return done;                                                            \
        }                                                                           \
        if (o == HALF_AND_DIE) die();                                               \
    }

ssize_t write(int fd, const void *buffer, size_t n) {
    WRITING(fd, n, REAL(write)(fd, buffer, half))
    return REAL(write)(fd, buffer, n);
}

ssize_t pwrite(int fd, const void *buffer, size_t n, off_t at) {
    WRITING(fd, n, REAL(pwrite)(fd, buffer, half, at))
    return REAL(pwrite)(fd, buffer, n, at);
}

ssize_t pwrite64(int fd, const void *buffer, size_t n, off64_t at) {
    WRITING(fd, n, REAL(pwrite64)(fd, buffer, half, at))
    return REAL(pwrite64)(fd, buffer, n, at);
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t n, unsigned flags) {
    WRITING(out, n, REAL(copy_file_range)(in, from, out, to, half, flags))
    return REAL(copy_file_range)(in, from, out, to, n, flags);
}

#define BY_FD(function, extra_parameters, extra_arguments)                          \
    int function(int fd extra_parameters) {                                         \
        if (open_within(fd) && fails(#function)) return -1;                         \
        return REAL(function)(fd extra_arguments);                                  \
    }
#define COMMA ,
BY_FD(fchmod, COMMA mode_t mode, COMMA mode)

#define HELD(function, label, extra_parameters, extra_arguments)                    \
    int function(int fd extra_parameters) {                                         \
        if (open_within(fd) && happens(label, 1) == FAIL) return -1;                \
        return REAL(function)(fd extra_arguments);                                  \
    }
HELD(ftruncate, "ftruncate", COMMA off_t n, COMMA n)
HELD(ftruncate64, "ftruncate", COMMA off64_t n, COMMA n)
HELD(fsync, "fsync", , )
HELD(fdatasync, "fsync", , )

int fallocate(int fd, int mode, off_t at, off_t n) {
    if (open_within(fd) && happens("fallocate", 1) == FAIL) return -1;
    return REAL(fallocate)(fd, mode, at, n);
}

int rename(const char *from, const char *to) {
    if ((within(from) || within(to)) && fails("rename")) return -1;
    return REAL(rename)(from, to);
}

int renameat(int a, const char *from, int b, const char *to) {
    if ((within(from) || within(to)) && fails("rename")) return -1;
    return REAL(renameat)(a, from, b, to);
}

int link(const char *from, const char *to) {
    if (within(to) && fails("link")) return -1;
    return REAL(link)(from, to);
}

int unlink(const char *path) {
    if (within(path) && fails("unlink")) return -1;
    return REAL(unlink)(path);
}

int mkdir(const char *path, mode_t mode) {
    if (within(path) && fails("mkdir")) return -1;
    return REAL(mkdir)(path, mode);
}

int rmdir(const char *path) {
    if (within(path) && fails("rmdir")) return -1;
    return REAL(rmdir)(path);
}
