import { createHash } from "node:crypto";
import { newHexId } from "#core/ids.ts";
import type { Database } from "#db/database.ts";
import type { Principal } from "#http/app.ts";
import { ownerEmail, type Account } from "#products/accounts/schema.ts";
import * as writes from "#products/accounts/writes.ts";

/** Accounts, and the tokens that act for them. */
export interface AccountStore {
  /** Who a token stands for; undefined when it is unknown. */
  principalOf(token: string): Promise<Principal | undefined>;
  get(accountId: string): Promise<Account | undefined>;
  getMany(accountIds: readonly string[]): Promise<Account[]>;
  /** Every account; for the parts of the platform that serve all of them. */
  list(): Promise<Account[]>;
  create(account: { name: string; subdomain: string }): Promise<Account>;
  addToken(token: { accountId: string; name: string; token: string }): Promise<void>;
  /**
   * The first account, made now if there is none, with `token` as a token of it. `subdomain` is what it has from now on;
   * without, it keeps the one it has.
   */
  ensureFirst(token: string, subdomain?: string): Promise<string>;
  setSubdomain(accountId: string, subdomain: string): Promise<void>;
  subdomainIsTaken(subdomain: string): Promise<boolean>;
}

export function accountStore(db: Database): AccountStore {
  const accountColumns = "SELECT id, name, subdomain, created_on FROM accounts";
  const store: AccountStore = {
    async principalOf(token) {
      const row = db.prepare("SELECT id, account_id FROM tokens WHERE hash = ?").get(hashToken(token));
      return row
        ? { tokenId: String(row["id"]), accountIds: [String(row["account_id"])], email: ownerEmail }
        : undefined;
    },
    async get(accountId) {
      const row = db.prepare(`${accountColumns} WHERE id = ?`).get(accountId);
      return row ? toAccount(row) : undefined;
    },
    async getMany(accountIds) {
      const found = await Promise.all(accountIds.map((id) => store.get(id)));
      return found.filter((account) => account !== undefined);
    },
    async list() {
      return db.prepare(`${accountColumns} ORDER BY created_on, id`).all().map(toAccount);
    },
    async create({ name, subdomain }) {
      const account = { id: newHexId(), name, subdomain, createdOn: new Date().toISOString() };
      await db.write(writes.createAccount, account);
      return account;
    },
    async addToken({ accountId, name, token }) {
      await db.write(writes.ensureToken, {
        id: newHexId(),
        accountId,
        name,
        hash: hashToken(token),
        createdOn: new Date().toISOString(),
      });
    },
    async ensureFirst(token, subdomain) {
      const createdOn = new Date().toISOString();
      const accountId = await db.write(writes.ensureFirstAccount, {
        id: newHexId(),
        name: "Solum",
        subdomain: subdomain ?? "solum",
        createdOn,
      });
      if (subdomain !== undefined && !(await store.subdomainIsTaken(subdomain)))
        await store.setSubdomain(accountId, subdomain);
      await store.addToken({ accountId, name: "Command line", token });
      return accountId;
    },
    async setSubdomain(accountId, subdomain) {
      await db.write(writes.setSubdomain, { accountId, subdomain });
    },
    async subdomainIsTaken(subdomain) {
      return db.prepare("SELECT 1 AS one FROM accounts WHERE subdomain = ?").get(subdomain) !== undefined;
    },
  };
  return store;
}

/** Tokens have 256 random bits, so a fast hash is enough and a look-up by it tells nothing through its timing. */
function hashToken(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

function toAccount(row: Record<string, unknown>): Account {
  return {
    id: String(row["id"]),
    name: String(row["name"]),
    subdomain: String(row["subdomain"]),
    createdOn: String(row["created_on"]),
  };
}
