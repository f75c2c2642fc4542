/*
 * Loaded into credmond by LD_PRELOAD: file system calls fail, stop or kill the process where a test says so, and are written
 * down for it. libuv makes them through these functions of the C library. See shim.ts.
 *
 * FAULTS_RULES names a file with a line a rule, read at each call: `<call> <what> <part of a path>`, where a `$` is the end
 * of the path; <what> is
 *   EIO, ENOSPC, …  the call fails with it, and does nothing;
 *   SHORT           half of what is to be written is written;
 *   STOP, KILL      the process is stopped (SIGSTOP), or killed, before the call;
 *   KILLED          it is killed right after the call.
 * FAULTS_LOG names a file that gets a line for each call that changes something below FAULTS_ROOT:
 *   `<call> <inode> <path> [<new path>] [<bytes in hex>]`, in the order in which they took effect; `syncing` where an fsync begins.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* A rename has two. */
struct subject { const char *call; char path[PATH_MAX]; char other[PATH_MAX]; };

static const struct { const char *name; int number; } errors[] = {
    {"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EROFS", EROFS}, {"EDQUOT", EDQUOT}, {"EMFILE", EMFILE}, {"EACCES", EACCES}, {"ENOENT", ENOENT},
};

enum { GO_ON = 0, SHORT = -1, KILLED = -2 };

/* Calls that are written down take effect one after the other. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static int fits(const char *path, const char *part) {
    size_t whole = strlen(path), length = strlen(part);
    if (length == 0 || part[length - 1] != '$') return strstr(path, part) != NULL;
    length--;
    return whole >= length && strncmp(path + whole - length, part, length) == 0;
}

/* The error number that the rules give this call, or one of the above. */
static int ruled(const struct subject *s) {
    const char *file = getenv("FAULTS_RULES");
    if (!file) return GO_ON;
    char text[4096];
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return GO_ON;
    long length = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (length <= 0) return GO_ON;
    text[length] = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char call[32], what[32], part[PATH_MAX];
        if (sscanf(line, "%31s %31s %4095s", call, what, part) != 3 || strcmp(call, s->call) != 0) continue;
        if (!fits(s->path, part) && !fits(s->other, part)) continue;
        if (!strcmp(what, "SHORT")) return SHORT;
        if (!strcmp(what, "KILLED")) return KILLED;
        if (!strcmp(what, "KILL")) syscall(SYS_kill, getpid(), SIGKILL);
        if (!strcmp(what, "STOP")) {
            /* To this thread: else another may take it, and this one go on meanwhile. */
            syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGSTOP);
            return GO_ON;
        }
        for (size_t n = 0; n < sizeof errors / sizeof *errors; n++)
            if (!strcmp(what, errors[n].name)) return errors[n].number;
    }
    return GO_ON;
}

/* What a descriptor stands for, as it is called now; nothing for a socket or pipe. */
static void of_descriptor(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length > 0 && path[0] == '/' ? length : 0] = 0;
}

/* The folder of the name may be /proc/self/fd/N, see src/stores/folder.ts. */
static void of_name(const char *name, char *path) {
    int fd, used = 0;
    path[0] = 0;
    if (sscanf(name, "/proc/self/fd/%d%n", &fd, &used) == 1 && (name[used] == '/' || !name[used])) {
        of_descriptor(fd, path);
        strncat(path, name + used, PATH_MAX - 1 - strlen(path));
    } else if (strncmp(name, "/proc/", 6) != 0) {
        strncpy(path, name, PATH_MAX - 1);
        path[PATH_MAX - 1] = 0;
    }
}

static void note(const struct subject *s, unsigned long inode, const struct iovec *parts, int count, size_t length) {
    const char *file = getenv("FAULTS_LOG"), *root = getenv("FAULTS_ROOT");
    if (!file || !root || (strncmp(s->path, root, strlen(root)) != 0 && strncmp(s->other, root, strlen(root)) != 0)) return;
    size_t size = 2 * PATH_MAX + 64 + 2 * length, at;
    char *line = malloc(size);
    if (!line) abort();
    at = snprintf(line, size, "%s %lu %s%s%s ", s->call, inode, s->path, s->other[0] ? " " : "", s->other);
    for (int n = 0; n < count; n++)
        for (size_t i = 0; i < parts[n].iov_len && length > 0; i++, length--)
            at += snprintf(line + at, size - at, "%02x", ((const unsigned char *)parts[n].iov_base)[i]);
    line[at++] = '\n';
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || syscall(SYS_write, fd, line, at) != (long)at) abort();
    syscall(SYS_close, fd);
    free(line);
}

static unsigned long inode_of(int fd) {
    struct stat st;
    return fstat(fd, &st) ? 0 : st.st_ino;
}

static unsigned long inode_at(const char *path) {
    struct stat st;
    return lstat(path, &st) ? 0 : st.st_ino;
}

#define REAL(name, result, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

/* Before the call: 0, or leaves with its error. After it: writes it down, and keeps errno. */
#define BEGIN(failed) \
    int ruling = ruled(&s); \
    if (ruling > 0) { errno = ruling; return failed; } \
    pthread_mutex_lock(&turn)
