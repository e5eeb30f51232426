import { setImmediate as turn } from "node:timers/promises";
import { createLogger } from "#core/log.ts";
import type { Position } from "#products/r2/listing.ts";
import * as reads from "#products/r2/reads.ts";
import { readOldUploads } from "#products/r2/reads-uploads.ts";
import type { LifecycleCondition, LifecycleRule } from "#products/r2/settings.ts";
import type { LocalParts } from "#products/r2/local-parts.ts";
import { applyLifecycle, type LifecycleStep } from "#products/r2/writes-objects.ts";
import { abortUploads } from "#products/r2/writes-uploads.ts";

const log = createLogger("r2.lifecycle");

/** Rows looked at in one turn of the event loop, about 3 ms, and objects changed in one transaction. */
const rowsAtOnce = 500;
/** Uploads aborted in one transaction: each can have 10,000 parts. */
const uploadsAtOnce = 4;

/** Does what every bucket's rules say is due. */
export async function runLifecycle(parts: LocalParts): Promise<void> {
  for (const { bucketId, rules } of reads.readLifecycles(parts.db)) {
    const enabled = rules.filter((rule) => rule.enabled);
    for (const rule of enabled) await abortOldUploads(parts, bucketId, rule);
    const ofObjects = enabled.filter((rule) => rule.deleteObjectsTransition ?? rule.storageClassTransitions?.length);
    if (ofObjects.length > 0) await walkObjects(parts, bucketId, ofObjects);
  }
}

async function abortOldUploads({ db, folder, now }: LocalParts, bucketId: string, rule: LifecycleRule): Promise<void> {
  const condition = rule.abortMultipartUploadsTransition?.condition;
  if (!condition) return;
  const before = now() - condition.maxAge * 1000;
  for (;;) {
    const page = { prefix: rule.conditions.prefix ?? "", before, limit: uploadsAtOnce };
    const uploadIds = readOldUploads(db, bucketId, page);
    if (uploadIds.length === 0) return;
    const { removed } = await db.write(abortUploads, { uploadIds });
    folder.remove(removed);
    log.info("old uploads were aborted", { bucket: bucketId, rule: rule.id, uploads: uploadIds.length });
  }
}

async function walkObjects(parts: LocalParts, bucketId: string, rules: readonly LifecycleRule[]): Promise<void> {
  const { db, folder, now } = parts;
  const totals = { deleted: 0, moved: 0 };
  let from: Position = { key: Buffer.alloc(0), inclusive: true };
  for (;;) {
    const page = { from, end: undefined, count: rowsAtOnce };
    const rows = reads.readRows(db, bucketId, { http: false, custom: false }, page);
    const steps = rows.flatMap(({ key, object }): LifecycleStep[] => {
      const action = actionFor(rules, object, now());
      return action ? [{ key: Uint8Array.from(key), version: object.version, action }] : [];
    });
    if (steps.length > 0) {
      const { removed, deleted, moved } = await db.write(applyLifecycle, { bucketId, steps, now: now() });
      folder.remove(removed);
      totals.deleted += deleted;
      totals.moved += moved;
    }
    const last = rows.at(-1);
    if (!last || rows.length < rowsAtOnce) break;
    from = { key: last.key, inclusive: false };
    await turn();
  }
  if (totals.deleted + totals.moved > 0) log.info("lifecycle rules were carried out", { bucket: bucketId, ...totals });
}

/** Deletion goes before anything else that is due. */
function actionFor(
  rules: readonly LifecycleRule[],
  object: { key: string; uploaded: number; storageClass: string },
  now: number,
): LifecycleStep["action"] | undefined {
  const of = rules.filter(({ conditions }) => object.key.startsWith(conditions.prefix ?? ""));
  const due = (condition: LifecycleCondition | undefined) => condition && isDue(condition, object.uploaded, now);
  if (of.some((rule) => due(rule.deleteObjectsTransition?.condition))) return "delete";
  const move = of.some((rule) => rule.storageClassTransitions?.some(({ condition }) => due(condition)));
  return move && object.storageClass === "Standard" ? "InfrequentAccess" : undefined;
}

function isDue(condition: LifecycleCondition, uploaded: number, now: number): boolean {
  return condition.type === "Age" ? uploaded + condition.maxAge * 1000 <= now : Date.parse(condition.date) <= now;
}
