import type { Database } from "#db/database.ts";
import type { BlobFolder } from "#products/r2/blob-folder.ts";
import type { HashPool } from "#products/r2/hash-pool.ts";
import type { Checksums, DigestAlgorithm } from "#products/r2/schema.ts";

/** What the parts of the store share. */
export type LocalParts = { db: Database; folder: BlobFolder; hashes: HashPool; now: () => number };

/**
 * For callers in this process: `check` sees the checksums of all bytes before anything is visible, and throws when they are
 * not what a signature or a trailer said. Those of `checkedOnly` are made for it and not kept.
 */
export type BodyHooks = { check?: (found: Checksums) => void; checkedOnly?: readonly DigestAlgorithm[] };
