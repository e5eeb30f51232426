import { readdir } from "node:fs/promises";
import { z } from "zod";
import { accountOf, createRoutes, ok, pageOf, param, readQuery, type Api, type ApiContext } from "#http/app.ts";
import { paginate } from "#http/envelope.ts";
import { systemCode } from "#core/errors.ts";
import { objectErrors } from "#products/durable-objects/errors.ts";
import type { NamedNamespace, ObjectStore } from "#products/durable-objects/store.ts";

const limits = {
  namespacesPage: 1000,
  /** https://developers.cloudflare.com/api/resources/durable_objects/subresources/namespaces/subresources/objects/methods/list/. */
  objectsPage: 1000,
  objectsPageMax: 10_000,
};

export type ObjectParts = {
  objects: ObjectStore;
  /** Where the objects of a Worker are, a folder for each namespace. */
  folderOf: (namespace: { workerId: string; id: string }) => string;
};

const objectsQuery = z.object({
  limit: z.coerce.number().int().min(1).max(limits.objectsPageMax).default(limits.objectsPage),
  cursor: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .or(z.literal(""))
    .default(""),
});

/** Below `/accounts/:account_id/workers/durable_objects`. */
export function objectRoutes({ objects, folderOf }: ObjectParts): Api {
  const app = createRoutes();

  app.get("/namespaces", async (c) => {
    const page = pageOf(c, { perPage: limits.namespacesPage, perPageMax: limits.namespacesPage });
    const { items, info } = paginate(await objects.list(accountOf(c)), page);
    return ok(c, items.map(namespaceJson), info);
  });

  app.get("/namespaces/:id", async (c) => ok(c, namespaceJson(await find(c))));

  app.get("/namespaces/:id/objects", async (c) => {
    const { limit, cursor } = readQuery(c, objectsQuery);
    const namespace = await find(c);
    const after = (await objectIds(folderOf(namespace))).filter((id) => id > cursor);
    const page = after.slice(0, limit);
    const next = after.length > limit ? (page.at(-1) ?? "") : "";
    return ok(
      c,
      page.map((id) => ({ id, hasStoredData: true })),
      { count: page.length, per_page: limit, cursor: next, cursors: { after: next } },
    );
  });

  async function find(c: ApiContext): Promise<NamedNamespace> {
    const id = param(c, "id");
    const found = (await objects.list(accountOf(c))).find((one) => one.id === id);
    if (!found) throw objectErrors.namespaceNotFound(id);
    return found;
  }
  return app;
}

/** Objects that have stored something: workerd keeps each in a file named for its id, and removes it with `deleteAll()`. */
async function objectIds(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((error: unknown) => {
    // None of them has stored anything yet.
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  });
  return names.flatMap((name) => /^([0-9a-f]{64})\.sqlite$/.exec(name)?.[1] ?? []).toSorted();
}

function namespaceJson({ id, scriptName, className, sqlite }: NamedNamespace) {
  return { id, name: `${scriptName}_${className}`, script: scriptName, class: className, use_sqlite: sqlite };
}
