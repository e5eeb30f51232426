import { afterAll, beforeAll, expect, test } from "vitest";
import { Solum } from "../support/start-solum.ts";

/** Query builders that people use on D1, in a Worker that wrangler has bundled and deployed. */
let solum: Solum;
let project: string;
beforeAll(async () => {
  solum = await Solum.start();
  project = solum.project("orms");
  const deployed = await solum.wrangler(project, ["deploy"]);
  expect(deployed.code, deployed.output).toBe(0);
  const applied = await solum.wrangler(project, ["d1", "migrations", "apply", "DB", "--remote"]);
  expect(applied.code, applied.output).toBe(0);
});
afterAll(() => solum[Symbol.asyncDispose]());

const get = async (path: string) => {
  const { status, text } = await solum.request("orms.localhost", path);
  expect(status, text).toBe(200);
  return JSON.parse(text) as unknown;
};

test("drizzle-orm: a migration of drizzle-kit's form, queries, relations, upserts and batches", async () => {
  expect(await get("/drizzle")).toEqual({
    theme: "light",
    isDate: true,
    inserted: [{ title: "two" }],
    counted: [{ n: 2 }],
    failing: "UNIQUE constraint failed: users.email: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)",
    related: {
      settings: { theme: "upserted" },
      posts: [
        { title: "one", published: true },
        { title: "two", published: false },
      ],
    },
    foreignKey: "D1_ERROR: FOREIGN KEY constraint failed: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_FOREIGNKEY)",
    found: [{ title: "two" }],
    left: 0,
  });
});

test("Kysely: queries, counts and joins; transactions are refused by its dialect", async () => {
  expect(await get("/kysely")).toEqual({
    settings: '{"theme":"dark; \\"quoted\\""}',
    inserted: 3,
    hasInsertId: true,
    updated: 2,
    joined: [
      { title: "post 1", email: "ben@example.com", loud: "BEN@EXAMPLE.COM" },
      { title: "post 3", email: "ben@example.com", loud: "BEN@EXAMPLE.COM" },
    ],
    transaction: "Transactions are not supported yet.",
    tables: expect.any(Array) as string[],
  });
});
