import { existsSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { signCapability } from "#core/capability.ts";
import { pollUntil } from "#core/deadline.ts";
import { answering, response } from "../../test/support/fake-upstream.ts";
import { capabilityKey, IngressRig, tableOf } from "../../test/support/ingress-rig.ts";
import { RawClient, readResponse, sendRaw } from "../../test/support/raw-client.ts";
import { startWorker, type WorkerdProcess } from "../../test/support/workerd-process.ts";

let rig: IngressRig;
const processes: WorkerdProcess[] = [];
beforeEach(async () => {
  rig = await IngressRig.start({}, { platformRequests: 50, holdMs: 200 });
});
afterEach(async () => {
  for (const { kill } of processes.splice(0)) await kill();
  await rig.quiet();
  await rig[Symbol.asyncDispose]();
});

const platformSocket = (name: string) => join(rig.folder, "w", `w-${name}`, "platform.sock");
const capability = (holder: string, service: string, kind = "service") =>
  signCapability(capabilityKey, { scope: `w-${holder}`, kind, resource: `acc/${service}` });
const until = (ready: () => boolean) =>
  pollUntil({ ms: 10_000, everyMs: 2, what: "the condition" }, () => ready() || undefined);

/** A service binding as the runtime writes it: private headers on both sides, and the capability. */
const serviceBinding = (holder: string, service: string) => ({
  bindings: `(name = "CALLEE", service = "callee")`,
  services: `(name = "callee", external = (
    address = "unix:${platformSocket(holder)}",
    http = (
      cfBlobHeader = "x-solum-cf", forwardedProtoHeader = "x-solum-proto",
      injectRequestHeaders = [(name = "x-bind", value = "${capability(holder, service)}")],
    ),
  )),`,
});

/** The platform's own host names, as the egress router sends them. */
const ownHosts = (holder: string) => ({
  bindings: `(name = "HOSTS", service = "hosts")`,
  services: `(name = "hosts", external = (address = "unix:${platformSocket(holder)}", http = (style = proxy))),`,
});

async function worker(
  name: string,
  code: string,
  parts: { bindings: string; services: string } = { bindings: "", services: "" },
) {
  processes.push(await startWorker({ folder: rig.folder, name, code, socket: rig.socket(name), ...parts }));
}

const tellAll = `export default {
  async fetch(request) {
    return Response.json({ url: request.url, cf: request.cf, headers: Object.fromEntries(request.headers), body: await request.text() });
  },
};`;

describe("a service binding", () => {
  test("passes the request as the caller made it, with cf and scheme, and the answer as the callee made it", async () => {
    await rig.route({ caller: [rig.socket("caller")], callee: [rig.socket("callee")] });
    await worker("callee", tellAll);
    await worker(
      "caller",
      `export default {
        async fetch(request, env) {
          const answer = await env.CALLEE.fetch(new Request("https://any.example/x?y", {
            method: "POST", body: "hello", cf: request.cf,
            headers: { "cf-anything": "kept", "x-forwarded-for": "1.2.3.4", "x-bind": "forged", "x-solum-cf": "forged", "x-solum-else": "forged" },
          }));
          return Response.json({ status: answer.status, headers: Object.fromEntries(answer.headers), seen: await answer.json() });
        },
      };`,
      serviceBinding("caller", "callee"),
    );
    const { body } = await rig.get("/", ["Accept-Encoding: br"], "caller.localhost");
    expect(JSON.parse(body)).toEqual({
      status: 200,
      headers: { "content-length": expect.any(String), "content-type": "application/json" },
      seen: {
        url: "https://any.example/x?y",
        body: "hello",
        cf: expect.objectContaining({ colo: "SOL", clientAcceptEncoding: "br" }),
        headers: {
          "cf-anything": "kept",
          "content-length": "5",
          "content-type": "text/plain;charset=UTF-8",
          host: "any.example",
          "x-forwarded-for": "1.2.3.4",
        },
      },
    });
  });

  test("streams, and carries WebSockets", async () => {
    await rig.route({ caller: [rig.socket("caller")], callee: [rig.socket("callee")] });
    await worker(
      "callee",
      `export default { fetch(request) {
        if (request.headers.get("upgrade") !== "websocket") return new Response(request.body);
        const [client, server] = Object.values(new WebSocketPair());
        server.accept();
        server.addEventListener("message", ({ data }) => server.send("echo " + data));
        return new Response(null, { status: 101, webSocket: client });
      } };`,
    );
    await worker(
      "caller",
      `export default { async fetch(request, env) {
        if (new URL(request.url).pathname === "/stream") return env.CALLEE.fetch(request);
        const { webSocket } = await env.CALLEE.fetch("http://x/", { headers: { upgrade: "websocket" } });
        webSocket.accept();
        const message = new Promise((resolve) => webSocket.addEventListener("message", ({ data }) => resolve(data)));
        webSocket.send("hi");
        const text = await message;
        webSocket.close();
        return new Response(text);
      } };`,
      serviceBinding("caller", "callee"),
    );
    expect((await rig.get("/", [], "caller.localhost")).body).toBe("echo hi");
    const body = "x".repeat(300_000);
    const sent = `POST /stream HTTP/1.1\r\nHost: caller.localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n493e0\r\n${body}\r\n0\r\n\r\n`;
    expect(readResponse(await rig.raw(sent)).body).toBe(body);
  });

  test("follows the callee's deploys, and says so when there is no callee", async () => {
    await rig.fake(answering("old"), "old");
    await rig.fake(answering("new"), "new");
    const ask = () =>
      sendRaw(
        platformSocket("me"),
        `GET / HTTP/1.1\r\nHost: x\r\nx-bind: ${capability("me", "callee")}\r\nConnection: close\r\n\r\n`,
      );
    const routed = (name: string) => {
      const table = tableOf({ me: [], old: [rig.socket("old")], new: [rig.socket("new")] });
      return { ...table, services: { "acc/callee": table.services[`acc/${name}`]! } };
    };
    await rig.put(routed("old"));
    expect(readResponse(await ask()).body).toBe("old");
    await rig.put(routed("new"));
    expect(readResponse(await ask()).body).toBe("new");
    await rig.route({ me: [] });
    const missing = readResponse(await ask());
    expect(missing.status).toBe(502);
    expect(missing.body).toContain('The service "callee" is not there');
  });

  test("of another Worker, of another kind, or made up, is refused", async () => {
    const app = await rig.fake(answering("reached"));
    const good = capability("app", "app");
    const tokens = [
      capability("other", "app"),
      capability("app", "app", "kv"),
      good.replace("acc%2Fapp", "acc%2Fother"),
      `${good}x`,
      "service",
      "",
    ];
    for (const token of tokens)
      expect
        .soft(
          await sendRaw(
            platformSocket("app"),
            `GET / HTTP/1.1\r\nHost: app.localhost\r\nx-bind: ${token}\r\nConnection: close\r\n\r\n`,
          ),
          token,
        )
        .toMatch(/^HTTP\/1.1 403 /);
    expect(app.heads).toEqual([]);
    expect(
      await sendRaw(platformSocket("app"), `GET / HTTP/1.1\r\nHost: x\r\nx-bind: ${good}\r\nConnection: close\r\n\r\n`),
    ).toMatch(/reached$/);
    // From outside it is only a header that is dropped.
    expect(await rig.get("/", [`x-bind: ${good}`], "nobody.localhost")).toMatchObject({ status: 404 });
  });

  test("whose callee throws gives the caller workerd's plain answer", async () => {
    const thrown =
      "HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 21\r\n\r\nInternal Server Error";
    await rig.fake((connection) => connection.send(thrown));
    const received = await sendRaw(
      platformSocket("app"),
      `GET / HTTP/1.1\r\nHost: x\r\nx-bind: ${capability("app", "app")}\r\nConnection: close\r\n\r\n`,
    );
    expect(readResponse(received)).toMatchObject({ status: 500, body: "Internal Server Error" });
    expect(received).not.toMatch(/cf-ray|date:/i);
  });
});

describe("the platform's own host names", () => {
  test("reach a Worker as from outside, and say which platform calls", async () => {
    await rig.route({ caller: [rig.socket("caller")], app: [rig.socket("app")] });
    await worker("app", tellAll);
    await worker(
      "caller",
      `export default { fetch(request, env) {
        return env.HOSTS.fetch("https://app.localhost/deep?q", { headers: { "cf-connecting-ip": "1.2.3.4", "x-real-ip": "1.2.3.4", "cf-worker": "forged" } });
      } };`,
      ownHosts("caller"),
    );
    expect(JSON.parse((await rig.get("/", [], "caller.localhost")).body)).toMatchObject({
      url: "https://app.localhost/deep?q",
      cf: { colo: "SOL" },
      headers: {
        "cdn-loop": "solum; loops=1",
        "cf-connecting-ip": "2a06:98c0:3600::103",
        "cf-worker": "localhost",
        "cf-ray": expect.stringMatching(/^[0-9a-f]{16}-SOL$/),
        host: "app.localhost",
        "x-real-ip": "2a06:98c0:3600::103",
        "x-forwarded-proto": "https",
      },
    });
  });

  // scale-reliability-security §3.3, 45
  test("a loop that passes its request on ends at the sixteenth pass", async () => {
    await rig.route({ caller: [rig.socket("caller")] });
    await worker("caller", `export default { fetch: (request, env) => env.HOSTS.fetch(request) };`, ownHosts("caller"));
    const answer = await rig.get("/", [], "caller.localhost");
    expect(answer.status).toBe(508);
    expect(answer.body).toContain("error code: 1019");
  });

  test("come through the router of a Worker's fetch too, which counts the passes itself", async () => {
    const app = await rig.fake(answering("app"));
    const ask = (token: string, loops: number) =>
      sendRaw(
        platformSocket("app"),
        `GET / HTTP/1.1\r\nHost: app.localhost\r\nx-bind: ${token}\r\nx-solum-proto: https\r\ncdn-loop: solum; loops=${loops}\r\nConnection: close\r\n\r\n`,
      );
    const router = signCapability(capabilityKey, { scope: "w-app", kind: "platform", resource: "" });
    expect(await ask(router, 2)).toMatch(/app$/);
    expect(app.heads.at(-1)).toContain("\r\ncdn-loop: solum; loops=2\r\n");
    expect(app.heads.at(-1)).toContain("\r\nx-solum-proto: https\r\n");
    expect(app.heads.at(-1)).not.toContain("x-bind");
    expect(await ask(router, 17)).toMatch(/^HTTP\/1.1 508 /);
    const others = signCapability(capabilityKey, { scope: "w-other", kind: "platform", resource: "" });
    expect(await ask(others, 1)).toMatch(/^HTTP\/1.1 403 /);
  });

  test("a loop that hides ends when too much is under way", async () => {
    await rig.route({ caller: [rig.socket("caller")] });
    await worker(
      "caller",
      `export default { fetch: (request, env) => env.HOSTS.fetch("http://caller.localhost/") };`,
      ownHosts("caller"),
    );
    expect((await rig.get("/", [], "caller.localhost")).status).toBe(508);
    await rig.quiet();
    expect((await rig.get("/", [], "caller.localhost")).status).toBe(508);
  });

  test("that nobody has are 404, and the console is reached too", async () => {
    await rig.fake(answering("app"));
    const ask = (host: string) =>
      sendRaw(platformSocket("app"), `GET http://${host}/ HTTP/1.1\r\nConnection: close\r\n\r\n`);
    expect(await ask("nobody.localhost")).toMatch(/^HTTP\/1.1 404 /);
    expect(await ask("app.localhost")).toMatch(/app$/);
    expect(await ask("localhost")).toMatch(/^HTTP\/1.1 503 /);
  });
});

describe("platform sockets", () => {
  test("are for this user alone, exist for the Workers of the table, and go with them", async () => {
    await rig.route({ a: [], b: [] });
    for (const name of ["a", "b"]) expect(statSync(platformSocket(name)).mode & 0o777).toBe(0o600);
    // A process that keeps a connection does not keep a table from being acknowledged.
    using kept = await RawClient.to(platformSocket("a"));
    await rig.route({ b: [] });
    expect(kept.ending).toBeUndefined();
    await until(() => !existsSync(platformSocket("a")));
    expect(existsSync(platformSocket("b"))).toBe(true);
    const early = join(rig.folder, "w", "w-c", "platform.sock");
    await rig.ingress.listenForWorker("w-c");
    expect(await sendRaw(early, "GET / HTTP/1.1\r\nHost: b.localhost.\r\nConnection: close\r\n\r\n")).toMatch(
      /^HTTP\/1.1 50/,
    );
  });

  test("are there again after somebody cleared their folder and sent a table", async () => {
    await rig.fake(answering("ok"));
    rmSync(join(rig.folder, "w"), { recursive: true });
    await rig.route({ app: [rig.socket("app")] });
    expect(
      await sendRaw(platformSocket("app"), "GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n"),
    ).toMatch(/ok$/);
  });

  test("are there again after a restart, from the last good table", async () => {
    const app = await rig.fake((connection) => connection.send(response("ok")));
    await rig.ingress.close();
    expect(existsSync(platformSocket("app"))).toBe(false);
    rig = await rig.restart();
    expect(
      await sendRaw(platformSocket("app"), "GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n"),
    ).toMatch(/ok$/);
    await app.kill();
  });
});
