import { createLogger } from "#core/log.ts";
import { parseCron, type CronExpression } from "#products/cron/expression.ts";
import type { CronRunner } from "#products/cron/runner.ts";
import { limits, type Schedule } from "#products/cron/schema.ts";
import type { CronStore } from "#products/cron/store.ts";

const log = createLogger("cron.scheduler");

/** The time, milliseconds since 1970, and a way to be called later; answers how to call that off. */
export type Clock = { now: () => number; after: (ms: number, call: () => void) => () => void };

const systemClock: Clock = {
  now: () => Date.now(),
  after: (ms, call) => {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
};

/** Where slots are kept: of Workers' cron triggers, or of other schedules. */
export type SlotStore = Pick<CronStore, "schedules" | "claim" | "end" | "interrupt">;

/** The clock is looked at so often whatever is due: it may have been set. */
const longestWaitMs = 30_000;

type Entry = { schedule: Schedule; expression: CronExpression; nextMs: number | undefined; running: number };

/**
 * Runs every slot of every schedule once. A slot is claimed on disk before its handler is called, so it is never run twice,
 * whatever is killed. Of slots that passed while nothing ran, the latest is made up for when it is no older than
 * `limits.missedMs`; the others are left out.
 */
export class Scheduler {
  readonly #store: SlotStore;
  readonly #run: CronRunner;
  readonly #clock: Clock;
  readonly #stopping = new AbortController();
  #entries = new Map<string, Entry>();
  #callOff: (() => void) | undefined;
  readonly #runs = new Set<Promise<void>>();

  constructor(store: SlotStore, run: CronRunner, clock: Clock = systemClock) {
    this.#store = store;
    this.#run = run;
    this.#clock = clock;
  }

  async start(): Promise<void> {
    await this.#store.interrupt(this.#clock.now());
    await this.refresh();
  }

  /** Which schedules there are has changed. */
  async refresh(): Promise<void> {
    const before = this.#entries;
    const entries = new Map<string, Entry>();
    for (const schedule of await this.#store.schedules()) {
      const key = `${schedule.workerId} ${schedule.cron}`;
      const known = before.get(key);
      const expression = known?.expression ?? parseCron(schedule.cron);
      if (!expression) {
        log.error("a stored schedule cannot be read", { cron: schedule.cron, script: schedule.script });
        continue;
      }
      const nextMs = known ? known.nextMs : expression.nextAfter(schedule.claimedMs);
      entries.set(key, { schedule, expression, nextMs, running: known?.running ?? 0 });
    }
    this.#entries = entries;
    this.#look();
  }

  /** Begins nothing more. What is under way goes on in its Worker; how it ends is not known then. */
  stop(): void {
    this.#stopping.abort();
    this.#callOff?.();
  }

  /** Resolves when no run is under way. */
  async finished(): Promise<void> {
    while (this.#runs.size > 0) await Promise.all(this.#runs);
  }

  readonly #look = (): void => {
    this.#callOff?.();
    if (this.#stopping.signal.aborted) return;
    const now = this.#clock.now();
    for (const entry of this.#entries.values()) if ((entry.nextMs ?? Infinity) <= now) this.#begin(entry, now);
    const next = Math.min(...[...this.#entries.values()].map(({ nextMs = Infinity }) => nextMs));
    if (next === Infinity) return;
    this.#callOff = this.#clock.after(Math.max(1, Math.min(next - now, longestWaitMs)), this.#look);
  };

  /** The latest slot that is due, if it is not too old. */
  #begin(entry: Entry, now: number): void {
    const { expression, schedule } = entry;
    let slot: number | undefined;
    let passed = 0;
    let next = Math.max(entry.nextMs ?? Infinity, expression.nextAfter(now - limits.missedMs) ?? Infinity);
    for (; next <= now; next = expression.nextAfter(next) ?? Infinity) {
      slot = next;
      passed++;
    }
    entry.nextMs = next;
    if (passed > 1) log.warn("slots were missed", { script: schedule.script, cron: schedule.cron, missed: passed - 1 });
    if (slot === undefined) return;
    const tracked: Promise<void> = this.#carryOut(entry, slot)
      .catch((error: unknown) => log.error("a run failed", { script: schedule.script, cron: schedule.cron, error }))
      .finally(() => this.#runs.delete(tracked));
    this.#runs.add(tracked);
  }

  async #carryOut(entry: Entry, scheduledMs: number): Promise<void> {
    const { schedule, expression } = entry;
    const { workerId, accountId, script, cron } = schedule;
    const isTooMany = entry.running >= limits.runsAtOnce;
    entry.running++;
    try {
      const claim = { workerId, cron, scheduledMs, nowMs: this.#clock.now() };
      const id = await this.#store.claim(isTooMany ? { ...claim, outcome: "skipped" } : claim);
      // Not a slot any more: the schedule is gone, or the clock went back.
      if (id === undefined || isTooMany) return;
      const untilMs = Math.min(expression.nextAfter(scheduledMs) ?? Infinity, scheduledMs + limits.tryMs);
      const result = await this.#run({ accountId, script, cron, scheduledMs, untilMs }, this.#stopping.signal);
      if (this.#stopping.signal.aborted) return;
      const { outcome, attempts } = result;
      await this.#store.end({ id, outcome, attempts, nowMs: this.#clock.now() });
    } finally {
      // The schedule may have been read anew meanwhile.
      const current = this.#entries.get(`${workerId} ${cron}`) ?? entry;
      current.running--;
    }
  }
}
