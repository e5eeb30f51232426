import { runWriter } from "#db/writer-thread.ts";
import { accountsSchema } from "#products/accounts/writes.ts";
import { d1Schema } from "#products/d1/writes.ts";
import { queuesSchema } from "#products/queues/writes.ts";
import { workersSchema } from "#products/workers/writes.ts";

/** The writer thread of a database file: every product's tables and changes, of which a file names the ones it holds. */
runWriter([accountsSchema, workersSchema, queuesSchema, d1Schema]);
