import { createHash, randomUUID } from "node:crypto";
import { access, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { privateFolder, syncFolder, writeDurably } from "#core/durable-file.ts";
import type { DataLayout } from "#core/layout.ts";

/** Modules and assets as immutable files named by the SHA-256 of their bytes. */
export interface BlobStore {
  /** Writes `files` where only a trial start finds them. */
  stage(files: readonly Uint8Array[]): Promise<Staged>;
  /** Writes one file for good; answers its hash. */
  put(bytes: Uint8Array): Promise<string>;
  read(hash: string): Promise<Uint8Array>;
  /** Removes what `isUsed` does not name and nobody touched for `olderThanMs`. */
  collect(isUsed: (hash: string) => boolean, olderThanMs: number): Promise<number>;
}

/** Files of an upload that is not accepted yet. */
export interface Staged {
  folder: string;
  /** SHA-256 of each file, in the order given. */
  hashes: string[];
  /** Makes them blobs, durably. */
  accept(): Promise<void>;
  /** Leaves nothing behind. Harmless after `accept`. */
  discard(): Promise<void>;
}

export function blobStore(layout: DataLayout): BlobStore {
  const adopt = async (file: string, hash: string) => {
    const target = layout.blob(hash);
    await privateFolder(dirname(target));
    await rename(file, target);
    await syncFolder(dirname(target));
  };
  return {
    async stage(files) {
      const folder = join(layout.staging, randomUUID());
      await privateFolder(folder);
      const hashes = files.map(hashOf);
      const distinct = new Map(files.map((bytes, index) => [hashes[index] ?? "", bytes]));
      const discard = () => rm(folder, { recursive: true, force: true });
      try {
        await Promise.all([...distinct].map(([hash, bytes]) => writeDurably(join(folder, hash), bytes)));
      } catch (error) {
        await discard();
        throw error;
      }
      const accept = async () => {
        for (const hash of distinct.keys()) await adopt(join(folder, hash), hash);
        await syncFolder(layout.blobs);
        await discard();
      };
      return { folder, hashes, accept, discard };
    },
    async put(bytes) {
      const hash = hashOf(bytes);
      if (await exists(layout.blob(hash))) return hash;
      const file = join(layout.staging, randomUUID());
      await writeDurably(file, bytes);
      await adopt(file, hash);
      await syncFolder(layout.blobs);
      return hash;
    },
    async read(hash) {
      const bytes = await readFile(layout.blob(hash));
      if (hashOf(bytes) !== hash) throw new Error(`the file of blob ${hash} is damaged`);
      return bytes;
    },
    async collect(isUsed, olderThanMs) {
      const before = Date.now() - olderThanMs;
      let removed = 0;
      for (const prefix of await readdir(layout.blobs)) {
        for (const hash of await readdir(join(layout.blobs, prefix))) {
          const file = layout.blob(hash);
          if (isUsed(hash) || (await stat(file)).mtimeMs > before) continue;
          await rm(file, { force: true });
          removed++;
        }
      }
      return removed;
    },
  };
}

function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
