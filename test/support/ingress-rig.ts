import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pollUntil } from "#core/deadline.ts";
import type { IngressLimits } from "#ingress/limits.ts";
import { startIngress, type Ingress, type IngressOptions } from "#ingress/server.ts";
import type { Route, RoutingTable } from "#runtime/routes.ts";
import { FakeUpstream, type FakeHandler } from "./fake-upstream.ts";
import { RawClient, readResponse, sendRaw, type RawResponse } from "./raw-client.ts";

export const capabilityKey = Buffer.alloc(32, 7);

/** An ingress on a free port with its files and sockets in a folder of its own. */
export class IngressRig implements AsyncDisposable {
  readonly folder: string;
  readonly ingress: Ingress;
  #generation = 0;
  readonly #upstreams: FakeUpstream[] = [];

  private constructor(folder: string, ingress: Ingress) {
    this.folder = folder;
    this.ingress = ingress;
  }

  static async start(options: Partial<IngressOptions> = {}, limits: Partial<IngressLimits> = {}): Promise<IngressRig> {
    const folder = mkdtempSync(join(tmpdir(), "solum-in-"));
    try {
      return new IngressRig(folder, await startIngress(rigOptions(folder, options, limits)));
    } catch (error) {
      rmSync(folder, { recursive: true });
      throw error;
    }
  }

  /** Starts another ingress on the same folder, as after a restart. */
  async restart(options: Partial<IngressOptions> = {}): Promise<IngressRig> {
    await this.ingress.close();
    return new IngressRig(this.folder, await startIngress(rigOptions(this.folder, options, {})));
  }

  get port(): number {
    return this.ingress.port;
  }

  socket(name: string): string {
    return join(this.folder, `${name}.sock`);
  }

  /** Starts a fake process and routes `<name>.localhost` to it. */
  async fake(onHead: FakeHandler, name = "app"): Promise<FakeUpstream> {
    const upstream = await FakeUpstream.listen(this.socket(name), onHead);
    this.#upstreams.push(upstream);
    await this.route({ [name]: [this.socket(name)] });
    return upstream;
  }

  /** Puts a table in force that routes `<name>.localhost` and the service `acc/<name>` to sockets. */
  async route(workers: Record<string, string[]>): Promise<void> {
    await this.put(tableOf(workers));
  }

  async put(table: Omit<RoutingTable, "generation">): Promise<void> {
    await this.ingress.putTable("rig", { generation: ++this.#generation, ...table });
  }

  async client(): Promise<RawClient> {
    return await RawClient.to(this.port);
  }

  /** Sends a request that asks to close, and reads the answer. */
  async get(target: string, fields: string[] = [], host = "app.localhost"): Promise<RawResponse> {
    return readResponse(
      await sendRaw(
        this.port,
        `GET ${target} HTTP/1.1\r\n${[`Host: ${host}`, "Connection: close", ...fields, "", ""].join("\r\n")}`,
      ),
    );
  }

  /** Sends bytes as they are and returns what came until the connection closed. */
  async raw(request: string): Promise<string> {
    return await sendRaw(this.port, request);
  }

  /** Waits until nothing is counted as under way. */
  async quiet(): Promise<void> {
    await pollUntil(
      { ms: 10_000, everyMs: 2, what: `all counters to be 0: ${JSON.stringify(this.ingress.open())}` },
      () => {
        const { requests, webSockets, waiting } = this.ingress.open();
        return requests === 0 && webSockets === 0 && waiting === 0 ? true : undefined;
      },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.ingress.close();
    for (const upstream of this.#upstreams) await upstream.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A table in which each name is a Worker of one version. */
export function tableOf(workers: Record<string, string[]>): Omit<RoutingTable, "generation"> {
  const names = Object.keys(workers);
  const route = (name: string): Route => ({
    kind: "worker",
    script: name,
    versions: [{ target: `t-${name}`, weight: 100 }],
  });
  return {
    hosts: Object.fromEntries(names.map((name) => [`${name}.localhost`, route(name)])),
    patterns: [],
    services: Object.fromEntries(names.map((name) => [`acc/${name}`, route(name)])),
    targets: Object.fromEntries(
      names.map((name) => [
        `t-${name}`,
        { workerId: `w-${name}`, script: name, versionId: `v-${name}`, sockets: workers[name] ?? [] },
      ]),
    ),
  };
}

function rigOptions(folder: string, options: Partial<IngressOptions>, limits: Partial<IngressLimits>): IngressOptions {
  return {
    host: "127.0.0.1",
    port: 0,
    consoleHost: "localhost",
    appDomain: "localhost",
    publicScheme: "http",
    colo: "SOL",
    requestBodyBytes: 200 * 1024 * 1024,
    drainMs: 5000,
    capabilityKey,
    paths: {
      routes: join(folder, "ingress", "routes.json"),
      admin: join(folder, "admin.sock"),
      console: join(folder, "console.sock"),
      supervisor: join(folder, "supervisor.sock"),
      platform: (workerId) => join(folder, "w", workerId, "platform.sock"),
    },
    ...options,
    limits: { sweepMs: 20, ...limits },
  };
}
