import { expect, test } from "vitest";
import type { RoutedWorker } from "#products/zones/plans.ts";
import { limits } from "#products/zones/schema.ts";
import type { ZoneStore } from "#products/zones/store.ts";

export type ZoneWorld = {
  store: ZoneStore;
  /** An account with no zones, and Workers of it. */
  anna: string;
  bert: string;
  hello: RoutedWorker;
  other: RoutedWorker;
  stranger: RoutedWorker;
  deleteWorker: (worker: RoutedWorker) => Promise<void>;
};

/**
 * What every ZoneStore does. `open` gives one in which Anna has the Workers `hello` and `other`, and Bert has `hello`. The app
 * domain is apps.example.net, the console is console.example.net.
 */
export function zoneStoreContract(open: () => Promise<ZoneWorld>): void {
  const domain = (hostname: string, more: object = {}) => ({
    hostname,
    enabled: true,
    previews_enabled: false,
    ...more,
  });
  const replacing = { replace: true, override: false };

  test("a zone is found in its account alone", async () => {
    const { store, anna, bert } = await open();
    const zone = await store.create(anna, "Example.COM");
    expect(zone).toMatchObject({ name: "example.com", accountId: anna });
    expect(await store.list([anna])).toEqual([zone]);
    expect(await store.list([bert])).toEqual([]);
    expect(await store.find([bert], zone.id)).toBeUndefined();
    expect((await store.list([anna, bert])).map(({ id }) => id)).toEqual([zone.id]);
    await store.delete(zone);
    expect(await store.list([anna])).toEqual([]);
  });

  test("a name belongs to one account, with all above and below it", async () => {
    const { store, anna, bert } = await open();
    await store.create(anna, "shop.example.com");
    for (const name of ["shop.example.com", "a.shop.example.com", "example.com"])
      await expect(store.create(bert, name), name).rejects.toMatchObject({ code: 1061 });
    await expect(store.create(anna, "shop.example.com")).rejects.toMatchObject({ code: 1061 });
    await store.create(anna, "example.com");
    await store.create(bert, "myshop.example.org");
  });

  test.each([
    ["", "localhost", "a b.com", "-a.com", "a..com", "*.example.com", "example.com/x", "http://example.com"],
    ["example.com:80", "127.0.0.1", "0x7f.1", "[::1]", `${"a".repeat(64)}.com`, `${"a.".repeat(130)}com`],
    ["apps.example.net", "hello.apps.example.net", "console.example.net"],
  ])("names that are no zone are refused: %j …", async (...names) => {
    const { store, anna } = await open();
    for (const name of names) await expect(store.create(anna, name), name).rejects.toMatchObject({ code: 1049 });
    expect(await store.list([anna])).toEqual([]);
  });

  test("a route is made once in a zone, however it is written", async () => {
    const { store, anna, hello, other } = await open();
    const zone = await store.create(anna, "example.com");
    const route = await store.createRoute(zone, { pattern: "example.com/a/*", worker: hello });
    expect(route).toMatchObject({ pattern: "example.com/a/*", script: "hello", zoneName: "example.com" });
    await store.createRoute(zone, { pattern: "https://example.com/a/*", worker: other });
    await store.createRoute(zone, { pattern: "example.com", worker: undefined });
    for (const pattern of ["example.com/a/*", "EXAMPLE.com/a/*", "example.com/"])
      await expect(store.createRoute(zone, { pattern, worker: other }), pattern).rejects.toMatchObject({ code: 10020 });
    expect((await store.routes(zone)).map(({ pattern, script }) => [pattern, script])).toEqual([
      ["example.com", undefined],
      ["example.com/a/*", "hello"],
      ["https://example.com/a/*", "other"],
    ]);
    const changed = await store.updateRoute(zone, route.id, { pattern: "example.com/b", worker: other });
    expect(changed).toMatchObject({ id: route.id, pattern: "example.com/b", script: "other" });
    expect(await store.updateRoute(zone, "nope", { pattern: "example.com/c", worker: other })).toBeUndefined();
    expect(await store.deleteRoute(zone, route.id)).toBe(true);
    expect(await store.deleteRoute(zone, route.id)).toBe(false);
  });

  test("all routes of a Worker are replaced at once, or none", async () => {
    const { store, anna, hello, other } = await open();
    const com = await store.create(anna, "example.com");
    const org = await store.create(anna, "example.org");
    await store.createRoute(org, { pattern: "example.org/taken", worker: other });
    const first = await store.replaceRoutes(hello, [
      { pattern: "example.com/*" },
      { pattern: "*.example.org/*" },
      { pattern: "*/all", zone_name: "example.org" },
      { pattern: "www.example.com/x", zone_id: com.id },
    ]);
    expect(first.map(({ pattern, zoneName }) => [pattern, zoneName])).toEqual([
      ["*.example.org/*", "example.org"],
      ["*/all", "example.org"],
      ["example.com/*", "example.com"],
      ["www.example.com/x", "example.com"],
    ]);
    const refused = store.replaceRoutes(hello, [{ pattern: "example.com/new" }, { pattern: "example.org/taken" }]);
    await expect(refused).rejects.toMatchObject({ code: 10020, message: expect.stringContaining("other") as unknown });
    expect(await store.routesOf(hello)).toEqual(first);
    const kept = await store.replaceRoutes(hello, [{ pattern: "example.com/*" }]);
    expect(kept).toEqual([first[2]]);
    expect(await store.routesOf(other)).toHaveLength(1);
  });

  test("a route is found its zone, the nearest one; without one there is no route", async () => {
    const { store, anna, bert, hello, stranger } = await open();
    await store.create(anna, "example.com");
    const near = await store.create(anna, "sub.example.com");
    const [route] = await store.replaceRoutes(hello, [{ pattern: "*.sub.example.com/*" }]);
    expect(route?.zoneId).toBe(near.id);
    for (const wanted of [{ pattern: "example.org/*" }, { pattern: "*/*" }, { pattern: "a", zone_id: "nope" }])
      await expect(store.replaceRoutes(hello, [wanted])).rejects.toMatchObject({ code: 10083 });
    const theirs = [{ pattern: "example.com/*" }, { pattern: "example.com/*", zone_id: near.id }];
    for (const wanted of theirs)
      await expect(store.replaceRoutes(stranger, [wanted])).rejects.toMatchObject({ code: 10083 });
    expect(await store.list([bert])).toEqual([]);
  });

  test("a custom domain belongs to one Worker, until another takes it over", async () => {
    const { store, anna, hello, other } = await open();
    await store.create(anna, "example.com");
    const [first] = await store.setDomains(hello, [domain("Shop.example.com")], replacing);
    expect(first).toMatchObject({ hostname: "shop.example.com", script: "hello", enabled: true });
    const both = [domain("www.example.com"), domain("shop.example.com")];
    await expect(store.setDomains(other, both, replacing)).rejects.toMatchObject({ code: 100116, status: 409 });
    expect((await store.domains(anna)).map(({ hostname }) => hostname)).toEqual(["shop.example.com"]);
    await store.setDomains(other, both, { replace: true, override: true });
    expect((await store.domains(anna)).map(({ id, hostname, script }) => [id === first?.id, hostname, script])).toEqual(
      [
        [true, "shop.example.com", "other"],
        [false, "www.example.com", "other"],
      ],
    );
    await store.setDomains(other, [domain("www.example.com", { enabled: false })], replacing);
    expect(await store.domains(anna)).toMatchObject([{ hostname: "www.example.com", enabled: false }]);
    await store.setDomains(other, [domain("example.com")], { replace: false, override: false });
    expect(await store.domains(anna)).toHaveLength(2);
  });

  test("a custom domain of a stranger's zone, of none, or that is no host is refused", async () => {
    const { store, anna, hello, stranger } = await open();
    await store.create(anna, "example.com");
    const attempts = [
      [stranger, "example.com", 10083],
      [hello, "example.org", 10083],
      [hello, "*.example.com", 10022],
      [hello, "example.com/x", 10022],
    ] as const;
    for (const [worker, hostname, code] of attempts) {
      await expect(store.setDomains(worker, [domain(hostname)], replacing), hostname).rejects.toMatchObject({ code });
      await expect(store.planDomain(worker, domain(hostname)), hostname).rejects.toMatchObject({ code });
    }
    const [made] = await store.setDomains(hello, [domain("example.com")], replacing);
    expect(await store.deleteDomain(stranger.accountId, made?.id ?? "")).toBe(false);
    expect(await store.deleteDomain(anna, made?.id ?? "")).toBe(true);
  });

  test("the platform's own hosts are no zone's to give away", async () => {
    const { store, anna, hello } = await open();
    const zone = await store.create(anna, "example.net");
    const taken = [
      "hello.apps.example.net/*",
      "apps.example.net/*",
      "console.example.net/x",
      "*.apps.example.net/*",
      "*.example.net/*",
      "*example.net/*",
      "*/*",
      "*s.example.net/*",
      "*e.example.net/*",
    ];
    for (const pattern of taken)
      await expect(store.createRoute(zone, { pattern, worker: hello }), pattern).rejects.toMatchObject({ code: 10038 });
    for (const hostname of ["hello.apps.example.net", "console.example.net"])
      await expect(store.setDomains(hello, [domain(hostname)], replacing)).rejects.toMatchObject({ code: 10038 });
    for (const pattern of ["example.net/*", "www.example.net/*", "*.www.example.net/*"])
      await store.createRoute(zone, { pattern, worker: hello });
    expect(await store.setDomains(hello, [domain("shop.example.net")], replacing)).toHaveLength(1);
  });

  test("a zone has so many custom domains and no more; nothing of one change too many is written", async () => {
    const { store, anna, hello } = await open();
    await store.create(anna, "example.com");
    const many = Array.from({ length: limits.domainsPerZone }, (_, n) => domain(`${n}.example.com`));
    await store.setDomains(hello, many, replacing);
    const more = store.setDomains(
      hello,
      [...many.slice(1), domain("a.example.com"), domain("b.example.com")],
      replacing,
    );
    await expect(more).rejects.toMatchObject({ code: 10021 });
    expect((await store.domains(anna)).map(({ hostname }) => hostname)).toContain("0.example.com");
    await store.setDomains(hello, [...many.slice(1), domain("a.example.com")], replacing);
  });

  test("routes and domains go with their Worker, and with their zone", async () => {
    const { store, anna, hello, other, deleteWorker } = await open();
    const zone = await store.create(anna, "example.com");
    await store.replaceRoutes(hello, [{ pattern: "example.com/*" }]);
    await store.setDomains(hello, [domain("a.example.com")], replacing);
    await store.setDomains(other, [domain("b.example.com")], replacing);
    await deleteWorker(hello);
    expect(await store.routes(zone)).toEqual([]);
    expect((await store.domains(anna)).map(({ hostname }) => hostname)).toEqual(["b.example.com"]);
    await expect(store.replaceRoutes(hello, [{ pattern: "example.com/*" }])).rejects.toMatchObject({ code: 10019 });
    await store.delete(zone);
    expect(await store.domains(anna)).toEqual([]);
  });
}
