import { link } from "node:fs/promises";
import { crc32 } from "node:zlib";
import { systemCode } from "#core/errors.ts";
import { newHexId } from "#core/ids.ts";
import { exactBytes } from "#db/database.ts";
import { readAtOnce, readExtents, type Extent } from "#products/r2/blob-read.ts";
import { writeBlob } from "#products/r2/blob-write.ts";
import { heldBody, upToInline } from "#products/r2/body.ts";
import { newCustomerKeyRecord, openCustomerKey, recordText } from "#products/r2/customer-key.ts";
import { compareDigests, digestsOf, digestsToMake } from "#products/r2/digests.ts";
import { r2Errors } from "#products/r2/errors.ts";
import * as reads from "#products/r2/reads.ts";
import { checkKey, checkObjectOptions, holds, resolveRange } from "#products/r2/rules.ts";
import type {
  ByteRange,
  Checksums,
  CopyOptions,
  DigestAlgorithm,
  GetOptions,
  ObjectHead,
  PutOptions,
} from "#products/r2/schema.ts";
import type { BodyHooks, LocalParts } from "#products/r2/local-parts.ts";
import type { Bytes, GetResult, ObjectRef } from "#products/r2/store.ts";
import * as writes from "#products/r2/writes-objects.ts";

/** Gets and puts of whole objects. */
export class LocalObjects {
  readonly #parts: LocalParts;

  constructor(parts: LocalParts) {
    this.#parts = parts;
  }

