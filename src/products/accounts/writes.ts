import { transaction, type DatabaseSchema } from "#db/schema.ts";
import { accountErrors } from "#products/accounts/errors.ts";

type NewAccount = { id: string; name: string; subdomain: string; createdOn: string };
type NewToken = { id: string; accountId: string; name: string; hash: string; createdOn: string };

/** Makes the first account, unless there is one. Answers the id of the oldest account. */
export const ensureFirstAccount = transaction("accounts.ensureFirst", (db, account: NewAccount): string => {
  const first = db.prepare("SELECT id FROM accounts ORDER BY created_on, id LIMIT 1").get();
  if (first) return String(first["id"]);
  insertAccount(db, account);
  return account.id;
});

export const createAccount = transaction("accounts.create", (db, account: NewAccount): void =>
  insertAccount(db, account),
);

/** Makes `hash` a token of the account; nothing happens when it is one. */
export const ensureToken = transaction("accounts.ensureToken", (db, token: NewToken): void => {
  db.prepare(
    "INSERT INTO tokens (id, account_id, name, hash, created_on) VALUES (?, ?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING",
  ).run(token.id, token.accountId, token.name, token.hash, token.createdOn);
});

export const setSubdomain = transaction(
  "accounts.setSubdomain",
  (db, change: { accountId: string; subdomain: string }): void => {
    const taken = db
      .prepare("SELECT id FROM accounts WHERE subdomain = ? AND id <> ?")
      .get(change.subdomain, change.accountId);
    if (taken) throw accountErrors.subdomainTaken();
    db.prepare("UPDATE accounts SET subdomain = ? WHERE id = ?").run(change.subdomain, change.accountId);
  },
);

function insertAccount(db: Parameters<typeof createAccount.run>[0], account: NewAccount): void {
  db.prepare("INSERT INTO accounts (id, name, subdomain, created_on) VALUES (?, ?, ?, ?)").run(
    account.id,
    account.name,
    account.subdomain,
    account.createdOn,
  );
}

export const accountsSchema: DatabaseSchema = {
  product: "accounts",
  migrations: [
    `CREATE TABLE accounts (
       id TEXT PRIMARY KEY,
       name TEXT NOT NULL,
       subdomain TEXT NOT NULL UNIQUE,
       created_on TEXT NOT NULL
     ) STRICT;
     CREATE TABLE tokens (
       id TEXT PRIMARY KEY,
       account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
       name TEXT NOT NULL,
       hash TEXT NOT NULL UNIQUE,
       created_on TEXT NOT NULL
     ) STRICT;`,
  ],
  transactions: [ensureFirstAccount, createAccount, ensureToken, setSubdomain],
};
