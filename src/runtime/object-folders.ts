import { existsSync, readdirSync } from "node:fs";
import { rename, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { privateFolder, syncFolder } from "#core/durable-file.ts";
import { systemCode } from "#core/errors.ts";
import type { DataLayout } from "#core/layout.ts";
import type { NamespacePlace } from "#products/durable-objects/store.ts";

/** Data of a namespace that lies with the Worker `from`, and belongs to another, or to nobody any more. */
export type Misplaced = { namespaceId: string; from: string; to: string | undefined };

/** Compares where Durable Objects' data lies with whose it is. What no row knows is left alone. */
export function misplaced(data: DataLayout, places: readonly NamespacePlace[]): Misplaced[] {
  if (!existsSync(data.objects)) return [];
  const byId = new Map(places.map((place) => [place.id, place]));
  const workers = readdirSync(data.objects, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return workers.flatMap(({ name: from }) =>
    readdirSync(data.objectsOf(from)).flatMap((namespaceId): Misplaced[] => {
      const place = byId.get(namespaceId);
      if (!place || (place.workerId === from && !place.isDeleted)) return [];
      return [{ namespaceId, from, to: place.isDeleted ? undefined : place.workerId }];
    }),
  );
}

/** Puts data where it belongs, or removes it. Neither Worker may have a process of objects meanwhile. May be done again. */
export async function putInPlace(data: DataLayout, { namespaceId, from, to }: Misplaced): Promise<void> {
  const source = join(data.objectsOf(from), namespaceId);
  if (to === undefined) await rm(source, { recursive: true, force: true });
  else if (existsSync(source)) {
    await privateFolder(data.objectsOf(to));
    await rename(source, join(data.objectsOf(to), namespaceId));
    await syncFolder(data.objectsOf(to));
  }
  // One that held nothing else may be gone from before.
  if (!existsSync(data.objectsOf(from))) return;
  await syncFolder(data.objectsOf(from));
  await rmdir(data.objectsOf(from)).catch((error: unknown) => {
    if (systemCode(error) !== "ENOTEMPTY" && systemCode(error) !== "ENOENT") throw error;
  });
}
