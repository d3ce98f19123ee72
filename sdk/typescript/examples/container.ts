/** An agent: reports which resources its task is about. Graf starts it with the container contract. */
import {readdir} from 'node:fs/promises';
import {Container} from '@graf-run/graf';

const container = Container.fromEnvironment();
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort(new Error('The task is stopped.')));
const {signal} = stop;

try {
  const prompt = await container.prompt();
  await container.started(`Read the prompt: ${prompt.length} characters.`, {signal});

  const {results} = await container.searchMemory({text: 'resources of a report', limit: 3}, {signal});
  await container.progress(`Earlier tasks taught ${results.length} things that may fit.`, {signal});

  const files = await readdir(container.contract.manifestsDir ?? '.');
  const report = ['# Resources', ...files.map((file) => `- ${file}`), ''].join('\n');
  await container.uploadArtifact({name: 'report.md', content: report, contentType: 'text/markdown'}, {signal});

  await container.complete(
    {
      summary: `Listed ${files.length} resources.`,
      lesson: 'A report of the resources of a task is a list of the files in GRAF_MANIFESTS_DIR.',
    },
    {signal},
  );
} catch (error) {
  await container.fail(String(error));
  process.exitCode = 1;
}
