import type { FailureKind } from '../core/failure.js';
import { stem } from '../core/names.js';
import type { Errand } from '../core/ports.js';

/** What helps when a Pelican credential has ended. HTCondor's storer leaves alone what is there, dead or not. */
export const pelicanAgain = ({ id }: Pick<Errand, 'id'>): string =>
  `run condor_store_cred delete-oauth -s ${stem(id)}, then condor_submit again in a terminal: it has pelican token fetch get another`;

/** What an issuer answered to the request itself. The others are trouble on the way there, or of ours. */
export const ofTheIssuer: ReadonlySet<FailureKind> = new Set(['refused', 'denied', 'expired', 'login-needed']);
