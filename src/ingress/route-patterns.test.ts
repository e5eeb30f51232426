import { describe, expect, test } from "vitest";
import { RoutePatterns } from "#ingress/route-patterns.ts";
import type { Route, RoutePattern } from "#runtime/routes.ts";

/** Routes are written `host/path=worker`; `=` alone is a route without a Worker. */
function patternsOf(...written: string[]): RoutePatterns<string> {
  const patterns = written.map((text): RoutePattern => {
    const [pattern = "", script = ""] = text.split("=");
    const [, scheme, host = "", path = "/"] = /^(?:(https?):\/\/)?([^/]+)(\/.*)?$/.exec(pattern) ?? [];
    const route: Route | null = script === "" ? null : { kind: "worker", script, versions: [] };
    return { host, path, route, ...(scheme === "http" || scheme === "https" ? { scheme } : {}) };
  });
  return new RoutePatterns(patterns, ({ route }) => (route?.kind === "worker" ? route.script : null));
}

function find(patterns: RoutePatterns<string>, url: string): string | null | undefined {
  const [, scheme, host = "", target = "/"] = /^(https?):\/\/([^/]+)(\/.*)?$/.exec(url) ?? [];
  return patterns.find({ host, target, scheme: scheme === "http" ? "http" : "https" });
}

describe("route patterns", () => {
  // Each line from workers/configuration/routing/routes#matching-behavior and #validity.
  test.each([
    ["https://*.example.com/images/*=a", "https://www.example.com/images/x.png", "a"],
    ["https://*.example.com/images/*=a", "http://www.example.com/images/x.png", undefined],
    ["*.example.com/=a", "http://www.example.com/", "a"],
    ["*.example.com/=a", "https://example.com/", undefined],
    ["*example.com/=a", "https://example.com/", "a"],
    ["*example.com/=a", "https://www.example.com/", "a"],
    ["example.com=a", "https://example.com/", "a"],
    ["example.com=a", "https://example.com/more", undefined],
    ["example.com/path*=a", "https://example.com/path", "a"],
    ["example.com/path*=a", "https://example.com/path2", "a"],
    ["example.com/path*=a", "https://example.com/path/readme.txt", "a"],
    ["example.com/images/*=a", "https://example.com/Images/x", undefined],
    // "The only way to have a route pattern match URLs with query parameters is to terminate it with a wildcard."
    ["example.com/x=a", "https://example.com/x?y=1", undefined],
    ["example.com/x*=a", "https://example.com/x?y=1", "a"],
  ])("%s for %s", (pattern, url, found) => {
    expect(find(patternsOf(pattern), url)).toBe(found);
  });

  test("the most specific one wins, whatever their order", () => {
    const written = ["example.com/*=any", "*.example.com/*=sub", "www.example.com/*=www", "example.com/hello/*=hello"];
    for (const patterns of [patternsOf(...written), patternsOf(...written.toReversed())]) {
      expect(find(patterns, "https://www.example.com/")).toBe("www");
      expect(find(patterns, "https://api.example.com/")).toBe("sub");
      expect(find(patterns, "https://example.com/hello/world")).toBe("hello");
      expect(find(patterns, "https://example.com/hello")).toBe("any");
    }
  });

  // workers/platform/known-issues#route-specificity: Cloudflare calls it unexpected and documents it.
  test("what Cloudflare documents as unexpected is the same here", () => {
    const images = patternsOf("example.com/images/*=A", "example.com/images*=B");
    for (const path of ["/images", "/images123", "/images/hello"])
      expect(find(images, `https://example.com${path}`)).toBe("B");
    expect(find(patternsOf("*.example.com/a=A", "a.example.com/*=B"), "https://a.example.com/a")).toBe("B");
  });

  // The example of workers/configuration/routing/routes#matching-behavior.
  test("one without a Worker keeps less specific ones from matching", () => {
    const patterns = patternsOf("*example.com/images/cat.png=", "*example.com/images/*=script");
    expect(find(patterns, "https://example.com/images/cat.png")).toBeNull();
    expect(find(patterns, "https://example.com/images/cat.png?foo=bar")).toBe("script");
    expect(find(patterns, "https://example.com/images/dog.png")).toBe("script");
    expect(find(patterns, "https://example.com/")).toBeUndefined();
  });

  test("a wildcard ends at the zone, and where none is named at the label", () => {
    const withZone = new RoutePatterns(
      [{ host: "*-app.example.com", path: "/*", zone: "example.com", route: null }],
      () => "worker",
    );
    expect(find(withZone, "https://pr-7-app.example.com/")).toBe("worker");
    expect(find(withZone, "https://app.example.com/")).toBeUndefined();
    const inZone = new RoutePatterns(
      [{ host: "*example.com", path: "/*", zone: "example.com", route: null }],
      () => "w",
    );
    // On Cloudflare `*example.com/*` matches myexample.com as well, but that host's requests never enter the zone.
    for (const patterns of [inZone, patternsOf("*example.com/*=w")]) {
      expect(find(patterns, "https://example.com/")).toBe("w");
      expect(find(patterns, "https://a.b.example.com/")).toBe("w");
      expect(find(patterns, "https://myexample.com/")).toBeUndefined();
      expect(find(patterns, "https://example.com.evil.test/")).toBeUndefined();
    }
    expect(
      find(new RoutePatterns([{ host: "*", path: "/*", route: null }], () => "w"), "https://any.test/"),
    ).toBeUndefined();
  });

  // rules/normalization: a path is compared by what it means, so that `/admin/*` cannot be walked around.
  test.each([
    "/admin/x",
    "/%61dmin/x",
    "//admin/x",
    "/a/../admin/x",
    "/a/%2e%2E/admin/x",
    "/./admin/x",
    "/\\admin\\x",
    "/admin/../admin/x",
  ])("%s is below /admin/", (target) => {
    const patterns = patternsOf("example.com/admin/*=guard", "example.com/*=open");
    expect(patterns.find({ host: "example.com", target, scheme: "https" })).toBe("guard");
  });

  test.each(["/admin%2Fx", "/x/..%2fadmin/x", "/?/admin/x", "/x?/../admin/x", "/Admin/x"])(
    "%s is not below /admin/",
    (target) => {
      const patterns = patternsOf("example.com/admin/*=guard", "example.com/*=open");
      expect(patterns.find({ host: "example.com", target, scheme: "https" })).toBe("open");
    },
  );

  test("the Worker of a route gets to what is behind it, not to another route", () => {
    const patterns = patternsOf("example.com/a/*=own", "example.com/*=other");
    const asked = { host: "example.com", target: "/a/b", scheme: "https" } as const;
    expect(patterns.find(asked, (route) => route === "own")).toBeUndefined();
    expect(patterns.find(asked, (route) => route === "other")).toBe("own");
  });

  test("any number of hosts that strangers make up is answered", () => {
    const patterns = patternsOf("*.example.com/*=w");
    for (let n = 0; n < 10_000; n++) expect(find(patterns, `https://h${n}.example.com/`)).toBe("w");
  });
});
