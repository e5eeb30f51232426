import { readFile } from "node:fs/promises";
import { sleep } from "#core/deadline.ts";
import { workerErrors } from "#products/workers/errors.ts";
import type { TrialOutcome } from "#products/workers/deployer.ts";
import { startChild, type Child } from "#runtime/child.ts";
import { ProcessGauge } from "#runtime/gauge.ts";
import { launchFront, type FrontLaunch, type FrontParts, type Startable } from "#runtime/front-launch.ts";
import { untilAnswers } from "#runtime/probe.ts";
import { startupErrorMessage } from "#runtime/startup-error.ts";

export type TrialLimits = {
  /** CPU time until the version takes requests, ms. */
  cpuMs: number;
  /** Wall time for the same. */
  wallMs: number;
  memoryBytes: number;
};

export type Started = { launch: FrontLaunch; child: Child; outcome: TrialOutcome };

const usagePollMs = 20;
/** Bytes of a failed start's output that are read. */
const outputMax = 64 * 1024;

/**
 * Starts one process of a version and waits until it takes requests. A version that throws, does not settle or computes
 * too long at start-up is refused with error 10021; then, and when `signal` aborts, nothing is left running and no file stays.
 */
export async function startFront(
  instance: string,
  parts: FrontParts,
  startable: Startable,
  limits: TrialLimits,
  signal: AbortSignal,
): Promise<Started> {
  const began = performance.now();
  const launch = await launchFront(parts, startable);
  let child: Child | undefined;
  try {
    child = await startChild(instance, launch.spec);
    const answer = await ready(child, launch, limits, signal);
    const startupMs = Math.round(performance.now() - began);
    return { launch, child, outcome: { startupMs, ...readHandlers(answer) } };
  } catch (error) {
    child?.signal("SIGKILL");
    await child?.ended;
    await launch.dispose?.();
    throw error;
  }
}

/** The first answer of the probe. Rejects with what is wrong when the process ends, takes too long, or nobody waits any more. */
async function ready(child: Child, launch: FrontLaunch, limits: TrialLimits, signal: AbortSignal): Promise<string> {
  const over = new AbortController();
  const all = AbortSignal.any([signal, over.signal]);
  const answers = untilAnswers(launch.socket, all).then(({ body }) => body);
  const dies = child.ended.then(async () => {
    throw workerErrors.uncaughtAtStartup(startupErrorMessage(await readOutput(launch.spec.logFile)));
  });
  const takesTooMuch = watchUsage(child, limits, all);
  try {
    return await Promise.race([answers, dies, takesTooMuch]);
  } finally {
    over.abort();
    // The losers of the race end now; what they throw was not asked for any more.
    await Promise.allSettled([answers, takesTooMuch]);
    dies.catch(() => undefined);
  }
}

/** A top-level `for (;;)` never answers and never ends: only its CPU time tells. A wait that never ends is told by the clock. */
async function watchUsage(child: Child, limits: TrialLimits, signal: AbortSignal): Promise<never> {
  const end = performance.now() + limits.wallMs;
  const gauge = ProcessGauge.open(child.pid);
  try {
    for (;;) {
      await sleep(usagePollMs, signal);
      gauge?.look();
      const { cpuMs, memoryBytes } = gauge?.last ?? { cpuMs: 0, memoryBytes: 0 };
      if (memoryBytes > limits.memoryBytes) throw workerErrors.startupTooLarge(limits.memoryBytes);
      if (cpuMs - child.facts.cpuMs > limits.cpuMs || performance.now() > end)
        throw workerErrors.startupTooSlow(limits.cpuMs);
    }
  } finally {
    gauge?.close();
  }
}

/** What the probe says of a version's exports; a version without an entry module has nothing to say. */
export function readHandlers(answer: string): Pick<TrialOutcome, "handlers" | "namedHandlers"> {
  const { handlers = null, namedHandlers = [] } = JSON.parse(answer) as Partial<TrialOutcome>;
  return { handlers, namedHandlers };
}

async function readOutput(file: string): Promise<string> {
  const text = await readFile(file, "utf8").catch(() => "");
  return text.slice(0, outputMax);
}
