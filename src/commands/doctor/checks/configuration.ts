import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { everyKnob } from '../../../config/condor.js';
import type { Config } from '../../../core/config.js';
import { nearest } from '../../../core/names.js';
import { addedServices, isSorted, namesIn } from '../../../core/sorting.js';
import { octal, plain } from '../../../core/text.js';
import type { Check } from '../check.js';
import { type Finding, teller } from '../finding.js';
import { lookAt } from '../look.js';
import type { World } from '../world.js';

const section = 'configuration';
const tell = teller(section);

/** Which configuration is used, and whether it can be read. */
function source({ broken, config, knobs, version, condor }: World): readonly Finding[] {
  const condorVersion = version === undefined ? [] : [tell.ok('condor.version', `HTCondor ${version.join('.')}`)];
  if (broken !== undefined) {
    const mend = { do: broken.hint ?? 'mend the configuration' };
    return [...condorVersion, tell.error('config.broken', broken.what, { mend })];
  }
  if (config === undefined) return condorVersion;
  const names = [...config.providers.keys()];
  if (names.length === 0) {
    const mend =
      knobs === undefined
        ? { do: 'write ~/.config/credmon/credmon.toml: see the README' }
        : { run: 'credmon config init --htcondor' };
    return [...condorVersion, tell.error('config.empty', `no provider is configured (${config.source})`, { mend })];
  }
  const list = names.map((name) => `${name} (${config.providers.get(name)?.flow})`).join(', ');
  const found = [...condorVersion, tell.ok('config.source', `providers ${list}, from ${config.source}`)];
  if (knobs === undefined || condor) return found;
  return [
    ...found,
    tell.note('config.not-condor', 'HTCondor is installed here, but its configuration is not the one that is used', {
      where: config.source,
    }),
  ];
}

function daemons({ knobs }: World): readonly Finding[] {
  const list = namesIn(knobs?.get('DAEMON_LIST')).map((name) => name.toUpperCase());
  const found: Finding[] = [];
  if (!list.includes('CREDMON_OAUTH'))
    found.push(
      tell.error('daemons.credmon', 'condor_master does not start credmond: CREDMON_OAUTH is not in DAEMON_LIST', {
        where: 'DAEMON_LIST',
        mend: { set: 'use feature : OAUTH' },
      }),
    );
  const elsewhere = knobs?.get('CREDD_HOST');
  const auto = isTrue(knobs?.get('AUTO_INCLUDE_CREDD_IN_DAEMON_LIST'));
  if (!list.includes('CREDD') && !auto && elsewhere === undefined)
    found.push(
      tell.error('daemons.credd', 'condor_credd is not started here: CREDD is not in DAEMON_LIST', {
        where: 'DAEMON_LIST',
        mend: { set: 'DAEMON_LIST = $(DAEMON_LIST) CREDD' },
      }),
    );
  return found.length > 0 ? found : [tell.ok('daemons', 'condor_master starts condor_credd and credmond')];
}

/** Tokens go to execution points over encrypted connections only (NTreceivers.cpp, getcreds). */
function encryption({ knobs }: World): readonly Finding[] {
  const value = knobs?.get('SEC_DEFAULT_ENCRYPTION')?.toUpperCase();
  if (value === 'REQUIRED') return [tell.ok('encryption', 'connections are encrypted (SEC_DEFAULT_ENCRYPTION)')];
  const mend = { where: 'SEC_DEFAULT_ENCRYPTION', mend: { set: 'SEC_DEFAULT_ENCRYPTION = REQUIRED' } };
  if (value === 'PREFERRED')
    return [
      tell.note(
        'encryption.preferred',
        'SEC_DEFAULT_ENCRYPTION is PREFERRED: jobs get no token from a side that will not encrypt',
        mend,
      ),
    ];
  const what = `SEC_DEFAULT_ENCRYPTION is ${plain(value) || 'not set'}: jobs get no token over a connection that is not encrypted`;
  return [tell.warning('encryption.optional', what, mend)];
}

function trust({ knobs }: World): readonly Finding[] {
  if (isTrue(knobs?.get('TRUST_CREDENTIAL_DIRECTORY')))
    return [tell.ok('trust', 'TRUST_CREDENTIAL_DIRECTORY is set, as use feature : OAUTH does')];
  return [
    tell.note(
      'trust.off',
      'TRUST_CREDENTIAL_DIRECTORY is not set: token files that are not root’s, 0600 or less, are refused',
      {
        where: 'TRUST_CREDENTIAL_DIRECTORY',
        mend: { set: 'use feature : OAUTH' },
      },
    ),
  ];
}

