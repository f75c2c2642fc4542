/*
 * The tests of everything but the entry points (those: test/pam, with a real libpam).
 *
 *   unit VECTORS          the records by the table that the broker's side is tested by, too; then the helpers and the talk
 *   unit VECTORS FOLDER   also writes the records of the table there, for the fuzzer: a byte that says who sends them, then they
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "helper.h"
#include "talk.h"

static unsigned checks, failures;

#define CHECK(holds) check((holds), #holds, __LINE__)

static bool check(bool holds, const char *what, int line) {
  checks++;
  if (!holds) {
    failures++;
    fprintf(stderr, "unit.c:%d: not so: %s\n", line, what);
  }
  return holds;
}

/* --- the table ------------------------------------------------------------------------------------------------------- */

enum { BYTES_MAX = 1 << 17 };

static const char *const type_names[] = {
  [AUTH] = "auth", [ANSWER] = "answer", [ACCOUNT] = "account", [COMMIT] = "commit", [SHOW] = "show", [ASK] = "ask", [VERDICT] = "verdict",
};
static const char *const tag_names[TAGS] = {
  [USER] = "user", [CONNECTION] = "connection", [SERVICE] = "service", [RHOST] = "rhost", [FIRST] = "first", [MODE] = "mode", [FACE] = "face",
  [SECONDS] = "seconds", [LOCKED] = "locked", [EMPTY] = "empty", [TEXT] = "text", [RESULT] = "result", [AUDIT] = "audit",
};

static unsigned char hex(const char *digits) {
  const char two[] = {digits[0], digits[1], '\0'};
  return (unsigned char)strtoul(two, NULL, 16);
}

/** Appends `times` copies of what `bytes` ends with. */
static void repeat(char *bytes, size_t *length, size_t unit, unsigned long times) {
  for (unsigned long i = 1; i < times && *length + unit <= BYTES_MAX; i++, *length += unit)
    memcpy(bytes + *length, bytes + *length - unit, unit);
}

static size_t read_bytes(char *words, char *bytes) {
  size_t length = 0;
  for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) {
    const size_t from = length;
    const char *p = word;
    for (; p[0] != '\0' && p[0] != '*' && p[0] != '-' && length < BYTES_MAX; p += 2) bytes[length++] = (char)hex(p);
    if (*p == '*') repeat(bytes, &length, length - from, strtoul(p + 1, NULL, 10));
  }
  return length;
}

/** `a%20b` or `a*255`. */
static size_t read_value(const char *p, char *bytes) {
  size_t length = 0;
  for (; *p != '\0' && *p != '*'; p++) {
    bytes[length++] = *p == '%' ? (char)hex(p + 1) : *p;
    if (*p == '%') p += 2;
  }
  if (*p == '*') repeat(bytes, &length, length, strtoul(p + 1, NULL, 10));
  return length;
}

/** A copy that ends where its bytes end, so that sanitizers and valgrind see each step beyond. */
static const char *parse(const char *bytes, size_t length, enum sender sender, struct record *record, unsigned char **copy) {
  *copy = malloc(length + (length == 0));
  if (*copy == NULL) abort();
  memcpy(*copy, bytes, length);
  return record_parse(*copy, length, sender, record);
}

static bool good(const char *bytes, size_t length, enum sender sender) {
  struct record record;
  unsigned char *copy, again[RECORD_MAX];
  const bool taken = parse(bytes, length, sender, &record, &copy) == NULL;
  if (taken) CHECK(record_write(&record, sender, again, sizeof again) == length && memcmp(again, bytes, length) == 0);
  free(copy);
  return taken;
}

