import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { sleep } from "#core/deadline.ts";
import { messageOf } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import { isAlive, markText, markVariable, readProcess, type ChildMark, type ProcessFacts } from "#runtime/proc.ts";

/** A process to run. Two specs of one name with the same hash are the same process. */
export type ChildSpec = {
  name: string;
  hash: string;
  command: string;
  args: readonly string[];
  environment: Readonly<Record<string, string>>;
  /** File that takes its output; appended to. */
  logFile: string;
  /** File that it holds locked for as long as it lives, whatever becomes of the supervisor. */
  lockFile?: string;
  /** How gladly the kernel ends it when memory runs out, `oom_score_adj`; raising it needs no privilege. */
  oomScore?: number;
  /**
   * The command runs the program as a child of its own and, given these arguments first, writes that one's pid to descriptor
   * 3 (`bwrap --info-fd`). That pid is the one that counts: it is what is signalled, measured and taken over.
   */
  reportsPid?: readonly string[];
};

/** A running process, started by us or by the supervisor before us. */
export interface Child {
  readonly pid: number;
  readonly mark: ChildMark;
  readonly facts: ProcessFacts;
  /** Resolves when it has ended. */
  readonly ended: Promise<ChildEnd>;
  signal(signal: NodeJS.Signals): void;
}

/** `undefined` where the kernel told somebody else. */
export type ChildEnd = { code: number | undefined; signal: string | undefined };

/** How long `flock` waits for the holder before it, which was told to end. */
const lockWaitSeconds = 10;
/** Exit code of `flock` when it did not get the lock. */
const lockHeldCode = 75;

const adoptedPollMs = 50;

const log = createLogger("supervisor.child");

/**
 * Starts a process in a session of its own: it outlives us, and Ctrl-C in our terminal does not reach it. The lock is on a
 * descriptor that `flock -F` hands to the program, so the kernel frees it exactly when the program ends.
 */
export async function startChild(instance: string, spec: ChildSpec): Promise<Child> {
  const mark = { instance, name: spec.name, hash: spec.hash };
  const program = [spec.command, ...(spec.reportsPid ?? []), ...spec.args];
  const lock = ["flock", "-w", String(lockWaitSeconds), "-E", String(lockHeldCode), "-F"];
  const [command = "", ...args] = spec.lockFile === undefined ? program : [...lock, spec.lockFile, ...program];
  const output = openSync(spec.logFile, "a", 0o600);
  try {
    const started = spawn(command, args, {
      detached: true,
      stdio: ["ignore", output, output, ...(spec.reportsPid ? (["pipe"] as const) : [])],
      env: { ...spec.environment, [markVariable]: markText(mark) },
      cwd: "/",
    });
    await once(started, "spawn");
    started.unref();
    const exit = new Promise<ChildEnd>((resolve) => {
      started.once("exit", (code, signal) => resolve({ code: code ?? undefined, signal: signal ?? undefined }));
    });
    const inner = spec.reportsPid ? await reportedPid(started) : undefined;
    const pid = inner ?? started.pid ?? 0;
    if (spec.oomScore !== undefined) raiseOomScore(pid, spec.oomScore);
    const facts = readProcess(pid) ?? { pid, parentPid: 0, startTicks: 0, cpuMs: 0, ended: true };
    if (inner === undefined) return { pid, mark, facts, ended: exit, signal: (signal) => void started.kill(signal) };
    const ended = exit.then(async (end) => innerEnd(end, facts));
    return { pid, mark, facts, ended, signal: (signal) => signalTo(facts, signal) };
  } finally {
    closeSync(output);
  }
}

function raiseOomScore(pid: number, score: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(score));
  } catch (error) {
    // It has ended already, or the kernel does not let us: the process runs as every other does.
    log.warn("a process's oom_score_adj could not be raised", { pid, error: messageOf(error) });
  }
}

/** What bwrap says of the process that it made; undefined when it ended before that. */
async function reportedPid(started: ChildProcess): Promise<number | undefined> {
  const said = await text(started.stdio[3] as Readable);
  const pid = /"child-pid": *(\d+)/.exec(said)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

/** How the process ended whose parent, which tells how, ended like that. */
async function innerEnd(parent: ChildEnd, facts: ProcessFacts): Promise<ChildEnd> {
  // Somebody ended the parent alone: the process goes on without it.
  if (isAlive(facts)) return untilGone(facts);
  const number = (parent.code ?? 0) - signalledCode;
  const signal = Object.entries(constants.signals).find(([, value]) => value === number)?.[0];
  return signal === undefined ? parent : { code: undefined, signal };
}

/** Exit codes above it stand for a signal (bwrap, like a shell). */
const signalledCode = 128;

/** Takes over a process that an earlier supervisor started. Its end is seen by looking, since it is not our child. */
export function adoptChild(mark: ChildMark, facts: ProcessFacts): Child {
  return { pid: facts.pid, mark, facts, ended: untilGone(facts), signal: (signal) => signalTo(facts, signal) };
}

function signalTo(facts: ProcessFacts, signal: NodeJS.Signals): void {
  // Between the look and the signal the pid could be used anew only after four million other processes.
  if (isAlive(facts)) process.kill(facts.pid, signal);
}

async function untilGone(facts: ProcessFacts): Promise<ChildEnd> {
  while (isAlive(facts)) await sleep(adoptedPollMs);
  return { code: undefined, signal: undefined };
}

/** Asks a process to end, and ends it when it has not after `graceMs`. */
export async function stopChild(child: Child, graceMs: number): Promise<void> {
  child.signal("SIGTERM");
  const controller = new AbortController();
  const late = sleep(graceMs, controller.signal).then(
    () => child.signal("SIGKILL"),
    () => undefined,
  );
  await child.ended;
  controller.abort();
  await late;
}
