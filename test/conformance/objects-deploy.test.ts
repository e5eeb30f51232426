import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { dataLayout } from "#core/layout.ts";
import { Solum } from "../support/start-solum.ts";

/** Classes of Durable Objects as wrangler deploys, renames, moves and deletes them (wrangler-api §3.4). */
let solum: Solum;
beforeAll(async () => {
  solum = await Solum.start();
});
afterAll(() => solum[Symbol.asyncDispose]());

const className = (name: string) => `
export class ${name} extends DurableObject {
  async add() { const n = ((await this.ctx.storage.get("n")) ?? 0) + 1; await this.ctx.storage.put("n", n); return n; }
  async kind() { try { this.ctx.storage.sql.exec("SELECT 1"); return "sqlite"; } catch { return "kv"; } }
}`;

type Project = { classes: string[]; bindings: object[]; migrations?: object[]; more?: object };

/** A Worker that answers with what `add()` of the object `/<binding>/<name>` says. */
function project(name: string, { classes, bindings, migrations = [], more = {} }: Project): string {
  const folder = solum.project("hello");
  writeFileSync(
    join(folder, "index.js"),
    `import { DurableObject } from "cloudflare:workers";
    ${classes.map(className).join("\n")}
    export default {
      async fetch(request, env) {
        const [, binding, name, method = "add"] = new URL(request.url).pathname.split("/");
        try { return new Response(String(await env[binding].getByName(name)[method]())); }
        catch (error) { return new Response(String(error), { status: 500 }); }
      },
    };`,
  );
  const config = {
    name,
    main: "index.js",
    compatibility_date: "2026-11-01",
    durable_objects: { bindings },
    migrations,
    ...more,
  };
  writeFileSync(join(folder, "wrangler.jsonc"), JSON.stringify(config));
  return folder;
}

const bind = (name: string, more: object = {}) => ({ name: name.toUpperCase(), class_name: name, ...more });
const deploy = async (folder: string, ...args: string[]) => solum.wrangler(folder, args.length > 0 ? args : ["deploy"]);
const succeed = async (folder: string, ...args: string[]) => {
  const outcome = await deploy(folder, ...args);
  expect(outcome.code, outcome.output).toBe(0);
  return outcome;
};
const get = async (worker: string, path: string) => (await solum.request(`${worker}.localhost`, path)).text;
type Shown = { id: string; script: string; class: string; name: string; use_sqlite: boolean };
const namespaces = async () => (await solum.api("GET", "/workers/durable_objects/namespaces")).json.result as Shown[];
const namespace = async (script: string, name: string) =>
  (await namespaces()).find((one) => one.script === script && one.class === name);

const v1 = { tag: "v1", new_sqlite_classes: ["Room"], new_classes: ["Old"] };
const renamed = { tag: "v2", renamed_classes: [{ from: "Room", to: "Hall" }] };

test("new classes of both kinds, deployed, and deployed again without change", async () => {
  const folder = project("chat", { classes: ["Room", "Old"], bindings: [bind("Room"), bind("Old")], migrations: [v1] });
  await succeed(folder);
  expect(await get("chat", "/ROOM/a")).toBe("1");
  expect([await get("chat", "/ROOM/a/kind"), await get("chat", "/OLD/a/kind")]).toEqual(["sqlite", "kv"]);
  expect(await namespaces()).toEqual([
    { id: expect.stringMatching(/^[0-9a-f]{32}$/), name: "chat_Old", script: "chat", class: "Old", use_sqlite: false },
    { id: expect.stringMatching(/^[0-9a-f]{32}$/), name: "chat_Room", script: "chat", class: "Room", use_sqlite: true },
  ]);
  await succeed(folder);
  expect(await get("chat", "/ROOM/a")).toBe("2");
  const room = await namespace("chat", "Room");
  const { json } = await solum.api("GET", `/workers/durable_objects/namespaces/${room?.id}/objects`);
  expect(json.result).toEqual([{ id: expect.stringMatching(/^[0-9a-f]{64}$/), hasStoredData: true }]);
  const settings = (await solum.api("GET", "/workers/scripts/chat/settings")).json.result as { bindings: object[] };
  expect(settings.bindings).toContainEqual({
    name: "ROOM",
    type: "durable_object_namespace",
    class_name: "Room",
    namespace_id: room?.id,
  });
});

test("a class is renamed and keeps its objects; a version from before is not deployed again", async () => {
  const before = await versionInForce("chat");
  const folder = project("chat", {
    classes: ["Hall", "Old"],
    bindings: [{ name: "ROOM", class_name: "Hall" }, bind("Old")],
    migrations: [v1, renamed],
  });
  await succeed(folder);
  expect(await get("chat", "/ROOM/a")).toBe("3");
  expect((await namespaces()).map((one) => one.class)).toEqual(["Old", "Hall"]);
  const back = await deploy(folder, "rollback", before, "--yes");
  expect(back.code).not.toBe(0);
  expect(back.output).toMatch(/Durable Object migration lies between/);
  expect(await get("chat", "/ROOM/a")).toBe("4");
});

