import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Outcome, Solum, testedWranglers } from "../support/start-solum.ts";

/** Versions, deployments, rollbacks and gradual deployments, driven by the unmodified wrangler (wrangler-api §6, §7). */
let solum: Solum;
beforeAll(async () => {
  solum = await Solum.start();
});
afterAll(() => solum[Symbol.asyncDispose]());

type ShownVersion = {
  id: string;
  number: number;
  metadata: Record<string, unknown>;
  annotations: Record<string, string>;
  resources: { bindings: { name: string; type: string }[]; script: object; script_runtime: object };
};
type ShownDeployment = {
  id: string;
  source: string;
  annotations: Record<string, string>;
  versions: { version_id: string; percentage: number }[];
};

describe.each(testedWranglers)("wrangler %s", (version) => {
  const suffix = version.replace(".", "");
  const run = (project: string, args: string[], input?: string) =>
    solum.wrangler(project, args, { version, ...(input === undefined ? {} : { input }) });
  const succeed = async (project: string, args: string[], input?: string): Promise<Outcome> => {
    const outcome = await run(project, args, input);
    expect(outcome.code, `${args.join(" ")}\n${outcome.output}`).toBe(0);
    return outcome;
  };
  const get = async (name: string, path = "/", headers: Record<string, string> = {}) =>
    (await solum.request(`${name}-${suffix}.localhost`, path, { headers })).text;
  const result = async <T>(path: string) => (await solum.api("GET", `/workers/scripts${path}`)).json.result as T;
  const shownVersions = async (name: string) =>
    (await result<{ items: ShownVersion[] }>(`/${name}-${suffix}/versions?deployable=true`)).items;
  const deployments = async (name: string) =>
    (await result<{ deployments: ShownDeployment[] }>(`/${name}-${suffix}/deployments`)).deployments;
  /** A project that answers with `text`, and what else is asked of it. */
  const hello = (name: string, more: Record<string, unknown> = {}) => {
    const project = solum.project("hello");
    const config = { name: `${name}-${suffix}`, main: "index.js", compatibility_date: "2026-11-01", ...more };
    writeFileSync(join(project, "wrangler.jsonc"), JSON.stringify(config));
    return project;
  };
  const say = (project: string, text: string) =>
    writeFileSync(
      join(project, "index.js"),
      `export default { fetch: (request, env) => new Response(${JSON.stringify(text)} + (env.S ?? "")) };`,
    );
  const upload = async (project: string, ...more: string[]) => {
    const { output } = await succeed(project, ["versions", "upload", ...more]);
    return { output, id: /Worker Version ID: ([0-9a-f-]{36})/.exec(output)?.[1] ?? "" };
  };

  test("uploads, lists, views, deploys, splits, rolls back", async () => {
    const project = hello("life", { vars: { V: "a variable" } });
    say(project, "one");
    await succeed(project, ["deploy", "--message", "the first", "--tag", "v1"]);
    const [first] = await shownVersions("life");
    expect(first).toMatchObject({
      number: 1,
      metadata: { source: "wrangler", author_email: "owner@localhost" },
      annotations: { "workers/triggered_by": "upload", "workers/message": "the first", "workers/tag": "v1" },
      resources: {
        bindings: [{ name: "V", type: "plain_text", text: "a variable" }],
        script: { handlers: ["fetch"], last_deployed_from: "wrangler" },
        script_runtime: { compatibility_date: "2026-11-01", usage_model: "standard" },
      },
    });
    // An empty list would make `versions view` print a line (wrangler-api §6).
    expect(first?.resources.script_runtime).not.toHaveProperty("compatibility_flags");

    say(project, "two");
    const second = await upload(project, "--message", "the second", "--tag", "v2");
    expect(second.id).toMatch(/^[0-9a-f-]{36}$/);
    expect(await get("life")).toBe("one");
    expect((await succeed(project, ["versions", "list"])).output).toMatch(/Tag: +v1[\s\S]*Tag: +v2/);
    const viewed = await succeed(project, ["versions", "view", second.id]);
    expect(viewed.output).toContain("the second");
    expect(viewed.output).toContain('env.V ("a variable")');

    const specs = [`${first?.id}@75%`, `${second.id}@25%`];
    await succeed(project, ["versions", "deploy", ...specs, "-y", "--message", "a quarter"]);
    expect((await deployments("life"))[0]).toMatchObject({
      source: "wrangler",
      annotations: { "workers/triggered_by": "deployment", "workers/message": "a quarter" },
      versions: expect.arrayContaining([
        { version_id: first?.id, percentage: 75 },
        { version_id: second.id, percentage: 25 },
      ]) as unknown,
    });
    const status = await succeed(project, ["deployments", "status"]);
    expect(status.output).toMatch(/\(75%\)[\s\S]*\(25%\)|\(25%\)[\s\S]*\(75%\)/);
    const answers = await Promise.all(Array.from({ length: 60 }, () => get("life")));
    expect(new Set(answers)).toEqual(new Set(["one", "two"]));
    const override = { "cloudflare-workers-version-overrides": `life-${suffix}="${second.id}"` };
    const overridden = await Promise.all(Array.from({ length: 20 }, () => get("life", "/", override)));
    expect(new Set(overridden)).toEqual(new Set(["two"]));

    await succeed(project, ["versions", "deploy", `${second.id}@100%`, "-y"]);
    expect(await get("life")).toBe("two");
    const listed = await succeed(project, ["deployments", "list"]);
    expect(listed.output).toContain("Automatic deployment on upload.");
    expect(listed.output).toContain("a quarter");

    // Without an id: the newest other deployment that was one version alone.
    const rolled = await succeed(project, ["rollback", "--message", "back again"]);
    expect(rolled.output).toContain(`Current Version ID: ${first?.id}`);
    expect(await get("life")).toBe("one");
    expect((await deployments("life"))[0]).toMatchObject({
      annotations: { "workers/triggered_by": "deployment", "workers/message": "back again" },
      versions: [{ version_id: first?.id, percentage: 100 }],
    });
    await succeed(project, ["rollback", second.id, "--message", "and forth"]);
    expect(await get("life")).toBe("two");
  });

  test("a version at 0 % answers whoever asks for it, and nobody else", async () => {
    const project = hello("zero");
    say(project, "old");
    await succeed(project, ["deploy"]);
    const [old] = await shownVersions("zero");
    say(project, "new");
    const { id } = await upload(project);
    await succeed(project, ["versions", "deploy", `${old?.id}@100%`, `${id}@0%`, "-y"]);
    const answers = await Promise.all(Array.from({ length: 40 }, () => get("zero")));
    expect(new Set(answers)).toEqual(new Set(["old"]));
    expect(await get("zero", "/", { "cloudflare-workers-version-overrides": `zero-${suffix}="${id}"` })).toBe("new");
  });

  test("secrets of versions: put, list, bulk and delete make versions that are not live", async () => {
    const project = hello("vsecret");
    say(project, "secret ");
    await succeed(project, ["deploy"]);
    const put = await succeed(project, ["versions", "secret", "put", "S", "--message", "why"], "one");
    expect(put.output).toContain("Created version");
    expect(await get("vsecret")).toBe("secret ");
    const [latest] = await shownVersions("vsecret");
    expect(latest).toMatchObject({
      number: 2,
      annotations: { "workers/triggered_by": "secret", "workers/message": "why" },
      resources: { bindings: [{ name: "S", type: "secret_text" }] },
    });
    // `secret put` would take what is not live yet with it.
    const refused = await run(project, ["secret", "put", "T"], "two");
    expect(refused.code).not.toBe(0);
    expect(refused.output).toContain("versions secret put");
    await succeed(project, ["versions", "deploy", `${latest?.id}@100%`, "-y"]);
    expect(await get("vsecret")).toBe("secret one");
    expect((await succeed(project, ["versions", "secret", "list"])).output).toContain("Secret Name: S");
    const bulk = join(project, "secrets.json");
    writeFileSync(bulk, JSON.stringify({ A: "a", B: "b" }));
    await succeed(project, ["versions", "secret", "bulk", bulk]);
    await succeed(project, ["versions", "secret", "delete", "S"], "y");
    const [deleted] = await shownVersions("vsecret");
    expect(deleted?.resources.bindings.map(({ name }) => name).toSorted()).toEqual(["A", "B"]);
    expect(await get("vsecret")).toBe("secret one");
  });

  test("a rollback over changed secrets says which; wrangler asks and goes on", async () => {
    const project = hello("changed");
    say(project, "the secret is ");
    await succeed(project, ["deploy"]);
    await succeed(project, ["secret", "put", "S"], "new");
    const [now, then] = await shownVersions("changed");
    expect(await get("changed")).toBe("the secret is new");
    const refused = await solum.api("POST", `/workers/scripts/changed-${suffix}/deployments`, {
      strategy: "percentage",
      versions: [{ version_id: then?.id, percentage: 100 }],
    });
    expect(refused.json.errors[0]).toMatchObject({
      code: 10220,
      message: expect.stringMatching(/The following secrets have changed: S$/) as unknown,
    });
    expect((await deployments("changed"))[0]?.versions[0]?.version_id).toBe(now?.id);
    const rolled = await succeed(project, ["rollback", then?.id ?? "", "--message", "anyway"]);
    expect(rolled.output).toContain("* S");
    expect(await get("changed")).toBe("the secret is ");
  });

  test("a rollback to a namespace that is gone is refused, and nothing changes", async () => {
    const namespace = await solum.api("POST", "/storage/kv/namespaces", { title: `gone-${suffix}` });
    const { id } = namespace.json.result as { id: string };
    const project = hello("gone", { kv_namespaces: [{ binding: "KV", id }] });
    say(project, "with");
    await succeed(project, ["deploy"]);
    const without = hello("gone");
    say(without, "without");
    await succeed(without, ["deploy"]);
    await solum.api("DELETE", `/storage/kv/namespaces/${id}`);
    const refused = await run(without, ["rollback", "--message", "no"]);
    expect(refused.code).not.toBe(0);
    expect(refused.output).toContain("external resources being modified");
    expect(refused.output).toContain(`KV namespace '${id}' not found. [code: 10041]`);
    expect(await get("gone")).toBe("without");
  });

  test("keeps variables when told to, sets them on the command line", async () => {
    const project = hello("vars", { vars: { KEPT: "kept" } });
    writeFileSync(
      join(project, "index.js"),
      "export default { fetch: (request, env) => Response.json(env, { headers: { x: 1 } }) };",
    );
    await succeed(project, ["deploy", "--var", "GIVEN:given"]);
    expect(JSON.parse(await get("vars"))).toEqual({ KEPT: "kept", GIVEN: "given" });
    writeFileSync(
      join(project, "wrangler.jsonc"),
      readFileSync(join(project, "wrangler.jsonc"), "utf8").replace('"KEPT":"kept"', '"NEW":"new"'),
    );
    await succeed(project, ["deploy", "--keep-vars"]);
    expect(JSON.parse(await get("vars"))).toEqual({ KEPT: "kept", GIVEN: "given", NEW: "new" });
    await succeed(project, ["deploy"]);
    expect(JSON.parse(await get("vars"))).toEqual({ NEW: "new" });
  });

  test("deletes a Worker that others use only after saying so", async () => {
    const callee = hello("used");
    say(callee, "used");
    await succeed(callee, ["deploy"]);
    const service = `used-${suffix}`;
    const caller = hello("uses", { services: [{ binding: "USED", service }], tail_consumers: [{ service }] });
    say(caller, "uses");
    await succeed(caller, ["deploy"]);
    const refused = await solum.api("DELETE", `/workers/services/${service}`);
    expect(refused.json.errors[0]).toMatchObject({ code: 10064 });
    expect(await get("used")).toBe("used");
    // Nobody can answer here, so wrangler answers its own questions with yes and then forces it.
    const deleted = await succeed(callee, ["delete"]);
    expect(deleted.output).toContain(`Worker uses-${suffix} (production) uses this Worker as a Service Binding`);
    expect(deleted.output).toContain(`Worker uses-${suffix} uses this Worker as a Tail Worker`);
    expect((await solum.request(`${service}.localhost`)).status).toBe(404);
    await succeed(caller, ["delete", "--force"]);
    expect((await solum.api("GET", `/workers/services/uses-${suffix}`)).json.errors[0]?.code).toBe(10090);
  });

  test("downloads what was deployed", async () => {
    const project = solum.project("modules");
    await succeed(project, ["deploy", "--name", `download-${suffix}`]);
    const before = await get("download");
    const folder = solum.project("hello");
    await succeed(folder, ["init", "--from-dash", `download-${suffix}`, "--no-delegate-c3", "-y"]);
    const downloaded = join(folder, `download-${suffix}`);
    const config = JSON.parse(readFileSync(join(downloaded, "wrangler.jsonc"), "utf8")) as Record<string, unknown>;
    expect(config).toMatchObject({ name: `download-${suffix}`, main: "src/index.js", workers_dev: true });
    // What came back deploys again and does the same.
    await succeed(downloaded, ["deploy", "--name", `again-${suffix}`, "--no-bundle"]);
    expect(await get("again")).toBe(before);
  });

  test("several deploys at once: all are there, the last one is live", async () => {
    const first = hello("crowd");
    say(first, "start");
    await succeed(first, ["deploy"]);
    const projects = ["a", "b", "c"].map((text) => {
      const project = hello("crowd");
      say(project, text);
      return project;
    });
    await Promise.all(projects.map((project) => succeed(project, ["deploy"])));
    const all = await deployments("crowd");
    expect(all).toHaveLength(4);
    expect((await shownVersions("crowd")).map(({ number }) => number)).toEqual([4, 3, 2, 1]);
    const last = all[0]?.versions[0]?.version_id ?? "";
    const override = { "cloudflare-workers-version-overrides": `crowd-${suffix}="${last}"` };
    expect(await get("crowd")).toBe(await get("crowd", "/", override));
    expect(["a", "b", "c"]).toContain(await get("crowd"));
  });
});
