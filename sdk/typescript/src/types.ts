/** The API's types, by the names that the OpenAPI document gives them. */
import type {components, operations} from './api.gen.js';

type Schemas = components['schemas'];

/** What to do in the cluster. */
export type ActionRequest = Omit<Schemas['ActionRequest'], 'manifests'> & {manifests?: Manifest[]};
export type ActionResult = Schemas['ActionResult'];
export type ActionResults = Schemas['ActionResults'];
export type Artifact = Schemas['Artifact'];
export type ArtifactDeclaration = Schemas['ArtifactDeclaration'];
export type EventPage = Schemas['EventPage'];
export type EventsAccepted = Schemas['EventsAccepted'];
export type FailureReport = Schemas['FailureReport'];
export type FieldError = Schemas['FieldError'];
export type MemoryQuery = Schemas['MemoryQuery'];
export type MemoryResult = Schemas['MemoryResult'];
export type MemoryResults = Schemas['MemoryResults'];
export type Problem = Schemas['Problem'];
export type ResourceReference = Schemas['ResourceReference'];
export type Task = Schemas['Task'];
export type TaskCancelled = Schemas['TaskCancelled'];
export type TaskCreated = Schemas['TaskCreated'];
export type TaskEvent = Schemas['TaskEvent'];
export type TaskPage = Schemas['TaskPage'];
export type TaskRetry = Schemas['TaskRetry'];
export type TaskStatus = Schemas['TaskStatus'];
/** What to do, and how. */
export type TaskSubmission = Omit<Schemas['TaskSubmission'], 'manifests'> & {manifests?: Manifest[]};
export type TaskSummary = Schemas['TaskSummary'];
export type Upload = Schemas['Upload'];
export type UsageReport = Schemas['UsageReport'];

/** A Kubernetes resource, whole. */
export type Manifest = Schemas['Manifest'] & {metadata: Record<string, unknown>; [field: string]: unknown};

/** An event to report. One without an `eventId` is given a random one. */
export type Event = Omit<Schemas['Event'], 'eventId'> & {eventId?: string};

/** Which tasks to list. */
export type ListTasks = NonNullable<operations['listTasks']['parameters']['query']>;

/** Which events to read. */
export type ListEvents = NonNullable<operations['listTaskEvents']['parameters']['query']>;
