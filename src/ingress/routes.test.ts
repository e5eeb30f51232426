import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import type { Route, RoutePattern, RoutingTable } from "#runtime/routes.ts";
import { answering, FakeUpstream, response } from "../../test/support/fake-upstream.ts";
import { IngressRig, tableOf } from "../../test/support/ingress-rig.ts";
import { RawClient, readResponse, readResponses, sendRaw } from "../../test/support/raw-client.ts";

/** Who answers: custom domains, routes on zones, the platform's own processes, and the versions of a split. */

let rig: IngressRig;
const fakes: FakeUpstream[] = [];
const servers: Server[] = [];

afterEach(async () => {
  for (const fake of fakes.splice(0)) await fake.kill();
  await rig[Symbol.asyncDispose]();
  for (const server of servers.splice(0)) server.close();
});

/** Starts Workers that answer with their name. */
async function workers(...names: string[]): Promise<Omit<RoutingTable, "generation">> {
  rig = await IngressRig.start();
  for (const name of names) fakes.push(await FakeUpstream.listen(rig.socket(name), answering(name)));
  return tableOf(Object.fromEntries(names.map((name) => [name, [rig.socket(name)]])));
}

function worker(name: string): Route {
  return { kind: "worker", script: name, versions: [{ target: `t-${name}`, weight: 100 }] };
}

function pattern(host: string, path: string, name: string | null): RoutePattern {
  return { host, path, route: name === null ? null : worker(name) };
}

async function whoAnswers(host: string, target = "/"): Promise<string> {
  const { status, body } = await rig.get(target, [], host);
  return status === 200 ? body : String(status);
}

describe("routes on zones", () => {
  // workers/configuration/routing/routes: "Routes can fetch() Custom Domains and take precedence if configured on the same hostname."
  test("go before a custom domain on the same host, and other paths stay with it", async () => {
    const table = await workers("route", "domain");
    table.hosts["shop.example.com"] = worker("domain");
    table.patterns.push(pattern("shop.example.com", "/api/*", "route"));
    await rig.put(table);
    expect(await whoAnswers("shop.example.com", "/api/x")).toBe("route");
    expect(await whoAnswers("shop.example.com", "/other")).toBe("domain");
    expect(await whoAnswers("SHOP.example.com.", "/api/x")).toBe("route");
    expect(await whoAnswers("example.com", "/api/x")).toBe("404");
  });

  test("without a Worker lead to the custom domain, else to nothing", async () => {
    const table = await workers("all", "domain");
    table.hosts["shop.example.com"] = worker("domain");
    table.patterns.push(pattern("*example.com", "/*", "all"), pattern("*example.com", "/static/*", null));
    await rig.put(table);
    expect(await whoAnswers("example.com", "/x")).toBe("all");
    expect(await whoAnswers("example.com", "/static/x")).toBe("404");
    expect(await whoAnswers("shop.example.com", "/x")).toBe("all");
    expect(await whoAnswers("shop.example.com", "/static/x")).toBe("domain");
  });

  test("lead a Worker's own fetch() to the custom domain behind it", async () => {
    const table = await workers("logger", "shop");
    table.hosts["shop.example.com"] = worker("shop");
    table.patterns.push(pattern("shop.example.com", "/*", "logger"));
    await rig.put(table);
    expect(await whoAnswers("shop.example.com")).toBe("logger");
    const request = "GET / HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n";
    const through = async (name: string) =>
      readResponse(await sendRaw(`${rig.folder}/w/w-${name}/platform.sock`, request)).body;
    expect(await through("logger")).toBe("shop");
    expect(await through("shop")).toBe("logger");
  });

  test("cannot take the console's host or the platform's", async () => {
    const table = await workers("greedy");
    fakes.push(await FakeUpstream.listen(rig.socket("console"), answering("console")));
    fakes.push(await FakeUpstream.listen(rig.socket("s3"), answering("s3")));
    table.hosts["s3.localhost"] = { kind: "platform", socket: rig.socket("s3") };
    table.patterns.push(pattern("localhost", "/*", "greedy"), pattern("*.localhost", "/*", "greedy"));
    await rig.put(table);
    expect(await whoAnswers("localhost")).toBe("console");
    expect(await whoAnswers("s3.localhost")).toBe("s3");
    expect(await whoAnswers("any.localhost")).toBe("greedy");
  });

  test("decide for each request of a connection", async () => {
    const table = await workers("a", "b");
    table.patterns.push(pattern("example.com", "/a/*", "a"), pattern("example.com", "/b/*", "b"));
    await rig.put(table);
    using client = await rig.client();
    for (const path of ["/a/1", "/b/1", "/c", "/a/2"])
      client.write(`GET ${path} HTTP/1.1\r\nHost: example.com\r\n\r\n`);
    await client.until((text) => text.split("HTTP/1.1 ").length === 5 && text.endsWith("a"));
    expect(readResponses(client.received).map(({ status, body }) => (status === 200 ? body : status))).toEqual([
      "a",
      "b",
      404,
      "a",
    ]);
  });
});

