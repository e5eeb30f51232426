import { describe, expect, test } from "vitest";
import { parsePattern } from "#products/zones/pattern.ts";

/** The rules of https://developers.cloudflare.com/workers/configuration/routing/routes/#validity. */
describe("a route pattern", () => {
  test.each([
    ["example.com", undefined, "example.com", "/"],
    ["example.com/", undefined, "example.com", "/"],
    ["example.com/*", undefined, "example.com", "/*"],
    ["https://example.com/images/*", "https", "example.com", "/images/*"],
    ["HTTP://WWW.Example.com/A", "http", "www.example.com", "/A"],
    ["*.example.com/*", undefined, "*.example.com", "/*"],
    ["*example.com/*", undefined, "*example.com", "/*"],
    ["*-api.example.com/*", undefined, "*-api.example.com", "/*"],
    ["*api.example.com/x*", undefined, "*api.example.com", "/x*"],
    ["*/*", undefined, "*", "/*"],
    ["bücher.example.com/ü/*", undefined, "xn--bcher-kva.example.com", "/%C3%BC/*"],
    ["example.com/a%20b", undefined, "example.com", "/a%20b"],
  ])("%s", (pattern, scheme, host, path) => {
    expect(parsePattern(pattern, "example.com")).toEqual({ scheme, host, path });
  });

  test.each(["example.org/*", "myexample.com/*", "*.com/*", "*ample.com/*", "com/*", "example.com.evil.org/*"])(
    "%s does not lie in the zone",
    (pattern) => {
      expect(() => parsePattern(pattern, "example.com")).toThrow(`Route pattern must include zone name: ${pattern}`);
    },
  );

  test.each([
    "",
    "/",
    "https://",
    "example.com/*.jpg",
    "example.com/*/x*",
    "example.com/**",
    "a*.example.com/*",
    "**.example.com/*",
    "*.*.example.com/*",
    "example.com*",
    "example.com/?a=*",
    "example.com/#x",
    "example.com:8080/*",
    "user@example.com/*",
    "ftp://example.com/*",
    "example.com/a b",
    "example.com/\u0000",
    "example.com/\ud800",
    "..example.com/*",
    "-.example.com/*",
    `example.com/${"a".repeat(3000)}`,
    `example.com/${"ü".repeat(1000)}`,
    `${"a".repeat(64)}.example.com/*`,
  ])("%j is refused", (pattern) => {
    expect(() => parsePattern(pattern, "example.com")).toThrow(
      expect.objectContaining({ code: 10022, status: 400 }) as Error,
    );
  });
});
