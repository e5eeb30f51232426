import { transaction, type DatabaseSchema, type WriteConnection } from "#db/schema.ts";
import { cacheTransactions } from "#products/ai-gateway/cache-writes.ts";
import { gatewayErrors } from "#products/ai-gateway/errors.ts";
import { keyTransactions } from "#products/ai-gateway/key-writes.ts";
import { logTransactions } from "#products/ai-gateway/log-writes.ts";
import { routeTransactions } from "#products/ai-gateway/route-writes.ts";
import { spendTransactions } from "#products/ai-gateway/spend-writes.ts";
import type { CustomProvider, Gateway } from "#products/ai-gateway/schema.ts";

export const createGateway = transaction("ai-gateway.createGateway", (db, gateway: Gateway): void => {
  const { accountId, id, settings, epoch, createdAt, modifiedAt } = gateway;
  const { changes } = db
    .prepare("INSERT INTO gateways VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING")
    .run(accountId, id, JSON.stringify(settings), epoch, createdAt, modifiedAt);
  if (changes === 0) throw gatewayErrors.gatewayTaken(id);
});

export const updateGateway = transaction(
  "ai-gateway.updateGateway",
  (db, gateway: Omit<Gateway, "createdAt">): void => {
    const { accountId, id, settings, epoch, modifiedAt } = gateway;
    const { changes } = db
      .prepare("UPDATE gateways SET settings = ?, epoch = ?, modified_at = ? WHERE account_id = ? AND id = ?")
      .run(JSON.stringify(settings), epoch, modifiedAt, accountId, id);
    if (changes === 0) throw gatewayErrors.notFound("Gateway");
  },
);

type Named = { accountId: string; id: string };

/** With its logs, cached answers and keys. */
export const deleteGateway = transaction("ai-gateway.deleteGateway", (db, { accountId, id }: Named): void => {
  const { changes } = db.prepare("DELETE FROM gateways WHERE account_id = ? AND id = ?").run(accountId, id);
  if (changes === 0) throw gatewayErrors.notFound("Gateway");
  for (const table of ["logs", "cached"])
    db.prepare(`DELETE FROM ${table} WHERE account_id = ? AND gateway_id = ?`).run(accountId, id);
});

/** A custom provider whose `headers`, which may hold credentials, are sealed. */
export type SealedProvider = Omit<CustomProvider, "body"> & { slug: string; body: string; headers: Uint8Array | null };

export const createProvider = transaction("ai-gateway.createProvider", (db, provider: SealedProvider): void => {
  const { accountId, id, slug, body, headers, createdAt, modifiedAt } = provider;
  slugIsFree(db, provider);
  db.prepare("INSERT INTO custom_providers VALUES (?, ?, ?, ?, ?, ?, ?)").run(
    accountId,
    id,
    slug,
    body,
    headers,
    createdAt,
    modifiedAt,
  );
});

export const updateProvider = transaction("ai-gateway.updateProvider", (db, provider: SealedProvider): void => {
  const { accountId, id, slug, body, headers, modifiedAt } = provider;
  slugIsFree(db, provider);
  const { changes } = db
    .prepare(
      "UPDATE custom_providers SET slug = ?, body = ?, headers = ?, modified_at = ? WHERE account_id = ? AND id = ?",
    )
    .run(slug, body, headers, modifiedAt, accountId, id);
  if (changes === 0) throw gatewayErrors.notFound("Custom provider");
});

export const deleteProvider = transaction("ai-gateway.deleteProvider", (db, { accountId, id }: Named): void => {
  const { changes } = db.prepare("DELETE FROM custom_providers WHERE account_id = ? AND id = ?").run(accountId, id);
  if (changes === 0) throw gatewayErrors.notFound("Custom provider");
});

function slugIsFree(db: WriteConnection, { accountId, id, slug }: SealedProvider): void {
  const taken = db
    .prepare("SELECT 1 FROM custom_providers WHERE account_id = ? AND slug = ? AND id <> ?")
    .get(accountId, slug, id);
  if (taken) throw gatewayErrors.slugTaken(slug);
}

