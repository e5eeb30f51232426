import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { Solum } from "../support/start-solum.ts";

/** Workflows as wrangler deploys and handles them (wrangler-api §11), and as code uses them (`test/projects/workflows`). */
let solum: Solum;
let project: string;
beforeAll(async () => {
  solum = await Solum.start();
  project = solum.project("workflows");
});
afterAll(() => solum[Symbol.asyncDispose]());

const run = async (...args: string[]) => solum.wrangler(project, args);
const succeed = async (...args: string[]) => {
  const outcome = await run(...args);
  expect(outcome.code, outcome.output).toBe(0);
  return outcome.output;
};
const call = async (path: string, argument?: unknown): Promise<unknown> => {
  const options = argument === undefined ? {} : { method: "POST", body: JSON.stringify(argument) };
  return JSON.parse((await solum.request("orders.localhost", `/ORDERS/${path}`, options)).text) as unknown;
};
type Status = { status: string; output: unknown; error?: { name: string; message: string } };
const statusOf = async (id: string) => (await call(`status/${id}`)) as Status;
const ended = async (id: string, ms = 10_000) =>
  pollUntil({ ms, everyMs: 20, what: `the end of ${id}` }, async () => {
    const status = await statusOf(id);
    return ["complete", "errored", "terminated"].includes(status.status) ? status : undefined;
  });
const create = async (id: string, params: object) => call("create", { id, params });
type Details = {
  status: string;
  success: boolean | null;
  trigger: { source: string };
  versionId: string;
  error: { name: string; message: string } | null;
  rollback: { outcome: string } | null;
  steps: { type: string; name: string; success?: boolean; output?: unknown; attempts?: { success: boolean }[] }[];
};
const details = async (id: string, query = "") =>
  (await solum.api("GET", `/workflows/orders/instances/${id}${query}`)).json.result as Details;

test("a deploy makes the Worker's Workflows; wrangler lists and describes them", async () => {
  const output = await succeed("deploy");
  expect(output).toContain("workflow: orders");
  expect(await succeed("workflows", "list")).toMatch(/limited.*orders.*Limited.*orders.*orders.*Orders/s);
  const described = await succeed("workflows", "describe", "orders");
  expect(described).toMatch(/Name:\s+orders/);
  expect(described).toMatch(/Class Name:\s+Orders/);
  const version = /Current Version ID: (\S+)/.exec(output)?.[1] ?? "";
  expect(described).toContain(version);
  const missing = await run("workflows", "describe", "nothing");
  expect(missing.output).toMatch(/workflow.not_found.*10200/s);
});

test("an instance runs by the binding, with what Cloudflare gives it", async () => {
  expect(await create("plain", { kind: "plain" })).toMatchObject({ id: "plain" });
  const { status, output } = await ended("plain");
  expect(status).toBe("complete");
  expect(output).toEqual({
    got: { kind: "plain" },
    name: "orders",
    context: {
      step: { name: "first", count: 1 },
      attempt: 1,
      config: { retries: { limit: 5, delay: 10_000, backoff: "exponential" }, timeout: "10 minutes" },
    },
  });
  expect(await create("plain", {})).toEqual({
    name: "WorkflowError",
    message: expect.stringContaining('(instance.already_exists) Workflow instance with id "plain" already exists'),
  });
  expect(await call("status/nobody")).toEqual({ name: "Error", message: "instance.not_found" });
  expect(await create("not valid", {})).toMatchObject({ message: expect.stringContaining("invalid id") });
  expect(await create("much", { much: "x".repeat(1024 * 1024) })).toMatchObject({
    message: expect.stringContaining("params_too_large"),
  });
  expect(await call("status/much")).toMatchObject({ message: "instance.not_found" });
  const large = { type: "approved", payload: "x".repeat(1024 * 1024) };
  expect(await call("sendEvent/plain", large)).toMatchObject({ message: expect.stringContaining("payload_too_large") });
  // Where an instance comes from is not for its code to say.
  await call("create", { id: "posing", params: {}, retention: { origin: { source: "cron" } } });
  expect((await details("posing")).trigger).toEqual({ source: "binding" });
  for (const id of ["no spaces", "x".repeat(101), `cf_${"0".repeat(64)}`]) {
    const refused = await solum.api("POST", "/workflows/orders/instances", { instance_id: id });
    expect([refused.status, refused.json.errors[0]?.code], id).toEqual([400, 10406]);
  }
});

