import {GrafError, NoAnswerError} from './errors.js';

/**
 * How a call is tried again: after no answer, 408, 429 and 5xx. Actions that change
 * something are tried again only where Graf cannot have begun: after a refused
 * connection and a 429.
 */
export interface Retry {
  /** How often is tried in all; 5 if it is left out, and 14 to watch; 1 is never again. */
  attempts?: number;
  /** The milliseconds before the second try, which double with each; a random part of up to a half is left out. 200. */
  base?: number;
  /** The most milliseconds between two tries. 10,000. */
  max?: number;
  /** The longest Retry-After that is waited for, in milliseconds; what asks for more is thrown. 60,000. */
  maxRetryAfter?: number;
}

/** The longest wait of a timer, which one that is longer would not wait at all. */
const longestTimer = 2 ** 31 - 1;

/** Thrown by what is tried again: an error that another try cannot mend. */
export class Final {
  constructor(readonly error: unknown) {}
}

/** Calls once until it succeeds, the signal aborts, or retry gives up. */
export async function again<T>(
  retry: Retry,
  repeatable: boolean,
  signal: AbortSignal | undefined,
  once: () => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    signal?.throwIfAborted();
    try {
      return await once();
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof Final) {
        throw error.error;
      }
      const wait = nextWait(retry, tries, error, repeatable);
      if (wait === undefined) {
        throw error;
      }
      await pause(wait, signal);
    }
  }
}

/** How long to wait after so many tries that brought nothing, in milliseconds; undefined to give up. */
export function nextWait(retry: Retry, tries: number, error: unknown, repeatable: boolean): number | undefined {
  if (tries >= (retry.attempts ?? 5) || !mayTryAgain(error, repeatable)) {
    return undefined;
  }
  const asked = error instanceof GrafError ? error.retryAfter : 0;
  if (asked > (retry.maxRetryAfter ?? 60_000)) {
    return undefined;
  }
  const longest = Math.min((retry.base ?? 200) * 2 ** Math.max(tries - 1, 0), retry.max ?? 10_000);
  return Math.max(asked, longest * (1 - Math.random() / 2));
}

function mayTryAgain(error: unknown, repeatable: boolean): boolean {
  if (error instanceof GrafError) {
    return error.status === 429 || (repeatable && error.retryable);
  }
  return error instanceof NoAnswerError && (repeatable || error.unsent);
}

/** Waits so many milliseconds, or throws why the signal aborted. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await until(signal, (done) => {
    const timer = setTimeout(done, Math.min(ms, longestTimer));
    return () => clearTimeout(timer);
  });
}

/** Waits for what begin calls done for, or throws why the signal aborted; then calls what begin gave. */
async function until(signal: AbortSignal | undefined, begin: (done: () => void) => () => void): Promise<void> {
  signal?.throwIfAborted();
  let end = (): void => {};
  let stop = (): void => {};
  try {
    await new Promise<void>((resolve, reject) => {
      stop = () => reject(signal?.reason);
      signal?.addEventListener('abort', stop, {once: true});
      end = begin(resolve);
    });
  } finally {
    end();
    signal?.removeEventListener('abort', stop);
  }
}

/** Waits until the promise is settled either way, or throws why the signal aborted. */
export async function settled(promise: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
  await until(signal, (done) => {
    promise.then(done, done);
    return () => {};
  });
}

/** A timer that aborts, and follows another signal; end it, or it stays with that signal. */
export class Bound {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #follow = () => this.#controller.abort(this.#outer?.reason);
  #timer: NodeJS.Timeout | undefined;

  constructor(outer: AbortSignal | undefined) {
    this.#outer = outer;
    outer?.throwIfAborted();
    outer?.addEventListener('abort', this.#follow, {once: true});
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Aborts in so many milliseconds, unless it is set again before. */
  set(ms: number, why: string): void {
    this.unset();
    this.#timer = setTimeout(
      () => this.#controller.abort(new DOMException(why, 'TimeoutError')),
      Math.min(ms, longestTimer),
    );
  }

  unset(): void {
    clearTimeout(this.#timer);
  }

  end(): void {
    this.unset();
    this.#outer?.removeEventListener('abort', this.#follow);
  }
}
