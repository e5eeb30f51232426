import { setTimeout as pause } from "node:timers/promises";
import { createLogger } from "#core/log.ts";
import type { Database } from "#db/database.ts";
import { limits } from "#products/kv/schema.ts";
import { sweep } from "#products/kv/writes.ts";

const log = createLogger("kv.clean-up");

/**
 * Frees what nobody can see any more: keys whose time is over and keys of deleted namespaces. Looks for work now and then,
 * and does it in steps between which other writes get their turn. Resolves when `signal` aborts.
 */
export async function cleanUp(options: {
  db: Database;
  nowSeconds: () => number;
  release: (files: readonly string[]) => void;
  signal: AbortSignal;
}): Promise<void> {
  const { db, nowSeconds, release, signal } = options;
  const due = db.prepare(
    "SELECT EXISTS (SELECT 1 FROM kv_entries WHERE expires <= ?) OR EXISTS (SELECT 1 FROM kv_dropped) AS due",
  );
  const wait = async (ms: number) => pause(ms, undefined, { signal, ref: false }).catch(() => {});
  while (!signal.aborted) {
    try {
      while (!signal.aborted && due.get(nowSeconds())?.["due"] === 1) {
        const { files } = await db.write(sweep, { now: nowSeconds() });
        release(files);
        await wait(1);
      }
    } catch (error) {
      // Nothing is lost: the rows stay invisible, and the next round tries again.
      log.warn("the clean-up was put off", { error });
    }
    await wait(limits.sweepEveryMs);
  }
}