test.each([
  ["nap", "complete", "rested"],
  ["until", "complete", null],
  ["retry", "complete", { attempt: 3, ran: 3 }],
  ["stream", "complete", "streamed"],
  ["caught", "complete", "RangeError: out of bounds"],
  ["parallel", "complete", ["a-undefined", "b-undefined", "c-undefined"]],
])("a Workflow that does %s ends as %s", async (kind, status, output) => {
  await create(kind, { kind });
  expect(await ended(kind)).toMatchObject({ status, output });
});

test.each([
  ["fails", /never works/],
  ["fatal", /cannot be|NonRetryableError/],
  ["long", /step.sleep "long" waits longer than 365 days/],
  ["patient", /step.waitForEvent "patient" waits longer than 365 days/],
  ["distant", /step.sleepUntil "distant" waits longer than 365 days/],
  ["slow", /Execution timed out after 100ms/],
  ["large", /output is too large. Maximum allowed size is 1MiB/],
])("a step that %s ends its instance", async (kind, message) => {
  await create(kind, { kind });
  expect(await ended(kind)).toMatchObject({ status: "errored", error: { message: expect.stringMatching(message) } });
});

test("the limit of steps that the configuration gives", async () => {
  const options = { method: "POST", body: JSON.stringify({ id: "l1" }) };
  await solum.request("orders.localhost", "/LIMITED/create", options);
  const status = await pollUntil({ ms: 5000, everyMs: 20, what: "the limit" }, async () => {
    const answer = JSON.parse((await solum.request("orders.localhost", "/LIMITED/status/l1")).text) as Status;
    return answer.status === "errored" ? answer : undefined;
  });
  expect(status.error?.message).toMatch(/The limit of 3 steps has been reached/);
});

test("no more instances run at a time than the configuration says; the others are queued", async () => {
  const ids = ["n0", "n1", "n2", "n3", "n4"];
  const ask = async (path: string, body?: object) => {
    const options = body ? { method: "POST", body: JSON.stringify(body) } : {};
    return JSON.parse((await solum.request("orders.localhost", `/NARROW/${path}`, options)).text) as Status;
  };
  for (const id of ids) await ask("create", { id, params: { kind: "busy", ms: 1000 } });
  await ask("create", { id: "rests", params: { kind: "nap", ms: 3_600_000 } });
  const statuses = async () => Promise.all(ids.map(async (id) => (await ask(`status/${id}`)).status));
  expect(await statuses()).toEqual(["running", "running", "queued", "queued", "queued"]);
  await ask("terminate/n3", {});
  await pollUntil({ ms: 10_000, everyMs: 20, what: "all to end" }, async () => {
    const now = await statuses();
    return now.every((status) => status === "complete" || status === "terminated") ? true : undefined;
  });
  expect((await statuses())[3]).toBe("terminated");
  const beside = await Promise.all(ids.map(async (id) => (await ask(`status/${id}`)).output));
  expect(beside.filter((count) => count !== null).every((count) => count === 1 || count === 2)).toBe(true);
  // One that sleeps has its turn, and keeps nobody from theirs.
  expect((await ask("status/rests")).status).toBe("waiting");
  await ask("create", { id: "n5", params: { kind: "plain" } });
  await ask("create", { id: "n6", params: { kind: "plain" } });
  await pollUntil({ ms: 5000, everyMs: 20, what: "two beside it" }, async () =>
    (await ask("status/n6")).status === "complete" ? true : undefined,
  );
});

test("what a step logs is in the Worker's logs, and a rest is no exception there", async () => {
  const tail = solum.followWrangler(project, ["tail", "orders", "--format", "json"]);
  await pollUntil({ ms: 20_000, everyMs: 300, what: "the log of a step" }, async () => {
    const { id } = (await call("create", { params: { kind: "nap", ms: 3_600_000 } })) as { id: string };
    await waitFor(id, "waiting");
    return tail.output().includes("in the first step") ? true : undefined;
  });
  await create("undone", { kind: "undo" });
  expect(await ended("undone")).toMatchObject({ status: "errored", error: { message: "no stock" } });
  expect((await details("undone")).rollback).toEqual({ outcome: "complete", error: null });
  await pollUntil({ ms: 5000, everyMs: 20, what: "the log of a rollback" }, () =>
    tail.output().includes("no stock") ? true : undefined,
  );
  await tail.stop();
  expect(tail.output()).toContain('"rpcMethod": "run"');
  expect(tail.output()).not.toContain("WorkflowAbortedError");
});

