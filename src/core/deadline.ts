import { setTimeout as delay } from "node:timers/promises";

/** Thrown when a wait takes longer than it was given. */
export class DeadlineError extends Error {
  override readonly name = "DeadlineError";
}

/** The result of `work`, or a DeadlineError naming `what` after `ms`. `work` is told by the signal that nobody waits any more. */
export async function withDeadline<T>(ms: number, what: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const error = new DeadlineError(`${what} took longer than ${ms} ms`);
      controller.abort(error);
      reject(error);
    }, ms);
  });
  try {
    return await Promise.race([work(controller.signal), expired]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves after `ms`; rejects with the signal's reason when it aborts first. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  await delay(ms, undefined, signal ? { signal } : {});
}

/** Asks `ready` every `everyMs` until it answers something other than undefined; a DeadlineError naming `what` after `ms`. */
export async function pollUntil<T>(
  options: { ms: number; everyMs: number; what: string },
  ready: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  const end = performance.now() + options.ms;
  for (;;) {
    const answer = await ready();
    if (answer !== undefined) return answer;
    if (performance.now() >= end) throw new DeadlineError(`${options.what} took longer than ${options.ms} ms`);
    await sleep(options.everyMs);
  }
}