/** A token must outlive the time until the job is handed the next. */
function times({ knobs, config }: World): readonly Finding[] {
  return config === undefined ? [] : [...lives(knobs, config), ...sweeps(knobs, config)];
}

/** condor_credd removes logins after the last job (credd.cpp, the sweep); its default is an hour. */
function sweeps(knobs: World['knobs'], { providers }: Config): readonly Finding[] {
  const knob = 'SEC_CREDENTIAL_SWEEP_DELAY';
  const delay = Number(knobs?.get(knob) ?? 3600);
  if (knobs === undefined || !(delay < 86_400) || ![...providers.values()].some(({ flow }) => flow === 'device'))
    return [];
  return [
    tell.warning('sweep.soon', `logins are removed ${delay} s after their owner’s last job (${knob})`, {
      where: knob,
      mend: { set: `${knob} = 1209600` },
    }),
  ];
}

function lives(knobs: World['knobs'], config: Config): readonly Finding[] {
  const where = 'CREDMON_OAUTH_TOKEN_MINIMUM';
  const refresh = Number(knobs?.get('SEC_CREDENTIAL_REFRESH') ?? 300);
  if (refresh === 0)
    return [
      tell.warning('refresh.off', 'SEC_CREDENTIAL_REFRESH is 0: running jobs never get a newer token', {
        where: 'SEC_CREDENTIAL_REFRESH',
        mend: { set: 'SEC_CREDENTIAL_REFRESH = 300' },
      }),
    ];
  if (!(refresh > 0)) return [];
  if (config.minimum <= refresh)
    return [
      tell.warning(
        'minimum.short',
        `tokens may have only ${config.minimum} s left when a job gets them, and the next comes after up to ${refresh} s`,
        { where, mend: { set: `${where} = ${Math.ceil(refresh) + 60}` } },
      ),
    ];
  return [
    tell.ok('minimum', `a token has at least ${config.minimum} s left, and jobs get a newer one every ${refresh} s`),
  ];
}

/** What condor_credd adds to every submit has to be made by somebody. */
function added({ knobs, config, version }: World): readonly Finding[] {
  if (knobs === undefined || version === undefined) return [];
  return addedServices(knobs, version)
    .filter((name) => config?.providers.get(name)?.flow !== 'client')
    .map((name) =>
      tell.error(
        'added.unmade',
        `every condor_submit stands still until there is a ${plain(name, 80)}.use, which credmond does not make`,
        {
          about: plain(name, 80),
          where:
            knobs.get('LOCAL_CREDMON_PROVIDER_NAMES') === undefined
              ? 'LOCAL_CREDMON_PROVIDER_NAME'
              : 'LOCAL_CREDMON_PROVIDER_NAMES',
          mend: { set: 'SUBMIT_ADD_LOCAL_CREDMON_PROVIDERS = False' },
        },
      ),
    );
}

function producer({ knobs, version }: World): readonly Finding[] {
  if (knobs?.get('SEC_CREDENTIAL_PRODUCER') === undefined || version === undefined || isSorted(version)) return [];
  if (knobs.get('SEC_CREDENTIAL_STORER') === undefined) return [];
  return [
    tell.note(
      'producer.skipped',
      'SEC_CREDENTIAL_PRODUCER is never run for jobs that have services: SEC_CREDENTIAL_STORER comes first',
      {
        where: 'SEC_CREDENTIAL_PRODUCER',
      },
    ),
  ];
}

/** Each flow that is easily set up so that it lets through too much, or nothing. */
function flows({ config, knobs }: World): readonly Finding[] {
  const found: Finding[] = [];
  for (const provider of config?.providers.values() ?? []) {
    const { name: about, flow } = provider;
    if (flow === 'exchange' && provider.allowedScopes === undefined)
      found.push(
        tell.warning('exchange.open', 'every user may have every scope that the issuer grants this client', {
          about,
          where: `${about}_ALLOWED_SCOPES`,
          mend: { set: `${about}_ALLOWED_SCOPES = ${provider.scopes.join(' ') || 'storage.read:/user/{username}'}` },
        }),
      );
    if (flow === 'vault' && !provider.vaultHosts?.length)
      found.push(
        tell.error('vault.hosts', 'no Vault server is trusted, so none is asked for tokens', {
          about,
          where: 'TRUSTED_VAULT_HOSTS',
          // condor_credd compares host and port.
          mend: { set: 'TRUSTED_VAULT_HOSTS = vault.example.org:8200' },
        }),
      );
  }
  if (isTrue(knobs?.get('PELICAN_CREDMON_TLS_SKIP_VERIFY')))
    found.push(
      tell.warning('pelican.tls', 'PELICAN_CREDMON_TLS_SKIP_VERIFY is ignored: certificates are always verified', {
        where: 'PELICAN_CREDMON_TLS_SKIP_VERIFY',
        mend: { set: 'PELICAN_CREDMON_CA_FILE = /path/to/your/ca.pem' },
      }),
    );
  return found;
}

