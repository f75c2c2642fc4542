import { stem } from './names.js';
import type { Flow } from './provider.js';
import { loginWords, type ServiceRequest } from './request.js';

/** How a credential that is not there, or no longer, is had again: what to tell whoever needs it. */
export function againFor(flow: Flow, request: ServiceRequest, { force = false } = {}): string {
  switch (flow) {
    case 'device':
      return `run: ${loginWords(request, { force })}`;
    case 'exchange':
    case 'client':
      return 'submit again: what is needed is asked for anew';
    case 'vault':
    case 'pelican':
      return 'run condor_submit in a terminal: it has HTCondor’s own storer get it';
    case 'mytoken':
      return `make one at the mytoken server, then run: condor_store_cred add-oauth -s ${stem(request)} -i FILE`;
  }
}

/** The command in what {@link againFor} says, where running that is all of it. */
export const advisedCommand = (advice: string): string | undefined => /^run: (credmon .+)$/.exec(advice)?.[1];
