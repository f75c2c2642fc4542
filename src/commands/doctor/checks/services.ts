import { nearest, stem } from '../../../core/names.js';
import { findProvider, type Provider } from '../../../core/provider.js';
import { type Outcome, outcome, type Sorted, sortService } from '../../../core/sorting.js';
import type { Check } from '../check.js';
import { type Finding, type Mend, teller } from '../finding.js';
import { pathFor, storer } from '../programs.js';
import type { Asked, World } from '../world.js';
import { storerNames } from './configuration.js';

const section = 'services';
const tell = teller(section);

/** What condor_submit then says, of a service that nobody has logged in to and that the storer left as it was. */
const unlogged: Readonly<Record<Outcome, string>> = {
  ok: 'the job is submitted all the same, and held when it starts',
  'vault-missing': 'condor_submit says “Vault credential … is missing”',
  'unknown-missing': 'condor_submit says “Credential … of unknown type is missing”',
  'web-link': 'condor_submit prints a web link',
  mismatch: 'condor_submit says that the credential does not match',
  waits: 'condor_submit stands still until there is a token',
};

const absent = { top: false, use: false, matches: false };

/** Who handles a service on this version, by which knob, and whether that is as it should be. */
function service(asked: Asked, world: World): Finding {
  const { knobs, version, config } = world;
  const about = stem(asked);
  const provider = config && findProvider(config.providers, asked.service);
  if (provider === undefined) return stranger(asked, world);
  if (knobs === undefined || version === undefined)
    return tell.ok('service', `is a provider of credmon’s (${provider.flow})`, { about });
  const sorted = sortService(asked.service, knobs, version);
  const { type, knob } = sorted;
  const after = unlogged[outcome(sorted, absent)];
  if (sorted.storer !== undefined) {
    const mode = sorted.storer.mode === undefined ? '' : `, in mode ${sorted.storer.mode}`;
    const nothing = outcome(sorted, absent) === 'ok';
    const then = nothing ? 'after it nothing is asked' : 'after it condor_credd asks whether the .top is there';
    return tell.ok('service', `condor_submit calls the storer${mode} (${knob}); ${then}`, { about });
  }
  if (provider.flow === 'client' && (type === 'client' || type === 'all'))
    return tell.ok('service.client', `condor_credd asks for it and credmond makes it, without a login (${knob})`, {
      about,
    });
  return wrong(asked, provider, sorted, world, after);
}

function wrong(asked: Asked, provider: Provider, { type, knob }: Sorted, world: World, after: string): Finding {
  const { config, knobs, env } = world;
  const about = stem(asked);
  const names = config === undefined ? [] : storerNames(config, knobs);
  const list = { set: `VAULT_CREDMON_PROVIDER_NAMES = ${names.join(' ')}` };
  const unset: Mend = { set: `SEC_CREDENTIAL_STORER = ${pathFor(storer, env)}` };
  switch (type) {
    case 'all':
    case 'vault':
    case 'pelican':
      return tell.warning('service.no-storer', `condor_submit does not have people log in; without a login ${after}`, {
        about,
        where: knob,
        mend: unset,
      });
    case 'local':
      return tell.error('service.local', `HTCondor keeps it for its local issuer (${knob}): ${after}`, {
        about,
        where: knob,
        mend: { set: 'LOCAL_CREDMON_PROVIDER_NAMES = none\nSUBMIT_ADD_LOCAL_CREDMON_PROVIDERS = False' },
      });
    case 'client':
      return tell.error('service.client-list', `HTCondor keeps it for its client credmon (${knob}): ${after}`, {
        about,
        where: knob,
        mend: { do: `take ${asked.service} out of ${knob}` },
      });
    case 'oauth2': {
      const byList = knob === 'OAUTH2_CREDMON_PROVIDER_NAMES';
      const secret =
        provider.secretFile === undefined
          ? ''
          : ', and condor_credd writes the client secret into a file for its web page';
      return tell.error('service.web', `HTCondor gives it to its web page (${knob} is set): ${after}${secret}`, {
        about,
        where: knob,
        mend: byList
          ? { do: `take ${asked.service} out of ${knob}, and set VAULT_CREDMON_PROVIDER_NAMES = ${names.join(' ')}` }
          : list,
      });
    }
    case 'unknown': {
      const cased = names.find((name) => name !== asked.service && name.toLowerCase() === asked.service.toLowerCase());
      const why =
        cased === undefined ? `is in no list (${knob})` : `is not ${cased}: names are compared with regard to case`;
      return tell.error('service.unknown', `HTCondor gives it to nobody, since it ${why}; ${after}`, {
        about,
        where: knob,
        mend: cased === undefined ? list : { do: `write ${cased} in use_oauth_services` },
      });
    }
  }
}

function stranger(asked: Asked, { config, knobs, version }: World): Finding {
  const about = stem(asked);
  const names = [...(config?.providers.keys() ?? [])];
  const near = nearest(asked.service, names);
  const there = names.length === 0 ? '' : `; there is: ${names.join(', ')}`;
  const mend = { do: near === undefined ? `check the name, or configure it${there}` : `did you mean ${near}?` };
  if (knobs === undefined || version === undefined)
    return tell.error('service.stranger', 'no such provider is configured', { about, mend });
  const { type, knob } = sortService(asked.service, knobs, version);
  const who = {
    all: 'whatever SEC_CREDENTIAL_STORER is',
    local: 'its local issuer',
    client: 'its client credmon',
    oauth2: 'its web page',
    vault: 'the storer',
    pelican: 'the storer',
    unknown: 'nobody',
  }[type];
  return tell.error('service.stranger', `is no provider of credmon’s; HTCondor gives it to ${who} (${knob})`, {
    about,
    mend,
  });
}

export function serviceChecks(world: World): readonly Check[] {
  const { config, asked, condor } = world;
  const names = condor ? [...(config?.providers.keys() ?? [])].filter((name) => name !== '*') : [];
  const others = asked.filter(({ service: name, handle }) => handle !== undefined || !names.includes(name));
  const all = [...names.map((name): Asked => ({ service: name })), ...others];
  return all.map((one) => ({ section, about: stem(one), look: () => [service(one, world)] }));
}
