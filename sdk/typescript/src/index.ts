/** Graf for containers ({@link Container}) and for callers ({@link Client}). */
export type {ArtifactSource} from './artifact.js';
export {Client, ended, type ClientOptions} from './client.js';
export {Container, readContract, type Contract} from './container.js';
export {ChangedError, CheckedError, ContractError, GrafError, NoAnswerError} from './errors.js';
export type {CallOptions, HTTPOptions, Token} from './http.js';
export type {Retry} from './retry.js';
export type * from './types.js';
