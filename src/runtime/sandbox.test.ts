import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, type TestContext } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { findProgram } from "#core/find-program.ts";
import { startChild, stopChild, type Child } from "#runtime/child.ts";
import { findChildren, isAlive, readMemory, readProcess } from "#runtime/proc.ts";
import { chooseSandbox } from "#runtime/sandbox-choice.ts";
import { sandboxed, withoutNetwork, withoutPrivileges, type Sandbox } from "#runtime/sandbox.ts";

/** A program with all of Node in its hands stands for a workerd that was broken into. */
const node = process.execPath;
const best = await chooseSandbox("auto", node);
const secret = "canary-3f7b";

let instance: string;
let children: Child[];
let server: Server;
/** A socket without a file: a network namespace hides these too. */
let abstract: Server;
const abstractName = `solum-test-${process.pid}`;
beforeEach(async () => {
  instance = mkdtempSync(join(tmpdir(), "solum-sandbox-"));
  for (const folder of ["own", "sockets", "other", "data"]) mkdirSync(join(instance, folder));
  for (const folder of ["own", "other", "data"]) writeFileSync(join(instance, folder, "file"), folder);
  children = [];
  // A program that is killed with a connection open resets it.
  const greet = (socket: Socket) => socket.on("error", () => {}).end("hello");
  server = createServer(greet).listen(0, "127.0.0.1");
  abstract = createServer(greet).listen(`\0${abstractName}`);
  await Promise.all([once(server, "listening"), once(abstract, "listening")]);
});
afterEach(async () => {
  for (const child of children) child.signal("SIGKILL");
  await Promise.all(children.map((child) => child.ended));
  server.close();
  abstract.close();
  rmSync(instance, { recursive: true });
});

/** Runs the body of an async function that has `attempt` in `sandbox`, and answers what it returns. */
async function start(sandbox: Sandbox, body: string, after = ""): Promise<Child> {
  const script = `
    const fs = require("node:fs"), net = require("node:net"), os = require("node:os");
    const attempt = async (work) => { try { return await work() } catch (error) { return error.code ?? error.message } };
    const connect = (to) => new Promise((y, n) => net.connect(to).on("error", n).on("connect", () => y("connected")));
    (async () => { fs.writeSync(1, "\\nresult " + JSON.stringify(await (async () => { ${body} })()) + "\\n"); ${after} })();`;
  const view = { readOnly: [join(instance, "own")], writable: [join(instance, "sockets")] };
  const child = await startChild(instance, {
    name: "front/a/b/c",
    hash: "h",
    ...sandboxed(sandbox, { command: node, args: ["-e", script] }, view),
    environment: { SECRET: secret },
    logFile: join(instance, "log"),
  });
  children.push(child);
  return child;
}
const result = async () =>
  JSON.parse(
    await pollUntil(
      { ms: 15_000, everyMs: 5, what: "the program" },
      () => /^result (.*)$/m.exec(readFileSync(join(instance, "log"), "utf8"))?.[1],
    ),
  ) as unknown;
const port = () => (server.address() as AddressInfo).port;
const forever = "setInterval(() => {}, 1000)";

function needsBwrap(context: TestContext): void {
  if (best.kind !== "bwrap") context.skip(best.report.lacking);
}

describe("in the sandbox, a program", () => {
  test("sees its own files, and nothing else of this machine", async (context) => {
    needsBwrap(context);
    await start(
      best,
      `const at = ${JSON.stringify(instance)};
      return {
        own: await attempt(() => fs.readFileSync(at + "/own/file", "utf8")),
        write: await attempt(() => fs.writeFileSync(at + "/own/file", "x")),
        socket: await attempt(() => new Promise((y, n) => { const s = net.createServer().on("error", n).listen(at + "/sockets/s", () => { s.close(); y("listening") }) })),
        instance: await attempt(() => fs.readdirSync(at).toSorted()),
        root: await attempt(() => fs.readdirSync("/").filter((name) => !/^(usr|lib|lib64|bin)$/.test(name)).toSorted()),
        passwd: await attempt(() => fs.readFileSync("/etc/passwd", "utf8")),
        newFile: await attempt(() => fs.writeFileSync("/file", "x")),
        temporary: await attempt(() => fs.readdirSync(${JSON.stringify(tmpdir())}).length),
        program: await attempt(() => require("node:child_process").execFileSync("/bin/sh", ["-c", "true"])),
        processes: fs.readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name)),
        secret: process.env.SECRET,
      }`,
    );
    const top = [...new Set([instance, node].map((path) => path.split("/")[1] ?? ""))];
    const inTemporary = new Set(
      [instance, node]
        .filter((path) => path.startsWith(`${tmpdir()}/`))
        .map((path) => path.split("/")[tmpdir().split("/").length]),
    );
    expect(await result()).toEqual({
      own: "own",
      write: "EROFS",
      socket: "listening",
      instance: ["own", "sockets"],
      root: [...new Set(["dev", "proc", ...top])].filter((name) => name !== "usr").toSorted(),
      passwd: "ENOENT",
      newFile: "EROFS",
      temporary: inTemporary.size,
      program: "ENOENT",
      processes: ["1"],
      secret,
    });
    expect(readFileSync(join(instance, "own", "file"), "utf8")).toBe("own");
  });

  test("has no network and no privilege, and cannot get one", async (context) => {
    needsBwrap(context);
    await start(best, networkAndPrivileges());
    expect(await result()).toEqual({
      interfaces: [],
      loopback: expect.stringMatching(/ENETUNREACH|ECONNREFUSED/) as string,
      abstract: "ECONNREFUSED",
      capabilities: ["0000000000000000", "0000000000000000", "0000000000000000"],
      noNewPrivileges: "1",
    });
  });

  test("is the process that is signalled, measured and found again; its end ends everything", async (context) => {
    needsBwrap(context);
    const child = await start(best, `process.on("SIGTERM", () => process.exit(7)); return process.pid`, forever);
    expect(await result()).toBe(1);
    expect(findChildren(instance)).toMatchObject([{ mark: { name: "front/a/b/c" }, facts: { pid: child.pid } }]);
    expect(readFileSync(`/proc/${child.pid}/cmdline`, "utf8")).toMatch(new RegExp(`^${node}\0-e`));
    expect(readProcess(child.pid)?.cpuMs).toBeGreaterThan(0);
    expect(readMemory(child.pid)?.privateBytes).toBeGreaterThan(4e6);
    const parent = child.facts.parentPid;
    // Aim: less than 1 MB for each Worker. Pages of the program file that nobody else has mapped yet count as private too.
    expect(readMemory(parent)?.privateBytes).toBeLessThan(1e6);
    for (const pid of [parent, child.pid]) expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).not.toContain(secret);
    child.signal("SIGTERM");
    expect(await child.ended).toEqual({ code: 7, signal: undefined });
    expect(readProcess(parent)?.ended ?? true).toBe(true);

    const second = await start(best, "return 1", forever);
    second.signal("SIGKILL");
    expect(await second.ended).toEqual({ code: undefined, signal: "SIGKILL" });
    expect(findChildren(instance)).toEqual([]);
  });

  test("goes on when its parent is killed, and is still known", async (context) => {
    needsBwrap(context);
    const child = await start(best, "return 1", forever);
    await result();
    let ended = false;
    void child.ended.then(() => (ended = true));
    process.kill(child.facts.parentPid, "SIGKILL");
    await pollUntil({ ms: 10_000, everyMs: 5, what: "another parent" }, () =>
      readProcess(child.pid)?.parentPid === child.facts.parentPid ? undefined : true,
    );
    expect([isAlive(child.facts), ended]).toEqual([true, false]);
    expect(findChildren(instance)).toMatchObject([{ facts: { pid: child.pid } }]);
    await stopChild(child, 100);
    expect(findChildren(instance)).toEqual([]);
  });
});

