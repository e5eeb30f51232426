import type { Context } from "hono";
import { deleteCookie, getCookie, setCookie } from "hono/cookie";
import { createMiddleware } from "hono/factory";
import type { App, User } from "../env.ts";
import { errors } from "../errors.ts";

const cookie = "session";
const lifetimeSeconds = 14 * 24 * 60 * 60;

/** Signs `user` in: a random id in a cookie that scripts cannot read, and what it stands for in KV until it expires. */
export async function startSession(c: Context<App>, user: User): Promise<void> {
  const id = randomId();
  await c.env.SESSIONS.put(await keyOf(id), JSON.stringify(user), { expirationTtl: lifetimeSeconds });
  setCookie(c, cookie, id, {
    path: "/",
    maxAge: lifetimeSeconds,
    httpOnly: true,
    sameSite: "Lax",
    // `wrangler dev` speaks plain HTTP, and not every browser keeps a secure cookie from there.
    secure: new URL(c.req.url).protocol === "https:",
  });
}

export async function endSession(c: Context<App>): Promise<void> {
  const id = getCookie(c, cookie);
  if (id !== undefined) await c.env.SESSIONS.delete(await keyOf(id));
  deleteCookie(c, cookie, { path: "/" });
}

/** Who is signed in, if anybody. */
export async function currentUser(c: Context<App>): Promise<User | null> {
  const id = getCookie(c, cookie);
  return id === undefined ? null : c.env.SESSIONS.get<User>(await keyOf(id), "json");
}

/** Lets a request through only for somebody who is signed in, who is then `c.var.user`. */
export const requireUser = createMiddleware<App>(async (c, next) => {
  const user = await currentUser(c);
  if (user === null) throw errors.signedOut();
  c.set("user", user);
  await next();
});

/** KV holds a hash of the id: whoever can list the keys still cannot sign in with them. */
async function keyOf(id: string): Promise<string> {
  return `session:${hex(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(id))))}`;
}

function randomId(): string {
  return hex(crypto.getRandomValues(new Uint8Array(32)));
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
