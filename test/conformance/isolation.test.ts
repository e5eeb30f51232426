import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildApi, type ApiParts } from "#api.ts";
import { dataLayout } from "#core/layout.ts";
import { openDatabase } from "#db/database.ts";
import { accountStore } from "#products/accounts/store.ts";
import { findChildren } from "#runtime/proc.ts";
import { Solum, type Answer } from "../support/start-solum.ts";

/** Who may do and see what: tokens, accounts, secrets, and where a Worker can reach. */
let solum: Solum;
let stranger: { id: string; token: string };
const canary = "canary-5b1f0c9e7d";

beforeAll(async () => {
  solum = await Solum.start();
  const project = solum.project("bindings");
  await solum.wrangler(project, ["deploy"]);
  await solum.wrangler(project, ["secret", "put", "SECRET"], { input: canary });
  await solum.api("POST", "/queues", { queue_name: "mine" });
  await solum.wrangler(solum.project("hello"), ["deploy"]);
  await solum.wrangler(solum.project("caller"), ["deploy"]);
  await solum.wrangler(solum.project("workflows"), ["deploy"]);
  await solum.api("POST", "/workflows/orders/instances", { instance_id: "mine", params: { kind: "plain" } });
  // There is no API yet that makes accounts.
  await solum.stop();
  await using db = await openDatabase(dataLayout(solum.data).controlDb, [
    "accounts",
    "workers",
    "durable_objects",
    "workflows",
    "d1",
  ]);
  const accounts = accountStore(db);
  const { id } = await accounts.create({ name: "Stranger", subdomain: "stranger" });
  stranger = { id, token: "solum_stranger" };
  await accounts.addToken({ accountId: id, name: "test", token: stranger.token });
  await db.close();
  await solum.up();
});
afterAll(() => solum[Symbol.asyncDispose]());

const mine = () => solum.environment["CLOUDFLARE_ACCOUNT_ID"] ?? "";
const ask = (method: string, path: string, headers: Record<string, string>, body?: string) =>
  solum.request("localhost", `/client/v4${path}`, { method, headers, ...(body === undefined ? {} : { body }) });
const codeOf = (answer: Answer) => (JSON.parse(answer.text) as { errors: { code: number }[] }).errors[0]?.code;

describe("a token", () => {
  // scale-reliability-security §3.3, 1–5; codes of wrangler-api §1.4.
  test.each<[string, Record<string, string>, number]>([
    ["that is missing", {}, 10000],
    ["that is empty", { authorization: "Bearer " }, 10000],
    ["that is null", { authorization: "Bearer null" }, 10000],
    ["that is wrong", { authorization: "Bearer solum_wrong" }, 10000],
    ["of another scheme", { authorization: "Basic dXNlcjpwYXNz" }, 10000],
    ["of 10 kB", { authorization: `Bearer ${"x".repeat(10_000)}` }, 10000],
    ["that is a global key", { "x-auth-key": "k", "x-auth-email": "e" }, 9106],
  ])("%s is refused", async (_what, headers, code) => {
    for (const path of ["/accounts", "/user", `/accounts/${mine()}/workers/scripts`, "/nothing/at/all"]) {
      const answer = await ask("GET", path, headers);
      expect([answer.status, codeOf(answer)], path).toEqual([401, code]);
    }
    expect(codeOf(await ask("GET", "/user/tokens/verify", headers))).toBe(code === 9106 ? 9106 : 1000);
  });

  test("is known by its hash alone", () => {
    const token = solum.environment["CLOUDFLARE_API_TOKEN"] ?? "";
    expect(filesWith(token)).toEqual([dataLayout(solum.data).token]);
  });
});

test("an unknown path is a clean envelope", async () => {
  const headers = { authorization: `Bearer ${solum.environment["CLOUDFLARE_API_TOKEN"]}` };
  for (const path of [
    "/nothing",
    `/accounts/${mine()}/nothing`,
    `/accounts/${"0".repeat(32)}/workers/scripts`,
    `/accounts/${mine()}/pages/projects/x`,
  ]) {
    const answer = await ask("GET", path, headers);
    expect([answer.status, codeOf(answer)], path).toEqual([404, 7003]);
  }
});

