import { buffer } from "node:stream/consumers";
import { beforeEach, expect } from "vitest";
import { ApiError } from "#core/errors.ts";
import { newHexId } from "#core/ids.ts";
import type { KvBytes, KvPair, KvSpace, KvStore } from "#products/kv/store.ts";

/** When every test begins, in seconds since 1970. */
export const start = 1_800_000_000;

type Opened = { store: KvStore; close: () => Promise<void> };

/** The store under test, shared by the tests of a suite, and what each of them has for itself. */
export class KvSuite {
  /** The store's clock; a test moves it as it likes. */
  seconds = start;
  account = "";
  rival = "";
  /** A namespace of `account`, empty at first. */
  space: { accountId: string; namespaceId: string } = { accountId: "", namespaceId: "" };
  #opened: Opened | undefined;

  get store(): KvStore {
    if (!this.#opened) throw new Error("the store is not open");
    return this.#opened.store;
  }

  async open(open: (now: () => number) => Promise<Opened>): Promise<void> {
    this.#opened = await open(() => this.seconds * 1000);
  }

  async close(): Promise<void> {
    await this.#opened?.close();
  }

  /** To be called once in a suite. */
  freshForEachTest(): void {
    beforeEach(async () => {
      this.seconds = start;
      this.account = newHexId();
      this.rival = newHexId();
      const { id } = await this.store.createNamespace(this.account, "main");
      this.space = { accountId: this.account, namespaceId: id };
    });
  }

  async put(key: string, value: string, options: { expirationTtl?: string; metadata?: string } = {}): Promise<void> {
    await this.store.put(this.space, key, { body: Buffer.from(value), ...options });
  }

  async text(key: string, space: KvSpace = this.space): Promise<string | undefined> {
    const value = await this.store.get(space, key);
    return value && (await bytesOf(value.body)).toString();
  }

  async names(query: Parameters<KvStore["list"]>[1] = {}): Promise<string[]> {
    return (await this.store.list(this.space, query)).keys.map((key) => key.name);
  }
}

/** Matches an ApiError with this status and code, and this text if one is given. */
export function failure(status: number, code: number, message?: string | RegExp): Error {
  return expect.toSatisfy(
    (error: unknown) =>
      error instanceof ApiError &&
      error.status === status &&
      error.code === code &&
      (message === undefined ||
        (typeof message === "string" ? error.message === message : message.test(error.message))),
    `a refusal with ${status}, ${code}${message === undefined ? "" : ` and ${String(message)}`}`,
  ) as Error;
}

export async function bytesOf(body: KvBytes | undefined): Promise<Buffer> {
  if (body === undefined) throw new Error("there is no value");
  return body instanceof Uint8Array ? Buffer.from(body) : buffer(body);
}

/** `size` bytes that differ from block to block. */
export function pattern(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; at += 1000) bytes.write(`${size}:${at};`, at);
  return bytes;
}

export async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

export function pairs(values: Record<string, string>): KvPair[] {
  return Object.entries(values).map(([key, value]) => ({ key, value: Buffer.from(value) }));
}
