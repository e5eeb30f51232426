import type { Usage } from "#runtime/gauge.ts";
import type { CondemnOutcome } from "#runtime/routes.ts";

/** What one computation of a version may take, and all of its process. */
export type RunawayLimits = {
  /** CPU time without coming back to the event loop, ms. */
  cpuMs: number;
  memoryBytes: number;
};

/** A process that has used so much CPU time without a sign of life is asked for one, ms. */
const askAfterMs = 100;

/**
 * Of its memory limit: a process that grew by more in one silence is out of memory, even when its CPU time is up first. Near the
 * limit most of that goes into collecting garbage.
 */
const grownShare = 0.5;

/** What is known of a process between two looks. */
export type Silence = {
  /** CPU time, memory and system calls at the last sign of life: an answer of its probe, or that it read or wrote. */
  cpuMs: number;
  memoryBytes: number;
  calls: number;
  /** Its probe was asked since then and has not answered. */
  asked: boolean;
};

export type Verdict = CondemnOutcome | "ask" | "fine";

/**
 * Judges a process by what it has used. One that computes and neither reads nor writes is asked for a sign of life; when none
 * comes for as much CPU time as it may take, it is caught in a computation. A process that is idle costs nothing: its CPU
 * time stands still. Changes `silence`.
 */
export function judge(usage: Usage, silence: Silence, limits: RunawayLimits): Verdict {
  if (usage.memoryBytes > limits.memoryBytes) return "exceededMemory";
  if (usage.calls !== silence.calls) {
    heard(silence, usage);
    return "fine";
  }
  const silentMs = usage.cpuMs - silence.cpuMs;
  if (!silence.asked) return silentMs >= askAfterMs ? "ask" : "fine";
  if (silentMs <= limits.cpuMs) return "fine";
  const grown = usage.memoryBytes - silence.memoryBytes;
  return grown > limits.memoryBytes * grownShare ? "exceededMemory" : "exceededCpu";
}

/** The process gave a sign of life. */
export function heard(silence: Silence, { cpuMs, memoryBytes, calls }: Usage): void {
  silence.cpuMs = cpuMs;
  silence.memoryBytes = memoryBytes;
  silence.calls = calls;
}
