import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TextReader, Uint8ArrayWriter, ZipWriter } from "@zip.js/zip.js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { ownerProcesses } from "../support/objects-worker.ts";
import { startExample, type Example } from "../support/start-example.ts";

/** The example as its author deploys it: a front end, a back end, D1, KV, R2 and a secret, by the real wrangler. */
let example: Example;
beforeAll(async () => {
  example = await startExample();
}, 120_000);
afterAll(() => example?.stop());

async function zipOf(files: readonly (readonly [name: string, text: string])[]): Promise<Buffer> {
  const zip = new ZipWriter(new Uint8ArrayWriter());
  for (const [name, text] of files) {
    if (name.endsWith("/")) await zip.add(name, undefined, { directory: true });
    else await zip.add(name, new TextReader(text));
  }
  return Buffer.from(await zip.close());
}

/** One person with a browser's cookie. */
function visitor(host: string) {
  let cookie = "";
  return async (method: string, path: string, body?: unknown, type = "application/json") => {
    const text = typeof body === "string" || body instanceof Buffer ? body : JSON.stringify(body);
    const answer = await example.solum.request(host, path, {
      method,
      headers: { cookie, origin: `http://${host}:${example.solum.port}`, "content-type": type },
      ...(body === undefined ? {} : { body: text }),
    });
    cookie = answer.headers["set-cookie"]?.[0]?.split(";")[0] ?? cookie;
    return answer;
  };
}

const person = { email: "ada@example.org", password: "correct horse battery" };

test("pages, accounts, files and notes answer through the ingress, and a deploy changes none of them", async () => {
  const host = "ask-my-docs.localhost";
  const ask = visitor(host);
  const page = await ask("GET", "/");
  expect(page.headers["content-type"]).toBe("text/html; charset=utf-8");
  const script = /src="(\/assets\/[^"]+\.js)"/.exec(page.text)?.[1] ?? "";
  expect((await ask("GET", script)).status).toBe(200);
  expect((await ask("GET", "/documents")).text).toBe(page.text);
  expect((await ask("GET", "/api/documents")).status).toBe(401);

  expect((await ask("POST", "/api/account", person)).status).toBe(201);
  const uploaded = await ask("POST", "/api/documents?name=plan.txt", "the plan ".repeat(20_000), "text/plain");
  expect(uploaded.status).toBe(201);
  const { id } = JSON.parse(uploaded.text) as { id: string };
  const passages = await pollUntil({ ms: 20_000, everyMs: 50, what: "the document to be read" }, async () => {
    const document = JSON.parse((await ask("GET", `/api/documents/${id}`)).text) as { passages: number | null };
    return document.passages ?? undefined;
  });
  expect(passages).toBeGreaterThan(100);
  expect((await ask("POST", "/api/notes", { title: "First", body: "An idea about gardens" })).status).toBe(201);
  const link = JSON.parse((await ask("POST", `/api/documents/${id}/link`)).text) as { url: string };

  const main = join(example.folder, "src", "worker", "index.ts");
  writeFileSync(main, `${readFileSync(main, "utf8")}\n// changed\n`);
  const again = await example.setUp();
  expect(again).toContain("JWT_SECRET is there already");
  expect(JSON.parse((await ask("GET", "/api/session")).text)).toMatchObject({ email: person.email });
  expect((await ask("GET", `/api/documents/${id}/file`)).text).toHaveLength("the plan ".length * 20_000);
  expect((await ask("GET", "/api/notes?search=gard")).text).toContain("First");
  // A stranger with the link, which the secret signs.
  expect((await visitor(host)("GET", new URL(link.url, `http://${host}`).pathname)).text).toMatch(/^the plan /);
});

