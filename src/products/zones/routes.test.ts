import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { firstError, moduleUpload, WorkersApi } from "../../../test/support/workers-api.ts";

let api: WorkersApi;
beforeEach(async () => {
  api = await WorkersApi.start();
  for (const name of ["hello", "other"]) await api.put(name, moduleUpload());
});
afterEach(() => api[Symbol.asyncDispose]());

type Shown = Record<string, unknown> & { id: string };

const made = async (path: string, body: unknown): Promise<Shown> => {
  const answer = await api.request("POST", path, body);
  expect(answer.status, JSON.stringify(answer.json)).toBe(200);
  return answer.json.result;
};
const got = async <T>(path: string) => (await api.request("GET", path)).json.result as T;
const zone = (name = "example.com") => made("/zones", { name });

describe("zones", () => {
  test("are made, listed by name and page, shown and deleted", async () => {
    const com = await zone();
    const org = await made("/zones", { name: "example.org", account: { id: api.account }, type: "full" });
    expect(com).toMatchObject({ name: "example.com", status: "active", account: { id: api.account, name: "Solum" } });
    expect((await got<Shown[]>("/zones")).map(({ name }) => name)).toEqual(["example.com", "example.org"]);
    // How wrangler looks for the zone of a host.
    expect(await got(`/zones?name=example.org&account.id=${api.account}`)).toEqual([org]);
    expect(await got(`/zones?name=www.example.org&account.id=${api.account}`)).toEqual([]);
    expect(await got(`/zones?account.id=${api.stranger}`)).toEqual([]);
    const page = await api.request("GET", "/zones?per_page=1&page=2");
    expect(page.json).toMatchObject({ result: [org], result_info: { page: 2, per_page: 1, count: 1, total_count: 2 } });
    expect(await got(`/zones/${com.id}`)).toEqual(com);
    expect((await api.request("DELETE", `/zones/${com.id}`)).json.result).toEqual({ id: com.id });
    expect(firstError(await api.request("GET", `/zones/${com.id}`))?.code).toBe(7003);
    expect(firstError(await api.request("POST", "/zones", { name: "example.org" }))).toMatchObject({
      code: 1061,
      message: "example.org already exists",
    });
  });

  test("of another account do not exist, whatever is asked of them", async () => {
    const { id } = await zone();
    const route = await made(`/zones/${id}/workers/routes`, { pattern: "example.com/*", script: "hello" });
    const routes = `/zones/${id}/workers/routes`;
    const attempts: [string, string, unknown?][] = [
      ["GET", `/zones/${id}`],
      ["DELETE", `/zones/${id}`],
      ["GET", routes],
      ["POST", routes, { pattern: "example.com/x" }],
      ["PUT", `${routes}/${route.id}`, { pattern: "example.com/x" }],
      ["DELETE", `${routes}/${route.id}`],
      ["GET", `${routes}/${route.id}`],
    ];
    for (const [method, path, body] of attempts)
      expect(firstError(await api.request(method, path, body, "theirs"))?.code, `${method} ${path}`).toBe(7003);
    expect(
      firstError(await api.request("POST", "/zones", { name: "a.test", account: { id: api.account } }, "theirs"))?.code,
    ).toBe(10000);
    expect(await got(routes)).toEqual([{ id: route.id, pattern: "example.com/*", script: "hello" }]);
    expect((await api.request("GET", "/zones", undefined, "theirs")).json.result).toEqual([]);
  });
});

describe("routes of a zone", () => {
  test("are made, listed, changed and deleted, each live when it is answered", async () => {
    const { id } = await zone();
    const routes = `/zones/${id}/workers/routes`;
    const settled = api.settled;
    const first = await made(routes, { pattern: "example.com/*", script: "hello" });
    const none = await made(routes, { pattern: "example.com/static/*" });
    expect(await got(routes)).toEqual([
      { id: first.id, pattern: "example.com/*", script: "hello" },
      { id: none.id, pattern: "example.com/static/*" },
    ]);
    const changed = await api.request("PUT", `${routes}/${first.id}`, { pattern: "example.com/a", script: "other" });
    expect(changed.json.result).toEqual({ id: first.id, pattern: "example.com/a", script: "other" });
    expect((await api.request("DELETE", `${routes}/${first.id}`)).json.result).toEqual({ id: first.id });
    expect(firstError(await api.request("DELETE", `${routes}/${first.id}`))?.code).toBe(7003);
    expect(api.settled - settled).toBe(4);
  });

  test("are refused in Cloudflare's words, and nothing is written", async () => {
    const { id } = await zone();
    const routes = `/zones/${id}/workers/routes`;
    await made(routes, { pattern: "example.com/*", script: "hello" });
    const before = await got(routes);
    const attempts: [unknown, number, string][] = [
      [{ pattern: "example.com/*", script: "other" }, 10020, "A route with the same pattern already exists"],
      [{ pattern: "example.com/x", script: "nope" }, 10019, "Cannot configure a route for a Worker which does not"],
      [{ pattern: "example.org/*", script: "hello" }, 10022, "Route pattern must include zone name: example.org/*"],
      [{ pattern: "example.com/*.jpg", script: "hello" }, 10022, "Invalid route pattern"],
      [{ script: "hello" }, 10001, "pattern"],
      [{ pattern: 5 }, 10001, "pattern"],
    ];
    for (const [body, code, message] of attempts)
      expect(firstError(await api.request("POST", routes, body))).toEqual({
        code,
        message: expect.stringContaining(message) as unknown,
      });
    expect(await got(routes)).toEqual(before);
  });
});

