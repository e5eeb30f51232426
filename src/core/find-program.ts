import { accessSync, constants } from "node:fs";
import { join } from "node:path";

/** Path of a program of the system, wherever `PATH` leads; undefined when it is not installed. */
export function findProgram(name: string): string | undefined {
  for (const folder of ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin"]) {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch {
      continue;
    }
  }
  return undefined;
}
