import { Hono, type Context } from "hono";
import type { Account } from "../../shared/api.ts";
import { limits } from "../../shared/limits.ts";
import type { App, User } from "../env.ts";
import { errors } from "../errors.ts";
import { readJson, text } from "../input.ts";
import { countAttempt, forgetAttempts } from "./attempts.ts";
import { hashPassword, verifyPassword } from "./password.ts";
import { currentUser, endSession, startSession } from "./session.ts";

export const accounts = new Hono<App>();

/** Sign up. */
accounts.post("/account", async (c) => {
  if (c.env.SIGN_UP !== "open") throw errors.signUpClosed();
  const { email, password } = await readCredentials(c);
  const user: User = { id: crypto.randomUUID(), email };
  const { meta } = await c.env.DB.prepare(
    "INSERT INTO users (id, email, password, created_at) VALUES (?, ?, ?, ?) ON CONFLICT (email) DO NOTHING",
  )
    .bind(user.id, user.email, await hashPassword(password), Date.now())
    .run();
  if (meta.changes === 0) throw errors.emailTaken();
  await startSession(c, user);
  return c.json<Account>({ email }, 201);
});

/** Sign in. */
accounts.post("/session", async (c) => {
  const { email, password } = await readCredentials(c);
  const who = `${email} ${c.req.header("cf-connecting-ip") ?? ""}`;
  await countAttempt(c.env.DB, who);
  const user = await c.env.DB.prepare("SELECT id, email, password FROM users WHERE email = ?")
    .bind(email)
    .first<User & { password: string }>();
  if (!(await verifyPassword(password, user?.password)) || user === null) throw errors.wrongPassword();
  await forgetAttempts(c.env.DB, who);
  await startSession(c, { id: user.id, email: user.email });
  return c.json<Account>({ email: user.email });
});

/** Who is signed in; `null` is an answer and not an error, because the pages ask before they know. */
accounts.get("/session", async (c) => {
  const user = await currentUser(c);
  return c.json<Account | null>(user && { email: user.email });
});

/** Sign out. */
accounts.delete("/session", async (c) => {
  await endSession(c);
  return c.body(null, 204);
});

async function readCredentials(c: Context<App>): Promise<{ email: string; password: string }> {
  const body = await readJson(c);
  const email = text(body, "email", { max: limits.emailLength }).trim().toLowerCase();
  if (!/^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(email)) throw errors.invalid("email", "This is not an email address.");
  const password = text(body, "password", { min: limits.passwordLengthMin, max: limits.passwordLengthMax });
  return { email, password };
}
