import { once } from "node:events";
import { Agent, request, type ClientRequest, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { bindHeader } from "#core/binding-piece.ts";
import { signCapability } from "#core/capability.ts";
import { sleep } from "#core/deadline.ts";
import { systemCode } from "#core/errors.ts";
import { d1Errors, isNotFound } from "#products/d1/errors.ts";
import {
  capabilityKinds,
  hostPaths,
  hostStatus,
  readMoved,
  wholeHost,
  type Failure,
  type Imported,
  type Meta,
  type Moved,
  type Query,
  type Sizes,
} from "#products/d1/host-protocol.ts";
import { limits } from "#products/d1/limits.ts";
import { onlyReads } from "#products/d1/sql-text.ts";
import type { QueryUsage } from "#products/d1/usage.ts";

/** Where a database is: which host, and its id. */
export type Place = { host: number; id: string };

export type ColumnResult = { success: true; results: { columns: string[]; rows: unknown[][] }; meta: Meta };
export type ObjectResult = { success: true; results: Record<string, unknown>[]; meta: Meta };

/** The d1 hosts, for the control process. Errors are d1Errors. */
export interface D1Hosts {
  create(place: Place): Promise<void>;
  /** Removes the database's files. No error when there are none. */
  remove(place: Place): Promise<void>;
  sizes(place: Place, signal?: AbortSignal): Promise<Sizes>;
  /** One result for each statement; all are one transaction. */
  queryObjects(place: Place, queries: readonly Query[]): Promise<ObjectResult[]>;
  queryColumns(place: Place, queries: readonly Query[]): Promise<ColumnResult[]>;
  /** Closes the database at `place` and sends everybody to host `to`. */
  leave(place: Place, to: number): Promise<void>;
  /** Runs all statements of `file` in one transaction. */
  import(place: Place, file: { stream: AsyncIterable<Uint8Array>; bytes: number }): Promise<Imported>;
  /** What the databases of `host` have done since this was last called. */
  usage(host: number, signal: AbortSignal): Promise<QueryUsage[]>;
  /** Resolves when `host` answers, which it cannot while a query runs. */
  ready(host: number, signal: AbortSignal): Promise<void>;
  close(): void;
}

type Call = {
  method: "GET" | "PUT" | "POST" | "DELETE";
  path: string;
  body?: string | { stream: AsyncIterable<Uint8Array>; bytes: number };
  /** It may be sent again when its answer is lost. */
  repeatable: boolean;
  ms?: number;
  signal?: AbortSignal;
};

/** `socketOf` tells the socket of a host's number; `scope` names this client in its capabilities. */
export function d1Hosts(options: {
  socketOf: (host: number) => string;
  capabilityKey: Buffer;
  scope: string;
}): D1Hosts {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const callAt = async ({ host, id }: Place, what: Call, signal: AbortSignal): Promise<unknown> => {
    const capability = { kind: capabilityKinds.admin, scope: options.scope, resource: id };
    const headers = { [bindHeader]: signCapability(options.capabilityKey, capability) };
    return exchange({ agent, socketPath: options.socketOf(host), headers, signal, database: id }, what);
  };
  /** `callAt`, and where the database went when it is elsewhere. */
  const callHere = async (place: Place, what: Call, signal: AbortSignal): Promise<unknown> => {
    try {
      return await callAt(place, what, signal);
    } catch (error) {
      if (!(error instanceof LostError)) throw error;
      if (what.repeatable) return callAt(place, what, signal);
      // It may be known why.
      await callAt(place, { method: "GET", path: hostPaths.where, repeatable: true }, signal).catch(
        (reason: unknown) => {
          if (reason instanceof MovedError && reason.moved.stalled) throw reason;
        },
      );
      throw d1Errors.connectionLost(error);
    }
  };
  const call = async <Answer>(first: Place, what: Call): Promise<Answer> => {
    const deadline = AbortSignal.timeout(what.ms ?? limits.callMs);
    const signal = what.signal ? AbortSignal.any([what.signal, deadline]) : deadline;
    const beganMs = Date.now();
    let place = first;
    let arriving: Moved | undefined;
    for (;;) {
      try {
        return (await callHere(place, what, signal)) as Answer;
      } catch (error) {
        if (signal.aborted) throw d1Errors.timeout(error);
        if (error instanceof MovedError) {
          if (error.moved.stalled && error.moved.atMs >= beganMs) throw d1Errors.timeout(error);
          arriving = error.moved;
          place = { ...place, host: arriving.host };
        } else if (arriving && isNotFound(error) && Date.now() < arriving.atMs + limits.moveMs) {
          await sleep(25, signal);
        } else throw error;
      }
    }
  };
  const statements = (queries: readonly Query[], format: string): Call => ({
    method: "POST",
    path: `${hostPaths.statements}?resultsFormat=${format}`,
    body: JSON.stringify(queries),
    repeatable: queries.every(({ sql }) => onlyReads(sql)),
  });
  return {
    create: (place) => call(place, { method: "PUT", path: hostPaths.database, repeatable: true }),
    remove: (place) => call(place, { method: "DELETE", path: hostPaths.database, repeatable: true }),
    sizes: (place, signal) =>
      call(place, { method: "GET", path: hostPaths.database, repeatable: true, ...(signal ? { signal } : {}) }),
    queryObjects: (place, queries) => call(place, statements(queries, "ARRAY_OF_OBJECTS")),
    queryColumns: (place, queries) => call(place, statements(queries, "ROWS_AND_COLUMNS")),
    async leave(place, to) {
      const body = JSON.stringify({ host: to });
      await call(place, { method: "POST", path: hostPaths.leave, body, repeatable: true });
    },
    import: (place, file) =>
      call(place, { method: "POST", path: hostPaths.import, body: file, repeatable: false, ms: limits.importMs }),
    usage: (host, signal) =>
      call({ host, id: wholeHost }, { method: "GET", path: hostPaths.usage, repeatable: false, signal }),
    async ready(host, signal) {
      const target = { agent, socketPath: options.socketOf(host), headers: {}, signal, database: "" };
      await exchange(target, { method: "GET", path: hostPaths.health, repeatable: true });
    },
    close: () => agent.destroy(),
  };
}

/** The connection ended after something was sent and before the answer was here. */
class LostError extends Error {
  override readonly name = "LostError";
}

/** The database is at another host, and nothing was run. */
class MovedError extends Error {
  override readonly name = "MovedError";
  readonly moved: Moved;

  constructor(moved: Moved) {
    super(`the database is at host ${moved.host}`);
    this.moved = moved;
  }
}

type Target = {
  agent: Agent;
  socketPath: string;
  headers: Record<string, string>;
  signal: AbortSignal;
  database: string;
};

async function exchange(target: Target, { method, path, body }: Call): Promise<unknown> {
  const { agent, socketPath, signal } = target;
  const length = body === undefined ? 0 : typeof body === "string" ? Buffer.byteLength(body) : body.bytes;
  const headers = { ...target.headers, "content-length": length };
  const outgoing = await connect(() => request({ agent, socketPath, headers, method, path, signal }), signal);
  try {
    const answered = once(outgoing, "response", { signal });
    if (typeof body === "object") void sendStream(outgoing, body.stream);
    else outgoing.end(body);
    const [response] = (await answered) as [IncomingMessage];
    const text = Buffer.concat((await response.toArray()) as Buffer[]).toString();
    if (response.statusCode === 200) return JSON.parse(text);
    if (response.statusCode === 204) return undefined;
    const moved = readMoved(response.statusCode ?? 0, (name) => response.headers[name]?.toString());
    if (moved) throw new MovedError(moved);
    throw failure(response.statusCode ?? 0, text, target.database);
  } catch (error) {
    throw systemCode(error) === undefined
      ? error
      : new LostError("the connection to a d1 host was lost", { cause: error });
  }
}

/** A host that refuses early closes the connection: its answer counts, not our broken pipe. */
async function sendStream(outgoing: ClientRequest, stream: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    await pipeline(Readable.from(stream), outgoing);
  } catch (error) {
    outgoing.destroy(error instanceof Error ? error : undefined);
  }
}

