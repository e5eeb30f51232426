import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { Solum } from "./start-solum.ts";

const root = join(import.meta.dirname, "..", "..");

/** A fresh ask-my-docs on a Solum of its own, set up by its own `npm run setup` with the real wrangler. */
export async function startExample(): Promise<{ url: string; stop(): Promise<void> }> {
  const solum = await Solum.start();
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
    await setUp(folder, solum);
    return { url: `http://ask-my-docs.localhost:${solum.port}`, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function setUp(folder: string, solum: Solum): Promise<void> {
  const child = spawn("npm", ["run", "--silent", "setup"], {
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
}
