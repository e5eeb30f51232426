import { pollUntil } from "#core/deadline.ts";
import type { DataLayout } from "#core/layout.ts";
import { createLogger } from "#core/log.ts";
import type { Database } from "#db/database.ts";
import { moveFiles, objectIdOf, writeMoved } from "#products/d1/database-files.ts";
import type { D1Hosts, Place } from "#products/d1/host-client.ts";
import { isAlive, lockHolder, openObjects } from "#products/d1/host-process.ts";
import { limits } from "#products/d1/limits.ts";
import * as writes from "#products/d1/writes.ts";

const log = createLogger("d1.moves");

/** How a host of its own is made ready, and a host with a query that takes too long is ended. */
export type MoveParts = {
  db: Database;
  hosts: Pick<D1Hosts, "leave">;
  data: Pick<DataLayout, "d1Host" | "d1Lock">;
  /** Nobody may read the database's file any more. */
  interrupt: (databaseId: string) => Promise<void>;
  /** Resolves when the host serves. */
  startHost: (host: number) => Promise<void>;
};

/**
 * Takes databases from one host to another. Who asks at the old place is sent on, and waits for the moment in which the
 * database is at neither. What was begun is finished by `resume` after a crash.
 */
export class Moves {
  readonly #parts: MoveParts;

  constructor(parts: MoveParts) {
    this.#parts = parts;
  }

  /** Moves the database at `place` once it is idle. */
  async move(place: Place, to: number): Promise<void> {
    await this.#begin(place, to);
    await this.#finish(place, to);
  }

  /** Ends the process `pid` of the host that has `places`, which run queries that do not end, and moves those. */
  async evict(places: readonly Place[], to: number, pid: number): Promise<void> {
    const { data } = this.#parts;
    for (const place of places) {
      await this.#begin(place, to);
      await writeMoved(data.d1Host(place.host), place.id, { host: to, atMs: Date.now(), stalled: true });
    }
    process.kill(pid, "SIGKILL");
    await pollUntil({ ms: limits.moveMs, everyMs: 2, what: "the end of a d1 host" }, () =>
      isAlive(pid) ? undefined : true,
    );
    for (const place of places) await this.#place(place, to);
  }

  /** Goes on with moves that an earlier process began. */
  async resume(): Promise<void> {
    const rows = this.#parts.db.prepare("SELECT id, from_host, to_host FROM d1_moves").all();
    for (const row of rows) {
      const place = { id: String(row["id"]), host: Number(row["from_host"]) };
      log.info("goes on with a move", { database: place.id });
      await this.#parts.startHost(place.host);
      await this.#parts.startHost(Number(row["to_host"]));
      await this.#finish(place, Number(row["to_host"]));
    }
  }

  async #begin({ id, host }: Place, to: number): Promise<void> {
    await this.#parts.startHost(to);
    await this.#parts.db.write(writes.beginMove, { id, from: host, to });
  }

  async #finish(place: Place, to: number): Promise<void> {
    const { hosts, data } = this.#parts;
    await writeMoved(data.d1Host(place.host), place.id, { host: to, atMs: Date.now(), stalled: false });
    await hosts.leave(place, to);
    const object = objectIdOf(place.id);
    // Two processes with one database open would destroy it: the object must be gone, and not only about to go.
    await pollUntil({ ms: limits.moveMs, everyMs: 2, what: "closing a database" }, () => {
      const pid = lockHolder(data.d1Lock(place.host));
      return pid !== undefined && openObjects(pid).includes(object) ? undefined : true;
    });
    await this.#place(place, to);
  }

  async #place({ id, host }: Place, to: number): Promise<void> {
    const { db, data, interrupt } = this.#parts;
    await interrupt(id);
    await moveFiles(data.d1Host(host), data.d1Host(to), id);
    await db.write(writes.endMove, { id, to, now: Date.now() });
    log.info("a database has moved", { database: id, from: host, to });
  }
}