#define END(done, inode, parts, count, length) \
    do { \
        int kept = errno; \
        if (done) note(&s, inode, parts, count, length); \
        if (ruling == KILLED) syscall(SYS_kill, getpid(), SIGKILL); \
        pthread_mutex_unlock(&turn); \
        errno = kept; \
    } while (0)

int open64(const char *name, int flags, ...) {
    REAL(open64, int, const char *, int, ...);
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    struct subject s = {.call = (flags & O_CREAT) ? "create" : "open"};
    of_name(name, s.path);
    BEGIN(-1);
    int fd = real(name, flags, mode);
    /* Without O_EXCL it may have been there. */
    if ((flags & O_CREAT) && !(flags & O_EXCL)) s.call = "opened";
    END(fd >= 0 && (flags & O_CREAT), inode_of(fd), NULL, 0, 0);
    return fd;
}

static ssize_t write_parts(ssize_t (*real)(int, const struct iovec *, int), int fd, const struct iovec *parts, int count) {
    struct subject s = {.call = "write"};
    of_descriptor(fd, s.path);
    /* Sockets and pipes wait, and are none of ours. */
    if (!s.path[0]) return real(fd, parts, count);
    BEGIN(-1);
    struct iovec half = count > 0 ? parts[0] : (struct iovec){0};
    half.iov_len = (half.iov_len + 1) / 2;
    ssize_t done = ruling == SHORT ? real(fd, &half, 1) : real(fd, parts, count);
    END(done > 0, inode_of(fd), parts, count, done > 0 ? done : 0);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev, ssize_t, int, const struct iovec *, int);
    return write_parts(real, fd, parts, count);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(writev, ssize_t, int, const struct iovec *, int);
    const struct iovec all = {.iov_base = (void *)bytes, .iov_len = length};
    return write_parts(real, fd, &all, 1);
}

/* At a place of its own: of one slot of a file that is there for long. */
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t place) {
    REAL(pwrite64, ssize_t, int, const void *, size_t, off64_t);
    struct subject s = {.call = "pwrite"};
    of_descriptor(fd, s.path);
    BEGIN(-1);
    const struct iovec all = {.iov_base = (void *)bytes, .iov_len = length};
    ssize_t done = real(fd, bytes, length, place);
    END(done > 0, inode_of(fd), &all, 1, done > 0 ? done : 0);
    return done;
}

static int sync_with(int (*real)(int), int fd) {
    struct subject s = {.call = "fsync"};
    of_descriptor(fd, s.path);
    BEGIN(-1);
    /* It waits for the disk: others are not held up, and what they do meanwhile is not made durable by it. */
    s.call = "syncing";
    note(&s, inode_of(fd), NULL, 0, 0);
    s.call = "fsync";
    pthread_mutex_unlock(&turn);
    int done = real(fd);
    pthread_mutex_lock(&turn);
    END(done == 0, inode_of(fd), NULL, 0, 0);
    return done;
}

int fsync(int fd) {
    REAL(fsync, int, int);
    return sync_with(real, fd);
}

int fdatasync(int fd) {
    REAL(fdatasync, int, int);
    return sync_with(real, fd);
}

int rename(const char *from, const char *to) {
    REAL(rename, int, const char *, const char *);
    struct subject s = {.call = "rename"};
    of_name(from, s.path);
    of_name(to, s.other);
    BEGIN(-1);
    unsigned long inode = inode_at(from);
    int done = real(from, to);
    END(done == 0, inode, NULL, 0, 0);
    return done;
}

#define BY_NAME(function, title) \
    int function(const char *name) { \
        REAL(function, int, const char *); \
        struct subject s = {.call = title}; \
        of_name(name, s.path); \
        BEGIN(-1); \
        unsigned long inode = inode_at(name); \
        int done = real(name); \
        END(done == 0, inode, NULL, 0, 0); \
        return done; \
    }

BY_NAME(unlink, "unlink")
BY_NAME(rmdir, "rmdir")

int mkdir(const char *name, mode_t mode) {
    REAL(mkdir, int, const char *, mode_t);
    struct subject s = {.call = "mkdir"};
    of_name(name, s.path);
    BEGIN(-1);
    int done = real(name, mode);
    END(done == 0, inode_at(name), NULL, 0, 0);
    return done;
}

/* Neither changes anything on disk. */
int inotify_init1(int flags) {
    REAL(inotify_init1, int, int);
    struct subject s = {.call = "inotify", .path = "inotify"};
    int ruling = ruled(&s);
    if (ruling > 0) { errno = ruling; return -1; }
    return real(flags);
}

int inotify_add_watch(int fd, const char *name, uint32_t mask) {
    REAL(inotify_add_watch, int, int, const char *, uint32_t);
    struct subject s = {.call = "watch"};
    of_name(name, s.path);
    int ruling = ruled(&s);
    if (ruling > 0) { errno = ruling; return -1; }
    return real(fd, name, mask);
}
