import { expect, test } from "vitest";
import type { DesiredWorker } from "#products/workers/desired.ts";
import type { Version, Worker } from "#products/workers/schema.ts";
import { parsePattern } from "#products/zones/pattern.ts";
import { parseSignedTable } from "#ingress/table-file.ts";
import { buildTable, type TableInput } from "#runtime/table.ts";
import type { FrontTarget } from "#runtime/version-fronts.ts";

const worker = (name: string, more: Partial<Worker> = {}): Worker => ({
  id: name,
  accountId: "anna",
  name,
  createdOn: "",
  modifiedOn: "",
  subdomainEnabled: true,
  previewsEnabled: true,
  settings: {},
  migrationTag: undefined,
  lastDeployedFrom: "wrangler",
  ...more,
});
const version = (id: string) => ({ id }) as Version;
const deployed = (of: Worker, ...versions: [id: string, percentage: number][]): DesiredWorker => ({
  worker: of,
  versions: versions.map(([id, percentage]) => ({ version: version(id), percentage })),
});
const build = (input: Partial<TableInput>) => {
  const table = buildTable({
    generation: 1,
    desired: [],
    zones: { routes: [], domains: [] },
    platform: { hosts: {}, patterns: [] },
    previews: [],
    accountLabels: new Map([
      ["anna", undefined],
      ["bert", "bert"],
    ]),
    targetOf: (id) => ({ sockets: [`/run/${id}.sock`] }),
    previous: undefined,
    consoleHost: "console.test",
    appDomain: "apps.test",
    ...input,
  });
  // Whatever we make, the ingress takes.
  expect(parseSignedTable({ supervisor: "s", table })).toMatchObject({ table });
  return table;
};
const routeTo = (script: string, ...versions: [target: string, weight: number][]) => ({
  kind: "worker",
  script,
  versions: versions.map(([target, weight]) => ({ target, weight })),
});

test("a process of the platform has hosts of its own, but not the console's", () => {
  const route = { kind: "platform", socket: "/run/s3.sock", bodyBytesMax: 5 } as const;
  const patterns = [{ host: "*.s3.test", path: "/*", route }];
  const table = build({ platform: { hosts: { "s3.test": route, "console.test": route }, patterns } });
  expect(table).toMatchObject({ hosts: { "s3.test": route, "console.test": { kind: "console" } }, patterns });
});

test("a Worker answers at its host, one of a later account below its label", () => {
  const { hosts, services } = build({
    desired: [
      deployed(worker("hello"), ["v1", 100]),
      deployed(worker("theirs", { accountId: "bert" }), ["v2", 100]),
      deployed(worker("hidden", { subdomainEnabled: false }), ["v3", 100]),
    ],
  });
  expect(hosts).toEqual({
    "hello.apps.test": routeTo("hello", ["v1", 100]),
    "theirs.bert.apps.test": routeTo("theirs", ["v2", 100]),
    "console.test": { kind: "console" },
  });
  expect(Object.keys(services)).toEqual(["anna/hello", "bert/theirs", "anna/hidden"]);
});

test("an app domain on workers.dev is an app domain like any other", () => {
  const { hosts } = build({ desired: [deployed(worker("hello"), ["v1", 100])], appDomain: "acme.workers.dev" });
  expect(hosts["hello.acme.workers.dev"]).toEqual(routeTo("hello", ["v1", 100]));
});

test("a version at 0 % is in the table, for those who ask for it", () => {
  const { hosts, targets } = build({ desired: [deployed(worker("hello"), ["v1", 100], ["v2", 0])] });
  expect(hosts["hello.apps.test"]).toEqual(routeTo("hello", ["v1", 100], ["v2", 0]));
  expect(Object.keys(targets)).toEqual(["v1", "v2"]);
});

test("a new deployment waits until all its versions are ready, on every address of the Worker", () => {
  const zones = {
    routes: [{ zone: "a.test", scheme: undefined, host: "a.test", path: "/*", workerId: "hello" }],
    domains: [{ hostname: "www.a.test", workerId: "hello" }],
  };
  const previous = build({ desired: [deployed(worker("hello"), ["v1", 100])], zones });
  const desired = [deployed(worker("hello"), ["v1", 50], ["v2", 50])];
  const waiting = build({
    desired,
    zones,
    previous,
    targetOf: (id) => ({ sockets: id === "v1" ? ["/run/v1.sock"] : [] }),
  });
  const old = routeTo("hello", ["v1", 100]);
  expect(waiting.hosts).toMatchObject({ "hello.apps.test": old, "www.a.test": old });
  expect(waiting.patterns).toMatchObject([{ route: old }]);
  expect(waiting.services["anna/hello"]).toEqual(old);
  const ready = build({ desired, zones, previous });
  expect(ready.patterns).toMatchObject([{ route: routeTo("hello", ["v1", 50], ["v2", 50]) }]);
});

