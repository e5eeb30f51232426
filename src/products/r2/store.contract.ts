import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe } from "vitest";
import { bucketsContract } from "#products/r2/buckets.contract.ts";
import { conditionsContract } from "#products/r2/conditions.contract.ts";
import type { ContractContext } from "#products/r2/harness.contract.ts";
import { listsContract } from "#products/r2/lists.contract.ts";
import { objectsContract } from "#products/r2/objects.contract.ts";
import type { R2Store } from "#products/r2/store.ts";
import { uploadsContract } from "#products/r2/uploads.contract.ts";

/** What every R2 store does, however it keeps its bytes. */
export function r2StoreContract(open: () => Promise<{ store: R2Store; close: () => Promise<void> }>): void {
  let opened: Awaited<ReturnType<typeof open>>;
  let context: ContractContext;
  beforeAll(async () => {
    opened = await open();
  });
  afterAll(() => opened.close());
  beforeEach(async () => {
    const { store } = opened;
    const ref = { accountId: randomUUID(), name: "my-bucket", jurisdiction: "default" } as const;
    context = { store, ref, bucket: (await store.createBucket(ref)).id };
  });
  describe("buckets", () => bucketsContract(() => context));
  describe("objects", () => objectsContract(() => context));
  describe("conditions", () => conditionsContract(() => context));
  describe("lists", () => listsContract(() => context));
  describe("multipart uploads", () => uploadsContract(() => context));
}
