import {GrafError, NoAnswerError} from './errors.js';
import {Bound, again, type Retry} from './retry.js';
import type {Problem} from './types.js';

/** What every call takes. */
export interface CallOptions {
  /** Ends the call, which then throws the signal's reason. */
  signal?: AbortSignal;
}

/** How calls are made. */
export interface HTTPOptions {
  /** How calls are tried again. */
  retry?: Retry;
  /** Bounds each try, in milliseconds, but not live events; 30,000 if it is left out. */
  timeout?: number;
  /** Sends the requests in place of Node's own. */
  fetch?: typeof fetch;
}

/** A bearer token, or what gives one; it is asked for each request, so it may renew tokens. */
export type Token = string | (() => string | Promise<string>);

/** One call of an operation of the OpenAPI document. */
export interface Call {
  operation: string;
  method: 'GET' | 'POST';
  url: string;
  /** Sent as JSON. */
  body?: unknown;
  headers?: Record<string, string>;
  /** Whether doing it twice is as doing it once; true if it is left out. */
  repeatable?: boolean;
  /** What Graf may take longer than other calls, in milliseconds. */
  patience?: number;
}

const maxAnswer = 256 * 2 ** 20;
const maxRefusal = 2 ** 20;
const maxQuoted = 512;

/** Makes calls, and tries again. */
export class HTTP {
  readonly retry: Retry;
  readonly timeout: number;
  readonly #fetch: typeof fetch;
  readonly #token: Token;
  readonly #headers: Record<string, string>;

  constructor(token: Token, options: HTTPOptions, headers: Record<string, string> = {}) {
    this.#token = token;
    this.retry = options.retry ?? {};
    this.timeout = options.timeout ?? 30_000;
    this.#fetch = options.fetch ?? fetch;
    this.#headers = {'User-Agent': 'graf-typescript', ...headers};
  }

  /** Makes the call until there is an answer or retry gives up, and gives what is in it. */
  async json<T>(call: Call, options: CallOptions): Promise<T> {
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    return again(this.retry, call.repeatable ?? true, options.signal, async () => {
      const token = await this.token();
      return this.once(call.operation, options.signal, call.patience ?? 0, async (signal) => {
        const response = await this.send(call, token, body, signal);
        return JSON.parse(await text(response, maxAnswer)) as T;
      });
    });
  }

  /** The token of one request. */
  async token(): Promise<string> {
    return typeof this.#token === 'string' ? this.#token : this.#token();
  }

  /** Tries once, within the timeout. What comes to pass on the way is a NoAnswerError. */
  async once<T>(
    what: string,
    outer: AbortSignal | undefined,
    patience: number,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const bound = new Bound(outer);
    const ms = this.timeout + patience;
    bound.set(ms, `no answer within ${ms} ms`);
    try {
      return await work(bound.signal);
    } catch (error) {
      throw error instanceof GrafError || error instanceof NoAnswerError ? error : new NoAnswerError(what, error);
    } finally {
      bound.end();
    }
  }

  /** Sends the call once. A refusal is thrown as GrafError. */
  async send(call: Call, token: string, body: string | undefined, signal: AbortSignal): Promise<Response> {
    const headers = {Accept: 'application/json', ...this.#headers, ...call.headers, Authorization: `Bearer ${token}`};
    return this.raw(call.operation, call.url, {
      method: call.method,
      headers: body === undefined ? headers : {...headers, 'Content-Type': 'application/json'},
      ...(body === undefined ? {} : {body}),
      signal,
    });
  }

  /**
   * Sends a request as it is, without Graf's token. A refusal is thrown as GrafError, and so is a
   * redirect: it would send what is meant for Graf somewhere else, and a POST as a GET.
   */
  async raw(operation: string, url: string, init: RequestInit): Promise<Response> {
    const response = await this.#fetch(url, {...init, redirect: 'manual'});
    if (!response.ok) {
      throw await refusal(operation, response);
    }
    return response;
  }
}

/** Reads a refusal. What is no problem document comes from something before Graf; its text is kept as the detail. */
async function refusal(operation: string, response: Response): Promise<GrafError> {
  const location = response.headers.get('Location');
  const to = response.status < 400 && location !== null ? parseURL(location, response.url) : undefined;
  if (to !== undefined) {
    await response.body?.cancel();
    const place = to.origin + to.pathname; // the rest may be secret
    const detail = `it redirects to ${place}, which is not followed; if that is the right address, use it`;
    return new GrafError(operation, response.status, {detail});
  }
  const wait = retryAfter(response.headers.get('Retry-After'));
  const answer = await text(response, maxRefusal).catch(() => ''); // half of it would tell nothing
  if (response.headers.get('Content-Type')?.startsWith('application/problem+json')) {
    try {
      return new GrafError(operation, response.status, JSON.parse(answer) as Partial<Problem>, wait);
    } catch {
      // It only says that it is one.
    }
  }
  return new GrafError(operation, response.status, {detail: answer.slice(0, maxQuoted).trim()}, wait);
}

/** Reads the header (RFC 9110, section 10.2.3), seconds or a date, as milliseconds. */
function retryAfter(value: string | null): number {
  if (value === null) {
    return 0;
  }
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return ms > 0 ? ms : 0;
}

/** The whole body, which may have so many bytes. */
async function text(response: Response, most: number): Promise<string> {
  const decoder = new TextDecoder();
  let whole = '';
  let size = 0;
  for await (const chunk of response.body ?? []) {
    const bytes = chunk as Uint8Array;
    size += bytes.byteLength;
    if (size > most) {
      throw new RangeError(`the answer has more than ${most} bytes`);
    }
    whole += decoder.decode(bytes, {stream: true});
  }
  return whole + decoder.decode();
}

/** Checks an http or https URL, and takes its last slashes away. */
export function baseURL(url: string): string {
  const parsed = parseURL(url);
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol) || parsed.search || parsed.username) {
    throw new TypeError(`${JSON.stringify(url)} is no base URL such as https://graf.example`);
  }
  return url.replace(/\/+$/, '');
}

/** The URL, which may be relative to a base; undefined where it is none. */
export function parseURL(url: string, base?: string): URL | undefined {
  try {
    return new URL(url, base);
  } catch {
    return undefined;
  }
}
