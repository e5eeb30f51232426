import { copyFile, stat, truncate } from "node:fs/promises";
import { systemCode } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";

const limits = {
  /** A process's log that grows past this is set aside, once. */
  fileBytes: 16 * 1024 * 1024,
  lookEveryMs: 10_000,
};

const log = createLogger("supervisor.logs");

/**
 * Keeps log files small: a large one is copied to `<name>.1` and emptied in place, since the process that appends to it holds it
 * open. Lines of the moment between are lost.
 */
export function keepLogsSmall(files: () => Promise<string[]> | string[]): { stop(): void } {
  const look = async () => {
    for (const file of await files()) {
      try {
        const { size } = await stat(file);
        if (size <= limits.fileBytes) continue;
        await copyFile(file, `${file}.1`);
        await truncate(file);
      } catch (error) {
        if (systemCode(error) !== "ENOENT") log.error("a log file could not be kept small", { file, error });
      }
    }
  };
  const timer = setInterval(() => void look(), limits.lookEveryMs);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}
