import { createLogger } from "#core/log.ts";
import type { Routing } from "#ingress/routing.ts";
import { loadNewest, saveTable, type SignedTable } from "#ingress/table-file.ts";

const log = createLogger("ingress.table");

/** What became of an offered table. `stale`: the same supervisor has sent a newer one. */
export type Acceptance = "accepted" | "stale";

/** Decides about tables: which one is in force, and that the one in force is on disk. */
export class TableKeeper {
  readonly #routing: Routing;
  readonly #path: string;
  readonly #siblingPaths: readonly string[];
  #current: { supervisor: string; generation: number } | undefined;
  #last: Promise<unknown> = Promise.resolve();
  readonly #beforeAnswer: () => Promise<void>;

  /**
   * `paths`: our own file, and those of processes that share our port. `beforeAnswer`: what else must have happened before a
   * table counts as accepted.
   */
  constructor(routing: Routing, [path = "", ...siblingPaths]: readonly string[], beforeAnswer: () => Promise<void>) {
    this.#routing = routing;
    this.#path = path;
    this.#siblingPaths = siblingPaths;
    this.#beforeAnswer = beforeAnswer;
  }

  /** Puts the last good table in force, if there is one: while we were gone the others may have got a newer one. */
  async load(): Promise<void> {
    const signed = await loadNewest([this.#path, ...this.#siblingPaths]);
    if (!signed) return;
    this.#install(signed);
    await this.#beforeAnswer();
    log.info("serving from the last good routing table", { generation: signed.table.generation });
  }

  /** Resolves when `signed` is in force and on disk, or refused. One at a time, in the order of the calls. */
  async offer(signed: SignedTable): Promise<Acceptance> {
    const turn = this.#last.then(() => this.#accept(signed));
    this.#last = turn.catch(() => {});
    return await turn;
  }

  async #accept(signed: SignedTable): Promise<Acceptance> {
    const current = this.#current;
    if (current?.supervisor === signed.supervisor && signed.table.generation < current.generation) return "stale";
    await saveTable(this.#path, signed);
    this.#install(signed);
    await this.#beforeAnswer();
    return "accepted";
  }

  #install(signed: SignedTable): void {
    this.#current = { supervisor: signed.supervisor, generation: signed.table.generation };
    this.#routing.install(signed.table);
  }
}