describe("the platform's own processes", () => {
  test("get the head with what we know of the client, any path, and their errors stay theirs", async () => {
    rig = await IngressRig.start();
    const s3 = await FakeUpstream.listen(rig.socket("s3"), (connection) =>
      connection.send(response("Internal Server Error", ["Connection: close"], "500 Internal Server Error")),
    );
    fakes.push(s3);
    await rig.put({ ...tableOf({}), hosts: { "s3.localhost": { kind: "platform", socket: s3.path } } });
    const answer = await rig.get(
      "/cdn-cgi/x",
      ["x-amz-date: now", "cf-connecting-ip: 6.6.6.6", "X-Solum-Cf: {}", "X-Bind: y"],
      "s3.localhost:8787",
    );
    expect(answer).toMatchObject({ status: 500, body: "Internal Server Error" });
    const [head = ""] = s3.heads;
    expect(head).toMatch(/^GET \/cdn-cgi\/x HTTP\/1.1\r\nhost: s3.localhost:8787\r\n/);
    expect(head).toContain("x-amz-date: now\r\n");
    expect(head).toContain("cf-connecting-ip: 127.0.0.1\r\n");
    expect(head).not.toMatch(/6\.6\.6\.6|x-bind|x-solum-cf/i);
  });

  test("take bodies up to their own limit", async () => {
    rig = await IngressRig.start();
    const s3 = await FakeUpstream.listen(rig.socket("s3"), answering("stored"));
    fakes.push(s3);
    await rig.put({
      ...tableOf({}),
      hosts: { "s3.localhost": { kind: "platform", socket: s3.path, bodyBytesMax: 4 } },
    });
    const put = async (body: string) =>
      readResponse(
        await rig.raw(
          `PUT /k HTTP/1.1\r\nHost: s3.localhost\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
        ),
      ).status;
    expect(await put("four")).toBe(200);
    expect(await put("fives")).toBe(413);
  });

  test("that are not up are waited for, then said to be starting", async () => {
    rig = await IngressRig.start({}, { holdMs: 60 });
    await rig.put({
      ...tableOf({}),
      hosts: { "s3.localhost": { kind: "platform", socket: rig.socket("absent") } },
    });
    expect(await rig.get("/", [], "s3.localhost")).toMatchObject({
      status: 503,
      body: expect.stringContaining("This part of the platform is starting"),
    });
  });
});

describe("versions", () => {
  function split(weights: Record<string, number>): Route {
    return {
      kind: "worker",
      script: "app",
      versions: Object.entries(weights).map(([name, weight]) => ({ target: `t-${name}`, weight })),
    };
  }

  /** Sends requests on kept connections and counts who answers. */
  async function countAnswers(requests: number, fieldsOf: (n: number) => string): Promise<Map<string, string[]>> {
    const clients = await Promise.all(Array.from({ length: 20 }, () => RawClient.to(rig.port)));
    const each = requests / clients.length;
    const answers = await Promise.all(
      clients.map(async (client, index) => {
        const bodies: string[] = [];
        for (let sent = 0; sent < each; sent += 100) {
          client.received = "";
          const asked = Math.min(100, each - sent);
          for (let n = 0; n < asked; n++)
            client.write(`GET / HTTP/1.1\r\nHost: app.localhost\r\n${fieldsOf(index * each + sent + n)}\r\n`);
          await client.until((text) => text.split("\r\n\r\n").length > asked && /(old|new)$/.test(text));
          bodies.push(...readResponses(client.received).map(({ body }) => body));
        }
        client.abort();
        return bodies;
      }),
    );
    return Map.groupBy(answers.flat(), (body) => body);
  }

  /** Two Workers that answer with their names, and remember nothing, however many ask. */
  async function oldAndNew(): Promise<Omit<RoutingTable, "generation">> {
    rig = await IngressRig.start();
    for (const name of ["old", "new"]) {
      const server = createServer((socket) => {
        const answer = response(name);
        // Each request comes in one piece, since the ingress writes a head at once and none has a body.
        socket.on("data", (bytes) =>
          socket.write(answer.repeat(bytes.toString("latin1").split("\r\n\r\n").length - 1)),
        );
        socket.on("error", () => {});
      });
      server.listen(rig.socket(name));
      servers.push(server);
      await once(server, "listening");
    }
    return tableOf({ old: [rig.socket("old")], new: [rig.socket("new")] });
  }

  test("share requests by their weights: 10 % of 20,000, give or take 1 %", async () => {
    const table = await oldAndNew();
    table.hosts["app.localhost"] = split({ old: 90, new: 10 });
    await rig.put(table);
    const answers = await countAnswers(20_000, () => "");
    // Standard deviation of the share is 0.21 %, so this is nearly five of them.
    expect((answers.get("new")?.length ?? 0) / 20_000).toBeGreaterThan(0.09);
    expect((answers.get("new")?.length ?? 0) / 20_000).toBeLessThan(0.11);
    expect(answers.get("old")?.length).toBe(20_000 - (answers.get("new")?.length ?? 0));
  });

  test("share keys by their weights too, and a key stays with its version", async () => {
    const table = await oldAndNew();
    table.hosts["app.localhost"] = split({ old: 90, new: 10 });
    await rig.put(table);
    const keyed = (n: number) => `Cloudflare-Workers-Version-Key: user-${n}\r\n`;
    const answers = await countAnswers(20_000, keyed);
    expect((answers.get("new")?.length ?? 0) / 20_000).toBeGreaterThan(0.09);
    expect((answers.get("new")?.length ?? 0) / 20_000).toBeLessThan(0.11);
    for (const n of [0, 1, 2, 3, 4, 5, 6, 7]) {
      const same = await countAnswers(200, () => keyed(n));
      expect([...same.values()].map(({ length }) => length)).toEqual([200]);
    }
  });

  test("of weight 0 answer those alone who ask for them", async () => {
    const table = await oldAndNew();
    table.hosts["app.localhost"] = split({ old: 100, new: 0 });
    await rig.put(table);
    expect([...(await countAnswers(2000, () => "")).keys()]).toEqual(["old"]);
    const keyed = await countAnswers(2000, (n) => `Cloudflare-Workers-Version-Key: ${n}\r\n`);
    expect([...keyed.keys()]).toEqual(["old"]);
    const forced = async (value: string) =>
      (await rig.get("/", [`Cloudflare-Workers-Version-Overrides: ${value}`])).body;
    expect(await forced('app="v-new"')).toBe("new");
    expect(await forced('other="v-old", app="v-new"')).toBe("new");
    expect(await forced('app="v-none"')).toBe("old");
    expect(await forced('other="v-new"')).toBe("old");
  });
});
