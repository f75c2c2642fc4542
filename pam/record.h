/*
 * The records between the PAM module and the broker's PAM door, version 1: a pure parser and writer, no I/O, no allocation.
 *
 *   record   u8 version | u8 type | u16 length of the payload, big-endian, at most 16384 | payload
 *   payload  fields: u8 tag | u16 length, big-endian | bytes; tags strictly ascending
 *
 *   module   auth {user connection service rhost first mode face seconds locked}
 *            answer {empty}                                       to each ask; what was typed never leaves the module
 *            account, commit {user connection service rhost mode}
 *   broker   show {text}, ask {text}
 *            verdict {result, user if and only if it is ok, text?, audit?}      always the last
 *
 * Text is well-formed UTF-8 (RFC 3629) without control characters, so that it may go to a terminal as it is; `text` and
 * `first` may have newlines. Whatever else comes is malformed, and the receiver hangs up. test/vectors.txt has examples.
 */
#ifndef CREDMON_RECORD_H
#define CREDMON_RECORD_H

#include <stdbool.h>
#include <stddef.h>

enum { RECORD_VERSION = 1, HEADER_SIZE = 4, PAYLOAD_MAX = 16384, RECORD_MAX = HEADER_SIZE + PAYLOAD_MAX };
enum { CONNECTION_MAX = 64, FIRST_MAX = 4096 };

enum sender { FROM_MODULE, FROM_BROKER };
enum type { AUTH = 1, ANSWER, ACCOUNT, COMMIT, SHOW = 64, ASK, VERDICT };
enum tag { USER = 1, CONNECTION, SERVICE, RHOST, FIRST, MODE, FACE, SECONDS, LOCKED, EMPTY = 16, TEXT = 32, RESULT, AUDIT, TAGS };

/** `bytes` is NULL when the field is not there; not terminated by NUL, and never containing one. */
struct field {
  const char *bytes;
  size_t length;
};

/** Fields by their tags; they point into what was parsed. */
struct record {
  enum type type;
  struct field fields[TAGS];
};

/** Judges the first four bytes. Returns what is wrong with them, or NULL, and then `payload` says how many bytes follow. */
const char *record_header(const unsigned char *header, enum sender sender, size_t *payload);

/** Takes exactly one whole record. Returns what is wrong with it, or NULL, and then `record` is filled. */
const char *record_parse(const unsigned char *bytes, size_t length, enum sender sender, struct record *record);

/** Returns the length of what was written, 0 if the record does not fit or would be malformed. */
size_t record_write(const struct record *record, enum sender sender, unsigned char *out, size_t room);

/** Puts a string in; without the terminating NUL. */
void record_put(struct record *record, enum tag tag, const char *value);

/** Is the field there, and exactly this? */
bool field_is(struct field field, const char *value);

#endif
