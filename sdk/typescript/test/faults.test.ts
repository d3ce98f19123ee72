/** What networks, proxies and files do. */
import assert from 'node:assert/strict';
import {createHash} from 'node:crypto';
import {mkdtemp, rm, truncate, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test, type TestContext} from 'node:test';
import {
  ChangedError,
  CheckedError,
  Client,
  Container,
  GrafError,
  NoAnswerError,
  type Event,
  type HTTPOptions,
} from '@graf-run/graf';
import {all, answer, environment, nobody, serve, type Handler} from './servers.js';

const taskId = '01a20166-f6cc-7a28-92b0-336bb92b506e';
const quick: HTTPOptions = {retry: {base: 5, max: 20}, timeout: 2000};

async function container(t: TestContext, handler: Handler, options = quick, more: Record<string, string> = {}) {
  const server = await serve(t, handler);
  return {...server, container: Container.fromEnvironment(options, {...environment(server.url, taskId), ...more})};
}

/** Takes events as callback does. */
const take: Handler = (request, response) => {
  const events = JSON.parse(request.body) as Event[];
  answer(response, 202, {events: events.map((e, i) => ({eventId: e.eventId, sequence: i + 1})), uploads: []});
};

test('a report is sent again with the same ids, not before Retry-After', async (t) => {
  const failures: Handler[] = [
    (_, response) => answer(response, 503, {title: 'Away', status: 503}),
    (_, response) => void response.destroy(),
    (_, response) => void response.writeHead(502).end('<html>bad gateway</html>'),
    (_, response) => answer(response, 429, {title: 'Slow down', status: 429}, {'Retry-After': '1'}),
  ];
  const {container: c, requests} = await container(t, (request, response) =>
    (failures.shift() ?? take)(request, response),
  );
  const began = Date.now();
  await c.progress('Half of it is done.');
  assert.ok(Date.now() - began >= 1000, 'Retry-After was not waited for');
  assert.equal(requests.length, 5);
  assert.equal(new Set(requests.map((r) => r.body)).size, 1);
  assert.equal(requests[0]?.headers.authorization, 'Bearer recorded');
});

test('what cannot succeed is not tried again, and trying has an end', async (t) => {
  const statuses = [422, 501, 500, 500, 500, 500, 500];
  const {container: c, requests} = await container(t, (_, response) =>
    answer(response, statuses.shift() ?? 500, {title: 'No'}),
  );
  await assert.rejects(c.progress('1'), {status: 422, retryable: false});
  await assert.rejects(c.progress('2'), {status: 501, retryable: false});
  await assert.rejects(c.progress('3'), {status: 500, retryable: true});
  assert.equal(requests.length, 7);
  const far = await container(t, (_, response) => answer(response, 429, {title: 'Later'}, {'Retry-After': '3600'}));
  await assert.rejects(
    far.container.progress('4'),
    (error) => error instanceof GrafError && error.retryAfter === 3_600_000,
  );
  assert.equal(far.requests.length, 1);
});

test('a redirect is refused, and nothing is sent to where it leads', async (t) => {
  const elsewhere = await serve(t, (_, response) => answer(response, 200, {}));
  for (const status of [301, 302, 303, 307, 308]) {
    const Location = `${elsewhere.url}/right?X-Amz-Signature=secret`;
    const {url} = await serve(t, (_, response) => void response.writeHead(status, {Location}).end());
    const client = new Client({url, token: 'recorded', ...quick});
    await assert.rejects(client.submit({prompt: 'x', agent: {kind: 'command', command: ['true']}}), (error) => {
      assert.ok(error instanceof GrafError && error.status === status, String(error));
      assert.ok(error.detail.includes(`redirects to ${elsewhere.url}/right,`), error.detail);
      return true;
    });
  }
  assert.deepEqual(elsewhere.requests, []);
});

