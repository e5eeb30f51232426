import type { Routing } from "#ingress/routing.ts";

/** All sessions of calls between Workers, which must let go of processes that no table names any more. */
export class RpcSessions {
  readonly #open = new Set<{ routesChanged(): void }>();

  constructor(routing: Routing) {
    routing.onInstall(() => {
      for (const session of this.#open) session.routesChanged();
    });
  }

  add(session: { routesChanged(): void }): void {
    this.#open.add(session);
  }

  remove(session: { routesChanged(): void }): void {
    this.#open.delete(session);
  }
}
