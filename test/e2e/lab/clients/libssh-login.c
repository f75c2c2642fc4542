/*
 * A login by libssh as its manual has it: the key, then whatever the server asks (ssh_userauth_kbdint).
 *
 *     libssh-login PORT SOURCE USER KEY COMMAND
 */
#include <libssh/libssh.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fail(ssh_session session, const char *what) {
  fprintf(stderr, "%s: %s\n", what, ssh_get_error(session));
  return 1;
}

static int answer_all(ssh_session session) {
  int said = ssh_userauth_kbdint(session, NULL, NULL);
  for (; said == SSH_AUTH_INFO; said = ssh_userauth_kbdint(session, NULL, NULL)) {
    const int prompts = ssh_userauth_kbdint_getnprompts(session);
    if (strlen(ssh_userauth_kbdint_getname(session)) > 0) puts(ssh_userauth_kbdint_getname(session));
    if (strlen(ssh_userauth_kbdint_getinstruction(session)) > 0) puts(ssh_userauth_kbdint_getinstruction(session));
    for (int i = 0; i < prompts; i++) {
      char echo = 0, line[256];
      fputs(ssh_userauth_kbdint_getprompt(session, (unsigned)i, &echo), stdout);
      fflush(stdout);
      if (fgets(line, sizeof line, stdin) == NULL) return SSH_AUTH_DENIED;
      line[strcspn(line, "\n")] = '\0';
      if (ssh_userauth_kbdint_setanswer(session, (unsigned)i, line) < 0) return SSH_AUTH_ERROR;
    }
  }
  return said;
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  const int strict = 0;
  ssh_session session = ssh_new();
  ssh_key key = NULL;
  ssh_options_set(session, SSH_OPTIONS_HOST, "127.0.0.1");
  ssh_options_set(session, SSH_OPTIONS_PORT_STR, argv[1]);
  ssh_options_set(session, SSH_OPTIONS_BINDADDR, argv[2]);
  ssh_options_set(session, SSH_OPTIONS_USER, argv[3]);
  ssh_options_set(session, SSH_OPTIONS_STRICTHOSTKEYCHECK, &strict);
  if (ssh_connect(session) != SSH_OK) return fail(session, "connect");
  if (ssh_pki_import_privkey_file(argv[4], NULL, NULL, NULL, &key) != SSH_OK) return fail(session, "key");
  int said = ssh_userauth_publickey(session, NULL, key);
  if (said == SSH_AUTH_PARTIAL) said = answer_all(session);
  if (said != SSH_AUTH_SUCCESS) return fail(session, "refused");
  ssh_channel channel = ssh_channel_new(session);
  if (ssh_channel_open_session(channel) != SSH_OK || ssh_channel_request_exec(channel, argv[5]) != SSH_OK) return fail(session, "channel");
  char buffer[256];
  for (int got; (got = ssh_channel_read(channel, buffer, sizeof buffer, 0)) > 0;) fwrite(buffer, 1, (size_t)got, stdout);
  ssh_channel_free(channel);
  ssh_key_free(key);
  ssh_disconnect(session);
  ssh_free(session);
  return 0;
}