export const aiGatewaySchema: DatabaseSchema = {
  product: "ai-gateway",
  migrations: [
    `CREATE TABLE gateways (
       account_id TEXT NOT NULL,
       id TEXT NOT NULL,
       settings TEXT NOT NULL,
       epoch INTEGER NOT NULL,
       created_at TEXT NOT NULL,
       modified_at TEXT NOT NULL,
       PRIMARY KEY (account_id, id)
     ) WITHOUT ROWID, STRICT;
     CREATE TABLE custom_providers (
       account_id TEXT NOT NULL,
       id TEXT NOT NULL,
       slug TEXT NOT NULL,
       body TEXT NOT NULL,
       headers BLOB,
       created_at TEXT NOT NULL,
       modified_at TEXT NOT NULL,
       PRIMARY KEY (account_id, id),
       UNIQUE (account_id, slug)
     ) WITHOUT ROWID, STRICT;
     CREATE TABLE logs (
       id TEXT PRIMARY KEY,
       account_id TEXT NOT NULL,
       gateway_id TEXT NOT NULL,
       created_at INTEGER NOT NULL,
       provider TEXT NOT NULL,
       model TEXT NOT NULL,
       path TEXT NOT NULL,
       duration_ms INTEGER NOT NULL,
       latency_ms INTEGER NOT NULL,
       request_type TEXT NOT NULL,
       request_content_type TEXT NOT NULL,
       response_content_type TEXT NOT NULL,
       status INTEGER NOT NULL,
       success INTEGER NOT NULL,
       cached INTEGER NOT NULL,
       tokens_in INTEGER,
       tokens_out INTEGER,
       cost_nano INTEGER,
       saved_nano INTEGER,
       custom_cost INTEGER NOT NULL,
       metadata TEXT NOT NULL,
       step INTEGER NOT NULL,
       event_id TEXT,
       user_agent TEXT NOT NULL,
       authentication INTEGER NOT NULL,
       byok INTEGER NOT NULL,
       route TEXT,
       worker_id TEXT,
       usage TEXT,
       attempts TEXT NOT NULL,
       feedback INTEGER,
       score REAL,
       request_size INTEGER NOT NULL,
       response_size INTEGER NOT NULL,
       request BLOB,
       request_complete INTEGER NOT NULL,
       response BLOB,
       response_complete INTEGER NOT NULL
     ) STRICT;
     CREATE INDEX logs_by_time ON logs (account_id, gateway_id, created_at);
     CREATE TABLE cached (
       key TEXT PRIMARY KEY,
       account_id TEXT NOT NULL,
       gateway_id TEXT NOT NULL,
       expires_at INTEGER NOT NULL,
       used_at INTEGER NOT NULL,
       about TEXT NOT NULL,
       size INTEGER NOT NULL,
       body BLOB NOT NULL
     ) STRICT;
     CREATE INDEX cached_by_use ON cached (used_at, size);
     CREATE INDEX cached_by_gateway ON cached (account_id, gateway_id);`,
    `CREATE TABLE spend (
       bucket TEXT NOT NULL,
       slot INTEGER NOT NULL,
       nano INTEGER NOT NULL,
       PRIMARY KEY (bucket, slot)
     ) WITHOUT ROWID, STRICT;
     CREATE TABLE spend_held (
       bucket TEXT NOT NULL,
       id TEXT NOT NULL,
       slot INTEGER NOT NULL,
       nano INTEGER NOT NULL,
       PRIMARY KEY (bucket, id)
     ) WITHOUT ROWID, STRICT;
     CREATE INDEX spend_held_by_id ON spend_held (id);`,
    `CREATE TABLE provider_configs (
       id TEXT PRIMARY KEY,
       account_id TEXT NOT NULL,
       gateway_id TEXT NOT NULL,
       config TEXT NOT NULL,
       secret BLOB NOT NULL,
       FOREIGN KEY (account_id, gateway_id) REFERENCES gateways (account_id, id) ON DELETE CASCADE
     ) STRICT;`,
    `CREATE TABLE routes (
       id TEXT PRIMARY KEY,
       account_id TEXT NOT NULL,
       gateway_id TEXT NOT NULL,
       body TEXT NOT NULL,
       FOREIGN KEY (account_id, gateway_id) REFERENCES gateways (account_id, id) ON DELETE CASCADE
     ) STRICT;`,
  ],
  transactions: [
    createGateway,
    updateGateway,
    deleteGateway,
    createProvider,
    updateProvider,
    deleteProvider,
    ...logTransactions,
    ...cacheTransactions,
    ...spendTransactions,
    ...keyTransactions,
    ...routeTransactions,
  ],
};
