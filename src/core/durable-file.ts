import { open, mkdir } from "node:fs/promises";

/** Makes the names in `folder` durable: a file that was created or renamed there survives power loss only after this. */
export async function syncFolder(folder: string): Promise<void> {
  await syncFile(folder);
}

/** Makes what was written to `path` durable. */
export async function syncFile(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes `bytes` to a new file at `path` and waits until they are on the disk. Its name is durable after `syncFolder`. */
export async function writeDurably(path: string, bytes: Uint8Array | string, mode = 0o600): Promise<void> {
  const handle = await open(path, "wx", mode);
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes `folder` and what is missing above it; only its owner may enter. */
export async function privateFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
}
