import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { compatibilityProblem, compatibilityTrial } from "#runtime/compatibility-check.ts";

const limits = {
  /** Answers that are remembered. */
  remembered: 500,
  trialMs: 5000,
};

type CheckerOptions = {
  workerd: string;
  /** The newest compatibility date that it knows. */
  newestDate: string;
  /** Where trials are written. */
  folder: string;
};

/**
 * Asks workerd itself whether a Worker may have a compatibility date and flags; undefined when it may. What it says depends on
 * the day, so answers are remembered for one.
 */
export function compatibilityChecker(
  options: CheckerOptions,
): (date: string, flags: readonly string[]) => Promise<string | undefined> {
  const known = new Map<string, Promise<string | undefined>>();
  return async (date, flags) => {
    const key = JSON.stringify([new Date().toISOString().slice(0, 10), date, flags]);
    if (known.size >= limits.remembered) known.clear();
    const answer = known.get(key) ?? check(options, date, flags);
    known.set(key, answer);
    answer.catch(() => known.delete(key));
    return answer;
  };
}

async function check(
  { workerd, newestDate, folder }: CheckerOptions,
  date: string,
  flags: readonly string[],
): Promise<string | undefined> {
  // Later than workerd knows and not in the future: `workerConfig` runs it as of the newest date.
  const today = new Date().toISOString().slice(0, 10);
  const compatibilityDate = date > newestDate && date <= today ? newestDate : date;
  const trial = compatibilityTrial({ compatibilityDate, compatibilityFlags: flags });
  if ("problem" in trial) return trial.problem;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, `${randomUUID()}.capnp`);
  await writeFile(file, trial.text, { mode: 0o600 });
  try {
    const child = spawn(workerd, ["serve", file], {
      stdio: ["ignore", "ignore", "pipe"],
      env: {},
      signal: AbortSignal.timeout(limits.trialMs),
      killSignal: "SIGKILL",
    });
    const [said, [code]] = await Promise.all([text(child.stderr), once(child, "exit") as Promise<[number | null]>]);
    if (code === 0) return undefined;
    return (
      compatibilityProblem(said) ?? `workerd refuses this compatibility date and these flags: ${said.slice(0, 1000)}`
    );
  } finally {
    await rm(file, { force: true });
  }
}
