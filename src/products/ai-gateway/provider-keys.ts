import { newUuid } from "#core/ids.ts";
import { seal, unseal } from "#core/seal.ts";
import type { Database } from "#db/database.ts";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import { keyWrites, type SealedKey } from "#products/ai-gateway/key-writes.ts";
import type { Gateway, ProviderConfig, ProviderConfigBody } from "#products/ai-gateway/schema.ts";

/** Keys of providers that a gateway puts into requests which bring none. They go in, and never come out. */
export interface ProviderKeys {
  list(gateway: Gateway): ProviderConfig[];
  create(gateway: Gateway, body: ProviderConfigBody): Promise<ProviderConfig>;
  delete(gateway: Gateway, id: string): Promise<ProviderConfig>;
  /** Those of a gateway that was deleted, and with it their rows. */
  forget(gateway: Gateway): void;
  /** The key to put in; of `default` also the one that was made the provider's default. */
  find(gateway: Gateway, slug: string, alias: string): string | undefined;
}

type Known = { config: ProviderConfig; accountId: string; secret: string };

/** Sealed on disk under `key`; in memory open, since every request may need one. */
export function providerKeys(db: Database, key: Buffer): ProviderKeys {
  const known = new Map(
    db
      .prepare("SELECT id, account_id, gateway_id, config, secret FROM provider_configs")
      .all()
      .map((row): [string, Known] => {
        const config = JSON.parse(String(row["config"])) as ProviderConfig;
        const secret = unseal(key, contextOf(config.id), row["secret"] as Uint8Array);
        return [config.id, { config, accountId: String(row["account_id"]), secret }];
      }),
  );
  const of = ({ accountId, id }: Gateway) =>
    [...known.values()].filter((entry) => entry.accountId === accountId && entry.config.gateway_id === id);
  return {
    list: (gateway) => of(gateway).map(({ config }) => config),
    async create(gateway, { secret, ...body }) {
      const same = of(gateway).some(
        ({ config }) => config.provider_slug === body.provider_slug && config.alias === body.alias,
      );
      if (same) throw gatewayErrors.aliasTaken(body.alias);
      const id = newUuid();
      const config = {
        ...body,
        id,
        gateway_id: gateway.id,
        secret_id: id,
        secret_preview: `…${secret.slice(-4)}`,
        modified_at: new Date().toISOString(),
      };
      const sealed: SealedKey = {
        id,
        accountId: gateway.accountId,
        gatewayId: gateway.id,
        config: JSON.stringify(config),
        secret: seal(key, contextOf(id), secret),
      };
      await db.write(keyWrites.createKey, sealed);
      known.set(id, { config, accountId: gateway.accountId, secret });
      return config;
    },
    async delete(gateway, id) {
      const entry = of(gateway).find(({ config }) => config.id === id);
      if (!entry) throw gatewayErrors.notFound("Provider config");
      await db.write(keyWrites.deleteKey, { id });
      known.delete(id);
      return entry.config;
    },
    forget(gateway) {
      for (const { config } of of(gateway)) known.delete(config.id);
    },
    find(gateway, slug, alias) {
      const mine = of(gateway).filter(({ config }) => config.provider_slug === slug);
      const named = mine.find(({ config }) => config.alias === alias);
      return (named ?? (alias === "default" ? mine.find(({ config }) => config.default_config) : undefined))?.secret;
    },
  };
}

function contextOf(id: string): string {
  return `ai-gateway/key/${id}`;
}
