import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { findChildren } from "#runtime/proc.ts";
import { Solum } from "../support/start-solum.ts";

describe("a running Solum", () => {
  let solum: Solum;
  beforeAll(async () => {
    solum = await Solum.start();
  });
  afterAll(() => solum[Symbol.asyncDispose]());

  test("is found by the other commands, named or not", async () => {
    const named = await solum.run("env", "--data", solum.data);
    expect(named.output).toContain(`export CLOUDFLARE_API_BASE_URL='http://localhost:${solum.port}/client/v4'`);
    expect(named.output).toMatch(/^export CLOUDFLARE_API_TOKEN='solum_[\w-]{43}'$/m);
    expect(named.output).toMatch(/^export CLOUDFLARE_ACCOUNT_ID='[0-9a-f]{32}'$/m);
    expect(named.output).toContain("export WRANGLER_SEND_METRICS='false'");
    expect((await solum.run("env")).output).toBe(named.output);
  });

  test("refuses a second one on the same data, and says where the first is", async () => {
    const second = await solum.run("up", "--data", solum.data, "--port", "0");
    expect(second.code).toBe(1);
    expect(second.output).toContain(
      `Solum is already running on ${solum.data} (pid ${solum.pid}, http://localhost:${solum.port})`,
    );
    expect((await solum.request("localhost")).status).toBe(200);
  });

  test("tells what runs", async () => {
    await solum.wrangler(solum.project("hello"), ["deploy"]);
    const { output } = await solum.run("status");
    for (const line of [
      /^supervisor +ready +\d+ +\d+ MB/m,
      /^control +ready/m,
      /^ingress +ready/m,
      /^state +ready/m,
      /^hello [0-9a-f]{8} +ready/m,
    ])
      expect(output).toMatch(line);
    expect(output).toMatch(new RegExp(`^hello +http://hello\\.localhost:${solum.port} +[0-9a-f]{8} 100 % ready$`, "m"));
    const report = JSON.parse((await solum.run("status", "--json")).output) as {
      processes: { name: string }[];
      workers: { name: string }[];
    };
    expect(report.processes.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["supervisor", "control", "ingress", "state", "egress"]),
    );
    expect(report.workers).toMatchObject([{ name: "hello" }]);
  });

  test("shows log lines and exceptions as they happen", async () => {
    await solum.wrangler(solum.project("bindings"), ["deploy"]);
    const logs = solum.follow("logs", "bindings", "--json");
    const lines = () =>
      logs
        .output()
        .split("\n")
        .filter((line) => line.startsWith("{"))
        .map(
          (line) =>
            JSON.parse(line) as { logs: { message: unknown[]; level: string }[]; exceptions: { message: string }[] },
        );
    await pollUntil({ ms: 20_000, everyMs: 300, what: "log lines" }, async () => {
      await solum.request("bindings.localhost", "/log");
      await solum.request("bindings.localhost", "/throw");
      const texts = new Set(lines().flatMap((line) => line.logs.map(({ message }) => message[0])));
      const thrown = lines().flatMap((line) => line.exceptions.map(({ message }) => message));
      return ["a line", "an error line", "late line"].every((text) => texts.has(text)) &&
        thrown.includes("thrown on purpose")
        ? true
        : undefined;
    });
    await logs.stop();
    const missing = await solum.run("logs", "nobody");
    expect(missing).toMatchObject({ code: 1, output: expect.stringContaining("does not exist") as string });
  });

  test("ends with 0 when it is told to, and leaves no process", async () => {
    const { runtime } = solum;
    expect(findChildren(runtime).length).toBeGreaterThan(3);
    expect(await solum.stop()).toBe(0);
    expect(solum.output).toContain("Stopped.");
    expect(findChildren(runtime)).toEqual([]);
    expect((await solum.run("status", "--data", solum.data)).output).toContain("Solum is not running");
    await solum.up();
    expect((await solum.request("hello.localhost")).text).toBe("Hello 1");
  });
});

describe("settings", () => {
  test("an option, a variable or a member that does not exist is an error with the nearest name", async () => {
    await using solum = new Solum();
    expect(await solum.run("up", "--app-domian", "x")).toEqual({
      code: 1,
      output: 'There is no option "--app-domian". Did you mean "--app-domain"?\n',
    });
    const file = join(solum.folder, "config.json");
    writeFileSync(file, JSON.stringify({ prot: 1 }));
    expect(await solum.run("up", "--config", file, "--data", solum.data)).toEqual({
      code: 1,
      output: 'There is no setting "prot". Did you mean "port"?\n',
    });
    expect((await solum.run("up", "--data", solum.data, "--port", "99999")).output).toMatch(/^port: /);
    expect(
      (await solum.run("up", "--data", solum.data, "--app-domain", "apps.example", "--console-host", "x.apps.example"))
        .output,
    ).toContain("could plant cookies");
    expect((await solum.run("nonsense")).output).toContain('There is no command "nonsense"');
    expect(readdirSync(solum.folder)).toEqual(["config.json"]);
  });

  test("a port that is taken is said so at once", async () => {
    await using solum = new Solum();
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const address = other.address();
    const port = typeof address === "object" ? address?.port : undefined;
    const outcome = await solum.run("up", "--data", solum.data, "--port", String(port));
    other.close();
    expect(outcome).toEqual({
      code: 1,
      output: `Port ${port} is in use by another program. Choose another: solum up --port N\n`,
    });
  });

  test("come from the file, and the command line wins", async () => {
    await using solum = new Solum(["--app-domain", "apps.test"]);
    solum.writeConfig({ appDomain: "other.test", drainMs: 1234, colo: "XYZ" });
    await solum.start();
    await solum.wrangler(solum.project("hello"), ["deploy"]);
    const answer = await solum.request("hello.apps.test");
    expect(answer.text).toBe("Hello 1");
    expect(answer.headers["cf-ray"]).toMatch(/-XYZ$/);
    const settings = JSON.parse(readFileSync(join(solum.runtime, "config.json"), "utf8")) as { drainMs: number };
    expect(settings.drainMs).toBe(1234);
  });
});