static void test_vector(const char *name, enum sender sender, const char *bytes, size_t length, char *expected) {
  static char value[BYTES_MAX];
  struct record record;
  unsigned char *copy;
  const unsigned before = failures;
  const char *wrong = parse(bytes, length, sender, &record, &copy);
  const bool ok = strncmp(expected, "ok ", 3) == 0;
  CHECK(ok == (wrong == NULL));
  if (ok && wrong == NULL) {
    char *word = strtok(expected + 3, " ");
    CHECK(strcmp(word, type_names[record.type]) == 0);
    unsigned tag = 0;
    while ((word = strtok(NULL, " ")) != NULL) {
      char *value_at = strchr(word, '=');
      if (!CHECK(value_at != NULL)) break;
      *value_at++ = '\0';
      for (tag++; tag < TAGS && (tag_names[tag] == NULL || strcmp(tag_names[tag], word) != 0); tag++) CHECK(record.fields[tag].bytes == NULL);
      if (!CHECK(tag < TAGS)) break;
      const size_t size = read_value(value_at, value);
      CHECK(record.fields[tag].bytes != NULL && record.fields[tag].length == size && memcmp(record.fields[tag].bytes, value, size) == 0);
    }
    for (tag++; tag < TAGS; tag++) CHECK(record.fields[tag].bytes == NULL);
    CHECK(good(bytes, length, sender));
    CHECK(!good(bytes, length, sender == FROM_BROKER ? FROM_MODULE : FROM_BROKER));
    for (size_t room = 0; room < length && room < 600; room++) CHECK(record_write(&record, sender, (unsigned char[600]){0}, room) == 0);
  }
  free(copy);
  if (failures != before) fprintf(stderr, "  in the vector: %s%s%s\n", name, wrong != NULL ? ": " : "", wrong != NULL ? wrong : "");
}

/** Whatever is cut off, added, or turned over in a good record: refused, or another record that is written back as it came. */
static void test_neighbours(const char *bytes, size_t length, enum sender sender) {
  static char changed[BYTES_MAX];
  if (length > 400) return;
  memcpy(changed, bytes, length);
  changed[length] = 0;
  for (size_t cut = 0; cut < length; cut++) CHECK(!good(changed, cut, sender));
  CHECK(!good(changed, length + 1, sender));
  for (size_t bit = 0; bit < length * 8; bit++) {
    changed[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
    good(changed, length, sender);
    changed[bit / 8] = bytes[bit / 8];
  }
}

static void keep(const char *folder, unsigned number, enum sender sender, const char *bytes, size_t length) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%03u", folder, number);
  FILE *file = fopen(path, "we");
  if (file == NULL || length > 17000) abort();
  fputc(sender == FROM_BROKER ? '1' : '0', file);
  fwrite(bytes, 1, length, file);
  fclose(file);
}

static void test_vectors(const char *path, const char *folder) {
  static char line[1 << 16], bytes[BYTES_MAX + 1];
  unsigned number = 0, taken = 0;
  FILE *file = fopen(path, "re");
  if (file == NULL) {
    perror(path);
    exit(2);
  }
  while (fgets(line, sizeof line, file) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    if (line[0] == '\0' || line[0] == '#') continue;
    char *part[4] = {line};
    for (int i = 1; i < 4; i++) {
      char *bar = part[i - 1] != NULL ? strstr(part[i - 1], " | ") : NULL;
      part[i] = bar != NULL ? bar + 3 : NULL;
      if (bar != NULL) *bar = '\0';
    }
    if (!CHECK(part[3] != NULL)) break;
    const enum sender sender = strcmp(part[1], "broker") == 0 ? FROM_BROKER : FROM_MODULE;
    const bool ok = strncmp(part[3], "ok ", 3) == 0;
    const size_t length = read_bytes(part[2], bytes);
    number++;
    taken += ok;
    test_vector(part[0], sender, bytes, length, part[3]);
    if (ok) test_neighbours(bytes, length, sender);
    if (folder != NULL && length <= 17000) keep(folder, number, sender, bytes, length);
  }
  fclose(file);
  CHECK(number > 150 && taken > 40 && number - taken > 100);
}

static void test_writer(void) {
  static char much[PAYLOAD_MAX + 2];
  unsigned char out[RECORD_MAX + 100];
  memset(much, 'x', sizeof much - 1);
  struct record record = {.type = ANSWER};
  CHECK(record_write(&record, FROM_MODULE, out, sizeof out) == 0); /* without its field */
  record_put(&record, EMPTY, "2");
  CHECK(record_write(&record, FROM_MODULE, out, sizeof out) == 0);
  record_put(&record, EMPTY, "1");
  CHECK(record_write(&record, FROM_BROKER, out, sizeof out) == 0); /* not the broker's to send */
  CHECK(record_write(&record, FROM_MODULE, out, sizeof out) == 8);
  record_put(&record, TEXT, "x"); /* not for this type */
  CHECK(record_write(&record, FROM_MODULE, out, sizeof out) == 0);
  record = (struct record){.type = SHOW};
  record_put(&record, TEXT, much);
  CHECK(record_write(&record, FROM_BROKER, out, sizeof out) == 0);
  record = (struct record){.type = SHOW, .fields[TEXT] = {much, (size_t)-1}};
  CHECK(record_write(&record, FROM_BROKER, out, sizeof out) == 0);
  CHECK(!field_is((struct field){0}, "") && field_is((struct field){"", 0}, "") && !field_is((struct field){"ok", 2}, "okay"));
}

