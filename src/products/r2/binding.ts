import { bindHeader, externalService, type BindingPiece } from "#core/binding-piece.ts";
import { signCapability } from "#core/capability.ts";
import { ApiError } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import { WireError } from "#http/wire/head.ts";
import type { WireHandler, WireRequest, WireResponse } from "#http/wire/server.ts";
import {
  conditionsOf,
  keyOf,
  listOptionsOf,
  objectOptionsOf,
  parseRead,
  parseWrite,
  putOptionsOf,
  rangeOf,
  type GetRequest,
  type WriteRequest,
} from "#products/r2/binding-request.ts";
import { r2Errors } from "#products/r2/errors.ts";
import { checksumAlgorithms, limits, type ByteRange, type ListedObject } from "#products/r2/schema.ts";
import type { Bytes, R2Store } from "#products/r2/store.ts";

const log = createLogger("r2.binding");

const kind = "r2";
const requestHeader = "cf-r2-request";
const sizeHeader = "cf-r2-metadata-size";
const errorHeader = "cf-r2-error";

/** JSON of a request: a delete of 1000 keys of which every byte is escaped. */
const requestJsonBytes = 8 * 1024 * 1024;

/** Whether a request on a Worker's socket is R2's rather than another product's. */
export function isR2Request(request: WireRequest): boolean {
  return request.header(bindHeader)?.startsWith(`${kind}:`) ?? false;
}

/**
 * workerd's R2 protocol (`src/workerd/api/r2-rpc.c++`): reads are GET with the request in a header, writes PUT with the request
 * before the object's bytes. `reader` knows which bucket a request may touch; nothing in the request itself says so.
 */
export function r2BindingHandler({
  store,
  reader,
}: {
  store: R2Store;
  reader: (token: string | undefined, kind: string) => string | undefined;
}): WireHandler {
  return async (wire) => {
    const bucketId = reader(wire.header(bindHeader), kind);
    try {
      if (bucketId === undefined) throw r2Errors.accessDenied();
      return wire.method === "GET" ? await read(store, bucketId, wire) : await write(store, bucketId, wire);
    } catch (error) {
      const answer = failure(error);
      await readToEnd(wire);
      return answer;
    }
  };
}

async function read(store: R2Store, bucketId: string, wire: WireRequest): Promise<WireResponse> {
  const request = parseRead(Buffer.from(wire.header(requestHeader) ?? "", "latin1"));
  switch (request.method) {
    case "head": {
      const object = await store.head(bucketId, request.object);
      if (!object) throw r2Errors.noSuchKey();
      return reply(objectJson(object, { offset: 0, length: object.size }));
    }
    case "get":
      return get(store, bucketId, request);
    case "list": {
      const { objects, ...page } = await store.list(bucketId, listOptionsOf(request));
      return reply({ objects: objects.map((object) => objectJson(object)), ...page });
    }
  }
}

async function get(store: R2Store, bucketId: string, request: GetRequest): Promise<WireResponse> {
  const [range, onlyIf] = [rangeOf(request), conditionsOf(request.onlyIf)];
  const found = await store.get(bucketId, request.object, {
    ...(range && { range }),
    ...(onlyIf && { onlyIf }),
    ...keyOf(request),
  });
  if (!found) throw r2Errors.noSuchKey();
  const { object, content } = found;
  if (content) return reply(objectJson(object, content.range), content);
  // The Worker gets the object without a body when the metadata comes with the error.
  const { status, headers } = failure(r2Errors.precondition());
  const answer = reply(objectJson(object, { offset: 0, length: object.size }));
  return { ...answer, status, headers: { ...headers, ...answer.headers } };
}

async function write(store: R2Store, bucketId: string, wire: WireRequest): Promise<WireResponse> {
  const { request, size, payload } = await openWrite(wire);
  const key = "object" in request ? (request.object ?? "") : "";
  switch (request.method) {
    case "put":
      if (size > limits.uploadBytes) throw r2Errors.tooLarge();
      return reply(objectJson(await store.put(bucketId, key, payload, putOptionsOf(request))));
    case "delete":
      await store.delete(bucketId, request.objects ?? [key]);
      return reply({});
    case "createMultipartUpload":
      return reply({ uploadId: await store.createMultipartUpload(bucketId, key, objectOptionsOf(request)) });
    case "uploadPart": {
      if (size > limits.uploadBytes) throw r2Errors.tooLarge();
      const { uploadId, partNumber } = request;
      return reply({ etag: await store.uploadPart(bucketId, key, uploadId, partNumber, payload, keyOf(request)) });
    }
    case "completeMultipartUpload":
      return reply(objectJson(await store.completeMultipartUpload(bucketId, key, request.uploadId, request.parts)));
    case "abortMultipartUpload":
      await store.abortMultipartUpload(bucketId, key, request.uploadId);
      return reply({});
  }
}

