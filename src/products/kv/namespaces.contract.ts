import { describe, expect, test } from "vitest";
import { failure, type KvSuite } from "#products/kv/suite.contract.ts";

/** Namespaces, and who may see them. */
export function namespacesContract(kv: KvSuite): void {
  describe("namespaces", () => {
    const by = { order: "title", direction: "asc", page: 1, perPage: 20 } as const;

    test("are made with an id of 32 hex digits, read, renamed and listed", async () => {
      const made = await kv.store.createNamespace(kv.account, "second");
      expect(made).toEqual({ id: expect.stringMatching(/^[0-9a-f]{32}$/), accountId: kv.account, title: "second" });
      expect(await kv.store.renameNamespace(kv.account, made.id, "a new name")).toEqual({
        ...made,
        title: "a new name",
      });
      expect(await kv.store.getNamespace(kv.account, made.id)).toEqual({ ...made, title: "a new name" });
      const { namespaces, total } = await kv.store.listNamespaces(kv.account, by);
      expect(namespaces.map(({ title }) => title)).toEqual(["a new name", "main"]);
      expect(total).toBe(2);
    });

    test("are strong until they are set to edge, and can be set back", async () => {
      expect(await kv.store.consistency(kv.space)).toBe("strong");
      await kv.store.setConsistency(kv.account, kv.space.namespaceId, "edge");
      expect(await kv.store.consistency(kv.space)).toBe("edge");
      await kv.store.setConsistency(kv.account, kv.space.namespaceId, "strong");
      expect(await kv.store.consistency({ boundNamespaceId: kv.space.namespaceId })).toBe("strong");
    });

    test("are listed in pages, either way, and a page past the end is empty", async () => {
      for (const title of ["d", "b", "c"]) await kv.store.createNamespace(kv.account, title);
      const page = async (query: object) =>
        (await kv.store.listNamespaces(kv.account, { ...by, ...query })).namespaces.map(({ title }) => title);
      expect(await page({ perPage: 2 })).toEqual(["b", "c"]);
      expect(await page({ perPage: 2, page: 2 })).toEqual(["d", "main"]);
      expect(await page({ perPage: 2, page: 3 })).toEqual([]);
      expect(await page({ direction: "desc", perPage: 1 })).toEqual(["main"]);
      const { namespaces } = await kv.store.listNamespaces(kv.account, { ...by, order: "id" });
      const ids = namespaces.map(({ id }) => id);
      expect(ids).toEqual(ids.toSorted());
    });

    test("have titles that are unique in an account, and free in another", async () => {
      await expect(kv.store.createNamespace(kv.account, "main")).rejects.toThrow(failure(400, 10014));
      const { id } = await kv.store.createNamespace(kv.account, "other");
      await expect(kv.store.renameNamespace(kv.account, id, "main")).rejects.toThrow(failure(400, 10014));
      expect(await kv.store.renameNamespace(kv.account, id, "other")).toMatchObject({ title: "other" });
      expect(await kv.store.createNamespace(kv.rival, "main")).toMatchObject({ accountId: kv.rival });
    });

    test("need a title of a length that fits", async () => {
      await expect(kv.store.createNamespace(kv.account, "")).rejects.toThrow(failure(400, 10019));
      await expect(kv.store.createNamespace(kv.account, "x".repeat(513))).rejects.toThrow(failure(400, 10010));
      await kv.store.createNamespace(kv.account, "x".repeat(512));
    });

    test("only one of fifty made at once gets the title", async () => {
      const made = await Promise.allSettled(
        Array.from({ length: 50 }, () => kv.store.createNamespace(kv.account, "race")),
      );
      expect(made.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    });

    test("of another account do not exist, whatever is asked", async () => {
      await kv.put("k", "v");
      const foreign = { accountId: kv.rival, namespaceId: kv.space.namespaceId };
      const nothing = { accountId: kv.rival, namespaceId: "0".repeat(32) };
      const attempts = (at: typeof foreign): (() => Promise<unknown>)[] => [
        () => kv.store.getNamespace(at.accountId, at.namespaceId),
        () => kv.store.renameNamespace(at.accountId, at.namespaceId, "mine"),
        () => kv.store.deleteNamespace(at.accountId, at.namespaceId),
        () => kv.store.consistency(at),
        () => kv.store.setConsistency(at.accountId, at.namespaceId, "edge"),
        () => kv.store.get(at, "k"),
        () => kv.store.getInfo(at, "k"),
        () => kv.store.getMany(at, ["k"]),
        () => kv.store.put(at, "k", { body: Buffer.from("x") }),
        () => kv.store.delete(at, "k"),
        () => kv.store.list(at, {}),
        () => kv.store.putMany(at, [{ key: "k", value: Buffer.from("x") }]),
        () => kv.store.deleteMany(at, ["k"]),
      ];
      for (const attempt of [...attempts(foreign), ...attempts(nothing)])
        await expect(attempt()).rejects.toThrow(failure(404, 10013));
      expect(await kv.text("k")).toBe("v");
      expect(await kv.store.listNamespaces(kv.rival, by)).toEqual({ namespaces: [], total: 0 });
    });

    test("are reached by a binding without their account", async () => {
      const bound = { boundNamespaceId: kv.space.namespaceId };
      await kv.store.put(bound, "k", { body: Buffer.from("v") });
      expect(await kv.text("k", bound)).toBe("v");
      expect(await kv.text("k")).toBe("v");
      await expect(kv.store.get({ boundNamespaceId: "0".repeat(32) }, "k")).rejects.toThrow(failure(404, 10013));
    });

    test("are gone at once when deleted, with their keys, and the title is free", async () => {
      await kv.put("k", "v");
      await kv.store.deleteNamespace(kv.account, kv.space.namespaceId);
      await expect(kv.store.get(kv.space, "k")).rejects.toThrow(failure(404, 10013));
      await expect(kv.put("k", "v")).rejects.toThrow(failure(404, 10013));
      await expect(kv.store.deleteNamespace(kv.account, kv.space.namespaceId)).rejects.toThrow(failure(404, 10013));
      const { id } = await kv.store.createNamespace(kv.account, "main");
      expect(await kv.store.get({ accountId: kv.account, namespaceId: id }, "k")).toBeUndefined();
    });
  });
}
