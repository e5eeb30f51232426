import { transaction } from "#db/schema.ts";

/** A provider's key as it is on disk. */
export type SealedKey = { id: string; accountId: string; gatewayId: string; config: string; secret: Uint8Array };

const createKey = transaction("ai-gateway.createKey", (db, key: SealedKey): void => {
  db.prepare("INSERT INTO provider_configs (id, account_id, gateway_id, config, secret) VALUES (?, ?, ?, ?, ?)").run(
    key.id,
    key.accountId,
    key.gatewayId,
    key.config,
    key.secret,
  );
});

const deleteKey = transaction("ai-gateway.deleteKey", (db, { id }: { id: string }): void => {
  db.prepare("DELETE FROM provider_configs WHERE id = ?").run(id);
});

export const keyWrites = { createKey, deleteKey };
export const keyTransactions = [createKey, deleteKey];
