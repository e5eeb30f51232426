import { sleep } from "#core/deadline.ts";
import type { EventCaller } from "#http/event-call.ts";
import { limits, type RunOutcome } from "#products/cron/schema.ts";

/** workerd's answer to a `scheduled` event. */
type ScheduledResult = { outcome: string; noRetry: boolean };

export type RunRequest = {
  accountId: string;
  script: string;
  cron: string;
  scheduledMs: number;
  /** When it is given up to be tried: the next slot, milliseconds since 1970. */
  untilMs: number;
};
export type RunResult = { outcome: RunOutcome; attempts: number; noRetry: boolean };

/**
 * Calls a Worker's `scheduled` handler. One that cannot be reached is asked again; one that throws is called again after
 * `limits.retriesMs`, unless it said `noRetry()`.
 */
export function cronRunner(events: EventCaller, now: () => number) {
  return async (request: RunRequest, signal: AbortSignal): Promise<RunResult> => {
    const { accountId, script, cron, scheduledMs, untilMs } = request;
    const event = `scheduled?${new URLSearchParams({ cron, time: String(scheduledMs) }).toString()}`;
    let attempts = 0;
    let unreachableMs: number = limits.unreachableMsMin;
    for (;;) {
      const answer = await events.call({ accountId, script, event }, signal);
      let waitMs: number | undefined = unreachableMs;
      let result: RunResult = { outcome: "unreached", attempts, noRetry: false };
      if (answer.kind === "unreached") unreachableMs = Math.min(2 * unreachableMs, limits.unreachableMsMax);
      else {
        const { outcome, noRetry } =
          answer.kind === "done"
            ? (JSON.parse(answer.body) as ScheduledResult)
            : { outcome: "unknown", noRetry: false };
        attempts++;
        result = { outcome, attempts, noRetry };
        waitMs = limits.retriesMs[attempts - 1];
        if (outcome === "ok" || noRetry) return result;
      }
      if (waitMs === undefined || now() + waitMs >= untilMs || signal.aborted) return result;
      await sleep(waitMs, signal).catch(() => undefined);
      if (signal.aborted) return result;
    }
  };
}

export type CronRunner = ReturnType<typeof cronRunner>;
