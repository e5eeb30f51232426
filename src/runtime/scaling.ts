/** When a version gets more processes and when fewer. Pure: the numbers come in, the answer goes out. */
export const scaling = {
  /** How often the processes' CPU time is looked at for this, ms. */
  windowMs: 1000,
  /** Of a core, averaged over a window: a process above it has no time to spare. workerd runs JavaScript on one core. */
  busyShare: 0.7,
  /** What each process may have to do once there is one less. Far below `busyShare`, so that it does not go up and down. */
  quietShare: 0.35,
  /** CPU time between two pauses of a process that always has something to do, ms. A request of less is followed by a pause. */
  breathlessMs: 20,
  /** Windows in a row that must look so before a process is taken away. */
  quietWindows: 15,
} as const;

/**
 * How much of a core a process would use, over a window. On a machine with more to do than it can, a process gets less than
 * it could use: then it never pauses, and that counts as a whole core.
 */
export function demand({ ms, cpuMs, sleeps }: { ms: number; cpuMs: number; sleeps: number }): number {
  const share = cpuMs / ms;
  const breathless = cpuMs >= scaling.breathlessMs * 5 && cpuMs > sleeps * scaling.breathlessMs;
  return breathless ? Math.max(1, share) : share;
}

export type Load = {
  /** Processes that take requests, and how many there may be. */
  count: number;
  max: number;
  /** What all of them would use together, in cores: their `demand`. */
  cores: number;
  /** Requests and WebSockets that are open on them. */
  open: number;
  /** What the last answer said. */
  quietFor: number;
};

/** How many processes the version should have, and for how many windows fewer would have done. */
export function nextCount({ count, max, cores, open, quietFor }: Load): { count: number; quietFor: number } {
  if (cores > count * scaling.busyShare && open > 0)
    return { count: Math.max(count, Math.min(max, Math.ceil(cores / scaling.busyShare))), quietFor: 0 };
  if (count <= 1 || cores > (count - 1) * scaling.quietShare) return { count: Math.min(count, max), quietFor: 0 };
  if (quietFor + 1 < scaling.quietWindows) return { count: Math.min(count, max), quietFor: quietFor + 1 };
  return { count: count - 1, quietFor: 0 };
}

export type Rest = {
  now: number;
  idleMs: number;
  /** When its first process was started or it was woken. */
  awakeSince: number;
  /** Milliseconds since something of it was open, 0 while something is; undefined when the ingress has seen nothing yet. */
  lastUsedAgoMs: number | undefined;
};

/** Whether nobody has used a version for so long that its processes may end. */
export function isIdle({ now, idleMs, awakeSince, lastUsedAgoMs }: Rest): boolean {
  return now - awakeSince >= idleMs && (lastUsedAgoMs ?? Infinity) >= idleMs;
}
