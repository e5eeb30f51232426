import { expect, test } from "vitest";
import type { CronRunner } from "#products/cron/runner.ts";
import { limits, type Schedule } from "#products/cron/schema.ts";
import { Scheduler, type Clock } from "#products/cron/scheduler.ts";
import type { CronStore } from "#products/cron/store.ts";

/** A clock that goes when it is told to. */
class SteppedClock implements Clock {
  ms: number;
  #timers: { at: number; call: () => void }[] = [];

  constructor(ms: number) {
    this.ms = ms;
  }

  readonly now = () => this.ms;

  readonly after = (ms: number, call: () => void) => {
    const timer = { at: this.ms + ms, call };
    this.#timers.push(timer);
    return () => void (this.#timers = this.#timers.filter((one) => one !== timer));
  };

  /** To `ms`, calling what is due on the way at its time. */
  async goTo(ms: number): Promise<void> {
    for (;;) {
      const [next] = this.#timers.filter(({ at }) => at <= ms).toSorted((a, b) => a.at - b.at);
      if (!next) break;
      this.#timers = this.#timers.filter((one) => one !== next);
      this.ms = Math.max(this.ms, next.at);
      next.call();
      await settled();
    }
    this.ms = ms;
  }
}

const settled = async () => new Promise((resolve) => setImmediate(resolve));

const begin = Date.UTC(2026, 0, 1);
const minuteMs = 60_000;

/** The store's rule about slots, without a disk. */
function memoryStore(crons: string[], claimedMs = begin) {
  const schedules = crons.map((cron): Schedule => ({
    workerId: "worker",
    accountId: "account",
    script: "digest",
    cron,
    createdOn: "",
    modifiedOn: "",
    claimedMs,
  }));
  const ends: string[] = [];
  let ids = 0;
  const store: CronStore = {
    schedules: async () => schedules,
    replace: async () => {},
    claim: async ({ cron, scheduledMs, outcome }) => {
      const schedule = schedules.find((one) => one.cron === cron);
      if (!schedule || schedule.claimedMs >= scheduledMs) return undefined;
      schedule.claimedMs = scheduledMs;
      if (outcome !== undefined) ends.push(outcome);
      return ++ids;
    },
    begin: async () => ++ids,
    end: async ({ outcome }) => void ends.push(outcome),
    interrupt: async () => {},
    runs: async () => [],
  };
  return { store, schedules, ends };
}

function recorder() {
  const slots: number[] = [];
  const run: CronRunner = async ({ scheduledMs }) => {
    slots.push(scheduledMs);
    return { outcome: "ok", attempts: 1, noRetry: false };
  };
  return { slots, run };
}

test("ten thousand slots run once each, through restarts and a clock that is set back and forth", async () => {
  const { store } = memoryStore(["* * * * *"]);
  const { slots, run } = recorder();
  const clock = new SteppedClock(begin);
  let scheduler = new Scheduler(store, run, clock);
  await scheduler.start();
  for (let minute = 1; minute <= 10_000; minute++) {
    await clock.goTo(begin + minute * minuteMs);
    if (minute % 97 === 0) {
      scheduler.stop();
      scheduler = new Scheduler(store, run, clock);
      await scheduler.start();
    }
    // Five minutes back, as when a machine's clock is corrected: those slots have run.
    if (minute % 501 === 0) {
      clock.ms -= 5 * minuteMs;
      await scheduler.refresh();
    }
  }
  await scheduler.finished();
  expect(slots).toHaveLength(10_000);
  expect(new Set(slots).size).toBe(10_000);
  expect(slots.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 10_000 }, (_, i) => begin + (i + 1) * minuteMs));
  scheduler.stop();
});

test("of slots that passed while nothing ran the latest is made up for, once", async () => {
  const { store } = memoryStore(["*/5 * * * *", "0 2 * * *"], begin);
  const { slots, run } = recorder();
  const clock = new SteppedClock(begin + 8 * 3600_000 + 2 * minuteMs);
  const scheduler = new Scheduler(store, run, clock);
  await scheduler.start();
  await scheduler.finished();
  expect(slots.toSorted((a, b) => a - b)).toEqual([begin + 2 * 3600_000, begin + 8 * 3600_000]);
  await clock.goTo(clock.ms + 2 * minuteMs);
  expect(slots).toHaveLength(2);
  scheduler.stop();
});

test("a slot that is older than a day is not made up for", async () => {
  const { store } = memoryStore(["0 2 * * *", "0 0 1 * *"], begin);
  const { slots, run } = recorder();
  const clock = new SteppedClock(begin + 40 * 24 * 3600_000 + 3600_000);
  const scheduler = new Scheduler(store, run, clock);
  await scheduler.start();
  await scheduler.finished();
  // Yesterday's two o'clock, 23 hours ago; the first of the month is nine days past.
  expect(slots).toEqual([begin + 39 * 24 * 3600_000 + 2 * 3600_000]);
  scheduler.stop();
});

test("runs of one schedule that do not end are not piled up", async () => {
  const { store, ends } = memoryStore(["* * * * *"]);
  let running = 0;
  const stop = new AbortController();
  const run: CronRunner = async () => {
    running++;
    await new Promise((resolve) => stop.signal.addEventListener("abort", resolve));
    return { outcome: "ok", attempts: 1, noRetry: false };
  };
  const clock = new SteppedClock(begin);
  const scheduler = new Scheduler(store, run, clock);
  await scheduler.start();
  await clock.goTo(begin + 10 * minuteMs);
  expect(running).toBe(limits.runsAtOnce);
  expect(ends).toEqual(Array.from({ length: 10 - limits.runsAtOnce }, () => "skipped"));
  stop.abort();
  await scheduler.finished();
  scheduler.stop();
});