function failure(status: number, text: string, database: string): Error {
  let message: string;
  try {
    message = (JSON.parse(text) as Failure).error;
  } catch {
    return new Error(`a d1 host answered ${status}`);
  }
  if (status === hostStatus.refused) return d1Errors.query(message);
  if (status === hostStatus.noDatabase) return d1Errors.notFound(database);
  if (status === hostStatus.overloaded) return d1Errors.overloaded(message);
  if (status === hostStatus.reset) return d1Errors.reset(message);
  return new Error(`a d1 host answered ${status}: ${message}`);
}

/** A request whose connection stands. Waits while nobody listens, which is so for a moment after a crash. */
async function connect(open: () => ClientRequest, signal: AbortSignal): Promise<ClientRequest> {
  const end = performance.now() + limits.restartMs;
  for (;;) {
    const outgoing = open();
    outgoing.on("error", () => {}); // Whoever waits for the answer is told; an unheard event would end the process.
    try {
      const [socket] = (await once(outgoing, "socket", { signal })) as [Socket];
      if (socket.connecting) await once(socket, "connect", { signal });
      return outgoing;
    } catch (error) {
      const code = systemCode(error);
      if (code !== "ECONNREFUSED" && code !== "ENOENT") throw error;
      if (performance.now() > end) throw d1Errors.hostDown(error);
      await sleep(25, signal);
    }
  }
}
