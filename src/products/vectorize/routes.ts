import {
  accountOf,
  createRoutes,
  ok,
  param,
  readBody,
  readJson,
  readQuery,
  type Api,
  type ApiContext,
} from "#http/app.ts";
import { z } from "zod";
import { vectorErrors } from "#products/vectorize/errors.ts";
import { readVectors } from "#products/vectorize/read-vectors.ts";
import {
  goneMetadataIndex,
  idsBody,
  limits,
  newIndex,
  newMetadataIndex,
  queryBody,
  type VectorIndex,
} from "#products/vectorize/schema.ts";
import type { VectorStore } from "#products/vectorize/store.ts";

const listQuery = z.object({
  count: z.coerce.number().int().min(1).max(limits.listPage).default(limits.listPageDefault),
  cursor: z.string().max(512).default(""),
});

/** Below `/accounts/:account_id/vectorize/v2/indexes` (wrangler-api §9). */
export function vectorizeRoutes(store: VectorStore): Api {
  const app = createRoutes();
  const find = async (c: ApiContext): Promise<VectorIndex> => store.get(accountOf(c), param(c, "index"));

  app.get("/", async (c) => ok(c, (await store.list(accountOf(c))).map(indexJson)));
  app.post("/", async (c) => {
    const { name, description, config } = await readJson(c, newIndex);
    const { dimensions, metric } = config;
    const index = { accountId: accountOf(c), name, description: description ?? "", dimensions, metric };
    return ok(c, indexJson(await store.create(index)));
  });
  app.get("/:index", async (c) => ok(c, indexJson(await find(c))));
  app.delete("/:index", async (c) => {
    await store.delete(await find(c));
    return ok(c, null);
  });
  app.get("/:index/info", async (c) => ok(c, infoJson(await find(c))));

  for (const [path, replaces] of [
    ["/:index/insert", false],
    ["/:index/upsert", true],
  ] as const) {
    app.post(path, async (c) => {
      const index = await find(c);
      const vectors = readVectors(await vectorText(c), { dimensions: index.dimensions, max: limits.httpBatch });
      return ok(c, { mutationId: await store.put(index, vectors, { replaces }) });
    });
  }
  app.post("/:index/query", async (c) => {
    const index = await find(c);
    const matches = await store.query(index, await readJson(c, queryBody));
    return ok(c, { count: matches.length, matches });
  });
  app.post("/:index/get_by_ids", async (c) => {
    const index = await find(c);
    return ok(c, await store.getByIds(index, (await readJson(c, idsBody)).ids));
  });
  app.post("/:index/delete_by_ids", async (c) => {
    const index = await find(c);
    return ok(c, { mutationId: await store.deleteByIds(index, (await readJson(c, idsBody)).ids) });
  });
  app.get("/:index/list", async (c) => {
    const index = await find(c);
    const { count, cursor } = readQuery(c, listQuery);
    const ids = await store.listIds(index, { count: count + 1, cursor: decodeCursor(cursor) });
    const page = ids.slice(0, count);
    const isTruncated = ids.length > count;
    return ok(c, {
      count: page.length,
      totalCount: index.count,
      isTruncated,
      ...(isTruncated ? { nextCursor: Buffer.from(page.at(-1) ?? "").toString("base64url") } : {}),
      vectors: page.map((id) => ({ id })),
    });
  });

  app.post("/:index/metadata_index/create", async (c) => {
    const index = await find(c);
    return ok(c, { mutationId: await store.addMetadataIndex(index, await readJson(c, newMetadataIndex)) });
  });
  app.get("/:index/metadata_index/list", async (c) => {
    const indexes = await store.metadataIndexes(await find(c));
    // Cloudflare says the type with a capital letter, as wrangler prints it.
    const shown = indexes.map(({ propertyName, indexType }) => ({ propertyName, indexType: capitalized(indexType) }));
    return ok(c, { metadataIndexes: shown });
  });
  app.post("/:index/metadata_index/delete", async (c) => {
    const index = await find(c);
    const { propertyName } = await readJson(c, goneMetadataIndex);
    return ok(c, { mutationId: await store.removeMetadataIndex(index, propertyName) });
  });
  return app;
}

/** wrangler sends a form with a file `vectors`, the SDK the lines themselves. */
async function vectorText(c: ApiContext): Promise<string> {
  const bytes = await readBody(c.req.raw, limits.uploadBytes);
  const type = c.req.header("content-type") ?? "";
  if (!type.startsWith("multipart/form-data")) return Buffer.from(bytes).toString("utf8");
  const form = await new Response(bytes as never, { headers: { "content-type": type } })
    .formData()
    .catch(() => undefined);
  const file = form?.get("vectors");
  if (file == null) throw vectorErrors.badVector(1, "the form has no part named vectors");
  return typeof file === "string" ? file : file.text();
}

function decodeCursor(cursor: string): string {
  return Buffer.from(cursor, "base64url").toString("utf8");
}

function capitalized(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

function indexJson({ name, description, dimensions, metric, createdOn, modifiedOn }: VectorIndex) {
  return { name, description, config: { dimensions, metric }, created_on: createdOn, modified_on: modifiedOn };
}

export function infoJson({ dimensions, count, lastMutation, lastMutationMs }: VectorIndex) {
  return {
    dimensions,
    vectorCount: count,
    processedUpToDatetime: lastMutationMs === 0 ? null : new Date(lastMutationMs).toISOString(),
    processedUpToMutation: lastMutation === "" ? null : lastMutation,
  };
}
