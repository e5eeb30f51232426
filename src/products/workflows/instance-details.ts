import { workflowError } from "#products/workflows/engine-manner.ts";
import { isFinished, type EngineMeta, type InstanceOrigin } from "#products/workflows/instance-record.ts";

/** An entry of an instance's history, as the engine writes it. */
export type HistoryEvent = {
  type: string;
  timestamp: number;
  stepName?: string;
  config?: unknown;
  output?: unknown;
  error?: { name: string; message: string };
  durationMs?: number;
  eventType?: string;
};

export type Snapshot = {
  meta: EngineMeta;
  origin: InstanceOrigin;
  history: HistoryEvent[];
  /** What came for a step that waited for an event, by the step's name. */
  received: Record<string, unknown>;
};

type Failure = { name: string; message: string };
type Attempt = { start: string; end: string | null; success: boolean | null; error: Failure | null };
type Step = { type: string; name?: string; start?: string; end?: string | null } & Record<string, unknown>;

/** An instance as Cloudflare shows it, https://developers.cloudflare.com/api/resources/workflows/subresources/instances/methods/get/. */
export function instanceDetails(
  { meta, origin, history, received }: Snapshot,
  { order, simple }: { order: "asc" | "desc"; simple: boolean },
) {
  const { status } = meta;
  const steps = stepsOf(history, received);
  const ended = isFinished(status) ? history.findLast(({ type }) => endings.has(type)) : undefined;
  const started = history.find(({ type }) => type === "workflow_started");
  return {
    status,
    params: meta.params ?? null,
    trigger: { source: origin.source },
    ...(origin.schedule ? { schedule: origin.schedule } : {}),
    versionId: origin.version,
    queued: time(meta.created),
    start: started ? time(started.timestamp) : null,
    end: ended ? time(ended.timestamp) : null,
    success: isFinished(status) ? status === "complete" : null,
    error: meta.error ?? null,
    output: meta.output ?? null,
    rollback: rollbackOf(history),
    step_count: steps.length,
    steps: simple ? [] : order === "asc" ? steps : steps.toReversed(),
  };
}

/** One step of an instance by itself, https://developers.cloudflare.com/api/resources/workflows/subresources/instances/methods/step/. */
export function stepDetails(snapshot: Snapshot, { name, type }: { name: string; type: "step" | "waitForEvent" }) {
  const step = stepsOf(snapshot.history, snapshot.received).find((one) => one.name === name && one.type === type);
  if (!step) throw workflowError("instance.step_not_found", `There is no step "${name}"`);
  const waits = type === "waitForEvent";
  const failure = step["error"] ?? (step["attempts"] as Attempt[] | undefined)?.at(-1)?.error ?? null;
  const isDone = step["success"] === true || (waits && step["finished"] === true && failure === null);
  const isFailed = step["success"] === false || (waits && failure !== null);
  return {
    status: isDone ? "complete" : isFailed ? "errored" : waits ? "waiting" : "running",
    error: isDone ? null : failure,
    output: isDone ? step["output"] : null,
    ...(waits ? { event_type: step["event_type"] } : {}),
  };
}

const endings = new Set(["workflow_completed", "workflow_errored", "workflow_terminated"]);

function stepsOf(history: readonly HistoryEvent[], received: Record<string, unknown>): Step[] {
  const steps: Step[] = [];
  const open = (prefix: string, name: string | undefined) =>
    steps.findLast((step) => step.name === name && kindOf[step.type] === prefix);
  for (const event of history) {
    const at = time(event.timestamp);
    const { stepName: name } = event;
    const [, prefix = "", what = ""] =
      /^(.+)_([a-z]+)$/.exec(event.type.replace("wait_timed_out", "wait_expired")) ?? [];
    const step = open(prefix.replace("attempt", "step"), name);
    const attempts = (step?.["attempts"] ?? []) as Attempt[];
    const attempt = attempts.at(-1);
    switch (`${prefix.replace("rollback_", "")} ${what}`) {
      case "step started": {
        const type = prefix === "step" ? "step" : "rollback";
        const shown = { config: event.config ?? null, attempts: [] as Attempt[], output: null };
        steps.push({ type, name: name ?? "", start: at, end: null, success: null, ...shown });
        break;
      }
      case "attempt started":
        attempts.push({ start: at, end: null, success: null, error: null });
        break;
      case "attempt completed":
        if (attempt) Object.assign(attempt, { end: at, success: true });
        break;
      case "attempt errored":
        if (attempt) Object.assign(attempt, { end: at, success: false, error: event.error ?? null });
        break;
      case "step completed":
        if (step) Object.assign(step, { end: at, success: true, output: event.output ?? null });
        break;
      case "step errored":
        if (step) Object.assign(step, { end: at, success: false });
        break;
      case "sleep started": {
        const end = time(event.timestamp + (event.durationMs ?? 0));
        steps.push({ type: "sleep", name: name ?? "", start: at, end, finished: false, error: null });
        break;
      }
      case "sleep completed":
        if (step) Object.assign(step, { end: at, finished: true });
        break;
      case "wait started": {
        const waiting = { finished: false, error: null, output: null, event_type: event.eventType };
        steps.push({ type: "waitForEvent", name: name ?? "", start: at, end: null, ...waiting });
        break;
      }
      case "wait completed":
        if (step) Object.assign(step, { end: at, finished: true, output: received[name ?? ""] ?? null });
        break;
      case "wait expired": {
        const error = { name: "WorkflowTimeoutError", message: "No event came in time" };
        if (step) Object.assign(step, { end: at, finished: true, error });
        break;
      }
      case "workflow terminated":
        steps.push({ type: "termination", trigger: { source: "user" } });
        break;
    }
  }
  return steps;
}

/** What the events of a kind of step begin with. */
const kindOf: Record<string, string> = {
  step: "step",
  rollback: "rollback_step",
  sleep: "sleep",
  waitForEvent: "wait",
};

function rollbackOf(history: readonly HistoryEvent[]) {
  const end = history.findLast(({ type }) => type === "rollback_completed" || type === "rollback_errored");
  if (!end) return null;
  const failed = history.findLast(({ type }) => type === "rollback_step_errored");
  const isDone = end.type === "rollback_completed";
  return { outcome: isDone ? "complete" : "failed", error: isDone ? null : (failed?.error ?? null) };
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}
