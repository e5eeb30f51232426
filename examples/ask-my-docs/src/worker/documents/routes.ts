import { Hono, type Context } from "hono";
import { sign, verify } from "hono/jwt";
import type { Document, DocumentLink, DocumentList } from "../../shared/api.ts";
import { limits } from "../../shared/limits.ts";
import { requireUser } from "../accounts/session.ts";
import { isText } from "../../shared/is-text.ts";
import type { App } from "../env.ts";
import { errors } from "../errors.ts";
import { declaredLength, readJson, text } from "../input.ts";
import { columns, keyOf, ownDocument, type Row } from "./rows.ts";
import { serveFile } from "./serve-file.ts";

const linkLifetimeMs = 10 * 60 * 1000;

/**
 * A row in D1 is what makes a document exist: it is written after the bytes and removed before them, so that whatever
 * fails in between leaves at most some bytes that nobody sees.
 */
export const documents = new Hono<App>();

/** The one way to a file without signing in: a link that its owner made, good for a few minutes. */
documents.get("/shared/:token", async (c) => {
  const id = await documentOfLink(c.req.param("token"), c.env.JWT_SECRET);
  const row = await c.env.DB.prepare(`SELECT ${columns} FROM documents WHERE id = ?`).bind(id).first<Row>();
  if (row === null) throw errors.notFound("This document is gone.");
  return serveFile(c.req.raw, c.env.UPLOADS, keyOf(row), row);
});

documents.use(requireUser);

documents.get("/", async (c) => {
  const { results } = await c.env.DB.prepare(
    `SELECT ${columns} FROM documents WHERE user_id = ? ORDER BY uploaded_at DESC, id LIMIT ?`,
  )
    .bind(c.var.user.id, limits.documentsPerUser)
    .all<Row>();
  const usedBytes = results.reduce((sum, { size }) => sum + size, 0);
  return c.json<DocumentList>({ documents: results.map(visible), usedBytes });
});

/** The body is the file itself, passed on to R2 as it arrives. Its name is in the query, its type in the header. */
documents.post("/", async (c) => {
  const name = validName({ name: c.req.query("name") });
  await makeSureItFits(c);
  const id = crypto.randomUUID();
  const type = c.req.header("content-type") ?? "application/octet-stream";
  const key = keyOf({ id, userId: c.var.user.id });
  const stored = await c.env.UPLOADS.put(key, c.req.raw.body ?? "", { httpMetadata: { contentType: type } });
  const row: Row = { id, userId: c.var.user.id, name, type, size: stored.size, uploadedAt: Date.now(), passages: null };
  await c.env.DB.prepare("INSERT INTO documents (id, user_id, name, type, size, uploaded_at) VALUES (?, ?, ?, ?, ?, ?)")
    .bind(row.id, row.userId, row.name, row.type, row.size, row.uploadedAt)
    .run();
  if (isText(row)) await c.env.READING.send({ documentId: id });
  return c.json<Document>(visible(row), 201);
});

documents.get("/:id", async (c) => {
  return c.json<Document>(visible(await ownDocument(c.env.DB, c.req.param("id"), c.var.user.id)));
});

documents.patch("/:id", async (c) => {
  const row = await ownDocument(c.env.DB, c.req.param("id"), c.var.user.id);
  const name = validName(await readJson(c));
  await c.env.DB.prepare("UPDATE documents SET name = ? WHERE id = ? AND user_id = ?")
    .bind(name, row.id, row.userId)
    .run();
  return c.json<Document>(visible({ ...row, name }));
});

documents.delete("/:id", async (c) => {
  const row = await ownDocument(c.env.DB, c.req.param("id"), c.var.user.id);
  await c.env.DB.prepare("DELETE FROM documents WHERE id = ? AND user_id = ?").bind(row.id, row.userId).run();
  await c.env.UPLOADS.delete(keyOf(row));
  return c.body(null, 204);
});

documents.get("/:id/file", async (c) => {
  const row = await ownDocument(c.env.DB, c.req.param("id"), c.var.user.id);
  return serveFile(c.req.raw, c.env.UPLOADS, keyOf(row), row);
});

/** Makes a link for somebody who has no account, or for a program that has no cookie. */
documents.post("/:id/link", async (c) => {
  const { id } = await ownDocument(c.env.DB, c.req.param("id"), c.var.user.id);
  const expiresAt = Date.now() + linkLifetimeMs;
  const token = await sign({ document: id, exp: Math.floor(expiresAt / 1000) }, c.env.JWT_SECRET, "HS256");
  return c.json<DocumentLink>({ url: new URL(`/api/documents/shared/${token}`, c.req.url).href, expiresAt });
});

async function documentOfLink(token: string, secret: string): Promise<string> {
  const payload = await verify(token, secret, "HS256").catch(() => undefined);
  if (typeof payload?.["document"] !== "string") throw errors.notFound("This link has expired.");
  return payload["document"];
}

async function makeSureItFits(c: Context<App>): Promise<void> {
  const length = declaredLength(c);
  if (length > limits.uploadBytes) throw errors.tooLarge("A file can have 100 MB at most.");
  const used = await c.env.DB.prepare(
    "SELECT count(*) AS files, coalesce(sum(size), 0) AS bytes FROM documents WHERE user_id = ?",
  )
    .bind(c.var.user.id)
    .first<{ files: number; bytes: number }>();
  if ((used?.files ?? 0) >= limits.documentsPerUser) throw errors.full("You have as many documents as fit here.");
  if ((used?.bytes ?? 0) + length > limits.storageBytesPerUser) throw errors.full("There is not enough space left.");
}

function validName(from: Record<string, unknown>): string {
  const name = text(from, "name", { max: limits.documentNameLength }).trim();
  if (name === "") throw errors.invalid("name", "Please give a name.");
  if (/[\p{Cc}/\\]/u.test(name)) throw errors.invalid("name", "A name cannot have slashes in it.");
  return name;
}

function visible({ id, name, type, size, uploadedAt, passages }: Row): Document {
  return { id, name, type, size, uploadedAt, passages };
}
