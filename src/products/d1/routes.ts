import { Readable } from "node:stream";
import { accountOf, createRoutes, ok, pageOf, param, readJson, type Api, type ApiContext } from "#http/app.ts";
import { d1Errors } from "#products/d1/errors.ts";
import type { Sizes } from "#products/d1/host-protocol.ts";
import type { D1Exports } from "#products/d1/exports.ts";
import type { D1Imports } from "#products/d1/imports.ts";
import { limits } from "#products/d1/limits.ts";
import { exportBody, importBody, newDatabase, queryBody, type D1Database } from "#products/d1/schema.ts";
import type { D1Store } from "#products/d1/store.ts";

/** Asking for its size opens a database: a list does so only for short pages, and not for long. */
const sizedList = { items: 100, ms: 1000 };

/** Below `/accounts/:account_id/d1` (wrangler-api §9 D1). A database is named by id or name. */
export function d1Routes(store: D1Store, imports: D1Imports, exports: D1Exports): Api {
  const app = createRoutes();
  const database = (c: ApiContext) => store.get(accountOf(c), param(c, "database"));

  app.post("/database", async (c) => {
    const body = await readJson(c, newDatabase);
    const created = await store.create(accountOf(c), {
      name: body.name,
      ...(body.primary_location_hint ? { locationHint: body.primary_location_hint } : {}),
      ...(body.jurisdiction ? { jurisdiction: body.jurisdiction } : {}),
    });
    return ok(c, databaseJson(created, await store.sizes(created)));
  });
  app.get("/database", async (c) => {
    const { page, perPage } = pageOf(c, { perPage: 100, perPageMax: 10_000 });
    const { items, total } = await store.list(accountOf(c), { name: c.req.query("name") ?? "", page, perPage });
    const sizes = items.length <= sizedList.items ? await sizesOf(store, items) : [];
    return ok(
      c,
      items.map((item, index) => listedJson(item, sizes[index])),
      { page, per_page: perPage, count: items.length, total_count: total, total_pages: Math.ceil(total / perPage) },
    );
  });
  app.get("/database/:database", async (c) => {
    const found = await database(c);
    const fields = c.req.query("fields")?.split(",");
    const sized = !fields || fields.includes("num_tables") || fields.includes("file_size");
    const json = databaseJson(found, sized ? await store.sizes(found) : undefined);
    if (!fields) return ok(c, json);
    return ok(c, Object.fromEntries(Object.entries(json).filter(([name]) => fields.includes(name))));
  });
  app.delete("/database/:database", async (c) => {
    await store.delete(accountOf(c), param(c, "database"));
    return ok(c, null);
  });
  app.post("/database/:database/query", async (c) =>
    ok(c, await store.queryObjects(accountOf(c), param(c, "database"), await queriesOf(c))),
  );
  app.post("/database/:database/raw", async (c) =>
    ok(c, await store.queryColumns(accountOf(c), param(c, "database"), await queriesOf(c))),
  );
  app.post("/database/:database/import", async (c) => {
    const body = await readJson(c, importBody);
    const found = await database(c);
    if (body.action === "init") return ok(c, await imports.init(found, body.etag));
    if (body.action === "ingest") return ok(c, await imports.ingest(found, body));
    return ok(c, await imports.poll(found, body.current_bookmark));
  });
  app.post("/database/:database/export", async (c) => {
    const { current_bookmark: bookmark, dump_options: given } = await readJson(c, exportBody);
    const dump = {
      noSchema: given?.no_schema ?? false,
      noData: given?.no_data ?? false,
      tables: given?.tables ?? [],
    };
    return ok(c, await exports.export(await database(c), dump, bookmark ?? undefined));
  });
  app.all("/database/:database/time_travel/*", async (c) => {
    await database(c);
    throw d1Errors.unsupported("D1 Time Travel");
  });
  return app;
}

/** `PUT /:token`, to be mounted where no API token is asked for: an upload URL is a secret of its own. */
export function d1UploadRoutes(imports: D1Imports): Api {
  const app = createRoutes();
  app.put("/:token", async (c) => {
    const md5 = await imports.receive(param(c, "token"), c.req.raw.body ?? new ReadableStream<Uint8Array>());
    return c.body(null, 200, { etag: `"${md5}"` });
  });
  return app;
}

/** `GET /:token`, to be mounted where no API token is asked for: a download URL is a secret of its own. */
export function d1DownloadRoutes(exports: D1Exports): Api {
  const app = createRoutes();
  app.get("/:token", async (c) => {
    const { stream, bytes, filename } = await exports.open(param(c, "token"));
    return new Response(Readable.toWeb(stream) as ReadableStream, {
      headers: {
        "content-type": "application/sql",
        "content-length": String(bytes),
        "content-disposition": `attachment; filename="${filename}"`,
        "x-content-type-options": "nosniff",
      },
    });
  });
  return app;
}

async function queriesOf(c: ApiContext) {
  const queries = await readJson(c, queryBody, limits.requestBytes);
  if (queries.length > limits.statements) throw d1Errors.query("Too many statements");
  return queries.map(({ sql, params }) => ({ sql, params: params ?? [] }));
}

async function sizesOf(store: D1Store, items: D1Database[]): Promise<(Sizes | undefined)[]> {
  const signal = AbortSignal.timeout(sizedList.ms);
  const settled = await Promise.allSettled(items.map((item) => store.sizes(item, signal)));
  return settled.map((result) => (result.status === "fulfilled" ? result.value : undefined));
}

function databaseJson(database: D1Database, sizes: Sizes | undefined) {
  return {
    ...listedJson(database, sizes),
    read_replication: { mode: "disabled" },
    ...(database.locationHint ? { running_in_region: database.locationHint.toUpperCase() } : {}),
  };
}

function listedJson(database: D1Database, sizes: Sizes | undefined) {
  return {
    uuid: database.id,
    name: database.name,
    version: "production",
    created_at: database.createdOn,
    num_tables: sizes?.tables ?? null,
    file_size: sizes?.fileSize ?? null,
    jurisdiction: database.jurisdiction,
  };
}
