import { randomBytes } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { privateFolder, syncFolder, writeDurably } from "#core/durable-file.ts";
import { systemCode } from "#core/errors.ts";
import type { DataLayout } from "#core/layout.ts";
import { deriveKey } from "#core/seal.ts";

/** Keys of an installation, each for one purpose. */
export type Keys = {
  /** Seals secrets at rest. */
  seal: Buffer;
  /** Signs what a binding may touch. */
  capability: Buffer;
  /** Signs the tokens of asset uploads. */
  assets: Buffer;
  /** Seals the keys of AI providers: all that the AI process needs, and no other secret. */
  aiSeal: Buffer;
  /** Signs the addresses of database imports. */
  imports: Buffer;
  /** Seals the secrets of R2's access keys. */
  r2: Buffer;
};

const masterBytes = 32;

/** Makes the master key and the command line's token, when they are not there. Both are for their owner's eyes alone. */
export async function ensureKeys(layout: DataLayout): Promise<void> {
  await privateFolder(layout.keys);
  await createOnce(layout.masterKey, randomBytes(masterBytes).toString("hex"));
  await createOnce(layout.token, `solum_${randomBytes(32).toString("base64url")}`);
  await syncFolder(layout.keys);
}

export async function readKeys(layout: DataLayout): Promise<Keys> {
  const { mode } = await stat(layout.masterKey);
  if ((mode & 0o077) !== 0) throw new Error(`${layout.masterKey} can be read by others: chmod 600 it`);
  const master = Buffer.from((await readFile(layout.masterKey, "utf8")).trim(), "hex");
  if (master.length !== masterBytes) throw new Error(`${layout.masterKey} does not hold a key of ${masterBytes} bytes`);
  return {
    seal: deriveKey(master, "secrets"),
    capability: deriveKey(master, "capabilities"),
    assets: deriveKey(master, "assets"),
    aiSeal: deriveKey(master, "ai providers"),
    imports: deriveKey(master, "imports"),
    r2: deriveKey(master, "r2-access-keys"),
  };
}

export async function readToken(layout: DataLayout): Promise<string> {
  return (await readFile(layout.token, "utf8")).trim();
}

async function createOnce(file: string, text: string): Promise<void> {
  await writeDurably(file, `${text}\n`).catch((error: unknown) => {
    if (systemCode(error) !== "EEXIST") throw error;
  });
}
