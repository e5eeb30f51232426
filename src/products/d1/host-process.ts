import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";

/** What the kernel tells of a d1 host whose thread is in a query and cannot answer itself. Linux; empty elsewhere. */

/** The process that holds the lock `file` open, which is the host: it inherits the descriptor (DESIGN.md, decision 4). */
export function lockHolder(file: string): number | undefined {
  for (const name of entries("/proc")) {
    const pid = Number(name);
    if (pid > 0 && pid !== process.pid && openFiles(pid).some(({ path }) => path === file)) return pid;
  }
  return undefined;
}

/** Object ids of the databases that `pid` has open. */
export function openObjects(pid: number): string[] {
  return [...new Set(openFiles(pid).flatMap(({ path }) => objectId(path) ?? []))];
}

/** Slots of readers and of the writer in a `-shm` file: a statement that runs holds one (https://sqlite.org/walformat.html §2.3). */
const runningLocks = { first: 120, last: 127 };

/** Object ids of the databases in which `pid` runs a statement right now. */
export function runningObjects(pid: number): string[] {
  return openFiles(pid).flatMap(({ fd, path }) => {
    const id = path.endsWith("-shm") ? objectId(path) : undefined;
    return id !== undefined && locks(pid, fd).some(isRunning) ? id : [];
  });
}

function isRunning({ first, last }: { first: number; last: number }): boolean {
  return first <= runningLocks.last && last >= runningLocks.first;
}

/** CPU time of `pid` so far; 0 when it is gone. */
export function cpuMs(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  // The name, in parentheses, may hold blanks; utime and stime are the 12th and 13th field after it, in 1/100 s.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * 10;
}

export function isAlive(pid: number): boolean {
  const stat = read(`/proc/${pid}/stat`);
  return stat !== "" && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
}

function openFiles(pid: number): { fd: string; path: string }[] {
  return entries(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return { fd, path: readlinkSync(`/proc/${pid}/fd/${fd}`) };
    } catch {
      return [];
    }
  });
}

function locks(pid: number, fd: string): { first: number; last: number }[] {
  return [...read(`/proc/${pid}/fdinfo/${fd}`).matchAll(/^lock:.* (\d+) (\d+|EOF)$/gm)].map(([, first, last]) => ({
    first: Number(first),
    last: last === "EOF" ? Number.MAX_SAFE_INTEGER : Number(last),
  }));
}

function objectId(path: string): string | undefined {
  return /^([0-9a-f]{64})\.sqlite(-wal|-shm)?$/.exec(basename(path))?.[1];
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
