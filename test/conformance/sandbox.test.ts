import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo, type Server } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as textOf } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dataLayout, runtimeLayout } from "#core/layout.ts";
import { signCapability, type Capability } from "#core/capability.ts";
import { findProgram } from "#core/find-program.ts";
import { readKeys } from "#roles/keys.ts";
import { findChildren } from "#runtime/proc.ts";
import { startDnsServer } from "../support/dns-server.ts";
import { RawClient } from "../support/raw-client.ts";
import { Solum } from "../support/start-solum.ts";

/**
 * What a Worker can reach besides what it was given: nothing. The test runs itself, and all of Solum with it, in a network
 * namespace that has only loopback, so that a hole would lead nowhere; names there are what the test says they are.
 */
const insideVariable = "SOLUM_TEST_INSIDE";
const inside = process.env[insideVariable] !== undefined;
const root = join(import.meta.dirname, "..", "..");

if (!inside)
  test("in a network namespace of its own, all of the below holds", { timeout: 280_000 }, async (context) => {
    const bwrap = findProgram("bwrap");
    if (!bwrap) return context.skip("bubblewrap is not installed");
    const files = mkdtempSync(join(tmpdir(), "solum-names-"));
    const [hosts, resolver] = [join(files, "hosts"), join(files, "resolv.conf")];
    writeFileSync(
      hosts,
      "127.0.0.1 localhost\n169.254.169.254 metadata.example\n10.0.0.9 private.example\n127.0.0.1 loop.example\n",
    );
    writeFileSync(resolver, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
    try {
      const names = ["--ro-bind", hosts, "/etc/hosts", "--ro-bind", resolver, "/etc/resolv.conf"];
      // Root in there, so that the test can be its name server: port 53.
      const namespace = [
        "--dev-bind",
        "/",
        "/",
        "--unshare-user",
        "--uid",
        "0",
        "--gid",
        "0",
        "--cap-add",
        "ALL",
        "--unshare-net",
        ...names,
      ];
      const allowed = spawnSync(bwrap, [...namespace, "--", "true"], { encoding: "utf8" });
      if (allowed.status !== 0) return context.skip(`namespaces are not permitted: ${allowed.stderr.trim()}`);
      const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
      const again = [process.execPath, vitest, "run", "--project", "conformance", "test/conformance/sandbox.test.ts"];
      const run = spawn(bwrap, ["--die-with-parent", ...namespace, "--", ...again], {
        cwd: root,
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, [insideVariable]: "1" },
      });
      const output = Promise.all([textOf(run.stdout), textOf(run.stderr)]);
      const [code] = (await once(run, "exit")) as [number | null];
      expect(code, (await output).join("\n")).toBe(0);
    } finally {
      rmSync(files, { recursive: true });
    }
  });

if (!inside)
  test("without a sandbox Workers run all the same, and the status says plainly that they are not isolated", async () => {
    await using solum = await Solum.start("--sandbox", "off");
    const { code, output } = await solum.wrangler(solum.project("hello"), ["deploy"]);
    expect(code, output).toBe(0);
    expect((await solum.request("hello.localhost")).status).toBe(200);
    const status = await solum.run("status", "--data", solum.data);
    expect(status.output).toMatch(/^Isolation of Workers: none, not isolated from this machine: only workerd/m);
    expect(status.output).toMatch(/^Why not better: the setting sandbox is off$/m);
  });

if (inside) describe("a Worker", whatAWorkerReaches);

