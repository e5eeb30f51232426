import { readFileSync, readdirSync } from "node:fs";

/** What the kernel knows of processes, from /proc. */
export type ProcessFacts = {
  pid: number;
  parentPid: number;
  /** Clock ticks since boot at which it began; with the pid it names a process for ever. */
  startTicks: number;
  /** User and system time together, ms. */
  cpuMs: number;
  /** A zombie: it has ended, and nobody has asked how. */
  ended: boolean;
};

/** USER_HZ; 100 on every Linux that Node runs on (`man 7 time`). */
const ticksPerSecond = 100;

/** Facts of a process; undefined when there is none. */
export function readProcess(pid: number): ProcessFacts | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return undefined;
  }
  const fields = fieldsOf(stat);
  const state = fields[0] ?? "";
  return {
    pid,
    parentPid: Number(fields[1]),
    startTicks: Number(fields[19]),
    cpuMs: cpuMsOf(stat),
    ended: state === "Z" || state === "X",
  };
}

/** User and system time in a text of `/proc/<pid>/stat`, ms. */
export function cpuMsOf(stat: string): number {
  const fields = fieldsOf(stat);
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticksPerSecond;
}

/** Those from the state on. The name in parentheses before may hold blanks and parentheses (proc(5)). */
function fieldsOf(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** Whether the process that was seen still runs; a later one with the same pid does not count. */
export function isAlive(seen: Pick<ProcessFacts, "pid" | "startTicks">): boolean {
  const now = readProcess(seen.pid);
  return now !== undefined && !now.ended && now.startTicks === seen.startTicks;
}

/** Memory of a process in bytes: proportional (shared pages divided among their users) and private. */
export function readMemory(pid: number): { pssBytes: number; privateBytes: number } | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  } catch {
    return undefined;
  }
  const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0) * 1024;
  return { pssBytes: of("Pss"), privateBytes: of("Private_Clean") + of("Private_Dirty") };
}

/**
 * Environment variable that every child carries: instance, name and configuration of the process. It makes the kernel's
 * process table the register of what runs, so nothing can be missing from it or outlive what it describes.
 */
export const markVariable = "SOLUM_CHILD";

export type ChildMark = { instance: string; name: string; hash: string };

export function markText({ instance, name, hash }: ChildMark): string {
  return `${instance}|${name}|${hash}`;
}

/**
 * Every living process that a supervisor of `instance` started. Where a sandbox's parent carries the same mark, the program
 * in it is the one.
 */
export function findChildren(instance: string): { mark: ChildMark; facts: ProcessFacts }[] {
  const wanted = `${markVariable}=${instance}|`;
  const found = readdirSync("/proc").flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return [];
    const variable = readEnvironment(Number(entry)).find((candidate) => candidate.startsWith(wanted));
    const facts = variable === undefined ? undefined : readProcess(Number(entry));
    if (variable === undefined || !facts || facts.ended) return [];
    const [name = "", hash = ""] = variable.slice(wanted.length).split("|");
    return [{ mark: { instance, name, hash }, facts }];
  });
  const parents = new Set(found.map(({ mark, facts }) => `${facts.parentPid} ${mark.name}`));
  return found.filter(({ mark, facts }) => !parents.has(`${facts.pid} ${mark.name}`));
}

function readEnvironment(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, "latin1").split("\0");
  } catch {
    // Another user's process, or one that ended meanwhile.
    return [];
  }
}
