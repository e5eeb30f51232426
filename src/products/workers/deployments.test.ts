import { afterEach, beforeEach, expect, test } from "vitest";
import { readDesired } from "#products/workers/desired.ts";
import { limits } from "#products/workers/schema.ts";
import { firstError, moduleUpload, namespace, uploadForm, WorkersApi } from "../../../test/support/workers-api.ts";

let api: WorkersApi;
beforeEach(async () => {
  api = await WorkersApi.start();
});
afterEach(() => api[Symbol.asyncDispose]());

type Shown = { id: string; number: number };

const upload = async (more: Record<string, unknown> = {}) => {
  const answer = await api.call("POST", "/workers/scripts/hello/versions", moduleUpload(more));
  expect(answer.status, JSON.stringify(answer.json)).toBe(200);
  return answer.json.result as Shown;
};
const deploy = (versions: [id: string, percentage: number][], query = "", annotations: object = {}) =>
  api.call("POST", `/workers/scripts/hello/deployments${query}`, {
    strategy: "percentage",
    versions: versions.map(([version_id, percentage]) => ({ version_id, percentage })),
    annotations,
  });
const deployments = async () =>
  ((await api.call("GET", "/workers/scripts/hello/deployments")).json.result as { deployments: object[] }).deployments;
const listed = async (query: string) => {
  const answer = await api.call("GET", `/workers/scripts/hello/versions${query}`);
  return (answer.json.result as { items: Shown[] }).items.map(({ number }) => number);
};

test("a split is refused when it does not add up, and nothing is written", async () => {
  await api.put("hello", moduleUpload());
  const [a, b, c] = [await upload(), await upload(), await upload()];
  const before = await deployments();
  const attempts: [[string, number][], number][] = [
    [[[a.id, 50]], 10021],
    [
      [
        [a.id, 60],
        [b.id, 60],
      ],
      10021,
    ],
    [
      [
        [a.id, 50],
        [a.id, 50],
      ],
      10021,
    ],
    [
      [
        [a.id, 110],
        [b.id, -10],
      ],
      10001,
    ],
    [
      [
        [a.id, 40],
        [b.id, 30],
        [c.id, 30],
      ],
      10001,
    ],
    [[], 10001],
    [[["00000000-0000-4000-8000-000000000000", 100]], 10025],
    [[["nonsense", 100]], 10025],
  ];
  for (const [versions, code] of attempts) expect(firstError(await deploy(versions))?.code).toBe(code);
  expect(await deployments()).toEqual(before);
  expect(api.settled).toBe(1);
});

test("both versions of a split start before it is written, one at 0 % too", async () => {
  await api.put("hello", moduleUpload());
  const [a, b] = [await upload(), await upload()];
  const started = api.trials.length;
  await deploy([
    [a.id, 100],
    [b.id, 0],
  ]);
  expect(api.trials.slice(started).map(({ version }) => version.versionId)).toEqual([a.id, b.id]);
  expect(readDesired(api.db)[0]?.versions.map(({ version, percentage }) => [version.id, percentage])).toEqual([
    [a.id, 100],
    [b.id, 0],
  ]);
});

test("only the last hundred versions can be deployed; one that is stays", async () => {
  await api.put("hello", moduleUpload());
  const second = await upload();
  const live = (await api.call("GET", "/workers/scripts/hello/versions?deployable=true")).json.result as {
    items: Shown[];
  };
  for (let n = 0; n < limits.versionsDeployable - 1; n++) await upload();
  expect((await deploy([[second.id, 100]])).status).toBe(200);
  const newest = await upload();
  expect(
    (
      await deploy([
        [second.id, 90],
        [newest.id, 10],
      ])
    ).status,
  ).toBe(200);
  const first = live.items.at(-1)?.id ?? "";
  expect(firstError(await deploy([[first, 100]]))).toMatchObject({ code: 100147 });
  await deploy([[newest.id, 100]]);
  expect(firstError(await deploy([[second.id, 100]]))?.code).toBe(100147);
  const deployable = await listed("?deployable=true");
  expect(deployable).toHaveLength(limits.versionsDeployable);
  expect([deployable[0], deployable.at(-1)]).toEqual([102, 3]);
  expect(await listed("?deployable=true&page=2")).toEqual([]);
  expect(await listed("?page=2&per_page=100")).toEqual([2, 1]);
  expect(await listed("?page=3&per_page=100")).toEqual([]);
}, 60_000);

