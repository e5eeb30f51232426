import { watch } from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";

/** Something that listens inside a Worker's folder. */
export interface Listener {
  close(): Promise<void>;
}

const log = createLogger("runtime.worker-folders");

/** In case a notice from the kernel is lost. */
const lookAgainMs = 2000;

/**
 * Opens a socket in the folder of each Worker, now and whenever one appears, and closes it when the folder goes. The folders
 * are the register: nobody has to be told, in whatever order processes start.
 */
export async function serveEachWorker(
  workersFolder: string,
  open: (workerId: string, folder: string) => Promise<Listener>,
): Promise<Listener> {
  await mkdir(workersFolder, { recursive: true, mode: 0o700 });
  const listeners = new Map<string, Promise<Listener | undefined>>();

  const begin = async (workerId: string): Promise<Listener | undefined> => {
    try {
      return await open(workerId, join(workersFolder, workerId));
    } catch (error) {
      // The folder went away again, or will be looked at once more.
      if (systemCode(error) !== "ENOENT") log.error("a Worker's socket could not be opened", { workerId, error });
      listeners.delete(workerId);
      return undefined;
    }
  };
  const look = async () => {
    const present = new Set(await readdir(workersFolder));
    for (const workerId of present) if (!listeners.has(workerId)) listeners.set(workerId, begin(workerId));
    for (const [workerId, listener] of listeners) {
      if (present.has(workerId)) continue;
      listeners.delete(workerId);
      await (await listener)?.close();
    }
  };
  // One look at a time; a notice during one asks for another.
  let looking: Promise<void> | undefined;
  let again = false;
  const lookSoon = () => {
    again = true;
    looking ??= (async () => {
      while (again) {
        again = false;
        await look().catch((error: unknown) => log.error("the Workers' folders could not be read", { error }));
      }
      looking = undefined;
    })();
  };

  const watcher = watch(workersFolder, lookSoon);
  const timer = setInterval(lookSoon, lookAgainMs);
  timer.unref();
  await look();
  await Promise.all(listeners.values());
  return {
    async close() {
      watcher.close();
      clearInterval(timer);
      await looking;
      await Promise.all([...listeners.values()].map(async (listener) => (await listener)?.close()));
    },
  };
}
