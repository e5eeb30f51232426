import { expect, test } from "vitest";
import { pollUntil } from "#core/deadline.ts";
import { FakeProvider, openai } from "../support/fake-provider.ts";
import { Solum } from "../support/start-solum.ts";

/** 2.5 and 10 dollars a million tokens. */
const usage = { prompt_tokens: 50, completion_tokens: 1000, total_tokens: 1050 };
const costNano = 50 * 2500 + 1000 * 10_000;
const chat = { model: "gpt-4o", max_tokens: 1000, messages: [{ role: "user", content: "Whose is the ground?" }] };

test("a spend limit holds through kill -9 of the gateway in the middle of 1,000 calls", async () => {
  await using provider = await FakeProvider.listen(async (request, response) => {
    // Slow enough that many are under way when the process dies.
    await new Promise((resolve) => setTimeout(resolve, 40));
    await openai({ usage })(request, response);
  });
  await using solum = await Solum.start("--ai-providers", `openai=${provider.url}`);
  const account = solum.environment["CLOUDFLARE_ACCOUNT_ID"];
  await solum.api("POST", "/ai-gateway/gateways", {
    id: "main",
    cache_invalidate_on_update: false,
    cache_ttl: 0,
    collect_logs: true,
    rate_limiting_interval: 0,
    rate_limiting_limit: 0,
    spend_limits: { enabled: true, rules: [{ id: "dollar", limitType: "cost", limit: 1, window: 86_400 }] },
  });
  const ask = async () => {
    const answer = await solum
      .request("gateway.localhost", `/v1/${account}/main/openai/chat/completions`, {
        method: "POST",
        headers: { authorization: "Bearer sk-test", "content-type": "application/json" },
        body: JSON.stringify(chat),
      })
      .catch(() => undefined);
    return answer?.status ?? 0;
  };
  const pids = async () => {
    const { output } = await solum.run("status", "--json", "--data", solum.data);
    const { processes } = JSON.parse(output) as { processes: { name: string; pid: number; state: string }[] };
    return processes.find(({ name }) => name === "ai");
  };
  const before = (await pids())?.pid ?? 0;
  let left = 1000;
  const client = async () => {
    while (left-- > 0) await ask();
  };
  const clients = Array.from({ length: 24 }, client);
  await pollUntil({ ms: 30_000, everyMs: 2, what: "some calls" }, () =>
    provider.requests.length > 30 ? true : undefined,
  );
  process.kill(before, "SIGKILL");
  await Promise.all(clients);
  const after = await pollUntil({ ms: 30_000, everyMs: 50, what: "the gateway's return" }, async () => {
    const found = await pids();
    return found && found.pid !== before && found.state === "ready" ? found.pid : undefined;
  });
  expect(after).not.toBe(before);
  // Calls that find the process away cost nothing; those after it go on counting where it stopped.
  for (let more = 0; more < 150; more++) await ask();
  const spent = provider.requests.length * costNano;
  expect(spent).toBeLessThanOrEqual(1e9 + costNano);
  // What died with the process counts as spent at its estimate, so the dollar is nearly used up.
  expect(spent).toBeGreaterThan(0.6e9);
  expect(await ask()).toBe(429);
});
