import type { Reader } from "#db/schema.ts";
import { workerErrors } from "#products/workers/errors.ts";
import { limits, type Version, type Worker } from "#products/workers/schema.ts";
import { toVersion, toWorker } from "#products/workers/store.ts";

/** A version that answers at a host of its own, whether or not it is deployed. */
export type Preview = { host: string; worker: Worker; version: Version };

/** Where Workers answer: below the app domain, other accounts than the first below their label. */
export type AppHosts = {
  appDomain: string;
  /** By account; undefined for the first one. */
  accountLabels: ReadonlyMap<string, string | undefined>;
};

/**
 * Which version a host previews; undefined when it previews none. The first label is `<8 hex>-<worker>`, the beginning of a
 * version's id, or `<alias>-<worker>`. A Worker's own host goes before both (the routing table has it, nobody asks here). Eight
 * hexadecimal digits always mean an id; of two ids that begin alike the newer version is meant. Where a label can be read as
 * two aliases, the longer Worker name counts. A preview lives as long as its Worker's `previews_enabled`: ask again to find out.
 */
export function previewOf(db: Reader, host: string, { appDomain, accountLabels }: AppHosts): Preview | undefined {
  const place = placeOf(host, appDomain);
  if (!place) return undefined;
  const { label, accountLabel } = place;
  const [accountId] = [...accountLabels].find(([, known]) => known === accountLabel) ?? [];
  if (accountId === undefined) return undefined;
  for (let at = label.indexOf("-"); at > 0; at = label.indexOf("-", at + 1)) {
    const prefix = label.slice(0, at);
    const row = db
      .prepare("SELECT * FROM workers WHERE account_id = ? AND name = ? AND previews_enabled = 1")
      .get(accountId, label.slice(at + 1));
    const worker = row && toWorker(row);
    const version =
      worker && (isIdPrefix(prefix) ? versionById(db, worker, prefix) : versionByAlias(db, worker, prefix));
    if (version) return { host, worker, version };
  }
  return undefined;
}

/** Whether versions of a Worker have previews: switched on, and its name leaves room for the beginning of an id. */
export function hasPreviews({ name, previewsEnabled }: Worker): boolean {
  return previewsEnabled && `00000000-${name}`.length <= limits.hostLabelLength;
}

function placeOf(host: string, appDomain: string): { label: string; accountLabel: string | undefined } | undefined {
  if (!host.endsWith(`.${appDomain}`)) return undefined;
  const [label = "", accountLabel, ...more] = host.slice(0, -appDomain.length - 1).split(".");
  return more.length > 0 || label.length > limits.hostLabelLength ? undefined : { label, accountLabel };
}

function isIdPrefix(text: string): boolean {
  return /^[0-9a-f]{8}$/.test(text);
}

function versionById(db: Reader, worker: Worker, prefix: string): Version | undefined {
  const row = db
    .prepare("SELECT * FROM versions WHERE id > ? AND id < ? AND worker_id = ? ORDER BY number DESC LIMIT 1")
    .get(`${prefix}-`, `${prefix}.`, worker.id);
  return row && toVersion(db, row);
}

function versionByAlias(db: Reader, worker: Worker, alias: string): Version | undefined {
  const row = db
    .prepare(
      `SELECT versions.* FROM preview_aliases JOIN versions ON versions.id = preview_aliases.version_id
       WHERE preview_aliases.worker_id = ? AND preview_aliases.alias = ?`,
    )
    .get(worker.id, alias);
  return row && toVersion(db, row);
}

/** As wrangler checks the aliases that it makes itself (deploy-helpers, ALIAS_VALIDATION_REGEX), in lower case: it becomes a host. */
const aliasShape = /^[a-z]([a-z0-9-]*[a-z0-9])?$/;

/** Refuses an alias that cannot be a host with the Worker's name. */
export function checkPreviewAlias(alias: string, workerName: string): void {
  if (`${alias}-${workerName}`.length > limits.hostLabelLength) throw workerErrors.aliasTooLong();
  if (!aliasShape.test(alias) || isIdPrefix(alias)) throw workerErrors.aliasInvalid(alias);
}
