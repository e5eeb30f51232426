const KB = 1000;
const MB = 1000 * KB;

/**
 * D1's limits, https://developers.cloudflare.com/d1/platform/limits/. Not in `schema.ts` because the host's Worker has them
 * too and must not carry a validator. 100 columns, 100 bound parameters and statements of 100 KB are workerd's own limits.
 */
export const limits = {
  /** Bytes of one text, blob or row. workerd's own limit is about 8.4 MB. */
  valueBytes: 2 * MB,
  /** Bytes of one SQL statement: only the import needs to know, so as not to look for an end for ever. */
  statementBytes: 100 * KB,
  /** Bytes of a request to a host, REST or binding: Cloudflare's largest request body on the lower plans. */
  requestBytes: 100 * MB,
  /** Characters of JSON in one call's results. Ours: it bounds what one query takes of a process that others share. */
  resultCharacters: 64 * MB,
  /** Calls that wait for one database. Ours. */
  waitingCalls: 1000,
  /** How long a call may wait for its turn; less than `callMs`, so that none is run after its caller has given up. */
  waitingMs: 25_000,
  /** Databases of a host that are open at once, as long as nobody waits in more. Ours. */
  openDatabases: 64,
  /** workerd closes a database that nobody has asked for this long (`src/workerd/server/server.c++`). */
  idleMs: 10_000,
  /** Calls that share one commit. Ours: past it the first of them would wait too long. */
  callsPerCommit: 64,
  /** A query, and with it a REST call, takes at most 30 seconds. */
  callMs: 30_000,
  /** How long a call waits for a host that is being started again, when nothing was sent yet. Ours. */
  restartMs: 3000,
  /** After a database moved, its new host may not have it yet for this long. Ours. */
  moveMs: 5000,
  /** A database whose query takes this long gets a host of its own when the query ends. Ours, as are the next four. */
  slowMs: 1000,
  /** A query may hold up other databases for 2 seconds, of which up to `watchMs` pass unseen; then its host is ended. */
  stallMs: 1750,
  /** The same when no query is seen to run, or it hardly uses the processor: a slow disk is no slow query. */
  otherStallMs: 10_000,
  /** How often a host is asked whether it answers. */
  watchMs: 250,
  /** Bytes of a file for `d1 execute --file`. */
  importBytes: 5000 * MB,
  /** An import is one transaction, which workerd ends after 30 seconds; the rest is for the way there and back. */
  importMs: 45_000,
  /** How long an upload URL can be used. Ours. */
  uploadMs: 3_600_000,
  /** How long the outcome of an import or export can be asked for; "This link will be valid for one hour" in wrangler. */
  outcomeMs: 3_600_000,
  /** Uploads and imports that are remembered at once, all accounts together. Ours. */
  imports: 256,
  /** Exports whose files are kept at once, all accounts together. Ours. */
  exports: 64,
  /** Databases of an account. */
  databases: 50_000,
  /** Statements in one REST call. Ours. */
  statements: 10_000,
};