test('no server, silence and half an answer are no answer', async (t) => {
  const away = Container.fromEnvironment(quick, environment(await nobody(), taskId));
  await assert.rejects(
    away.progress('1'),
    (error) => error instanceof NoAnswerError && /ECONNREFUSED/u.test(error.message),
  );
  const once = {retry: {attempts: 1}, timeout: 50};
  const silent = await container(t, () => {}, once);
  await assert.rejects(silent.container.progress('2'), /no answer within 50 ms/u);
  const half = await container(t, (_, response) => {
    response.writeHead(202, {'Content-Length': '100'}).write('{"ev');
    setTimeout(() => response.destroy(), 10);
  });
  await assert.rejects(half.container.progress('3'), NoAnswerError);
  assert.equal(half.requests.length, 5);
});

test('an action that changes something is not tried again where it may have been done', async (t) => {
  const {container: c, requests} = await container(t, (_, response) => void response.destroy());
  const resources = [{apiVersion: 'v1', kind: 'ConfigMap', namespace: 'shop', name: 'limits'}];
  await assert.rejects(c.act({action: 'delete', resources}), NoAnswerError);
  assert.equal(requests.length, 1);
  await assert.rejects(c.act({action: 'delete', resources, dryRun: true}), NoAnswerError);
  assert.equal(requests.length, 6);
  const away = Container.fromEnvironment({retry: {base: 1, attempts: 3}}, environment(await nobody(), taskId));
  await assert.rejects(
    away.act({action: 'delete', resources}),
    (error) => error instanceof NoAnswerError && error.unsent,
  );
});

test('actions are given the time that Graf may take', async (t) => {
  const late: Handler = (_, response) => void setTimeout(() => answer(response, 200, {results: []}), 300);
  const {container: c} = await container(t, late, {timeout: 50});
  await c.act({action: 'apply', manifests: []});
});

