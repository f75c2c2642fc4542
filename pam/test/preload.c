/*
 * What the tests in test/pam put between pamtester and libc (LD_PRELOAD), so that they need neither root nor an account nor minutes:
 *
 *   PRELOAD_SYSLOG=FILE    what is said to syslog(3) is appended to the file, "<priority> text", with the facility in the priority
 *   PRELOAD_SHADOW=LINE    the one line of the shadow file; "": there is none for anybody
 *   PRELOAD_PASSWD=NUMBER  getpwnam_r fails with this errno
 *   PRELOAD_ENVIRON=FILE   what is put into PAM's environment is appended to the file
 *   PRELOAD_HURRY=TIMES    the monotonic clock runs so many times as fast, and poll waits as much shorter
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <security/pam_modules.h>
#include <shadow.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define OURS __attribute__((visibility("default")))

/* The names that fortified callers use. */
__attribute__((format(printf, 3, 4))) OURS void __syslog_chk(int priority, int flag, const char *format, ...);
OURS int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t size);

static void append(const char *path, const char *line) {
  const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0 || dprintf(fd, "%s\n", line) < 0) abort();
  close(fd);
}

__attribute__((format(printf, 2, 0))) static void note(int priority, const char *format, va_list list) {
  const char *path = getenv("PRELOAD_SYSLOG");
  char text[4096];
  const int begin = snprintf(text, sizeof text, "<%d> ", priority);
  const int rest = vsnprintf(text + begin, sizeof text - (size_t)begin, format, list);
  if (path != NULL && rest >= 0) append(path, text);
}

OURS void syslog(int priority, const char *format, ...) {
  va_list list;
  va_start(list, format);
  note(priority, format, list);
  va_end(list);
}

OURS void __syslog_chk(int priority, int flag, const char *format, ...) {
  va_list list;
  (void)flag;
  va_start(list, format);
  note(priority, format, list);
  va_end(list);
}

OURS int getspnam_r(const char *name, struct spwd *entry, char *room, size_t size, struct spwd **found) {
  const char *line = getenv("PRELOAD_SHADOW");
  *found = NULL;
  if (line == NULL || *line == '\0') return 0;
  const int error = sgetspent_r(line, entry, room, size, found);
  if (error == 0 && *found != NULL && strcmp(entry->sp_namp, name) != 0) *found = NULL;
  return error;
}

OURS int getpwnam_r(const char *name, struct passwd *entry, char *room, size_t size, struct passwd **found) {
  const char *number = getenv("PRELOAD_PASSWD");
  int (*real)(const char *, struct passwd *, char *, size_t, struct passwd **);
  *(void **)&real = dlsym(RTLD_NEXT, "getpwnam_r");
  *found = NULL;
  return number != NULL ? atoi(number) : real(name, entry, room, size, found);
}

OURS int pam_putenv(pam_handle_t *pamh, const char *line) {
  const char *path = getenv("PRELOAD_ENVIRON");
  int (*real)(pam_handle_t *, const char *);
  *(void **)&real = dlsym(RTLD_NEXT, "pam_putenv");
  if (path != NULL) append(path, line);
  return real(pamh, line);
}

static int hurry(void) {
  const char *times = getenv("PRELOAD_HURRY");
  return times != NULL ? atoi(times) : 1;
}

OURS int clock_gettime(clockid_t clock, struct timespec *now) {
  if (syscall(SYS_clock_gettime, clock, now) != 0) return -1;
  if (clock != CLOCK_MONOTONIC) return 0;
  const long long fast = ((long long)now->tv_sec * 1000000000 + now->tv_nsec) * hurry();
  now->tv_sec = (time_t)(fast / 1000000000);
  now->tv_nsec = (long)(fast % 1000000000);
  return 0;
}

OURS int poll(struct pollfd *fds, nfds_t count, int timeout) {
  const long long left = (long long)timeout * 1000000 / hurry();
  const struct timespec rest = {(time_t)(left / 1000000000), (long)(left % 1000000000)};
  return ppoll(fds, count, timeout < 0 ? NULL : &rest, NULL);
}

OURS int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t size) {
  if (count > size / sizeof *fds) abort();
  return poll(fds, count, timeout);
}