test("what one account has does not exist for another, on any route", async () => {
  const ids = await idsOfMine();
  const theirs = { authorization: `Bearer ${stranger.token}` };
  const routes = buildApi(anything()).routes.filter(
    ({ path, method }) => path.startsWith("/client/v4/accounts/:account_id") && method !== "ALL",
  );
  const seen = new Set<string>();
  for (const { method, path } of routes) {
    const route = path.replace("/client/v4", "").replace(/\{[^}]*\}/g, "");
    if (seen.has(`${method} ${route}`)) continue;
    seen.add(`${method} ${route}`);
    const fill = (account: string) =>
      route.replace(/:(\w+)|\*/g, (_, name: string | undefined) =>
        name === "account_id" ? account : (ids[name ?? "*"] ?? name ?? "x"),
      );
    // The other's account: nothing is there at all. The assets upload has its own token and answers as for a wrong one.
    const headers = { ...theirs, ...headersOf[route] };
    const body = bodies[`${method} ${route}`] ?? bodies[route];
    const foreign = await ask(method, fill(mine()), headers, body);
    expect.soft([401, 404], `${method} ${fill(mine())}`).toContain(foreign.status);
    // One's own account with the other's ids.
    const names = [...route.matchAll(/:(\w+)/g)].map(([, name]) => name);
    if (names.every((name) => name === "account_id") || notLookups.has(`${method} ${route}`)) continue;
    const answer = await ask(method, fill(stranger.id), headers, body);
    // Without a body of ours a route may refuse the body before it looks for the thing; never does it answer with success.
    const allowed = body === undefined && method !== "GET" && method !== "DELETE" ? [404, 400] : [404];
    expect.soft(allowed, `${method} ${fill(stranger.id)}: ${answer.text}`).toContain(answer.status);
  }
  expect(seen.size).toBeGreaterThan(50);
  // And nothing of it was touched.
  expect((await solum.request("bindings.localhost", "/vars")).status).toBe(200);
});

test("a secret is in no file, no log, no process's arguments, and never read back", async () => {
  expect(JSON.parse((await solum.request("bindings.localhost", "/vars")).text)).toMatchObject({ secret: canary });
  expect(filesWith(canary)).toEqual([]);
  expect(solum.output).not.toContain(canary);
  for (const { facts } of findChildren(solum.runtime))
    expect(readFileSync(`/proc/${facts.pid}/cmdline`, "utf8")).not.toContain(canary);
  for (const path of [
    "/workers/scripts/bindings/settings",
    "/workers/scripts/bindings/secrets",
    "/workers/scripts/bindings/versions",
  ]) {
    expect(JSON.stringify((await solum.api("GET", path)).json)).not.toContain(canary);
  }
});

describe("a Worker's fetch", () => {
  const to = (url: string) => solum.request("caller.localhost", `/?to=${encodeURIComponent(url)}`);

  test("reaches the platform's own names as a browser does", async () => {
    expect((await to(`http://hello.localhost:${solum.port}/`)).text).toBe("200: Hello 1");
    expect((await to(`http://nobody.localhost:${solum.port}/`)).text).toMatch(/^404: /);
    expect((await to(`http://localhost:${solum.port}/client/v4/accounts`)).text).toMatch(/^401: /);
  });

  test("is refused loopback addresses, and the error names the rule", async () => {
    for (const url of [
      `http://127.0.0.1:${solum.port}/`,
      "http://127.0.0.1:9/",
      "http://[::1]:9/",
      "http://2130706433/",
      "http://localhost:9/",
    ]) {
      const answer = await to(url);
      expect.soft(answer.status, url).toBe(502);
      expect.soft(answer.text, url).toMatch(/^TypeError: fetch to .*(refused|loopback|egressAllow|own port)/);
    }
  });

  test("says so when a name does not resolve", async () => {
    expect((await to("http://does-not-exist.invalid/")).text).toMatch(/does-not-exist\.invalid.*does not resolve/);
  });

  test("by a service binding reaches the callee's current version", async () => {
    expect((await solum.request("caller.localhost", "/service")).text).toBe("service: Hello 1");
    await solum.wrangler(solum.project("hello"), ["deploy", "--var", "GREETING:Changed"]);
    expect((await solum.request("caller.localhost", "/service")).text).toBe("service: Changed 1");
    await solum.api("DELETE", "/workers/scripts/hello?force=true");
    const missing = await solum.request("caller.localhost", "/service");
    expect(missing.text).toContain("hello");
  });
});

/** Files below the data and runtime folders that hold `text`. */
function filesWith(text: string): string[] {
  return [solum.data, solum.runtime].flatMap((folder) =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && readFileSync(join(entry.parentPath, entry.name)).includes(text))
      .map((entry) => join(entry.parentPath, entry.name)),
  );
}

