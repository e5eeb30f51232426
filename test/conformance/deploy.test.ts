import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bothWranglers, Solum } from "../support/start-solum.ts";

/** The deploy set, driven by the unmodified wrangler of both protocol generations (wrangler-api §3). */
let solum: Solum;
beforeAll(async () => {
  solum = await Solum.start();
});
afterAll(() => solum[Symbol.asyncDispose]());

describe.each(bothWranglers)("wrangler %s", (version) => {
  /** Worker names differ by version, so that each run begins with nothing. */
  const suffix = version.replace(".", "");
  const deploy = (project: string, name: string, ...more: string[]) =>
    solum.wrangler(project, ["deploy", "--name", `${name}-${suffix}`, ...more], { version });
  const get = (name: string, path = "/", options?: Parameters<Solum["request"]>[2]) =>
    solum.request(`${name}-${suffix}.localhost`, path, options);

  test("deploys a Worker, and again with other code", async () => {
    const project = solum.project("hello");
    const first = await deploy(project, "hello");
    expect(first.output).toContain(`Uploaded hello-${suffix}`);
    expect(first.code).toBe(0);
    expect((await get("hello")).text).toBe("Hello 1");
    writeFileSync(join(project, "index.js"), readFileSync(join(project, "index.js"), "utf8").replace("} 1", "} 2"));
    const second = await deploy(project, "hello");
    expect(second.code).toBe(0);
    expect(second.output).toMatch(/Current Version ID: [0-9a-f-]{36}/);
    expect((await get("hello")).text).toBe("Hello 2");
  });

  test("deploys a project that is dated today, and refuses one that is dated tomorrow", async () => {
    const day = (offset: number) => new Date(Date.now() + offset * 24 * 60 * 60 * 1000).toISOString().slice(0, 10);
    const today = await deploy(solum.project("hello"), "today", "--compatibility-date", day(0));
    expect(today.code, today.output).toBe(0);
    expect((await get("today")).text).toBe("Hello 1");
    const later = await deploy(solum.project("hello"), "later", "--compatibility-date", day(2));
    expect(later.output).toMatch(/in the future[\s\S]*\[code: 10021\]/);
  });

  test("deploys an environment as a Worker of its own", async () => {
    const project = solum.project("hello");
    const config = join(project, "wrangler.jsonc");
    writeFileSync(config, readFileSync(config, "utf8").replace('"hello"', `"env-${suffix}"`));
    const outcome = await solum.wrangler(project, ["deploy", "--env", "staging"], { version });
    expect(outcome.code, outcome.output).toBe(0);
    expect((await solum.request(`env-${suffix}-staging.localhost`)).text).toBe("Hello from staging 1");
    expect((await solum.request(`env-${suffix}.localhost`)).status).toBe(404);
  });

  test("deploys modules of every kind", async () => {
    const outcome = await deploy(solum.project("modules"), "modules");
    expect(outcome.code, outcome.output).toBe(0);
    expect(JSON.parse((await get("modules")).text)).toEqual({
      sum: 42,
      text: "a note: äöü\n",
      data: [0, 255, 10, 13],
      config: { key: ["value"] },
      shout: "LIB",
    });
  });

  test("deploys modules without bundling", async () => {
    const outcome = await deploy(solum.project("modules"), "unbundled", "--no-bundle");
    // JSON is inlined by the bundler alone; wrangler has no rule for it otherwise.
    expect(outcome.output).toContain("config.json");
  });

  test("deploys a site without code", async () => {
    const outcome = await deploy(solum.project("site"), "site");
    expect(outcome.code, outcome.output).toBe(0);
    expect(await get("site")).toMatchObject({ status: 200, text: expect.stringContaining("Home") as string });
    expect((await get("site", "/docs/")).text).toContain("Docs");
    expect(await get("site", "/about")).toMatchObject({
      status: 200,
      text: expect.stringContaining("About") as string,
    });
    expect(await get("site", "/about.html")).toMatchObject({ status: 307, headers: { location: "/about" } });
    expect(await get("site", "/nope")).toMatchObject({
      status: 404,
      text: expect.stringContaining("Nothing here") as string,
    });
    expect(await get("site", "/old")).toMatchObject({ status: 301, headers: { location: "/about" } });
    expect(await get("site", "/go/there")).toMatchObject({ status: 302, headers: { location: "/docs/there" } });
    expect((await get("site", "/sp%20ace%20%C3%BC.txt")).text).toBe("a file with spaces\n");
    for (const hidden of ["/secret.txt", "/_headers", "/_redirects", "/.assetsignore"])
      expect((await get("site", hidden)).status, hidden).toBe(404);
    const style = await get("site", "/style.css");
    expect(style.headers).toMatchObject({
      "content-type": "text/css; charset=utf-8",
      "cache-control": "public, max-age=31536000",
      "x-custom": "yes",
    });
    const again = await deploy(solum.project("site"), "site");
    expect(again.output).toContain("No updated asset files to upload");
    const cached = await get("site", "/style.css", { headers: { "if-none-match": style.headers.etag ?? "" } });
    expect(cached.status).toBe(304);
  });

  test("deploys an old service worker", async () => {
    const outcome = await deploy(solum.project("service-worker"), "old-style");
    expect(outcome.code, outcome.output).toBe(0);
    expect((await get("old-style", "/path")).text).toBe("global /path");
  });

  test("is told why a Worker does not start, and nothing changes", async () => {
    const project = solum.project("hello");
    await deploy(project, "breaks");
    const outcome = await deploy(solum.project("throws"), "breaks");
    expect(outcome.code).not.toBe(0);
    expect(outcome.output).toMatch(/Uncaught TypeError: thrown at start-up[\s\S]*\[code: 10021\]/);
    expect(outcome.output).toContain("index.js:1");
    expect((await get("breaks")).text).toBe("Hello 1");
    const fresh = await deploy(solum.project("throws"), "never");
    expect(fresh.output).toContain("[code: 10021]");
    expect((await get("never")).status).toBe(404);
    expect((await solum.api("GET", `/workers/services/never-${suffix}`)).json.errors[0]?.code).toBe(10090);
  });

  test("is told that a Worker loops at start-up, and no process stays", async () => {
    const outcome = await deploy(solum.project("loops"), "loops");
    expect(outcome.output).toMatch(/startup exceeded CPU time limit[\s\S]*\[code: 10021\]/);
    const { json } = await solum.api("GET", "/workers/scripts");
    expect((json.result as { id: string }[]).map(({ id }) => id)).not.toContain(`loops-${suffix}`);
  });

  test("sets, lists and removes secrets, also of a Worker that is not there yet", async () => {
    const project = solum.project("bindings");
    const name = ["--name", `secrets-${suffix}`];
    const draft = await solum.wrangler(project, ["secret", "put", "SECRET", ...name], { version, input: "first" });
    expect(draft.code, draft.output).toBe(0);
    expect((await solum.wrangler(project, ["secret", "list", ...name], { version })).output).toContain('"SECRET"');
    expect((await deploy(project, "secrets")).code).toBe(0);
    const secret = async () => (JSON.parse((await get("secrets", "/vars")).text) as { secret: string | null }).secret;
    expect(await secret()).toBe("first");
    await solum.wrangler(project, ["secret", "put", "SECRET", ...name], { version, input: "second" });
    expect(await secret()).toBe("second");
    // It survives a deploy that does not mention it, whatever that wrangler keeps.
    await deploy(project, "secrets");
    expect(await secret()).toBe("second");
    const removed = await solum.wrangler(project, ["secret", "delete", "SECRET", ...name], { version, input: "y" });
    expect(removed.code, removed.output).toBe(0);
    expect(await secret()).toBe(null);
  });

  test("provisions what a project binds, and keeps it over deploys", async () => {
    const project = solum.project("bindings");
    const outcome = await deploy(project, "provisioned");
    expect(outcome.code, outcome.output).toBe(0);
    expect(outcome.output).toContain("env.KV");
    await get("provisioned", "/kv?key=a", { method: "PUT", body: "kept" });
    const again = await deploy(project, "provisioned");
    expect(again.code, again.output).toBe(0);
    expect(JSON.parse((await get("provisioned", "/kv?key=a")).text)).toMatchObject({
      value: "kept",
      metadata: { at: 1 },
    });
  });

  test("says who it talks to", async () => {
    const outcome = await solum.wrangler(solum.project("hello"), ["whoami"], { version });
    expect(outcome.output).toContain("owner@localhost");
    expect(outcome.output).toContain(solum.environment["CLOUDFLARE_ACCOUNT_ID"]);
  });
});

test("solum wrangler ends with the address, the version and the time to live", async () => {
  const project = solum.project("hello");
  const outcome = await solum.runIn(project, "wrangler", "--data", solum.data, "deploy", "--name", "clickable");
  expect(outcome.output).toMatch(
    new RegExp(
      `http://clickable\\.localhost:${solum.port}   version [0-9a-f]{8}   live \\d+\\.\\d\\d s after its upload`,
    ),
  );
});
