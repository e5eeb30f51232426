import { createCipheriv, createHash, hkdfSync, randomBytes, timingSafeEqual, type Cipheriv } from "node:crypto";
import { r2Errors } from "#products/r2/errors.ts";

/**
 * Encryption with a key that the customer brings to every call (SSE-C). Kept are the MD5 of the key, which S3 shows, a salt,
 * and a check value that only the right key gives; from key and salt comes the key of the object's files. Each file has its
 * random name as its counter block, so no two share a key stream.
 */
export type CustomerKeyRecord = { md5: string; salt: string; check: string };

/** 32 bytes, https://developers.cloudflare.com/r2/examples/ssec/. */
const hexKey = /^[0-9a-f]{64}$/i;
const blockBytes = 16;

export function newCustomerKeyRecord(customerKey: string): CustomerKeyRecord {
  const key = bytesOf(customerKey);
  const salt = randomBytes(32);
  return { md5: md5Of(key), salt: salt.toString("hex"), check: derive(key, salt, "check").toString("hex") };
}

/** The key of the object's files. Throws unless `customerKey` is the one that it was written with. */
export function openCustomerKey(record: CustomerKeyRecord, customerKey: string | undefined): Buffer {
  if (customerKey === undefined) throw r2Errors.customerKeyNeeded();
  const key = bytesOf(customerKey);
  const salt = Buffer.from(record.salt, "hex");
  if (!timingSafeEqual(derive(key, salt, "check"), Buffer.from(record.check, "hex"))) throw r2Errors.customerKeyWrong();
  return derive(key, salt, "files");
}

/** En- and decrypts the bytes of `file` from `offset` on: in counter mode both are the same. */
export function fileCipher(key: Buffer, file: string, offset = 0): Cipheriv {
  const counter = (BigInt(`0x${file}`) + BigInt(Math.floor(offset / blockBytes))) & ((1n << 128n) - 1n);
  const cipher = createCipheriv("aes-256-ctr", key, Buffer.from(counter.toString(16).padStart(32, "0"), "hex"));
  cipher.update(Buffer.alloc(offset % blockBytes));
  return cipher;
}

export function recordText(record: CustomerKeyRecord | undefined): string {
  return record ? JSON.stringify(record) : "";
}

export function recordOf(text: unknown): CustomerKeyRecord | undefined {
  return typeof text === "string" && text !== "" ? (JSON.parse(text) as CustomerKeyRecord) : undefined;
}

function bytesOf(customerKey: string): Buffer {
  if (!hexKey.test(customerKey)) throw r2Errors.customerKeyInvalid();
  return Buffer.from(customerKey, "hex");
}

function md5Of(key: Buffer): string {
  return createHash("md5").update(key).digest("base64");
}

function derive(key: Buffer, salt: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", key, salt, `solum/r2/${purpose}`, 32));
}
