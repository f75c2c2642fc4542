import { Agent, request } from 'undici';

/** A page as the person would see it. `kind` is the `data-page` of our own pages, else undefined. */
export interface Page {
  readonly url: URL;
  readonly status: number;
  readonly html: string;
  readonly kind: string | undefined;
  /** The text without its tags, for error messages. */
  readonly text: string;
}

interface Cookie {
  readonly name: string;
  readonly value: string;
  readonly path: string;
}

/**
 * As much of a browser as a login needs: cookies with paths, redirects, HTML forms. No scripts.
 *
 * It trusts any certificate: it only ever visits an issuer of our own on loopback.
 */
export class Browser {
  private readonly cookies = new Map<string, Cookie>();
  private readonly agent = new Agent({ connect: { rejectUnauthorized: false }, keepAliveTimeout: 100 });

  async open(url: string | URL): Promise<Page> {
    return await this.visit(new URL(url), undefined);
  }

  /** Fills in the page's first form with `fields`, beside its hidden ones, and sends it. */
  async submit(page: Page, fields: Record<string, string> = {}): Promise<Page> {
    const action = /<form[^>]*\baction="([^"]*)"/.exec(page.html)?.[1];
    if (action === undefined) throw new Error(`no form on ${page.url.pathname}: ${page.text}`);
    const form = new URLSearchParams();
    for (const [input] of page.html.matchAll(/<input[^>]*type="hidden"[^>]*>/g)) {
      form.set(attribute(input, 'name') ?? '', attribute(input, 'value') ?? '');
    }
    for (const [name, value] of Object.entries(fields)) form.set(name, value);
    return await this.visit(new URL(unescapeHtml(action), page.url), form.toString());
  }

  async close(): Promise<void> {
    await this.agent.close();
  }

  private async visit(start: URL, form: string | undefined): Promise<Page> {
    let url = start;
    let body = form;
    for (let hops = 0; hops < 10; hops++) {
      const answer = await request(url, {
        dispatcher: this.agent,
        method: body === undefined ? 'GET' : 'POST',
        headers: {
          accept: 'text/html',
          ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
          ...this.cookieHeader(url),
        },
        ...(body === undefined ? {} : { body }),
      });
      this.remember(answer.headers['set-cookie'] ?? []);
      const html = await answer.body.text();
      const location = answer.headers.location;
      if (answer.statusCode < 300 || answer.statusCode > 399 || typeof location !== 'string') {
        const text = html.replaceAll(/<(style|script)[\s\S]*?<\/\1>|<[^>]*>|\s+/g, ' ').trim();
        return { url, status: answer.statusCode, html, kind: /data-page="(\w+)"/.exec(html)?.[1], text };
      }
      url = new URL(location, url);
      body = undefined;
    }
    throw new Error(`too many redirects from ${start.href}`);
  }

  private cookieHeader(url: URL): { cookie?: string } {
    const sent = [...this.cookies.values()].filter(({ path }) => url.pathname.startsWith(path));
    return sent.length > 0 ? { cookie: sent.map(({ name, value }) => `${name}=${value}`).join('; ') } : {};
  }

  /** RFC 6265 §5.3, without domains. An empty value is how Koa takes a cookie back. */
  private remember(headers: string | string[]): void {
    for (const header of [headers].flat()) {
      const [pair = '', ...attributes] = header.split(';').map((part) => part.trim());
      const [name = '', value = ''] = pair.split(/=(.*)/s);
      const path = attributes.find((part) => /^path=/i.test(part))?.slice('path='.length) ?? '/';
      if (value === '') this.cookies.delete(`${name} ${path}`);
      else this.cookies.set(`${name} ${path}`, { name, value, path });
    }
  }
}

function attribute(tag: string, name: string): string | undefined {
  const value = new RegExp(`\\b${name}="([^"]*)"`).exec(tag)?.[1];
  return value === undefined ? undefined : unescapeHtml(value);
}

function unescapeHtml(text: string): string {
  const names: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };
  return text.replaceAll(/&(amp|lt|gt|quot|#39);/g, (_, name: string) => names[name] ?? '');
}
