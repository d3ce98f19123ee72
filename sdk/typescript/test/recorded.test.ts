import assert from 'node:assert/strict';
import {test} from 'node:test';
import {Client, Container, GrafError, type Event, type TaskSubmission} from '@graf-run/graf';
import {all, environment, play, recording} from './servers.js';

/** The same calls as TestRecorded of sdk/go makes, of the answers that real functions gave. */
test('what is sent and read is what sdk/go recorded', async (t) => {
  const exchanges = await recording();
  const player = await play(t, exchanges);
  const client = new Client({url: player.url, token: 'recorded'});
  const created = await client.submit({
    prompt: 'Tell the recorder.',
    agent: {kind: 'command', command: ['sh', '-c', 'echo told']},
    tags: ['sdk'],
    idempotencyKey: 'recorded-scenario',
  });
  assert.equal(created.callback.token, 'graf_task_recorded');

  const task = await client.wait(created.taskId);
  assert.equal(task.status, 'succeeded');
  assert.equal(task.artifacts[0]?.name, 'attempt-1.log');
  const logs = await all(client.events(task.taskId, {limit: 10}));
  assert.deepEqual(
    logs.map((e) => [e.eventType, e.content]),
    [['log', {stream: 'stdout', text: 'told'}]],
  );

  const container = Container.fromEnvironment({}, environment(player.url, task.taskId));
  const {recall, results} = await container.searchMemory({text: 'recorder', includeOwn: true, limit: 2});
  assert.equal(recall.mode, 'hybrid');
  assert.deepEqual(
    results.map((r) => r.source.kind),
    ['outcome', 'prompt'],
  );

  await assert.rejects(client.cancel(task.taskId, 'late'), {
    name: 'GrafError',
    status: 409,
    code: 'conflict',
    retryable: false,
  });
  await assert.rejects(client.get('00000000-0000-0000-0000-000000000000'), {status: 404, code: 'not-found'});
  const nobody: unknown = {prompt: 'No agent.', agent: {}, idempotencyKey: 'recorded-scenario-invalid'};
  await assert.rejects(client.submit(nobody as TaskSubmission), (error: unknown) => {
    assert.ok(error instanceof GrafError);
    assert.equal(error.status, 422);
    assert.equal(error.code, 'invalid');
    assert.equal(error.errors[0]?.pointer, '/agent/command');
    assert.match(error.message, /^submitTask: Not valid \(422\): .*\/agent\/command/u);
    assert.match(error.instance, /^urn:graf:request:/u);
    return true;
  });
  await agent(client, player.url);
  assert.equal(player.played(), exchanges.length);
});

/** An agent's calls, by the same token that sdk/go used. */
async function agent(client: Client, url: string): Promise<void> {
  const created = await client.submit({
    prompt: 'Wait for the recorder.',
    agent: {kind: 'command', command: ['sh', '-c', 'sleep 600']},
    tags: ['sdk'],
    idempotencyKey: 'recorded-scenario-agent',
  });
  while ((await client.get(created.taskId)).status !== 'running');
  const container = Container.fromEnvironment({}, environment(url, created.taskId, created.callback.token));
  const step: Event = {eventId: 'step-1', eventType: 'progress', content: 'Half of it is done.'};
  const [first, again] = [await container.report(step), await container.report(step)];
  assert.equal(first.events[0]?.eventId, 'step-1');
  assert.deepEqual(again.events[0]?.sequence, first.events[0].sequence);

  const limits = {apiVersion: 'v1', kind: 'ConfigMap', namespace: 'shop', name: 'limits'};
  const {results} = await container.act({action: 'get', resources: [limits]});
  assert.equal(results[0]?.outcome, 'refused');
  assert.match(results[0].error ?? '', /no rule allows/u);

  const unknown: unknown = {eventId: 'step-2', eventType: 'no-such-type'};
  await assert.rejects(container.report(unknown as Event), {code: 'invalid'});

  await client.cancel(created.taskId);
  const events = await all(client.watch(created.taskId));
  assert.deepEqual(
    events.filter((e) => !e.eventId.startsWith('runner-')).map((e) => [e.eventId, e.content]),
    [['step-1', 'Half of it is done.']],
  );
  assert.equal((await client.get(created.taskId)).status, 'cancelled');
  await assert.rejects(container.report({...step, eventId: 'step-3'}), {code: 'conflict', retryable: false});
}
