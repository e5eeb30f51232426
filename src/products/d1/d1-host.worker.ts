import { DurableObject } from "cloudflare:workers";
import { Bookmarks } from "#products/d1/bookmarks.ts";
import { Calls, type Call } from "#products/d1/calls.ts";
import { Engine, withTime, type Run } from "#products/d1/engine.ts";
import { grantReader } from "#products/d1/grants.ts";
import {
  bookmarkHeader,
  capabilityKinds,
  hostPaths,
  hostStatus,
  movedHeaders,
  movedSuffix,
  namespaceKey,
  timeoutText,
  wholeHost,
  type Failure,
  type Imported,
  type Moved,
  type Query,
} from "#products/d1/host-protocol.ts";
import { Importer, type IngestSql } from "#products/d1/importer.ts";
import { limits } from "#products/d1/limits.ts";
import { UsageMeter } from "#products/d1/usage.ts";

/**
 * A d1 host: many databases, each the SQLite file of one object, behind one socket. The capability in `x-bind` says which
 * database a request may use, so that user code cannot choose. Runs in a trusted process without a network.
 */
type Env = {
  DATABASE: DurableObjectNamespace<Database>;
  /** The files of the objects, to tell which databases exist and to remove one. */
  FILES: Fetcher;
  /** Hexadecimal. */
  CAPABILITY_KEY: string;
  /** Largest database; 0 for none. */
  DATABASE_BYTES: number;
  SERVED: { served_by: string; served_by_region: string; served_by_colo: string };
};

const calls = new Calls();
const usage = new UsageMeter();

/** What a request to an object begins with; the database's id follows. */
const objectUrl = "http://d1/";

/** One database. It is opened when first asked for, and closed by workerd after some seconds without requests. */
export class Database extends DurableObject<Env> {
  readonly #engine: Engine;
  #bookmarks: Bookmarks | undefined;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#engine = new Engine(ctx.storage, env.SERVED, env.DATABASE_BYTES);
  }

  /** GET wakes it for the calls that wait; POST imports the body. The path is the database's id. */
  override async fetch(request: Request): Promise<Response> {
    const database = request.url.slice(objectUrl.length);
    this.#bookmarks ??= new Bookmarks(database, Date.now());
    if (request.method === "POST") return this.#import(request.body, this.#bookmarks);
    calls.runWaiting(database, this.#engine, this.#bookmarks, Date.now());
    return new Response(null, { status: 204 });
  }

  /** Makes the file durable: opening it writes nothing that is synced, a commit does. */
  create(): void {
    this.ctx.storage.transactionSync(() => {
      this.ctx.storage.sql.exec("CREATE TABLE created (at)");
      this.ctx.storage.sql.exec("DROP TABLE created");
    });
  }

  sizes() {
    return this.#engine.sizes();
  }

  /** Ends the object and with it all that it was doing; whoever waits for it is told. */
  close(): void {
    this.ctx.abort("The database was closed.");
  }

  async #import(body: ReadableStream<Uint8Array> | null, bookmarks: Bookmarks): Promise<Response> {
    const { sql } = this.ctx.storage;
    if (!canIngest(sql)) throw new Error("this workerd cannot import");
    const began = Date.now();
    const before = this.#engine.count();
    const importer = new Importer(sql);
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });
    try {
      // Other calls wait meanwhile. workerd ends a transaction that takes longer than 30 seconds, with nothing changed.
      await this.ctx.storage.transaction(async () => {
        for await (const bytes of body ?? []) importer.write(decoder.decode(bytes, { stream: true }));
        importer.write(decoder.decode());
        importer.end();
        this.#engine.checkSize();
      });
    } catch (error) {
      this.#engine.forgetCounters();
      return failure(hostStatus.refused, messageOf(error));
    }
    bookmarks.advance(Date.now());
    const duration = Date.now() - began;
    const meta = {
      ...this.env.SERVED,
      ...this.#engine.since(before),
      rows_read: importer.rowsRead,
      rows_written: importer.rowsWritten,
      duration,
      timings: { sql_duration_ms: duration },
    };
    return Response.json({ statements: importer.statements, bookmark: bookmarks.current, meta } satisfies Imported);
  }
}

/** `ingest` is there with the flag `experimental` only, and not in the types. */
function canIngest(sql: object): sql is IngestSql {
  return "ingest" in sql && typeof sql.ingest === "function";
}