/* --- the helpers ----------------------------------------------------------------------------------------------------- */

static const char *options(struct options *options, const char *words) {
  static char copy[256];
  static const char *argv[16];
  int argc = 0;
  snprintf(copy, sizeof copy, "%s", words);
  for (char *word = strtok(copy, " "); word != NULL && argc < 16; word = strtok(NULL, " ")) argv[argc++] = word;
  return options_parse(options, argc, argv);
}

static void test_options(void) {
  struct options o;
  CHECK(options(&o, "") == NULL && !o.seed && !o.quiet && o.timeout == 280 && o.prompt == PROMPT_AUTO);
  CHECK(strcmp(o.socket, "/run/credmon/pam/socket") == 0 && strcmp(o.account, "credmon") == 0);
  CHECK(options(&o, "mode=seed socket=/a/b account=me timeout=10 prompt=never quiet") == NULL);
  CHECK(o.seed && o.quiet && o.timeout == 10 && o.prompt == PROMPT_NEVER && strcmp(o.socket, "/a/b") == 0 && strcmp(o.account, "me") == 0);
  CHECK(options(&o, "timeout=3600 prompt=always mode=login") == NULL && o.timeout == 3600 && o.prompt == PROMPT_ALWAYS && !o.seed);
  CHECK(options(&o, "mode=seed prompt=never prompt=auto mode=login") == NULL && o.prompt == PROMPT_AUTO && !o.seed);
  static const char *const bad[] = {
    "timeout=9",  "timeout=3601", "timeout=",     "timeout=60s", "timeout=-60",  "timeout=+60", "timeout=0x3c", "timeout=99999999999999999999",
    "mode=",      "mode=Seed",    "mode=seeds",   "mode",        "prompt=",      "prompt=none", "socket=",      "socket=run/x",
    "account=",   "quiet=1",      "debug",        "Quiet",       "use_first_pass", "socket",    "=",            "seed",
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    if (!CHECK(options(&o, bad[i]) != NULL && strcmp(options(&o, bad[i]), bad[i]) == 0 && !o.seed)) fprintf(stderr, "  of %s\n", bad[i]);
  /* The mode decides what a wrong word does, wherever it stands. */
  CHECK(options(&o, "nonsense mode=seed more") != NULL && strcmp(options(&o, "nonsense mode=seed more"), "nonsense") == 0 && o.seed);
  CHECK(options(&o, "mode=seed mode=other") != NULL && !o.seed);
}

static void test_prompt_file(const char *folder) {
  static const struct {
    const char *text;
    bool never;
  } files[] = {
    {"never", true}, {"never\n", true}, {"  \n\tnever because OpenSSH 10.5\n", true}, {"never\r\n", true}, {"always\n", false}, {"nevermore\n", false},
    {"Never\n", false}, {"neve", false}, {"", false}, {"\n", false}, {"always never\n", false}, {"# never\n", false},
    {"                                never\n", false}, /* more blanks than are read */
  };
  char path[4200];
  snprintf(path, sizeof path, "%s/pam-prompt", folder);
  CHECK(!prompt_never(path) && !prompt_never(folder) && !prompt_never("/dev/null"));
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    FILE *file = fopen(path, "we");
    if (file == NULL) abort();
    fputs(files[i].text, file);
    fclose(file);
    CHECK(prompt_never(path) == files[i].never);
  }
  unlink(path);
  if (mkfifo(path, 0600) != 0) abort();
  CHECK(!prompt_never(path)); /* and does not hang */
  unlink(path);
}

