import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { messageOf } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";

const limits = {
  /** A process is started so long before the alarm that it is for. */
  leadMs: 100,
  /** Timers of Node end at 25 days; a longer wait is looked at again. */
  longestMs: 24 * 3600 * 1000,
  /** After a start that failed. */
  retryMs: 5000,
};

const log = createLogger("supervisor.alarms");

/** Starts owners that sleep in time for the next alarm of their objects, which workerd keeps in their files. */
export class Alarms {
  readonly #wake: (workerId: string) => Promise<void>;
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #reading = new Map<string, symbol>();

  constructor(wake: (workerId: string) => Promise<void>) {
    this.#wake = wake;
  }

  /** Reads when the objects in `folder`, of which no process runs, want to be woken, and sees to it. */
  plan(workerId: string, folder: string): void {
    this.forget(workerId);
    const turn = Symbol(workerId);
    this.#reading.set(workerId, turn);
    this.#read(workerId, folder, turn).catch((error: unknown) =>
      log.error("a Worker's alarms cannot be read", { workerId, error: messageOf(error) }),
    );
  }

  async #read(workerId: string, folder: string, turn: symbol): Promise<void> {
    const atMs = await nextAlarmMs(folder);
    // It was woken meanwhile, and what was read is of before.
    if (this.#reading.get(workerId) !== turn) return;
    this.#reading.delete(workerId);
    if (atMs !== undefined) this.#set(workerId, folder, atMs);
  }

  /** Its process runs: that sees to its own alarms. */
  forget(workerId: string): void {
    this.#reading.delete(workerId);
    clearTimeout(this.#timers.get(workerId));
    this.#timers.delete(workerId);
  }

  stop(): void {
    for (const workerId of [...this.#timers.keys(), ...this.#reading.keys()]) this.forget(workerId);
  }

  #set(workerId: string, folder: string, atMs: number): void {
    const waitMs = Math.max(0, atMs - Date.now() - limits.leadMs);
    const due = () => {
      this.#timers.delete(workerId);
      if (waitMs > limits.longestMs) return this.plan(workerId, folder);
      this.#wake(workerId).catch((error: unknown) => {
        log.error("a Worker could not be started for its alarm", { workerId, error: messageOf(error) });
        this.#set(workerId, folder, Date.now() + limits.retryMs);
      });
    };
    const timer = setTimeout(due, Math.min(waitMs, limits.longestMs));
    timer.unref();
    this.#timers.set(workerId, timer);
  }
}

/** The first alarm of all objects in `folder`, ms since 1970; undefined when there is none. */
async function nextAlarmMs(folder: string): Promise<number | undefined> {
  if (!existsSync(folder)) return undefined;
  const namespaces = await readdir(folder);
  const times = namespaces.flatMap((namespaceId) => firstOf(join(folder, namespaceId, "metadata.sqlite")) ?? []);
  return times.length === 0 ? undefined : Math.min(...times);
}

function firstOf(file: string): number | undefined {
  if (!existsSync(file)) return undefined;
  const db = new DatabaseSync(file);
  try {
    const known = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = '_cf_ALARM'").get();
    if (!known) return undefined;
    // Nanoseconds do not fit into a number: the database divides.
    const row = db.prepare("SELECT min(scheduled_time) / 1000000 AS ms FROM _cf_ALARM").get();
    return row?.["ms"] === null || row === undefined ? undefined : Number(row["ms"]);
  } finally {
    db.close();
  }
}
