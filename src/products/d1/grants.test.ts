import { expect, test } from "vitest";
import { signCapability } from "#core/capability.ts";
import { grantReader } from "#products/d1/grants.ts";

const key = Buffer.alloc(32, 1);
const capability = { kind: "d1", scope: "worker", resource: "a:b/ü" };

test("a capability made with the key is read, again and again", async () => {
  const read = grantReader(key.toString("hex"));
  const token = signCapability(key, capability);
  expect(await read(token)).toEqual({ kind: "d1", database: "a:b/ü" });
  expect(read(token)).toEqual({ kind: "d1", database: "a:b/ü" });
});

test.each([
  ["another key", signCapability(Buffer.alloc(32, 2), capability)],
  ["another kind", signCapability(key, capability).replace("d1:", "d1-admin:")],
  ["another Worker", signCapability(key, capability).replace("worker", "other")],
  ["another database", signCapability(key, capability).replace("a%3Ab", "a%3Ac")],
  ["a shorter MAC", signCapability(key, capability).slice(0, -1)],
  ["more parts", `${signCapability(key, capability)}:`],
  ["broken encoding", "d1:w:%E0%A4%A:x"],
  ["nothing", ""],
])("%s is refused", async (_, token) => {
  expect(await grantReader(key.toString("hex"))(token)).toBeUndefined();
});
