/* What the entry points need to know of their surroundings: options, the client's connection, the shadow file. */
#ifndef CREDMON_HELPER_H
#define CREDMON_HELPER_H

#include <shadow.h>
#include <stdbool.h>

#include "record.h"

enum prompt { PROMPT_AUTO, PROMPT_ALWAYS, PROMPT_NEVER };

/** The words after the module's name in pam.d. Strings are those of argv. */
struct options {
  const char *socket;  /* socket=PATH */
  const char *account; /* account=NAME: whose the broker may be, besides root */
  unsigned timeout;    /* timeout=SECONDS, 10 to 3600 */
  enum prompt prompt;  /* prompt=auto|always|never */
  bool seed;           /* mode=seed; mode=login is the default */
  bool quiet;          /* quiet: no text of success */
};

/** Returns the first word that is no option or has no such value (all others are taken), or NULL. */
const char *options_parse(struct options *options, int argc, const char **argv);

/** Does the first word of the file say `never`? It is written at install, when it is known what this sshd does with text. */
bool prompt_never(const char *path);

/**
 * The descriptor of the client's TCP connection: the one whose peer is the first address and port of SSH_CONNECTION
 * ("address port address port"), without that the one whose peer is `rhost`. -1: there is none.
 */
int client_descriptor(const char *ssh_connection, const char *rhost);

/**
 * A name of the connection: that of the client's socket in the kernel, which is the same in all processes that hold it and never
 * comes again (sshd authenticates in a fork of the process that opens the session), else that of this process.
 */
bool connection_id(int client, char id[CONNECTION_MAX + 1]);

/** Expired, or locked by `passwd -l`: a `!` before a hash. `!` or `*` alone: there is no password. `today`: days since 1970. */
bool shadow_locked(const struct spwd *entry, long today);

/** Has sshd verified a public key? `first` is its SSH_AUTH_INFO_0: a line for each method that passed. */
bool verified_key(const char *first);

/** The length of at most `most` bytes of `text` that do not end inside a character. */
size_t cut(const char *text, size_t most);

#endif
