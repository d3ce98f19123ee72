import assert from 'node:assert/strict';
import {test} from 'node:test';
import {Client, Container, ContractError, readContract} from '@graf-run/graf';
import {environment} from './servers.js';

const good = environment('http://graf.example', '01a20166-f6cc-7a28-92b0-336bb92b506e', 'secret');

test('the whole contract is read', () => {
  const contract = readContract({
    ...good,
    GRAF_PROMPT_FILE: '/prompt.md',
    GRAF_MANIFESTS_DIR: '/manifests',
    GRAF_DEADLINE: '2030-01-02T03:04:05Z',
    GRAF_BUDGET_TOKENS: '1000',
    GRAF_BUDGET_USD: '0.5',
    TRACEPARENT: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  });
  assert.equal(contract.deadline?.getTime(), Date.UTC(2030, 0, 2, 3, 4, 5));
  assert.deepEqual(contract.budget, {tokens: 1000, usd: 0.5});
  assert.equal(contract.manifestsDir, '/manifests');
  assert.equal(contract.memoryURL, good['GRAF_MEMORY_URL']);
});

test('what is missing or wrong is told, all at once', () => {
  const bad = {
    ...good,
    GRAF_TASK_ID: 'seven',
    GRAF_CALLBACK_TOKEN: '',
    GRAF_CALLBACK_URL: 'ftp://x',
    GRAF_DEADLINE: 'soon',
    GRAF_BUDGET_TOKENS: '1.5',
  };
  assert.throws(
    () => readContract(bad),
    (error) => {
      assert.ok(error instanceof ContractError);
      assert.equal(error.problems.length, 5);
      for (const name of ['TASK_ID', 'CALLBACK_TOKEN', 'CALLBACK_URL', 'DEADLINE', 'BUDGET_TOKENS']) {
        assert.match(error.message, new RegExp(`GRAF_${name} is`, 'u'));
      }
      return true;
    },
  );
});

test('what the contract leaves out is told when it is needed', async () => {
  const {GRAF_MEMORY_URL: _memory, GRAF_ACTIONS_URL: _actions, ...least} = good;
  const container = Container.fromEnvironment({}, least);
  await assert.rejects(container.searchMemory('x'), /GRAF_MEMORY_URL is missing/u);
  await assert.rejects(container.act({action: 'get'}), /GRAF_ACTIONS_URL is missing/u);
  await assert.rejects(container.prompt(), /GRAF_PROMPT_FILE is missing/u);
});

test('a client says what is wrong with its options', () => {
  assert.throws(() => Client.fromEnvironment({}, {}), /token/u);
  for (const url of [
    '',
    'graf.example',
    'ftp://graf.example',
    'https://u:p@graf.example',
    'https://graf.example?x=1',
  ]) {
    assert.throws(() => new Client({url, token: 't'}), /is no base URL/u);
  }
});
