/**
 * How many requests one issuer gets at once: halves when it fails, grows by one for each full round that went well.
 * Each request in flight is a grant at risk should the machine die, so it starts low and stays as low as it can.
 */
export interface Batch {
  readonly limit: number;
  readonly wins: number;
}

const least = 1;
/** Half of what the daemon does at once over all issuers: a slow one leaves room for the others. */
const most = 32;

export const firstBatch: Batch = { limit: 8, wins: 0 };

export function afterAnswer(batch: Batch, well: boolean): Batch {
  if (!well) return { limit: Math.max(least, Math.floor(batch.limit / 2)), wins: 0 };
  const wins = batch.wins + 1;
  return wins < batch.limit ? { ...batch, wins } : { limit: Math.min(most, batch.limit + 1), wins: 0 };
}
