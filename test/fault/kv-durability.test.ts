import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, request, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { bindHeader } from "#core/binding-piece.ts";
import { signCapability } from "#core/capability.ts";
import { sleep } from "#core/deadline.ts";
import { openKvStore } from "#products/kv/sqlite-store.ts";
import type { KvSpace, KvStore } from "#products/kv/store.ts";
import { killRounds } from "../support/kill-rounds.ts";
import { keysOf, valueAfter } from "../support/kv-durability.ts";

const node = [process.execPath, "--disable-warning=ExperimentalWarning"] as const;
const program = (name: string) => join(import.meta.dirname, name);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "solum-kv-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const open = async () => openKvStore({ file: join(folder, "kv.db"), values: join(folder, "kv") });

const rounds = killRounds(15);
const manyRounds = { timeout: 60_000 + rounds * 5000 };

test(
  "a write that was answered survives SIGKILL, and one that was not is there whole or not at all",
  manyRounds,
  async () => {
    let namespaceId: string;
    {
      await using store = await open();
      ({ id: namespaceId } = await store.createNamespace("acme", "main"));
    }
    const answered = new Map<number, number>();
    let acknowledged = 0;
    for (let round = 0; round < rounds; round++) {
      // Every round begins with a number of its own, so that an older write cannot be taken for one of this round.
      const started = await writeUntilKilled(namespaceId, round * 10_000 + 1, answered, 20 + Math.random() * 300);
      acknowledged += started.answers;
      await using store = await open();
      for (const [id, last] of started.starts)
        await checkWriter(store, { boundNamespaceId: namespaceId }, id, answered.get(id) ?? 0, last);
      // What the next round finds is what this one left.
      for (const [id] of started.starts) answered.delete(id);
      await store.deleteMany(
        { boundNamespaceId: namespaceId },
        [...started.starts.keys()].flatMap((id) => [keysOf({ id }).single, ...keysOf({ id }).bulk]),
      );
    }
    expect(acknowledged).toBeGreaterThan(rounds * 8);
  },
);

/** Runs the writing program and kills it `afterMs` after its first answer. Notes the last write answered for each writer. */
async function writeUntilKilled(namespaceId: string, first: number, answered: Map<number, number>, afterMs: number) {
  const child = spawn(node[0], [...node.slice(1), program("kv-writer.ts"), folder, namespaceId, String(first)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const starts = new Map<number, number>();
  let answers = 0;
  let timer: NodeJS.Timeout | undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    const [kind, id, n] = line.split(" ");
    if (kind === "s") starts.set(Number(id), Number(n));
    else {
      answered.set(Number(id), Number(n));
      answers++;
      timer ??= setTimeout(() => child.kill("SIGKILL"), afterMs);
    }
  }
  clearTimeout(timer);
  expect(child.signalCode ?? (await once(child, "exit"))[1]).toBe("SIGKILL");
  return { starts, answers };
}

/** Finds the keys of a writer as write `acked` left them, or as the one that had begun, `started`, did. */
async function checkWriter(store: KvStore, space: KvSpace, id: number, acked: number, started: number): Promise<void> {
  const { single, bulk } = keysOf({ id });
  const fits = async (keys: string[], n: number) => {
    for (const key of keys) {
      const value = await store.get(space, key);
      const wanted = valueAfter(key, n);
      const got = value && (value.body instanceof Uint8Array ? value.body : await buffer(value.body));
      if (got === undefined ? wanted !== undefined : !wanted || Buffer.compare(got, wanted) !== 0) return false;
    }
    return true;
  };
  for (const keys of [[single], bulk]) {
    const possible = [await fits(keys, acked), started > acked && (await fits(keys, started))];
    expect.soft(possible, `${keys[0]} after write ${acked} was answered and ${started} begun`).toContain(true);
  }
}

const strace = spawnSync("strace", ["-V"]).status === 0;

test.skipIf(!strace)(
  "with a disk that takes 20 ms for each fsync, writes are grouped and reads do not wait (needs strace)",
  async () => {
    const slow = [
      "-f",
      "--seccomp-bpf",
      "-qq",
      "-o",
      "/dev/null",
      "-e",
      "trace=fsync,fdatasync",
      "-e",
      "inject=fsync,fdatasync:delay_enter=20000",
    ];
    const key = Buffer.alloc(32, 7);
    const server = spawn("strace", [...slow, ...node, program("kv-server.ts"), folder, key.toString("hex")], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const ended = once(server, "exit");
    try {
      const [namespaceId] = (await once(createInterface({ input: server.stdout }), "line")) as [string];
      const capability = signCapability(key, { kind: "kv", scope: "w1", resource: namespaceId });
      const agent = new Agent({ keepAlive: true, maxSockets: 200 });
      const send = async (method: string, path: string, body?: string) => {
        const outgoing = request({
          socketPath: join(folder, "state.sock"),
          agent,
          method,
          path,
          headers: { [bindHeader]: capability, "content-length": Buffer.byteLength(body ?? "") },
        });
        outgoing.end(body);
        const [response] = (await once(outgoing, "response")) as [IncomingMessage];
        response.resume();
        await once(response, "end");
        expect(response.statusCode).toBe(200);
      };
      await send("PUT", "/read?urlencoded=true", "value");

      const end = performance.now() + 4000;
      let puts = 0;
      const reads: number[] = [];
      const writers = Array.from({ length: 64 }, async (_, id) => {
        for (let n = 0; performance.now() < end; n++, puts++)
          await send("PUT", `/w${id}-${n % 50}?urlencoded=true`, `value ${n}`);
      });
      const readers = Array.from({ length: 2 }, async () => {
        while (performance.now() < end) {
          const start = performance.now();
          await send("GET", "/read?urlencoded=true");
          reads.push(performance.now() - start);
          await sleep(2);
        }
      });
      await Promise.all([...writers, ...readers]);
      agent.destroy();
      reads.sort((a, b) => a - b);
      const at = (share: number) => reads[Math.floor(reads.length * share)] ?? 0;
      const figures = { putsPerSecond: puts / 4, readP50: at(0.5), readP99: at(0.99) };
      // oxlint-disable-next-line no-console -- the figures are what one wants to know of a run
      console.info("64 writers, 20 ms a fsync:", figures);
      // Without groups 64 writers of 20 ms would reach 50 a second, and reads would wait for them.
      expect(figures.putsPerSecond).toBeGreaterThan(250);
      expect(figures.readP50).toBeLessThan(10);
    } finally {
      server.stdin.end();
      await ended;
    }
  },
);
