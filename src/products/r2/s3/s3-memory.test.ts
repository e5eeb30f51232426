import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

/**
 * Large objects in a process of their own: what it takes above idle while 256 MiB go in and then out. More bytes take longer
 * and need no more: `OBJECT_BYTES=5000000000` shows it, of which the aim is 64 MB.
 */
const program = join(import.meta.dirname, "../../../../test/support/serve-s3.ts");
const size = Number(process.env["OBJECT_BYTES"] ?? 256 * 1024 * 1024);
const aboveIdleMax = 96 * 1024 * 1024;

test("objects of any size pass in little memory", { timeout: 120_000 + size / 10_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "solum-s3m-"));
  const child = fork(program, [folder]);
  try {
    const [{ put, get }] = (await once(child, "message")) as [{ put: string; get: string }];
    const before = residentBytes(child.pid);
    let most = before;
    const sampler = setInterval(() => (most = Math.max(most, residentBytes(child.pid))), 20);
    await send(join(folder, "s"), put);
    const received = await receive(join(folder, "s"), get);
    clearInterval(sampler);
    // oxlint-disable-next-line no-console -- the figures are what one wants to know of a run
    console.info(`${size} bytes in and out: ${Math.round((most - before) / 1e6)} MB above idle`);
    expect(received).toBe(size);
    expect(most - before).toBeLessThan(aboveIdleMax);
  } finally {
    child.kill();
    await once(child, "exit");
    rmSync(folder, { recursive: true });
  }
});

function residentBytes(pid: number | undefined): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) * 1024;
}

async function send(socketPath: string, path: string): Promise<void> {
  const headers = { host: "s3.localhost", "content-length": size };
  const outgoing = request({ socketPath, path, method: "PUT", headers });
  const answered = once(outgoing, "response") as Promise<[{ statusCode: number }]>;
  const piece = Buffer.alloc(1024 * 1024, 7);
  for (let at = 0; at < size; at += piece.length)
    if (!outgoing.write(piece.subarray(0, size - at))) await once(outgoing, "drain");
  outgoing.end();
  expect((await answered)[0].statusCode).toBe(200);
}

async function receive(socketPath: string, path: string): Promise<number> {
  const outgoing = request({ socketPath, path, headers: { host: "s3.localhost" } }).end();
  const [response] = (await once(outgoing, "response")) as [AsyncIterable<Buffer>];
  let received = 0;
  for await (const piece of response) received += piece.length;
  return received;
}
