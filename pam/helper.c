#include "helper.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_COOKIE
#define SO_COOKIE 57 /* Linux 4.12 */
#endif

/** If `word` begins with `name`, what follows. */
static const char *value_of(const char *word, const char *name) {
  const size_t length = strlen(name);
  return strncmp(word, name, length) == 0 ? word + length : NULL;
}

/** A decimal number without sign or blanks; -1: none, or more than 9 digits. */
static long number(const char *text) {
  const size_t digits = strspn(text, "0123456789");
  return digits == 0 || digits > 9 || text[digits] != '\0' ? -1 : strtol(text, NULL, 10);
}

static bool take(struct options *options, const char *word) {
  const char *value;
  if (strcmp(word, "quiet") == 0) return options->quiet = true;
  if ((value = value_of(word, "socket=")) != NULL) {
    options->socket = value;
    return *value == '/';
  }
  if ((value = value_of(word, "account=")) != NULL) {
    options->account = value;
    return *value != '\0';
  }
  if ((value = value_of(word, "timeout=")) != NULL) {
    const long seconds = number(value);
    if (seconds < 10 || seconds > 3600) return false;
    options->timeout = (unsigned)seconds;
    return true;
  }
  if ((value = value_of(word, "mode=")) != NULL) {
    options->seed = strcmp(value, "seed") == 0;
    return options->seed || strcmp(value, "login") == 0;
  }
  if ((value = value_of(word, "prompt=")) != NULL) {
    options->prompt = strcmp(value, "always") == 0 ? PROMPT_ALWAYS : strcmp(value, "never") == 0 ? PROMPT_NEVER : PROMPT_AUTO;
    return options->prompt != PROMPT_AUTO || strcmp(value, "auto") == 0;
  }
  return false;
}

const char *options_parse(struct options *options, int argc, const char **argv) {
  const char *wrong = NULL;
  *options = (struct options){.socket = "/run/credmon/pam/socket", .account = "credmon", .timeout = 280};
  for (int i = 0; i < argc; i++)
    if (!take(options, argv[i]) && wrong == NULL) wrong = argv[i];
  return wrong;
}

/** Reads the beginning of a small file as a string. */
static bool read_some(const char *path, char *to, size_t room) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) return false;
  ssize_t got;
  do got = read(fd, to, room - 1);
  while (got < 0 && errno == EINTR);
  close(fd);
  to[got < 0 ? 0 : got] = '\0';
  return got > 0;
}

bool prompt_never(const char *path) {
  char text[32];
  if (!read_some(path, text, sizeof text)) return false;
  const char *word = text + strspn(text, " \t\r\n");
  return strcspn(word, " \t\r\n") == 5 && strncmp(word, "never", 5) == 0;
}

/** The peer of a TCP connection as sshd writes it, IPv4 in IPv6 as IPv4; its port, or 0 if it is no such descriptor. */
static unsigned peer_of(int fd, char address[INET6_ADDRSTRLEN]) {
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage room;
  } peer = {0};
  socklen_t length = sizeof peer;
  int type = 0;
  socklen_t size = sizeof type;
  if (getpeername(fd, &peer.any, &length) != 0) return 0;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) return 0;
  const bool v6 = peer.any.sa_family == AF_INET6, mapped = v6 && IN6_IS_ADDR_V4MAPPED(&peer.v6.sin6_addr);
  if (!v6 && peer.any.sa_family != AF_INET) return 0;
  const void *bytes = mapped ? &peer.v6.sin6_addr.s6_addr[12] : v6 ? (const void *)&peer.v6.sin6_addr : &peer.v4.sin_addr;
  if (inet_ntop(v6 && !mapped ? AF_INET6 : AF_INET, bytes, address, INET6_ADDRSTRLEN) == NULL) return 0;
  return ntohs(v6 ? peer.v6.sin6_port : peer.v4.sin_port);
}

int client_descriptor(const char *ssh_connection, const char *rhost) {
  const char *wanted = ssh_connection != NULL ? ssh_connection : rhost;
  if (wanted == NULL) return -1;
  const size_t length = strcspn(wanted, " %"); /* a zone (%eth0) is no part of what is compared */
  unsigned port = 0;
  if (ssh_connection != NULL) {
    const char *second = strchr(wanted, ' ');
    if (second == NULL) return -1;
    port = (unsigned)strtoul(second, NULL, 10);
  }
  /* sshd closes what it inherits: its descriptors are low ones. /proc is not there in every jail. */
  for (int fd = 0; fd < 1024; fd++) {
    char address[INET6_ADDRSTRLEN];
    const unsigned from = peer_of(fd, address);
    if (from == 0 || (ssh_connection != NULL && from != port)) continue;
    if (strlen(address) == length && strncmp(address, wanted, length) == 0) return fd;
  }
  return -1;
}

bool connection_id(int client, char id[CONNECTION_MAX + 1]) {
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (client >= 0 && getsockopt(client, SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0 && size == sizeof cookie)
    return snprintf(id, CONNECTION_MAX + 1, "c:%" PRIx64, cookie) > 0;
  char stat[1024];
  if (!read_some("/proc/self/stat", stat, sizeof stat)) return false;
  /* proc(5): the 22nd field; the second is the program's name in parentheses, with whatever characters in it. */
  const char *field = strrchr(stat, ')');
  for (int i = 2; field != NULL && i < 22; i++) field = strchr(field + 1, ' ');
  if (field == NULL) return false;
  return snprintf(id, CONNECTION_MAX + 1, "p:%ld:%llu", (long)getpid(), strtoull(field, NULL, 10)) > 0;
}

bool shadow_locked(const struct spwd *entry, long today) {
  if (entry == NULL) return false;
  if (entry->sp_expire > 0 && entry->sp_expire <= today) return true;
  const char *password = entry->sp_pwdp != NULL ? entry->sp_pwdp : "";
  const size_t marks = strspn(password, "!"); /* Red Hat's passwd -l writes two */
  return marks > 0 && (password[marks] == '$' || strlen(password + marks) >= 13); /* 13: crypt(5), descrypt has no prefix */
}

bool verified_key(const char *first) {
  while (first != NULL && *first != '\0') {
    if (value_of(first, "publickey ") != NULL) return true;
    first = strchr(first, '\n');
    if (first != NULL) first++;
  }
  return false;
}

size_t cut(const char *text, size_t most) {
  size_t length = strnlen(text, most + 1);
  if (length <= most) return length;
  for (length = most; length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80; length--);
  return length;
}
