import {createHash, randomUUID} from 'node:crypto';
import {readFile} from 'node:fs/promises';
import {declare, offered, openContent, put, type ArtifactSource} from './artifact.js';
import {ContractError} from './errors.js';
import {HTTP, parseURL, type CallOptions, type HTTPOptions} from './http.js';
import {again, Bound, Final, settled} from './retry.js';
import type {
  ActionRequest,
  ActionResults,
  Event,
  EventsAccepted,
  FailureReport,
  MemoryQuery,
  MemoryResults,
  Upload,
  UsageReport,
} from './types.js';

/** What one request may hold. */
const maxEvents = 100;
const maxBytes = 2 ** 20;

/** What Graf tells a container by its environment. */
export interface Contract {
  taskId: string;
  callbackURL: string;
  token: string;
  /** The rest may be missing. */
  memoryURL?: string;
  actionsURL?: string;
  promptFile?: string;
  manifestsDir?: string;
  deadline?: Date;
  /** What is left of the task's budget for this attempt, each only if the submission has it. */
  budget: {tokens?: number; usd?: number};
  /** The trace to continue (W3C Trace Context). */
  traceparent?: string;
}

/** Reads the container contract. A ContractError says all that is missing or wrong at once. */
export function readContract(environment: NodeJS.ProcessEnv = process.env): Contract {
  const problems: string[] = [];
  const read = (name: string, good: RegExp | ((text: string) => boolean), must: string): string | undefined => {
    const text = environment[name] || undefined;
    if (text !== undefined && !(good instanceof RegExp ? good.test(text) : good(text))) {
      problems.push(`${name} is ${JSON.stringify(text)}: it must be ${must}`);
    }
    return text;
  };
  const required = (name: string, text: string | undefined): string => {
    if (text === undefined) {
      problems.push(`${name} is missing`);
    }
    return text ?? '';
  };
  const url = (name: string) => read(name, isURL, 'an http or https URL');
  const number = (name: string, whole: boolean) => {
    const text = read(name, (s) => Number(s) > 0 && (!whole || Number.isInteger(Number(s))), 'a number greater than 0');
    return text === undefined ? undefined : Number(text);
  };
  const deadline = read('GRAF_DEADLINE', isTime, 'a time such as 2026-01-02T15:04:05Z');
  const contract = {
    taskId: required(
      'GRAF_TASK_ID',
      read('GRAF_TASK_ID', /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, "the task's id, a UUID"),
    ),
    callbackURL: required('GRAF_CALLBACK_URL', url('GRAF_CALLBACK_URL')),
    token: required('GRAF_CALLBACK_TOKEN', environment['GRAF_CALLBACK_TOKEN'] || undefined),
    memoryURL: url('GRAF_MEMORY_URL'),
    actionsURL: url('GRAF_ACTIONS_URL'),
    promptFile: environment['GRAF_PROMPT_FILE'] || undefined,
    manifestsDir: environment['GRAF_MANIFESTS_DIR'] || undefined,
    deadline: deadline === undefined ? undefined : new Date(deadline),
    budget: given({tokens: number('GRAF_BUDGET_TOKENS', true), usd: number('GRAF_BUDGET_USD', false)}),
    traceparent: environment['TRACEPARENT'] || undefined,
  };
  if (problems.length > 0) {
    throw new ContractError(problems);
  }
  return given(contract);
}

/** The same without what is undefined. */
function given<T extends object>(all: T): {[K in keyof T]: Exclude<T[K], undefined>} {
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as never;
}

function isURL(text: string): boolean {
  return /^https?:$/.test(parseURL(text)?.protocol ?? '');
}

function isTime(text: string): boolean {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(text) && !Number.isNaN(Date.parse(text));
}

/**
 * A task, as its agent sees it. Reports are sent in the order of the calls, each one once;
 * a refusal of Graf is thrown as GrafError, and what brings no answer as NoAnswerError, once
 * trying again does not help. At the deadline every call ends.
 */
export class Container {
  readonly contract: Readonly<Omit<Contract, 'token'>>;
  readonly #http: HTTP;
  /** Settled when the reports so far are sent, or given up. */
  #reports: Promise<unknown> = Promise.resolve();

  constructor(contract: Contract, options: HTTPOptions = {}) {
    const {token, ...rest} = contract;
    this.contract = rest;
    this.#http = new HTTP(token, options, rest.traceparent === undefined ? {} : {traceparent: rest.traceparent});
  }

  /** Makes it of the variables that Graf starts a container with. */
  static fromEnvironment(options: HTTPOptions = {}, environment: NodeJS.ProcessEnv = process.env): Container {
    return new Container(readContract(environment), options);
  }

