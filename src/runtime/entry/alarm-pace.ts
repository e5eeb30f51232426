/** How often alarms of one object may run: a loop of alarms would otherwise take a core for ever, and nobody would know. */
const limits = {
  /** In a row. */
  burst: 300,
  /** And so many a second after that. */
  perSecond: 5,
  /** Between two words about it in the log. */
  tellMs: 60_000,
};

/** What an alarm that comes too soon is told in its Worker's log. */
export const alarmAlert =
  `Alarms of this Durable Object come in a loop: they are slowed down to ${limits.perSecond} a second. ` +
  "An alarm() that sets the next alarm to now, or throws each time, does this.";

/** The pace of one object's alarms. */
export class AlarmPace {
  #left = limits.burst;
  #atMs: number;
  #toldMs: number | undefined;

  constructor(nowMs: number) {
    this.#atMs = nowMs;
  }

  /** Takes the turn of an alarm that is due now: how long it has to wait for it, and whether it is time to say so. */
  next(nowMs: number): { waitMs: number; tell: boolean } {
    this.#left = Math.min(limits.burst, this.#left + ((nowMs - this.#atMs) * limits.perSecond) / 1000) - 1;
    this.#atMs = nowMs;
    if (this.#left >= 0) return { waitMs: 0, tell: false };
    const tell = this.#toldMs === undefined || nowMs - this.#toldMs >= limits.tellMs;
    if (tell) this.#toldMs = nowMs;
    return { waitMs: (-this.#left * 1000) / limits.perSecond, tell };
  }
}
