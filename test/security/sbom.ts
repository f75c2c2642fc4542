/** A package-lock.json (lockfileVersion 3), as far as it is of use here. */
export interface Lock {
  readonly name: string;
  readonly version: string;
  readonly packages: Readonly<Record<string, Locked>>;
}

interface Locked {
  readonly version?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly hasInstallScript?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/**
 * The packages that an installation without development's has, by their places in the lock, and whether it can do without
 * each. Followed from the root: npm's own `sbom --omit dev` leaves out those that development needs as well (npm 11.19: jose).
 */
export function runtime({ packages }: Lock): ReadonlyMap<string, 'required' | 'optional'> {
  const found = new Map<string, 'required' | 'optional'>();
  const follow = (place: string, scope: 'required' | 'optional'): void => {
    if (found.get(place) === 'required' || found.get(place) === scope) return;
    if (place !== '') found.set(place, scope);
    const { dependencies = {}, optionalDependencies = {} } = packages[place] ?? {};
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      const there = placeOf(packages, place, name);
      if (there !== undefined) follow(there, name in optionalDependencies ? 'optional' : scope);
    }
  };
  follow('', 'required');
  return found;
}

/** Node's own rule: the nearest node_modules upwards. */
function placeOf(packages: Lock['packages'], from: string, name: string): string | undefined {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    const place = `${at === '' ? '' : `${at}/`}node_modules/${name}`;
    if (place in packages) return place;
    if (at === '') return undefined;
    if (!at.includes('/node_modules/')) at = '';
  }
}

const nameOf = (place: string): string => place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length);
/** https://github.com/package-url/purl-spec: the scope's @ is escaped. */
const purlOf = (name: string, version: string): string => `pkg:npm/${name.replace(/^@/, '%40')}@${version}`;

/** The same as a software bill of materials: CycloneDX 1.5 in JSON. What is in it follows from the lock alone. */
export function sbom(lock: Lock): object {
  const { packages, name, version } = lock;
  const found = runtime(lock);
  const refOf = (place: string): string =>
    place === '' ? purlOf(name, version) : purlOf(nameOf(place), packages[place]?.version ?? '');
  const components = [...found].map(([place, scope]) => {
    const { version = '', license, integrity } = packages[place] ?? {};
    const [algorithm, hash] = integrity?.split('-') ?? [];
    const hashes =
      algorithm === 'sha512' ? [{ alg: 'SHA-512', content: Buffer.from(hash ?? '', 'base64').toString('hex') }] : [];
    return {
      type: 'library',
      'bom-ref': refOf(place),
      name: nameOf(place),
      version,
      scope,
      purl: refOf(place),
      hashes,
      ...(license !== undefined && { licenses: [{ expression: license }] }),
    };
  });
  const dependencies = ['', ...found.keys()].map((place) => {
    const { dependencies = {}, optionalDependencies = {} } = packages[place] ?? {};
    const on = Object.keys({ ...dependencies, ...optionalDependencies }).flatMap(
      (one) => placeOf(packages, place, one) ?? [],
    );
    return { ref: refOf(place), dependsOn: [...new Set(on.map(refOf))] };
  });
  const unique = <T>(all: readonly T[], ref: (one: T) => string): T[] => [
    ...new Map(all.map((one) => [ref(one), one])).values(),
  ];
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    version: 1,
    metadata: { component: { type: 'application', 'bom-ref': refOf(''), name, version, purl: refOf('') } },
    components: unique(components, (one) => one['bom-ref']),
    dependencies: unique(dependencies, (one) => one.ref),
  };
}
