import type { instanceStatuses } from "#products/workflows/schema.ts";

export type InstanceStatus = (typeof instanceStatuses)[number];

/** What the engine keeps of an instance, as far as we read it. Times are ms since 1970. */
export type EngineMeta = {
  id: string;
  params: unknown;
  created: number;
  status: InstanceStatus;
  /** Of one that rests: until when. Its `run()` is not in memory. */
  dormant?: number;
  /** Of a finished one: when it is removed. */
  expires?: number;
  output?: unknown;
  error?: { name: string; message: string };
};

/** Where an instance came from. */
export type InstanceOrigin = {
  source: "api" | "binding" | "cron";
  /** Of its Worker, when it was made. */
  version: string;
  schedule?: { cron: string; scheduledTime: number };
};

/** An instance in the list of its Workflow. */
export type InstanceRecord = {
  id: string;
  status: InstanceStatus;
  created: number;
  modified: number;
  started: number | undefined;
  ended: number | undefined;
  expires: number | undefined;
  source: InstanceOrigin["source"];
  version: string;
};

/** What an instance tells of itself; the list knows the rest. */
export type InstanceReport = Pick<InstanceRecord, "id" | "status" | "created" | "modified"> & {
  expires?: number | undefined;
  /** Until when it rests, if it does. */
  until?: number | undefined;
  origin: InstanceOrigin;
};

/** Of instances, in the order in which they were made. */
export type ListQuery = {
  status?: InstanceStatus | undefined;
  /** Bounds of when they were made, ms since 1970, both inclusive. */
  from?: number | undefined;
  to?: number | undefined;
  direction: "asc" | "desc";
  /** Goes on after this one. */
  after?: { created: number; id: string } | undefined;
  offset: number;
  max: number;
};

const finished: ReadonlySet<InstanceStatus> = new Set(["complete", "errored", "terminated"]);

export function isFinished(status: InstanceStatus): boolean {
  return finished.has(status);
}