let readGrant: ReturnType<typeof grantReader> | undefined;

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { path, query: parameters } = targetOf(request.url);
    if (request.method === "GET" && path === hostPaths.health) return new Response(null, { status: 204 });
    readGrant ??= grantReader(env.CAPABILITY_KEY);
    const grant = await readGrant(request.headers.get("x-bind") ?? "");
    const admin = grant?.kind === capabilityKinds.admin;
    if (!admin && grant?.kind !== capabilityKinds.use) return failure(hostStatus.forbidden, "Forbidden");
    if (request.method === "GET" && path === hostPaths.where) return whereIs(grant.database, env);
    if (request.method === "POST") {
      const format = parameters === "resultsFormat=ROWS_AND_COLUMNS" ? "columns" : "objects";
      if (path === hostPaths.query || path === hostPaths.execute)
        return runQueries(grant.database, request, env, { format, results: "last" });
      if (admin && path === hostPaths.statements)
        return runQueries(grant.database, request, env, { format, results: "each" });
    }
    if (admin && grant.database === wholeHost && request.method === "GET" && path === hostPaths.usage)
      return Response.json(usage.take());
    const answer = admin ? await administer(`${request.method} ${path}`, grant.database, request, env) : undefined;
    return answer ?? failure(404, "Not found");
  },
} satisfies ExportedHandler<Env>;

/** `new URL` would do, but makes objects that live until a full collection: 5 % of the cost of a point select. */
function targetOf(url: string): { path: string; query: string } {
  const path = url.indexOf("/", "http://".length);
  const query = url.indexOf("?", path);
  return query < 0
    ? { path: url.slice(path), query: "" }
    : { path: url.slice(path, query), query: url.slice(query + 1) };
}

/** Runs the statements of a request, and measures how long that took: within the object workerd's clock stands still. */
async function runQueries(database: string, request: Request, env: Env, how: Omit<Run, "queries">): Promise<Response> {
  const place = await find(database, env);
  if (!place) return elsewhere(database);
  const queries = await readQueries(request);
  if (!queries) return failure(hostStatus.refused, "The request is not a list of SQL statements, or is too large.");
  // It may have been deleted or moved while the request was read.
  if (removed.has(database) || moved.has(database)) return elsewhere(database);
  const began = Date.now();
  let call: Call;
  try {
    call = calls.add(database, { ...how, queries }, began);
  } catch (error) {
    return failure(hostStatus.overloaded, messageOf(error));
  }
  try {
    // A second time only when the request of an earlier call was lost and the first one ran that call instead.
    for (let attempt = 0; !call.outcome && attempt < 3; attempt++)
      await ask(place, env, (stub) => stub.fetch(objectUrl + database));
  } catch (error) {
    calls.drop(database, call);
    // A statement that failed may be what ended the object (`OR ROLLBACK`, a full disk): its own error says more.
    if (!call.outcome || !("error" in call.outcome)) return reset(error);
  }
  if (!call.outcome) return reset("a call was not run");
  if ("error" in call.outcome) return failure(hostStatus.refused, call.outcome.error);
  const { results, bookmark } = call.outcome;
  const ms = Math.round(((Date.now() - began) / results.length) * 1000) / 1000;
  for (const { done } of results) usage.add({ database, durationMs: ms, ...done });
  return new Response(`[${results.map((result) => withTime(result, ms)).join(",")}]`, {
    headers: request.headers.has(bookmarkHeader) ? { [bookmarkHeader]: bookmark } : {},
  });
}

async function readQueries(request: Request): Promise<Query[] | undefined> {
  if (!(Number(request.headers.get("content-length")) <= limits.requestBytes)) return undefined;
  try {
    const body = JSON.parse(await request.text()) as Query | Query[];
    const queries = Array.isArray(body) ? body : [body];
    return queries.every((query) => typeof query?.sql === "string") ? queries : undefined;
  } catch {
    return undefined;
  }
}

/** What only the control process may do; undefined when there is no such thing. */
async function administer(route: string, database: string, request: Request, env: Env): Promise<Response | undefined> {
  if (route === `PUT ${hostPaths.database}`) {
    await env.DATABASE.get(env.DATABASE.idFromName(database)).create();
    return Response.json({});
  }
  const place = await find(database, env);
  if (route === `POST ${hostPaths.leave}`) {
    const to = (await request.json()) as { host: number };
    moved.set(database, { host: to.host, atMs: Date.now(), stalled: false });
    found.delete(database);
    if (place) await closeWhenIdle(place, env);
    return Response.json({});
  }
  if (route === `DELETE ${hostPaths.database}`) {
    moved.delete(database);
    if (place) await remove(database, place, env);
    return Response.json({});
  }
  if (!place) return elsewhere(database);
  if (route === `GET ${hostPaths.database}`) return Response.json(await ask(place, env, (stub) => stub.sizes()));
  if (route !== `POST ${hostPaths.import}`) return undefined;
  try {
    return await ask(place, env, (stub) => stub.fetch(objectUrl + database, { method: "POST", body: request.body }));
  } catch (error) {
    return reset(error);
  }
}

/**
 * Where a database is. Making an id takes an HMAC, so it is kept. `users`: requests under way. `closing`: to be waited for by
 * the next.
 */
