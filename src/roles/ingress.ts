import { processVariable } from "#environment.ts";
import { startIngress } from "#ingress/server.ts";
import { openRole, serveUntilTold } from "#roles/role.ts";

/** The public front door; `index` tells one from the others that share the port. */
export async function runIngress(runtimeFolder: string, index: number): Promise<void> {
  const { config, data, runtime } = await openRole(runtimeFolder);
  const others = Array.from({ length: config.ingressProcesses }, (_, other) => other).filter(
    (other) => other !== index,
  );
  const ingress = await startIngress({
    host: config.host,
    port: config.port,
    ...(config.tlsPort === undefined
      ? {}
      : {
          tls: {
            port: config.tlsPort,
            certificates: config.tlsCert.map((cert, at) => ({ cert, key: config.tlsKey[at] ?? "" })),
          },
        }),
    sharesPort: config.ingressProcesses > 1,
    consoleHost: config.consoleHost,
    appDomain: config.appDomain,
    publicScheme: config.publicScheme,
    colo: config.colo,
    requestBodyBytes: config.requestBodyBytes,
    drainMs: config.drainMs,
    capabilityKey: Buffer.from(processVariable("SOLUM_CAPABILITY_KEY"), "hex"),
    paths: {
      routes: data.routes(index),
      siblingRoutes: others.map((other) => data.routes(other)),
      admin: runtime.ingress(index),
      console: runtime.control,
      supervisor: runtime.supervisor,
      events: index === 0 ? runtime.events : undefined,
      platform: index === 0 ? (workerId) => runtime.worker(workerId).platform : undefined,
    },
  });
  await serveUntilTold("ingress", () => ingress.close());
}
