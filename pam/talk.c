#define _GNU_SOURCE /* struct ucred, POLLRDHUP */
#include "talk.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CONNECT_MS = 2000, AGAIN_MS = 20 };

static int64_t now_ms(void) {
  struct timespec now = {0};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static enum outcome broken(struct talk *talk, const char *wrong) {
  talk->wrong = wrong;
  return TALK_BROKEN;
}

const char *path_trouble(const char *path, uid_t account) {
  struct sockaddr_un limit;
  char step[sizeof limit.sun_path];
  struct stat found = {0};
  const size_t length = strlen(path);
  if (path[0] != '/' || length >= sizeof step) return "the socket's path is not absolute or longer than 107 bytes";
  for (size_t i = 1; i <= length; i++) {
    if (i > 1 && path[i] != '/' && path[i] != '\0') continue;
    memcpy(step, path, i);
    step[i] = '\0';
    if (lstat(step, &found) != 0) return "the socket is not there; is the broker running?";
    if (found.st_uid != 0 && found.st_uid != account) return "the socket or a folder above it belongs to another account";
    if (i == length) break;
    if (!S_ISDIR(found.st_mode)) return "a folder above the socket is a symbolic link or no folder";
    if ((found.st_mode & (S_IWGRP | S_IWOTH)) != 0) return "a folder above the socket can be written by others";
  }
  return S_ISSOCK(found.st_mode) ? NULL : "what is at the socket's path is no socket";
}

uid_t uid_of(const char *account) {
  struct passwd entry, *found = NULL;
  char room[16384];
  return getpwnam_r(account, &entry, room, sizeof room, &found) == 0 && found != NULL ? found->pw_uid : 0;
}

static enum outcome dial(struct talk *talk, const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const int64_t until = now_ms() + CONNECT_MS;
  memcpy(address.sun_path, path, strlen(path) + 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  /* Never one of the standard streams, should the program have closed its own: somebody's printf would go to the broker. */
  talk->socket = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (fd >= 0) close(fd);
  if (talk->socket < 0) return broken(talk, "no descriptor is left");
  /* A full queue says EAGAIN at once (unix(7)), and there is nothing to poll for. */
  while (connect(talk->socket, (const struct sockaddr *)&address, sizeof address) != 0) {
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return broken(talk, "the broker does not accept connections");
    if (now_ms() >= until) return broken(talk, "the broker is too busy");
    poll(NULL, 0, AGAIN_MS);
  }
  return TALK_OK;
}

enum outcome talk_open(struct talk *talk, const char *path, const char *account, int client, unsigned seconds) {
  const uid_t uid = uid_of(account);
  talk->socket = -1;
  talk->client = client;
  talk->deadline = now_ms() + (int64_t)seconds * 1000;
  talk->wrong = path_trouble(path, uid);
  if (talk->wrong != NULL) return TALK_BROKEN;
  const enum outcome outcome = dial(talk, path);
  if (outcome != TALK_OK) return outcome;
  struct ucred peer = {0};
  socklen_t size = sizeof peer;
  if (getsockopt(talk->socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || size != sizeof peer || (peer.uid != 0 && peer.uid != uid))
    return broken(talk, "who listens on the socket is neither root nor the broker's account");
  return TALK_OK;
}

/** Until the socket is ready. The client's leaving counts for more: nobody is left to whom the rest would matter. */
static enum outcome await(struct talk *talk, short events) {
  for (;;) {
    struct pollfd watched[2] = {{talk->socket, events, 0}, {talk->client, POLLRDHUP, 0}};
    const int64_t left = talk->deadline - now_ms();
    if (left <= 0) return TALK_LATE;
    const int ready = poll(watched, 2, (int)left);
    if (ready < 0 && errno != EINTR) return broken(talk, "poll failed");
    if (ready <= 0) continue;
    if (watched[1].revents != 0) return TALK_GONE;
    if (watched[0].revents != 0) return TALK_OK;
  }
}

enum outcome talk_send(struct talk *talk, const struct record *record) {
  const size_t length = record_write(record, FROM_MODULE, talk->buffer, sizeof talk->buffer);
  if (length == 0) return broken(talk, "the user, service or host has a name that cannot be sent");
  for (size_t sent = 0; sent < length;) {
    const enum outcome outcome = await(talk, POLLOUT);
    if (outcome != TALK_OK) return outcome;
    const ssize_t some = send(talk->socket, talk->buffer + sent, length - sent, MSG_NOSIGNAL);
    /* Its last word may lie there unread: it may come to an end while a person sits before a prompt. */
    if (some < 0 && (errno == EPIPE || errno == ECONNRESET)) return TALK_OK;
    if (some < 0 && errno != EINTR && errno != EAGAIN) return broken(talk, "the broker cannot be written to");
    if (some > 0) sent += (size_t)some;
  }
  return TALK_OK;
}

static enum outcome read_all(struct talk *talk, unsigned char *to, size_t length) {
  while (length > 0) {
    const enum outcome outcome = await(talk, POLLIN);
    if (outcome != TALK_OK) return outcome;
    const ssize_t some = recv(talk->socket, to, length, 0);
    if (some < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (some <= 0) return broken(talk, "the broker has hung up");
    to += some;
    length -= (size_t)some;
  }
  return TALK_OK;
}

enum outcome talk_receive(struct talk *talk, struct record *record) {
  size_t payload = 0;
  enum outcome outcome = read_all(talk, talk->buffer, HEADER_SIZE);
  if (outcome != TALK_OK) return outcome;
  talk->wrong = record_header(talk->buffer, FROM_BROKER, &payload);
  if (talk->wrong != NULL) return TALK_BROKEN;
  outcome = read_all(talk, talk->buffer + HEADER_SIZE, payload);
  if (outcome != TALK_OK) return outcome;
  talk->wrong = record_parse(talk->buffer, HEADER_SIZE + payload, FROM_BROKER, record);
  return talk->wrong == NULL ? TALK_OK : TALK_BROKEN;
}

void talk_close(struct talk *talk) {
  if (talk->socket >= 0) close(talk->socket);
  talk->socket = -1;
}
