import { seal, unseal } from "#core/seal.ts";
import { newUuid } from "#core/ids.ts";
import type { Database } from "#db/database.ts";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import {
  customProvider,
  defaultGateway,
  gatewaySettings,
  type CustomProvider,
  type CustomProviderBody,
  type CustomProviderChange,
  type Gateway,
  type GatewaySettings,
} from "#products/ai-gateway/schema.ts";
import * as writes from "#products/ai-gateway/writes.ts";

/** Gateways and custom providers of every account. Reads are by account: what another one owns does not exist. */
export interface GatewayStore {
  list(accountId: string, search?: string): Gateway[];
  find(accountId: string, id: string): Gateway | undefined;
  create(accountId: string, id: string, settings: GatewaySettings): Promise<Gateway>;
  /** The gateway `default`, made when it is not there. */
  ensureDefault(accountId: string): Promise<Gateway>;
  update(accountId: string, id: string, settings: GatewaySettings): Promise<Gateway>;
  delete(accountId: string, id: string): Promise<void>;

  listProviders(accountId: string): CustomProvider[];
  findProvider(accountId: string, slug: string): CustomProvider | undefined;
  createProvider(accountId: string, body: CustomProviderBody): Promise<CustomProvider>;
  updateProvider(accountId: string, id: string, change: CustomProviderChange): Promise<CustomProvider>;
  deleteProvider(accountId: string, id: string): Promise<void>;
}

/** Everything is held in memory and follows what was written: a request looks its gateway up without a query. */
export function gatewayStore(db: Database, sealKey: Buffer): GatewayStore {
  const gateways = new Map(
    db
      .prepare("SELECT * FROM gateways")
      .all()
      .map(toGateway)
      .map((gateway) => [keyOf(gateway.accountId, gateway.id), gateway]),
  );
  const providers = new Map(
    db
      .prepare("SELECT * FROM custom_providers")
      .all()
      .map((row) => toProvider(row, sealKey))
      .map((provider) => [provider.id, provider]),
  );
  const known = (accountId: string, id: string): Gateway => {
    const gateway = gateways.get(keyOf(accountId, id));
    if (!gateway) throw gatewayErrors.notFound("Gateway");
    return gateway;
  };
  const create = async (accountId: string, id: string, settings: GatewaySettings): Promise<Gateway> => {
    const now = new Date().toISOString();
    const gateway = { accountId, id, settings, epoch: 0, createdAt: now, modifiedAt: now };
    await db.write(writes.createGateway, gateway);
    gateways.set(keyOf(accountId, id), gateway);
    return gateway;
  };
  return {
    list: (accountId, search = "") =>
      [...gateways.values()]
        .filter((gateway) => gateway.accountId === accountId && gateway.id.includes(search))
        .toSorted((a, b) => a.createdAt.localeCompare(b.createdAt) || a.id.localeCompare(b.id)),
    find: (accountId, id) => gateways.get(keyOf(accountId, id)),
    create,
    async ensureDefault(accountId) {
      const there = gateways.get(keyOf(accountId, "default"));
      if (there) return there;
      // Two first requests at once: the second finds what the first one made.
      return create(accountId, "default", defaultGateway).catch(() => known(accountId, "default"));
    },
    async update(accountId, id, settings) {
      const before = known(accountId, id);
      const epoch = before.epoch + (settings.cache_invalidate_on_update ? 1 : 0);
      const gateway = { ...before, settings, epoch, modifiedAt: new Date().toISOString() };
      await db.write(writes.updateGateway, gateway);
      gateways.set(keyOf(accountId, id), gateway);
      return gateway;
    },
    async delete(accountId, id) {
      await db.write(writes.deleteGateway, { accountId, id });
      gateways.delete(keyOf(accountId, id));
    },

    listProviders: (accountId) =>
      [...providers.values()]
        .filter((provider) => provider.accountId === accountId)
        .toSorted((a, b) => a.createdAt.localeCompare(b.createdAt)),
    findProvider: (accountId, slug) =>
      providers.values().find((provider) => provider.accountId === accountId && provider.body.slug === slug),
    async createProvider(accountId, body) {
      checkBase(body.base_url);
      const now = new Date().toISOString();
      const provider = { accountId, id: newUuid(), body, createdAt: now, modifiedAt: now };
      await db.write(writes.createProvider, sealed(provider, sealKey));
      providers.set(provider.id, provider);
      return provider;
    },
    async updateProvider(accountId, id, change) {
      const before = providers.get(id);
      if (before?.accountId !== accountId) throw gatewayErrors.notFound("Custom provider");
      const body = customProvider.parse({ ...before.body, ...change });
      checkBase(body.base_url);
      const provider = { ...before, body, modifiedAt: new Date().toISOString() };
      await db.write(writes.updateProvider, sealed(provider, sealKey));
      providers.set(id, provider);
      return provider;
    },
    async deleteProvider(accountId, id) {
      await db.write(writes.deleteProvider, { accountId, id });
      providers.delete(id);
    },
  };
}

function keyOf(accountId: string, id: string): string {
  return `${accountId}/${id}`;
}

/** Plain HTTP is welcome here, since that is what models on one's own machines speak. */
function checkBase(text: string): void {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== "" || url.search !== "" || url.hash !== "")
    throw gatewayErrors.invalid("base_url must be an http or https address without credentials or a query");
}

function toGateway(row: Record<string, unknown>): Gateway {
  return {
    accountId: String(row["account_id"]),
    id: String(row["id"]),
    settings: gatewaySettings.parse(JSON.parse(String(row["settings"]))),
    epoch: Number(row["epoch"]),
    createdAt: String(row["created_at"]),
    modifiedAt: String(row["modified_at"]),
  };
}

function sealed({ body: { headers, ...body }, ...provider }: CustomProvider, key: Buffer): writes.SealedProvider {
  const hidden = headers === undefined ? null : seal(key, contextOf(provider.id), headers);
  return { ...provider, slug: body.slug, body: JSON.stringify(body), headers: hidden };
}

function toProvider(row: Record<string, unknown>, key: Buffer): CustomProvider {
  const id = String(row["id"]);
  const headers = row["headers"] instanceof Uint8Array ? unseal(key, contextOf(id), row["headers"]) : undefined;
  const body = JSON.parse(String(row["body"])) as object;
  return {
    accountId: String(row["account_id"]),
    id,
    body: customProvider.parse(headers === undefined ? body : { ...body, headers }),
    createdAt: String(row["created_at"]),
    modifiedAt: String(row["modified_at"]),
  };
}

function contextOf(providerId: string): string {
  return `ai-gateway/provider/${providerId}`;
}
