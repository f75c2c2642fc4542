/* One connection to the broker: whom it leads to, records over it, the watch on the client, the deadline. */
#ifndef CREDMON_TALK_H
#define CREDMON_TALK_H

#include <stdint.h>
#include <sys/types.h>

#include "record.h"

enum outcome {
  TALK_OK,
  TALK_GONE,  /* the client has left */
  TALK_LATE,  /* the deadline has passed */
  TALK_BROKEN /* the broker is not there, is not ours, has hung up or has sent what is malformed; `wrong` says which */
};

struct talk {
  int socket, client; /* -1: none */
  int64_t deadline;   /* in milliseconds of the monotonic clock */
  const char *wrong;
  unsigned char buffer[RECORD_MAX];
};

/** The account's; root's if there is none. */
uid_t uid_of(const char *account);

/**
 * What is wrong with the way to a socket, or NULL. Each folder from / on, and the socket, must be owned by root or the account, and
 * writable by no other (the sticky bit is no excuse: it lets others put a socket where none is); no symbolic links.
 */
const char *path_trouble(const char *path, uid_t account);

/** `client` is watched in all that follows, and ends it; -1: nobody is watched. */
enum outcome talk_open(struct talk *talk, const char *path, const char *account, int client, unsigned seconds);
/** To a broker that has hung up nothing is sent, and that is no failure: the next talk_receive finds out. */
enum outcome talk_send(struct talk *talk, const struct record *record);
/** The record's fields point into the talk's buffer until the next call. */
enum outcome talk_receive(struct talk *talk, struct record *record);
/** May be called twice. The last record received stays readable. */
void talk_close(struct talk *talk);

#endif
