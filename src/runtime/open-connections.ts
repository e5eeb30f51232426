import { readFileSync } from "node:fs";

/** Flag of a socket that listens, and state of one that is connected (Linux, `net/unix/af_unix.c`). */
const listens = 0x10000;
const connected = "03";

/**
 * Connections to the unix socket `path` that are open in the network namespace of the process `pid`. The kernel counts both
 * ends to where the client is, not to where the socket listens.
 */
export function openConnections(pid: number, path: string): number {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/net/unix`, "latin1");
  } catch {
    return 0;
  }
  return text.split("\n").filter((line) => {
    const [, , , flags = "0", , state, , at] = line.split(/\s+/);
    return at === path && state === connected && (Number.parseInt(flags, 16) & listens) === 0;
  }).length;
}
