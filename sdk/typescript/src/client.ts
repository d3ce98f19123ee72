import {randomUUID} from 'node:crypto';
import {baseURL, HTTP, type CallOptions, type HTTPOptions, type Token} from './http.js';
import {follow} from './stream.js';
import type {
  EventPage,
  ListEvents,
  ListTasks,
  Task,
  TaskCancelled,
  TaskCreated,
  TaskEvent,
  TaskPage,
  TaskRetry,
  TaskStatus,
  TaskSubmission,
  TaskSummary,
} from './types.js';

/** How a client reaches Graf. */
export interface ClientOptions extends HTTPOptions {
  /** Where Graf is, such as https://graf.example. */
  url: string;
  /** A caller's token. */
  token: Token;
}

/** Whether a task in this status stays in it. */
export function ended(status: TaskStatus): boolean {
  return ['succeeded', 'failed', 'cancelled', 'timed_out'].includes(status);
}

/**
 * Submits and follows tasks. A refusal of Graf is thrown as GrafError, and what brings no
 * answer as NoAnswerError, once trying again does not help.
 */
export class Client {
  readonly #http: HTTP;
  readonly #tasks: string;

  /** Asks nobody; a TypeError says what is wrong with the options. */
  constructor(options: ClientOptions) {
    if (!options.token) {
      throw new TypeError('no token is given');
    }
    this.#tasks = `${baseURL(options.url)}/v1/codex/tasks`;
    this.#http = new HTTP(options.token, options);
  }

  /** Makes a client of GRAF_URL and GRAF_TOKEN, as the file .graf/env of the local platform sets them. */
  static fromEnvironment(options: HTTPOptions = {}, environment: NodeJS.ProcessEnv = process.env): Client {
    return new Client({...options, url: environment['GRAF_URL'] ?? '', token: environment['GRAF_TOKEN'] ?? ''});
  }

  /**
   * Submits a task. A submission without an idempotency key is given a random one, so that
   * trying again makes one task only.
   */
  async submit(submission: TaskSubmission, options: CallOptions = {}): Promise<TaskCreated> {
    const body = {...submission, idempotencyKey: submission.idempotencyKey ?? randomUUID()};
    return this.#http.json({operation: 'submitTask', method: 'POST', url: this.#tasks, body}, options);
  }

  /** Everything about one task. */
  async get(taskId: string, options: CallOptions = {}): Promise<Task> {
    return this.#http.json({operation: 'getTask', method: 'GET', url: this.#task(taskId)}, options);
  }

  /** All tasks that fit, newest first, read page by page. */
  list(query: ListTasks = {}, options: CallOptions = {}): AsyncGenerator<TaskSummary, void, undefined> {
    return pages(query, async (params) => {
      const url = this.#tasks + params;
      const page = await this.#http.json<TaskPage>({operation: 'listTasks', method: 'GET', url}, options);
      return {items: page.tasks, next: page.nextCursor};
    });
  }

  /** The task's events so far, oldest first, read page by page. */
  events(
    taskId: string,
    query: ListEvents = {},
    options: CallOptions = {},
  ): AsyncGenerator<TaskEvent, void, undefined> {
    return pages(query, async (params) => {
      const url = this.#task(taskId, '/events') + params;
      const page = await this.#http.json<EventPage>({operation: 'listTaskEvents', method: 'GET', url}, options);
      return {items: page.events, next: page.nextCursor};
    });
  }

  /**
   * The task's events as they come, until it has ended; with `after`, those after that
   * sequence number. A stream that breaks off is opened again where it was.
   */
  watch(taskId: string, options: CallOptions & {after?: number} = {}): AsyncGenerator<TaskEvent, void, undefined> {
    const source = {http: this.#http, url: this.#task(taskId, '/events'), signal: options.signal};
    return follow(source, options.after ?? 0);
  }

  /** Waits until the task has ended, and gives it. Its status tells how. */
  async wait(taskId: string, options: CallOptions = {}): Promise<Task> {
    const events = this.watch(taskId, options);
    while (!(await events.next()).done);
    return this.get(taskId, options);
  }

  /** Cancels a task: a queued one at once, a running one soon. The reason is kept for the audit trail. */
  async cancel(taskId: string, reason?: string, options: CallOptions = {}): Promise<TaskCancelled> {
    const body = reason === undefined ? {} : {reason};
    return this.#http.json(
      {operation: 'cancelTask', method: 'POST', url: this.#task(taskId, '/cancel'), body},
      options,
    );
  }

  /** Runs an ended task again, as a new task, once for each idempotency key; a random one if there is none. */
  async retry(taskId: string, request: TaskRetry = {}, options: CallOptions = {}): Promise<TaskCreated> {
    const body = {...request, idempotencyKey: request.idempotencyKey ?? randomUUID()};
    return this.#http.json({operation: 'retryTask', method: 'POST', url: this.#task(taskId, '/retry'), body}, options);
  }

  #task(taskId: string, rest = ''): string {
    return `${this.#tasks}/${encodeURIComponent(taskId)}${rest}`;
  }
}

/** Yields what is on each page, from the one at the query's cursor to the last. */
async function* pages<T>(
  query: object,
  read: (params: string) => Promise<{items: readonly T[]; next: string | undefined}>,
): AsyncGenerator<T, void, undefined> {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of [value].flat()) {
      if (each !== undefined) {
        params.append(name, String(each));
      }
    }
  }
  for (;;) {
    const {items, next} = await read(params.size === 0 ? '' : `?${params}`);
    yield* items;
    if (!next) {
      return;
    }
    params.set('cursor', next);
  }
}
