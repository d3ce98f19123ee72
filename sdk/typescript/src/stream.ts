import {GrafError, NoAnswerError} from './errors.js';
import type {HTTP} from './http.js';
import {Bound, nextWait, pause} from './retry.js';
import type {TaskEvent} from './types.js';

/** The longest line of live events, in characters: a snapshot has at most 1 MiB, which JSON may write longer. */
const maxLine = 16 * 2 ** 20;

/** The longest that a stream may say nothing. Graf sends a comment at least every 15 s, unless it is set up otherwise. */
const maxSilence = 90_000;

/** How long a stream without an event must have lived to be no failure: one that is cut at once again and again is. */
const usefulLife = 5_000;

/** How often is tried in a row unless it is said: that bridges about a minute with the usual waits. */
const followAttempts = 14;

/** Where a task's events are read, and by whom. */
interface Source {
  http: HTTP;
  url: string;
  signal: AbortSignal | undefined;
}

/** A server-sent event. */
interface Message {
  event: string;
  data: string;
}

/**
 * Yields a task's events after the sequence number as they come, until the task has ended.
 * A stream that breaks off is opened again where it was; only tries in a row that bring
 * no event, nor a comment and some seconds, are counted, so that it may last for days.
 */
export async function* follow(source: Source, after: number): AsyncGenerator<TaskEvent, void, undefined> {
  let last = after;
  let tries = 0;
  const retry = {...source.http.retry, attempts: source.http.retry.attempts ?? followAttempts};
  for (;;) {
    const [opened, before] = [performance.now(), last];
    let heard = false;
    try {
      for await (const {event, data} of stream(source, last, () => (heard = true))) {
        if (event === 'end') {
          return;
        }
        const next = data === '' ? undefined : (JSON.parse(data) as TaskEvent);
        if (next !== undefined && next.sequence > last) {
          last = next.sequence;
          yield next;
        }
      }
    } catch (error) {
      source.signal?.throwIfAborted();
      // A quiet task says no more than comments, and proxies cut streams.
      const fruitful = last > before || (heard && performance.now() - opened >= usefulLife);
      tries = fruitful ? 0 : tries + 1;
      const wait = nextWait(retry, tries, error, true);
      if (wait === undefined) {
        throw error;
      }
      await pause(wait, source.signal);
    }
  }
}

/** Opens the stream once and reads it, calling heard at each line, until it breaks off with a NoAnswerError. */
async function* stream(
  {http, url, signal}: Source,
  last: number,
  heard: () => void,
): AsyncGenerator<Message, never, undefined> {
  const token = await http.token();
  const bound = new Bound(signal);
  const listen = (): void => bound.set(maxSilence, 'the event stream is silent');
  const resume: Record<string, string> = last > 0 ? {'Last-Event-ID': String(last)} : {};
  const headers = {Accept: 'text/event-stream', ...resume};
  try {
    listen();
    const call = {operation: 'listTaskEvents', method: 'GET', url, headers} as const;
    const response = await http.send(call, token, undefined, bound.signal);
    const type = response.headers.get('Content-Type') ?? '';
    if (!type.startsWith('text/event-stream')) {
      throw new Error(`the answer is no event stream but ${JSON.stringify(type)}`);
    }
    for await (const message of messages(lines(response.body ?? [], listen), heard)) {
      bound.unset(); // whoever reads the events may take their time
      yield message;
      listen();
    }
    throw new Error('the event stream broke off');
  } catch (error) {
    throw error instanceof GrafError ? error : new NoAnswerError('listTaskEvents', error);
  } finally {
    bound.end();
  }
}

/** Puts lines, calling heard at each, together to server-sent events (WHATWG HTML, 9.2); comments are left out. */
async function* messages(from: AsyncIterable<string>, heard: () => void): AsyncGenerator<Message, void, undefined> {
  let event = '';
  let data: string[] = [];
  for await (const line of from) {
    heard();
    const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/su.exec(line) ?? [];
    if (line === '') {
      if (event !== '' || data.length > 0) {
        yield {event, data: data.join('\n')};
      }
      event = '';
      data = [];
    } else if (field === 'event') {
      event = value;
    } else if (field === 'data') {
      data.push(value);
    }
  }
}

/** The lines of a body, calling alive at each part of it; what is after the last line end is half a line. */
export async function* lines(
  body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  alive: () => void,
): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const part of body) {
    alive();
    const whole = (rest + decoder.decode(part, {stream: true})).split(/\r\n|\n|\r(?!$)/);
    rest = whole.pop() ?? '';
    if (rest.length > maxLine) {
      throw new RangeError(`a line of the event stream has more than ${maxLine} characters`);
    }
    yield* whole;
  }
}