/** A TCP connection over loopback: the descriptor that a server would have, and the client's. */
static bool tcp(int family, bool mapped, int ends[2], unsigned *port) {
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = mapped ? in6addr_any : in6addr_loopback};
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  struct sockaddr *any = family == AF_INET6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
  socklen_t size = family == AF_INET6 ? sizeof v6 : sizeof v4;
  const int off = 0, listener = socket(family, SOCK_STREAM, 0);
  if (listener < 0) return false;
  if (mapped) setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(listener, any, size) != 0 || listen(listener, 1) != 0 || getsockname(listener, any, &size) != 0) {
    close(listener);
    return false;
  }
  v4.sin_port = family == AF_INET6 ? v6.sin6_port : v4.sin_port;
  const bool over4 = family == AF_INET || mapped;
  ends[1] = socket(over4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
  const bool connected = connect(ends[1], over4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, over4 ? sizeof v4 : sizeof v6) == 0;
  ends[0] = connected ? accept(listener, NULL, NULL) : -1;
  close(listener);
  struct sockaddr_storage own;
  size = sizeof own;
  if (ends[0] < 0 || getsockname(ends[1], (struct sockaddr *)&own, &size) != 0) return false;
  *port = ntohs(over4 ? ((struct sockaddr_in *)&own)->sin_port : ((struct sockaddr_in6 *)&own)->sin6_port);
  return true;
}

static void test_client(int family, bool mapped) {
  const char *address = family == AF_INET || mapped ? "127.0.0.1" : "::1";
  int ends[2];
  unsigned port;
  char info[128];
  if (!tcp(family, mapped, ends, &port)) {
    printf("skipped: no TCP over %s%s here\n", address, mapped ? " mapped into IPv6" : "");
    return;
  }
  snprintf(info, sizeof info, "%s %u %s 22", address, port, address);
  CHECK(client_descriptor(info, NULL) == ends[0] && client_descriptor(info, "another.example.org") == ends[0]);
  snprintf(info, sizeof info, "%s%%eth0 %u %s%%eth0 22", address, port, address);
  CHECK(client_descriptor(info, NULL) == ends[0]);
  snprintf(info, sizeof info, "%s %u %s 22", address, port == 1 ? 2 : port - 1, address);
  CHECK(client_descriptor(info, address) == -1);
  snprintf(info, sizeof info, "%s0 %u %s 22", address, port, address);
  CHECK(client_descriptor(info, NULL) == -1);
  CHECK(client_descriptor(NULL, address) == (ends[0] < ends[1] ? ends[0] : ends[1])); /* both ends are here */
  char id[CONNECTION_MAX + 1], again[CONNECTION_MAX + 1];
  CHECK(connection_id(ends[0], id) && strncmp(id, "c:", 2) == 0 && strspn(id + 2, "0123456789abcdef") == strlen(id + 2));
  CHECK(connection_id(ends[1], again) && strcmp(id, again) != 0);
  const int copy = dup(ends[0]);
  CHECK(connection_id(copy, again) && strcmp(id, again) == 0);
  close(copy);
  const pid_t child = fork(); /* as sshd does it */
  if (child == 0) _exit(connection_id(ends[0], again) && strcmp(id, again) == 0 ? 0 : 1);
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  close(ends[0]);
  close(ends[1]);
}

static void test_connections(void) {
  test_client(AF_INET, false);
  test_client(AF_INET6, false);
  test_client(AF_INET6, true);
  CHECK(client_descriptor(NULL, NULL) == -1 && client_descriptor(NULL, "") == -1 && client_descriptor("", NULL) == -1);
  CHECK(client_descriptor("UNKNOWN 65535 UNKNOWN 65535", "UNKNOWN") == -1 && client_descriptor("127.0.0.1", NULL) == -1);
  char id[CONNECTION_MAX + 1], again[CONNECTION_MAX + 1], begin[64];
  snprintf(begin, sizeof begin, "p:%ld:", (long)getpid());
  CHECK(connection_id(-1, id) && strncmp(id, begin, strlen(begin)) == 0 && strtoull(id + strlen(begin), NULL, 10) > 0);
  const int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
  CHECK(connection_id(file, again) && strcmp(id, again) == 0); /* no socket */
  close(file);
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) abort();
  CHECK(connection_id(pair[0], again));
  close(pair[0]);
  close(pair[1]);
}

static bool locked(const char *password, long expire) {
  char copy[128];
  if (password != NULL) snprintf(copy, sizeof copy, "%s", password);
  const struct spwd entry = {.sp_pwdp = password != NULL ? copy : NULL, .sp_expire = expire};
  return shadow_locked(&entry, 20000);
}

