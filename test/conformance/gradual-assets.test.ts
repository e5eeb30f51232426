import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Solum, testedWranglers } from "../support/start-solum.ts";

/** Static assets while versions change: no mixture of two, and nothing lost for a page that is still open. */
let solum: Solum;
beforeAll(async () => {
  solum = await Solum.start();
});
afterAll(() => solum[Symbol.asyncDispose]());

describe.each(testedWranglers)("wrangler %s", (version) => {
  const suffix = version.replace(".", "");
  const succeed = async (folder: string, ...args: string[]) => {
    const outcome = await solum.wrangler(folder, args, { version });
    expect(outcome.code, `${args.join(" ")}\n${outcome.output}`).toBe(0);
    return outcome.output;
  };
  const write = (folder: string, files: Record<string, string>) => {
    rmSync(join(folder, "public"), { recursive: true, force: true });
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(folder, "public", path, ".."), { recursive: true });
      writeFileSync(join(folder, "public", path), text);
    }
  };

  test("each answer of a split is wholly of one version: its code, its asset binding, its files", async () => {
    const name = `split-${suffix}`;
    const folder = solum.project("site");
    const config = {
      name,
      main: "index.js",
      compatibility_date: "2026-11-01",
      assets: { directory: "public", binding: "ASSETS" },
    };
    writeFileSync(join(folder, "wrangler.jsonc"), JSON.stringify(config));
    const use = (text: string) => {
      write(folder, { "same.txt": text, [`only-${text}.txt`]: text });
      const source = `export default { async fetch(request, env) {
        const asset = await env.ASSETS.fetch(new URL("/same.txt", request.url));
        return new Response("${text} " + await asset.text());
      } };`;
      writeFileSync(join(folder, "index.js"), source);
    };
    use("one");
    await succeed(folder, "deploy");
    use("two");
    const id = /Worker Version ID: ([0-9a-f-]{36})/.exec(await succeed(folder, "versions", "upload"))?.[1] ?? "";
    const { items } = (await solum.api("GET", `/workers/scripts/${name}/versions?deployable=true`)).json.result as {
      items: { id: string }[];
    };
    const before = items.find((item) => item.id !== id)?.id ?? "";
    await succeed(folder, "versions", "deploy", `${before}@50%`, `${id}@50%`, "-y");
    const get = async (path: string, headers: Record<string, string> = {}) =>
      (await solum.request(`${name}.localhost`, path, { headers })).text;
    const answers = await Promise.all(Array.from({ length: 100 }, () => get("/from-code")));
    expect(new Set(answers)).toEqual(new Set(["one one", "two two"]));
    // With a key, a page and its files come from the same version.
    for (const key of ["anna", "bert", "carl", "dora"]) {
      const headers = { "cloudflare-workers-version-key": key };
      const [page = ""] = (await get("/from-code", headers)).split(" ");
      expect(await get("/same.txt", headers)).toBe(page);
      expect(await get(`/only-${page}.txt`, headers)).toBe(page);
    }
    for (const [version_id, text] of [
      [before, "one"],
      [id, "two"],
    ]) {
      const headers = { "cloudflare-workers-version-overrides": `${name}="${version_id}"` };
      expect(await get("/same.txt", headers)).toBe(text);
    }
  });

  test("a page that is still open finds its files after the next deploys; what a site removed is gone", async () => {
    const name = `open-${suffix}`;
    const folder = solum.project("site");
    const config = {
      name,
      compatibility_date: "2026-11-01",
      assets: { directory: "public", not_found_handling: "single-page-application" },
    };
    writeFileSync(join(folder, "wrangler.jsonc"), JSON.stringify(config));
    const get = (path: string) => solum.request(`${name}.localhost`, path);
    write(folder, {
      "index.html": '<script src="/assets/index-DiwrgTda.js"></script>',
      "assets/index-DiwrgTda.js": "first();",
      "secret.txt": "removed next",
    });
    await succeed(folder, "deploy");
    const first = await get("/assets/index-DiwrgTda.js");
    expect(first.text).toBe("first();");
    write(folder, {
      "index.html": '<script src="/assets/index-Bx83kQzz.js"></script>',
      "assets/index-Bx83kQzz.js": "second();",
    });
    await succeed(folder, "deploy");
    const kept = await get("/assets/index-DiwrgTda.js");
    expect(kept).toMatchObject({ status: 200, text: "first();" });
    expect(kept.headers["content-type"]).toBe(first.headers["content-type"]);
    expect(kept.headers.etag).toBe(first.headers.etag);
    expect((await get("/assets/index-Bx83kQzz.js")).text).toBe("second();");
    // Anything else of the old site is what the new site says: here, its page.
    expect((await get("/secret.txt")).text).toContain("index-Bx83kQzz.js");
    write(folder, { "index.html": "third" });
    await succeed(folder, "deploy");
    expect((await get("/assets/index-DiwrgTda.js")).text).toBe("first();");
    expect((await get("/assets/index-Bx83kQzz.js")).text).toBe("second();");
    expect((await get("/")).text).toBe("third");
    // The way back keeps what came after: a page of the second deployment is open just as well.
    const { items } = (await solum.api("GET", `/workers/scripts/${name}/versions?deployable=true`)).json.result as {
      items: { id: string; number: number }[];
    };
    await succeed(folder, "rollback", items.find(({ number }) => number === 1)?.id ?? "", "--message", "back");
    expect((await get("/")).text).toContain("index-DiwrgTda.js");
    expect((await get("/assets/index-Bx83kQzz.js")).text).toBe("second();");
    expect((await get("/secret.txt")).text).toBe("removed next");
  });
});

test("the setting keptAssetsHours = 0 keeps nothing", async () => {
  await using strict = await Solum.start("--kept-assets-hours", "0");
  const folder = strict.project("site");
  const put = (file: string) => {
    rmSync(join(folder, "public"), { recursive: true, force: true });
    mkdirSync(join(folder, "public"));
    writeFileSync(join(folder, "public", file), file);
  };
  put("a-DiwrgTda.js");
  expect((await strict.wrangler(folder, ["deploy"])).code).toBe(0);
  put("b-DiwrgTdb.js");
  expect((await strict.wrangler(folder, ["deploy"])).code).toBe(0);
  expect((await strict.request("site.localhost", "/a-DiwrgTda.js")).status).toBe(404);
  expect((await strict.request("site.localhost", "/b-DiwrgTdb.js")).status).toBe(200);
});
