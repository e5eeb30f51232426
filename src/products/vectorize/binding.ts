import { bindHeader, externalService, type BindingPiece } from "#core/binding-piece.ts";
import { signCapability } from "#core/capability.ts";
import { ApiError } from "#core/errors.ts";
import type { WireHandler, WireRequest, WireResponse } from "#http/wire/server.ts";
import { parseJson } from "#http/app.ts";
import { vectorErrors } from "#products/vectorize/errors.ts";
import { readVectors } from "#products/vectorize/read-vectors.ts";
import { infoJson } from "#products/vectorize/routes.ts";
import { idsBody, limits, queryBody, type VectorIndex } from "#products/vectorize/schema.ts";
import type { VectorStore } from "#products/vectorize/store.ts";

const kind = "vectorize";

/** What a Vectorize binding adds to a version's configuration: workerd's own class, of which `fetcher` leads here. */
export function vectorizePiece(options: {
  /** Name of the binding. */
  name: string;
  indexId: string;
  workerId: string;
  /** Path of the Worker's own socket to the process of vectors. */
  socket: string;
  capabilityKey: Buffer;
}): BindingPiece {
  const { name, indexId, workerId, socket, capabilityKey } = options;
  const service = `vectorize:${name}`;
  const capability = signCapability(capabilityKey, { kind, scope: workerId, resource: indexId });
  const innerBindings = [
    { name: "fetcher", service },
    { name: "indexId", text: indexId },
    { name: "indexVersion", text: "v2" },
    { name: "useNdJson", json: "true" },
  ];
  return {
    bindings: [{ name, wrapped: { moduleName: "cloudflare-internal:vectorize-api", innerBindings } }],
    services: [externalService({ name: service, socket, capability })],
  };
}

/** Answers what workerd's Vectorize binding asks (workerd-runtime §1; workerd's `src/cloudflare/internal/vectorize-api.ts`). */
export function vectorizeBindingHandler({
  store,
  reader,
}: {
  store: VectorStore;
  /** The `capabilityReader` of the Worker whose socket this is: the index is what the capability names. */
  reader: (token: string | undefined, kind: string) => string | undefined;
}): WireHandler {
  return async (request) => {
    const id = reader(request.header(bindHeader), kind);
    if (id === undefined) return { status: 403, reason: "Forbidden" };
    try {
      const index = await store.findById(id);
      if (!index) throw vectorErrors.indexNotFound(id);
      return json(200, await answer(store, index, request));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return json(error.status, { code: error.code, error: error.message });
    }
  };
}

async function answer(store: VectorStore, index: VectorIndex, request: WireRequest): Promise<unknown> {
  const text = async (bytes: number) => (await request.bytes(bytes)).toString("utf8");
  switch (`${request.method} ${request.target}`) {
    case "GET /info":
      return infoJson(index);
    case "POST /insert":
    case "POST /upsert": {
      const given = await text(limits.uploadBytes);
      const vectors = readVectors(given, { dimensions: index.dimensions, max: limits.bindingBatch });
      return { mutationId: await store.put(index, vectors, { replaces: request.target === "/upsert" }) };
    }
    case "POST /query": {
      const matches = await store.query(index, parseJson(queryBody, await text(limits.jsonBytes)));
      return { count: matches.length, matches };
    }
    case "POST /getByIds":
      return store.getByIds(index, parseJson(idsBody, await text(limits.jsonBytes)).ids);
    case "POST /deleteByIds": {
      const { ids } = parseJson(idsBody, await text(limits.jsonBytes));
      return { mutationId: await store.deleteByIds(index, ids) };
    }
    default:
      throw vectorErrors.badQuery(`${request.method} ${request.target} is not known`);
  }
}

function json(status: number, value: unknown): WireResponse {
  return { status, headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) };
}
