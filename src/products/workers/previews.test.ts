import { afterEach, beforeEach, expect, test } from "vitest";
import { previewOf } from "#products/workers/previews.ts";
import { firstError, moduleUpload, WorkersApi } from "../../../test/support/workers-api.ts";

let api: WorkersApi;
beforeEach(async () => {
  api = await WorkersApi.start();
});
afterEach(() => api[Symbol.asyncDispose]());

/** The id of the version that a host previews. */
const previewed = (host: string) =>
  previewOf(api.db, host, {
    appDomain: "apps.example.net",
    accountLabels: new Map([
      [api.account, undefined],
      [api.stranger, "other"],
    ]),
  })?.version.id;
const upload = async (name: string, alias?: string, token?: string) => {
  const annotations = alias === undefined ? {} : { annotations: { "workers/alias": alias } };
  const answer = await api.call("POST", `/workers/scripts/${name}/versions`, moduleUpload(annotations), token);
  expect(answer.status, JSON.stringify(answer.json)).toBe(200);
  return (answer.json.result as { id: string }).id;
};
const toggle = (name: string, previews: boolean, token?: string) =>
  api.call("POST", `/workers/scripts/${name}/subdomain`, { enabled: true, previews_enabled: previews }, token);
const start = async (name: string, token?: string) => {
  await api.put(name, moduleUpload(), token);
  await toggle(name, true, token);
};

test("a version is previewed under the beginning of its id, deployed or not", async () => {
  await start("hello");
  const id = await upload("hello");
  expect(previewed(`${id.slice(0, 8)}-hello.apps.example.net`)).toBe(id);
  for (const host of [
    `${id.slice(0, 7)}-hello.apps.example.net`,
    `${id.slice(0, 8)}-other.apps.example.net`,
    `${id.slice(0, 8)}-hello.example.net`,
    `${id.slice(0, 8)}-hello.x.apps.example.net`,
    `a.${id.slice(0, 8)}-hello.apps.example.net`,
    `00000000-hello.apps.example.net`,
    "hello.apps.example.net",
    "-hello.apps.example.net",
    "apps.example.net",
  ])
    expect(previewed(host), host).toBeUndefined();
});

test("an alias leads to the version that got it last", async () => {
  await start("hello");
  const first = await upload("hello", "staging");
  expect(previewed("staging-hello.apps.example.net")).toBe(first);
  const settled = api.settled;
  const second = await upload("hello", "staging");
  expect(api.settled).toBe(settled + 1);
  expect(previewed("staging-hello.apps.example.net")).toBe(second);
  const { items } = (await api.call("GET", "/workers/scripts/hello/versions")).json.result as {
    items: { annotations: Record<string, string>; metadata: { has_preview: boolean } }[];
  };
  expect(items[0]).toMatchObject({ annotations: { "workers/alias": "staging" }, metadata: { has_preview: true } });
});

test("previews begin and end with their toggle", async () => {
  await start("hello");
  const id = await upload("hello", "staging");
  await toggle("hello", false);
  expect(previewed(`${id.slice(0, 8)}-hello.apps.example.net`)).toBeUndefined();
  expect(previewed("staging-hello.apps.example.net")).toBeUndefined();
  await toggle("hello", true);
  expect(previewed("staging-hello.apps.example.net")).toBe(id);
  await api.call("DELETE", "/workers/scripts/hello");
  expect(previewed("staging-hello.apps.example.net")).toBeUndefined();
});

test("previews of another account are below its label, and only there", async () => {
  await start("hello", "theirs");
  const id = await upload("hello", "staging", "theirs");
  for (const label of [id.slice(0, 8), "staging"]) {
    expect(previewed(`${label}-hello.other.apps.example.net`)).toBe(id);
    expect(previewed(`${label}-hello.apps.example.net`)).toBeUndefined();
  }
});

test("a label that can be read twice means the longer Worker name", async () => {
  await start("c");
  await start("b-c");
  const short = await upload("c", "a-b");
  expect(previewed("a-b-c.apps.example.net")).toBe(short);
  const long = await upload("b-c", "a");
  expect(previewed("a-b-c.apps.example.net")).toBe(long);
});

test.each(["Staging", "feature/x", "-a", "a-", "1st", "a_b", "a.b", "deadbeef", "ä"])(
  "the alias %j is refused, and no version is made",
  async (alias) => {
    await api.put("hello", moduleUpload());
    const body = moduleUpload({ annotations: { "workers/alias": alias } });
    expect(firstError(await api.call("POST", "/workers/scripts/hello/versions", body))).toMatchObject({ code: 10021 });
    expect(api.trials).toHaveLength(1);
  },
);

test("an alias that would be too long a host is refused in Cloudflare's words", async () => {
  await api.put("hello", moduleUpload());
  const body = (alias: string) => moduleUpload({ annotations: { "workers/alias": alias } });
  const refused = await api.call("POST", "/workers/scripts/hello/versions", body("a".repeat(58)));
  expect(firstError(refused)).toEqual({
    code: 10021,
    message:
      "validation failures: Alias name too long. The alias name and script name combined together must total less than 63 characters in length.",
  });
  expect((await api.call("POST", "/workers/scripts/hello/versions", body("a".repeat(57)))).status).toBe(200);
});

test("a Worker whose name leaves no room for an id has no previews", async () => {
  const shown = async (name: string) => {
    await start(name);
    const answer = await api.call("POST", `/workers/scripts/${name}/versions`, moduleUpload());
    return (answer.json.result as { metadata: { has_preview: boolean } }).metadata.has_preview;
  };
  expect(await shown("a".repeat(54))).toBe(true);
  expect(await shown("a".repeat(55))).toBe(false);
});
