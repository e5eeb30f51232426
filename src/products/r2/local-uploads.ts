import { randomBytes } from "node:crypto";
import { newHexId } from "#core/ids.ts";
import { writeBlob } from "#products/r2/blob-write.ts";
import { piecesOf } from "#products/r2/body.ts";
import { newCustomerKeyRecord, openCustomerKey, recordText } from "#products/r2/customer-key.ts";
import { digestsToMake } from "#products/r2/digests.ts";
import { r2Errors } from "#products/r2/errors.ts";
import { checker, kept, made, settled } from "#products/r2/local-objects.ts";
import * as reads from "#products/r2/reads.ts";
import { readParts, readUpload, readUploads } from "#products/r2/reads-uploads.ts";
import { checkKey, checkObjectOptions } from "#products/r2/rules.ts";
import {
  limits,
  type ObjectHead,
  type PartHead,
  type PartList,
  type PartOptions,
  type UploadedPart,
  type UploadList,
  type UploadListOptions,
  type UploadOptions,
} from "#products/r2/schema.ts";
import type { BodyHooks, LocalParts } from "#products/r2/local-parts.ts";
import type { Bytes, CompleteOptions, ObjectRef, UploadRef } from "#products/r2/store.ts";
import * as writes from "#products/r2/writes-uploads.ts";

/** Multipart uploads. */
export class LocalUploads {
  readonly #parts: LocalParts;

  constructor(parts: LocalParts) {
    this.#parts = parts;
  }

  async create({ bucketId, key }: ObjectRef, options: UploadOptions = {}): Promise<string> {
    checkKey(key);
    checkObjectOptions(options);
    const { checksum, customerKey } = options;
    const uploadId = randomBytes(48).toString("base64url");
    await this.#parts.db.write(writes.createUpload, {
      bucketId,
      key,
      uploadId,
      http: reads.metadataText(options.httpMetadata),
      custom: reads.metadataText(options.customMetadata),
      storageClass: options.storageClass,
      ssec: recordText(customerKey === undefined ? undefined : newCustomerKeyRecord(customerKey)),
      checksum: checksum ? JSON.stringify(checksum) : "",
      now: this.#parts.now(),
    });
    return uploadId;
  }

  async putPart(
    ref: UploadRef,
    part: number,
    body: Bytes,
    options: PartOptions = {},
    hooks: BodyHooks = {},
  ): Promise<PartHead> {
    checkKey(ref.key);
    if (!(Number.isInteger(part) && part >= 1 && part <= limits.parts)) throw r2Errors.partNumber();
    const { db, folder, now } = this.#parts;
    const upload = readUpload(db, ref);
    if (!upload.keyRecord && options.customerKey !== undefined) throw r2Errors.customerKeyUnneeded();
    const key = upload.keyRecord && openCustomerKey(upload.keyRecord, options.customerKey);
    // Whatever checksum the upload was begun with is made of every part, whether its sender gave one or not.
    const asked = {
      ...options,
      digests: [...(options.digests ?? []), ...(upload.checksum ? [upload.checksum.algorithm] : [])],
    };
    const { blob, checksums } = await writeBlob(this.#parts, piecesOf(body), {
      digests: digestsToMake(options.checksums, made(asked.digests, hooks)),
      check: checker(options, hooks),
      key,
    });
    return settled(this.#parts, blob.file, true, async () => {
      const { md5: etag = "", ...others } = kept(checksums, asked, hooks);
      const uploaded = now();
      const args = { ref, part, etag, checksums: reads.metadataText(others), blob, now: uploaded };
      const { removed } = await db.write(writes.putPart, args);
      folder.remove(removed);
      return { part, etag, size: blob.size, uploaded, checksums: others };
    });
  }

  async complete(ref: UploadRef, parts: readonly UploadedPart[], options: CompleteOptions = {}): Promise<ObjectHead> {
    checkKey(ref.key);
    if (parts.length > limits.parts) throw r2Errors.noSuchPart();
    const { db, folder, now } = this.#parts;
    const [version, uploaded] = [newHexId(), now()];
    const done = await db.write(writes.completeUpload, {
      ref,
      parts: [...parts],
      version,
      now: uploaded,
      onlyIf: options.onlyIf,
      checksums: options.checksums,
    });
    folder.remove(done.removed);
    const { size, etag, storageClass, http, custom, ssec } = done;
    const checksums = reads.metadataText(done.checksums);
    return reads.headOf({ key: ref.key, version, size, etag, uploaded, storageClass, http, custom, checksums, ssec });
  }

  listParts(ref: UploadRef, page: { after: number; limit: number }): PartList {
    checkKey(ref.key);
    return readParts(this.#parts.db, ref, page);
  }

  list(bucketId: string, options: UploadListOptions): UploadList {
    const found = readUploads(this.#parts.db, bucketId, options);
    if (found.uploads.length === 0) reads.requireBucket(this.#parts.db, bucketId);
    return found;
  }
}
