import { readFileSync } from "node:fs";

/** Flag of a socket that listens, and state of one that is connected (Linux, `net/unix/af_unix.c`). */
const listens = 0x10000;
const connected = "03";

/** Connections that the process `pid` has accepted on the unix socket `path` and that are still open. */
export function openConnections(pid: number, path: string): number {
  let text: string;
  try {
    // Of the process's own network namespace: from ours its sockets cannot be seen.
    text = readFileSync(`/proc/${pid}/net/unix`, "latin1");
  } catch {
    return 0;
  }
  return text.split("\n").filter((line) => {
    const [, , , flags = "0", , state, , at] = line.split(/\s+/);
    return at === path && state === connected && (Number.parseInt(flags, 16) & listens) === 0;
  }).length;
}