test('reports keep their order, also past one that fails', async (t) => {
  const {container: c, requests} = await container(t, (request, response) => {
    if (request.body.includes('"bad"')) {
      answer(response, 422, {title: 'Not valid'});
      return;
    }
    setTimeout(() => void take(request, response), request.body.includes('"0"') ? 50 : 0);
  });
  const reports = ['0', 'bad', '1', '2'].map((text) => c.progress(text));
  const results = await Promise.allSettled(reports);
  assert.deepEqual(
    results.map((r) => r.status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
  );
  const sent = requests.map((r) => (JSON.parse(r.body) as Event[])[0]?.content);
  assert.deepEqual(sent, ['0', 'bad', '1', '2']);
});

test('many and large events go in requests that may hold them', async (t) => {
  const {container: c, requests} = await container(t, take);
  const small = Array.from({length: 120}, (_, i): Event => ({eventType: 'log', content: `line ${i}`}));
  const large = Array.from({length: 5}, (): Event => ({eventType: 'log', content: 'é'.repeat(200_000)}));
  const accepted = await c.report([...small, ...large]);
  assert.equal(accepted.events.length, 125);
  assert.deepEqual(
    requests.map((r) => (JSON.parse(r.body) as Event[]).length),
    [100, 22, 2, 1],
  );
  assert.ok(requests.every((r) => Buffer.byteLength(r.body) <= 2 ** 20));
});

test('signals and the deadline end calls', async (t) => {
  const {container: c} = await container(t, () => {}, {});
  const why = new Error('enough');
  const controller = new AbortController();
  setTimeout(() => controller.abort(why), 20);
  const first = c.progress('1', {signal: controller.signal});
  const queued = c.progress('2', {signal: controller.signal});
  await Promise.all([assert.rejects(first, why), assert.rejects(queued, why)]);
  await assert.rejects(c.searchMemory('x', {signal: AbortSignal.abort(why)}), why);
  const GRAF_DEADLINE = new Date(Date.now() + 1000).toISOString();
  const late = await container(t, () => {}, {}, {GRAF_DEADLINE});
  await assert.rejects(late.container.progress('3'), {name: 'TimeoutError', message: /deadline/u});
  await assert.rejects(late.container.searchMemory('x'), {name: 'TimeoutError'});
});

test('live events are resumed where they broke off, each yielded once', async (t) => {
  const event = (sequence: number, content = '') =>
    `id: ${sequence}\nevent: progress\ndata: ${JSON.stringify({sequence, eventType: 'progress', content})}\n\n`;
  const streams = [
    `: hello\n\n${event(1, 'ünï')}${event(2).replaceAll('\n', '\r\n')}${event(3).slice(0, -3)}`,
    '',
    `${event(2)}${event(3)}event: end\ndata: {}\n\n`,
  ];
  const {url, requests} = await serve(t, (_, response) => {
    response.writeHead(200, {'Content-Type': 'text/event-stream'});
    const bytes = Buffer.from(streams.shift() ?? '');
    for (const byte of bytes) {
      response.write(Buffer.from([byte])); // parts that end anywhere, in characters, too
    }
    response.end();
  });
  const client = new Client({url, token: 'recorded', ...quick});
  const events = await all(client.watch(taskId));
  assert.deepEqual(
    events.map((e) => [e.sequence, e.content]),
    [
      [1, 'ünï'],
      [2, ''],
      [3, ''],
    ],
  );
  assert.deepEqual(
    requests.map((r) => r.headers['last-event-id']),
    [undefined, '2', '2'],
  );
  await assert.rejects(all(client.watch(taskId)), NoAnswerError);
  assert.equal(requests.length, 17, '14 tries in a row that bring nothing are the last');
});

const live = {'Content-Type': 'text/event-stream'};

test('a quiet task is watched however often its stream is cut after some seconds with a comment', async (t) => {
  let [streams, seconds] = [0, 0];
  const now = t.mock.method(performance, 'now', () => 1000 * seconds);
  const {url} = await serve(t, (_, response) => {
    seconds += 6;
    const text = ++streams < 20 ? ': Graf is here\n' : 'event: end\ndata: {}\n\n';
    response.writeHead(200, live).end(text);
  });
  const client = new Client({url, token: 'recorded', ...quick});
  assert.deepEqual(await all(client.watch(taskId)), []);
  assert.equal(streams, 20);
  now.mock.restore();
});

test('a stream that is cut at once again and again is given up', async (t) => {
  const {url, requests} = await serve(t, (_, response) => void response.writeHead(200, live).end(': Graf is here\n'));
  const client = new Client({url, token: 'recorded', retry: {base: 5, max: 20, attempts: 3}});
  await assert.rejects(all(client.watch(taskId)), NoAnswerError);
  assert.equal(requests.length, 3);
});

test('an answer that is no stream is an error', async (t) => {
  const {url} = await serve(t, (_, response) => answer(response, 200, {events: []}));
  const client = new Client({url, token: 'recorded', ...quick});
  await assert.rejects(all(client.watch(taskId)), /no event stream but "application\/json"/u);
});

test('a stream that brings something is opened again, however few tries there are', async (t) => {
  const streams = ['event: hello\n\ndata: {"sequence":1}\n\n', 'data: {"sequence":2}\n\n', 'event: end\ndata: {}\n\n'];
  const {url} = await serve(t, (_, response) => void response.writeHead(200, live).end(streams.shift()));
  const client = new Client({url, token: 'recorded', retry: {attempts: 1}});
  const events = await all(client.watch(taskId));
  assert.deepEqual(
    events.map((e) => e.sequence),
    [1, 2],
  );
});

test('who stops watching closes the stream', async (t) => {
  let closed = false;
  const {url} = await serve(t, (_, response) => {
    response.on('close', () => (closed = true));
    response.writeHead(200, live).write('data: {"sequence":1}\n\n');
  });
  const client = new Client({url, token: 'recorded', ...quick});
  for await (const event of client.watch(taskId)) {
    assert.equal(event.sequence, 1);
    break;
  }
  const why = new Error('enough');
  await assert.rejects(all(client.watch(taskId, {after: 1, signal: signalIn(50, why)})), why);
  assert.ok(closed);
});

function signalIn(ms: number, why: Error): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => controller.abort(why), ms);
  return controller.signal;
}

