import { isIPv6 } from 'node:net';
import { Failed } from '../../core/failure.js';
import { seconds } from '../../core/time.js';
import { Buckets, counted } from '../quota.js';

export interface PlaceLimits {
  /** ssh logins of one source address (IPv6: of one /64) under way. */
  readonly perSource: number;
  /** The same to one account, of those who have passed a factor: others could keep the person out by it. */
  readonly perPerson: number;
  /** The same of all; those who have passed no factor have half of these places. */
  readonly inAll: number;
  /** Codes that may be asked for in a minute for one source. */
  readonly perMinute: number;
}

export const usualPlaces: PlaceLimits = { perSource: 20, perPerson: 40, inAll: 200, perMinute: 30 };

/** Who may have how many logins under way, and begin how many. */
export class Places {
  readonly #sources = new Map<string, number>();
  readonly #people = new Map<string, number>();
  readonly #codes: Buckets<string>;
  #all = 0;
  #strangers = 0;

  constructor(private readonly limits: PlaceLimits) {
    this.#codes = new Buckets(limits.perMinute);
  }

  get taken(): number {
    return this.#all;
  }

  /**
   * Takes a place; what is returned gives it back, however often it is called. `person`: whose first factor was passed;
   * undefined: a stranger. Throws Failed('transient').
   */
  enter(address: string, person: string | undefined): () => void {
    const source = networkOf(address);
    const isStranger = person === undefined;
    const { perSource, perPerson, inAll } = this.limits;
    if ((this.#sources.get(source) ?? 0) >= perSource) throw full('from your address');
    if (!isStranger && (this.#people.get(person) ?? 0) >= perPerson) throw full('to your account');
    if (this.#all >= inAll || (isStranger && this.#strangers >= inAll / 2)) throw full('at this machine');
    const leaveSource = counted(this.#sources, source);
    const leavePerson = isStranger ? () => undefined : counted(this.#people, person);
    this.#all++;
    if (isStranger) this.#strangers++;
    let inside = true;
    return () => {
      if (!inside) return;
      inside = false;
      this.#all--;
      if (isStranger) this.#strangers--;
      leaveSource();
      leavePerson();
    };
  }

  /** Counts one code. `now` in steady milliseconds. Throws Failed('transient'). */
  draw(address: string, now: number): void {
    const wait = this.#codes.draw(networkOf(address), now);
    if (wait === 0) return;
    throw new Failed({
      kind: 'transient',
      what: 'too many ssh logins began at your address within a minute',
      hint: `try again in ${wait} s`,
      wait: seconds(wait),
    });
  }
}

/** A host has a /64 of IPv6 addresses to itself; one that has an IPv4 address in it stands for that. */
function networkOf(address: string): string {
  if (!isIPv6(address) || address.includes('.')) return address;
  const [head = '', tail] = address.split('%', 1)[0]?.split('::') ?? [];
  const groups = (text: string) => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)));
  const [high, low] = [groups(head), groups(tail ?? '')];
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - high.length - low.length }, () => 0);
  return [...high, ...zeros, ...low].slice(0, 4).join(':');
}

const full = (where: string): Failed =>
  new Failed({
    kind: 'transient',
    what: `too many ssh logins ${where} wait for an approval just now`,
    hint: 'try again in a few minutes',
    wait: seconds(60),
  });
