import { startIngress, type IngressOptions } from "#ingress/server.ts";
import type { RoutingTable } from "#runtime/routes.ts";

/** The ingress alone in a process: `node test/support/serve-ingress.ts <json>`. Prints its port; ends on SIGTERM. */
const { folder, table, ...options } = JSON.parse(process.argv[2] ?? "{}") as {
  folder: string;
  table: RoutingTable;
} & Partial<IngressOptions>;

const ingress = await startIngress({
  host: "127.0.0.1",
  port: 0,
  consoleHost: "localhost",
  appDomain: "localhost",
  publicScheme: "http",
  colo: "SOL",
  requestBodyBytes: 1024 ** 3,
  drainMs: 1000,
  ...options,
  capabilityKey: Buffer.alloc(32, 1),
  paths: {
    routes: `${folder}/routes.json`,
    admin: `${folder}/admin.sock`,
    console: `${folder}/console.sock`,
    platform: (workerId) => `${folder}/${workerId}.sock`,
  },
});
await ingress.putTable("bench", table);
process.on("SIGTERM", () => {
  void ingress.close().then(() => process.exit(0));
});
process.stdout.write(`${ingress.port}\n`);
