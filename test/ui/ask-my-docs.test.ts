import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TextReader, Uint8ArrayWriter, ZipWriter } from "@zip.js/zip.js";
import { type Browser, chromium, type Locator, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ask } from "./ask.ts";
import { anthropic, FakeProvider, json, openai, stream, words } from "../support/fake-provider.ts";
import { startExample } from "../support/start-example.ts";
import { brokenLayout, faintTexts, unreachableByKeyboard } from "./page-checks.ts";

const executablePath = "/usr/bin/chromium";
const missing = existsSync(executablePath) ? "" : ` (skipped: ${executablePath} is not installed)`;
/** Without the last three, Chromium looks for servers of its maker at every start. */
const flags =
  "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const screenshots = join(tmpdir(), "ask-my-docs-screenshots");
const password = "correct horse battery";

/** One story from the first visit to signing out; each test goes on where the one before it stopped. */
describe.skipIf(missing !== "")(`ask-my-docs in a browser${missing}`, () => {
  let example: Awaited<ReturnType<typeof startExample>>;
  let provider: FakeProvider;
  let browser: Browser;
  let page: Page;
  const complaints: string[] = [];

  beforeAll(async () => {
    await mkdir(screenshots, { recursive: true });
    provider = await FakeProvider.listen();
    [example, browser] = await Promise.all([
      startExample("--ai-providers", `openai=${provider.url},anthropic=${provider.url}`),
      // Names of files that are downloaded are bytes of the locale.
      chromium.launch({ executablePath, args: flags.split(" "), env: { ...process.env, LANG: "C.UTF-8" } }),
    ]);
    await storeKeys();
    page = await newVisitor();
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.message));
  }, 120_000);

  afterAll(async () => {
    await browser?.close();
    await example?.stop();
    await provider?.[Symbol.asyncDispose]();
  });

  test("a wrong password is refused where it was typed", async () => {
    const stranger = await newVisitor();
    await stranger.goto(example.url);
    await fillAccount(stranger, "nobody@example.org");
    await stranger.getByRole("button", { name: "Sign in" }).click();
    await stranger.getByRole("alert").getByText("do not belong together").waitFor();
    await stranger.getByRole("button", { name: "Create an account" }).click();
    await stranger.getByLabel("Password").fill("short");
    await stranger.getByRole("button", { name: "Create account" }).click();
    await stranger.getByText("Please use at least 10 characters").waitFor();
    expect(await stranger.getByLabel("Password").getAttribute("aria-invalid")).toBe("true");
    await takePictures(stranger, "sign-in-problem");
    await stranger.context().close();
  });

  test("signs up and is told what to do first", async () => {
    await page.goto(`${example.url}/documents`);
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    await takePictures(page, "sign-in");
    await page.getByRole("button", { name: "Create an account" }).click();
    await fillAccount(page, "ann@example.org");
    await page.keyboard.press("Enter");
    await page.getByText("No documents yet").waitFor();
    expect(new URL(page.url()).pathname).toBe("/documents");
    await takePictures(page, "documents-empty");
  });

  const bytes = randomBytes(300_000);
  test("uploads a file and downloads the same bytes", async () => {
    const buffer = bytes;
    const mimeType = "application/octet-stream";
    await page.getByLabel("Choose files").setInputFiles({ name: "Größe & Maß.bin", mimeType, buffer });
    await documentRow("Größe & Maß.bin").getByText("300 kB").waitFor();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("link", { name: "Größe & Maß.bin" }).click(),
    ]);
    expect(await readFile(await download.path())).toEqual(bytes);
    expect(download.suggestedFilename()).toBe("Größe & Maß.bin");
  });

  test("answers ranges and conditions from R2", async () => {
    const href = await page.getByRole("link", { name: "Größe & Maß.bin" }).getAttribute("href");
    const address = new URL(href ?? "", example.url).href;
    const whole = await ask(address, page);
    const part = await ask(address, page, { range: "bytes=1000-1999" });
    expect([part.status, part.headers["content-range"]]).toEqual([206, "bytes 1000-1999/300000"]);
    expect(part.body).toEqual(bytes.subarray(1000, 2000));
    const again = await ask(address, page, { "if-none-match": whole.headers.etag ?? "" });
    expect(again.status).toBe(304);
  });

  test("takes files that are dropped on the page", async () => {
    const data = await page.evaluateHandle(() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(["# Minutes\n\nWe agreed.\n"], "minutes.md", { type: "text/markdown" }));
      transfer.items.add(new File(["a,b\n1,2\n"], "figures.csv", { type: "text/csv" }));
      return transfer;
    });
    await page.dispatchEvent("main", "dragover", { dataTransfer: data });
    await page.dispatchEvent("main", "drop", { dataTransfer: data });
    await documentRow("figures.csv").getByText("8 bytes").waitFor();
    // A queue reads them; then they can be asked.
    for (const name of ["minutes.md", "figures.csv"])
      await page.getByRole("button", { name: `Ask about ${name}` }).waitFor();
    expect(await page.getByRole("list", { name: "Documents" }).getByRole("listitem").count()).toBe(3);
  });

  test("imports a ZIP file, and says so when it is none", async () => {
    const zip = new ZipWriter(new Uint8ArrayWriter());
    for (const name of ["letters/one.txt", "letters/two.txt"]) await zip.add(name, new TextReader(`This is ${name}.`));
    const buffer = Buffer.from(await zip.close());
    const chooser = page.getByLabel("Import a ZIP file");
    await chooser.setInputFiles({ name: "letters.zip", mimeType: "application/zip", buffer });
    const imports = page.getByRole("list", { name: "Imports" });
    await imports.getByText("2 files are documents now.").waitFor();
    for (const name of ["one.txt", "two.txt"]) {
      await documentRow(name).waitFor();
      await page.getByRole("button", { name: `Ask about ${name}` }).waitFor();
    }
    await takePictures(page, "documents-import");
    await imports.getByRole("button", { name: "Hide the import of letters.zip" }).click();
    await chooser.setInputFiles({ name: "no.zip", mimeType: "application/zip", buffer: Buffer.from("no archive") });
    await imports.getByText("This is not a ZIP file that can be read.").waitFor();
    await imports.getByRole("button", { name: "Hide the import of no.zip" }).click();
    for (const name of ["one.txt", "two.txt"]) {
      await page.getByRole("button", { name: `Delete ${name}` }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
      await documentRow(name).waitFor({ state: "detached" });
    }
  });

  test("shows how far an upload is, and stops it when asked", async () => {
    const network = await page.context().newCDPSession(page);
    const slow = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 500_000 };
    await network.send("Network.emulateNetworkConditions", slow);
    await page.getByLabel("Choose files").setInputFiles([
      { name: "film.mp4", mimeType: "video/mp4", buffer: Buffer.alloc(5_000_000) },
      { name: "next.mp4", mimeType: "video/mp4", buffer: Buffer.alloc(1_000) },
    ]);
    const uploads = page.getByRole("list", { name: "Uploads" });
    await uploads.getByText(/MB of 5 MB/).waitFor();
    await takePictures(page, "documents-upload");
    await uploads.getByRole("button", { name: "Cancel film.mp4" }).click();
    await network.send("Network.emulateNetworkConditions", { ...slow, uploadThroughput: -1 });
    await documentRow("next.mp4").waitFor();
    expect(await uploads.getByRole("listitem").count()).toBe(0);
    expect(await page.getByRole("link", { name: "film.mp4" }).count()).toBe(0);
  });

  test("renames with the keyboard alone", async () => {
    await page.getByRole("button", { name: "Rename Größe & Maß.bin" }).focus();
    await page.keyboard.press("Enter");
    await page.keyboard.type("Everything that we measured at the station in the rain");
    await takePictures(page, "documents-rename");
    await page.keyboard.press("Enter");
    await page.getByRole("link", { name: "Everything that we measured at the station in the rain.bin" }).waitFor();
    await page.reload();
    await page.getByRole("link", { name: "Everything that we measured at the station in the rain.bin" }).waitFor();
    await takePictures(page, "documents");
  });

  test("copies a link that works without signing in", async () => {
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: example.url });
    await page.getByRole("button", { name: "Copy a link to minutes.md" }).click();
    await page.getByText("Link copied").waitFor();
    const link = await page.evaluate(() => navigator.clipboard.readText());
    const answer = await ask(link);
    expect(answer.headers["content-type"]).toBe("text/plain; charset=utf-8");
    expect(answer.body.toString()).toBe("# Minutes\n\nWe agreed.\n");
    expect((await ask(`${link.slice(0, -6)}AAAAAA`)).status).toBe(404);
  });

  test("answers a question about a document as the model writes, and a second time from the cache", async () => {
    const released = Promise.withResolvers<void>();
    provider.handler = async (request, response) => {
      const piece = (content: string) => `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`;
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(piece("We "));
      await released.promise;
      const usage = { prompt_tokens: 100, completion_tokens: 20, total_tokens: 120 };
      const counts = `data: ${JSON.stringify({ choices: [], usage })}\n\n`;
      await stream(request, response, [piece("agreed."), counts, "data: [DONE]\n\n"]);
    };
    await page.getByRole("button", { name: "Ask about minutes.md" }).click();
    await page.getByRole("heading", { name: "minutes.md" }).waitFor();
    await page.getByLabel("Question").fill("What was decided?");
    await page.keyboard.press("Enter");
    const answer = page.locator(".answer");
    await answer.getByText("We", { exact: true }).waitFor();
    await takePictures(page, "ask");
    released.resolve();
    await page.getByText("Answered by gpt-4o-mini").waitFor();
    expect(await answer.textContent()).toBe("We agreed.");
    expect(provider.last.headers.authorization).toBe("Bearer key-of-openai");
    expect(JSON.stringify(provider.last.json["messages"])).toContain("We agreed.");

    const asked = provider.requests.length;
    await page.getByRole("button", { name: "Ask", exact: true }).click();
    await page.getByText("Answered before by gpt-4o-mini").waitFor();
    expect([await answer.textContent(), provider.requests.length]).toEqual(["We agreed.", asked]);
  });

  test("sums a document up by another model when the first one fails, and says so when none answers", async () => {
    provider.handler = (request, response) =>
      request.path.includes("/messages")
        ? anthropic()(request, response)
        : json(response, { error: { message: "overloaded" } }, 503);
    await page.getByRole("button", { name: "Sum it up" }).click();
    await page.getByText("Answered by claude-haiku-4-5").waitFor();
    expect(await page.locator(".answer").textContent()).toBe(words.join(""));
    expect(provider.last.headers["x-api-key"]).toBe("key-of-anthropic");

    provider.handler = (_, response) => json(response, { error: { message: "overloaded" } }, 503);
    expect(complaints).toEqual([]);
    await page.getByLabel("Question").fill("Is anybody there?");
    await page.keyboard.press("Enter");
    await page.getByText("Nobody can answer at the moment").waitFor();
    expect(complaints.splice(0).filter((text) => !text.includes("503"))).toEqual([]);
    provider.handler = openai();
  });

  test("shows what each feature cost", async () => {
    await page.getByRole("link", { name: "Costs" }).click();
    const cells = async (name: string) => {
      const row = page.getByRole("row").filter({ has: page.getByRole("rowheader", { name }) });
      return row.getByRole("cell").allTextContents();
    };
    await page.getByRole("rowheader", { name: "Answers" }).waitFor();
    // 100 and 20 tokens at 0.15 and 0.6 dollars a million; the second question cost nothing.
    expect(await cells("Answers")).toEqual(["US$0.000027", "2", "1", "120"]);
    // 50 plain, 40 read from and 10 written to Anthropic's own cache, 20 out: 1, 0.1, 1.25 and 5 dollars a million: $0.0001665.
    expect(await cells("Summaries")).toEqual(["US$0.000167", "1", "0", "120"]);
    await takePictures(page, "costs");
    await page.getByRole("link", { name: "Documents" }).click();
  });

  test("deletes only after asking", async () => {
    const remove = page.getByRole("button", { name: "Delete next.mp4" });
    await remove.click();
    await takePictures(page, "documents-delete");
    await page.keyboard.press("Escape");
    await documentRow("next.mp4").waitFor();
    await remove.click();
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await documentRow("next.mp4").waitFor({ state: "detached" });
    await page.reload();
    await page.getByRole("link", { name: "minutes.md" }).waitFor();
    expect(await page.getByRole("link", { name: "next.mp4" }).count()).toBe(0);
  });

  test("writes a note that is there after a reload", async () => {
    await page.getByRole("link", { name: "Notes" }).click();
    await page.getByText("No notes yet").waitFor();
    await takePictures(page, "notes-empty");
    await writeNote("Reading list", "1. The Timeless Way of Building\n2. A Pattern Language\n");
    await writeNote(
      "Trip to Zürich",
      "## Before\n\n- Ask Mara for the **measurements**\n- Train at 9:14, platform 7\n",
    );
    await page.reload();
    await page.getByLabel("Text").waitFor();
    expect(await page.getByLabel("Title").inputValue()).toBe("Trip to Zürich");
    expect(await page.getByLabel("Text").inputValue()).toContain("Ask Mara");
    await takePictures(page, "note");
  });

  test("finds notes by the start of a word, without accents", async () => {
    for (const [search, found] of [
      ["measure", "Trip to Zürich"],
      ["zuri", "Trip to Zürich"],
      ["patt lang", "Reading list"],
    ] as const) {
      await page.getByLabel("Search notes").fill(search);
      await page.waitForFunction((wanted) => {
        const titles = [...document.querySelectorAll(".note-list .title")].map((title) => title.textContent);
        return titles.length === 1 && titles[0] === wanted;
      }, found);
    }
    await takePictures(page, "notes-search");
    await page.getByLabel("Search notes").fill('"nowhere*');
    await page.getByText("Nothing found").waitFor();
    await page.getByLabel("Search notes").fill("");
    await page.getByRole("link", { name: "Trip to Zürich" }).waitFor();
  });

  test("does not overwrite what another window saved", async () => {
    const other = await page.context().newPage();
    await other.goto(page.url());
    await other.getByLabel("Text").fill("Written elsewhere");
    await other.getByRole("link", { name: "Written elsewhere" }).waitFor();
    expect(complaints).toEqual([]);
    await page.getByLabel("Text").fill("Written here");
    await page.getByText("Another window saved a different text").waitFor();
    await takePictures(page, "note-changed");
    await page.getByRole("button", { name: "Show that one" }).click();
    await page.getByText("Saved", { exact: true }).waitFor();
    expect(await page.getByLabel("Text").inputValue()).toBe("Written elsewhere");
    await other.close();
    // Chromium itself reports every answer of 409.
    expect(complaints.splice(0).filter((text) => !text.includes("409"))).toEqual([]);
  });

  test("can be read and reached in light and dark", async () => {
    for (const name of ["Documents", "Notes", "Costs"]) {
      await page.getByRole("link", { name, exact: true }).click();
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        expect(await faintTexts(page), `${name} ${colorScheme}`).toEqual([]);
      }
      expect(await unreachableByKeyboard(page), name).toEqual([]);
    }
  });

  test("shows nothing of one person to another", async () => {
    const bob = await newVisitor();
    await bob.goto(`${example.url}/notes`);
    await bob.getByRole("button", { name: "Create an account" }).click();
    await fillAccount(bob, "bob@example.org");
    await bob.getByRole("button", { name: "Create account" }).click();
    await bob.getByText("No notes yet").waitFor();
    await bob.getByLabel("Search notes").fill("zürich");
    await bob.getByText("Nothing found").waitFor();
    const list = await ask(`${example.url}/api/documents`, page);
    const { documents } = JSON.parse(list.body.toString()) as { documents: { id: string }[] };
    const address = `${example.url}/api/documents/${documents[0]?.id}/file`;
    expect([(await ask(address, page)).status, (await ask(address, bob)).status]).toEqual([200, 404]);
    await bob.getByRole("link", { name: "Costs" }).click();
    await bob.getByText("Nothing was asked yet").waitFor();
    await bob.getByRole("link", { name: "Documents" }).click();
    await bob.getByText("No documents yet").waitFor();
    await bob.context().close();
  });

  test("signs out and sees nothing more, and the console stayed empty", async () => {
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    await page.goto(`${example.url}/documents`);
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    expect((await ask(`${example.url}/api/documents`, page)).status).toBe(401);
    expect(complaints).toEqual([]);
  });

  /** The providers' keys, in the gateway that the example uses, as its owner puts them there. */
  async function storeKeys(): Promise<void> {
    const { solum } = example;
    const settings = { cache_invalidate_on_update: false, cache_ttl: 0, collect_logs: true };
    const rates = { rate_limiting_interval: 0, rate_limiting_limit: 0 };
    await solum.api("POST", "/ai-gateway/gateways", { id: "default", authentication: true, ...settings, ...rates });
    for (const slug of ["openai", "anthropic"]) {
      const key = { alias: "default", default_config: true, provider_slug: slug, secret: `key-of-${slug}` };
      const stored = await solum.api("POST", "/ai-gateway/gateways/default/provider_configs", key);
      expect(stored.status).toBe(200);
    }
  }

  async function newVisitor(): Promise<Page> {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: "en-GB" });
    return context.newPage();
  }

  function documentRow(name: string): Locator {
    return page.getByRole("list", { name: "Documents" }).getByRole("listitem").filter({ hasText: name });
  }

  async function writeNote(title: string, text: string): Promise<void> {
    await page.getByRole("button", { name: "New note" }).click();
    await page.getByLabel("Title").and(page.locator(":focus")).fill(title);
    await page.getByLabel("Text").fill(text);
    await page.getByRole("link", { name: title }).waitFor();
    await page.getByText("Saved", { exact: true }).waitFor();
  }
});

async function fillAccount(page: Page, email: string): Promise<void> {
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password").fill(password);
}

/** Four pictures for a person to look at, and what a program can tell about them. */
async function takePictures(page: Page, name: string): Promise<void> {
  for (const viewport of [
    { width: 390, height: 844 },
    { width: 1440, height: 900 },
  ]) {
    await page.setViewportSize(viewport);
    for (const colorScheme of ["dark", "light"] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.screenshot({ path: join(screenshots, `${name}-${viewport.width}-${colorScheme}.png`) });
    }
    expect(await brokenLayout(page), `${name} at ${viewport.width}`).toEqual([]);
  }
}
