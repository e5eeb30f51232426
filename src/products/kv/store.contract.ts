import { setImmediate } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bulkContract } from "#products/kv/bulk.contract.ts";
import { expiryContract } from "#products/kv/expiry.contract.ts";
import { keysContract } from "#products/kv/keys.contract.ts";
import { namespacesContract } from "#products/kv/namespaces.contract.ts";
import type { KvStore } from "#products/kv/store.ts";
import { KvSuite } from "#products/kv/suite.contract.ts";
import { valuesContract } from "#products/kv/values.contract.ts";

/** What every KvStore does. `open` makes an empty one whose clock is `now`, in milliseconds. */
export function kvStoreContract(
  name: string,
  open: (now: () => number) => Promise<{ store: KvStore; close: () => Promise<void> }>,
): void {
  describe(name, () => {
    const kv = new KvSuite();
    beforeAll(async () => kv.open(open));
    afterAll(async () => kv.close());
    kv.freshForEachTest();

    namespacesContract(kv);
    valuesContract(kv);
    keysContract(kv);
    expiryContract(kv);
    bulkContract(kv);

    test("a write that was answered is seen by the next read, under load", async () => {
      await Promise.all(
        Array.from({ length: 40 }, async (_, writer) => {
          for (let n = 0; n < 10; n++) {
            await kv.put(`w${writer}`, String(n));
            await setImmediate();
            expect(await kv.text(`w${writer}`)).toBe(String(n));
          }
        }),
      );
    });
  });
}
