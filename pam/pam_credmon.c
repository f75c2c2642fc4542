/*
 * pam_credmon: the ssh login is the login of the OAuth2 provider, or brings a credential along.
 *
 * The module knows nothing of OAuth2: it relays a dialogue between the person (the PAM conversation) and the broker (a Unix socket),
 * and takes the broker's verdict. Only an explicit `ok` that names PAM_USER lets anybody in; PAM_USER is never changed.
 *
 *   auth      mode=login: the verdict, but never for root. mode=seed: success if sshd has verified a key before, else ignored, whatever was said: so
 *             `auth sufficient pam_credmon.so mode=seed` before the password modules lets nobody in and locks nobody out.
 *             For sshd alone: it is sshd that sets SSH_AUTH_INFO_0. Other programs may take PAM's environment from users (pam_env).
 *   account   mode=login: did that very connection pass? Root and users that do not exist are left to the others.
 *   session   tells the broker that sshd has let the person in: only now is the credential kept. Always succeeds.
 *
 * Nothing is kept from one phase to the next: sshd runs the first in a process that ends with it. No fork, no threads, no signal
 * handlers; the program's environment and streams are not touched, and PAM's environment, which becomes the user's, gets
 * one word that is no secret (see open_session).
 */
#include <errno.h>
#include <pwd.h>
#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <security/pam_modutil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#include "helper.h"
#include "talk.h"

#define ENTRY __attribute__((visibility("default")))
#ifndef PROMPT_FILE
#define PROMPT_FILE "/etc/credmon/pam-prompt"
#endif

/*
 * A broker that says nothing at all is given up early: in seed mode a login must not wait longer for it than sshd waits for the
 * login (LoginGraceTime, 120 s by default). The broker itself says within 20 s that an issuer does not answer.
 */
enum { FIRST_WORD_SECONDS = 30, ACCOUNT_SECONDS = 10, COMMIT_SECONDS = 3 };

struct call {
  pam_handle_t *pamh;
  struct options options;
  bool silent; /* PAM_SILENT */
  const char *user, *service, *rhost, *first;
};

static const char *item(pam_handle_t *pamh, int type) {
  const void *value = NULL;
  return pam_get_item(pamh, type, &value) == PAM_SUCCESS && value != NULL ? value : "";
}

/** Returns false if an option is wrong or nobody is named; `user` is "" then if it is the latter. */
static bool prepare(struct call *call, pam_handle_t *pamh, int flags, int argc, const char **argv) {
  const char *wrong = options_parse(&call->options, argc, argv);
  const char *first = pam_getenv(pamh, "SSH_AUTH_INFO_0");
  call->pamh = pamh;
  call->silent = ((unsigned)flags & PAM_SILENT) != 0;
  call->first = first != NULL ? first : "";
  /*
   * Below the password modules sshd has no methods to tell of yet, but one of those has asked for a password. Should it have been a
   * wrong one, on a stack that goes on all the same, then it is still not this module that lets anybody in, and nothing is committed.
   */
  if (call->options.seed && *call->first == '\0' && *item(pamh, PAM_AUTHTOK) != '\0') call->first = "password";
  call->service = item(pamh, PAM_SERVICE);
  call->rhost = item(pamh, PAM_RHOST);
  if (pam_get_user(pamh, &call->user, NULL) != PAM_SUCCESS || call->user == NULL) call->user = "";
  if (wrong != NULL) pam_syslog(pamh, LOG_ERR, "no such option, or not with that value: %s", wrong);
  return wrong == NULL && *call->user != '\0';
}

static enum outcome say(const struct call *call, int style, struct field text) {
  return pam_prompt(call->pamh, style, NULL, "%.*s", (int)text.length, text.bytes) == PAM_SUCCESS ? TALK_OK : TALK_GONE;
}

/**
 * Shows the text as a prompt and tells the broker that it was answered; of what was typed, only whether it was nothing. sshd's
 * password method answers every prompt with the password, unseen by anybody: that is nothing, too.
 */
