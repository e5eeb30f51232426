import { afterAll, beforeAll, describe, expect, test } from "vitest";
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

  test("is told when the callee is gone", async () => {
    await solum.api("DELETE", "/workers/scripts/rpc-callee?force=true");
    const { status } = await solum.request("rpc-caller.localhost", "/release");
    expect(status).toBe(500);
  });
});

async function deploy(project: string, ...args: string[]): Promise<void> {
  const { code, output } = await solum.wrangler(solum.project(project), ["deploy", ...args]);
  expect(code, output).toBe(0);
}
