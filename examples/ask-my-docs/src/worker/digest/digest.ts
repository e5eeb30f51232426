import type { Env } from "../env.ts";

const dayMs = 24 * 60 * 60 * 1000;

/** So many things of one person are named; the rest is counted. */
const named = 20;
/** Statements of one batch of D1. */
const notesAtOnce = 50;

interface Happening {
  userId: string;
  what: "document" | "note";
  title: string;
}

/**
 * Writes for everybody for whom something happened a note about the day before. The day makes the note's id: a cron that runs
 * twice writes it once.
 */
export async function writeDigests({ scheduledTime }: ScheduledController, { DB }: Env): Promise<void> {
  const until = Math.floor(scheduledTime / dayMs) * dayMs;
  const from = until - dayMs;
  const { results } = await DB.prepare(
    `SELECT user_id AS userId, 'document' AS what, name AS title FROM documents WHERE uploaded_at >= ?1 AND uploaded_at < ?2
     UNION ALL
     SELECT user_id, 'note', title FROM notes WHERE updated_at >= ?1 AND updated_at < ?2 AND id NOT LIKE 'digest-%'`,
  )
    .bind(from, until)
    .all<Happening>();
  const day = new Date(from).toISOString().slice(0, 10);
  const insert = DB.prepare(
    "INSERT OR IGNORE INTO notes (id, user_id, title, body, updated_at) VALUES (?, ?, ?, ?, ?)",
  );
  const notes = [...Map.groupBy(results, ({ userId }) => userId)].map(([userId, happenings]) =>
    insert.bind(`digest-${day}-${userId}`, userId, `Your ${day}`, digestOf(happenings), scheduledTime),
  );
  for (let at = 0; at < notes.length; at += notesAtOnce) await DB.batch(notes.slice(at, at + notesAtOnce));
  console.log("wrote digests", day, notes.length);
}

function digestOf(happenings: readonly Happening[]): string {
  const part = (what: Happening["what"], heading: string) => {
    const titles = happenings.filter((one) => one.what === what).map(({ title }) => title);
    if (titles.length === 0) return "";
    const more = titles.length > named ? `\n- and ${titles.length - named} more` : "";
    const lines = titles.slice(0, named).map((title) => `- ${title || "Untitled"}`);
    return `${heading} (${titles.length})\n${lines.join("\n")}${more}\n`;
  };
  return [part("document", "New documents"), part("note", "Notes you worked on")].filter(Boolean).join("\n");
}