describe("routes of a Worker", () => {
  const routes = "/workers/scripts/hello/routes";

  test("are replaced as a whole", async () => {
    await zone();
    const org = await zone("example.org");
    const wanted = [
      { pattern: "example.com/*" },
      { pattern: "*.example.org/x", zone_name: "example.org" },
      "example.org/y",
    ];
    expect((await api.call("PUT", routes, wanted)).json.result).toMatchObject([
      { pattern: "*.example.org/x", zone_name: "example.org", zone_id: org.id, script: "hello" },
      { pattern: "example.com/*", zone_name: "example.com" },
      { pattern: "example.org/y" },
    ]);
    // How `wrangler init --from-dash` reads them.
    const read = "/workers/services/hello/environments/production/routes?show_zonename=true";
    expect((await api.call("GET", read)).json.result).toHaveLength(3);
    await api.call("PUT", routes, []);
    expect((await api.call("GET", read)).json.result).toEqual([]);
  });

  test("are refused without a zone, or when another Worker has one, and nothing is written", async () => {
    await zone();
    await api.call("PUT", routes, [{ pattern: "example.com/mine" }]);
    await api.call("PUT", "/workers/scripts/other/routes", [{ pattern: "example.com/*" }]);
    const attempts: [unknown, number][] = [
      [[{ pattern: "example.com/new" }, { pattern: "example.com/*" }], 10020],
      [[{ pattern: "example.com/new" }, { pattern: "nowhere.test/*" }], 10083],
      [[{ pattern: "example.com/new", zone_id: "0".repeat(32) }], 10083],
      [[{ pattern: "example.com/new" }, { pattern: "example.com/new" }], 10020],
      ["example.com/*", 10001],
    ];
    for (const [body, code] of attempts)
      expect(firstError(await api.call("PUT", routes, JSON.stringify(body)))?.code, JSON.stringify(body)).toBe(code);
    expect((await api.call("GET", routes)).json.result).toMatchObject([{ pattern: "example.com/mine" }]);
    expect(firstError(await api.call("PUT", "/workers/scripts/none/routes", []))?.code).toBe(10007);
    expect(firstError(await api.call("PUT", routes, [], "theirs"))?.code).toBe(10007);
  });
});

describe("custom domains", () => {
  const changeset = "/workers/scripts/hello/domains/changeset?replace_state=true";
  const records = "/workers/scripts/hello/domains/records";

  test("wrangler hears what would change, then changes it", async () => {
    const { id: zoneId } = await zone();
    const origins = [{ hostname: "shop.example.com" }];
    const planned = (await api.call("POST", changeset, origins)).json.result;
    expect(planned).toMatchObject({
      added: [{ hostname: "shop.example.com", zone_id: zoneId, service: "hello" }],
      removed: [],
      updated: [],
      conflicting: [],
    });
    expect((await api.call("GET", "/workers/domains/records")).json.result).toEqual([]);
    const body = { override_scope: true, override_existing_origin: false, origins };
    const [record] = (await api.call("PUT", records, body)).json.result as Shown[];
    expect(record).toMatchObject({
      hostname: "shop.example.com",
      zone_name: "example.com",
      service: "hello",
      environment: "production",
      enabled: true,
    });
    expect((await api.call("GET", `/workers/domains/records/${record?.id}`)).json.result).toEqual(record);
    const other = "/workers/scripts/other/domains/changeset?replace_state=true";
    expect((await api.call("POST", other, origins)).json.result).toMatchObject({
      added: [],
      updated: [{ id: record?.id, service: "other", modified: true }],
    });
    expect((await api.call("POST", changeset, origins)).json.result).toMatchObject({ updated: [{ modified: false }] });
    expect((await api.call("POST", changeset, [])).json.result).toMatchObject({ removed: [{ id: record?.id }] });
  });

  test("one of another Worker is taken over only when it is said", async () => {
    await zone();
    const body = (override: boolean) => ({
      override_scope: true,
      override_existing_origin: override,
      origins: [{ hostname: "shop.example.com" }],
    });
    await api.call("PUT", records, body(false));
    const others = "/workers/scripts/other/domains/records";
    expect(firstError(await api.call("PUT", others, body(false)))?.code).toBe(100116);
    const [taken] = (await api.call("PUT", others, body(true))).json.result as Shown[];
    expect(taken).toMatchObject({ service: "other" });
    // How `wrangler init --from-dash` reads them.
    const read = "/workers/domains/records?page=0&per_page=5&environment=production&service=";
    expect((await api.call("GET", `${read}other`)).json.result).toHaveLength(1);
    expect((await api.call("GET", `${read}hello`)).json.result).toHaveLength(0);
    expect((await api.call("GET", `${read}other`, undefined, "theirs")).json.result).toHaveLength(0);
  });

  test("the public API attaches, lists and detaches one", async () => {
    const { id: zoneId } = await zone();
    const body = { hostname: "shop.example.com", service: "hello", environment: "production", zone_id: zoneId };
    const attached = (await api.call("PUT", "/workers/domains", body)).json.result as Shown;
    expect(attached).toMatchObject({ hostname: "shop.example.com", service: "hello", zone_id: zoneId });
    const query = "/workers/domains?hostname=shop.example.com&zone_name=example.com";
    expect((await api.call("GET", query)).json.result).toEqual([attached]);
    const theirs = await api.call("DELETE", `/workers/domains/${attached.id}`, undefined, "theirs");
    expect(firstError(theirs)?.code).toBe(7003);
    expect((await api.call("DELETE", `/workers/domains/${attached.id}`)).status).toBe(200);
    expect((await api.call("GET", query)).json.result).toEqual([]);
    expect(firstError(await api.call("PUT", "/workers/domains", { ...body, service: "none" }))?.code).toBe(10019);
  });
});