test("a sandbox that cannot show a file says so in the log, and the child counts as ended", async (context) => {
  needsBwrap(context);
  const program = { command: node, args: ["-e", forever] };
  const view = { readOnly: [join(instance, "missing")], writable: [] };
  const child = await startChild(instance, {
    name: "x",
    hash: "h",
    environment: {},
    logFile: join(instance, "log"),
    ...sandboxed(best, program, view),
  });
  expect(await child.ended).toMatchObject({ code: 1 });
  expect(readFileSync(join(instance, "log"), "utf8")).toMatch(/bwrap: .*missing/);
});

test("without bwrap, a program has no network and no privilege all the same", async (context) => {
  const [unshare, setpriv] = [findProgram("unshare"), findProgram("setpriv")];
  if (!unshare || !setpriv) return context.skip("unshare and setpriv of util-linux are not installed");
  const before = withoutNetwork(unshare, setpriv, process.getuid?.() === 0);
  const child = await start(
    { kind: "network", before, report: { kind: "network", summary: "" } },
    networkAndPrivileges(),
  );
  const got = (await Promise.race([result(), child.ended])) as { loopback?: string };
  if (got.loopback === undefined) return context.skip("namespaces are not permitted here");
  expect(got).toMatchObject({
    interfaces: [],
    loopback: expect.stringMatching(/ENETUNREACH|ECONNREFUSED/) as string,
    capabilities: ["0000000000000000", "0000000000000000", "0000000000000000"],
    noNewPrivileges: "1",
  });
});

test("without any, a program at least cannot gain a privilege", async (context) => {
  const setpriv = findProgram("setpriv");
  if (!setpriv) return context.skip("setpriv of util-linux is not installed");
  const before = withoutPrivileges(setpriv, process.getuid?.() === 0);
  await start({ kind: "none", before, report: { kind: "none", summary: "" } }, networkAndPrivileges());
  expect(await result()).toMatchObject({
    loopback: "connected",
    abstract: "connected",
    capabilities: ["0000000000000000", "0000000000000000", "0000000000000000"],
    noNewPrivileges: "1",
  });
});

describe("the choice", () => {
  test("is none, said plainly, when the setting says so", async () => {
    expect((await chooseSandbox("off", node)).report).toEqual({
      kind: "none",
      summary: expect.stringContaining("not isolated") as string,
      lacking: "the setting sandbox is off",
    });
  });

  test("falls back and says why where a sandbox does not work, or refuses where one is demanded", async () => {
    // A program that fails wherever it is run stands for a kernel that forbids namespaces.
    const report = (await chooseSandbox("auto", "/bin/false")).report;
    expect(report).toMatchObject({
      kind: "none",
      lacking: expect.stringMatching(/^bwrap cannot be used: ./) as string,
    });
    await expect(chooseSandbox("bwrap", "/bin/false")).rejects.toThrow(
      /^The setting sandbox is bwrap, but Workers cannot be run in it: ./,
    );
  });
});

function networkAndPrivileges(): string {
  return `const status = fs.readFileSync("/proc/self/status", "utf8");
    const field = (name) => new RegExp("^" + name + ":\\\\s*(\\\\S+)", "m").exec(status)?.[1];
    return {
      interfaces: Object.keys(os.networkInterfaces()).filter((name) => name !== "lo"),
      loopback: await attempt(() => connect({ host: "127.0.0.1", port: ${port()} })),
      abstract: await attempt(() => connect({ path: "\\0${abstractName}" })),
      capabilities: ["CapPrm", "CapEff", "CapBnd"].map(field),
      noNewPrivileges: field("NoNewPrivs"),
    }`;
}
