import { startIngress, type IngressOptions } from "#ingress/server.ts";
import type { RoutingTable } from "#runtime/routes.ts";

/**
 * The ingress alone in a process: `node test/support/serve-ingress.ts <json>`. Prints its ports; ends on SIGTERM. `name` tells
 * several in one folder apart.
 */
const {
  folder,
  table,
  name = "admin",
  siblingRoutes = [],
  ...options
} = JSON.parse(process.argv[2] ?? "{}") as {
  folder: string;
  table?: RoutingTable;
  name?: string;
  siblingRoutes?: string[];
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
    routes: `${folder}/${name}.json`,
    siblingRoutes,
    admin: `${folder}/${name}.sock`,
    console: `${folder}/console.sock`,
    platform: (workerId) => `${folder}/${workerId}.sock`,
  },
});
if (table) await ingress.putTable("bench", table);
process.on("SIGTERM", () => {
  void ingress.close().then(() => process.exit(0));
});
process.stdout.write(`${ingress.port} ${ingress.tlsPort}\n`);
