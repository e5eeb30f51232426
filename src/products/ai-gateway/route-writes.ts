import { transaction } from "#db/schema.ts";

type RouteRow = { accountId: string; gatewayId: string; id: string; body: string };

const saveRoute = transaction("ai-gateway.saveRoute", (db, { accountId, gatewayId, id, body }: RouteRow): void => {
  db.prepare(
    "INSERT INTO routes (id, account_id, gateway_id, body) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
  ).run(id, accountId, gatewayId, body);
});

const deleteRoute = transaction("ai-gateway.deleteRoute", (db, { id }: { id: string }): void => {
  db.prepare("DELETE FROM routes WHERE id = ?").run(id);
});

export const routeWrites = { saveRoute, deleteRoute };
export const routeTransactions = [saveRoute, deleteRoute];