/** Answers declarations with an upload to itself, which store answers. */
function storage(store: Handler): Handler {
  return (request, response) => {
    if (request.method === 'PUT') {
      return store(request, response);
    }
    const [event] = JSON.parse(request.body) as [Event];
    const url = `http://${request.headers.host}/bucket/file?X-Amz-Signature=secret`;
    const upload = {
      eventId: event.eventId,
      name: event.artifacts?.[0]?.name,
      method: 'PUT',
      url,
      headers: {'x-amz-own': 'yes'},
    };
    return answer(response, 202, {events: [{eventId: event.eventId, sequence: 1}], uploads: [upload]});
  };
}

async function file(t: TestContext, content: Buffer): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'graf-sdk-'));
  t.after(() => rm(folder, {recursive: true}));
  const path = join(folder, 'report.bin');
  await writeFile(path, content);
  return path;
}

test('an upload is sent with its length and headers, and again if the storage is away', async (t) => {
  const content = Buffer.alloc(300_000, 'abc');
  const statuses = [503, 200];
  const {container: c, requests} = await container(
    t,
    storage((_, response) => void response.writeHead(statuses.shift() ?? 200).end()),
  );
  await c.uploadArtifact({path: await file(t, content)});
  const [declared, , again, sent] = requests;
  assert.equal(declared?.body, again?.body, 'the same event is asked again');
  const [event] = JSON.parse(declared?.body ?? '') as [Event];
  const sha256 = createHash('sha256').update(content).digest('hex');
  assert.deepEqual(event.artifacts, [
    {name: 'report.bin', contentType: 'application/octet-stream', sizeBytes: content.length, sha256},
  ]);
  assert.equal(sent?.body, content.toString());
  assert.equal(sent?.headers['content-length'], String(content.length));
  assert.equal(sent?.headers['x-amz-own'], 'yes');
  assert.equal(sent?.headers.authorization, undefined, "Graf's token is not the storage's");
});

test('a declaration that is refused in the middle of an upload is not tried again twice', async (t) => {
  let declared = 0;
  const first = storage((_, response) => void response.writeHead(503).end());
  const {container: c} = await container(t, (request, response) => {
    if (request.method === 'POST' && ++declared > 1) {
      return answer(response, 500, {title: 'No'});
    }
    return first(request, response);
  });
  await assert.rejects(c.uploadArtifact({name: 'x', content: 'y'}), {operation: 'postTaskEvents', status: 500});
  assert.equal(declared, 6);
});

test('a file that changes while it is uploaded is told', async (t) => {
  for (const change of [
    (path: string) => truncate(path, 1000),
    (path: string) => writeFile(path, Buffer.alloc(300_000, 'x')),
  ]) {
    const path = await file(t, Buffer.alloc(300_000, 'abc'));
    const take = storage((_, response) => void response.writeHead(400).end());
    const {container: c} = await container(t, async (request, response) => {
      if (request.method === 'POST') {
        await change(path);
      }
      await take(request, response);
    });
    await assert.rejects(c.uploadArtifact({path}), ChangedError);
  }
});

test('what Graf has checked is not uploaded again', async (t) => {
  const {container: c, requests} = await container(t, take);
  await assert.rejects(c.uploadArtifact({name: 'x', content: 'y', eventId: 'e'}), CheckedError);
  assert.equal(requests.length, 1);
});

test('no error shows the token or a presigned address', async (t) => {
  const {container: c} = await container(
    t,
    storage((_, response) => void response.destroy()),
    {retry: {attempts: 1}},
  );
  await assert.rejects(c.uploadArtifact({name: 'x', content: 'y'}), (error) => {
    assert.doesNotMatch(JSON.stringify(error) + String(error), /secret|Signature/u);
    return error instanceof NoAnswerError;
  });
  assert.doesNotMatch(JSON.stringify(c), /"recorded"/u);
});
