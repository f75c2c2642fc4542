import { readSecret } from '../../../config/secret.js';
import { failureOf } from '../../../core/failure.js';
import type { Provider } from '../../../core/provider.js';
import { octal } from '../../../core/text.js';
import type { Check } from '../check.js';
import { type Finding, teller } from '../finding.js';
import { folderAbove, lookAt, mayRead } from '../look.js';
import type { World } from '../world.js';

const section = 'secrets';
const tell = teller(section);

/** Whether the client's secret is where it should be, and for nobody else. What is in it is not told. */
async function secret(provider: Provider, path: string, { root, config }: World): Promise<readonly Finding[]> {
  const { name: about } = provider;
  const rest = { about, where: path };
  const stat = lookAt(path, true);
  if (!root) {
    if (mayRead(path))
      return [
        tell.error('secret.open', `you can read the client secret in ${path}`, {
          ...rest,
          mend: { run: `chmod 0400 ${path}` },
        }),
      ];
    if (stat === 'absent')
      return [
        tell.error('secret.absent', `the client secret file ${path} does not exist`, {
          ...rest,
          mend: { run: `install -m 0400 /dev/stdin ${path}` },
        }),
      ];
    return [
      tell.note(
        'secret.hidden',
        `${path} is not for you to see, as it should be; run as root to see whether it is in order`,
        rest,
      ),
    ];
  }
  if (stat === 'absent')
    return [
      tell.error('secret.absent', `the client secret file ${path} does not exist`, {
        ...rest,
        mend: { run: `install -m 0400 /dev/stdin ${path}` },
      }),
    ];
  try {
    await readSecret(path);
  } catch (thrown) {
    const failure = failureOf(thrown);
    if (failure === undefined) throw thrown;
    const run = /^run: (.*)$/.exec(failure.hint ?? '')?.[1];
    const mend = run === undefined ? { do: failure.hint ?? 'look at it' } : { run };
    return [tell.error('secret.bad', failure.what, { ...rest, mend })];
  }
  if (typeof stat === 'object' && stat.uid !== 0 && config?.broker.start !== false)
    return [
      tell.warning('secret.owner', `${path} belongs to uid ${stat.uid}, not to root`, {
        ...rest,
        mend: { run: `chown root ${path}` },
      }),
    ];
  const folder = folderAbove(path, ({ mode }) => (mode & 0o022) !== 0 && (mode & 0o1000) === 0);
  if (folder !== undefined)
    return [
      tell.warning('secret.replaceable', `others may replace ${path}: ${folder} is open to them`, {
        ...rest,
        mend: { run: `chmod go-w ${folder}` },
      }),
    ];
  return [
    tell.ok(
      'secret',
      `the client secret is in ${path}${typeof stat === 'object' ? `, mode ${octal(stat.mode)}` : ''}`,
      { about },
    ),
  ];
}

/** Certificate authorities are no secret: users' own logins need them as well. */
function authorities(provider: Provider, path: string): readonly Finding[] {
  const { name: about } = provider;
  const stat = lookAt(path, true);
  const where = { about, where: path };
  if (stat === 'absent')
    return [
      tell.error('ca.absent', `the CA file ${path} does not exist`, {
        ...where,
        mend: { do: `check ${about}_CA_FILE` },
      }),
    ];
  if (typeof stat === 'object' && (stat.mode & 0o004) === 0)
    return [
      tell.warning('ca.closed', `users cannot read the CA file ${path}`, {
        ...where,
        mend: { run: `chmod a+r ${path}` },
      }),
    ];
  return [];
}

export function secretChecks(world: World): readonly Check[] {
  return [...(world.config?.providers.values() ?? [])].flatMap((provider): Check[] => {
    const { secretFile, caFile, name: about } = provider;
    return [
      ...(secretFile === undefined
        ? []
        : [{ section, about, look: (w: World) => secret(provider, secretFile, w) } as const]),
      ...(caFile === undefined ? [] : [{ section, about, look: () => authorities(provider, caFile) } as const]),
    ];
  });
}
