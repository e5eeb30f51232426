import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { defaultDataFolder, pointerFile, variable } from "#environment.ts";
import { systemCode, UserError } from "#core/errors.ts";
import { dataLayout } from "#core/layout.ts";
import { isAlive } from "#runtime/proc.ts";

/** A running Solum, as written down in its data folder. */
export type Instance = {
  pid: number;
  startTicks: number;
  data: string;
  runtime: string;
  /** `http://localhost:8787`: the console; the API is below it. */
  url: string;
  accountId: string;
};

/** Writes down where this instance is, for `findInstance` from any folder. */
export async function announceInstance(instance: Instance): Promise<void> {
  const text = `${JSON.stringify(instance, null, 2)}\n`;
  await writeFile(dataLayout(instance.data).instance, text, { mode: 0o600 });
  const pointer = pointerFile();
  await mkdir(dirname(pointer), { recursive: true, mode: 0o700 });
  await writeFile(pointer, text, { mode: 0o600 });
}

/** The running instance: of the data folder that is named, else the one that was started last. */
export async function findInstance(data: string | undefined): Promise<Instance> {
  const named = data ?? variable("SOLUM_DATA");
  const file = named === undefined ? pointerFile() : dataLayout(resolve(named)).instance;
  const fallback = named === undefined ? dataLayout(defaultDataFolder()).instance : file;
  const instance = (await readInstance(file)) ?? (await readInstance(fallback));
  if (!instance || !isAlive(instance)) {
    throw new UserError(
      named === undefined
        ? "Solum is not running. Start it: solum up"
        : `Solum is not running on ${resolve(named)}. Start it: solum up --data ${named}`,
    );
  }
  return instance;
}

export function apiUrl(instance: Instance): string {
  return `${instance.url}/client/v4`;
}

async function readInstance(file: string): Promise<Instance | undefined> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as Instance;
  } catch (error) {
    if (systemCode(error) === "ENOENT" || error instanceof SyntaxError) return undefined;
    throw error;
  }
}
