import { mkdir, readdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { pollUntil } from "#core/deadline.ts";
import { messageOf, systemCode } from "#core/errors.ts";
import type { RuntimeLayout } from "#core/layout.ts";
import { createLogger } from "#core/log.ts";

const limits = {
  /** How long a Worker's process waits for the sockets that others open for it. */
  openMs: 2000,
};

const log = createLogger("supervisor.worker-sockets");

/** The folder of each Worker's own sockets: links to the processes that serve everybody; the others open theirs when they see it. */
export class WorkerSockets {
  readonly #runtime: RuntimeLayout;
  readonly #d1HostCount: number;
  /** Folders that are there: hundreds of Workers need not be looked at for every change of one. */
  readonly #made = new Set<string>();
  /** What an earlier supervisor left is looked for once. */
  #lookedForOld = false;

  constructor(runtime: RuntimeLayout, d1HostCount: number) {
    this.#runtime = runtime;
    this.#d1HostCount = d1HostCount;
  }

  async ensure(workerId: string): Promise<void> {
    if (this.#made.has(workerId)) return;
    const worker = this.#runtime.worker(workerId);
    await mkdir(worker.root, { recursive: true, mode: 0o700 });
    await linkTo(this.#runtime.egress, worker.egress);
    for (let host = 0; host < this.#d1HostCount; host++) await linkTo(this.#runtime.d1Host(host), worker.d1Host(host));
    this.#made.add(workerId);
  }

  /** Resolves when the sockets that a process of the Worker needs are there, or when it is too late to wait for them. */
  async untilOpen(workerId: string, more: readonly string[]): Promise<void> {
    // The ingress opens its own when the table names the Worker, which is before any request.
    const names = ["state.sock", "log.sock", ...more];
    const folder = this.#runtime.worker(workerId).root;
    await pollUntil({ ms: limits.openMs, everyMs: 5, what: "opening a Worker's sockets" }, async () => {
      const present = new Set(await readdir(folder));
      return names.every((name) => present.has(name)) ? true : undefined;
    }).catch((error: unknown) =>
      log.warn("a Worker starts before all its sockets are open", { workerId, error: messageOf(error) }),
    );
  }

  async removeExcept(used: ReadonlySet<string>): Promise<void> {
    if (!this.#lookedForOld) {
      for (const workerId of await readdir(this.#runtime.workers).catch(noneIfMissing)) this.#made.add(workerId);
      this.#lookedForOld = true;
    }
    for (const workerId of this.#made) {
      if (used.has(workerId)) continue;
      this.#made.delete(workerId);
      await rm(join(this.#runtime.workers, workerId), { recursive: true, force: true });
    }
  }
}

function noneIfMissing(error: unknown): string[] {
  if (systemCode(error) === "ENOENT") return [];
  throw error;
}

async function linkTo(target: string, path: string): Promise<void> {
  await symlink(target, path).catch((error: unknown) => {
    if (systemCode(error) !== "EEXIST") throw error;
  });
}
