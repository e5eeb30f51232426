import { spawnSync } from "node:child_process";
import { Agent, request, type IncomingMessage } from "node:http";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pacedReads } from "../support/paced-reads.ts";
import { Solum } from "../support/start-solum.ts";

/**
 * A disk that takes 20 ms for each fsync, for the whole platform: reads must not wait for writes, and writes must share their
 * fsyncs. strace delays the call on its way in; with its filter only these two calls are stopped at all.
 */
const slowDisk =
  "strace -f --seccomp-bpf -qq -o /dev/null -e trace=fsync,fdatasync -e inject=fsync,fdatasync:delay_enter=20000".split(
    " ",
  );
const missing = spawnSync("strace", ["-V"]).status === 0 ? "" : " (skipped: strace is not installed)";
const longRun = process.env["SECONDS"] !== undefined;
const seconds = Number(process.env["SECONDS"] ?? 2);
const warmUpSeconds = 1;
const pacedMs = 100;

describe.skipIf(missing !== "")(`with 20 ms added to every fsync${missing}`, () => {
  let solum: Solum;
  const agent = new Agent({ keepAlive: true, maxSockets: 200 });
  beforeAll(async () => {
    solum = new Solum([], slowDisk);
    await solum.start();
    const deployed = await solum.wrangler(solum.project("bindings"), ["deploy"]);
    expect(deployed.code, deployed.output).toBe(0);
    await send("PUT", "/kv?key=read", "value");
    await send("PUT", "/r2?key=read", "v".repeat(10_000));
  }, 120_000);
  afterAll(async () => {
    agent.destroy();
    await solum[Symbol.asyncDispose]();
  });

  function headersFor(path: string): Record<string, string> {
    if (!path.startsWith("/client/")) return { host: `bindings.localhost:${solum.port}` };
    return { host: `localhost:${solum.port}`, authorization: `Bearer ${solum.environment["CLOUDFLARE_API_TOKEN"]}` };
  }

  async function send(method: string, path: string, body?: string): Promise<void> {
    const outgoing = request({
      host: "127.0.0.1",
      port: solum.port,
      agent,
      method,
      path,
      headers: {
        ...headersFor(path),
        ...(body === undefined ? {} : { "content-length": Buffer.byteLength(body) }),
      },
    });
    outgoing.end(body);
    const [response] = (await once(outgoing, "response")) as [IncomingMessage];
    response.resume();
    await once(response, "end");
    expect(response.statusCode, `${method} ${path}`).toBe(200);
  }

  /** 64 writers for some seconds, each of which puts again when it was answered, but not before `everyMs`; puts a second. */
  async function write(forSeconds: number, everyMs: number): Promise<{ kv: number; r2: number }> {
    const end = performance.now() + forSeconds * 1000;
    const puts = { kv: 0, r2: 0 };
    const writer = async (product: "kv" | "r2", name: number) => {
      await sleep(Math.random() * everyMs);
      for (let n = 0; performance.now() < end; n++, puts[product]++) {
        const next = sleep(everyMs);
        await send("PUT", `/${product}?key=w${name}-${n % 50}`, `value ${n}`);
        if (everyMs > 0) await next;
      }
    };
    await Promise.all(Array.from({ length: 64 }, async (_, name) => writer(name < 56 ? "kv" : "r2", name)));
    return { kv: puts.kv / forSeconds, r2: puts.r2 / forSeconds };
  }

  test("64 writers share their fsyncs", async () => {
    const { kv, r2 } = await write(seconds, 0);
    process.stdout.write(
      `  64 writers, 20 ms added to every fsync: ${kv.toFixed(0)} KV and ${r2.toFixed(0)} R2 puts/s\n`,
    );
    // If each waited for an fsync of its own they would reach 50 a second together.
    expect(kv).toBeGreaterThan(longRun ? 500 : 150);
  });

  test("KV, R2 and the API answer reads at once while 64 writers wait for the disk", async () => {
    // As many puts as must be possible, not as many as the processor can take: it is the disk that is waited for here.
    const writing = write(seconds + warmUpSeconds, pacedMs);
    await sleep(warmUpSeconds * 1000);
    const read = async (path: string) => {
      const headers = headersFor(path);
      return pacedReads({ port: solum.port, path, headers, seconds, pauseMs: 5 });
    };
    // What the processor alone makes them wait, which the writers share with them.
    const [puts, none, kv, r2, api] = await Promise.all([
      writing,
      read("/vars"),
      read("/kv?key=read"),
      read("/r2?key=read"),
      read(`/client/v4/accounts/${solum.environment["CLOUDFLARE_ACCOUNT_ID"]}/workers/scripts`),
    ]);
    const reads = { "no store": none, kv, r2, api };
    const at = (values: number[], share: number) =>
      values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.POSITIVE_INFINITY;
    const line = Object.entries(reads).map(
      ([name, values]) => `${name} reads p50 ${at(values, 0.5).toFixed(1)} p99 ${at(values, 0.99).toFixed(1)} ms`,
    );
    process.stdout.write(`  beside ${puts.kv.toFixed(0)} KV and ${puts.r2.toFixed(0)} R2 puts/s: ${line.join(", ")}\n`);
    for (const [name, values] of Object.entries(reads)) {
      expect.soft(values.length, name).toBeGreaterThan(20);
      // Readers who waited for the disk would wait 20 ms; the usual run shares the machine with other tests.
      expect.soft(at(values, 0.5), name).toBeLessThan(20);
      if (longRun) expect.soft(at(values, 0.99) - at(none, 0.99), name).toBeLessThan(10);
    }
  });
});
