import { mkdirSync } from "node:fs";
import { open, opendir, rename, unlink, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "#core/errors.ts";
import { newHexId } from "#core/ids.ts";
import { createLogger } from "#core/log.ts";

const log = createLogger("r2.blobs");

const removalsAtOnce = 8;
const temporary = ".tmp";
const ours = /^[0-9a-f]{32}(\.tmp)?$/;

/**
 * The folder of the larger objects' bytes: immutable files with random names, which a row of the database makes part of an
 * object. A file without a row is garbage, whatever it holds, so a crash at any moment leaves nothing but garbage behind.
 */
export class BlobFolder implements AsyncDisposable {
  readonly #path: string;
  readonly #handle: FileHandle;
  /** Files that are being written or whose row is not answered yet. */
  readonly #unsettled = new Set<string>();
  /** How many readers hold a file. */
  readonly #held = new Map<string, number>();
  /** Files without a row that wait for their last reader. */
  readonly #doomed = new Set<string>();
  #removals: string[] = [];
  #removers = new Set<Promise<void>>();
  #syncing: Promise<void> | undefined;
  #nextSync: Promise<void> | undefined;
  #closed = false;

  private constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  static async open(path: string): Promise<BlobFolder> {
    mkdirSync(path, { recursive: true });
    return new BlobFolder(path, await open(path));
  }

  pathOf(file: string): string {
    return join(this.#path, file);
  }

  /** A name for a new file, kept from the sweep until `settle`. Write to `temporaryPathOf` it, then `publish`. */
  reserve(): string {
    const file = newHexId();
    this.#unsettled.add(file);
    return file;
  }

  temporaryPathOf(file: string): string {
    return this.pathOf(file) + temporary;
  }

  /** Gives a file, whose bytes are on the disk, its name; resolves when the name is on the disk as well. */
  async publish(file: string): Promise<void> {
    await rename(this.temporaryPathOf(file), this.pathOf(file));
    await this.#sync();
  }

  /** Ends what `reserve` began: the file has its row now, or else it goes. */
  settle(file: string, kept: boolean): void {
    this.#unsettled.delete(file);
    if (!kept) this.remove([file, file + temporary]);
  }

  /** Keeps `files` in being for a reader until the function that is returned is called. */
  hold(files: readonly string[]): () => void {
    for (const file of files) this.#held.set(file, (this.#held.get(file) ?? 0) + 1);
    let holding = true;
    return () => {
      if (!holding) return;
      holding = false;
      for (const file of files) this.#release(file);
    };
  }

  #release(file: string): void {
    const count = (this.#held.get(file) ?? 1) - 1;
    if (count > 0) {
      this.#held.set(file, count);
      return;
    }
    this.#held.delete(file);
    if (this.#doomed.delete(file)) this.remove([file]);
  }

  /** Removes files that have no row any more, each when nobody reads it; does not wait. */
  remove(files: readonly string[]): void {
    for (const file of files) {
      if (this.#held.has(file)) this.#doomed.add(file);
      else this.#removals.push(file);
    }
    while (this.#removals.length > 0 && this.#removers.size < removalsAtOnce && !this.#closed) {
      const remover = this.#removeNext().finally(() => this.#removers.delete(remover));
      this.#removers.add(remover);
    }
  }

  async #removeNext(): Promise<void> {
    for (;;) {
      const file = this.#removals.pop();
      if (file === undefined) return;
      try {
        await unlink(this.pathOf(file));
      } catch (error) {
        // The sweep at the next start tries again.
        if (systemCode(error) !== "ENOENT") log.warn("a file could not be removed", { file, error });
      }
    }
  }

  /** Removes what a crash left: files that no row names. Returns how many. */
  async sweep(hasRow: (file: string) => boolean): Promise<number> {
    let found = 0;
    for await (const entry of await opendir(this.#path)) {
      if (this.#closed) break;
      if (!ours.test(entry.name)) continue;
      const file = entry.name.slice(0, 32);
      if (this.#unsettled.has(file) || (entry.name === file && hasRow(file))) continue;
      this.remove([entry.name]);
      found++;
    }
    return found;
  }

  /** Brings renames to the disk. Those that wait while a sync runs share the next one. */
  async #sync(): Promise<void> {
    if (this.#syncing) {
      this.#nextSync ??= this.#syncing
        .catch(() => {}) // Whoever waits for that one is told.
        .then(() => {
          this.#nextSync = undefined;
          return this.#startSync();
        });
      return this.#nextSync;
    }
    return this.#startSync();
  }

  async #startSync(): Promise<void> {
    const sync = this.#handle.sync().finally(() => {
      if (this.#syncing === sync) this.#syncing = undefined;
    });
    this.#syncing = sync;
    return sync;
  }

  /** Waits for removals under way; readers must be gone. */
  async close(): Promise<void> {
    this.#closed = true;
    while (this.#removers.size > 0) await Promise.all(this.#removers);
    await this.#handle.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