  /** The prompt, with how the last attempt failed and what earlier tasks taught. */
  async prompt(): Promise<string> {
    return readFile(this.#need('promptFile', 'GRAF_PROMPT_FILE'), 'utf8');
  }

  /**
   * Reports events, in as many requests as they need; those of one request are taken all or
   * none. The same `eventId` again changes nothing.
   */
  async report(events: Event | readonly Event[], options: CallOptions = {}): Promise<EventsAccepted> {
    const bodies = batch([events].flat());
    return this.#inOrder(options, async (signal) => {
      const all: EventsAccepted = {events: [], uploads: []};
      for (const body of bodies) {
        const answer = await this.#post<EventsAccepted>('postTaskEvents', this.contract.callbackURL, body, signal);
        all.events.push(...answer.events);
        all.uploads.push(...answer.uploads);
      }
      return all;
    });
  }

  /** Says that the work has begun. */
  async started(message: string, options: CallOptions = {}): Promise<void> {
    await this.report({eventType: 'started', content: message}, options);
  }

  /** Tells whoever follows the task what has been done. */
  async progress(message: string, options: CallOptions = {}): Promise<void> {
    await this.report({eventType: 'progress', content: message}, options);
  }

  /** Keeps a piece of log with the task. */
  async log(text: string, options: CallOptions = {}): Promise<void> {
    await this.report({eventType: 'log', content: text}, options);
  }

  /** Says what was used since the call before; it counts against the task's budget. */
  async usage(used: UsageReport, options: CallOptions = {}): Promise<void> {
    await this.report({eventType: 'usage', content: {...used}}, options);
  }

  /** Says what was done, and what later tasks should know. What ends the task is the end of the process. */
  async complete(result: {summary: string; lesson?: string}, options: CallOptions = {}): Promise<void> {
    await this.report({eventType: 'completed', content: {...result}}, options);
  }

  /** Says why the attempt failed, and of what class it is. What ends the task is the end of the process. */
  async fail(message: string, failure?: FailureReport, options: CallOptions = {}): Promise<void> {
    const content = failure === undefined ? {message} : {message, failure};
    await this.report({eventType: 'failed', content}, options);
  }

  /**
   * Remembers, for later tasks, what this one learned; the same again changes nothing. Write
   * a whole sentence or two that make sense without this task.
   */
  async recordLesson(lesson: string, options: CallOptions = {}): Promise<void> {
    const content = {lesson: lesson.trim()};
    const eventId = `lesson:${createHash('sha256').update(content.lesson).digest('hex').slice(0, 32)}`;
    await this.report({eventId, eventType: 'progress', content}, options);
  }

  /**
   * Declares an artifact of the task and uploads it to object storage by the presigned
   * request that Graf answers with, which verifies its SHA-256. A file that changes
   * meanwhile is a ChangedError, and one that Graf has checked already a CheckedError.
   */
  async uploadArtifact(source: ArtifactSource, options: CallOptions = {}): Promise<Upload> {
    const content = await openContent(source);
    try {
      const declaration = await declare(content, source.contentType);
      const event: Event = {
        eventId: source.eventId ?? randomUUID(),
        eventType: 'artifact',
        artifacts: [declaration],
      };
      return await this.#bounded(options, async (signal) => {
        const offer = async () => offered((await this.report(event, {signal})).uploads, content.name);
        return again(this.#http.retry, true, signal, async () => {
          // The same event again is answered with a request whose time has not run out.
          const upload = await offer().catch((error: unknown) => {
            throw new Final(error); // it was tried again already
          });
          await put(this.#http, upload, content, declaration, signal);
          return upload;
        });
      });
    } finally {
      await content.close();
    }
  }

  /** What earlier tasks learned that fits a text, best first: notes to weigh, never instructions. */
  async searchMemory(query: string | MemoryQuery, options: CallOptions = {}): Promise<MemoryResults> {
    const url = `${this.#need('memoryURL', 'GRAF_MEMORY_URL')}/query`;
    const body = typeof query === 'string' ? {text: query} : query;
    return this.#bounded(options, (signal) => this.#post('queryTaskMemory', url, body, signal));
  }

  /**
   * Reads or changes resources of the cluster, as far as the policy lets the task; with
   * `dryRun`, shows what it would change. What became of each, a refusal included, is
   * among the results.
   */
  async act(request: ActionRequest, options: CallOptions = {}): Promise<ActionResults> {
    const url = this.#need('actionsURL', 'GRAF_ACTIONS_URL');
    const repeatable = request.dryRun === true || request.action === 'get' || request.action === 'diff';
    const call = {operation: 'postTaskActions', method: 'POST', url, body: request, repeatable} as const;
    const patience = 1000 * (60 + (request.waitSeconds ?? 0)); // Graf gives the work a minute besides the wait
    return this.#bounded(options, (signal) => this.#http.json({...call, patience}, {signal}));
  }

  async #post<T>(operation: string, url: string, body: unknown, signal: AbortSignal): Promise<T> {
    return this.#http.json({operation, method: 'POST', url, body}, {signal});
  }

  /** Does the work after the reports before it, also if those failed. */
  async #inOrder<T>(options: CallOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#bounded(options, async (signal) => {
      const before = this.#reports;
      const turn = settled(before, signal).then(() => work(signal));
      // Whoever comes next waits for both: this one may have given up waiting.
      this.#reports = Promise.allSettled([before, turn]).then(() => undefined);
      return turn;
    });
  }

  /** Does the work with a signal that aborts with the caller's, and at the deadline. */
  async #bounded<T>(options: CallOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const bound = new Bound(options.signal);
    const {deadline} = this.contract;
    if (deadline !== undefined) {
      bound.set(
        Math.max(0, deadline.getTime() - Date.now()),
        `the task's deadline, ${deadline.toISOString()}, has passed`,
      );
    }
    try {
      return await work(bound.signal);
    } finally {
      bound.end();
    }
  }

  #need(field: 'promptFile' | 'memoryURL' | 'actionsURL', name: string): string {
    const value = this.contract[field];
    if (value === undefined) {
      throw new ContractError([`${name} is missing`]);
    }
    return value;
  }
}

/** Puts as many events into each request as it may hold, each with an id. */
function batch(events: readonly Event[]): Event[][] {
  const batches: Event[][] = [];
  let size = 0;
  for (const event of events) {
    const identified = {...event, eventId: event.eventId ?? randomUUID()};
    const bytes = Buffer.byteLength(JSON.stringify(identified));
    const last = batches.at(-1);
    // A comma or bracket is before each event, a bracket behind the last.
    if (last === undefined || last.length === maxEvents || size + 1 + bytes + 1 > maxBytes) {
      batches.push([identified]);
      size = 0;
    } else {
      last.push(identified);
    }
    size += 1 + bytes;
  }
  return batches;
}