test("a new version that never serves leaves the old one where it is, asleep or waking too", () => {
  const previous = build({ desired: [deployed(worker("hello"), ["v1", 100])] });
  const desired = [deployed(worker("hello"), ["v2", 100])];
  const failing = { sockets: [], down: "exited with code 1" };
  const [old, wanted] = [routeTo("hello", ["v1", 100]), routeTo("hello", ["v2", 100])];
  const cases: [FrontTarget, typeof old][] = [
    [{ sockets: ["/run/v1.sock"] }, old],
    [{ sockets: [], asleep: true }, old],
    [{ sockets: [] }, old],
    // Neither serves: the page is about what was deployed.
    [failing, wanted],
  ];
  for (const [v1, route] of cases) {
    const table = build({ desired, previous, targetOf: (id) => (id === "v1" ? v1 : failing) });
    expect(table.services["anna/hello"], JSON.stringify(v1)).toEqual(route);
    expect(table.hosts["hello.apps.test"], JSON.stringify(v1)).toEqual(route);
  }
});

test("routes carry their zone and scheme; without a deployed Worker they lead to none", () => {
  const { patterns } = build({
    desired: [deployed(worker("hello"), ["v1", 100])],
    zones: {
      routes: [
        { zone: "a.test", scheme: "https", host: "*.a.test", path: "/*", workerId: "hello" },
        { zone: "a.test", scheme: undefined, host: "a.test", path: "/no", workerId: null },
        { zone: "a.test", scheme: undefined, host: "a.test", path: "/draft", workerId: "draft" },
      ],
      domains: [{ hostname: "x.a.test", workerId: "draft" }],
    },
  });
  expect(patterns).toEqual([
    { zone: "a.test", scheme: "https", host: "*.a.test", path: "/*", route: routeTo("hello", ["v1", 100]) },
    { zone: "a.test", host: "a.test", path: "/no", route: null },
    { zone: "a.test", host: "a.test", path: "/draft", route: null },
  ]);
});

test("every pattern that a zone takes is one that the ingress takes", () => {
  const patterns = [
    "*/*",
    "a.test",
    "*a.test/x*",
    "*.a.test/",
    "*-b.a.test/*",
    "*b_c.a.test/ü/%20*",
    "http://a.test/[x]'()*",
  ];
  const routes = patterns.map((pattern) => ({ zone: "a.test", workerId: null, ...parsePattern(pattern, "a.test") }));
  expect(build({ zones: { routes, domains: [] } }).patterns).toHaveLength(patterns.length);
});

test("a preview is a host of its own; it shares the process of a version that is deployed", () => {
  const hello = worker("hello");
  const { hosts, targets } = build({
    desired: [deployed(hello, ["v1", 100])],
    previews: [
      { host: "aaaaaaaa-hello.apps.test", worker: hello, version: version("v1") },
      { host: "beta-hello.apps.test", worker: hello, version: version("v2") },
    ],
  });
  expect(hosts).toMatchObject({
    "aaaaaaaa-hello.apps.test": routeTo("hello", ["v1", 100]),
    "beta-hello.apps.test": routeTo("hello", ["v2", 100]),
  });
  expect(Object.keys(targets)).toEqual(["v1", "v2"]);
});

test("nothing stands before a Worker's own host and the console", () => {
  const hello = worker("hello");
  const { hosts } = build({
    desired: [deployed(hello, ["v1", 100]), deployed(worker("b-hello"), ["v3", 100])],
    previews: [{ host: "b-hello.apps.test", worker: hello, version: version("v2") }],
    zones: { routes: [], domains: [{ hostname: "console.test", workerId: "hello" }] },
  });
  expect(hosts["b-hello.apps.test"]).toEqual(routeTo("b-hello", ["v3", 100]));
  expect(hosts["console.test"]).toEqual({ kind: "console" });
});
