import { bindHeader, externalService, type BindingPiece } from "#core/binding-piece.ts";
import { signCapability } from "#core/capability.ts";
import { ApiError } from "#core/errors.ts";
import type { WireHandler, WireRequest, WireResponse } from "#http/wire/server.ts";
import { bulkGetAnswer } from "#products/kv/bulk-get.ts";
import { readCacheTtl } from "#products/kv/checks.ts";
import type { EdgeLocation, EdgeRead } from "#products/kv/edge-cache.ts";
import { isNamespaceNotFound, isValueTooLong, kvErrors } from "#products/kv/errors.ts";
import { bulkGetBody } from "#products/kv/schema.ts";
import type { KvSpace, KvStore } from "#products/kv/store.ts";

const kind = "kv";

/** Bodies up to here are read at once; larger ones go to the store in pieces. */
const wholeBytes = 64 * 1024;
/** So much of a refused value is read for the sake of an exact error. */
const refusedBytes = 256 * 1024 * 1024;
/** A bulk get: 100 keys of 512 bytes, each written in JSON with up to six characters a byte. */
const bulkGetRequestBytes = 1024 * 1024;

/** What a KV binding adds to a version's configuration. */
export function kvPiece(options: {
  /** Name of the binding. */
  name: string;
  namespaceId: string;
  workerId: string;
  /** Path of the Worker's own socket to the state process. */
  socket: string;
  capabilityKey: Buffer;
}): BindingPiece {
  const { name, namespaceId, workerId, socket, capabilityKey } = options;
  const service = `kv:${name}`;
  const capability = signCapability(capabilityKey, { kind, scope: workerId, resource: namespaceId });
  return {
    bindings: [{ name, kvNamespace: service }],
    services: [externalService({ name: service, socket, capability })],
  };
}

/** Whether a request is for `kvBindingHandler`. Says nothing about whether it is allowed. */
export function isKvRequest(request: WireRequest): boolean {
  return request.header(bindHeader)?.startsWith(`${kind}:`) ?? false;
}

/**
 * Answers what workerd's KV binding asks (workerd-runtime §1; workerd's `src/workerd/api/kv.c++`). `reader` is the
 * `capabilityReader` of the Worker whose socket this is: the namespace is what the capability names, nothing else.
 */
export function kvBindingHandler({
  store,
  location,
  reader,
}: {
  store: KvStore;
  /** Where the Worker runs, for namespaces with `edge` consistency. */
  location: EdgeLocation;
  reader: (token: string | undefined, kind: string) => string | undefined;
}): WireHandler {
  return async (request) => {
    const boundNamespaceId = reader(request.header(bindHeader), kind);
    if (boundNamespaceId === undefined) return { status: 403, reason: "Forbidden" };
    try {
      return await answer({ store, location, space: { boundNamespaceId } }, request);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      // A get takes 404 for "no such key": a namespace that was deleted under its Worker must not look like an empty one.
      return { status: isNamespaceNotFound(error) ? 400 : error.status, reason: error.message };
    }
  };
}

/** The namespace of a request, as the Worker at `location` sees it. */
type Bound = { store: KvStore; location: EdgeLocation; space: KvSpace };

async function answer(bound: Bound, request: WireRequest): Promise<WireResponse> {
  const { store, location, space } = bound;
  const { method, target } = request;
  const end = target.indexOf("?");
  const path = end < 0 ? target : target.slice(0, end);
  const query = end < 0 ? "" : target.slice(end + 1);
  switch (method) {
    case "GET":
      return path === "/" ? list(store, space, query) : get(bound, keyOf(path), query);
    case "PUT":
      return put(bound, keyOf(path), { request, query });
    case "DELETE": {
      const key = keyOf(path);
      await store.delete(space, key);
      location.wrote(space, key);
      return { status: 200 };
    }
    case "POST":
      if (path === "/bulk/get") return bulkGet(bound, request);
  }
  return { status: 405, reason: "Method Not Allowed" };
}

function keyOf(path: string): string {
  try {
    return decodeURIComponent(path.slice(1));
  } catch {
    throw kvErrors.keyNotDecodable();
  }
}

