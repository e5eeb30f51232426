import {
  accountOf,
  createRoutes,
  ok,
  pageOf,
  param,
  pathTail,
  readJson,
  type Api,
  type ApiContext,
} from "#http/app.ts";
import { bulkGetAnswer } from "#products/kv/bulk-get.ts";
import { bulkPairs } from "#products/kv/bulk-pairs.ts";
import { duringOperation, kvErrors } from "#products/kv/errors.ts";
import { givenValue } from "#products/kv/given-value.ts";
import {
  bulkDeleteBody,
  bulkGetBody,
  bulkWriteBody,
  limits,
  namespaceBody,
  settingsBody,
  type KvKey,
  type KvNamespace,
} from "#products/kv/schema.ts";
import type { KvStore } from "#products/kv/store.ts";

/** Below `/accounts/:account_id/storage/kv` (wrangler-api §9; https://developers.cloudflare.com/api/resources/kv/). */
export function kvRoutes(kv: KvStore): Api {
  const app = createRoutes();
  namespaceRoutes(app, kv);
  valueRoutes(app, kv);
  bulkRoutes(app, kv);
  return app;
}

function namespaceRoutes(app: Api, kv: KvStore): void {
  app.get("/namespaces", async (c) => {
    const { page, perPage } = pageOf(c, { perPage: 20, perPageMax: limits.namespacesPerPage });
    const { namespaces, total } = await kv.listNamespaces(accountOf(c), { ...orderOf(c), page, perPage });
    return ok(c, namespaces.map(namespaceJson), {
      page,
      per_page: perPage,
      count: namespaces.length,
      total_count: total,
      total_pages: Math.ceil(total / perPage),
    });
  });
  app.post("/namespaces", async (c) => {
    const { title = "" } = await readJson(c, namespaceBody);
    return ok(c, namespaceJson(await kv.createNamespace(accountOf(c), title)));
  });
  app.get("/namespaces/:namespace_id", async (c) => {
    const { accountId, namespaceId } = spaceOf(c);
    return ok(c, namespaceJson(await during("get namespace", kv.getNamespace(accountId, namespaceId))));
  });
  app.put("/namespaces/:namespace_id", async (c) => {
    const { accountId, namespaceId } = spaceOf(c);
    const { title = "" } = await readJson(c, namespaceBody);
    return ok(c, namespaceJson(await kv.renameNamespace(accountId, namespaceId, title)));
  });
  // Ours: what Cloudflare has no choice of.
  app.get("/namespaces/:namespace_id/settings", async (c) =>
    ok(c, { consistency: await during("get settings", kv.consistency(spaceOf(c))) }),
  );
  app.put("/namespaces/:namespace_id/settings", async (c) => {
    const { accountId, namespaceId } = spaceOf(c);
    const settings = await readJson(c, settingsBody);
    await during("put settings", kv.setConsistency(accountId, namespaceId, settings.consistency));
    return ok(c, settings);
  });
  app.delete("/namespaces/:namespace_id", async (c) => {
    const { accountId, namespaceId } = spaceOf(c);
    await during("remove namespace", kv.deleteNamespace(accountId, namespaceId));
    return ok(c, null);
  });
}

