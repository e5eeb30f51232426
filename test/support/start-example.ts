import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { Solum } from "./start-solum.ts";

const root = join(import.meta.dirname, "..", "..");

export type Example = {
  url: string;
  solum: Solum;
  /** Its folder, where wrangler works. */
  folder: string;
  /** `npm run setup`, with these arguments. */
  setUp(...args: string[]): Promise<string>;
  stop(): Promise<void>;
};

/** A fresh ask-my-docs on a Solum of its own with these settings, set up by its own `npm run setup` with the real wrangler. */
export async function startExample(...flags: string[]): Promise<Example> {
  const solum = await Solum.start(...flags);
  const projects = join(root, "test", ".projects");
  mkdirSync(projects, { recursive: true });
  const folder = mkdtempSync(join(projects, "ask-my-docs-"));
  const stop = async () => {
    await solum[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    cpSync(join(root, "examples", "ask-my-docs"), folder, {
      recursive: true,
      filter: (source) => !/\/(node_modules|dist|\.wrangler|\.dev\.vars)$/.test(source),
    });
    const setUp = async (...args: string[]) => runSetUp(folder, solum, args);
    await setUp();
    return { url: `http://ask-my-docs.localhost:${solum.port}`, solum, folder, setUp, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function runSetUp(folder: string, solum: Solum, args: readonly string[]): Promise<string> {
  const child = spawn("npm", ["run", "--silent", "setup", "--", ...args], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...process.env,
      ...solum.environment,
      CI: "1",
      NO_COLOR: "1",
      WRANGLER_HIDE_BANNER: "true",
      XDG_CONFIG_HOME: join(solum.folder, "config"),
    },
  });
  const [output, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  if (code !== 0) throw new Error(`npm run setup ended with ${code}:\n${output}\n${errors}`);
  return output;
}
