import { errors } from "../errors.ts";

const attemptsAllowed = 10;
const windowMs = 15 * 60 * 1000;

/** Counts one more attempt before the password is looked at, so that many at once do not slip through. */
export async function countAttempt(db: D1Database, who: string): Promise<void> {
  const now = Date.now();
  const [, counted] = await db.batch<{ attempts: number }>([
    db.prepare("DELETE FROM sign_in_attempts WHERE since < ?").bind(now - windowMs),
    db
      .prepare(
        `INSERT INTO sign_in_attempts (who, attempts, since) VALUES (?, 1, ?)
         ON CONFLICT (who) DO UPDATE SET attempts = attempts + 1
         RETURNING attempts`,
      )
      .bind(who, now),
  ]);
  if ((counted?.results[0]?.attempts ?? 0) > attemptsAllowed) throw errors.tooManyAttempts();
}

export async function forgetAttempts(db: D1Database, who: string): Promise<void> {
  await db.prepare("DELETE FROM sign_in_attempts WHERE who = ?").bind(who).run();
}
