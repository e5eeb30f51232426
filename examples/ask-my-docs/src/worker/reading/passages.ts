import { limits } from "../../shared/limits.ts";

/** Passages in one value that is bound: D1 takes values of up to 2 MB. */
const passagesAtOnce = 200;

/** Puts these passages in place of what was read of a document before, all of them or none. */
export async function replacePassages(db: D1Database, documentId: string, passages: readonly string[]): Promise<void> {
  const parts = Array.from({ length: Math.ceil(passages.length / passagesAtOnce) }, (_, part) =>
    passages.slice(part * passagesAtOnce, (part + 1) * passagesAtOnce),
  );
  const insert = db.prepare(
    "INSERT INTO passages (document_id, position, text) SELECT ?1, ?2 + key, value FROM json_each(?3)",
  );
  await db.batch([
    db.prepare("DELETE FROM passages WHERE document_id = ?").bind(documentId),
    ...parts.map((part, index) => insert.bind(documentId, index * passagesAtOnce, JSON.stringify(part))),
    db.prepare("UPDATE documents SET passages = ? WHERE id = ?").bind(passages.length, documentId),
  ]);
}

/** What a model is shown of a document, in its order: its beginning, and of a longer one what the question is about. */
export async function choosePassages(db: D1Database, documentId: string, question: string): Promise<string[]> {
  const { results } = await db
    .prepare(
      `SELECT text FROM passages WHERE document_id = ?1 AND (position < ?2 OR number IN (
         SELECT found.rowid FROM passages_search AS found JOIN passages ON number = found.rowid
         WHERE passages_search MATCH ?3 AND document_id = ?1 ORDER BY rank LIMIT ?4
       )) ORDER BY position`,
    )
    .bind(documentId, limits.passagesOfBeginning, asAnyOf(question), limits.passagesFound)
    .all<{ text: string }>();
  return results.map(({ text }) => text);
}

/** Any of its words, each in quotes, so that nothing people type is taken for FTS5's own language. */
function asAnyOf(question: string): string {
  const words = question.match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  return words.map((word) => `"${word}"`).join(" OR ") || '""';
}
