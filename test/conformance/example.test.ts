import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { startExample, type Example } from "../support/start-example.ts";

/** The example as its author deploys it: a front end, a back end, D1, KV, R2 and a secret, by the real wrangler. */
let example: Example;
beforeAll(async () => {
  example = await startExample();
}, 120_000);
afterAll(() => example?.stop());

/** One person with a browser's cookie. */
function visitor(host: string) {
  let cookie = "";
  return async (method: string, path: string, body?: unknown, type = "application/json") => {
    const text = typeof body === "string" ? body : JSON.stringify(body);
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

test("staging is another Worker, with data of its own", async () => {
  await example.setUp("--env", "staging");
  const ask = visitor("ask-my-docs-staging.localhost");
  expect((await ask("GET", "/")).status).toBe(200);
  expect((await ask("POST", "/api/session", person)).status).toBe(401);
  expect((await ask("POST", "/api/account", person)).status).toBe(201);
  expect(JSON.parse((await ask("GET", "/api/documents")).text)).toMatchObject({ documents: [] });
});
