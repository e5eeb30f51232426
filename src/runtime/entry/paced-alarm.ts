import { alarmAlert, AlarmPace } from "#runtime/entry/alarm-pace.ts";
import type { Runner } from "#runtime/entry/runner.ts";

// User code may replace these later; what runs around it must not notice.
const { now } = Date;
const { setTimeout } = globalThis;
const { apply } = Reflect;

const paces = new WeakMap<object, AlarmPace>();

/** The `alarm` handler `run`, which waits its turn when those of its object come in a loop; that is said in the log. */
export function pacedAlarm(run: Function, runner: Runner): Function {
  return function (this: object, ...args: unknown[]): unknown {
    // A call of the object's own.
    if (runner.current?.instance === this) return apply(run, this, args);
    const pace = paces.get(this) ?? new AlarmPace(now());
    paces.set(this, pace);
    const { waitMs, tell } = pace.next(now());
    if (tell) runner.recorder.log(undefined, "warn", [alarmAlert]);
    return waitMs === 0 ? apply(run, this, args) : after(waitMs, () => apply(run, this, args) as unknown);
  };
}

async function after(ms: number, work: () => unknown): Promise<unknown> {
  await new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
  return work();
}