  head(bucketId: string, key: string): ObjectHead | undefined {
    checkKey(key);
    const object = reads.readHead(this.#parts.db, bucketId, key);
    if (!object) reads.requireBucket(this.#parts.db, bucketId);
    return object;
  }

  async get(bucketId: string, key: string, options: GetOptions = {}): Promise<GetResult | undefined> {
    checkKey(key);
    const { db } = this.#parts;
    for (;;) {
      const found = reads.readObject(db, bucketId, key);
      if (!found) {
        reads.requireBucket(db, bucketId);
        return undefined;
      }
      const { object, inline, keyRecord } = found;
      if (!keyRecord && options.customerKey !== undefined) throw r2Errors.customerKeyUnneeded();
      const fileKey = keyRecord && openCustomerKey(keyRecord, options.customerKey);
      if (options.onlyIf && !holds(options.onlyIf, object)) return { object, content: undefined };
      const range = resolveRange(options.range, object.size) ?? { offset: 0, length: object.size };
      if (inline) {
        const bytes = inline.subarray(range.offset, range.offset + range.length);
        return { object, content: { range, bytes } };
      }
      if (range.length === 0) return { object, content: { range, bytes: new Uint8Array(0) } };
      const extents = reads.readExtentRows(db, object.version, range);
      if (extents) return { object, content: { range, bytes: await this.#open(extents, range, fileKey) } };
      // Replaced between the two reads: the next look sees what replaced it.
      if (reads.readHead(db, bucketId, key)?.version === object.version) throw reads.incomplete(object);
    }
  }

  /** Nothing of `extents` is removed before the bytes were read or given up. */
  async #open(extents: Extent[], range: ByteRange, key: Buffer | undefined): Promise<Bytes> {
    const { folder } = this.#parts;
    const source = { folder, extents, key };
    const atOnce = readAtOnce(source, range);
    if (atOnce) return atOnce;
    const release = folder.hold(extents.map(({ file }) => file));
    return heldBody(readExtents(source, range), release);
  }

  async put(ref: ObjectRef, body: Bytes, options: PutOptions = {}, hooks: BodyHooks = {}): Promise<ObjectHead> {
    checkKey(ref.key);
    checkObjectOptions(options);
    const record = options.customerKey === undefined ? undefined : newCustomerKeyRecord(options.customerKey);
    const content = await upToInline(body);
    const [digests, check] = [digestsToMake(options.checksums, made(options.digests, hooks)), checker(options, hooks)];
    // What is encrypted is always in files: the database holds only what it can check by itself.
    if (content instanceof Uint8Array && !record) {
      const checksums = digestsOf(content, digests);
      check(checksums);
      const data = { kind: "inline", bytes: exactBytes(content), crc: crc32(content) } as const;
      return this.#putObject(ref, { size: content.length, checksums: kept(checksums, options, hooks), data }, options);
    }
    this.#checkEarly(ref, options);
    const pieces = content instanceof Uint8Array ? one(content) : content;
    const key = record && openCustomerKey(record, options.customerKey);
    const { blob, checksums } = await writeBlob(this.#parts, pieces, { digests, check, key });
    const data = { kind: "files" as const, blobs: blob.size > 0 ? [blob] : [] };
    return settled(this.#parts, blob.file, blob.size > 0, () =>
      this.#putObject(
        ref,
        { size: blob.size, checksums: kept(checksums, options, hooks), data, ssec: recordText(record) },
        options,
      ),
    );
  }

  /** Spares the disk a large body that would be refused anyway. The transaction decides for those that pass. */
  #checkEarly({ bucketId, key }: ObjectRef, { onlyIf }: PutOptions): void {
    reads.requireBucket(this.#parts.db, bucketId);
    if (onlyIf && !holds(onlyIf, reads.readHead(this.#parts.db, bucketId, key))) throw r2Errors.precondition();
  }

  async #putObject(
    { bucketId, key }: ObjectRef,
    given: Pick<writes.NewObject, "size" | "data"> & { checksums: Checksums; ssec?: string },
    { onlyIf, ...options }: PutOptions,
  ): Promise<ObjectHead> {
    const { db, folder, now } = this.#parts;
    const { md5: etag = "", ...others } = given.checksums;
    const object = {
      ...given,
      ...textsOf(options),
      bucketId,
      key,
      version: newHexId(),
      etag,
      uploaded: now(),
      checksums: reads.metadataText(others),
      ssec: given.ssec ?? "",
      storageClass: options.storageClass,
    };
    const { storageClass, removed } = await db.write(writes.putObject, { object, onlyIf });
    folder.remove(removed);
    return reads.headOf({ ...object, storageClass });
  }

  /** Files get a second name rather than a copy, unless they are encrypted or the file system has no such thing. */
  async copy(from: ObjectRef, to: ObjectRef, options: CopyOptions = {}): Promise<ObjectHead> {
    checkKey(to.key);
    checkObjectOptions(options);
    const object = this.head(from.bucketId, from.key);
    if (!object) throw r2Errors.noSuchKey();
    if (options.sourceOnlyIf && !holds(options.sourceOnlyIf, object)) throw r2Errors.precondition();
    const encrypted = object.customerKeyMd5 !== undefined || options.customerKey !== undefined;
    const linked = encrypted ? undefined : await this.#link(object);
    if (!linked) return this.#copyBytes(from, to, object, options);
    const { db, folder, now } = this.#parts;
    let done = false;
    try {
      const { key, bucketId } = to;
      const { md5: _, ...others } = object.checksums;
      const composite = object.compositeChecksum;
      const copy = {
        ...textsOf({ ...object, ...options }),
        bucketId,
        key,
        version: newHexId(),
        size: object.size,
        etag: object.etag,
        uploaded: now(),
        checksums: reads.metadataText(composite ? { ...others, composite } : others),
        ssec: "",
        storageClass: options.storageClass,
      };
      const { storageClass, removed } = await db.write(writes.copyObject, {
        from: { ...from, version: object.version },
        files: linked,
        object: copy,
        onlyIf: options.onlyIf,
      });
      done = true;
      folder.remove(removed);
      return reads.headOf({ ...copy, storageClass });
    } finally {
      for (const file of linked) folder.settle(file, done);
    }
  }

  /** New names for an object's files, durable; undefined when there can be none. */
  async #link(object: ObjectHead): Promise<string[] | undefined> {
    const { db, folder } = this.#parts;
    const extents = object.size === 0 ? [] : (reads.readExtentRows(db, object.version, wholeOf(object)) ?? []);
    const release = folder.hold(extents.map(({ file }) => file));
    const files: string[] = [];
    try {
      for (const extent of extents) {
        const file = folder.reserve();
        files.push(file);
        await link(folder.pathOf(extent.file), folder.temporaryPathOf(file));
        await folder.publish(file);
      }
      return files;
    } catch (error) {
      for (const file of files) folder.settle(file, false);
      const code = systemCode(error);
      if (code === "EPERM" || code === "ENOTSUP" || code === "ENOSYS" || code === "EMLINK") return undefined;
      throw code === "ENOSPC" ? r2Errors.storageFull(error) : error;
    } finally {
      release();
    }
  }

  async #copyBytes(from: ObjectRef, to: ObjectRef, object: ObjectHead, options: CopyOptions): Promise<ObjectHead> {
    const { sourceOnlyIf, sourceCustomerKey, ...rest } = options;
    const found = await this.get(from.bucketId, from.key, {
      ...(sourceOnlyIf && { onlyIf: sourceOnlyIf }),
      ...(sourceCustomerKey !== undefined && { customerKey: sourceCustomerKey }),
    });
    if (!found) throw r2Errors.noSuchKey();
    if (!found.content) throw r2Errors.precondition();
    const { httpMetadata, customMetadata } = found.object;
    const digests = Object.keys(object.checksums) as DigestAlgorithm[];
    return this.put(to, found.content.bytes, { httpMetadata, customMetadata, digests, ...rest });
  }
}

/** What `write` does to the rows decides about the file, which `wanted` says has a row at all. */
export async function settled<T>(
  { folder }: LocalParts,
  file: string,
  wanted: boolean,
  write: () => Promise<T>,
): Promise<T> {
  let done = false;
  try {
    const result = await write();
    done = true;
    return result;
  } finally {
    folder.settle(file, done && wanted);
  }
}

export function made(asked: readonly DigestAlgorithm[] | undefined, hooks: BodyHooks): DigestAlgorithm[] {
  return [...(asked ?? []), ...(hooks.checkedOnly ?? [])];
}

/** Compares with what was given, then lets the caller look. */
export function checker(options: { checksums?: Checksums }, hooks: BodyHooks): (found: Checksums) => void {
  return (found) => {
    compareDigests(options.checksums, found);
    hooks.check?.(found);
  };
}

/** Without the checksums that were made only to be looked at. */
export function kept(
  found: Checksums,
  { checksums = {}, digests = [] }: { checksums?: Checksums; digests?: readonly DigestAlgorithm[] },
  { checkedOnly = [] }: BodyHooks,
): Checksums {
  const rest = { ...found };
  for (const algorithm of checkedOnly) {
    if (algorithm !== "md5" && checksums[algorithm] === undefined && !digests.includes(algorithm))
      delete rest[algorithm];
  }
  return rest;
}

function textsOf({ httpMetadata, customMetadata }: Pick<PutOptions, "httpMetadata" | "customMetadata">) {
  return { http: reads.metadataText(httpMetadata), custom: reads.metadataText(customMetadata) };
}

function wholeOf({ size }: ObjectHead): ByteRange {
  return { offset: 0, length: size };
}

// oxlint-disable-next-line require-await -- An async generator is what makes these bytes a stream.
async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  yield bytes;
}
