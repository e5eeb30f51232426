import { sign, verify } from "hono/jwt";
import { newHexId } from "#core/ids.ts";
import type { DataLayout } from "#core/layout.ts";
import type { Database } from "#db/database.ts";
import type { BlobStore } from "#products/workers/blobs.ts";
import { assetErrors } from "#products/workers/asset-errors.ts";
import { buildTree, keptFiles, renewTree } from "#products/workers/asset-trees.ts";
import { limits } from "#products/workers/schema.ts";
import { addAssets, openAssetSession } from "#products/workers/writes.ts";

/** Path → file, as wrangler sends it: paths begin with `/` and are not URI-encoded (wrangler-api §4). */
export type AssetManifest = Record<string, { hash: string; size: number }>;

export type UploadedAsset = { hash: string; contentType: string; bytes: Uint8Array };

/** Static assets of Workers: an upload session asks for the files that are missing, and ends in a token for the deploy. */
export interface AssetStore {
  openSession(owner: Owner, manifest: AssetManifest): Promise<{ jwt: string; buckets: string[][] }>;
  /** Refuses a token that is not that of a session, before anybody reads what comes with it. */
  checkToken(jwt: string, accountId: string): Promise<void>;
  /** Keeps files of a session; answers the completion token once the last one is here. */
  upload(jwt: string, accountId: string, files: readonly UploadedAsset[]): Promise<string | undefined>;
  /**
   * The set of files that a completion token stands for, as a folder that workerd can serve. Answers its name. Of
   * `recentTrees`, the newest first, it keeps the files whose names pages still open may hold.
   */
  finish(jwt: string, owner: Owner, recentTrees: readonly string[]): Promise<string>;
  /** The same for a set that was made earlier, when other trees were recent. */
  renew(tree: string, recentTrees: readonly string[]): Promise<string>;
}

export type Owner = { accountId: string; scriptName: string };

type Session = Owner & { id: string; manifest: AssetManifest };
type Known = { blob: string; sizeBytes: number; contentType: string };

export function assetStore(options: { db: Database; blobs: BlobStore; layout: DataLayout; key: Buffer }): AssetStore {
  const { db, blobs, layout } = options;
  const secret = options.key.toString("hex");

  const token = (sessionId: string, complete: boolean) =>
    sign({ sid: sessionId, complete, exp: Math.floor((Date.now() + limits.assetSessionMs) / 1000) }, secret, "HS256");

  const known = ({ accountId, scriptName }: Owner, hash: string): Known | undefined => {
    const row = db
      .prepare(
        "SELECT blob, size_bytes, content_type FROM assets WHERE account_id = ? AND script_name = ? AND hash = ?",
      )
      .get(accountId, scriptName, hash);
    return (
      row && {
        blob: String(row["blob"]),
        sizeBytes: Number(row["size_bytes"]),
        contentType: String(row["content_type"]),
      }
    );
  };

  const session = async (jwt: string, wanted: { accountId: string; complete?: boolean }): Promise<Session> => {
    const claims = await verify(jwt, secret, "HS256").catch(() => undefined);
    const row = db
      .prepare("SELECT * FROM asset_sessions WHERE id = ? AND account_id = ?")
      .get(String(claims?.["sid"]), wanted.accountId);
    if (!claims || !row || (wanted.complete && claims["complete"] !== true)) throw assetErrors.badToken();
    return {
      id: String(row["id"]),
      accountId: String(row["account_id"]),
      scriptName: String(row["script_name"]),
      manifest: JSON.parse(String(row["manifest"])) as AssetManifest,
    };
  };

  const missingOf = (owner: Owner, manifest: AssetManifest) => {
    const hashes = new Map(Object.values(manifest).map(({ hash, size }) => [hash, size]));
    return [...hashes].filter(([hash]) => !known(owner, hash));
  };

  return {
    async openSession(owner, manifest) {
      checkManifest(manifest);
      const id = newHexId();
      const nowMs = Date.now();
      await db.write(openAssetSession, {
        id,
        ...owner,
        manifest: JSON.stringify(manifest),
        nowMs,
        expiresMs: nowMs + limits.assetSessionMs,
      });
      const missing = missingOf(owner, manifest);
      return { jwt: await token(id, missing.length === 0), buckets: fillBuckets(missing) };
    },

    async checkToken(jwt, accountId) {
      await session(jwt, { accountId });
    },

    async upload(jwt, accountId, files) {
      const found = await session(jwt, { accountId });
      const sizes = new Map(Object.values(found.manifest).map(({ hash, size }) => [hash, size]));
      for (const { hash, bytes } of files) {
        if (!sizes.has(hash)) throw assetErrors.notInManifest(hash);
        if (sizes.get(hash) !== bytes.length) throw assetErrors.wrongSize(hash, sizes.get(hash) ?? 0, bytes.length);
      }
      const rows = await Promise.all(
        files.map(async ({ hash, contentType, bytes }) => ({
          accountId: found.accountId,
          scriptName: found.scriptName,
          hash,
          blob: await blobs.put(bytes),
          sizeBytes: bytes.length,
          contentType,
        })),
      );
      await db.write(addAssets, rows);
      return missingOf(found, found.manifest).length === 0 ? token(found.id, true) : undefined;
    },

    async finish(jwt, owner, recentTrees) {
      const found = await session(jwt, { accountId: owner.accountId, complete: true });
      if (found.scriptName !== owner.scriptName) throw assetErrors.badToken();
      const files = Object.entries(found.manifest).map(([path, { hash }]) => {
        const file = known(owner, hash);
        if (!file) throw assetErrors.incomplete();
        return { path, ...file };
      });
      const kept = await keptFiles(layout, { own: files, trees: recentTrees });
      return buildTree(layout, files, kept);
    },

    renew: (tree, recentTrees) => renewTree(layout, tree, recentTrees),
  };
}

/** Refuses paths that could not be files below one folder, and names that are a file and a folder at once. */
function checkManifest(manifest: AssetManifest): void {
  const paths = Object.keys(manifest);
  if (paths.length > limits.assetFiles) throw assetErrors.tooManyFiles();
  const files = new Set(paths);
  for (const path of paths) {
    const segments = path.slice(1).split("/");
    const usable =
      path.startsWith("/") &&
      Buffer.byteLength(path) <= limits.assetPathBytes &&
      !path.includes("\0") &&
      segments.every(
        (segment) => segment !== "" && segment !== "." && segment !== ".." && Buffer.byteLength(segment) <= 255,
      );
    if (!usable) throw assetErrors.badPath(path);
    for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) {
      if (files.has(path.slice(0, at))) throw assetErrors.fileAndFolder(path.slice(0, at));
    }
  }
}

function fillBuckets(missing: readonly (readonly [hash: string, size: number])[]): string[][] {
  const buckets: string[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const [hash, size] of missing) {
    const bucket = buckets.at(-1);
    if (bucket && bucket.length < limits.assetBucketFiles && bytes + size <= limits.assetBucketBytes) {
      bucket.push(hash);
      bytes += size;
    } else {
      buckets.push([hash]);
      bytes = size;
    }
  }
  return buckets;
}
