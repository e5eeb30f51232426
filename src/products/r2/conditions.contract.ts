import { beforeEach, expect, test } from "vitest";
import { bytesOf, codeOf, streamed, type ContractContext } from "#products/r2/harness.contract.ts";
import type { Bytes, R2Store } from "#products/r2/store.ts";

/** What every store does with conditions. */
export function conditionsContract(context: () => ContractContext): void {
  let store: R2Store;
  let bucket: string;
  beforeEach(() => ({ store, bucket } = context()));
  const put = (key: string, text = key) => store.put(bucket, key, Buffer.from(text));
  const textOf = async (key: string) => (await bytesOf(await store.get(bucket, key)))?.toString();

  const strong = (value: string) => [{ type: "strong" as const, value }];
  const weak = (value: string) => [{ type: "weak" as const, value }];
  const any = [{ type: "wildcard" as const }];

  test("decide whether get brings bytes", async () => {
    const { etag, uploaded } = await put("k");
    const cases = [
      [true, { etagMatches: strong(etag) }],
      [true, { etagMatches: any }],
      [false, { etagMatches: strong("x") }],
      [false, { etagMatches: weak(etag) }],
      [true, { etagMatches: [...strong("x"), ...strong(etag)] }],
      [false, { etagDoesNotMatch: strong(etag) }],
      [false, { etagDoesNotMatch: weak(etag) }],
      [false, { etagDoesNotMatch: any }],
      [true, { etagDoesNotMatch: strong("x") }],
      [true, { uploadedBefore: uploaded + 1 }],
      [false, { uploadedBefore: uploaded }],
      [true, { uploadedAfter: uploaded - 1 }],
      [false, { uploadedAfter: uploaded }],
      [true, { uploadedBefore: uploaded + 1000, secondsGranularity: true }],
      [false, { uploadedBefore: uploaded - (uploaded % 1000) + 999, secondsGranularity: true }],
      [false, { uploadedAfter: uploaded - (uploaded % 1000), secondsGranularity: true }],
      [true, { uploadedAfter: uploaded - 1000, secondsGranularity: true }],
      // A tag that holds makes the date beside it irrelevant, RFC 9110 §13.1.
      [true, { etagMatches: strong(etag), uploadedBefore: uploaded - 1000 }],
      [true, { etagDoesNotMatch: strong("x"), uploadedAfter: uploaded + 1000 }],
      [false, { etagMatches: strong("x"), uploadedBefore: uploaded + 1000 }],
      [false, { etagMatches: strong(etag), etagDoesNotMatch: strong(etag) }],
    ] as const;
    for (const [holds, onlyIf] of cases) {
      const found = await store.get(bucket, "k", { onlyIf: structuredClone(onlyIf) as object });
      expect([onlyIf, found?.object.etag, found?.content !== undefined]).toEqual([onlyIf, etag, holds]);
    }
    expect(await store.get(bucket, "none", { onlyIf: { etagMatches: any } })).toBeUndefined();
  });

  test("decide whether put writes", async () => {
    const attempt = (key: string, onlyIf: object, body: Bytes = Buffer.from("new")) =>
      codeOf(store.put(bucket, key, body, { onlyIf }));
    const { etag } = await put("k", "old");
    expect(await attempt("k", { etagDoesNotMatch: any })).toBe(10031);
    expect(await attempt("k", { etagMatches: strong("x") }, streamed(Buffer.alloc(200_000)))).toBe(10031);
    expect(await textOf("k")).toBe("old");
    expect(await attempt("k", { etagMatches: strong(etag) })).toBe("no error");
    expect(await textOf("k")).toBe("new");
    expect(await attempt("none", { etagMatches: any })).toBe(10031);
    expect(await attempt("none", { uploadedAfter: 0 })).toBe(10031);
    expect(await attempt("none", { uploadedBefore: 0 })).toBe("no error");
    expect(await attempt("none2", { etagDoesNotMatch: any })).toBe("no error");
  });

  test("let exactly one of many create a key, or replace a version", async () => {
    const race = async (name: string, onlyIf: object) => {
      const codes = await Promise.all(
        Array.from({ length: 32 }, (_, n) =>
          codeOf(store.put(bucket, "k", Buffer.from(`${name} ${n}`.padEnd(n % 4 ? 10 : 100_000)), { onlyIf })),
        ),
      );
      return codes.filter((code) => code !== 10031);
    };
    expect(await race("create", { etagDoesNotMatch: any })).toEqual(["no error"]);
    const { etag } = (await store.head(bucket, "k")) ?? { etag: "" };
    expect(await race("replace", { etagMatches: strong(etag) })).toEqual(["no error"]);
  });
}