static enum outcome ask(const struct call *call, struct talk *talk, struct field text) {
  char *typed = NULL;
  const int said = pam_prompt(call->pamh, PAM_PROMPT_ECHO_OFF, &typed, "%.*s", (int)text.length, text.bytes);
  const bool empty = typed == NULL || *typed == '\0' || strcmp(typed, item(call->pamh, PAM_AUTHTOK)) == 0;
  if (typed != NULL) explicit_bzero(typed, strlen(typed));
  free(typed);
  if (said != PAM_SUCCESS) return TALK_GONE;
  struct record answer = {.type = ANSWER};
  record_put(&answer, EMPTY, empty ? "1" : "0");
  return talk_send(talk, &answer);
}

/** Asks the broker and leads the dialogue; after TALK_OK `verdict` holds its last word, and the user is the one it names if ok. */
static enum outcome consult(const struct call *call, struct talk *talk, enum type type, unsigned seconds, struct record *verdict) {
  const struct options *options = &call->options;
  const int client = client_descriptor(pam_getenv(call->pamh, "SSH_CONNECTION"), call->rhost);
  const bool live = options->prompt == PROMPT_NEVER || (options->prompt == PROMPT_AUTO && prompt_never(PROMPT_FILE));
  char connection[CONNECTION_MAX + 1], limit[16];
  struct record request = {.type = type};
  talk->socket = -1;
  talk->wrong = "this process has no entry in /proc";
  if (!connection_id(client, connection)) return TALK_BROKEN;
  snprintf(limit, sizeof limit, "%u", seconds);
  record_put(&request, USER, call->user);
  record_put(&request, CONNECTION, connection);
  record_put(&request, SERVICE, call->service);
  record_put(&request, RHOST, call->rhost);
  record_put(&request, MODE, options->seed ? "seed" : "login");
  if (type == AUTH) {
    request.fields[FIRST] = (struct field){call->first, cut(call->first, FIRST_MAX)};
    record_put(&request, FACE, live ? "live" : "prompt");
    record_put(&request, SECONDS, limit);
    record_put(&request, LOCKED, shadow_locked(pam_modutil_getspnam(call->pamh, call->user), (long)(time(NULL) / 86400)) ? "1" : "0");
  }
  unsigned rest = seconds > FIRST_WORD_SECONDS ? seconds - FIRST_WORD_SECONDS : 0;
  enum outcome outcome = talk_open(talk, options->socket, options->account, client, seconds - rest);
  if (outcome == TALK_OK) outcome = talk_send(talk, &request);
  while (outcome == TALK_OK && (outcome = talk_receive(talk, verdict)) == TALK_OK && verdict->type != VERDICT) {
    talk->deadline += (int64_t)rest * 1000;
    rest = 0;
    talk->wrong = "the broker speaks out of turn";
    if (type != AUTH || (verdict->type == SHOW && !live)) outcome = TALK_BROKEN;
    else outcome = verdict->type == SHOW ? say(call, PAM_TEXT_INFO, verdict->fields[TEXT]) : ask(call, talk, verdict->fields[TEXT]);
  }
  talk_close(talk);
  if (outcome == TALK_OK && verdict->fields[USER].bytes != NULL && !field_is(verdict->fields[USER], call->user)) {
    talk->wrong = "the broker means another user";
    outcome = TALK_BROKEN;
  }
  /* Whoever breaks into the broker, which is not root, is not to become root by it. */
  if (outcome == TALK_OK && type == AUTH && field_is(verdict->fields[RESULT], "ok") && uid_of(call->user) == 0) {
    talk->wrong = "the broker lets root in, or nobody";
    outcome = TALK_BROKEN;
  }
  if (outcome == TALK_BROKEN) pam_syslog(call->pamh, LOG_ERR, "%s (%s)", talk->wrong, options->socket);
  if (outcome == TALK_GONE) pam_syslog(call->pamh, LOG_NOTICE, "the client has left");
  if (outcome == TALK_LATE) pam_syslog(call->pamh, LOG_NOTICE, "no verdict within %u s", seconds - rest);
  return outcome;
}

/** Writes the audit line and shows the text, in the style of an error unless it is `good`. */
static void tell(const struct call *call, const struct record *verdict, bool good) {
  const struct field text = verdict->fields[TEXT], audit = verdict->fields[AUDIT];
  if (audit.length > 0) pam_syslog(call->pamh, LOG_NOTICE, "%.*s", (int)audit.length, audit.bytes);
  if (text.length == 0 || call->silent || (call->options.quiet && field_is(verdict->fields[RESULT], "ok"))) return;
  say(call, good ? PAM_TEXT_INFO : PAM_ERROR_MSG, text);
}

