import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runtimeLayout, type RuntimeLayout } from "#core/layout.ts";
import { findChildren } from "#runtime/proc.ts";
import { readSessionHost, sessionHost } from "#runtime/routes.ts";
import { listVersions } from "../support/direct-upload.ts";
import { Solum } from "../support/start-solum.ts";

/** RPC between Workers: projects that real wrangler deploys; what a Worker sees is asserted in `test/projects/rpc-caller`. */
let solum: Solum;

beforeAll(async () => {
  solum = await Solum.start();
  await deploy("rpc-callee");
  await deploy("rpc-caller");
}, 60_000);
afterAll(() => solum[Symbol.asyncDispose]());

describe("a Worker that calls another by RPC", () => {
  test("sees what it would see on Cloudflare", async () => {
    const { status, text } = await solum.request("rpc-caller.localhost");
    expect(status, text).toBe(200);
    const { ran, failures } = JSON.parse(text) as { ran: number; failures: Record<string, string> };
    expect(failures).toEqual({});
    expect(ran).toBeGreaterThan(25);
  });

  test("gets the callee's new version as soon as that is deployed", async () => {
    expect((await solum.request("rpc-caller.localhost", "/release")).text).toBe("one");
    const slow = solum.request("rpc-caller.localhost", "/wait?ms=1500");
    await deploy("rpc-callee", "--var", "RELEASE:two");
    expect((await solum.request("rpc-caller.localhost", "/release")).text).toBe("two");
    expect((await slow).text).toBe("waited");
  });

  test("is spread over the callee's versions call by call", async () => {
    const [two, one] = await listVersions(solum, "rpc-callee");
    const versions = [
      { version_id: two?.id, percentage: 50 },
      { version_id: one?.id, percentage: 50 },
    ];
    const body = { strategy: "percentage", versions };
    expect((await solum.api("POST", "/workers/scripts/rpc-callee/deployments", body)).json.success).toBe(true);
    const answers = new Set<string>();
    for (let i = 0; i < 60; i++) answers.add((await solum.request("rpc-caller.localhost", "/release")).text);
    expect([...answers].toSorted()).toEqual(["one", "two"]);
  });

  test("reaches what it is bound to, whatever its process writes to its sockets", async () => {
    const layout = runtimeLayout(solum.runtime);
    const host = await sessionHostOf("rpc-caller", layout);
    const sockets = await Promise.all(["rpc-caller", "rpc-callee"].map(async (name) => platformSocket(name, layout)));
    const [own = "", others = ""] = sockets;
    expect(await statusOf(own, host)).toBe(200);
    // Another Worker's binding, and one that says more than it was given.
    expect(await statusOf(others, host)).toBe(403);
    const token = readSessionHost(host);
    for (const forged of [
      token.replace("rpc-callee", "other"),
      token.replace("Named", "Secret"),
      token.replace("read", "write"),
      "service",
      "",
    ])
      expect.soft(await statusOf(own, sessionHost(forged === token ? `${token}x` : forged)), forged).toBe(403);
    expect(await statusOf(own, "localhost")).toBe(403);
  });

  test("is told when the callee is gone", async () => {
    await solum.api("DELETE", "/workers/scripts/rpc-callee?force=true");
    const { status } = await solum.request("rpc-caller.localhost", "/release");
    expect(status).toBe(500);
  });
});

/** What the process of a Worker says when it opens a session for its binding with the longest capability. */
async function sessionHostOf(script: string, layout: RuntimeLayout): Promise<string> {
  const pid = (await solum.status()).fronts.find(({ scriptName }) => scriptName === script)?.pid;
  const name = findChildren(solum.runtime).find(({ facts }) => facts.pid === pid)?.mark.name ?? "";
  const config = readFileSync(join(layout.process(name.split("/").at(-1) ?? ""), "config.capnp"), "utf8");
  const hosts = [...config.matchAll(/capnpConnectHost = "([0-9a-f]+)"/g)].map(([, host = ""]) => host);
  return hosts.toSorted((a, b) => b.length - a.length)[0] ?? "";
}

async function platformSocket(script: string, layout: RuntimeLayout): Promise<string> {
  const front = (await solum.status()).fronts.find(({ scriptName }) => scriptName === script);
  const child = findChildren(solum.runtime).find(({ facts }) => facts.pid === front?.pid);
  return layout.worker(child?.mark.name.split("/")[1] ?? "").platform;
}

async function statusOf(socket: string, host: string): Promise<number> {
  const connection = connect(socket);
  connection.write(`CONNECT ${host || "-"} HTTP/1.1\r\n\r\n`);
  const [bytes] = (await once(connection, "data")) as [Buffer];
  connection.destroy();
  return Number(bytes.toString("latin1").split(" ")[1]);
}

async function deploy(project: string, ...args: string[]): Promise<void> {
  const { code, output } = await solum.wrangler(solum.project(project), ["deploy", ...args]);
  expect(code, output).toBe(0);
}
