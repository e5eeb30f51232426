import { describe, expect, test } from "vitest";
import { WireError } from "#http/wire/head.ts";
import { cfBlobs, passesSoFar, raySource } from "#ingress/cf.ts";
import { pages, renderPage } from "#ingress/error-pages.ts";
import { HeadReader } from "#ingress/head-reader.ts";
import { chooseVersion, parseHost, splitAbsolute } from "#ingress/route-match.ts";

describe("hosts", () => {
  test.each([
    ["app.localhost", "app.localhost", ""],
    ["APP.Localhost:8787", "app.localhost", ":8787"],
    ["app.localhost.", "app.localhost", ""],
    ["app.localhost.:080", "app.localhost", ":80"],
    ["app.localhost:", "app.localhost", ""],
    ["0a1b2c3d-my_worker.example.com", "0a1b2c3d-my_worker.example.com", ""],
    ["[::1]:80", "[::1]", ":80"],
    ["127.0.0.1", "127.0.0.1", ""],
  ])("%s", (value, name, port) => expect(parseHost(value)).toEqual({ name, port }));

  test.each([
    "",
    ".",
    ":80",
    "a b",
    "a/b",
    "a@b",
    "a..b",
    ".a",
    "-a",
    "a-",
    "a:b",
    "a:1:2",
    "a:65536",
    "[::1",
    "::1",
    "a\u00fc",
    "a%41",
    "a?b",
    "a".repeat(256),
  ])("%j is none", (value) => expect(parseHost(value)).toBeUndefined());
});

test("absolute targets are taken apart", () => {
  expect(splitAbsolute("http://a:1/b?c")).toEqual({ host: "a:1", scheme: "http", target: "/b?c" });
  expect(splitAbsolute("HTTPS://a")).toEqual({ host: "a", scheme: "https", target: "/" });
  expect(splitAbsolute("https://a?b")).toEqual({ host: "a", scheme: "https", target: "/?b" });
  expect(splitAbsolute("//a/b")).toBeUndefined();
  expect(splitAbsolute("*")).toBeUndefined();
});

test("a version is drawn by weight", () => {
  const versions = [
    { versionId: "a", weight: 10 },
    { versionId: "b", weight: 0 },
    { versionId: "c", weight: 90 },
  ];
  const at = (random: number) => chooseVersion(versions, "s", [], { draw: () => random })?.versionId;
  expect([0, 0.0999, 0.1, 0.9999].map(at)).toEqual(["a", "a", "c", "c"]);
  // One without traffic can be asked for by name.
  const fields = ["cloudflare-workers-version-overrides", 's="b"'];
  expect(chooseVersion(versions, "s", fields, { draw: () => 0 })?.versionId).toBe("b");
  expect(chooseVersion([], "s", [], { draw: () => 0 })).toBeUndefined();
});

test("passes through Workers are counted, whoever else is on the way", () => {
  expect(passesSoFar(undefined)).toBe(0);
  expect(passesSoFar("solum; loops=3")).toBe(3);
  expect(passesSoFar("cloudflare; loops=9, solum;loops=2, other, Solum")).toBe(3);
  expect(passesSoFar("notsolum; loops=9, solumx")).toBe(0);
});

test("request.cf is ASCII and JSON whatever the client accepts", () => {
  const blob = cfBlobs("SOL")();
  const odd = 'gzip"\\\u00ff';
  expect(blob(1, odd)).toMatch(/^[\x20-\x7e]+$/);
  expect(JSON.parse(blob(1, odd))).toMatchObject({ clientAcceptEncoding: odd, httpProtocol: "HTTP/1.1" });
  expect(JSON.parse(blob(0, undefined))).toMatchObject({ clientAcceptEncoding: "", httpProtocol: "HTTP/1.0" });
});

test("rays do not repeat", () => {
  const next = raySource("SOL");
  expect(new Set(Array.from({ length: 5000 }, next)).size).toBe(5000);
});

describe("a head reader", () => {
  const head = `GET / HTTP/1.1\r\nA: ${"b".repeat(9000)}\r\n\r\n`;

  test("finds the end in whatever pieces the head comes, and leaves the rest", () => {
    const wire = Buffer.from(`${head}rest`);
    for (const size of [1, 2, 3, 7, 4096, wire.length]) {
      const reader = new HeadReader(10_000);
      let end = -1;
      for (let at = 0; end < 0; at += size) {
        const piece = wire.subarray(at, at + size);
        const found = reader.take(piece);
        if (found >= 0) end = at + found;
      }
      expect({ end, text: reader.text, begun: reader.begun }).toEqual({ end: head.length, text: head, begun: false });
    }
  });

  test("has a limit, however the bytes come", () => {
    const wire = Buffer.from(head);
    expect(() => new HeadReader(9000).take(wire)).toThrow(WireError);
    const slow = new HeadReader(9000);
    expect(() => {
      for (const byte of wire) slow.take(Buffer.from([byte]));
    }).toThrow(WireError);
  });
});

test("pages are small, quote what they show, and need nothing from elsewhere", () => {
  const page = pages.noSuchHost("<b>", { worker: "http://<worker>.localhost", console: "http://localhost" });
  const options = { head: false, close: true, keepAlive: false, ray: "r-SOL", date: "now" };
  const html = renderPage(page, { ...options, html: true });
  expect(html.length).toBeLessThan(2000);
  expect(html).toContain("&lt;b&gt;");
  expect(html).toContain("prefers-color-scheme:dark");
  expect(html).not.toMatch(/<b>|<worker>|src=|href=|url\(|@import/);
  const [head = "", body = ""] = html.split("\r\n\r\n");
  expect(head).toContain(`Content-Length: ${Buffer.byteLength(body)}`);
  expect(renderPage(page, { ...options, html: false })).toContain("Workers answer at http://<worker>.localhost;");
  expect(renderPage(page, { ...options, html: true, head: true })).toMatch(/\r\n\r\n$/);
});