static void test_shadow(void) {
  CHECK(!shadow_locked(NULL, 20000) && !locked(NULL, -1));
  CHECK(!locked("$6$salt$hash", -1) && !locked("", -1) && !locked("*", -1) && !locked("!", -1) && !locked("!!", -1) && !locked("!*", -1) && !locked("x", -1));
  CHECK(locked("!$6$salt$hash", -1) && locked("!!$y$j9T$salt$hash", -1) && locked("!abJnggxhB/yWI", -1));
  CHECK(!locked("abJnggxhB/yWI", -1) && !locked("*LK*", -1));
  CHECK(locked("$6$salt$hash", 20000) && locked("$6$salt$hash", 1) && !locked("$6$salt$hash", 20001) && !locked("$6$salt$hash", 0));
}

static void test_first(void) {
  CHECK(!verified_key(NULL) && !verified_key("") && !verified_key("password\n") && !verified_key("publickey") && !verified_key("publickey\n"));
  CHECK(verified_key("publickey ssh-ed25519 AAAA\n") && verified_key("password\npublickey ssh-rsa AAAA"));
  CHECK(!verified_key("hostbased publickey ssh-rsa AAAA\n") && !verified_key(" publickey ssh-rsa AAAA") && !verified_key("Publickey ssh-rsa AAAA"));
  CHECK(cut("", 4) == 0 && cut("abc", 4) == 3 && cut("abcd", 4) == 4 && cut("abcde", 4) == 4);
  CHECK(cut("abc\xc3\xa9", 4) == 3 && cut("ab\xc3\xa9", 4) == 4 && cut("a\xf0\x9f\x98\x80", 4) == 1 && cut("\xf0\x9f\x98\x80", 3) == 0 && cut("\x80\x80", 1) == 0);
}

/* --- the talk -------------------------------------------------------------------------------------------------------- */

static int64_t milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/** A talk that stands, with its other end. */
static int stands(struct talk *talk, int client, int ms) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) != 0) abort();
  *talk = (struct talk){.socket = pair[0], .client = client, .deadline = milliseconds() + ms};
  return pair[1];
}

static void put(int fd, const void *bytes, size_t length) {
  if (write(fd, bytes, length) != (ssize_t)length) abort();
}

static void test_receive(void) {
  static const char hello[] = "\1\100\0\5\40\0\2hi", denied[] = "\1\102\0\11\41\0\6denied";
  struct talk talk;
  struct record record;
  int other = stands(&talk, -1, 10000);
  put(other, hello, sizeof hello - 1);
  put(other, denied, sizeof denied - 1); /* one after the other, though they came together */
  CHECK(talk_receive(&talk, &record) == TALK_OK && record.type == SHOW && field_is(record.fields[TEXT], "hi"));
  CHECK(talk_receive(&talk, &record) == TALK_OK && record.type == VERDICT && field_is(record.fields[RESULT], "denied"));
  close(other);
  CHECK(talk_receive(&talk, &record) == TALK_BROKEN && strstr(talk.wrong, "hung up") != NULL);
  talk_close(&talk);
  talk_close(&talk);
  CHECK(talk.socket == -1);
  for (size_t length = 0; length < sizeof hello - 1; length++) { /* hung up in the middle; silent in the middle */
    other = stands(&talk, -1, 10000);
    put(other, hello, length);
    close(other);
    CHECK(talk_receive(&talk, &record) == TALK_BROKEN);
    talk_close(&talk);
    other = stands(&talk, -1, 20);
    put(other, hello, length);
    CHECK(talk_receive(&talk, &record) == TALK_LATE);
    talk_close(&talk);
    close(other);
  }
  static const struct {
    const char *bytes, *wrong;
    size_t length;
  } malformed[] = {
    {"\2\100\0\5\40\0\2hi", "version", 9}, {"\1\1\0\5\40\0\2hi", "type", 9}, {"\1\100\100\1", "too long", 4}, {"\1\100\0\6\40\0\3h\33[", "value", 10},
  };
  for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
    other = stands(&talk, -1, 10000);
    put(other, malformed[i].bytes, malformed[i].length);
    CHECK(talk_receive(&talk, &record) == TALK_BROKEN && strstr(talk.wrong, malformed[i].wrong) != NULL);
    talk_close(&talk);
    close(other);
  }
}

