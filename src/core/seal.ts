import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";

/** A key for one purpose, derived from the master key; purposes never share key material. 32 bytes. */
export function deriveKey(master: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", master, Buffer.alloc(0), `solum/${purpose}`, 32));
}

const format = 1;
const ivBytes = 12;
const tagBytes = 16;

/**
 * AES-256-GCM. `context` names what the text belongs to (account, Worker, secret name) and is authenticated with it, so
 * that a sealed value cannot be moved to another place. Layout: format byte, IV, tag, ciphertext.
 */
export function seal(key: Buffer, context: string, plaintext: string): Buffer {
  const iv = randomBytes(ivBytes);
  const cipher = createCipheriv("aes-256-gcm", key, iv);
  cipher.setAAD(Buffer.from(context));
  const body = Buffer.concat([cipher.update(plaintext, "utf8"), cipher.final()]);
  return Buffer.concat([Buffer.from([format]), iv, cipher.getAuthTag(), body]);
}

/** The text that `seal` took; throws when key, context or bytes do not match. */
export function unseal(key: Buffer, context: string, sealed: Uint8Array): string {
  const bytes = Buffer.from(sealed);
  if (bytes[0] !== format) throw new Error("sealed value has an unknown format");
  const iv = bytes.subarray(1, 1 + ivBytes);
  const decipher = createDecipheriv("aes-256-gcm", key, iv);
  decipher.setAAD(Buffer.from(context));
  decipher.setAuthTag(bytes.subarray(1 + ivBytes, 1 + ivBytes + tagBytes));
  return Buffer.concat([decipher.update(bytes.subarray(1 + ivBytes + tagBytes)), decipher.final()]).toString("utf8");
}