async function get({ store, location, space }: Bound, key: string, query: string): Promise<WireResponse> {
  const ttlSeconds = query.includes("cache_ttl=")
    ? readCacheTtl(new URLSearchParams(query).get("cache_ttl") ?? "")
    : undefined;
  if ((await store.consistency(space)) === "strong") return valueAnswer(await store.get(space, key), {});
  const { value, cached } = await location.get(space, key, ttlSeconds);
  return valueAnswer(value, { "CF-Cache-Status": cached ? "HIT" : "MISS" });
}

function valueAnswer(value: EdgeRead["value"], headers: Record<string, string>): WireResponse {
  if (!value) return { status: 404, reason: "Not Found", headers };
  const { body, sizeBytes, metadata } = value;
  if (metadata !== undefined) headers["CF-KV-Metadata"] = metadata;
  return { status: 200, headers, body, length: sizeBytes };
}

async function put(
  { store, location, space }: Bound,
  key: string,
  { request, query }: { request: WireRequest; query: string },
): Promise<WireResponse> {
  const parameters = query.includes("expiration") ? new URLSearchParams(query) : undefined;
  const { contentLength: sizeBytes } = request;
  const counted = countedBody(request);
  try {
    await store.put(space, key, {
      body: sizeBytes !== undefined && sizeBytes <= wholeBytes ? await request.bytes(wholeBytes) : counted.pieces(),
      sizeBytes,
      expiration: parameters?.get("expiration") ?? undefined,
      expirationTtl: parameters?.get("expiration_ttl") ?? undefined,
      metadata: request.headerUtf8("cf-kv-metadata"),
    });
  } catch (error) {
    const total = await counted.readToEnd();
    throw isValueTooLong(error) ? kvErrors.valueTooLong(sizeBytes ?? total) : error;
  }
  location.wrote(space, key);
  return { status: 200 };
}

/**
 * The body of a request, and how long it is. A refusal has to wait for its end: the runtime answers "Network connection
 * lost." when its request ends before it has sent all of it.
 */
function countedBody(request: WireRequest): { pieces(): AsyncIterable<Buffer>; readToEnd(): Promise<number> } {
  let bytes = 0;
  async function* pieces(): AsyncGenerator<Buffer> {
    for await (const piece of request.stream()) {
      bytes += piece.length;
      yield piece;
    }
  }
  return {
    pieces,
    async readToEnd() {
      const left = request.stream()[Symbol.asyncIterator]();
      while (bytes <= refusedBytes) {
        const { value, done } = await left.next();
        if (done) break;
        bytes += value.length;
      }
      return bytes;
    },
  };
}

async function list(store: KvStore, space: KvSpace, query: string): Promise<WireResponse> {
  const parameters = new URLSearchParams(query);
  const limit = parameters.get("key_count_limit");
  const { keys, cursor } = await store.list(space, {
    prefix: parameters.get("prefix") ?? "",
    cursor: parameters.get("cursor") ?? undefined,
    ...(limit === null ? {} : { limit: Number.parseInt(limit, 10) }),
  });
  // The runtime parses each key's metadata itself.
  const page = cursor === undefined ? { keys, list_complete: true } : { keys, list_complete: false, cursor };
  return { status: 200, headers: { "Content-Type": "application/json" }, body: JSON.stringify(page) };
}

async function bulkGet({ store, location, space }: Bound, request: WireRequest): Promise<WireResponse> {
  const body = bulkGetBody.safeParse(parseJson(await request.bytes(bulkGetRequestBytes)));
  if (!body.success) throw kvErrors.bodyInvalid();
  const strong = (await store.consistency(space)) === "strong";
  const text = await bulkGetAnswer(
    (keys, ttlSeconds) => (strong ? store.getMany(space, keys) : location.getMany(space, keys, ttlSeconds)),
    body.data,
  );
  return { status: 200, headers: { "Content-Type": "application/json" }, body: text };
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    throw kvErrors.bodyInvalid();
  }
}