/** Ids of things of the first account, by the names that routes give them. */
async function idsOfMine(): Promise<Record<string, string>> {
  const first = async (path: string, pick: (result: never) => string) =>
    pick((await solum.api("GET", path)).json.result as never);
  const script = "bindings";
  return {
    name: script,
    script_name: script,
    secret_name: "SECRET",
    version_id: await first(
      `/workers/scripts/${script}/versions`,
      (result: { items: { id: string }[] }) => result.items[0]?.id ?? "",
    ),
    deployment_id: await first(
      `/workers/scripts/${script}/deployments`,
      (result: { deployments: { id: string }[] }) => result.deployments[0]?.id ?? "",
    ),
    namespace_id: await first("/storage/kv/namespaces", (result: { id: string }[]) => result[0]?.id ?? ""),
    database: await first("/d1/database", (result: { uuid: string }[]) => result[0]?.uuid ?? ""),
    queue_id: await first("/queues", (result: { queue_id: string }[]) => result[0]?.queue_id ?? ""),
    workflow: "orders",
    instance_id: "mine",
    bucket: "bindings-files",
    bucket_name: "bindings-files",
    key: "key",
  };
}

/** Bodies that are well formed, so that what is refused is the id. */
const bodies: Record<string, string> = {
  "/accounts/:account_id/workflows/:workflow": JSON.stringify({ script_name: "orders", class_name: "Orders" }),
  "/accounts/:account_id/workflows/:workflow/instances": JSON.stringify({}),
  "/accounts/:account_id/workflows/:workflow/instances/batch": JSON.stringify([{}]),
  "/accounts/:account_id/workflows/:workflow/instances/batch/delete": JSON.stringify({ instances: ["mine"] }),
  "/accounts/:account_id/workflows/:workflow/instances/:instance_id/status": JSON.stringify({ status: "pause" }),
  "/accounts/:account_id/workers/scripts/:name/secrets": JSON.stringify({ name: "A", text: "x", type: "secret_text" }),
  "/accounts/:account_id/workers/scripts/:name/secrets-bulk": JSON.stringify({
    secrets: { A: { name: "A", text: "x", type: "secret_text" } },
  }),
  "/accounts/:account_id/workers/scripts/:name/deployments": JSON.stringify({
    versions: [{ version_id: "x", percentage: 100 }],
  }),
  "/accounts/:account_id/workers/scripts/:name/subdomain": JSON.stringify({ enabled: true }),
  "/accounts/:account_id/workers/scripts/:name/script-settings": JSON.stringify({}),
  "/accounts/:account_id/workers/scripts/:name/schedules": "[]",
  "/accounts/:account_id/workers/scripts/:name/routes": "[]",
  "/accounts/:account_id/workers/scripts/:name/domains/changeset": "[]",
  "/accounts/:account_id/workers/workers/:name/versions/latest": JSON.stringify({ env: {} }),
  "/accounts/:account_id/storage/kv/namespaces/:namespace_id": JSON.stringify({ title: "x" }),
  "/accounts/:account_id/storage/kv/namespaces/:namespace_id/bulk": JSON.stringify([{ key: "a", value: "b" }]),
  "DELETE /accounts/:account_id/storage/kv/namespaces/:namespace_id/bulk": JSON.stringify(["a"]),
  "/accounts/:account_id/storage/kv/namespaces/:namespace_id/bulk/get": JSON.stringify({ keys: ["a"] }),
  "/accounts/:account_id/storage/kv/namespaces/:namespace_id/bulk/delete": JSON.stringify(["a"]),
  "/accounts/:account_id/d1/database/:database/query": JSON.stringify({ sql: "SELECT 1" }),
  "/accounts/:account_id/d1/database/:database/raw": JSON.stringify({ sql: "SELECT 1" }),
  "/accounts/:account_id/d1/database/:database/import": JSON.stringify({ action: "init", etag: "0".repeat(32) }),
  "/accounts/:account_id/d1/database/:database/export": JSON.stringify({ output_format: "polling" }),
};

const headersOf: Record<string, Record<string, string>> = {
  "/accounts/:account_id/r2/buckets/:bucket": { "cf-r2-storage-class": "Standard" },
};

/** Routes whose name is one that the caller is about to make, or that only answer whether a name is free. */
const notLookups = new Set([
  "PUT /accounts/:account_id/workers/scripts/:name",
  "POST /accounts/:account_id/workers/scripts/:name/versions",
  "POST /accounts/:account_id/workers/scripts/:name/assets-upload-session",
  "GET /accounts/:account_id/workers/tails/by-consumer/:name",
  "GET /accounts/:account_id/workers/subdomains/:name",
]);

/** Parts that are never used: only the table of routes is wanted. */
function anything(): ApiParts {
  const any: unknown = new Proxy(() => any, { get: (_, name) => (name === Symbol.toPrimitive ? () => "" : any) });
  return any as ApiParts;
}
