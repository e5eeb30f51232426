import type { ImportRequest } from "./archives/import-archive.ts";
import type { ToRead } from "./reading/queue.ts";

/** What wrangler.jsonc and `wrangler secret put` give to the Worker. */
export interface Env {
  DB: D1Database;
  SESSIONS: KVNamespace;
  UPLOADS: R2Bucket;
  /** Documents that are to be read, so that they can be asked. */
  READING: Queue<ToRead>;
  /** Takes archives apart into documents. */
  IMPORTS: Workflow<ImportRequest>;
  AI: Ai;
  JWT_SECRET: string;
  ENVIRONMENT: string;
  /** The AI Gateway that questions go through. */
  GATEWAY: string;
  SIGN_UP: "open" | "closed";
}

export interface User {
  id: string;
  email: string;
}

/** What Hono passes along: `user` is there behind `requireUser`. */
export interface App {
  Bindings: Env;
  Variables: { user: User };
}