function valueRoutes(app: Api, kv: KvStore): void {
  app.get("/namespaces/:namespace_id/keys", async (c) => {
    const limit = c.req.query("limit");
    const { keys, cursor = "" } = await during(
      "list keys",
      kv.list(spaceOf(c), {
        prefix: c.req.query("prefix") ?? "",
        cursor: c.req.query("cursor"),
        limit: limit === undefined ? limits.listKeys : apiLimit(limit),
      }),
    );
    return ok(c, keys.map(keyJson), { count: keys.length, cursor });
  });
  app.get("/namespaces/:namespace_id/values/*", async (c) => {
    const value = await during("get", kv.get(spaceOf(c), pathTail(c, "/values/")));
    if (!value) throw duringOperation("get", kvErrors.keyNotFound());
    const { body, sizeBytes, expiration } = value;
    return new Response(body instanceof Uint8Array ? body : ReadableStream.from(body), {
      headers: {
        "content-type": "application/octet-stream",
        "content-length": String(sizeBytes),
        // A value is whatever someone wrote: never to be shown as a page of this origin.
        "x-content-type-options": "nosniff",
        ...(expiration === undefined ? {} : { expiration: String(expiration) }),
      },
    });
  });
  app.put("/namespaces/:namespace_id/values/*", async (c) => {
    const space = spaceOf(c);
    const key = pathTail(c, "/values/");
    const given = await givenValue(c.req.raw);
    const expiry = { expiration: c.req.query("expiration"), expirationTtl: c.req.query("expiration_ttl") };
    await during("put", kv.put(space, key, { ...given, ...expiry }));
    return ok(c, null);
  });
  app.delete("/namespaces/:namespace_id/values/*", async (c) => {
    await during("remove key", kv.delete(spaceOf(c), pathTail(c, "/values/")));
    return ok(c, null);
  });
  app.get("/namespaces/:namespace_id/metadata/*", async (c) => {
    const info = await during("get", kv.getInfo(spaceOf(c), pathTail(c, "/metadata/")));
    if (!info) throw duringOperation("get", kvErrors.keyNotFound());
    return ok(c, info.metadata === undefined ? null : JSON.parse(info.metadata));
  });
}

function bulkRoutes(app: Api, kv: KvStore): void {
  app.put("/namespaces/:namespace_id/bulk", async (c) => {
    const space = spaceOf(c);
    const pairs = bulkPairs(await readJson(c, bulkWriteBody, limits.bulkWriteBytes));
    await during("bulk put keys", kv.putMany(space, pairs));
    return ok(c, { successful_key_count: pairs.length, unsuccessful_keys: [] });
  });
  const bulkDelete = async (c: ApiContext) => {
    const keys = await readJson(c, bulkDeleteBody, limits.bulkDeleteBytes);
    await during("bulk remove keys", kv.deleteMany(spaceOf(c), keys));
    return ok(c, { successful_key_count: keys.length, unsuccessful_keys: [] });
  };
  // wrangler's, and the one that the API documents today.
  app.delete("/namespaces/:namespace_id/bulk", bulkDelete);
  app.post("/namespaces/:namespace_id/bulk/delete", bulkDelete);
  app.post("/namespaces/:namespace_id/bulk/get", async (c) => {
    const body = await readJson(c, bulkGetBody);
    const values = await during(
      "bulk get keys",
      bulkGetAnswer((keys) => kv.getMany(spaceOf(c), keys), body, { withExpiration: true }),
    );
    const envelope = `{"success":true,"errors":[],"messages":[],"result":{"values":${values}}}`;
    return c.body(envelope, 200, { "content-type": "application/json" });
  });
}

/** The namespace of a path, as one of the account's. */
function spaceOf(c: ApiContext): { accountId: string; namespaceId: string } {
  const namespaceId = param(c, "namespace_id");
  if (!/^[0-9a-f]{32}$/.test(namespaceId)) throw kvErrors.malformedNamespaceId(namespaceId);
  return { accountId: accountOf(c), namespaceId };
}

async function during<T>(operation: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw duringOperation(operation, error);
  }
}

function orderOf(c: ApiContext): { order: "id" | "title"; direction: "asc" | "desc" } {
  const order = c.req.query("order") ?? "id";
  const direction = c.req.query("direction") ?? "asc";
  if (order !== "id" && order !== "title") throw kvErrors.orderInvalid();
  if (direction !== "asc" && direction !== "desc") throw kvErrors.directionInvalid();
  return { order, direction };
}

function apiLimit(text: string): number {
  const limit = Number.parseInt(text, 10);
  if (!(limit >= limits.apiListKeysMin))
    throw duringOperation("list keys", kvErrors.listLimitTooSmall(text, limits.apiListKeysMin));
  return limit;
}

function namespaceJson({ id, title }: KvNamespace) {
  return { id, title, supports_url_encoding: true };
}

function keyJson({ name, expiration, metadata }: KvKey) {
  return {
    name,
    ...(expiration === undefined ? {} : { expiration }),
    ...(metadata === undefined ? {} : { metadata: JSON.parse(metadata) as unknown }),
  };
}
