import { transaction, type WriteConnection } from "#db/schema.ts";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";

/** One limit that applies to a request: a rule, and the part of it that the request falls into. */
export type SpendBucket = {
  /** Gateway, rule and the values that the rule is divided by. */
  key: string;
  /** Which rule, and for whom: as the error says it. */
  about: string;
  limitNano: number;
  windowMs: number;
  sliding: boolean;
};

export type SpendHold = { id: string; estimateNano: number; now: number; buckets: SpendBucket[] };

/** Slots that a sliding window is divided into: what leaves it leaves in such steps. */
const slidingSlots = 60;

/** Sets the estimated cost of a request aside, in every bucket or in none. Throws when one has no room. */
const holdSpend = transaction("ai-gateway.holdSpend", (db, { id, estimateNano, now, buckets }: SpendHold): void => {
  for (const bucket of buckets) {
    const { spent, held } = usedOf(db, bucket, now);
    const fits = spent + held + estimateNano <= bucket.limitNano;
    // A request whose estimate is larger than the whole limit may go alone: at most one passes it, once.
    if (!fits && !(held === 0 && spent < bucket.limitNano)) throw gatewayErrors.spendLimit(bucket.about);
  }
  const hold = db.prepare("INSERT INTO spend_held (id, bucket, slot, nano) VALUES (?, ?, ?, ?)");
  for (const bucket of buckets) hold.run(id, bucket.key, slotOf(bucket, now), estimateNano);
});

/** Puts what a request cost in the place of what was set aside for it. */
const settleSpend = transaction("ai-gateway.settleSpend", (db, { id, nano }: { id: string; nano: number }): void => {
  const held = db.prepare("SELECT bucket, slot FROM spend_held WHERE id = ?").all(id);
  for (const { bucket, slot } of held) addSpend(db, { bucket: String(bucket), slot: Number(slot), nano });
  db.prepare("DELETE FROM spend_held WHERE id = ?").run(id);
});

/**
 * What was set aside when the process died counts as spent: nobody knows any more what those requests cost. What no window
 * reaches is forgotten.
 */
const settleAll = transaction("ai-gateway.settleAllSpend", (db, { keepFrom }: { keepFrom: number }): void => {
  for (const { bucket, slot, nano } of db.prepare("SELECT bucket, slot, nano FROM spend_held").all())
    addSpend(db, { bucket: String(bucket), slot: Number(slot), nano: Number(nano) });
  db.prepare("DELETE FROM spend_held").run();
  db.prepare("DELETE FROM spend WHERE slot < ?").run(keepFrom);
});

/** What is used of a bucket in its window, and what is set aside. */
export function usedOf(db: WriteConnection, bucket: SpendBucket, now: number): { spent: number; held: number } {
  const from = bucket.sliding ? now - bucket.windowMs : slotOf(bucket, now);
  const spent = db
    .prepare("SELECT coalesce(sum(nano), 0) AS nano FROM spend WHERE bucket = ? AND slot >= ?")
    .get(bucket.key, from);
  const held = db.prepare("SELECT coalesce(sum(nano), 0) AS nano FROM spend_held WHERE bucket = ?").get(bucket.key);
  return { spent: Number(spent?.["nano"]), held: Number(held?.["nano"]) };
}

/** When the slot begins that `now` is in, ms since 1970. Fixed windows stand on the clock. */
function slotOf({ windowMs, sliding }: SpendBucket, now: number): number {
  const size = sliding ? Math.max(1, Math.floor(windowMs / slidingSlots)) : windowMs;
  return now - (now % size);
}

function addSpend(db: WriteConnection, { bucket, slot, nano }: { bucket: string; slot: number; nano: number }): void {
  db.prepare(
    "INSERT INTO spend (bucket, slot, nano) VALUES (?, ?, ?) ON CONFLICT (bucket, slot) DO UPDATE SET nano = nano + excluded.nano",
  ).run(bucket, slot, nano);
}

export const spendWrites = { holdSpend, settleSpend, settleAll };
export const spendTransactions = [holdSpend, settleSpend, settleAll];
