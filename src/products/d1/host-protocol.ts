/**
 * What a d1 host and those who call it agree on. Paths of `use` are the ones that workerd's binding
 * `cloudflare-internal:d1-api` asks for (workerd-runtime §1); the others are ours. Pure: it is bundled into the host.
 */
export const hostPaths = {
  /** GET, without a capability, touches no database. */
  health: "/health",
  query: "/query",
  execute: "/execute",
  /** POST as `query`, but one result for each statement of a text. */
  statements: "/statements",
  /** PUT creates, GET tells sizes, DELETE removes with all files. */
  database: "/database",
  /** GET says where the database is: 204 when it is here, else as every other request does. */
  where: "/where",
  /** POST `{host}`: closes the database, and sends everybody there from now on. */
  leave: "/leave",
  /** GET takes what all databases of the host have done since it was last asked. */
  usage: "/usage",
  /** POST of SQL text, all of it one transaction. */
  import: "/import",
};

/** Kinds of capabilities; the resource is the database's id. */
export const capabilityKinds = {
  /** A Worker's binding: `query`, `execute`. */
  use: "d1",
  /** The control process: all of it. */
  admin: "d1-admin",
};

/** Resource of an admin's capability for what concerns the whole host. */
export const wholeHost = "*";

/** Sent by a session to say what it has seen, and answered with what it has seen now. */
export const bookmarkHeader = "x-cf-d1-session-commit-token";

/** `uniqueKey` of every host: with the database's id it makes the name of its file, so that a file can move to another host. */
export const namespaceKey = "solum-d1";

/** One statement, or several of which the last takes the parameters. A blob is an array of its bytes. */
export type Query = { sql: string; params?: readonly unknown[] | null };

/** `meta` of a result, as `wd:types/defines/d1.d.ts` names its members. */
export type Meta = {
  served_by: string;
  served_by_region: string;
  served_by_colo: string;
  served_by_primary: boolean;
  changes: number;
  last_row_id: number;
  changed_db: boolean;
  size_after: number;
  rows_read: number;
  rows_written: number;
  total_attempts: number;
  /** Whole milliseconds around the call of the object; a call's statements share them equally. */
  duration: number;
  timings: { sql_duration_ms: number };
};

export type Sizes = { fileSize: number; tables: number };

/** What an import did; `meta` counts all of its statements. */
export type Imported = { statements: number; bookmark: string; meta: Meta };

/** An answer that is not a result. `error` is what the caller sees, with the status as `hostStatus` names it. */
export type Failure = { success: false; error: string };

/** Where a database went. `stalled`: a query of it was ended with the process that ran it, because it held up others. */
export type Moved = { host: number; atMs: number; stalled: boolean };

/** What the file that holds a `Moved` is called after the database's own. */
export const movedSuffix = ".moved";

/** Headers of an answer `hostStatus.moved`, one for each member of `Moved`. */
export const movedHeaders = { host: "x-d1-host", atMs: "x-d1-moved-at", stalled: "x-d1-stalled" };

/** What such an answer says; undefined for any other. */
export function readMoved(status: number, header: (name: string) => string | null | undefined): Moved | undefined {
  if (status !== hostStatus.moved) return undefined;
  return {
    host: Number(header(movedHeaders.host)),
    atMs: Number(header(movedHeaders.atMs)),
    stalled: header(movedHeaders.stalled) === "true",
  };
}

/** https://developers.cloudflare.com/d1/observability/debug-d1/ */
export const timeoutText = "D1 DB storage operation exceeded timeout which caused object to be reset.";

export const hostStatus = {
  /** The SQL, or what it did, was refused; nothing was changed. */
  refused: 400,
  forbidden: 403,
  /** There is no such database. */
  noDatabase: 404,
  /** The database is at another host; nothing was run. */
  moved: 421,
  /** The database stopped in the middle: whether anything was changed is not known. */
  reset: 500,
  /** Nothing was run. */
  overloaded: 503,
};