type Place = { id: DurableObjectId; users: number; usedAtMs: number; closing: Promise<void> | undefined };
const found = new Map<string, Place>();
/** Deleted since this process began; an id is never given twice. */
const removed = new Set<string>();
/** Went to another host. */
const moved = new Map<string, Moved>();
const idsRemembered = 100_000;

/** The object of a database that is here. Asking an object that is not would make it. */
async function find(database: string, env: Env): Promise<Place | undefined> {
  const known = found.get(database);
  if (known) return known;
  if (moved.has(database)) return undefined;
  const id = env.DATABASE.idFromName(database);
  const word = await env.FILES.fetch(fileUrl(id, movedSuffix));
  if (word.status === 200) {
    moved.set(database, await word.json());
    return undefined;
  }
  const file = await env.FILES.fetch(fileUrl(id, ""), { method: "HEAD" });
  if (file.status !== 200 || removed.has(database) || moved.has(database)) return undefined;
  const other = found.get(database);
  if (other) return other;
  if (found.size >= idsRemembered) found.clear();
  const place = { id, users: 0, usedAtMs: 0, closing: undefined };
  found.set(database, place);
  return place;
}

/** Databases that are open, or were a few seconds ago, in the order of their last use. */
const opened = new Set<Place>();

/** Asks the object of a database, which is open for as long and some seconds more. */
async function ask<T>(place: Place, env: Env, work: (stub: DurableObjectStub<Database>) => Promise<T>): Promise<T> {
  place.users++;
  opened.delete(place);
  opened.add(place);
  try {
    if (opened.size > limits.openDatabases) closeOldest(env);
    if (place.closing) await place.closing;
    return await work(env.DATABASE.get(place.id));
  } finally {
    place.users--;
    place.usedAtMs = Date.now();
  }
}

/** Each open database takes about 130 KB. workerd closes one that nobody asks for some seconds; many in turn are too many. */
function closeOldest(env: Env): void {
  for (const place of opened) {
    if (opened.size <= limits.openDatabases) return;
    if (place.users > 0) continue;
    opened.delete(place);
    // To close one that workerd has closed would open it.
    if (Date.now() - place.usedAtMs > limits.idleMs) continue;
    place.closing = closeObject(place, env).finally(() => (place.closing = undefined));
  }
}

async function whereIs(database: string, env: Env): Promise<Response> {
  return (await find(database, env)) ? new Response(null, { status: 204 }) : elsewhere(database);
}

/** Ends the object of a database that left, once all that was asked of it is answered. */
async function closeWhenIdle(place: Place, env: Env): Promise<void> {
  const end = Date.now() + limits.callMs;
  while (place.users > 0) {
    if (Date.now() > end) throw new Error("the database is in use");
    await scheduler.wait(2);
  }
  await closeObject(place, env);
}

/** The object ends while it answers, so its answer is an error. */
async function closeObject({ id }: Place, env: Env): Promise<void> {
  await env.DATABASE.get(id)
    .close()
    .catch(() => {});
}

async function remove(database: string, place: Place, env: Env): Promise<void> {
  if (removed.size >= idsRemembered) removed.clear();
  removed.add(database);
  found.delete(database);
  try {
    await closeObject(place, env);
    for (const suffix of ["", "-wal", "-shm"]) {
      const { status } = await env.FILES.fetch(fileUrl(place.id, suffix), { method: "DELETE" });
      if (status >= 400 && status !== 404) throw new Error(`a file of ${database} could not be removed: ${status}`);
    }
  } catch (error) {
    removed.delete(database);
    throw error;
  }
}

function fileUrl(id: DurableObjectId, suffix: string): string {
  return `http://files/${namespaceKey}/${id.toString()}.sqlite${suffix}`;
}

function failure(status: number, error: string): Response {
  return Response.json({ success: false, error } satisfies Failure, { status });
}

/** Where to ask instead, or that there is no such database. */
function elsewhere(database: string): Response {
  const place = moved.get(database);
  if (place) {
    const { host, atMs, stalled } = place;
    const headers = {
      [movedHeaders.host]: String(host),
      [movedHeaders.atMs]: String(atMs),
      [movedHeaders.stalled]: String(stalled),
    };
    return new Response(null, { status: hostStatus.moved, headers });
  }
  return failure(hostStatus.noDatabase, `The database ${database} could not be found`);
}

/** The object ended before it answered. Texts of https://developers.cloudflare.com/d1/observability/debug-d1/. */
function reset(error: unknown): Response {
  const message = messageOf(error);
  // oxlint-disable-next-line no-console -- workerd writes it to the host's log.
  console.error(`a database was reset: ${message}`);
  // A commit that failed, as on a full disk, says so in SQLite's words; nothing of it was kept.
  if (/: SQLITE_[A-Z]+$/.test(message)) return failure(hostStatus.reset, message);
  const timeout = message.includes("blockConcurrencyWhile");
  return failure(
    hostStatus.reset,
    timeout ? timeoutText : "Internal error in D1 DB storage caused object to be reset.",
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