function whatAWorkerReaches(): void {
  let solum: Solum;
  let names: Awaited<ReturnType<typeof startDnsServer>>;
  /** Servers of this machine that no Worker may reach, and how often one did. */
  let traps: Server[];
  let trapPort: number;
  let caught = 0;
  /** A name that is another address each time: an honest one to whoever checks, loopback to whoever connects. */
  let turn = 0;
  const rebound = (name: string) => {
    if (name.startsWith("both")) return ["93.184.215.14", "127.0.0.1"];
    return name.startsWith("turn") ? [turn++ % 2 === 0 ? "93.184.215.14" : "127.0.0.1"] : [];
  };

  beforeAll(async () => {
    names = await startDnsServer(rebound);
    traps = [];
    trapPort = await trap("127.0.0.1", 0);
    await trap("::1", trapPort);
    solum = await Solum.start();
    for (const project of ["bindings", "prober"]) {
      const { code, output } = await solum.wrangler(solum.project(project), ["deploy"]);
      expect(code, output).toBe(0);
    }
  });
  afterAll(async () => {
    await solum[Symbol.asyncDispose]();
    names.close();
    for (const server of traps) server.close();
  });

  async function trap(host: string, port: number): Promise<number> {
    const server = createServer((socket) => {
      caught++;
      socket.on("error", () => socket.destroy());
      socket.end("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhole");
    }).listen(port, host);
    await once(server, "listening");
    traps.push(server);
    return (server.address() as AddressInfo).port;
  }

  const attempt = async (way: string, to: string) => {
    const { text } = await solum.request("prober.localhost", "/", {
      method: "POST",
      body: JSON.stringify({ way, to }),
    });
    return JSON.parse(text) as { reached?: unknown; refused?: string };
  };

  test("is in the namespace that this test needs", async () => {
    expect(
      readFileSync("/proc/net/dev", "utf8")
        .match(/^\s*\w+:/gm)
        ?.map((name) => name.trim()),
    ).toEqual(["lo:"]);
    // The ways work at all: what follows is refused for what it is.
    expect(await attempt("fetch", `http://bindings.localhost:${solum.port}/vars`)).toEqual({ reached: 200 });
  });

  const loopback = "is this machine's loopback";
  const privately = "is a private address";
  const reserved = "is a reserved or metadata address";
  test.each([
    ["127.0.0.1", loopback],
    ["127.1", loopback],
    ["127.9.9.9", loopback],
    ["0.0.0.0", loopback],
    ["[::1]", loopback],
    ["[::]", loopback],
    ["[::ffff:127.0.0.1]", loopback],
    ["2130706433", loopback],
    ["0x7f000001", loopback],
    ["0177.0.0.1", loopback],
    ["0x7f.1", loopback],
    ["loop.example", loopback],
    ["localhost", loopback],
    ["169.254.169.254", reserved],
    ["2852039166", reserved],
    ["0xA9FEA9FE", reserved],
    ["0251.0376.0251.0376", reserved],
    ["[fd00:ec2::254]", reserved],
    ["[::ffff:169.254.169.254]", reserved],
    ["[64:ff9b::a9fe:a9fe]", reserved],
    ["metadata.example", reserved],
    ["10.0.0.1", privately],
    ["172.16.0.1", privately],
    ["192.168.1.1", privately],
    ["[fd12::1]", privately],
    ["private.example", privately],
    ["100.64.0.1", reserved],
  ])("is refused %s in every way, and fetch says by which rule", { timeout: 60_000 }, async (host, rule) => {
    const url = `http://${host}:${trapPort}/`;
    const refusal = {
      refused: expect.stringMatching(new RegExp(`^TypeError: fetch to .* failed: refused, .*${rule}`)) as string,
    };
    expect.soft(await attempt("fetch", url), url).toEqual(refusal);
    expect.soft(await attempt("fetch", `https://${host}:${trapPort}/`), url).toEqual(refusal);
    // By way of a redirect that a public address gives.
    const redirect = `http://prober.localhost:${solum.port}/redirect?to=${encodeURIComponent(url)}`;
    expect.soft(await attempt("fetch", redirect), redirect).toEqual(refusal);
    for (const way of ["connect", "websocket", "socket", "request"]) {
      const to =
        { connect: `${host}:${trapPort}`, websocket: `ws://${host}:${trapPort}/`, socket: `${host} ${trapPort}` }[
          way
        ] ?? url;
      expect.soft(await attempt(way, to), `${way} ${to}`).toEqual({ refused: expect.any(String) as string });
    }
    expect(caught).toBe(0);
  });

  test(
    "is not fooled into loopback by a name that changes between looking and connecting",
    { timeout: 60_000 },
    async () => {
      for (let round = 0; round < 12; round++) {
        for (const name of ["turn.example", "both.example"]) {
          expect.soft(await attempt("fetch", `http://${name}:${trapPort}/`), name).toHaveProperty("refused");
          expect.soft(await attempt("connect", `${name}:${trapPort}`), name).toHaveProperty("refused");
        }
      }
      expect(names.questions()).toBeGreaterThan(24);
      expect(caught).toBe(0);
    },
  );

  test("is refused the control API without a token, and Solum's own port by any other name", async () => {
    expect(await attempt("fetch", `http://localhost:${solum.port}/client/v4/accounts`)).toEqual({ reached: 401 });
    for (const host of ["127.0.0.1", "[::1]", "loop.example", "0.0.0.0"])
      expect(await attempt("fetch", `http://${host}:${solum.port}/client/v4/user`), host).toHaveProperty("refused");
  });

  test("reaches no socket and no file of this machine", { timeout: 60_000 }, async () => {
    const runtime = runtimeLayout(solum.runtime);
    const other = runtime.worker(workerIds().bindings);
    const paths = [
      runtime.control,
      runtime.supervisor,
      runtime.stores,
      runtime.ingress(0),
      runtime.d1Host(0),
      other.state,
      other.platform,
    ];
    for (const path of paths) {
      for (const [way, to] of [
        ["fetch", `unix:${path}`],
        ["fetch", `http://unix:${path}:/ready`],
        ["connect", `unix:${path}`],
        ["parts", `unix:${path}`],
        ["socket", path],
        ["file", path],
      ] as const)
        expect.soft(await attempt(way, to), `${way} ${to}`).toHaveProperty("refused");
      // `socketPath` means nothing to workerd: it goes to port 80 of localhost, which is refused.
      expect.soft(await attempt("request", path), path).toHaveProperty("refused");
    }
    for (const file of ["/etc/passwd", "/proc/self/environ", dataLayout(solum.data).masterKey, "/proc/1/cmdline"])
      expect.soft(await attempt("file", file), file).toHaveProperty("refused");
    // A file system of workerd's own (workerd-runtime §8).
    expect(await attempt("folder", "/")).toEqual({ reached: ["bundle", "tmp", "dev"] });
  });

  function workerIds(): Record<"bindings" | "prober", string> {
    const runtime = runtimeLayout(solum.runtime);
    const [one = "", two = ""] = readdirSync(runtime.workers);
    const ofProber = proberFront().worker;
    return one === ofProber ? { prober: one, bindings: two } : { prober: two, bindings: one };
  }

  /** The process of the prober: the front whose configuration binds its flag. */
  function proberFront(): { pid: number; worker: string; processId: string } {
    const runtime = runtimeLayout(solum.runtime);
    for (const { mark, facts } of findChildren(solum.runtime)) {
      const [kind, worker = "", , processId = ""] = mark.name.split("/");
      if (kind !== "front") continue;
      const config = readFileSync(join(runtime.process(processId), "config.capnp"), "utf8");
      if (config.includes("nodejs_compat")) return { pid: facts.pid, worker, processId };
    }
    throw new Error("the prober does not run");
  }

  describe("with its process in an attacker's hands", () => {
    test("sees its own files, its own sockets and the shared ones, and nothing else", async (context) => {
      const { pid, worker, processId } = proberFront();
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
      expect(status).toMatch(/^CapEff:\s+0+$/m);
      expect(readFileSync(`/proc/${pid}/net/dev`, "utf8").match(/^\s*\w+:/gm)?.length).toBe(1);
      const report = JSON.parse((await solum.run("status", "--json", "--data", solum.data)).output) as {
        sandbox: { kind: string; lacking?: string };
      };
      if (report.sandbox.kind !== "bwrap") return context.skip(report.sandbox.lacking);
      const runtime = runtimeLayout(solum.runtime);
      const visible = `/proc/${pid}/root`;
      const top = readdirSync(visible).filter((name) => name !== "proc");
      const seen = top
        .flatMap((name) => readdirSync(join(visible, name), { recursive: true, withFileTypes: true }))
        .filter((entry) => !entry.isDirectory())
        .map((entry) => join(entry.parentPath, entry.name).slice(visible.length));
      const may = [
        runtime.process(processId),
        runtime.socketsOf(processId),
        runtime.worker(worker).root,
        runtime.egressFolder,
        runtime.d1Folder,
        dataLayout(solum.data).modulesOf(processId),
      ];
      const others = seen.filter((path) => !may.some((folder) => path.startsWith(`${folder}/`)));
      const libraries = /^\/(lib|lib64|usr\/lib)\/.*\.so[.\d]*$/;
      const program = /\/@cloudflare\/workerd-[\w-]+\/bin\/workerd$/;
      const rest = others.filter((path) => !libraries.test(path));
      expect(rest.filter((path) => program.test(path)).length).toBe(1);
      expect(rest.filter((path) => !program.test(path)).toSorted()).toEqual(["/dev/null", "/dev/urandom"]);
      expect(seen).toContain(runtime.worker(worker).state);
    });

    test("gets 403 for what is another Worker's, however it asks", async () => {
      const { worker } = proberFront();
      const victim = workerIds().bindings;
      const own = runtimeLayout(solum.runtime).worker(worker);
      const { capability: key } = await readKeys(dataLayout(solum.data));
      const result = async (path: string, pick: (result: never) => string) =>
        pick((await solum.api("GET", path)).json.result as never);
      const namespace = await result(
        "/storage/kv/namespaces",
        (all: { id: string; title: string }[]) => all.find(({ title }) => !title.includes("prober"))?.id ?? "",
      );
      const database = await result(
        "/d1/database",
        (all: { uuid: string; name: string }[]) => all.find(({ name }) => name === "bindings-db")?.uuid ?? "",
      );
      expect([namespace, database].map((id) => id.length)).toEqual([32, 36]);
      const of = (scope: string, kind: string, resource: string, with_ = key) =>
        signCapability(with_, { scope, kind, resource } satisfies Capability);
      // What follows is refused for the capability alone: in its owner's hands it opens the door.
      const victims = runtimeLayout(solum.runtime).worker(victim);
      expect(await rawStatus(victims.state, "GET /key?urlencoded=true", of(victim, "kv", namespace))).toBe(404);
      const guessed = Buffer.alloc(32, 1);
      const mac = of(worker, "kv", "mine").split(":").at(-1);
      const cases: [string, string, string][] = [];
      for (const [socket, kind, resource] of [
        [own.state, "kv", namespace],
        [own.state, "r2", "bindings-files"],
        [own.log, "log", "11111111-2222-4333-8444-555555555555"],
        [own.log, "egress", ""],
        [own.platform, "service", `${solum.environment["CLOUDFLARE_ACCOUNT_ID"]}/bindings`],
        [own.platform, "platform", ""],
        [own.d1Host(0), "d1", database],
        [own.d1Host(1), "d1", database],
      ] as const) {
        cases.push([socket, `${kind} forged`, of(worker, kind, resource, guessed)]);
        cases.push([socket, `${kind} edited`, `${kind}:${worker}:${encodeURIComponent(resource)}:${mac}`]);
        cases.push([socket, `${kind} without`, ""]);
        cases.push([socket, `${kind} of another kind`, of(worker, `${kind}x`, resource)]);
        // Stolen, and good in the other Worker's hands. The d1 hosts' sockets serve every Worker: there a stolen one is good.
        if (kind !== "d1") cases.push([socket, `${kind} replayed`, of(victim, kind, resource)]);
      }
      for (const [socket, what, token] of cases)
        for (const head of [
          "GET /key?urlencoded=true",
          "PUT /key?urlencoded=true",
          "POST /query?resultsFormat=NONE",
          "GET /ready",
          "POST /egress/explain",
        ])
          expect.soft(await rawStatus(socket, head, token), `${what}: ${head}`).toBe(403);
    });

    test("gets nowhere by raw requests to the egress process", async () => {
      const { worker } = proberFront();
      const runtime = runtimeLayout(solum.runtime);
      const egress = runtime.worker(worker).egress;
      for (const to of [
        `unix:${runtime.control}`,
        `unix-abstract:solum`,
        `127.0.0.1:${trapPort}`,
        `[::1]:${trapPort}`,
        `0.0.0.0:${trapPort}`,
        `localhost:${trapPort}`,
        "169.254.169.254:80",
        "*:80",
      ]) {
        const client = (await RawClient.to(egress)).write(`CONNECT ${to} HTTP/1.1\r\nHost: ${to}\r\n\r\n`);
        expect.soft(await statusOf(client), to).toMatch(/^[45]|closed/);
      }
      for (const url of [`http://127.0.0.1:${trapPort}/`, `http://unix:${runtime.control}/`, "http://[::1]:80/"]) {
        const client = (await RawClient.to(egress)).write(`GET ${url} HTTP/1.1\r\n\r\n`);
        expect.soft(await statusOf(client), url).toMatch(/^[45]|closed/);
      }
      expect(caught).toBe(0);
    });
  });

  async function rawStatus(socket: string, head: string, token: string): Promise<number> {
    const body = head.startsWith("GET") ? "" : "{}";
    const headers = [
      "Host: bindings.localhost",
      `x-bind: ${token}`,
      `Content-Length: ${body.length}`,
      "CF-R2-Metadata-Size: 2",
    ];
    const client = (await RawClient.to(socket)).write(`${head} HTTP/1.1\r\n${headers.join("\r\n")}\r\n\r\n${body}`);
    return Number(await statusOf(client));
  }

  /** The status of the answer, or that the connection was closed without one. */
  async function statusOf(client: RawClient): Promise<string> {
    const line = await client.until(
      (received) => received.includes("\r\n") || client.ending !== undefined,
      "an answer",
    );
    client.socket.destroy();
    return /^HTTP\/1.1 (\d{3})/.exec(line)?.[1] ?? "closed";
  }
}