test("wrangler triggers, lists, describes, pauses, resumes, sends events, restarts, terminates and deletes", async () => {
  expect(await succeed("workflows", "trigger", "orders", '{"kind":"event"}', "--id", "by-wrangler")).toContain(
    "by-wrangler",
  );
  await waitFor("by-wrangler", "waiting");
  expect(await succeed("workflows", "instances", "list", "orders")).toMatch(/by-wrangler/);
  const shown = await succeed("workflows", "instances", "describe", "orders", "latest");
  expect(shown).toMatch(
    /by-wrangler[\s\S]*Waiting[\s\S]*API[\s\S]*first-1[\s\S]*Success[\s\S]*approval-1[\s\S]*Waiting for event/,
  );
  await succeed("workflows", "instances", "pause", "orders", "by-wrangler");
  await waitFor("by-wrangler", "paused");
  await succeed("workflows", "instances", "resume", "orders", "by-wrangler");
  await waitFor("by-wrangler", "waiting");
  await succeed(
    "workflows",
    "instances",
    "send-event",
    "orders",
    "by-wrangler",
    "--type",
    "approved",
    "--payload",
    '{"by":"me"}',
  );
  expect(await ended("by-wrangler")).toMatchObject({ status: "complete", output: { by: "me", type: "approved" } });
  expect((await details("by-wrangler")).trigger).toEqual({ source: "api" });

  await succeed("workflows", "instances", "restart", "orders", "by-wrangler");
  await waitFor("by-wrangler", "waiting");
  await succeed("workflows", "instances", "terminate", "orders", "by-wrangler");
  expect(await statusOf("by-wrangler")).toMatchObject({ status: "terminated" });
  const again = await run("workflows", "instances", "terminate", "orders", "by-wrangler");
  expect(again.output).toMatch(/cannot_terminate/);
  const listed = await succeed("workflows", "instances", "list", "orders", "--status", "terminated");
  expect(listed).toMatch(/by-wrangler/);
  expect(listed).not.toMatch(/plain/);
  expect(await succeed("workflows", "instances", "delete", "orders", "by-wrangler")).toContain("Deleted");
  const gone = await run("workflows", "instances", "describe", "orders", "by-wrangler");
  expect(gone.output).toMatch(/instance.not_found.*10400/s);
  await create("e1", { kind: "event" });
  await create("e2", { kind: "nap", ms: 3_600_000 });
  await succeed("workflows", "instances", "terminate-all", "orders");
  expect([(await statusOf("e1")).status, (await statusOf("e2")).status]).toEqual(["terminated", "terminated"]);
});

test("the binding pauses, resumes, restarts from a step, subscribes and deletes", async () => {
  await create("all", { kind: "event" });
  await waitFor("all", "waiting");
  await call("pause/all", {});
  expect(await statusOf("all")).toMatchObject({ status: "paused" });
  await call("resume/all", {});
  await call("sendEvent/all", { type: "other", payload: {} });
  await call("sendEvent/all", { type: "approved", payload: { by: "code" } });
  expect(await ended("all")).toMatchObject({ output: { by: "code" } });
  expect(await call("events/all")).toEqual(
    expect.arrayContaining(["workflow_queued", "wait_started", "workflow_completed"]),
  );
  await call("restart/all", { from: { name: "shipped" } });
  expect(await ended("all")).toMatchObject({ status: "complete", output: { by: "code" } });
  const { steps, status, success, versionId } = await details("all");
  expect({ status, success }).toEqual({ status: "complete", success: true });
  expect(versionId).toMatch(/^[0-9a-f-]{36}$/);
  expect(steps.map(({ type, name }) => `${type} ${name}`)).toEqual([
    "step first-1",
    "waitForEvent approval-1",
    "step shipped-1",
  ]);
  expect(steps[1]?.output).toEqual({ by: "code" });
  expect(await call("createBatch", [{ id: "b1" }, { id: "b2" }, { id: "all" }])).toEqual(["b1", "b2"]);
  expect(await call("deleteBatch", ["b1", "b2", "nobody"])).toMatchObject({
    deleted: [{ id: "b1" }, { id: "b2" }],
    errors: [{ id: "nobody", code: 10400, message: "workflows.api.error.instance.not_found" }],
  });
});

