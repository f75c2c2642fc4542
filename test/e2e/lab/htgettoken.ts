import { root } from './pool.js';
import { putProgram } from './tools.js';

/*
 * Stand-ins for what HTCondor's own storer runs, so that the storer itself is the real one: htgettoken, with the options
 * that condor_vault_storer and condor_credential_storer give it, and no network; and a wrapper that tells how they are called.
 */

/** CREDMON_VAULT_STORER: HTCondor's own, which is told of in /tmp/storer-USER. */
export const tellingStorer = '/opt/telling-storer';

const telling = `#!/bin/sh
told=/tmp/storer-$(id -un)
echo "argv [$*]" >>$told
echo "env [$HTGETTOKENOPTS]" >>$told
[ -t 0 ] && echo 'stdin tty' >>$told || echo "stdin $(readlink /proc/self/fd/0)" >>$told
exec /usr/bin/condor_vault_storer "$@"
`;

/** Who has Kerberos (~/kerberos) needs nobody; others are asked, unless there is \`--nooidc\`. */
const htgettoken = `#!/bin/sh
for word in $HTGETTOKENOPTS "$@"; do
  case $word in
  --nooidc) quiet=1 ;;
  --scopes=*) fewer=1 ;;
  --vaulttokeninfile=*) in=\${word#*=} ;;
  --vaulttokenfile=*) out=\${word#*=} ;;
  esac
done
read -r token url sts </opt/vault/$(id -un) || exit 1
[ -n "$fewer" ] && url=$sts
if [ "$in" = /dev/stdin ]; then
  cat >"$out"
elif [ -e "\${in:-$out}" ]; then
  :
elif [ -n "$quiet" ] && ! [ -e ~/kerberos ]; then
  echo 'htgettoken: no way to authenticate without OIDC' >&2
  exit 1
else
  if [ -z "$quiet" ]; then
    echo 'Complete the authentication at: https://op.test/device' >&2
    read -r answer
    [ "$answer" = done ] || exit 1
  fi
  echo "$token"
fi
echo "$url"
`;

/** What users get from Vault by it: their token, and where it reads their credential, whole or with fewer scopes. */
export async function putHtgettoken(
  users: Readonly<Record<string, { readonly token: string; readonly url: string; readonly stsUrl: string }>>,
): Promise<void> {
  await putProgram(tellingStorer, telling);
  await putProgram('/usr/local/bin/htgettoken', htgettoken);
  for (const [user, { token, url, stsUrl }] of Object.entries(users))
    await putProgram(`/opt/vault/${user}`, `${token} ${url} ${stsUrl}\n`);
}

/** How the storer was called for a user, since this was asked last. */
export async function storerTold(user: string): Promise<readonly string[]> {
  const { stdout } = await root(`cat /tmp/storer-${user} && rm /tmp/storer-${user}`);
  return stdout.split('\n').filter(Boolean);
}

/** A name of the tests' servers on this machine, for all in the room. */
export async function putHost(name: string, address: string): Promise<void> {
  await root(`echo '${address} ${name}' >>/etc/hosts`);
}

/** Puts a file that everybody may read. */
export async function putFile(name: string, text: string): Promise<void> {
  await root(`mkdir -p $(dirname ${name}) && cat >${name} && chmod 644 ${name}`, { stdin: text });
}
