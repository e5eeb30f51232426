import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Solum, testedWranglers } from "../support/start-solum.ts";

/** Versions at addresses of their own, from `wrangler versions upload` to the answer. */
let solum: Solum;
beforeAll(async () => {
  solum = await Solum.start();
});
afterAll(() => solum[Symbol.asyncDispose]());

test.each(testedWranglers)(
  "wrangler %s: a version answers before it is deployed, under its id and its alias",
  async (version) => {
    const name = `preview-${version.replace(".", "")}`;
    const folder = solum.project("hello");
    writeFileSync(
      join(folder, "wrangler.jsonc"),
      JSON.stringify({ name, main: "index.js", compatibility_date: "2026-11-01" }),
    );
    const say = (text: string) =>
      writeFileSync(join(folder, "index.js"), `export default { fetch: () => new Response("${text}") };`);
    const upload = async (...more: string[]) => {
      const { output } = await solum.wrangler(folder, ["versions", "upload", ...more], { version });
      return /Worker Version ID: ([0-9a-f-]{36})/.exec(output)?.[1] ?? output;
    };
    const text = async (label: string) => (await solum.request(`${label}.localhost`)).text;
    say("deployed");
    expect((await solum.wrangler(folder, ["deploy"], { version })).code).toBe(0);
    say("second");
    const second = await upload("--preview-alias", "beta");
    say("third");
    const third = await upload("--preview-alias", "beta");
    expect(await text(`${second.slice(0, 8)}-${name}`)).toBe("second");
    expect(await text(`${third.slice(0, 8)}-${name}`)).toBe("third");
    expect(await text(`beta-${name}`)).toBe("third");
    expect(await text(name)).toBe("deployed");
    expect((await solum.request(`00000000-${name}.localhost`)).status).toBe(404);
    // The alias moves with the next version that gets it.
    say("fourth");
    await upload("--preview-alias", "beta");
    expect(await text(`beta-${name}`)).toBe("fourth");

    const toggle = (previews_enabled: boolean) =>
      solum.api("POST", `/workers/scripts/${name}/subdomain`, { enabled: true, previews_enabled });
    await toggle(false);
    for (const label of [`${second.slice(0, 8)}-${name}`, `beta-${name}`])
      expect((await solum.request(`${label}.localhost`)).status, label).toBe(404);
    expect(await text(name)).toBe("deployed");
    await toggle(true);
    await expect.poll(async () => text(`beta-${name}`), { timeout: 10_000 }).toBe("fourth");
    await solum.wrangler(folder, ["delete", "--force"], { version });
    expect((await solum.request(`beta-${name}.localhost`)).status).toBe(404);
  },
);