/** LOCAL_CONFIG_DIR_EXCLUDE_REGEXP, where it is not set (param_info.in). */
const excluded =
  /^(?:\..*|.*\.pl|.*\.py|.*\.sh|.*~|#.*|.*\.rpmsave|.*\.rpmnew|.*\.dpkg-old|.*\.dpkg-dist|.*\.cfsaved)$/;

/** HTCondor passes over a file that it may not read without a word, so users and root see different configurations. */
function files({ knobs }: World): readonly Finding[] {
  const exclude = patternOf(knobs?.get('LOCAL_CONFIG_DIR_EXCLUDE_REGEXP'));
  const hidden: Finding[] = [];
  let seen = 0;
  for (const path of configFiles(knobs, exclude)) {
    const stat = lookAt(path, true);
    if (stat === 'absent') continue;
    seen++;
    const closed =
      typeof stat === 'string'
        ? 'its folder cannot be entered'
        : (stat.mode & 0o004) === 0
          ? `mode ${octal(stat.mode)}`
          : '';
    if (closed === '') continue;
    hidden.push(
      tell.error(
        'files.hidden',
        `users cannot read ${path} (${closed}): condor_submit goes by another configuration than root`,
        {
          where: path,
          mend: { run: typeof stat === 'string' ? `ls -ld ${path}` : `chmod a+r ${path}` },
        },
      ),
    );
  }
  return hidden.length > 0 || seen === 0 ? hidden : [tell.ok('files', 'users can read the files of the configuration')];
}

function configFiles(knobs: World['knobs'], exclude: RegExp): readonly string[] {
  const found = [...namesIn(knobs?.get('LOCAL_CONFIG_FILE'))];
  for (const folder of namesIn(knobs?.get('LOCAL_CONFIG_DIR'))) {
    const stat = lookAt(folder, true);
    if (stat === 'absent') continue;
    try {
      const names = readdirSync(folder).filter((name) => !exclude.test(name));
      found.push(...names.sort().map((name) => join(folder, name)));
    } catch {
      found.push(`${folder}/.`);
    }
  }
  return found;
}

function patternOf(text: string | undefined): RegExp {
  try {
    return text === undefined ? excluded : new RegExp(text);
  } catch {
    return excluded;
  }
}

/** Knobs that are named after our providers, and that nobody reads: HTCondor takes any name without a word. */
function misspelt({ knobs, config }: World): readonly Finding[] {
  const known = everyKnob().flatMap((knob) => (knob.startsWith('P_') ? [knob.slice(2)] : []));
  const providers = [...(config?.providers.keys() ?? [])];
  return (knobs?.names ?? []).flatMap((knob) => {
    const upper = knob.toUpperCase();
    // `dune_production_ISSUER` is no knob of `dune`.
    const [provider] = providers
      .filter((name) => upper.startsWith(`${name.toUpperCase()}_`))
      .sort((a, b) => b.length - a.length);
    if (provider === undefined) return [];
    const end = upper.slice(provider.length + 1);
    const near = known.includes(end) ? undefined : nearest(end, known);
    // HTCondor and its other credmons have knobs of theirs that are only somewhat like ours.
    if (near === undefined || Math.abs(near.length - end.length) > 2) return [];
    const meant = `${provider}_${near}`;
    const what = `nobody reads ${plain(knob, 100)}`;
    return [tell.warning('knob.unknown', what, { about: provider, mend: { do: `did you mean ${meant}?` } })];
  });
}

const isTrue = (value: string | undefined): boolean => /^(?:t|true|yes|1)$/i.test(value ?? '');

const ofCondor = [daemons, encryption, trust, times, added, producer, misspelt, files];

export function configurationChecks({ condor }: World): readonly Check[] {
  return [source, ...(condor ? ofCondor : []), flows].map((look) => ({ section, look }));
}

/** The names that VAULT_CREDMON_PROVIDER_NAMES has to have: those that it has, and all of ours that people log in to. */
export function storerNames(config: Config, knobs: World['knobs']): readonly string[] {
  const ours = [...config.providers.values()].filter(({ name, flow }) => name !== '*' && flow !== 'client');
  const have = namesIn(knobs?.get('VAULT_CREDMON_PROVIDER_NAMES')).filter((name) => name !== '*');
  return [...new Set([...have, ...ours.map(({ name }) => name)])];
}
