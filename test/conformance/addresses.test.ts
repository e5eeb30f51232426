import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Outcome, Solum, testedWranglers } from "../support/start-solum.ts";

/** Where Workers answer: the app domain, previews, routes and custom domains, set by the unmodified wrangler (wrangler-api §3.7). */
let solum: Solum;
beforeAll(async () => {
  solum = await Solum.start();
});
afterAll(() => solum[Symbol.asyncDispose]());

/** A project that answers with its name and the path that it was asked for. */
function project(on: Solum, name: string, config: Record<string, unknown> = {}): string {
  const folder = on.project("hello");
  const source = `export default { fetch: (request) => new Response("${name} " + new URL(request.url).pathname) };`;
  writeFileSync(join(folder, "index.js"), source);
  const whole = { name, main: "index.js", compatibility_date: "2026-11-01", ...config };
  writeFileSync(join(folder, "wrangler.jsonc"), JSON.stringify(whole));
  return folder;
}

describe.each(testedWranglers)("wrangler %s", (version) => {
  const suffix = version.replace(".", "");
  /** A zone for each wrangler, so that each run begins with nothing. */
  const zone = `w${suffix}.example`;
  const run = (folder: string, ...args: string[]) => solum.wrangler(folder, args, { version });
  const succeed = async (folder: string, ...args: string[]): Promise<Outcome> => {
    const outcome = await run(folder, ...args);
    expect(outcome.code, `${args.join(" ")}\n${outcome.output}`).toBe(0);
    return outcome;
  };
  const text = async (host: string, path = "/") => {
    const { status, text: body } = await solum.request(host, path);
    return status === 200 ? body : status;
  };

  beforeAll(async () => {
    const answer = await solum.v4("POST", "/zones", {
      name: zone,
      account: { id: solum.environment["CLOUDFLARE_ACCOUNT_ID"] },
    });
    expect(answer.json.success).toBe(true);
  });

  test("the app domain can be switched off and on again", async () => {
    const name = `toggle-${suffix}`;
    const on = await succeed(project(solum, name), "deploy");
    if (version === "4.156") expect(on.output).toContain(`${name}.localhost`);
    expect(await text(`${name}.localhost`)).toBe(`${name} /`);
    const off = project(solum, name, { workers_dev: false });
    await succeed(off, "triggers", "deploy");
    expect(await text(`${name}.localhost`)).toBe(404);
    expect((await solum.api("GET", `/workers/scripts/${name}/subdomain`)).json.result).toEqual({
      enabled: false,
      previews_enabled: false,
    });
    await succeed(project(solum, name, { workers_dev: true, preview_urls: false }), "triggers", "deploy");
    expect(await text(`${name}.localhost`)).toBe(`${name} /`);
  });

  test("a version is previewed at an address of its own, and under its alias", async () => {
    const name = `preview-${suffix}`;
    const folder = project(solum, name);
    await succeed(folder, "deploy");
    const { output } = await succeed(folder, "versions", "upload", "--preview-alias", "staging");
    const id = /Worker Version ID: ([0-9a-f-]{36})/.exec(output)?.[1] ?? "";
    // 4.125 knows only workers.dev.
    const domain = version === "4.156" ? `localhost:${solum.port}` : "solum.workers.dev";
    expect(output).toContain(`Version Preview URL: https://${id.slice(0, 8)}-${name}.${domain}`);
    expect(output).toContain(`Version Preview Alias URL: https://staging-${name}.${domain}`);
    const refused = await run(folder, "versions", "upload", "--preview-alias", "feature/x");
    expect(refused.code).not.toBe(0);
    expect(refused.output).toContain("alias");
  });

  test("routes: the most specific one answers, and a deploy replaces them all", async () => {
    const [wide, narrow] = [`wide-${suffix}`, `narrow-${suffix}`];
    const deployed = await succeed(project(solum, wide, { routes: [`${zone}/*`, `*.${zone}/*`] }), "deploy");
    expect(deployed.output).toContain(`${zone}/*`);
    const routes = [{ pattern: `${zone}/api/*`, zone_name: zone }];
    await succeed(project(solum, narrow, { routes }), "deploy");
    expect(await text(zone, "/x")).toBe(`${wide} /x`);
    expect(await text(`a.b.${zone}`, "/x")).toBe(`${wide} /x`);
    expect(await text(zone, "/api/x")).toBe(`${narrow} /api/x`);
    expect(await text(`${wide}.localhost`)).toBe(404);
    await succeed(project(solum, wide, { routes: [`www.${zone}/*`] }), "triggers", "deploy");
    expect(await text(zone, "/x")).toBe(404);
    expect(await text(`www.${zone}`, "/x")).toBe(`${wide} /x`);
    expect(await text(zone, "/api/x")).toBe(`${narrow} /api/x`);
    await succeed(project(solum, narrow), "delete", "--force");
    expect(await text(zone, "/api/x")).toBe(404);
  });

  test("a route of another Worker, of no zone or that is malformed is refused; the Worker goes on", async () => {
    const [holder, wants] = [`holder-${suffix}`, `wants-${suffix}`];
    await succeed(project(solum, holder, { routes: [`held.${zone}/*`] }), "deploy");
    await succeed(project(solum, wants), "deploy");
    const attempts: [string | object, RegExp][] = [
      [
        `held.${zone}/*`,
        /A route with the same pattern already exists[\s\S]*\[code: 10020\]|already assigned to routes/,
      ],
      [`nowhere.${suffix}.test/*`, /Could not find zone|\[code: 10083\]/],
      [{ pattern: `held.${zone}/*.jpg`, zone_name: zone }, /Invalid route pattern[\s\S]*\[code: 10022\]/],
      [{ pattern: `elsewhere.test/*`, zone_name: zone }, /Route pattern must include zone name[\s\S]*\[code: 10022\]/],
    ];
    for (const [route, message] of attempts) {
      const outcome = await run(project(solum, wants, { routes: [route], workers_dev: true }), "triggers", "deploy");
      expect(outcome.code, outcome.output).not.toBe(0);
      expect(outcome.output).toMatch(message);
    }
    expect(await text(`held.${zone}`)).toBe(`${holder} /`);
    expect(await text(`${wants}.localhost`)).toBe(`${wants} /`);
  });

  test("a custom domain is a whole host, and moves to the Worker that asks for it", async () => {
    const [first, second] = [`first-${suffix}`, `second-${suffix}`];
    const routes = [{ pattern: `shop.${zone}`, custom_domain: true }];
    const deployed = await succeed(project(solum, first, { routes }), "deploy");
    expect(deployed.output).toContain(`shop.${zone} (custom domain)`);
    expect(await text(`shop.${zone}`, "/any/path")).toBe(`${first} /any/path`);
    // Nobody can be asked here, so wrangler overrides by itself.
    await succeed(project(solum, second, { routes }), "deploy");
    expect(await text(`shop.${zone}`)).toBe(`${second} /`);
    await succeed(project(solum, second), "delete", "--force");
    expect(await text(`shop.${zone}`)).toBe(404);
  });

  test("what a Worker answers to is downloaded with it", async () => {
    const name = `read-${suffix}`;
    const routes = [
      { pattern: `read.${zone}/*`, zone_name: zone },
      { pattern: `whole.${zone}`, custom_domain: true },
    ];
    await succeed(project(solum, name, { routes, vars: { A: "b" } }), "deploy");
    const folder = solum.project("hello");
    await succeed(folder, "init", "--from-dash", name, "--no-delegate-c3", "-y");
    const config: unknown = JSON.parse(readFileSync(join(folder, name, "wrangler.jsonc"), "utf8"));
    expect(config).toMatchObject({
      name,
      workers_dev: false,
      vars: { A: "b" },
      routes: [
        { pattern: `read.${zone}/*`, zone_name: zone },
        { pattern: `whole.${zone}`, zone_name: zone, custom_domain: true },
      ],
    });
  });
});

test("an app domain on workers.dev is what every wrangler prints, and where Workers answer", async () => {
  await using acme = await Solum.start("--app-domain", "acme.workers.dev");
  for (const version of testedWranglers) {
    const name = `dev-${version.replace(".", "")}`;
    const folder = project(acme, name);
    const deployed = await acme.wrangler(folder, ["deploy"], { version });
    expect(deployed.code, deployed.output).toBe(0);
    expect(deployed.output).toContain(`https://${name}.acme.workers.dev`);
    expect((await acme.request(`${name}.acme.workers.dev`, "/x")).text).toBe(`${name} /x`);
    const { output } = await acme.wrangler(folder, ["versions", "upload"], { version });
    expect(output).toMatch(new RegExp(`Version Preview URL: https://[0-9a-f]{8}-${name}\\.acme\\.workers\\.dev`));
  }
  expect((await acme.api("GET", "/workers/subdomain")).json.result).toEqual({ subdomain: "acme" });
});
