import { Hono } from "hono";
import type { FeatureCost } from "../../shared/api.ts";
import { requireUser } from "../accounts/session.ts";
import type { App, Env } from "../env.ts";

/** Questions whose cost is asked for at once; what is left over has its turn the next time. */
const settledAtOnce = 40;

export const costs = new Hono<App>();
costs.use(requireUser);

/** What each feature cost the one who asks. */
costs.get("/", async (c) => {
  await settle(c.env, c.var.user.id);
  const { results } = await c.env.DB.prepare(
    `SELECT feature, count(*) AS questions, sum(cached) AS cached, sum(tokens) AS tokens,
            coalesce(sum(cost), 0) AS cost, count(*) - count(cost) AS unknown
     FROM questions WHERE user_id = ? GROUP BY feature ORDER BY feature`,
  )
    .bind(c.var.user.id)
    .all<FeatureCost>();
  return c.json<FeatureCost[]>(results);
});

/** Takes over what the gateway's logs say of questions that are answered by now. */
async function settle({ AI, DB, GATEWAY }: Env, userId: string): Promise<void> {
  const { results } = await DB.prepare(
    "SELECT log_id AS id FROM questions WHERE user_id = ? AND settled = 0 ORDER BY asked_at DESC LIMIT ?",
  )
    .bind(userId, settledAtOnce)
    .all<{ id: string }>();
  const gateway = AI.gateway(GATEWAY);
  const updates = await Promise.all(
    results.map(async ({ id }) => {
      // A log comes after its answer's last word, so it may not be there yet.
      const log = await gateway.getLog(id).catch(() => undefined);
      if (log === undefined) return [];
      const tokens = (log.tokens_in ?? 0) + (log.tokens_out ?? 0);
      return DB.prepare("UPDATE questions SET settled = 1, cached = ?, tokens = ?, cost = ? WHERE log_id = ?").bind(
        log.cached ? 1 : 0,
        log.cached ? 0 : tokens,
        log.cost ?? null,
        id,
      );
    }),
  );
  if (updates.flat().length > 0) await DB.batch(updates.flat());
}
