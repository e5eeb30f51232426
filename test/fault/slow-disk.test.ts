import { spawnSync } from "node:child_process";
import { Agent, request, type IncomingMessage } from "node:http";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
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
const seconds = Number(process.env["SECONDS"] ?? 3);

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

  async function send(method: string, path: string, body?: string): Promise<void> {
    const api = path.startsWith("/client/");
    const outgoing = request({
      host: "127.0.0.1",
      port: solum.port,
      agent,
      method,
      path,
      headers: {
        host: `${api ? "" : "bindings."}localhost:${solum.port}`,
        ...(api ? { authorization: `Bearer ${solum.environment["CLOUDFLARE_API_TOKEN"]}` } : {}),
        ...(body === undefined ? {} : { "content-length": Buffer.byteLength(body) }),
      },
    });
    outgoing.end(body);
    const [response] = (await once(outgoing, "response")) as [IncomingMessage];
    response.resume();
    await once(response, "end");
    expect(response.statusCode, `${method} ${path}`).toBe(200);
  }

  test("KV, R2 and the API answer reads at once while 64 writers wait for the disk", async () => {
    const end = performance.now() + seconds * 1000;
    const writes = { kv: 0, r2: 0 };
    const write = async (product: "kv" | "r2", writer: number) => {
      for (let n = 0; performance.now() < end; n++, writes[product]++)
        await send("PUT", `/${product}?key=w${writer}-${n % 50}`, `value ${n}`);
    };
    const reads: Record<string, number[]> = { kv: [], r2: [], api: [] };
    const read = async (product: string, path: string) => {
      while (performance.now() < end) {
        const start = performance.now();
        await send("GET", path);
        reads[product]?.push(performance.now() - start);
        await sleep(5);
      }
    };
    await Promise.all([
      ...Array.from({ length: 56 }, async (_, writer) => write("kv", writer)),
      ...Array.from({ length: 8 }, async (_, writer) => write("r2", writer)),
      read("kv", "/kv?key=read"),
      read("r2", "/r2?key=read"),
      read("api", `/client/v4/accounts/${solum.environment["CLOUDFLARE_ACCOUNT_ID"]}/workers/scripts`),
    ]);
    const at = (values: number[], share: number) =>
      values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? Number.POSITIVE_INFINITY;
    const line = Object.entries(reads).map(
      ([name, values]) => `${name} reads p50 ${at(values, 0.5).toFixed(1)} p99 ${at(values, 0.99).toFixed(1)} ms`,
    );
    process.stdout.write(
      `  64 writers, 20 ms added to every fsync: ${(writes.kv / seconds).toFixed(0)} KV and ${(writes.r2 / seconds).toFixed(0)} R2 puts/s; ${line.join(", ")}\n`,
    );
    // 64 writers that each waited for an fsync of their own would reach 50 a second, and so would readers who waited for them.
    expect(writes.kv / seconds).toBeGreaterThan(150);
    for (const [name, values] of Object.entries(reads)) {
      expect.soft(values.length, name).toBeGreaterThan(20);
      expect.soft(at(values, 0.5), name).toBeLessThan(20);
    }
  });
});