test("pages of the list by cursor, counts, and a step by itself", async () => {
  const batch = Array.from({ length: 30 }, (_, index) => ({
    instance_id: `many-${index}`,
    params: '{"kind":"plain"}',
  }));
  const made = await solum.api("POST", "/workflows/orders/instances/batch", batch);
  expect(made.json.result).toHaveLength(30);
  const seen: string[] = [];
  let cursor = "";
  do {
    const path = `/workflows/orders/instances?per_page=7${cursor === "" ? "" : `&cursor=${cursor}`}`;
    const { json } = (await solum.api("GET", path)) as unknown as {
      json: { result: { id: string }[]; result_info: { cursor: string } };
    };
    seen.push(...json.result.map(({ id }) => id));
    ({ cursor } = json.result_info);
  } while (cursor !== "");
  expect(new Set(seen).size).toBe(seen.length);
  expect(seen.filter((id) => id.startsWith("many-"))).toHaveLength(30);
  for (let index = 0; index < 30; index++) await ended(`many-${index}`);
  const { instances } = (await solum.api("GET", "/workflows/orders")).json.result as {
    instances: Record<string, number>;
  };
  expect(instances["complete"]).toBeGreaterThanOrEqual(30);
  const step = await solum.api("GET", "/workflows/orders/instances/nap/step?name=after-1&type=step");
  expect(step.json.result).toEqual({ status: "complete", error: null, output: "rested" });
});

test("a name that another Worker has is taken over only when it is said so, and with its instances", async () => {
  const other = solum.project("workflows");
  const taken = await solum.wrangler(other, ["deploy", "--name", "other", "--strict"]);
  expect(taken.output).toMatch(
    /already exist and belong to different workers[\s\S]*"orders" \(currently belongs to "orders"\)/,
  );
  expect(taken.code).not.toBe(0);
  expect(await statusOf("plain")).toMatchObject({ status: "complete" });
  const moved = await solum.wrangler(other, ["deploy", "--name", "other"], { input: "y\n" });
  expect(moved.code, moved.output).toBe(0);
  expect(((await solum.api("GET", "/workflows/orders")).json.result as { script_name: string }).script_name).toBe(
    "other",
  );
  // The binding of the first Worker goes where the Workflow went.
  expect(await statusOf("plain")).toMatchObject({ status: "complete" });
  expect(JSON.parse((await solum.request("other.localhost", "/ORDERS/status/plain")).text)).toMatchObject({
    status: "complete",
  });
});

test("a Workflow that is deleted is gone with its instances; its name begins anew", async () => {
  await succeed("workflows", "delete", "orders");
  expect((await solum.api("GET", "/workflows/orders")).status).toBe(404);
  expect(await create("x", {})).toMatchObject({ message: expect.stringContaining("workflow.not_found") });
  await succeed("deploy");
  expect(await call("status/plain")).toMatchObject({ message: "instance.not_found" });
  await create("plain", {});
  expect(await ended("plain")).toMatchObject({ status: "complete" });
});

test("a version without the class leaves the Workflow and its instances where they are", async () => {
  const bare = solum.project("hello");
  expect((await solum.wrangler(bare, ["deploy", "--name", "orders"])).code).toBe(0);
  const began = performance.now();
  const { status, json } = await solum.api("GET", "/workflows/orders/instances");
  expect([status, json.errors[0]?.code, json.errors[0]?.message]).toEqual([
    400,
    10204,
    expect.stringMatching(/no class 'Orders'/),
  ]);
  expect(performance.now() - began).toBeLessThan(2000);
  expect((await solum.api("GET", "/workflows/orders")).json.result).toMatchObject({ name: "orders", instances: {} });
  await succeed("deploy");
  expect(await statusOf("plain")).toMatchObject({ status: "complete" });
});

async function waitFor(id: string, wanted: string): Promise<void> {
  await pollUntil({ ms: 5000, everyMs: 20, what: `${id} ${wanted}` }, async () =>
    (await statusOf(id)).status === wanted ? true : undefined,
  );
}
