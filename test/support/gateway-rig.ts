import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDatabase, type Database } from "#db/database.ts";
import { createWireServer } from "#http/wire/server.ts";
import { cacheStore } from "#products/ai-gateway/cache-store.ts";
import { Cooldowns } from "#products/ai-gateway/cooldowns.ts";
import { dynamicRoutes, type DynamicRoutes } from "#products/ai-gateway/dynamic-routes.ts";
import { logStore, type LogStore, type StoredLog } from "#products/ai-gateway/log-store.ts";
import { createPipeline } from "#products/ai-gateway/pipeline.ts";
import { providerKeys, type ProviderKeys } from "#products/ai-gateway/provider-keys.ts";
import { publicHandler } from "#products/ai-gateway/public.ts";
import { gatewayStore, type GatewayStore } from "#products/ai-gateway/store.ts";
import { gatewaySettings, type GatewaySettings } from "#products/ai-gateway/schema.ts";
import { openSpendStore } from "#products/ai-gateway/spend.ts";
import { RateLimiter } from "#products/ai-gateway/rate-limiter.ts";
import { addressRule, createUpstream } from "#products/ai-gateway/upstream.ts";

export const accountId = "0123456789abcdef0123456789abcdef";
export const goodToken = "solum_good";

/** The gateway without the rest of Solum: its stores in a temporary folder, its public host on a port. */
export class GatewayRig implements AsyncDisposable {
  readonly folder: string;
  readonly gateways: GatewayStore;
  readonly logs: LogStore;
  readonly keys: ProviderKeys;
  readonly routes: DynamicRoutes;
  readonly #bases: Record<string, string>;
  readonly #database: Database;
  #port = 0;
  readonly #close: (() => Promise<unknown>)[] = [];
  #server: Server | undefined;

  private constructor(database: Database, folder: string, bases: Record<string, string>) {
    this.folder = folder;
    this.#database = database;
    this.#bases = bases;
    this.gateways = gatewayStore(database, Buffer.alloc(32, 1));
    this.keys = providerKeys(database, Buffer.alloc(32, 1));
    this.logs = logStore(database);
    this.routes = dynamicRoutes(database);
  }

  /** `bases`: addresses of providers instead of their own. */
  static async start(bases: Record<string, string> = {}, settings: Partial<GatewaySettings> = {}): Promise<GatewayRig> {
    const folder = mkdtempSync(join(tmpdir(), "solum-gateway-"));
    const rig = new GatewayRig(await openDatabase(join(folder, "ai.db"), ["ai-gateway"]), folder, bases);
    await rig.#serve();
    await rig.gateways.create(accountId, "main", rig.settings(settings));
    return rig;
  }

  settings(given: Partial<GatewaySettings> = {}): GatewaySettings {
    return gatewaySettings.parse({
      cache_invalidate_on_update: true,
      cache_ttl: 0,
      collect_logs: true,
      rate_limiting_interval: 0,
      rate_limiting_limit: 0,
      ...given,
    });
  }

  async change(settings: Partial<GatewaySettings>): Promise<void> {
    await this.gateways.update(accountId, "main", this.settings(settings));
  }

  url(path = "", gateway = "main"): string {
    return `http://127.0.0.1:${this.#port}/v1/${accountId}/${gateway}${path}`;
  }

  get port(): number {
    return this.#port;
  }

  /** A POST of JSON to a path of the gateway. */
  async post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return fetch(this.url(path), {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer sk-test", ...headers },
      body: JSON.stringify(body),
    });
  }

  /** All log rows, the oldest first. */
  async rows(gatewayId = "main"): Promise<StoredLog[]> {
    const query = { page: 1, perPage: 10_000, filters: [], descending: false };
    return (await this.logs.list({ accountId, gatewayId }, query)).rows;
  }

  async #serve(): Promise<void> {
    // The port is needed before it is known to whom it belongs.
    const path = join(this.folder, "gateway.sock");
    const front = createServer((socket) => {
      const inner = connect(path);
      socket.pipe(inner).pipe(socket);
      socket.on("error", () => inner.destroy()).on("close", () => inner.destroy());
      inner.on("error", () => socket.destroy()).on("close", () => socket.destroy());
    });
    this.#server = front;
    front.listen(0, "127.0.0.1");
    await once(front, "listening");
    const address = front.address();
    if (typeof address !== "object" || !address) throw new Error("no port");
    this.#port = address.port;
    const upstream = createUpstream(addressRule({ ports: [address.port], addresses: () => [] }));
    const pipeline = createPipeline({
      gateways: this.gateways,
      logs: this.logs,
      routes: this.routes,
      upstream,
      cache: cacheStore(this.#database),
      cooldowns: new Cooldowns(),
      rates: new RateLimiter(),
      spend: await openSpendStore(this.#database),
      mayAct: async (account, token) => account === accountId && token === goodToken,
      registry: {
        customProvider: (account, slug) => this.gateways.findProvider(account, slug),
        storedKey: (gateway, slug, alias) => this.keys.find(gateway, slug, alias),
        baseOf: (slug) => this.#bases[slug],
      },
    });
    const server = createWireServer(publicHandler(pipeline));
    await server.listen(path);
    this.#close.push(
      () => server.close(),
      () => upstream.close(),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server?.close();
    for (const close of this.#close) await close();
    await this.logs[Symbol.asyncDispose]();
    await this.#database.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
