import type { Document } from "../../shared/api.ts";
import { errors } from "../errors.ts";

/** A document as D1 keeps it. */
export interface Row extends Document {
  userId: string;
}

export const columns = "id, user_id AS userId, name, type, size, uploaded_at AS uploadedAt, passages";

/** The document `id`, when it belongs to this user. Somebody else's looks as if it did not exist. */
export async function ownDocument(db: D1Database, id: string, userId: string): Promise<Row> {
  const row = await db
    .prepare(`SELECT ${columns} FROM documents WHERE id = ? AND user_id = ?`)
    .bind(id, userId)
    .first<Row>();
  if (row === null) throw errors.notFound("This document is gone.");
  return row;
}

/** Where its bytes are in R2. */
export function keyOf({ userId, id }: Pick<Row, "userId" | "id">): string {
  return `${userId}/${id}`;
}
