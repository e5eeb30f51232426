import type { Reader } from "#db/schema.ts";
import { toDeployment, toVersion, toWorker } from "#products/workers/store.ts";
import type { Version, Worker } from "#products/workers/schema.ts";

/** What should run: each Worker that is deployed, with the versions its current deployment names. */
export type DesiredWorker = { worker: Worker; versions: { version: Version; percentage: number }[] };

export function readDesired(db: Reader): DesiredWorker[] {
  const workers = db.prepare("SELECT * FROM workers ORDER BY id").all().map(toWorker);
  const current = db.prepare("SELECT deployment FROM deployments WHERE worker_id = ? ORDER BY sequence DESC LIMIT 1");
  const version = db.prepare("SELECT * FROM versions WHERE worker_id = ? AND id = ?");
  return workers.flatMap((worker) => {
    const row = current.get(worker.id);
    if (!row) return [];
    const versions = toDeployment(row).versions.flatMap(({ versionId, percentage }) => {
      const found = version.get(worker.id, versionId);
      // One at 0 % runs as well: a version override can ask for it.
      return found ? [{ version: toVersion(db, found), percentage }] : [];
    });
    return versions.length > 0 ? [{ worker, versions }] : [];
  });
}
