import { Hono } from "hono";
import type { Note, NoteSummary } from "../../shared/api.ts";
import { limits } from "../../shared/limits.ts";
import { requireUser } from "../accounts/session.ts";
import type { App } from "../env.ts";
import { errors } from "../errors.ts";
import { readJson, text } from "../input.ts";
import { searchNotes } from "./search.ts";

const columns = "id, title, body, revision, updated_at AS updatedAt";
const excerptLength = 160;

export const notes = new Hono<App>();
notes.use(requireUser);

/** The newest notes, or with `?search=` the ones that fit best. */
notes.get("/", async (c) => {
  const search = text({ search: "", ...c.req.query() }, "search", { max: limits.searchLength }).trim();
  if (search !== "") return c.json<NoteSummary[]>(await searchNotes(c.env.DB, c.var.user.id, search));
  const { results } = await c.env.DB.prepare(
    `SELECT id, title, substr(body, 1, ?) AS excerpt, updated_at AS updatedAt
     FROM notes WHERE user_id = ? ORDER BY updated_at DESC, number DESC LIMIT ?`,
  )
    .bind(excerptLength, c.var.user.id, limits.notesListed)
    .all<NoteSummary>();
  return c.json<NoteSummary[]>(results);
});

notes.post("/", async (c) => {
  const { title, body } = readNote(await readJson(c));
  const note = await c.env.DB.prepare(
    `INSERT INTO notes (id, user_id, title, body, updated_at)
     SELECT ?1, ?2, ?3, ?4, ?5 WHERE (SELECT count(*) FROM notes WHERE user_id = ?2) < ?6
     RETURNING ${columns}`,
  )
    .bind(crypto.randomUUID(), c.var.user.id, title, body, Date.now(), limits.notesPerUser)
    .first<Note>();
  if (note === null) throw errors.full("You have as many notes as fit here.");
  return c.json<Note>(note, 201);
});

notes.get("/:id", async (c) => {
  const note = await c.env.DB.prepare(`SELECT ${columns} FROM notes WHERE id = ? AND user_id = ?`)
    .bind(c.req.param("id"), c.var.user.id)
    .first<Note>();
  if (note === null) throw errors.notFound("This note is gone.");
  return c.json<Note>(note);
});

/** Saves over the revision that the caller has read; a later one stays as it is, and the caller hears of it. */
notes.put("/:id", async (c) => {
  const input = await readJson(c);
  const { title, body } = readNote(input);
  const revision = input["revision"];
  if (!Number.isSafeInteger(revision)) throw errors.invalid("revision", "Please say which revision this changes.");
  const owned = [c.req.param("id"), c.var.user.id] as const;
  const note = await c.env.DB.prepare(
    `UPDATE notes SET title = ?, body = ?, revision = revision + 1, updated_at = ?
     WHERE id = ? AND user_id = ? AND revision = ?
     RETURNING ${columns}`,
  )
    .bind(title, body, Date.now(), ...owned, revision)
    .first<Note>();
  if (note !== null) return c.json<Note>(note);
  const there = await c.env.DB.prepare("SELECT 1 FROM notes WHERE id = ? AND user_id = ?")
    .bind(...owned)
    .first();
  throw there === null ? errors.notFound("This note is gone.") : errors.noteChanged();
});

notes.delete("/:id", async (c) => {
  const { meta } = await c.env.DB.prepare("DELETE FROM notes WHERE id = ? AND user_id = ?")
    .bind(c.req.param("id"), c.var.user.id)
    .run();
  if (meta.changes === 0) throw errors.notFound("This note is gone.");
  return c.body(null, 204);
});

function readNote(input: Record<string, unknown>): Pick<Note, "title" | "body"> {
  return {
    title: text(input, "title", { max: limits.noteTitleLength }),
    body: text(input, "body", { max: limits.noteBodyLength }),
  };
}