test("a ZIP file becomes documents, each once, though the process that takes it apart is killed", async () => {
  const ask = visitor("ask-my-docs.localhost");
  expect((await ask("POST", "/api/session", person)).status).toBe(200);
  const names = Array.from({ length: 20 }, (_, at) => `chapters/${at}.txt`);
  const files = [...names, "__MACOSX/._0.txt", "empty/"].map(
    (name) => [name, `This is ${name}. `.repeat(2000)] as const,
  );
  const sent = await ask("POST", "/api/imports?name=book.zip", await zipOf(files), "application/zip");
  expect(sent.status, sent.text).toBe(201);
  const { id } = JSON.parse(sent.text) as { id: string };
  const look = async () =>
    JSON.parse((await ask("GET", `/api/imports/${id}`)).text) as {
      imported: number;
      files: number;
      endedAt: number | null;
    };
  await pollUntil({ ms: 20_000, everyMs: 5, what: "the first of them" }, async () =>
    (await look()).imported > 2 ? true : undefined,
  );
  for (const { facts } of ownerProcesses(example.solum.runtime)) process.kill(facts.pid, "SIGKILL");
  const done = await pollUntil({ ms: 60_000, everyMs: 50, what: "all of them" }, async () => {
    const now = await look();
    return now.endedAt === null ? undefined : now;
  });
  expect(done).toMatchObject({ files: 20, imported: 20, leftOut: 0, problem: null });
  const { documents } = JSON.parse((await ask("GET", "/api/documents")).text) as {
    documents: { id: string; name: string; size: number; type: string }[];
  };
  const chapters = documents.filter(({ name }) => /^\d+\.txt$/.test(name));
  expect(chapters.map(({ name }) => name).toSorted()).toEqual(names.map((name) => name.slice(9)).toSorted());
  const chapter = chapters.find(({ name }) => name === "7.txt");
  expect(chapter?.type).toBe("text/plain");
  expect((await ask("GET", `/api/documents/${chapter?.id}/file`)).text).toBe("This is chapters/7.txt. ".repeat(2000));

  const broken = await ask("POST", "/api/imports?name=no.zip", "this is no archive", "application/zip");
  const { id: brokenId } = JSON.parse(broken.text) as { id: string };
  const problem = await pollUntil({ ms: 20_000, everyMs: 20, what: "its problem" }, async () => {
    const now = JSON.parse((await ask("GET", `/api/imports/${brokenId}`)).text) as { problem: string | null };
    return now.problem ?? undefined;
  });
  expect(problem).toBe("This is not a ZIP file that can be read.");
});

test("the cron of each morning writes everybody's digest as a note, once", async () => {
  const ask = visitor("ask-my-docs.localhost");
  expect((await ask("POST", "/api/session", person)).status).toBe(200);
  const tomorrow = Date.now() + 24 * 60 * 60 * 1000;
  const fire = async () => {
    const run = { cron: "0 5 * * *", scheduled_time: tomorrow };
    const { json } = await example.solum.api("POST", "/workers/scripts/ask-my-docs/schedules/run", run);
    expect(json.result).toMatchObject({ outcome: "ok" });
  };
  await fire();
  await fire();
  const title = `Your ${new Date().toISOString().slice(0, 10)}`;
  const all = JSON.parse((await ask("GET", "/api/notes?search=")).text) as { id: string; title: string }[];
  const [digest, ...others] = all.filter((note) => note.title === title);
  expect(others).toEqual([]);
  const { body } = JSON.parse((await ask("GET", `/api/notes/${digest?.id}`)).text) as { body: string };
  expect(body).toMatch(
    /New documents \(21\)\n- plan\.txt\n[\s\S]*- and 1 more[\s\S]*Notes you worked on \(1\)\n- First/,
  );
});

test("staging is another Worker, with data of its own", async () => {
  await example.setUp("--env", "staging");
  const ask = visitor("ask-my-docs-staging.localhost");
  expect((await ask("GET", "/")).status).toBe(200);
  expect((await ask("POST", "/api/session", person)).status).toBe(401);
  expect((await ask("POST", "/api/account", person)).status).toBe(201);
  expect(JSON.parse((await ask("GET", "/api/documents")).text)).toMatchObject({ documents: [] });
});