test("an upload that takes a class away without a migration is refused, and changes nothing", async () => {
  const shown = await namespaces();
  const refused = await deploy(project("chat", { classes: ["Old"], bindings: [bind("Old")], migrations: [] }));
  expect(refused.code).not.toBe(0);
  expect(refused.output).toMatch(/does not export class 'Hall' which is depended on.*10064/s);
  const unknown = await deploy(project("other", { classes: ["Room"], bindings: [bind("Room")] }));
  expect(unknown.output).toMatch(/class 'Room' because it is not currently configured.*10061/s);
  const foreign = await deploy(project("other", { classes: [], bindings: [bind("Nope", { script_name: "chat" })] }));
  expect(foreign.output).toMatch(/class 'Nope' because it is not currently configured.*10061/s);
  const nobody = await deploy(project("other", { classes: [], bindings: [bind("Nope", { script_name: "nobody" })] }));
  expect(nobody.output).toMatch(/because script 'nobody' does not exist.*10061/s);
  expect(await namespaces()).toEqual(shown);
  expect(await get("chat", "/ROOM/a")).toBe("5");
});

test("a migration cannot be uploaded as a version", async () => {
  const folder = project("chat", {
    classes: ["Hall", "Old", "New"],
    bindings: [bind("Hall"), bind("Old"), bind("New")],
    migrations: [v1, renamed, { tag: "v3", new_sqlite_classes: ["New"] }],
  });
  const { output, code } = await deploy(folder, "versions", "upload");
  expect(code).not.toBe(0);
  expect(output).toMatch(/migrations must be applied with `wrangler deploy`/);
});

const moved = { tag: "v1", transferred_classes: [{ from: "Hall", from_script: "chat", to: "Lobby" }] };

test("a class moves to another Worker with its objects, and bindings from before follow", async () => {
  const guest = project("guest", { classes: [], bindings: [bind("Hall", { script_name: "chat" })] });
  await succeed(guest);
  expect(await get("guest", "/HALL/a")).toBe("6");
  const home = project("home", {
    classes: ["Lobby"],
    bindings: [bind("Lobby")],
    migrations: [moved],
  });
  await succeed(home);
  expect(await get("home", "/LOBBY/a")).toBe("7");
  expect(await namespace("chat", "Hall")).toBeUndefined();
  expect(await namespace("home", "Lobby")).toBeDefined();
  // Deployed before the class moved, and not since.
  expect(await answerOf("guest", "/HALL/a")).toBe("8");
  expect(await answerOf("chat", "/ROOM/a")).toBe("9");
});

test("a class is deleted with its data, but not while it is bound", async () => {
  expect(await get("chat", "/OLD/a")).toBe("1");
  const old = await namespace("chat", "Old");
  expect(foldersOf(old)).toHaveLength(1);
  const migrations = [v1, renamed, { tag: "v3", deleted_classes: ["Old"] }];
  const bound = await deploy(project("chat", { classes: ["Old"], bindings: [bind("Old")], migrations }));
  expect(bound.output).toMatch(/without also removing the binding that references it.*10061/s);
  expect(await get("chat", "/OLD/a")).toBe("2");
  await succeed(project("chat", { classes: [], bindings: [], migrations }));
  expect(await namespace("chat", "Old")).toBeUndefined();
  await pollUntil(
    { ms: 5000, everyMs: 20, what: "the data's removal" },
    () => foldersOf(old).length === 0 || undefined,
  );
});

test("a Worker whose objects others use is deleted only by force, and its data goes", async () => {
  const lobby = await namespace("home", "Lobby");
  await succeed(project("guest", { classes: [], bindings: [bind("Lobby", { script_name: "home" })] }));
  const references = (await solum.api("GET", "/workers/scripts/home/references")).json.result;
  expect(references).toMatchObject({
    durable_objects: [{ name: "LOBBY", service: "guest", durable_object_namespace_name: "Lobby" }],
  });
  const kept = await solum.api("DELETE", "/workers/scripts/home");
  expect(kept.json.errors?.[0]).toMatchObject({ message: expect.stringMatching(/Durable Object binding LOBBY/) });
  expect(foldersOf(lobby)).toHaveLength(1);
  await succeed(project("home", { classes: [], bindings: [] }), "delete", "--force");
  expect(await namespaces()).toEqual([]);
  await pollUntil(
    { ms: 5000, everyMs: 20, what: "the data's removal" },
    () => foldersOf(lobby).length === 0 || undefined,
  );
  expect((await solum.request("guest.localhost", "/LOBBY/a")).status).toBe(500);
});

/** Where data of a namespace lies. */
function foldersOf(shown: Shown | undefined): string[] {
  const { objects, objectsOf } = dataLayout(solum.data);
  const folders = readdirSync(objects, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return folders.map(({ name }) => join(objectsOf(name), shown?.id ?? "")).filter((path) => existsSync(path));
}

async function versionInForce(worker: string): Promise<string> {
  const { json } = await solum.api("GET", `/workers/scripts/${worker}/deployments`);
  return (
    (json.result as { deployments: { versions: { version_id: string }[] }[] }).deployments[0]?.versions[0]
      ?.version_id ?? ""
  );
}

/** Of a Worker that is just taking up what has changed elsewhere. */
async function answerOf(worker: string, path: string): Promise<string> {
  return pollUntil({ ms: 5000, everyMs: 50, what: `an answer of ${worker}` }, async () => {
    const { status, text } = await solum.request(`${worker}.localhost`, path);
    return status === 200 ? text : undefined;
  });
}
