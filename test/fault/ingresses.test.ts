import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { Agent, request, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { findChildren } from "#runtime/proc.ts";
import { giveAddress, uploadWorker } from "../support/direct-upload.ts";
import { Solum } from "../support/start-solum.ts";

/** Several ingress processes share the port: one that dies takes its own connections with it, and no other. */
const connections = 24;
let solum: Solum;

beforeAll(async () => {
  solum = await Solum.start("--ingress-processes", "2");
  await uploadWorker(solum, "hello", `export default { fetch: () => new Response("hello") };`);
  await giveAddress(solum, "hello");
});
afterAll(() => solum[Symbol.asyncDispose]());

test("kill -9 of one under load fails requests on its own connections only, and it comes back", async () => {
  const clients = Array.from({ length: connections }, () => new Client(solum.port));
  await Promise.all(clients.map(async (client) => client.ask()));
  const pids = ingressPids();
  expect(pids).toHaveLength(2);
  const owners = new Map(clients.map((client) => [client, ownerOf(client.port, pids)]));
  const [victim = 0] = pids;
  const own = clients.filter((client) => owners.get(client) === victim);
  const others = clients.filter((client) => owners.get(client) !== victim);
  // That all go to one of the two has a chance of 1 in 2^23.
  expect([own.length > 0, others.length > 0]).toEqual([true, true]);
  const stop = new AbortController();
  const running = clients.map((client) => client.run(stop.signal));
  await sleep(300);
  process.kill(victim, "SIGKILL");
  // A process that ends loses its name before its sockets: only when it is gone whole does nobody reach it.
  await pollUntil({ ms: 20_000, everyMs: 5, what: "the end of it" }, () =>
    existsSync(`/proc/${victim}`) ? undefined : true,
  );
  // Who connects now is answered by the one that is left.
  for (let count = 0; count < 20; count++) await new Client(solum.port).ask();
  await pollUntil({ ms: 20_000, everyMs: 20, what: "its successor" }, () =>
    ingressPids().length === 2 ? true : undefined,
  );
  await sleep(300);
  stop.abort();
  await Promise.all(running);
  process.stdout.write(
    `  ${own.length} of ${connections} connections were the killed one's; ${own.filter(({ failures }) => failures > 0).length} of them noticed\n`,
  );
  expect(others.map(({ failures, sockets }) => [failures, sockets.size])).toEqual(others.map(() => [0, 1]));
  for (const client of own) expect(client.failures).toBeLessThanOrEqual(1);
  for (const client of clients) expect(client.answers).toBeGreaterThan(5);
});

/** One connection that is kept; when it breaks, another. */
class Client {
  failures = 0;
  answers = 0;
  readonly sockets = new Set<Socket>();
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #server: number;

  constructor(server: number) {
    this.#server = server;
  }

  /** Its end of the present connection. */
  get port(): number {
    return [...this.sockets].at(-1)?.localPort ?? 0;
  }

  async ask(): Promise<void> {
    const outgoing = request({
      host: "127.0.0.1",
      port: this.#server,
      headers: { host: "hello.localhost" },
      agent: this.#agent,
      signal: AbortSignal.timeout(20_000),
    });
    outgoing.on("socket", (socket) => this.sockets.add(socket));
    outgoing.end();
    const [answer] = (await once(outgoing, "response")) as [IncomingMessage];
    expect(await text(answer)).toBe("hello");
    this.answers++;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.ask().catch(() => this.failures++);
      await sleep(20);
    }
    this.#agent.destroy();
  }
}

function ingressPids(): number[] {
  return findChildren(solum.runtime)
    .filter(({ mark }) => mark.name.startsWith("ingress"))
    .map(({ facts }) => facts.pid);
}

/** Which of `pids` has the other end of the connection from local port `port` (`man 5 proc`, `/proc/net/tcp`). */
function ownerOf(port: number, pids: readonly number[]): number | undefined {
  const hex = (value: number) => value.toString(16).toUpperCase().padStart(4, "0");
  const rows = ["tcp", "tcp6"].flatMap((name) => readFileSync(`/proc/net/${name}`, "utf8").split("\n"));
  const ends = rows.map((row) => row.trim().split(/\s+/));
  const end = ends.find(
    ([, local, remote]) => local?.endsWith(`:${hex(solum.port)}`) && remote?.endsWith(`:${hex(port)}`),
  );
  const inode = end?.[9];
  return pids.find((pid) => inode !== undefined && socketsOf(pid).includes(`socket:[${inode}]`));
}

function socketsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((descriptor) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${descriptor}`)];
    } catch {
      return [];
    }
  });
}
