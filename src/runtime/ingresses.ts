import { systemCode } from "#core/errors.ts";
import { createLogger } from "#core/log.ts";
import { askSocket, type SocketAnswer } from "#runtime/probe.ts";
import type { CondemnOutcome, OpenReport, RoutingTable } from "#runtime/routes.ts";
import type { Services } from "#runtime/services.ts";

/** One ingress process: the name of its service, and the socket on which it takes orders. */
export type IngressDoor = { name: string; socket: string };

const limits = {
  /** A table is written to disk before it is acknowledged. */
  tableMs: 5000,
  countMs: 2000,
  /** The process that it is about is killed next, whether or not this was heard. */
  condemnMs: 1000,
};

/** The socket has no listener, or its process ended in the middle: no process, and so nothing that could be wrong there. */
const goneCodes = new Set(["ECONNREFUSED", "ENOENT", "ECONNRESET", "EPIPE"]);

const log = createLogger("supervisor.ingresses");

/** The ingress processes, which share the port, as one. One that is gone is left out: what it had open ended with it. */
export class Ingresses {
  readonly #services: Pick<Services, "isReady" | "pidOf" | "stop">;
  readonly #doors: readonly IngressDoor[];
  /** By name of the process: which of them has acknowledged which table of this supervisor. */
  readonly #acknowledged = new Map<string, { pid: number | undefined; generation: number }>();

  constructor(services: Pick<Services, "isReady" | "pidOf" | "stop">, doors: readonly IngressDoor[]) {
    this.#services = services;
    this.#doors = doors;
  }

  /**
   * Puts `table` in force in every process that is ready, unless it is. Resolves to whether any serves it; rejects when one
   * that is ready does not. Tables that differ must differ in their generation.
   */
  async putTable(supervisor: string, table: RoutingTable): Promise<boolean> {
    const ready = this.#doors.filter(({ name }) => this.#services.isReady(name));
    const body = JSON.stringify({ supervisor, table });
    const answers = await Promise.all(ready.map((door) => this.#tell(door, table.generation, body)));
    return answers.includes(true);
  }

  /** What is open in all of them, or on one socket of a Worker's process. */
  async open(socket?: string): Promise<OpenReport> {
    const path = socket === undefined ? "/open" : `/open?socket=${encodeURIComponent(socket)}`;
    const answers = await Promise.all(this.#running().map((door) => ask(door, { path, ms: limits.countMs })));
    const reports = answers.flatMap((answer) => (answer ? [JSON.parse(answer.body) as OpenReport] : []));
    return reports.reduce(sum, { requests: 0, webSockets: 0, connections: 0, waiting: 0, targets: {}, sockets: {} });
  }

  /** Says why the process behind `socket` is about to be killed, for the answers that break off with it. */
  async condemn(socket: string, outcome: CondemnOutcome): Promise<void> {
    const body = JSON.stringify({ socket, outcome });
    const request = { method: "POST", path: "/condemn", body, ms: limits.condemnMs };
    await Promise.all(
      this.#running().map((door) =>
        ask(door, request).catch((error: unknown) =>
          log.warn("an ingress does not know why a process ends", { ingress: door.name, error }),
        ),
      ),
    );
  }

  /** Lets what is open end, cuts off what lasts longer than `ms`, and ends the processes. */
  async stop(ms: number): Promise<void> {
    await Promise.all(
      this.#doors.map(async (door) => {
        await ask(door, { method: "POST", path: "/drain", ms }).catch((error: unknown) =>
          log.warn("an ingress was cut off", { ingress: door.name, error }),
        );
        await this.#services.stop(door.name);
      }),
    );
  }

  #running(): IngressDoor[] {
    return this.#doors.filter(({ name }) => this.#services.pidOf(name) !== undefined);
  }

  async #tell(door: IngressDoor, generation: number, body: string): Promise<boolean> {
    const pid = this.#services.pidOf(door.name);
    const known = this.#acknowledged.get(door.name);
    if (known?.pid === pid && known?.generation === generation) return true;
    const answer = await ask(door, { method: "PUT", path: "/table", body, ms: limits.tableMs });
    if (!answer) return false;
    if (answer.status !== 200) throw new Error(`${door.name} refused a table: ${answer.status} ${answer.body}`);
    this.#acknowledged.set(door.name, { pid, generation });
    return true;
  }
}

async function ask(
  { socket }: IngressDoor,
  request: { method?: string; path: string; body?: string; ms: number },
): Promise<SocketAnswer | undefined> {
  try {
    return await askSocket(socket, request);
  } catch (error) {
    if (goneCodes.has(systemCode(error) ?? "")) return undefined;
    throw error;
  }
}

function sum(a: OpenReport, b: OpenReport): OpenReport {
  const total: OpenReport = {
    requests: a.requests + b.requests,
    webSockets: a.webSockets + b.webSockets,
    connections: a.connections + b.connections,
    waiting: a.waiting + b.waiting,
    targets: { ...a.targets },
    sockets: { ...a.sockets },
  };
  for (const [id, use] of Object.entries(b.targets)) {
    const before = a.targets[id];
    total.targets[id] = before
      ? {
          requests: before.requests + use.requests,
          webSockets: before.webSockets + use.webSockets,
          lastUsedAgoMs: Math.min(before.lastUsedAgoMs, use.lastUsedAgoMs),
          requestsStarted: before.requestsStarted + use.requestsStarted,
        }
      : use;
  }
  for (const [path, count] of Object.entries(b.sockets)) {
    const before = a.sockets[path];
    total.sockets[path] = before
      ? { ...count, requests: before.requests + count.requests, webSockets: before.webSockets + count.webSockets }
      : count;
  }
  return total;
}
