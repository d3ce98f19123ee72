import {STATUS_CODES} from 'node:http';
import type {FieldError, Problem} from './types.js';

/**
 * Graf's refusal of a request: a problem document (RFC 9457), or what a proxy before
 * Graf answered in its place.
 */
export class GrafError extends Error {
  override readonly name = 'GrafError';
  /** What was asked, by its operationId in the OpenAPI document. */
  readonly operation: string;
  /** The HTTP status. */
  readonly status: number;
  /** The kind of refusal, such as `not-found`, the end of `type`; empty where no problem document came. */
  readonly code: string;
  /** The URN of the kind; empty where no problem document came. */
  readonly type: string;
  /** What is wrong. */
  readonly detail: string;
  /** The id of the request, as in Graf's log; empty if there is none. */
  readonly instance: string;
  /** One for each bad field. */
  readonly errors: readonly FieldError[];
  /** How long Graf asked to wait before another try, in milliseconds; 0 if it did not. */
  readonly retryAfter: number;

  constructor(operation: string, status: number, problem: Partial<Problem>, retryAfter = 0) {
    const title = problem.title ?? STATUS_CODES[status] ?? 'Refused';
    const fields = (problem.errors ?? []).map((e) => ` [${e.pointer ?? ''}${e.parameter ?? ''}: ${e.detail}]`);
    super(`${operation}: ${title} (${status})${problem.detail ? `: ${problem.detail}` : ''}${fields.join('')}`);
    this.operation = operation;
    this.status = status;
    this.type = problem.type ?? '';
    this.code = this.type.slice(this.type.lastIndexOf(':') + 1);
    this.detail = problem.detail ?? '';
    this.instance = problem.instance ?? '';
    this.errors = problem.errors ?? [];
    this.retryAfter = retryAfter;
  }

  /** Whether the same may succeed later: 408, 429 and 5xx but 501. */
  get retryable(): boolean {
    return this.status === 408 || this.status === 429 || (this.status >= 500 && this.status !== 501);
  }
}

/** No answer came, or only the beginning of one; `cause` says why. */
export class NoAnswerError extends Error {
  override readonly name = 'NoAnswerError';
  /** The same may succeed later. */
  readonly retryable = true;

  constructor(what: string, cause: unknown) {
    super(`${what}: no answer: ${reason(cause)}`, {cause});
  }

  /** Whether there was not even a connection, so that nothing can have been done. */
  get unsent(): boolean {
    const {cause} = this.cause instanceof Error ? this.cause : this;
    const errors = cause instanceof AggregateError ? cause.errors : [cause];
    return errors.length > 0 && errors.every(isConnect);
  }
}

/** fetch says "fetch failed" alone, and its cause why. */
function reason(cause: unknown): string {
  if (!(cause instanceof Error)) {
    return String(cause);
  }
  const inner = cause.cause;
  if (inner instanceof AggregateError) {
    return inner.errors.map(reason).join(', ');
  }
  return inner instanceof Error ? inner.message || cause.message : cause.message;
}

function isConnect(error: unknown): boolean {
  const {syscall, code} = (error ?? {}) as {syscall?: string; code?: string};
  return syscall === 'connect' || syscall === 'getaddrinfo' || code === 'UND_ERR_CONNECT_TIMEOUT';
}

/** The environment does not keep the container contract; `problems` says each variable that is missing or wrong. */
export class ContractError extends Error {
  override readonly name = 'ContractError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`the container contract is not kept: ${problems.join('; ')}`);
    this.problems = problems;
  }
}

/** A file changed while it was uploaded. */
export class ChangedError extends Error {
  override readonly name = 'ChangedError';

  constructor(file: string) {
    super(`artifact ${file}: the file changed while it was uploaded`);
  }
}

/** What is to be uploaded is there already: Graf has checked the artifact of this event, and verified or rejected it. */
export class CheckedError extends Error {
  override readonly name = 'CheckedError';

  constructor(file: string) {
    super(`artifact ${file}: it was uploaded and checked already`);
  }
}
