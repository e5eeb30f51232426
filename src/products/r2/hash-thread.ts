import { parentPort } from "node:worker_threads";
import { BlockSums } from "#products/r2/blob-sums.ts";
import { Digests } from "#products/r2/digests.ts";
import type { Checksums, DigestAlgorithm } from "#products/r2/schema.ts";

/** What a hash thread is told. Bytes are read in place: the sender keeps them unchanged until the answer. */
export type HashMessage =
  | { kind: "open"; id: number; memory: SharedArrayBuffer; digests: readonly DigestAlgorithm[] }
  | { kind: "update"; id: number; at: number; length: number }
  | { kind: "finish"; id: number }
  | { kind: "drop"; id: number };

/** Its answers, in the order of `update` and `finish`. */
export type HashAnswer = { id: number; finished?: { checksums: Checksums; table: Uint8Array } };

/** Runs in a thread of its own: checksums of many bodies side by side, a piece at a time. */
export function runHasher(): void {
  const port = parentPort;
  if (!port) throw new Error("not a thread");
  const open = new Map<number, { bytes: Uint8Array; digests: Digests; sums: BlockSums }>();
  port.on("message", (message: HashMessage) => {
    const { id } = message;
    if (message.kind === "open") {
      const bytes = new Uint8Array(message.memory);
      open.set(id, { bytes, digests: new Digests(message.digests), sums: new BlockSums() });
      return;
    }
    const body = open.get(id);
    if (!body || message.kind === "drop") {
      open.delete(id);
      return;
    }
    if (message.kind === "update") {
      const piece = body.bytes.subarray(message.at, message.at + message.length);
      body.digests.update(piece);
      body.sums.update(piece);
      port.postMessage({ id } satisfies HashAnswer);
      return;
    }
    open.delete(id);
    const finished = { checksums: body.digests.finish(), table: body.sums.table() };
    port.postMessage({ id, finished } satisfies HashAnswer);
  });
}
