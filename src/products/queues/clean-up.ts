import { setTimeout as pause } from "node:timers/promises";
import { createLogger } from "#core/log.ts";
import type { Database } from "#db/database.ts";
import { limits } from "#products/queues/schema.ts";
import { sweep } from "#products/queues/writes-messages.ts";

const log = createLogger("queues.clean-up");

/**
 * Frees messages that are too old, and those that a purge or a deletion left, in steps between which other writes get their
 * turn. Resolves when `signal` aborts.
 */
export async function cleanUp(options: { db: Database; now: () => number; signal: AbortSignal }): Promise<void> {
  const { db, now, signal } = options;
  const wait = async (ms: number) => pause(ms, undefined, { signal, ref: false }).catch(() => {});
  const due = db.prepare(
    `SELECT EXISTS (SELECT 1 FROM queue_generations WHERE dropped = 1) OR EXISTS (
       SELECT 1 FROM queues WHERE (
         SELECT arrived_at FROM queue_messages WHERE queue = queues.num ORDER BY id LIMIT 1
       ) <= ? - 1000 * json_extract(settings, '$.message_retention_period')
     ) AS due`,
  );
  while (!signal.aborted) {
    try {
      while (!signal.aborted && due.get(now())?.["due"] === 1) {
        await db.write(sweep, { now: now() });
        await wait(1);
      }
    } catch (error) {
      // Nothing is lost: nobody sees these messages, and the next round tries again.
      log.warn("the clean-up was put off", { error });
    }
    await wait(limits.sweepEveryMs);
  }
}
