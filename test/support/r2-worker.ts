import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { basename, join } from "node:path";
import { text } from "node:stream/consumers";
import type { BindingPiece } from "#core/binding-piece.ts";
import { configText, embed } from "#core/capnp-text.ts";
import { pollUntil } from "#core/deadline.ts";

export const root = join(import.meta.dirname, "..", "..");
const workerd = join(
  root,
  `node_modules/@cloudflare/workerd-linux-${process.arch === "x64" ? "64" : "arm64"}/bin/workerd`,
);

export type Reply = { status: number; text: string };

/** A workerd that runs `modules`, the first of which is the main one, with one binding; it answers until it is closed. */
export async function startWorker(folder: string, modules: readonly string[], piece: BindingPiece) {
  const socketPath = join(folder, "w.sock");
  for (const module of modules) copyFileSync(module, join(folder, basename(module)));
  const config = configText({
    services: [
      {
        name: "main",
        worker: {
          modules: modules.map((module) => ({ name: basename(module), esModule: embed(basename(module)) })),
          compatibilityDate: "2026-08-01",
          compatibilityFlags: ["nodejs_compat"],
          bindings: piece.bindings,
        },
      },
      ...piece.services,
    ],
    sockets: [{ name: "http", address: `unix:${socketPath}`, http: {}, service: "main" }],
  });
  writeFileSync(join(folder, "config.capnp"), config);
  const process = spawn(workerd, ["serve", "--experimental", join(folder, "config.capnp")], { stdio: "inherit" });
  const agent = new Agent({ keepAlive: true });
  const get = async (path: string): Promise<Reply> => {
    const outgoing = request({ socketPath, agent, path }).end();
    const [response] = await once(outgoing, "response");
    return { status: response.statusCode, text: await text(response) };
  };
  const attempt = () => get("/").catch(() => undefined);
  await pollUntil({ ms: 10_000, everyMs: 20, what: "workerd's start" }, attempt);
  return {
    pid: process.pid ?? 0,
    get,
    socketPath,
    close: async () => {
      agent.destroy();
      const ended = once(process, "exit");
      process.kill();
      await ended;
    },
  };
}
