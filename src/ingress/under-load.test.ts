import { rmSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { answering } from "../../test/support/fake-upstream.ts";
import { IngressRig, tableOf } from "../../test/support/ingress-rig.ts";
import { RawClient, readResponses } from "../../test/support/raw-client.ts";
import { startWorker, type WorkerdProcess } from "../../test/support/workerd-process.ts";

let rig: IngressRig;
const processes: WorkerdProcess[] = [];
afterEach(async () => {
  await rig.quiet();
  for (const { kill } of processes.splice(0)) await kill();
  await rig[Symbol.asyncDispose]();
});

/** Says which version it is, and how many bytes it was sent. */
const codeOf = (version: string) => `export default {
  async fetch(request) {
    const body = request.body ? await request.text() : "";
    return new Response("${version} " + body.length);
  }
};`;

async function startVersion(name: string, socket = rig.socket(name)): Promise<WorkerdProcess> {
  const process = await startWorker({ folder: rig.folder, name, code: codeOf(name), socket });
  processes.push(process);
  return process;
}

/** Clients that ask one thing after the other on kept connections, until told to stop. */
class Load {
  readonly answers: string[] = [];
  readonly failures: string[] = [];
  #stopped = false;
  readonly #done: Promise<unknown>;

  constructor(port: number, requests: string[]) {
    this.#done = Promise.all(requests.map((request) => this.#ask(port, request)));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }

  async #ask(port: number, request: string): Promise<void> {
    using client = await RawClient.to(port);
    while (!this.#stopped) {
      client.received = "";
      client.write(request);
      await client.until((text) => isWhole(text) || client.ending !== undefined);
      const [answer] = isWhole(client.received) ? readResponses(client.received) : [];
      if (answer?.status === 200) this.answers.push(answer.body);
      else this.failures.push(client.received.slice(0, 200) || `connection ${client.ending}`);
      if (client.ending !== undefined) return;
    }
  }
}

function isWhole(text: string): boolean {
  const length = /content-length: (\d+)/i.exec(text)?.[1];
  return length !== undefined && text.length >= text.indexOf("\r\n\r\n") + 4 + Number(length);
}

const get = "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
const post = `POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 1000\r\n\r\n${"x".repeat(1000)}`;
const requests = [get, post, get, post, get, post, get, post];

// G6, F32
test(
  "deploys under load fail nothing, and once one is acknowledged nothing old answers",
  { timeout: 60_000 },
  async () => {
    rig = await IngressRig.start();
    let running = await startVersion("v0");
    await rig.route({ app: [rig.socket("v0")] });
    const load = new Load(rig.port, requests);
    for (let n = 1; n <= 6; n++) {
      const next = await startVersion(`v${n}`);
      const before = load.answers.length;
      await pollUntil(
        { ms: 10_000, everyMs: 2, what: "some load" },
        () => load.answers.length > before + 50 || undefined,
      );
      await rig.route({ app: [rig.socket(`v${n}`)] });
      expect((await rig.get("/")).body).toBe(`v${n} 0`);
      const old = rig.socket(`v${n - 1}`);
      await pollUntil({ ms: 10_000, everyMs: 1, what: "the old version's requests to end" }, () =>
        rig.ingress.open(old).requests === 0 ? true : undefined,
      );
      // workerd ends by itself once its connections have: so the ingress has closed those that were idle.
      await running.kill("SIGTERM");
      running = next;
    }
    await load.stop();
    expect(load.failures).toEqual([]);
    for (let n = 0; n <= 6; n++) expect(load.answers.filter((body) => body === `v${n} 1000`).length).toBeGreaterThan(0);
    expect(load.answers.filter((body) => !/^v[0-6] (0|1000)$/.test(body))).toEqual([]);
  },
);

// F01, G8
test(
  "a process that is killed and comes back costs no request that may be run twice",
  { timeout: 60_000 },
  async () => {
    rig = await IngressRig.start();
    let running = await startVersion("app");
    await rig.route({ app: [rig.socket("app")] });
    const safe = new Load(rig.port, [get, get, get, get]);
    const unsafe = new Load(rig.port, [post, post, post, post]);
    for (let n = 0; n < 4; n++) {
      const before = safe.answers.length;
      await pollUntil(
        { ms: 10_000, everyMs: 2, what: "some load" },
        () => safe.answers.length > before + 50 || undefined,
      );
      await running.kill();
      rmSync(rig.socket("app"));
      running = await startVersion("app");
    }
    await Promise.all([safe.stop(), unsafe.stop()]);
    expect(safe.failures).toEqual([]);
    // Of the others only those may fail that were under way when it was killed: one a client at each kill.
    expect(unsafe.failures.length).toBeLessThanOrEqual(16);
    expect(unsafe.failures.filter((received) => !received.startsWith("HTTP/1.1 502 "))).toEqual([]);
    expect(unsafe.answers.length).toBeGreaterThan(0);
  },
);

test("requests of one connection go to the host that each of them names", async () => {
  rig = await IngressRig.start();
  const names = ["a", "b", "c"];
  for (const name of names) await rig.fake(answering(name), name);
  await rig.route(Object.fromEntries(names.map((name) => [name, [rig.socket(name)]])));
  const asked = Array.from({ length: 60 }, (_, n) => names[(n * 7) % 3] ?? "");
  using client = await rig.client();
  client.write(asked.map((name) => `GET / HTTP/1.1\r\nHost: ${name}.localhost\r\n\r\n`).join(""));
  await client.until((text) => text.split("HTTP/1.1 200").length === 61 && text.endsWith(asked.at(-1) ?? ""));
  expect(readResponses(client.received).map(({ body }) => body)).toEqual(asked);
});

test("among a version's processes the one with the least under way is asked", async () => {
  rig = await IngressRig.start();
  const held: (() => void)[] = [];
  const one = await rig.fake((connection) => held.push(() => connection.socket.destroy()), "one");
  const two = await rig.fake((connection) => held.push(() => connection.socket.destroy()), "two");
  await rig.route({ app: [one.path, two.path] });
  const clients = await Promise.all(Array.from({ length: 10 }, () => rig.client()));
  for (const client of clients) client.write(post);
  await pollUntil({ ms: 5000, everyMs: 2, what: "all to be asked" }, () => held.length === 10 || undefined);
  expect([one.heads.length, two.heads.length]).toEqual([5, 5]);
  for (const client of clients) client.abort();
});

test("a split follows its weights, a key stays with a version, and an override is obeyed", async () => {
  rig = await IngressRig.start();
  const fakes = { old: await rig.fake(answering("old"), "old"), new: await rig.fake(answering("new"), "new") };
  const table = tableOf({ old: [fakes.old.path], new: [fakes.new.path] });
  const split = (weight: number) => ({
    ...table,
    hosts: {
      "app.localhost": {
        kind: "worker" as const,
        script: "app",
        versions: [
          { target: "t-old", weight: 100 - weight },
          { target: "t-new", weight },
        ],
      },
    },
  });
  const ask = async (...fields: string[]) => (await rig.get("/", fields)).body;
  await rig.put(split(20));
  let fresh = 0;
  for (let n = 0; n < 500; n++) if ((await ask()) === "new") fresh++;
  // 500 draws of 0.2: 100 on average, standard deviation 9; five of them.
  expect(Math.abs(fresh - 100)).toBeLessThan(45);
  expect(await ask('Cloudflare-Workers-Version-Overrides: other="v-old", app="v-new"')).toBe("new");
  expect(await ask('Cloudflare-Workers-Version-Overrides: app="v-old"')).toBe("old");
  const keys = Array.from({ length: 60 }, (_, n) => `user-${n}`);
  const answersOf = async () => await Promise.all(keys.map((key) => ask(`Cloudflare-Workers-Version-Key: ${key}`)));
  const at20 = await answersOf();
  expect(await answersOf()).toEqual(at20);
  expect(new Set(at20).size).toBe(2);
  await rig.put(split(60));
  const at60 = await answersOf();
  expect(keys.filter((_, n) => at20[n] === "new" && at60[n] === "old")).toEqual([]);
});
