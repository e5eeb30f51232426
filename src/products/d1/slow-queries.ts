import { sleep } from "#core/deadline.ts";
import type { DataLayout } from "#core/layout.ts";
import { createLogger } from "#core/log.ts";
import type { Database } from "#db/database.ts";
import { objectIdOf } from "#products/d1/database-files.ts";
import type { Place } from "#products/d1/host-client.ts";
import { cpuMs, lockHolder, runningObjects } from "#products/d1/host-process.ts";
import { limits } from "#products/d1/limits.ts";
import type { Moves } from "#products/d1/moves.ts";

const log = createLogger("d1.slow-queries");

type Parts = {
  db: Database;
  data: Pick<DataLayout, "d1Lock">;
  moves: Pick<Moves, "move" | "evict">;
  /** Whether a host answers; it cannot while a query runs. Rejects when `signal` aborts or nobody listens. */
  ask: (host: number, signal: AbortSignal) => Promise<void>;
  /** New databases go to the hosts below `shared`; those from there to `all` are for slow ones. */
  hosts: { shared: number; all: number };
  startHost: (host: number) => Promise<void>;
};

/** An answer that does not come, and the databases that were seen running queries meanwhile. */
type Stall = { sinceMs: number; pid: number; cpuMs: number; running: Place[] };

/**
 * Keeps slow queries from holding up other databases. A host runs one query at a time, so that whatever makes it fail to
 * answer is a query: the kernel knows of which database. Such a database gets a host of its own, when its query ends or when
 * others have waited for long enough.
 */
export function watchSlowQueries(parts: Parts): { stop(): Promise<void> } {
  const stopping = new AbortController();
  const { signal } = stopping;
  const watched = new Map<number, Promise<void>>();
  const look = async () => {
    while (!signal.aborted) {
      const rows = parts.db.prepare("SELECT DISTINCT host FROM d1_databases").all();
      for (const host of rows.map((row) => Number(row["host"])))
        if (!watched.has(host)) watched.set(host, watchHost(parts, host, signal));
      await sleep(limits.watchMs, signal).catch(() => undefined);
    }
  };
  const looking = look();
  return {
    async stop() {
      stopping.abort();
      await looking;
      await Promise.all(watched.values());
    },
  };
}

async function watchHost(parts: Parts, host: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const stall = await untilAnswer(parts, host, signal);
      const [slow] = stall?.running ?? [];
      if (slow && !isAlone(parts, host)) await parts.moves.move(slow, ownHost(parts));
    } catch (error) {
      if (!signal.aborted) log.error("a slow query could not be dealt with", { host, error });
    }
    await sleep(limits.watchMs, signal).catch(() => undefined);
  }
}

/** Asks `host` once, and waits for its answer. What was running when that took long. */
async function untilAnswer(parts: Parts, host: number, signal: AbortSignal): Promise<Stall | undefined> {
  const asking = new AbortController();
  let answered = false;
  const answer = parts
    .ask(host, AbortSignal.any([signal, asking.signal]))
    // Nobody listens: it is being started, which is not for us to mend.
    .catch(() => undefined)
    .finally(() => (answered = true));
  const askedMs = performance.now();
  let stall: Stall | undefined;
  try {
    while (!signal.aborted) {
      await Promise.race([answer, sleep(limits.watchMs / 2)]);
      if (answered) return stall;
      const forMs = performance.now() - askedMs;
      if (forMs >= limits.slowMs) stall = await watchStall(parts, host, stall);
      if (stall && (await endStall(parts, host, stall))) return undefined;
    }
    return undefined;
  } finally {
    asking.abort();
  }
}

/** What is known of a stall after another look. */
async function watchStall(parts: Parts, host: number, before: Stall | undefined): Promise<Stall | undefined> {
  const pid = before?.pid ?? lockHolder(parts.data.d1Lock(host));
  if (pid === undefined) return undefined;
  const objects = new Set(runningObjects(pid));
  const running = placesAt(parts, host).filter(({ id }) => objects.has(objectIdOf(id)));
  // It is to be there when the query ends, or is ended.
  if (!before && running.length > 0 && !isAlone(parts, host)) await parts.startHost(ownHost(parts));
  return before && running.length === 0
    ? before
    : {
        sinceMs: before?.sinceMs ?? performance.now() - limits.slowMs,
        pid,
        cpuMs: before?.cpuMs ?? cpuMs(pid),
        running,
      };
}

/** Ends the process when its query has taken all the time that it may. */
async function endStall(parts: Parts, host: number, { sinceMs, pid, cpuMs: before, running }: Stall): Promise<boolean> {
  const forMs = performance.now() - sinceMs;
  if (isAlone(parts, host)) {
    if (forMs < limits.callMs || running.length === 0) return false;
    log.warn("a d1 host is ended: a query takes longer than it may", { host, databases: running.map(({ id }) => id) });
    process.kill(pid, "SIGKILL");
    return true;
  }
  const busy = running.length > 0 && cpuMs(pid) - before > (forMs - limits.slowMs) / 10;
  if (forMs < (busy ? limits.stallMs : limits.otherStallMs)) return false;
  log.warn("a d1 host is ended: a query holds up other databases", {
    host,
    databases: running.map(({ id }) => id),
    forMs: Math.round(forMs),
  });
  await parts.moves.evict(running, ownHost(parts), pid);
  return true;
}

/** Whether nobody but the slow have to wait at `host`. */
function isAlone(parts: Parts, host: number): boolean {
  return host >= parts.hosts.shared || placesAt(parts, host).length <= 1;
}

function placesAt({ db }: Parts, host: number): Place[] {
  return db
    .prepare("SELECT id FROM d1_databases WHERE host = ?")
    .all(host)
    .map((row) => ({ id: String(row["id"]), host }));
}

/** The host for a slow database: one without any, else the one with the fewest. The same answer until something moves. */
function ownHost({ db, hosts: { shared, all } }: Parts): number {
  let best = shared;
  let fewest = Number.POSITIVE_INFINITY;
  for (let host = shared; host < all; host++) {
    const n = Number(db.prepare("SELECT count(*) AS n FROM d1_databases WHERE host = ?").get(host)?.["n"]);
    if (n < fewest) [best, fewest] = [host, n];
  }
  return best;
}
