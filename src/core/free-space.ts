import { statfsSync } from "node:fs";

/** How old an answer of the disk may be. */
const everyMs = 200;

/**
 * Tells whether `bytes` more would leave the disk of `folder` with less than `reserveBytes`. Who stops taking new data then
 * can still delete some: even that needs room, for the log of the change. A small disk keeps a twentieth.
 */
export function lowSpace(folder: string, reserveBytes: number): (bytes: number) => boolean {
  let askedAtMs = Number.NEGATIVE_INFINITY;
  let left = 0;
  const ask = () => {
    const { bavail, blocks, bsize } = statfsSync(folder);
    askedAtMs = performance.now();
    left = bavail * bsize - Math.min(reserveBytes, (blocks * bsize) / 20);
  };
  return (bytes) => {
    // Once in the log and once in its place.
    const need = 2 * bytes;
    if (left < need || performance.now() - askedAtMs >= everyMs) ask();
    left -= need;
    return left < 0;
  };
}
