type Payload = Record<string, unknown>;

/**
 * What oidc-provider keeps, in memory, one map per model (`RefreshToken`, `Grant`, …).
 *
 * Its own memory adapter forgets beyond 1,000 records, so a pool of 10,000 credentials would lose refresh tokens
 * in the middle of a test. Nothing expires here: oidc-provider looks at `exp` itself.
 */
export class IssuerStore {
  private readonly models = new Map<string, Map<string, Payload>>();

  /** The records of one model, by id. */
  records(model: string): Map<string, Payload> {
    const known = this.models.get(model) ?? new Map<string, Payload>();
    this.models.set(model, known);
    return known;
  }

  /** Forget all grants and whatever was issued under them; the next refresh is an `invalid_grant`. */
  revokeAll(): void {
    for (const model of ['Grant', 'RefreshToken', 'AccessToken']) this.records(model).clear();
  }

  /** Forget one grant with its tokens: what a detected reuse costs (RFC 9700 §4.14.2). */
  revokeGrant(grantId: string): void {
    this.records('Grant').delete(grantId);
    for (const model of ['RefreshToken', 'AccessToken']) this.deleteWhere(model, 'grantId', grantId);
  }

  /** The adapter of one model, in the shape oidc-provider asks for. */
  adapter(model: string) {
    const records = this.records(model);
    const where = (key: string, value: unknown) => [...records.values()].find((record) => record[key] === value);
    return {
      find: async (id: string) => records.get(id),
      findByUid: async (uid: string) => where('uid', uid),
      findByUserCode: async (userCode: string) => where('userCode', userCode),
      upsert: async (id: string, payload: Payload) => void records.set(id, payload),
      destroy: async (id: string) => void records.delete(id),
      revokeByGrantId: async (grantId: string) => this.deleteWhere(model, 'grantId', grantId),
      consume: async (id: string) => {
        const record = records.get(id);
        if (record) record.consumed = Math.floor(Date.now() / 1000);
      },
    };
  }

  private deleteWhere(model: string, key: string, value: unknown): void {
    const records = this.records(model);
    for (const [id, record] of records) if (record[key] === value) records.delete(id);
  }
}
