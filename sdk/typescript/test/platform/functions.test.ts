/** The SDK and the real functions, which GRAF_URL and GRAF_TOKEN name. */
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {createHash, randomUUID} from 'node:crypto';
import {once} from 'node:events';
import {mkdtemp, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test, type TestContext} from 'node:test';
import {fileURLToPath} from 'node:url';
import {Client, Container, type Event, type Task, type TaskCreated} from '@graf-run/graf';
import {all, environment} from '../servers.js';

const client = Client.fromEnvironment();
const url = process.env['GRAF_URL'] ?? '';

/** Bounds every test. */
const options = {timeout: 120_000};

/** Submits a task that a shell script does. */
async function submit(script: string, more: {tags?: string[]; idempotencyKey?: string} = {}): Promise<TaskCreated> {
  return client.submit({prompt: 'Do it.', agent: {kind: 'command', command: ['sh', '-c', script]}, ...more});
}

async function running(taskId: string): Promise<void> {
  for (let task: Task; (task = await client.get(taskId)).status !== 'running';) {
    assert.equal(task.failure, undefined);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A task that runs until it is cancelled, and its agent's side. */
async function attended(t: TestContext): Promise<{taskId: string; container: Container}> {
  const created = await submit('sleep 600');
  t.after(() => client.cancel(created.taskId).catch(() => {})); // it may have been
  await running(created.taskId);
  const container = Container.fromEnvironment({}, environment(url, created.taskId, created.callback.token));
  return {taskId: created.taskId, container};
}

test('a container reports, once and in order', options, async (t) => {
  const {taskId, container} = await attended(t);
  const twice: Event = {eventId: 'step-1', eventType: 'progress', content: 'Read the Deployment.'};
  const [first, second] = [await container.report(twice), await container.report(twice)];
  assert.deepEqual(
    first.events.map((e) => e.sequence),
    second.events.map((e) => e.sequence),
  );
  const many = Array.from({length: 120}, (_, i): Event => ({eventType: 'log', content: `line ${i}`}));
  const lesson = `Lists are read from their beginning: ${randomUUID()}`;
  await Promise.all([
    container.started('Began.'),
    container.report(many),
    container.log('line 120'),
    container.usage({model: 'none', inputTokens: 7, outputTokens: 3}),
    container.recordLesson(lesson),
    container.recordLesson(lesson),
    container.complete({summary: 'Read all of it.', lesson: 'There is an end.'}),
  ]);
  await assert.rejects(
    container.report({eventId: '?', eventType: 'log'}),
    (error: {status?: number; errors?: {pointer: string}[]}) => {
      assert.equal(error.status, 422);
      assert.match(error.errors?.[0]?.pointer ?? '', /eventId/u);
      return true;
    },
  );
  await client.cancel(taskId, 'enough');
  const task = await client.wait(taskId);
  assert.equal(task.status, 'cancelled');
  assert.equal(task.usage.tokens, 10);
  const events = await all(client.events(taskId, {limit: 50}));
  const own = events.filter((e) => e.eventType !== 'resource' && !e.eventId.startsWith('runner-'));
  const logs = own.filter((e) => e.eventType === 'log').map((e) => e.content);
  assert.deepEqual(
    logs,
    Array.from({length: 121}, (_, i) => `line ${i}`),
  );
  const types = own.map((e) => e.eventType).filter((type) => type !== 'log');
  assert.deepEqual(types, ['progress', 'started', 'usage', 'progress', 'completed']);
  const live = await all(client.watch(taskId, {after: 3}));
  assert.deepEqual(
    live.map((e) => e.sequence),
    events.map((e) => e.sequence).filter((sequence) => sequence > 3),
  );
  await assert.rejects(container.progress('late'), {name: 'GrafError', retryable: false});
});

test('artifacts arrive as they are', options, async (t) => {
  const {taskId, container} = await attended(t);
  const folder = await mkdtemp(join(tmpdir(), 'graf-sdk-'));
  t.after(() => rm(folder, {recursive: true}));
  const bytes = Buffer.alloc(300_000, 'not only ascii: é');
  await writeFile(join(folder, 'large.bin'), bytes);
  await container.uploadArtifact({path: join(folder, 'large.bin')});
  await container.uploadArtifact({
    name: 'report.md',
    content: '# Wäll\n',
    contentType: 'text/markdown',
    eventId: 'report',
  });
  await container.uploadArtifact({name: 'empty', content: ''});
  await client.cancel(taskId);
  const {artifacts} = await client.wait(taskId);
  const sizes = {'large.bin': bytes.length, 'report.md': 8, empty: 0};
  for (const [name, size] of Object.entries(sizes)) {
    const artifact = artifacts.find((a) => a.name === name);
    assert.equal(artifact?.sizeBytes, size, name);
    const answer = await fetch(artifact.downloadUrl);
    const content = Buffer.from(await answer.arrayBuffer());
    assert.equal(createHash('sha256').update(content).digest('hex'), artifact.sha256, name);
  }
});

test('memory and the cluster answer a container', options, async (t) => {
  const {container} = await attended(t);
  const {recall} = await container.searchMemory('what does a list begin with?');
  assert.notEqual(recall.mode, 'none');
  const limits = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {namespace: 'shop', name: 'limits'},
    data: {requests: '200'},
  };
  const {results} = await container.act({action: 'apply', manifests: [limits], dryRun: true});
  assert.equal(results.length, 1);
  assert.equal(results[0]?.resource.name, 'limits');
  assert.equal(results[0]?.outcome, 'refused', 'the local platform has no policy that allows it');
  assert.equal(results[0]?.decision.allowed, false);
  await assert.rejects(container.act({action: 'apply'}), {name: 'GrafError', status: 422});
});

test('the example of a container says why it fails', options, async (t) => {
  const created = await submit('sleep 600');
  t.after(() => client.cancel(created.taskId).catch(() => {})); // it may have ended
  await running(created.taskId);
  const program = fileURLToPath(new URL('../../examples/container.js', import.meta.url));
  const env = {
    ...process.env,
    ...environment(url, created.taskId, created.callback.token),
    GRAF_PROMPT_FILE: '/no/such',
  };
  const child = spawn(process.execPath, [program], {env, stdio: 'inherit'});
  const [status] = (await once(child, 'exit')) as [number];
  assert.equal(status, 1);
  const [event] = await all(client.events(created.taskId));
  assert.equal(event?.eventType, 'failed');
  assert.match(JSON.stringify(event.content), /ENOENT.*no\/such/u);
});

test('a caller submits once, lists, cancels and retries', options, async () => {
  const [tag, idempotencyKey] = [`ts-${randomUUID()}`, randomUUID()];
  const created = await submit('exit 3', {tags: [tag], idempotencyKey});
  assert.equal((await submit('exit 3', {tags: [tag], idempotencyKey})).taskId, created.taskId);
  const task = await client.wait(created.taskId);
  assert.equal(task.status, 'failed');
  const retried = await client.retry(created.taskId);
  const again = await client.wait(retried.taskId);
  assert.equal(again.retryOf, created.taskId);
  const listed = await all(client.list({tag: [tag], status: ['failed'], limit: 1}));
  assert.deepEqual(
    listed.map((l) => l.taskId),
    [retried.taskId, created.taskId],
  );
  await assert.rejects(client.cancel(created.taskId, 'late'), {code: 'conflict'});
  await assert.rejects(all(client.list({limit: 1000})), {status: 400, code: 'bad-request'});
  await assert.rejects(all(client.watch(randomUUID())), {code: 'not-found'});
  const stranger = new Client({url, token: () => Promise.resolve('wrong')});
  await assert.rejects(stranger.get(created.taskId), {status: 401});
});