static void test_leaving(void) {
  struct talk talk;
  struct record record, answer = {.type = ANSWER};
  int client[2];
  record_put(&answer, EMPTY, "1");
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, client) != 0) abort();
  int other = stands(&talk, client[0], 30);
  put(client[1], "x", 1); /* what the client types is none of ours */
  CHECK(talk_receive(&talk, &record) == TALK_LATE);
  talk.deadline = milliseconds() + 10000;
  CHECK(talk_send(&talk, &answer) == TALK_OK);
  close(client[1]);
  const int64_t before = milliseconds();
  CHECK(talk_receive(&talk, &record) == TALK_GONE && talk_send(&talk, &answer) == TALK_GONE && milliseconds() - before < 2000);
  put(other, "\1\102\0\15\1\0\5alice\41\0\2ok", 17); /* even this comes too late */
  CHECK(talk_receive(&talk, &record) == TALK_GONE);
  talk_close(&talk);
  close(other);
  other = stands(&talk, client[0], 10000);
  close(client[0]); /* a descriptor that was closed under us */
  CHECK(talk_receive(&talk, &record) == TALK_GONE);
  talk_close(&talk);
  close(other);
}

static void test_send(void) {
  struct talk talk;
  struct record answer = {.type = ANSWER}, wrong = {.type = ANSWER};
  record_put(&answer, EMPTY, "0");
  int other = stands(&talk, -1, 60), sent = 0;
  enum outcome outcome;
  while ((outcome = talk_send(&talk, &answer)) == TALK_OK && sent < 1000000) sent++;
  CHECK(outcome == TALK_LATE && sent > 0); /* nobody reads */
  talk_close(&talk);
  close(other);
  other = stands(&talk, -1, 10000);
  CHECK(talk_send(&talk, &wrong) == TALK_BROKEN);
  struct record record;
  put(other, "\1\102\0\11\41\0\6denied", 13);
  close(other);
  CHECK(talk_send(&talk, &answer) == TALK_OK); /* EPIPE, and no signal */
  CHECK(talk_receive(&talk, &record) == TALK_OK && field_is(record.fields[RESULT], "denied"));
  CHECK(talk_send(&talk, &answer) == TALK_OK && talk_receive(&talk, &record) == TALK_BROKEN);
  talk_close(&talk);
}

static void test_path(const char *folder) {
  char path[4200], longer[300];
  struct talk talk;
  snprintf(path, sizeof path, "%s/socket", folder);
  CHECK(path_trouble(path, getuid()) != NULL && path_trouble("run/socket", 0) != NULL && path_trouble("", 0) != NULL);
  CHECK(strstr(path_trouble("/nowhere/socket", 0), "broker running") != NULL);
  CHECK(strstr(path_trouble("/", 0), "no socket") != NULL && strstr(path_trouble("/dev/null", 0), "no socket") != NULL);
  CHECK(strstr(path_trouble("/dev/null/x", 0), "no folder") != NULL);
  memset(longer, 'x', sizeof longer);
  longer[0] = '/';
  longer[108] = '\0';
  CHECK(strstr(path_trouble(longer, 0), "107") != NULL);
  longer[107] = '\0';
  CHECK(strstr(path_trouble(longer, 0), "not there") != NULL);
  CHECK(talk_open(&talk, "/nowhere/socket", "credmon", -1, 10) == TALK_BROKEN && talk.socket == -1);
  talk_close(&talk);
  /* /tmp is sticky, and everybody may put a socket there. */
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/tmp/"};
  snprintf(address.sun_path, sizeof address.sun_path, "/tmp/credmon-unit-%ld", (long)getpid());
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) == 0) {
    const char *trouble = path_trouble(address.sun_path, getuid());
    CHECK(trouble != NULL && strstr(trouble, "by others") != NULL);
    unlink(address.sun_path);
  }
  close(listener);
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: unit VECTORS [FOLDER]\n");
    return 2;
  }
  char folder[] = "/tmp/credmon-unit-XXXXXX";
  if (mkdtemp(folder) == NULL) abort();
  test_vectors(argv[1], argc > 2 ? argv[2] : NULL);
  test_writer();
  test_options();
  test_prompt_file(folder);
  test_connections();
  test_shadow();
  test_first();
  test_receive();
  test_leaving();
  test_send();
  test_path(folder);
  rmdir(folder);
  printf("%u checks, %u failed\n", checks, failures);
  return failures == 0 ? 0 : 1;
}
