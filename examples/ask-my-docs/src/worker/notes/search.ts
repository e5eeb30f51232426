import { marks, type NoteSummary } from "../../shared/api.ts";
import { limits } from "../../shared/limits.ts";

/** Notes of one person that have a word starting with each word of `search`, the best first. */
export async function searchNotes(db: D1Database, userId: string, search: string): Promise<NoteSummary[]> {
  const words = search.match(/[\p{L}\p{M}\p{N}]+/gu);
  if (words === null) return [];
  const { results } = await db
    .prepare(
      `SELECT notes.id, notes.title, notes.updated_at AS updatedAt,
         snippet(notes_search, 1, ?1, ?2, '…', 16) AS excerpt
       FROM notes_search JOIN notes ON notes.number = notes_search.rowid
       WHERE notes_search MATCH ?3 AND notes.user_id = ?4
       ORDER BY rank LIMIT ?5`,
    )
    .bind(marks.start, marks.end, words.map(asPrefix).join(" "), userId, limits.notesListed)
    .all<NoteSummary>();
  return results;
}

/** In quotes, so that nothing people type is taken for FTS5's own language. */
function asPrefix(word: string): string {
  return `"${word}"*`;
}
