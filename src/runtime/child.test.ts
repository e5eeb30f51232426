import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { adoptChild, startChild, stopChild, type Child, type ChildSpec } from "#runtime/child.ts";
import { Keeper } from "#runtime/keeper.ts";
import { findChildren, isAlive, readMemory, readProcess } from "#runtime/proc.ts";

/** An instance's name is the path of its runtime folder, so a temporary one is ours alone. */
let instance: string;
let children: Child[];
beforeEach(() => {
  instance = mkdtempSync(join(tmpdir(), "solum-child-"));
  children = [];
});
afterEach(async () => {
  for (const child of children) child.signal("SIGKILL");
  await Promise.all(children.map((child) => child.ended));
  rmSync(instance, { recursive: true });
});

const spec = (script: string, more: Partial<ChildSpec> = {}): ChildSpec => ({
  name: "test",
  hash: "1",
  command: process.execPath,
  args: ["-e", script],
  environment: {},
  logFile: join(instance, "log"),
  ...more,
});
const start = async (script: string, more?: Partial<ChildSpec>) => {
  const child = await startChild(instance, spec(script, more));
  children.push(child);
  return child;
};
const forever = "setInterval(() => {}, 1000)";
const untilLogged = (text: string) =>
  pollUntil({ ms: 10_000, everyMs: 5, what: text }, () =>
    readFileSync(join(instance, "log"), "utf8").includes(text) ? true : undefined,
  );

test("a child is found in the process table by its mark, until it ends", async () => {
  const child = await start(forever, { name: "front/a/b/c", hash: "h" });
  expect(findChildren(instance)).toMatchObject([
    { mark: { name: "front/a/b/c", hash: "h" }, facts: { pid: child.pid, ended: false } },
  ]);
  expect(findChildren(`${instance}x`)).toEqual([]);
  await stopChild(child, 5000);
  expect(findChildren(instance)).toEqual([]);
  expect(isAlive(child.facts)).toBe(false);
});

test("a child that ignores SIGTERM is killed after its grace", async () => {
  const child = await start(`process.on("SIGTERM", () => console.log("asked")); console.log("up"); ${forever}`);
  await untilLogged("up");
  await stopChild(child, 200);
  expect(await child.ended).toEqual({ code: undefined, signal: "SIGKILL" });
  expect(readFileSync(join(instance, "log"), "utf8")).toContain("asked");
});

test("the lock lives exactly as long as the child, and the next one waits for it", async () => {
  const lockFile = join(instance, "lock");
  const isFree = () => spawnSync("flock", ["-n", "-E", "75", lockFile, "true"]).status === 0;
  const first = await start(`console.log("first"); ${forever}`, { lockFile });
  await untilLogged("first");
  expect(isFree()).toBe(false);
  const second = await start(`console.log("second"); ${forever}`, { lockFile });
  first.signal("SIGKILL");
  await first.ended;
  await untilLogged("second");
  expect(isFree()).toBe(false);
  second.signal("SIGKILL");
  await second.ended;
  expect(isFree()).toBe(true);
});

test("a child of somebody else is taken over, and its end is seen", async () => {
  const child = await start(forever);
  const [found] = findChildren(instance);
  const adopted = adoptChild(found!.mark, found!.facts);
  adopted.signal("SIGTERM");
  await adopted.ended;
  expect(await child.ended).toMatchObject({ signal: "SIGTERM" });
  // Whatever has the pid next is not the one that was taken over.
  adopted.signal("SIGKILL");
});

test("the kernel's figures are read", async () => {
  const child = await start(`console.log("up"); while (process.cpuUsage().user < 250_000); ${forever}`);
  await untilLogged("up");
  await pollUntil({ ms: 10_000, everyMs: 10, what: "CPU time" }, () =>
    (readProcess(child.pid)?.cpuMs ?? 0) >= 200 ? true : undefined,
  );
  expect(readMemory(child.pid)?.pssBytes).toBeGreaterThan(1e6);
  expect(readProcess(2 ** 22 + 1)).toBeUndefined();
});

test("a keeper starts its process again whenever it ends, and stops it for good when asked to", async () => {
  const socket = join(instance, "s");
  const server = `require("node:http").createServer((_, r) => r.end("ok")).listen(${JSON.stringify(socket)})`;
  const script = `require("node:fs").rmSync(${JSON.stringify(socket)}, { force: true }); ${server}`;
  const keeper = new Keeper({
    name: "test",
    instance,
    launch: async () => ({ spec: spec(script), socket }),
    changed: () => {},
  });
  const ready = (restarts: number) =>
    pollUntil({ ms: 15_000, everyMs: 5, what: "the keeper" }, () =>
      keeper.state === "ready" && keeper.restarts === restarts ? true : undefined,
    );
  keeper.start();
  await ready(0);
  for (let round = 1; round <= 3; round++) {
    process.kill(keeper.pid!, "SIGKILL");
    await ready(round);
  }
  expect(keeper.lastEnd).toBe("ended by SIGKILL");
  await keeper.stop(2000);
  expect(keeper.state).toBe("stopped");
  expect(findChildren(instance)).toEqual([]);
});

test("a keeper pauses longer and longer over a process that does not come up", async () => {
  const keeper = new Keeper({
    name: "test",
    instance,
    launch: async () => ({ spec: spec("process.exit(3)"), socket: join(instance, "none") }),
    changed: () => {},
  });
  keeper.start();
  await pollUntil({ ms: 15_000, everyMs: 5, what: "restarts" }, () => (keeper.restarts >= 3 ? true : undefined));
  expect(keeper.lastEnd).toBe("ended with exit code 3");
  expect(keeper.socket).toBeUndefined();
  await keeper.stop(1000);
});

test("a keeper that loses its process to somebody else's SIGKILL again and again pauses only a little", async () => {
  const keeper = new Keeper({
    name: "test",
    instance,
    launch: async () => ({
      spec: spec(`process.kill(process.pid, "SIGKILL"); ${forever}`),
      socket: join(instance, "none"),
    }),
    changed: () => {},
  });
  keeper.start();
  // With the pauses of a process that does not come up, the ninth start would be 16 s away.
  await pollUntil({ ms: 15_000, everyMs: 5, what: "restarts" }, () => (keeper.restarts >= 9 ? true : undefined));
  expect(keeper.lastEnd).toBe("ended by SIGKILL");
  await keeper.stop(1000);
});