test("a version whose resources are gone is not deployed; the error names each", async () => {
  const bindings = [
    { name: "K", type: "kv_namespace", namespace_id: namespace },
    { name: "B", type: "r2_bucket", bucket_name: "files" },
    { name: "S", type: "service", service: "callee" },
  ];
  await api.put("callee", moduleUpload());
  await api.put("hello", moduleUpload());
  const bound = await upload({ bindings });
  await deploy([[bound.id, 100]]);
  const free = await upload();
  await deploy([[free.id, 100]]);
  await api.call("DELETE", "/workers/scripts/callee?force=true");
  expect(firstError(await deploy([[bound.id, 100]]))).toEqual({
    code: 100140,
    message: "Failed to rollback due to external resources being modified (service:callee)",
  });
  api.gone.add("kv").add("r2");
  const answer = await deploy([[bound.id, 100]]);
  expect(answer.json.errors.map(({ code }) => code)).toEqual([100140, 10041, 10085, 10143]);
  // A version that was not deployed yet is no rollback: it is refused as its upload would be.
  api.gone.clear();
  const next = await upload({ bindings: bindings.slice(0, 2) });
  api.gone.add("r2");
  expect((await deploy([[next.id, 100]])).json.errors.map(({ code }) => code)).toEqual([10085]);
  // What serves goes on serving.
  api.gone.clear();
  await deploy([[next.id, 100]]);
  api.gone.add("r2");
  expect(
    (
      await deploy([
        [next.id, 90],
        [free.id, 10],
      ])
    ).status,
  ).toBe(200);
});

test("the way back to other secrets has to be forced; the way forward has not", async () => {
  await api.put("hello", moduleUpload());
  const first = (await api.call("GET", "/workers/scripts/hello/versions")).json.result as { items: Shown[] };
  const put = (name: string, text: string) =>
    api.call("PUT", "/workers/scripts/hello/secrets", { name, text, type: "secret_text" });
  await put("B", "1");
  await put("A", "1");
  const then = first.items[0]?.id ?? "";
  const refused = await deploy([[then, 100]]);
  expect(firstError(refused)).toMatchObject({
    code: 10220,
    message: expect.stringMatching(/The following secrets have changed: A, B$/) as unknown,
  });
  const ahead = (
    await api.call("PATCH", "/workers/workers/hello/versions/latest", {
      env: { A: { type: "secret_text", text: "2" } },
    })
  ).json.result as Shown;
  expect((await deploy([[ahead.id, 100]])).status).toBe(200);
  expect((await deploy([[then, 100]], "?force=true")).status).toBe(200);
});

test("the same text again is no change of a secret", async () => {
  await api.put("hello", moduleUpload());
  const put = () => api.call("PUT", "/workers/scripts/hello/secrets", { name: "S", text: "same", type: "secret_text" });
  await put();
  const second = (await api.call("GET", "/workers/scripts/hello/versions")).json.result as { items: Shown[] };
  await put();
  expect((await deploy([[second.items[0]?.id ?? "", 100]])).status).toBe(200);
});

test("what triggered a deployment is not for a client to say; messages are cut, tags are not", async () => {
  await api.put("hello", moduleUpload());
  const version = await upload({ annotations: { "workers/triggered_by": "x", "workers/tag": "t" } });
  expect(version).toMatchObject({ annotations: { "workers/triggered_by": "version_upload", "workers/tag": "t" } });
  const long = `${"x".repeat(limits.messageBytes - 1)}ü`;
  const given = { "workers/message": long, "workers/triggered_by": "me", "workers/tag": null };
  expect((await deploy([[version.id, 100]], "", given)).json.result).toMatchObject({
    annotations: { "workers/message": "x".repeat(limits.messageBytes - 1), "workers/triggered_by": "deployment" },
  });
  const tooLong = moduleUpload({ annotations: { "workers/tag": "t".repeat(limits.tagBytes + 1) } });
  expect(firstError(await api.call("POST", "/workers/scripts/hello/versions", tooLong))?.code).toBe(10021);
});

test("deployments have pages, newest first; any but the one in force can be deleted", async () => {
  await api.put("hello", moduleUpload());
  const version = await upload();
  for (let n = 0; n < 11; n++) await deploy([[version.id, 100]], "", { "workers/message": `${n}` });
  expect(await deployments()).toHaveLength(10);
  const page = async (query: string) => {
    const answer = await api.call("GET", `/workers/scripts/hello/deployments?${query}`);
    return (answer.json.result as { deployments: { id: string; annotations: object }[] }).deployments;
  };
  const [ninth, tenth] = await page("page=5&per_page=2");
  expect(ninth?.annotations).toMatchObject({ "workers/message": "2" });
  expect(await page("page=9&per_page=2")).toEqual([]);
  const remove = (id: string | undefined, token?: string) =>
    api.call("DELETE", `/workers/scripts/hello/deployments/${id}`, undefined, token);
  expect(firstError(await remove(tenth?.id, "theirs"))?.code).toBe(10007);
  expect((await remove(tenth?.id)).json.result).toBeNull();
  expect(firstError(await remove(tenth?.id))?.code).toBe(10025);
  expect(firstError(await remove((await page(""))[0]?.id))?.code).toBe(10021);
  expect(await page("per_page=100")).toHaveLength(11);
});

