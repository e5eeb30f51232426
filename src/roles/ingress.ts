import { processVariable } from "#environment.ts";
import { startIngress } from "#ingress/server.ts";
import { openRole, serveUntilTold } from "#roles/role.ts";

/** The public front door. */
export async function runIngress(runtimeFolder: string): Promise<void> {
  const { config, data, runtime } = await openRole(runtimeFolder);
  const ingress = await startIngress({
    host: config.host,
    port: config.port,
    consoleHost: config.consoleHost,
    appDomain: config.appDomain,
    publicScheme: config.publicScheme,
    colo: config.colo,
    requestBodyBytes: config.requestBodyBytes,
    drainMs: config.drainMs,
    capabilityKey: Buffer.from(processVariable("SOLUM_CAPABILITY_KEY"), "hex"),
    paths: {
      routes: data.routes,
      admin: runtime.ingress,
      console: runtime.control,
      platform: (workerId) => runtime.worker(workerId).platform,
    },
  });
  await serveUntilTold("ingress", () => ingress.close());
}
