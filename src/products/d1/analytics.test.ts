import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openDatabase, type Database } from "#db/database.ts";
import { answerGraphql } from "#http/analytics.ts";
import { createApi, type Api } from "#http/app.ts";
import { requireToken } from "#http/auth.ts";
import { d1Analytics } from "#products/d1/analytics.ts";
import { d1Hosts } from "#products/d1/host-client.ts";
import { d1Store, type D1Store } from "#products/d1/store.ts";
import { startD1Host, testFolders, testKey, type TestProcess } from "../../../test/support/d1-host.ts";

const account = "a".repeat(32);
const folders = testFolders();
const hosts = d1Hosts({ socketOf: folders.runtime.d1Host, capabilityKey: testKey, scope: "control" });
let host: TestProcess;
let db: Database;
let store: D1Store;
let app: Api;

beforeAll(async () => {
  host = await startD1Host(folders);
  db = await openDatabase(join(folders.root, "control.db"), ["d1"]);
  store = d1Store(db, hosts, 1);
  app = createApi();
  app.use(
    "*",
    requireToken(async () => ({ tokenId: "t", accountIds: [account], email: "x@localhost" })),
  );
  app.post("/graphql", answerGraphql(d1Analytics(db, hosts).datasets));
});
afterAll(async () => {
  hosts.close();
  await db.close();
  await host.kill();
  folders.remove();
});

async function graphql(query: string, filter: object, of = account) {
  const response = await app.request("http://localhost/graphql", {
    method: "POST",
    headers: { authorization: "Bearer anna" },
    body: JSON.stringify({ query, variables: { accountTag: of, filter: { AND: [filter] } } }),
  });
  return (await response.json()) as {
    data: { viewer: { accounts: [Record<string, unknown[]>] } } | null;
    errors: unknown;
  };
}

test("what was run is counted, by database and hour and by its text", async () => {
  const { id: databaseId } = await store.create(account, { name: "counted" });
  const run = (sql: string, params: unknown[] = []) => store.queryObjects(account, databaseId, [{ sql, params }]);
  await run("CREATE TABLE t (x)");
  for (let n = 0; n < 10; n++) await run("INSERT INTO t VALUES (?)", [n]);
  for (let n = 0; n < 3; n++) await run("SELECT * FROM t WHERE x >= ?", [5]);
  const now = Date.now();
  const filter = {
    datetimeHour_geq: new Date(now - 86_400_000).toISOString(),
    datetimeHour_leq: new Date(now + 60_000).toISOString(),
    databaseId,
  };
  const overview = await graphql(
    `
      query q($accountTag: string, $filter: F) {
        viewer {
          accounts(filter: { accountTag: $accountTag }) {
            d1AnalyticsAdaptiveGroups(limit: 10000, filter: $filter) {
              sum {
                readQueries
                writeQueries
                rowsRead
                rowsWritten
              }
              dimensions {
                datetimeHour
              }
            }
          }
        }
      }
    `,
    filter,
  );
  const hours = overview.data?.viewer.accounts[0]["d1AnalyticsAdaptiveGroups"] as { sum: Record<string, number> }[];
  const total = (name: string) => hours.reduce((sum, hour) => sum + (hour.sum[name] ?? 0), 0);
  expect([total("readQueries"), total("writeQueries"), total("rowsRead")]).toEqual([3, 11, expect.any(Number)]);
  // Each SELECT reads ten rows and the end; the table takes two.
  expect(total("rowsRead")).toBeGreaterThanOrEqual(30);
  expect(total("rowsWritten")).toBeGreaterThanOrEqual(10);

  const top = await graphql(
    `
      query q($accountTag: string, $filter: F) {
        viewer {
          accounts(filter: { accountTag: $accountTag }) {
            top: d1QueriesAdaptiveGroups(limit: 2, filter: $filter, orderBy: [count_DESC]) {
              count
              avg {
                rowsReturned
              }
              dimensions {
                query
                databaseId
              }
            }
          }
        }
      }
    `,
    filter,
  );
  expect(top.data?.viewer.accounts[0]["top"]).toEqual([
    {
      count: 10,
      avg: { rowsReturned: 0 },
      dimensions: { query: "INSERT INTO t VALUES (?)", databaseId },
    },
    {
      count: 3,
      avg: { rowsReturned: 5 },
      dimensions: { query: "SELECT * FROM t WHERE x >= ?", databaseId },
    },
  ]);
});

test.each([
  [
    "{ viewer { accounts(filter: {accountTag: $accountTag}) { nothing { x } } } }",
    account,
    'unknown field "nothing" of account',
  ],
  [
    "{ viewer { accounts(filter: {accountTag: $accountTag}) { d1QueriesAdaptiveGroups { count } } } }",
    "c".repeat(32),
    "not authorized for that account",
  ],
  ["{ viewer { accounts(", account, "syntax error: unexpected end of the query"],
  ["{ viewer { ; } }", account, "syntax error: unexpected character at 11"],
  [`{ ${"a{".repeat(30)}`, account, "the query is too deep"],
])("the GraphQL query %j is answered with an error", async (query, of, message) => {
  expect(await graphql(query, {}, of)).toMatchObject({ data: null, errors: [{ message }] });
});
