/** https://developers.cloudflare.com/workflows/reference/limits/. */
export const limits = {
  nameBytes: 64,
  /** Of an account. */
  workflows: 10_000,
  /** Steps of an instance, unless `limits.steps` says otherwise, and the most that may be asked for. */
  stepsDefault: 10_000,
  stepsMax: 25_000,
  /** Of an instance's parameters, an event's payload and a step's result, as JSON. */
  valueBytes: 1024 * 1024,
  /** Of a request: a batch of instances with their parameters. */
  bodyBytes: 100 * 1024 * 1024,
  batch: 100,
  listPage: 25,
  listPageMax: 100,
  /** Cron expressions of one Workflow. */
  schedules: 100,
  versionsKept: 100,
} as const;

/** An instance's id as the engine takes it. */
export function isInstanceId(id: string): boolean {
  return id.length <= 100 && /^[a-zA-Z0-9_][a-zA-Z0-9-_]*$/.test(id);
}
