import { afterAll, beforeAll, expect, test } from "vitest";
import Cloudflare from "cloudflare";
import { Solum } from "../support/start-solum.ts";
import { mainPart, uploadForm } from "../support/workers-api.ts";

/** Versions, deployments, zones, routes and custom domains through Cloudflare's SDK: its pagers must end, its types must fit. */
let solum: Solum;
let client: Cloudflare;
let account_id: string;
beforeAll(async () => {
  solum = await Solum.start();
  account_id = solum.environment["CLOUDFLARE_ACCOUNT_ID"] ?? "";
  client = new Cloudflare({
    apiToken: solum.environment["CLOUDFLARE_API_TOKEN"] ?? "",
    baseURL: solum.environment["CLOUDFLARE_API_BASE_URL"] ?? "",
    maxRetries: 0,
  });
});
afterAll(() => solum[Symbol.asyncDispose]());

/** By a plain form: the SDK's own flattens `metadata` into fields that no upload has. */
async function upload(method: "PUT" | "POST", path: string, text: string): Promise<{ id: string }> {
  const form = uploadForm({ main_module: "index.js", compatibility_date: "2026-11-01" }, [
    { ...mainPart, text: `export default { fetch: () => new Response("${text}") }` },
  ]);
  const base = solum.environment["CLOUDFLARE_API_BASE_URL"];
  const answer = await fetch(`${base}/accounts/${account_id}/workers/scripts/${path}`, {
    method,
    body: form,
    headers: { authorization: `Bearer ${solum.environment["CLOUDFLARE_API_TOKEN"]}` },
  });
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { result: { id: string } }).result;
}

async function all<T>(pages: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of pages) items.push(item);
  return items;
}

test("uploads versions, splits requests between two and reads the code back", async () => {
  await upload("PUT", "sdk", "one");
  await client.workers.scripts.subdomain.create("sdk", { account_id, enabled: true });
  const second = await upload("POST", "sdk/versions", "two");
  const versions = await all(client.workers.scripts.versions.list("sdk", { account_id, per_page: 1 }));
  expect(versions.map(({ number }) => number)).toEqual([2, 1]);
  expect(await all(client.workers.scripts.versions.list("sdk", { account_id, deployable: true }))).toHaveLength(2);
  const [, first] = versions;
  const deployment = await client.workers.scripts.deployments.create("sdk", {
    account_id,
    strategy: "percentage",
    versions: [
      { version_id: first?.id ?? "", percentage: 99.5 },
      { version_id: second.id, percentage: 0.5 },
    ],
  });
  expect(await client.workers.scripts.deployments.get(deployment.id, { account_id, script_name: "sdk" })).toEqual(
    deployment,
  );
  expect((await solum.request("sdk.localhost")).status).toBe(200);
  const content = await client.workers.scripts.content.get("sdk", { account_id });
  expect(content.headers.get("cf-entrypoint")).toBe("index.js");
  const part = (await content.formData()).get("index.js");
  expect(part instanceof Blob && (await part.text())).toContain('new Response("one")');
});

test("makes a zone with a route and a custom domain, and takes them away", async () => {
  await upload("PUT", "routed", "routed");
  const zone = await client.zones.create({ account: { id: account_id }, name: "sdk.example", type: "full" });
  await client.zones.create({ account: { id: account_id }, name: "other.example" });
  expect((await all(client.zones.list({ per_page: 5 }))).map(({ name }) => name)).toEqual([
    "other.example",
    "sdk.example",
  ]);
  const inZone = { zone_id: zone.id };
  const route = await client.workers.routes.create({ ...inZone, pattern: "sdk.example/*", script: "routed" });
  expect((await solum.request("sdk.example", "/x")).text).toBe("routed");
  await client.workers.routes.update(route.id, { ...inZone, pattern: "sdk.example/only", script: "routed" });
  expect((await solum.request("sdk.example", "/x")).status).toBe(404);
  expect((await solum.request("sdk.example", "/only")).text).toBe("routed");
  expect(await all(client.workers.routes.list(inZone))).toHaveLength(1);
  await client.workers.routes.delete(route.id, inZone);
  expect((await solum.request("sdk.example", "/only")).status).toBe(404);

  const domain = await client.workers.domains.update({
    account_id,
    ...inZone,
    hostname: "whole.sdk.example",
    service: "routed",
  });
  expect((await solum.request("whole.sdk.example", "/any")).text).toBe("routed");
  expect(await all(client.workers.domains.list({ account_id }))).toHaveLength(1);
  await client.workers.domains.delete(domain.id ?? "", { account_id });
  expect((await solum.request("whole.sdk.example", "/any")).status).toBe(404);
  await client.zones.delete(inZone);
  expect(await all(client.zones.list())).toHaveLength(1);
});
