import { readFile } from "node:fs/promises";

export function print(text: string): void {
  process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
}

/** A sentence for a person as it is; anything else with its stack. */
export function printError(error: unknown): void {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
}

export async function printVersion(): Promise<void> {
  // The manifest is one folder above the built program and two above this file.
  const url = new URL(import.meta.url.endsWith(".ts") ? "../../package.json" : "../package.json", import.meta.url);
  const { version } = JSON.parse(await readFile(url, "utf8")) as { version: string };
  print(`solum ${version}`);
}
