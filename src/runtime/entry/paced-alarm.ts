import { alarmAlert, AlarmPace } from "#runtime/entry/alarm-pace.ts";
import type { Runner } from "#runtime/entry/runner.ts";

// User code may replace these later; what runs around it must not notice.
const { now } = Date;
const { setTimeout } = globalThis;
const { apply } = Reflect;

const paces = new WeakMap<object, AlarmPace>();

/** The `alarm` handler `run` of `object`, which waits its turn when they come in a loop; that is said in the log. */
export function pacedAlarm(run: Function, runner: Runner, object: object): Function {
  return (...args: unknown[]): unknown => {
    // A call of the object's own.
    if (runner.current?.instance === object) return apply(run, object, args);
    const pace = paces.get(object) ?? new AlarmPace(now());
    paces.set(object, pace);
    const { waitMs, tell } = pace.next(now());
    if (tell) runner.recorder.log(undefined, "warn", [alarmAlert]);
    return waitMs === 0 ? apply(run, object, args) : after(waitMs, () => apply(run, object, args) as unknown);
  };
}

async function after(ms: number, work: () => unknown): Promise<unknown> {
  await new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
  return work();
}
