/**
 * The pages a person sees at the test issuer, in a browser on the same machine.
 *
 * Each carries a `data-page` (enter, confirm, approved, denied, error) by which `issuer-browser.ts` knows where it is.
 */

export interface Asking {
  /** Where the form goes, and the provider's token against forged forms. */
  readonly action: string;
  readonly xsrf: string;
}

export interface Request extends Asking {
  readonly userCode: string;
  readonly client: string;
  readonly scopes: readonly string[];
  /** The login name already filled in. */
  readonly login: string;
}

export function enterPage(asking: Asking, complaint?: string): string {
  return page(
    'enter',
    'Connect a terminal',
    `${complaint ? `<p class="bad">${escapeHtml(complaint)}</p>` : '<p>Type the code your terminal shows.</p>'}
    <form method="post" action="${escapeHtml(asking.action)}">
      <input type="hidden" name="xsrf" value="${escapeHtml(asking.xsrf)}"/>
      <input class="code" name="user_code" required autofocus autocomplete="off" aria-label="Code"/>
      <div class="row"><button class="yes">Continue</button></div>
    </form>`,
  );
}

export function confirmPage(request: Request): string {
  return page(
    'confirm',
    'Approve this login?',
    `<p><b>${escapeHtml(request.client)}</b> asks to act for you. Approve only if your terminal shows this code:</p>
    <p class="code">${escapeHtml(request.userCode)}</p>
    <ul>${request.scopes.map((scope) => `<li><code>${escapeHtml(scope)}</code>${meaning(scope)}</li>`).join('')}</ul>
    <form method="post" action="${escapeHtml(request.action)}">
      <input type="hidden" name="xsrf" value="${escapeHtml(request.xsrf)}"/>
      <input type="hidden" name="user_code" value="${escapeHtml(request.userCode)}"/>
      <label>Log in as <input name="login" required pattern="[A-Za-z0-9._@\\-]+" value="${escapeHtml(request.login)}"/></label>
      <div class="row">
        <button class="yes" name="confirm" value="yes" autofocus>Approve</button>
        <button name="abort" value="yes" formnovalidate>Deny</button>
      </div>
    </form>`,
  );
}

export function approvedPage(): string {
  return page('approved', 'Approved', '<p>Your terminal will notice in a moment. You may close this page.</p>');
}

export function deniedPage(): string {
  return page('denied', 'Denied', '<p>Nothing was granted. You may close this page.</p>');
}

export function errorPage(error: string, description = ''): string {
  return page(
    'error',
    'Something went wrong',
    `<p class="bad">${escapeHtml(error)}</p><p>${escapeHtml(description)}</p>`,
  );
}

const meanings: readonly (readonly [prefix: string, meaning: string])[] = [
  ['openid', 'know who you are'],
  ['offline_access', 'stay logged in while you are away'],
  ['storage.read', 'read files'],
  ['storage.create', 'add files'],
  ['storage.modify', 'change and delete files'],
  ['storage.stage', 'fetch files from tape'],
  ['compute.', 'use computing resources'],
];

function meaning(scope: string): string {
  const known = meanings.find(([prefix]) => scope.startsWith(prefix));
  return known ? ` ${known[1]}` : '';
}

function page(kind: string, title: string, content: string): string {
  return `<!DOCTYPE html>
<html lang="en" data-page="${kind}">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>${title}</title>
<style>
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
  body { max-width: 26rem; margin: 12vh auto; padding: 0 1.5rem }
  h1 { font-size: 1.5rem; font-weight: 600 }
  .code { font: 600 1.8rem/1.4 ui-monospace, monospace; letter-spacing: .1em; text-align: center }
  input { font: inherit; padding: .4rem .6rem; border: 1px solid #8888; border-radius: .4rem; box-sizing: border-box }
  input.code { width: 100%; text-transform: uppercase }
  ul { padding-left: 1.2rem } li { margin: .2rem 0 } code { font-size: .9em; margin-right: .4em }
  .row { display: flex; gap: .8rem; margin-top: 1.2rem }
  button { flex: 1; font: inherit; padding: .6rem; border: 1px solid #8888; border-radius: .4rem; cursor: pointer }
  button.yes { background: #14663a; border-color: #14663a; color: #fff }
  .bad { color: #c0392b }
</style>
</head>
<body>
<main>
<h1>${title}</h1>
${content}
</main>
</body>
</html>
`;
}

function escapeHtml(text: string): string {
  const names: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replaceAll(/[&<>"']/g, (character) => names[character] ?? '');
}
