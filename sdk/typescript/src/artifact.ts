import {createHash, type Hash} from 'node:crypto';
import {open, type FileHandle} from 'node:fs/promises';
import {basename} from 'node:path';
import {ChangedError, CheckedError, GrafError, NoAnswerError} from './errors.js';
import type {HTTP} from './http.js';
import type {ArtifactDeclaration, Upload} from './types.js';

/** What to upload: a file by its path, or what is in memory. */
export type ArtifactSource = ({path: string; name?: string} | {name: string; content: string | Uint8Array}) & {
  /** `application/octet-stream` if it is left out. */
  contentType?: string;
  /** The id of the event that declares the artifact; random if it is left out. */
  eventId?: string;
};

/** What is uploaded, which may be read as often as it takes. */
export interface Content {
  name: string;
  size: number;
  /** Its bytes from the beginning, at most `size` of them. */
  read(): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

/** Opens what is to be uploaded; close it. */
export async function openContent(source: ArtifactSource): Promise<Content> {
  if ('content' in source) {
    const bytes = typeof source.content === 'string' ? Buffer.from(source.content) : source.content;
    const read = async function* (): AsyncGenerator<Uint8Array> {
      yield bytes;
    };
    return {name: source.name, size: bytes.byteLength, read, close: async () => {}};
  }
  const file = await open(source.path, 'r');
  try {
    const {size} = await file.stat();
    const name = source.name ?? basename(source.path);
    return {name, size, read: () => readFile(file, size), close: () => file.close()};
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function* readFile(file: FileHandle, size: number): AsyncGenerator<Uint8Array> {
  const most = 64 * 1024;
  for (let at = 0; at < size;) {
    const {bytesRead, buffer} = await file.read(new Uint8Array(most), 0, Math.min(most, size - at), at);
    if (bytesRead === 0) {
      return; // it is shorter than it was
    }
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** Says what will be uploaded. */
export async function declare(content: Content, contentType: string | undefined): Promise<ArtifactDeclaration> {
  const hash = createHash('sha256');
  for await (const part of content.read()) {
    hash.update(part);
  }
  return {
    name: content.name,
    contentType: contentType ?? 'application/octet-stream',
    sizeBytes: content.size,
    sha256: hash.digest('hex'),
  };
}

/** Sends what was declared by the presigned request, once. The storage verifies its SHA-256. */
export async function put(
  http: HTTP,
  upload: Upload,
  content: Content,
  declaration: ArtifactDeclaration,
  signal: AbortSignal | undefined,
): Promise<void> {
  const hash = createHash('sha256');
  const sent = {size: 0, ended: false};
  const what = `upload of ${content.name}`;
  let failure: unknown;
  try {
    // A slow network may take long for much: a second more for each 64 KB.
    await http.once(what, signal, content.size / 64, async (bound) => {
      const response = await http.raw(what, upload.url, {
        method: upload.method,
        headers: {...upload.headers, 'Content-Length': String(content.size)},
        body: content.size === 0 ? '' : counted(content, hash, sent),
        duplex: 'half',
        signal: bound,
      });
      await response.body?.cancel();
    });
  } catch (error) {
    failure = hideAddress(error, what);
  }
  // A file that is shorter or otherwise by now is refused by fetch or by the storage, too.
  if (sent.ended && (sent.size < content.size || hash.digest('hex') !== declaration.sha256)) {
    throw new ChangedError(content.name);
  }
  if (failure !== undefined) {
    throw failure;
  }
}

async function* counted(
  content: Content,
  hash: Hash,
  sent: {size: number; ended: boolean},
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const part of content.read()) {
    hash.update(part);
    sent.size += part.byteLength;
    yield part;
  }
  sent.ended = true;
}

/** Takes the address out of an error, for a presigned one is a secret. */
function hideAddress(error: unknown, what: string): unknown {
  const shows = error instanceof NoAnswerError && /X-Amz-|https?:\/\//.test(error.message);
  return shows ? new NoAnswerError(what, new Error('the presigned request could not be sent')) : error;
}

/** The one upload that the answer to a declaration offers. */
export function offered(uploads: readonly Upload[], name: string): Upload {
  const [upload] = uploads;
  if (upload === undefined) {
    throw new CheckedError(name);
  }
  if (uploads.length > 1) {
    throw new GrafError('postTaskEvents', 202, {
      detail: `artifact ${name}: ${uploads.length} uploads are offered, not 1`,
    });
  }
  return upload;
}