/** The request of a write, and the bytes that follow it: all of them when they are few. */
async function openWrite(wire: WireRequest): Promise<{ request: WriteRequest; size: number; payload: Bytes }> {
  const jsonBytes = Number(wire.header(sizeHeader) ?? Number.NaN);
  const { contentLength = -1 } = wire;
  // workerd always knows the length: it refuses a stream of unknown length itself.
  if (!(jsonBytes >= 0 && jsonBytes <= requestJsonBytes && contentLength >= jsonBytes)) {
    throw r2Errors.invalid("The request does not say how long it is.");
  }
  const size = contentLength - jsonBytes;
  if (size <= limits.inlineBytes) {
    const bytes = await wire.bytes(contentLength);
    return { request: parseWrite(bytes.subarray(0, jsonBytes)), size, payload: bytes.subarray(jsonBytes) };
  }
  const iterator = wire.stream()[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < jsonBytes) {
    const { value, done } = await iterator.next();
    if (done) throw r2Errors.invalid("The request ends within its JSON.");
    head = Buffer.concat([head, value]);
  }
  return {
    request: parseWrite(head.subarray(0, jsonBytes)),
    size,
    payload: rest(head.subarray(jsonBytes), iterator),
  };
}

async function* rest(first: Buffer, iterator: AsyncIterator<Buffer>): AsyncGenerator<Buffer, void> {
  if (first.length > 0) yield first;
  for (;;) {
    const { value, done } = await iterator.next();
    if (done) return;
    yield value;
  }
}

/** A reply: JSON, its length in a header, and the object's bytes behind it. */
function reply(json: object, content?: { range: ByteRange; bytes: Bytes }): WireResponse {
  const head = Buffer.from(JSON.stringify(json));
  const headers = { [sizeHeader]: String(head.length) };
  if (!content) return { status: 200, headers, body: head };
  const { range, bytes } = content;
  if (bytes instanceof Uint8Array) return { status: 200, headers, body: Buffer.concat([head, bytes]) };
  return { status: 200, headers, body: follow(head, bytes), length: head.length + range.length };
}

async function* follow(head: Buffer, bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  yield head;
  yield* bytes;
}

/** R2HeadResponse of `r2-api.capnp`. Members that are absent are what the Worker sees as undefined. */
function objectJson(object: ListedObject, range?: ByteRange) {
  const { key: name, version, size, etag, uploaded, storageClass, httpMetadata, customMetadata } = object;
  const checksums: Record<number, string> = {};
  for (const [number, algorithm] of checksumAlgorithms.entries()) {
    const checksum = object.checksums[algorithm];
    if (checksum !== undefined) checksums[number] = checksum;
  }
  return {
    name,
    version,
    size,
    etag,
    uploaded,
    storageClass,
    checksums,
    range,
    ssec:
      object.customerKeyMd5 === undefined
        ? undefined
        : { algorithm: "AES256", keyMd5: Buffer.from(object.customerKeyMd5, "base64").toString("hex") },
    httpFields: httpMetadata,
    customFields: customMetadata && Object.entries(customMetadata).map(([k, v]) => ({ k, v })),
  };
}

/** workerd makes `<method>: <message> (<code>)` of it; without the header the Worker learns nothing. */
function failure(error: unknown): WireResponse {
  if (error instanceof WireError) throw error;
  let known = r2Errors.internal();
  if (error instanceof ApiError) known = error;
  else log.error("a request failed", { error });
  const { status, code, message } = known;
  return { status, headers: { [errorHeader]: JSON.stringify({ version: 1, v4code: code, message }) } };
}

/** workerd reads no answer before it has written its request: one that comes early would be lost with the connection. */
async function readToEnd(wire: WireRequest): Promise<void> {
  if ((wire.contentLength ?? 0) > limits.uploadBytes + requestJsonBytes) return;
  for await (const _ of wire.stream());
}

/** The binding `name` to a bucket, whose requests go to the state process on `socket`. */
export function r2Piece(options: {
  name: string;
  bucketId: string;
  workerId: string;
  socket: string;
  capabilityKey: Buffer;
}): BindingPiece {
  const { name, bucketId, workerId, socket, capabilityKey } = options;
  const service = `${kind}:${name}`;
  const capability = signCapability(capabilityKey, { kind, scope: workerId, resource: bucketId });
  return {
    bindings: [{ name, r2Bucket: { name: service } }],
    services: [externalService({ name: service, socket, capability })],
  };
}
