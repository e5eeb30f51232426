import { workerData } from "node:worker_threads";
import { runWriter, type WriterData } from "#db/writer-thread.ts";
import type { DatabaseSchema } from "#db/schema.ts";

/** Every product's tables and changes. Each file names the ones that it holds, and its writer loads no others. */
const schemas: Record<string, () => Promise<DatabaseSchema>> = {
  accounts: async () => (await import("#products/accounts/writes.ts")).accountsSchema,
  "ai-gateway": async () => (await import("#products/ai-gateway/writes.ts")).aiGatewaySchema,
  cron: async () => (await import("#products/cron/writes.ts")).cronSchema,
  d1: async () => (await import("#products/d1/writes.ts")).d1Schema,
  durable_objects: async () => (await import("#products/durable-objects/writes.ts")).objectsSchema,
  kv: async () => (await import("#products/kv/writes.ts")).kvSchema,
  queues: async () => (await import("#products/queues/writes.ts")).queuesSchema,
  r2: async () => (await import("#products/r2/writes.ts")).r2Schema,
  "r2-hosts": async () => (await import("#products/r2/public-hosts.ts")).r2HostsSchema,
  vectorize: async () => (await import("#products/vectorize/writes.ts")).vectorizeSchema,
  workflows: async () => (await import("#products/workflows/writes.ts")).workflowsSchema,
  workers: async () => (await import("#products/workers/writes.ts")).workersSchema,
  zones: async () => (await import("#products/zones/writes.ts")).zonesSchema,
};

/** The writer thread of a database file. */
const { products } = workerData as WriterData;
const own = products.map(async (product) => {
  const load = schemas[product];
  if (!load) throw new Error(`no tables are known for ${product}`);
  return load();
});
runWriter(await Promise.all(own));