test("secrets are not set while another version is rolling out", async () => {
  await api.put("hello", moduleUpload());
  const [old, fresh] = [await upload(), await upload()];
  await deploy([
    [old.id, 90],
    [fresh.id, 10],
  ]);
  const refused = await api.call("PUT", "/workers/scripts/hello/secrets", {
    name: "S",
    text: "x",
    type: "secret_text",
  });
  expect(firstError(refused)?.code).toBe(10215);
});

test("a Worker that others need is deleted only by force; what it had goes with it", async () => {
  await api.put("callee", moduleUpload());
  await api.put("caller", moduleUpload({ bindings: [{ name: "C", type: "service", service: "callee" }] }));
  await api.put("producer", moduleUpload({ tail_consumers: [{ service: "callee" }] }));
  for (const path of ["/workers/services/callee?force=false", "/workers/scripts/callee"])
    expect(firstError(await api.call("DELETE", path))).toEqual({
      code: 10064,
      message:
        "Cannot delete the Worker callee: it is in use by the Worker caller (service binding C), the Worker producer (tail consumer). Delete it anyway with ?force=true.",
    });
  const references = "/workers/scripts/callee/references";
  expect((await api.call("GET", references)).json.result).toMatchObject({
    services: { incoming: [{ service: "caller", name: "C", environment: "production" }], outgoing: [] },
  });
  expect((await api.call("GET", "/workers/scripts/caller/references")).json.result).toMatchObject({
    services: { incoming: [], outgoing: [{ service: "callee", name: "C" }] },
  });
  expect((await api.call("GET", "/workers/tails/by-consumer/callee")).json.result).toMatchObject([
    { producer: { script: "producer" } },
  ]);
  expect(firstError(await api.call("GET", references, undefined, "theirs"))?.code).toBe(10007);
  expect((await api.call("DELETE", "/workers/services/callee?force=true")).status).toBe(200);
  expect(firstError(await api.call("GET", "/workers/services/callee"))?.code).toBe(10090);
});

test("modules come back as they were uploaded, those of the version that serves", async () => {
  const parts = [
    { name: "index.js", type: "application/javascript+module", text: "import './lib/ü.mjs'; export default {};" },
    { name: "lib/ü.mjs", type: "application/javascript+module", text: "export const x = 1;" },
    { name: 'no"te.txt', type: "text/plain", text: "äöü\r\n" },
    { name: "zero.bin", type: "application/octet-stream", text: "\0\u0001" },
  ];
  await api.put("hello", uploadForm({ main_module: "index.js" }, parts));
  await upload();
  for (const path of [
    "/workers/scripts/hello",
    "/workers/scripts/hello/content/v2",
    "/workers/services/hello/environments/production/content/v2",
  ]) {
    const answer = await api.api.request(`http://localhost/accounts/${api.account}${path}`, {
      headers: { authorization: "Bearer mine" },
    });
    expect(answer.headers.get("cf-entrypoint")).toBe("index.js");
    const files = [...(await answer.formData())] as [string, File][];
    expect(
      await Promise.all(files.map(async ([name, file]) => ({ name, type: file.type, text: await file.text() }))),
    ).toEqual(parts);
  }
  expect(firstError(await api.call("GET", "/workers/scripts/hello", undefined, "theirs"))?.code).toBe(10007);
  const elsewhere = "/workers/services/hello/environments/staging/content/v2";
  expect(firstError(await api.call("GET", elsewhere))?.code).toBe(10090);
});

test("a service worker comes back as one script", async () => {
  const script = { name: "sw.js", type: "application/javascript", text: "addEventListener('fetch', () => {})" };
  await api.put("old", uploadForm({ body_part: "sw.js" }, [script]));
  const answer = await api.api.request(`http://localhost/accounts/${api.account}/workers/scripts/old`, {
    headers: { authorization: "Bearer mine" },
  });
  expect([answer.headers.get("content-type"), await answer.text()]).toEqual([script.type, script.text]);
});

test("a Worker is shown under its id and its name", async () => {
  await api.put("hello", moduleUpload({ tags: ["t"] }));
  const shown = (await api.call("GET", "/workers/workers/hello")).json.result as { id: string };
  expect(shown).toMatchObject({ id: expect.stringMatching(/^[0-9a-f]{32}$/) as unknown, name: "hello", tags: ["t"] });
  expect((await api.call("GET", `/workers/workers/${shown.id}`)).json.result).toEqual(shown);
  expect(firstError(await api.call("GET", `/workers/workers/${shown.id}`, undefined, "theirs"))?.code).toBe(10007);
});
