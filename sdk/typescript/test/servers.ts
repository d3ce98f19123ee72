/** Servers that tests talk to in place of Graf. */
import assert from 'node:assert/strict';
import {readFile} from 'node:fs/promises';
import {createServer, type IncomingMessage, type ServerResponse} from 'node:http';
import type {AddressInfo} from 'node:net';
import type {TestContext} from 'node:test';

/** A request with its whole body. */
export interface Received {
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
  body: string;
}

export type Handler = (request: Received, response: ServerResponse) => void | Promise<void>;

/** Serves until the test is over, and gives the URL and the requests so far. */
export async function serve(t: TestContext, handler: Handler): Promise<{url: string; requests: Received[]}> {
  const requests: Received[] = [];
  const server = createServer((request, response) => {
    void (async () => {
      const parts: Buffer[] = [];
      for await (const part of request) {
        parts.push(part as Buffer);
      }
      const received = {
        method: request.method ?? '',
        path: request.url ?? '',
        headers: request.headers,
        body: Buffer.concat(parts).toString(),
      };
      requests.push(received);
      await handler(received, response);
    })().catch(() => request.destroy()); // the client broke off, as some tests have it
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return {url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests};
}

/** Answers with JSON. */
export function answer(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  const type = status < 400 ? 'application/json' : 'application/problem+json';
  response.writeHead(status, {'Content-Type': type, ...headers}).end(JSON.stringify(body));
}

/** One request with its answer, as sdk/go recorded them from the real functions. */
export interface Exchange {
  method: string;
  path: string;
  accept?: string;
  body?: string;
  status: number;
  header: Record<string, string>;
  answer: string;
}

/** What sdk/go recorded. */
export async function recording(): Promise<Exchange[]> {
  const text = await readFile(new URL('../../../go/testdata/recorded.json', import.meta.url), 'utf8');
  return JSON.parse(text) as Exchange[];
}

/** Answers as recorded, and only to what was recorded, in that order; what else is asked fails the test. */
export async function play(
  t: TestContext,
  exchanges: readonly Exchange[],
): Promise<{url: string; played: () => number}> {
  let next = 0;
  const {url} = await serve(t, (request, response) => {
    const want = exchanges[next++];
    assert.ok(want, `${request.method} ${request.path} is one request too many`);
    const live = 'text/event-stream';
    const sent = {
      method: request.method,
      path: request.path,
      live: request.headers.accept === live,
      body: request.body === '' ? undefined : (JSON.parse(request.body) as unknown),
    };
    const recorded = {
      method: want.method,
      path: want.path,
      live: want.accept === live,
      body: want.body ? (JSON.parse(want.body) as unknown) : undefined,
    };
    try {
      assert.deepEqual(sent, recorded);
    } catch (error) {
      answer(response, 400, {detail: String(error)});
      return;
    }
    response.writeHead(want.status, want.header).end(want.answer);
  });
  return {url, played: () => next};
}

/** The environment of a container whose functions are all at one URL. */
export function environment(url: string, taskId: string, token = 'recorded'): Record<string, string> {
  const task = `${url}/v1/codex/tasks/${taskId}`;
  return {
    GRAF_TASK_ID: taskId,
    GRAF_CALLBACK_URL: `${task}/events`,
    GRAF_CALLBACK_TOKEN: token,
    GRAF_MEMORY_URL: `${task}/memory`,
    GRAF_ACTIONS_URL: `${task}/actions`,
  };
}

/** All that an iterator yields. */
export async function all<T>(from: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of from) {
    items.push(item);
  }
  return items;
}

/** A URL that nobody listens on. */
export async function nobody(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const {port} = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}
