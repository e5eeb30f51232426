import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { capabilityReader } from "#core/capability.ts";
import { configText, embed } from "#core/capnp-text.ts";
import { pollUntil } from "#core/deadline.ts";
import { createWireServer } from "#http/wire/server.ts";
import { kvBindingHandler, kvPiece } from "#products/kv/binding.ts";
import { EdgeCache } from "#products/kv/edge-cache.ts";
import { openKvStore } from "#products/kv/sqlite-store.ts";

const root = join(import.meta.dirname, "..", "..");
const workerd = join(
  root,
  `node_modules/@cloudflare/workerd-linux-${process.arch === "arm64" ? "arm64" : "64"}/bin/workerd`,
);

/** A Worker that tries everything its binding `KV` can do; `?only=` names one of its cases. */
export const kvCases = join(root, "test", "fixtures", "kv-binding.js");

/** What that Worker answers. */
export type KvCases = { cases: number; problems: { name: string; problem: string }[] };

/** A real workerd that runs `script`, bound to a namespace of a real store by a real socket, all in one temporary folder. */
export async function startKvWorker(script: string) {
  const folder = mkdtempSync(join(tmpdir(), "solum-kv-"));
  const capabilityKey = Buffer.alloc(32, 7);
  const workerId = "w1";
  const store = await openKvStore({ file: join(folder, "kv.db"), values: join(folder, "kv") });
  const namespace = await store.createNamespace("acme", "main");
  const server = createWireServer(
    kvBindingHandler({
      store,
      location: new EdgeCache(store).location(workerId),
      reader: capabilityReader(capabilityKey, workerId),
    }),
  );
  const socket = join(folder, "state.sock");
  await server.listen(socket);

  const piece = kvPiece({ name: "KV", namespaceId: namespace.id, workerId, socket, capabilityKey });
  const http = join(folder, "http.sock");
  copyFileSync(script, join(folder, "worker.js"));
  const worker = {
    modules: [{ name: "worker.js", esModule: embed("worker.js") }],
    compatibilityDate: "2026-10-01",
    bindings: piece.bindings,
  };
  const config = configText({
    services: [{ name: "main", worker }, ...piece.services],
    sockets: [{ name: "http", address: `unix:${http}`, http: {}, service: "main" }],
  });
  writeFileSync(join(folder, "config.capnp"), config);
  const child = spawn(workerd, ["serve", "--experimental", join(folder, "config.capnp")], { stdio: "inherit" });
  const ended = once(child, "exit");

  const get = async (path: string): Promise<string> => {
    const outgoing = request({ socketPath: http, path });
    outgoing.end();
    const [response] = (await once(outgoing, "response")) as [IncomingMessage];
    return text(response);
  };
  await pollUntil({ ms: 10_000, everyMs: 10, what: "the start of workerd" }, async () =>
    get("/?only=none").catch(() => undefined),
  );
  return {
    get,
    store,
    namespace,
    async [Symbol.asyncDispose]() {
      child.kill();
      await ended;
      await server.close();
      await store[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
    },
  };
}