/** The same where there is no verdict: a person should not have to guess why a login fails that everything was done for. */
static void tell_trouble(const struct call *call, enum outcome outcome) {
  if (call->silent || call->options.seed || outcome == TALK_GONE) return;
  pam_prompt(call->pamh, PAM_ERROR_MSG, NULL, "%s",
             outcome == TALK_LATE ? "The time for this login is over. Log in again."
                                  : "The login service of this machine does not answer. Tell its administrator.");
}

/** What the verdict means in PAM; `denied` is what a denial is called in this phase. */
static int meaning(const struct record *verdict, int denied) {
  const struct field result = verdict->fields[RESULT];
  return field_is(result, "ok") ? PAM_SUCCESS : field_is(result, "denied") ? denied : field_is(result, "ignore") ? PAM_IGNORE : PAM_AUTHINFO_UNAVAIL;
}

ENTRY int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv) {
  struct call call;
  struct talk talk;
  struct record verdict;
  enum outcome outcome = TALK_BROKEN;
  int result = PAM_SERVICE_ERR;
  if (prepare(&call, pamh, flags, argc, argv)) {
    outcome = consult(&call, &talk, AUTH, call.options.timeout, &verdict);
    result = outcome == TALK_OK ? meaning(&verdict, PAM_AUTH_ERR) : outcome == TALK_BROKEN ? PAM_AUTHINFO_UNAVAIL : PAM_AUTH_ERR;
    if (outcome == TALK_OK) tell(&call, &verdict, result == PAM_SUCCESS);
    else tell_trouble(&call, outcome);
    explicit_bzero(talk.buffer, sizeof talk.buffer);
  }
  if (!call.options.seed) return result;
  return outcome != TALK_GONE && verified_key(call.first) ? PAM_SUCCESS : PAM_IGNORE;
}

ENTRY int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv) {
  (void)pamh, (void)flags, (void)argc, (void)argv;
  return PAM_SUCCESS;
}

ENTRY int pam_sm_acct_mgmt(pam_handle_t *pamh, int flags, int argc, const char **argv) {
  struct call call;
  struct talk talk;
  struct record verdict;
  struct passwd entry, *found = NULL;
  char room[16384];
  const bool good = prepare(&call, pamh, flags, argc, argv);
  if (call.options.seed) return PAM_IGNORE;
  const int error = getpwnam_r(call.user, &entry, room, sizeof room, &found);
  /* ENOENT, ESRCH: some name services say so of a user that does not exist. Any other error is not knowing. */
  if (found == NULL && error != 0 && error != ENOENT && error != ESRCH) return PAM_AUTHINFO_UNAVAIL;
  if (found == NULL || found->pw_uid == 0) return PAM_IGNORE;
  if (!good) return PAM_SERVICE_ERR;
  const enum outcome outcome = consult(&call, &talk, ACCOUNT, ACCOUNT_SECONDS, &verdict);
  if (outcome != TALK_OK) {
    tell_trouble(&call, outcome);
    return PAM_AUTHINFO_UNAVAIL;
  }
  const int result = meaning(&verdict, PAM_PERM_DENIED);
  tell(&call, &verdict, result == PAM_SUCCESS);
  return result;
}

ENTRY int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv) {
  struct call call;
  struct talk talk;
  struct record verdict;
  if (!prepare(&call, pamh, flags, argc, argv)) return PAM_SUCCESS;
  if (consult(&call, &talk, COMMIT, COMMIT_SECONDS, &verdict) != TALK_OK) return PAM_SUCCESS;
  tell(&call, &verdict, true);
  /* Said to be stored; credmond takes a moment to take it over, and until then the login hook would say that there is none. */
  const bool stored = field_is(verdict.fields[RESULT], "ok") && verdict.fields[TEXT].bytes != NULL;
  if (stored) pam_putenv(pamh, "CREDMON_HOOK_DONE=1");
  return PAM_SUCCESS;
}

ENTRY int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv) {
  (void)pamh, (void)flags, (void)argc, (void)argv;
  return PAM_SUCCESS;
}
