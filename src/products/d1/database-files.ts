import { createHash, createHmac } from "node:crypto";
import { open, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder } from "#core/durable-file.ts";
import { systemCode } from "#core/errors.ts";
import { movedSuffix, namespaceKey, type Moved } from "#products/d1/host-protocol.ts";

/** The id of a database's object, which names its files: workerd's `idFromName` (`src/workerd/server/server.c++`). */
export function objectIdOf(databaseId: string): string {
  const key = createHash("sha256").update(namespaceKey).digest();
  const name = createHmac("sha256", key).update(databaseId).digest().subarray(0, 16);
  const check = createHmac("sha256", key).update(name).digest().subarray(0, 16);
  return Buffer.concat([name, check]).toString("hex");
}

/** Where the database is in the folder of a host. */
export function databaseFile(hostFolder: string, databaseId: string): string {
  return join(hostFolder, namespaceKey, `${objectIdOf(databaseId)}.sqlite`);
}

/** Leaves word in `hostFolder` where a database is from now on. A host that starts sees it before it opens the database. */
export async function writeMoved(hostFolder: string, databaseId: string, moved: Moved): Promise<void> {
  const file = databaseFile(hostFolder, databaseId) + movedSuffix;
  const unfinished = `${file}.new`;
  await writeFile(unfinished, JSON.stringify(moved), { mode: 0o600, flush: true });
  await rename(unfinished, file);
  await syncFolder(join(file, ".."));
}

/** Takes back what `writeMoved` said. */
async function forgetMoved(hostFolder: string, databaseId: string): Promise<void> {
  await rm(databaseFile(hostFolder, databaseId) + movedSuffix, { force: true });
}

/**
 * Moves a database that no process has open. The main file goes last: until then neither host finds it, so that none can
 * open it without its log. Can be repeated after a crash at any point.
 */
export async function moveFiles(from: string, to: string, databaseId: string): Promise<void> {
  const [source, target] = [databaseFile(from, databaseId), databaseFile(to, databaseId)];
  await forgetMoved(to, databaseId);
  // An index of the log, made anew by whoever opens it.
  await rm(`${source}-shm`, { force: true });
  await renameIfThere(`${source}-wal`, `${target}-wal`);
  await syncFolder(join(target, ".."));
  await renameIfThere(source, target);
  await syncFolder(join(target, ".."));
  await syncFolder(join(source, ".."));
  // Fails when it is in neither place.
  await (await open(target, "r")).close();
}

async function renameIfThere(source: string, target: string): Promise<void> {
  try {
    await rename(source, target);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
}
