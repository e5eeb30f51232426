import { z } from "zod";
import { accountOf, createRoutes, ok, pageOf, param, readJson, type Api } from "#http/app.ts";
import { paginate } from "#http/envelope.ts";
import { apiErrors } from "#http/errors.ts";
import { accountErrors } from "#products/accounts/errors.ts";
import { limits, type Account } from "#products/accounts/schema.ts";
import type { AccountStore } from "#products/accounts/store.ts";

/** `/user`, `/accounts`, `/memberships`: what wrangler's `whoami` and account choice read (wrangler-api §2). */
export function identityRoutes(accounts: AccountStore): Api {
  const app = createRoutes();
  app.get("/user", (c) => {
    const { tokenId, email } = c.get("principal");
    return ok(c, { id: tokenId, email });
  });
  app.get("/user/tokens/verify", (c) => ok(c, { id: c.get("principal").tokenId, status: "active" }));
  app.get("/accounts", async (c) => {
    const owned = await accounts.getMany(c.get("principal").accountIds);
    const { items, info } = paginate(owned.map(accountJson), pageOf(c, { perPage: 20, perPageMax: 50 }));
    return ok(c, items, info);
  });
  app.get("/memberships", async (c) => {
    const owned = await accounts.getMany(c.get("principal").accountIds);
    const all = owned.map((account) => ({
      id: account.id,
      status: "accepted",
      account: { id: account.id, name: account.name },
      roles: ["Super Administrator - All Privileges"],
    }));
    const { items, info } = paginate(all, pageOf(c, { perPage: 20, perPageMax: 50 }));
    return ok(c, items, info);
  });
  return app;
}

const label = z
  .string()
  .max(limits.subdomainLength)
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/);

/** Below `/accounts/:account_id`. */
export function accountRoutes(accounts: AccountStore): Api {
  const app = createRoutes();
  app.get("/", async (c) => ok(c, accountJson(await mine(accounts, accountOf(c)))));
  app.get("/workers/subdomain", async (c) => ok(c, { subdomain: (await mine(accounts, accountOf(c))).subdomain }));
  app.put("/workers/subdomain", async (c) => {
    const { subdomain } = await readJson(c, z.looseObject({ subdomain: z.string() }));
    if (!label.safeParse(subdomain).success) throw accountErrors.subdomainInvalid();
    await accounts.setSubdomain(accountOf(c), subdomain);
    return ok(c, { subdomain });
  });
  app.get("/workers/subdomains/:name", async (c) => {
    throw (await accounts.subdomainIsTaken(param(c, "name")))
      ? accountErrors.subdomainTaken()
      : accountErrors.subdomainFree();
  });
  return app;
}

async function mine(accounts: AccountStore, accountId: string): Promise<Account> {
  const account = await accounts.get(accountId);
  if (!account) throw apiErrors.noRoute(`/accounts/${accountId}`);
  return account;
}

function accountJson(account: Account) {
  return {
    id: account.id,
    name: account.name,
    type: "standard",
    settings: { enforce_twofactor: false },
    created_on: account.createdOn,
  };
}
