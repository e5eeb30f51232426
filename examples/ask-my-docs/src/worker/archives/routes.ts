import { Hono } from "hono";
import type { ArchiveImport } from "../../shared/api.ts";
import { limits } from "../../shared/limits.ts";
import { requireUser } from "../accounts/session.ts";
import type { App } from "../env.ts";
import { errors } from "../errors.ts";
import { declaredLength, text } from "../input.ts";

/** Archives on their way to becoming documents. */
export const archives = new Hono<App>();
archives.use(requireUser);

const columns = "id, name, files, imported, left_out AS leftOut, problem, ended_at AS endedAt";

/** The body is a ZIP file. It is kept until the Workflow that takes it apart has ended. */
archives.post("/", async (c) => {
  const name = text({ name: c.req.query("name") }, "name", { min: 1, max: limits.documentNameLength });
  if (declaredLength(c) > limits.uploadBytes) throw errors.tooLarge("An archive can have 100 MB at most.");
  const [id, userId] = [crypto.randomUUID(), c.var.user.id];
  await c.env.UPLOADS.put(archiveKey({ id, userId }), c.req.raw.body ?? "");
  await c.env.DB.prepare("INSERT INTO imports (id, user_id, name, created_at) VALUES (?, ?, ?, ?)")
    .bind(id, userId, name, Date.now())
    .run();
  await c.env.IMPORTS.create({ id, params: { id, userId } });
  const started: ArchiveImport = { id, name, files: null, imported: 0, leftOut: 0, problem: null, endedAt: null };
  return c.json(started, 201);
});

archives.get("/:id", async (c) => {
  const found = await c.env.DB.prepare(`SELECT ${columns} FROM imports WHERE id = ? AND user_id = ?`)
    .bind(c.req.param("id"), c.var.user.id)
    .first<ArchiveImport>();
  if (found === null) throw errors.notFound("This import is gone.");
  return c.json(found);
});

/** Where the archive of an import is in R2 while it is needed. */
export function archiveKey({ id, userId }: { id: string; userId: string }): string {
  return `${userId}/imports/${id}`;
}
