/** Submits a task and follows it: node dist/examples/submit.js PROMPT -- COMMAND… */
import {Client, GrafError} from '@graf-run/graf';

const [prompt = 'Say hello.', , ...command] = process.argv.slice(2);
const client = Client.fromEnvironment(); // GRAF_URL, GRAF_TOKEN
const signal = AbortSignal.timeout(10 * 60_000);

try {
  const created = await client.submit(
    {prompt, agent: {kind: 'command', command: command.length > 0 ? command : ['echo', 'hello']}, tags: ['example']},
    {signal},
  );
  for await (const event of client.watch(created.taskId, {signal})) {
    console.log(event.sequence, event.eventType, JSON.stringify(event.content ?? event.artifacts));
  }
  const task = await client.get(created.taskId, {signal});
  console.log(task.taskId, task.status);
  process.exitCode = task.status === 'succeeded' ? 0 : 1;
} catch (error) {
  if (!(error instanceof GrafError)) {
    throw error;
  }
  console.error(error.message);
  for (const {pointer, detail} of error.errors) {
    console.error(`  ${pointer}: ${detail}`);
  }
  process.exitCode = 2;
}
