import { runWriter } from "#db/writer-thread.ts";
import { accountsSchema } from "#products/accounts/writes.ts";
import { aiGatewaySchema } from "#products/ai-gateway/writes.ts";
import { d1Schema } from "#products/d1/writes.ts";
import { kvSchema } from "#products/kv/writes.ts";
import { queuesSchema } from "#products/queues/writes.ts";
import { r2HostsSchema } from "#products/r2/public-hosts.ts";
import { r2Schema } from "#products/r2/writes.ts";
import { cronSchema } from "#products/cron/writes.ts";
import { objectsSchema } from "#products/durable-objects/writes.ts";
import { workersSchema } from "#products/workers/writes.ts";
import { vectorizeSchema } from "#products/vectorize/writes.ts";
import { zonesSchema } from "#products/zones/writes.ts";

/** The writer thread of a database file: every product's tables and changes, of which a file names the ones it holds. */
runWriter([
  accountsSchema,
  aiGatewaySchema,
  d1Schema,
  kvSchema,
  r2Schema,
  r2HostsSchema,
  workersSchema,
  objectsSchema,
  cronSchema,
  queuesSchema,
  vectorizeSchema,
  zonesSchema,
]);
