import { externalService } from "#core/binding-piece.ts";
import { signCapability } from "#core/capability.ts";
import { CapnpRaw, embed, type CapnpValue } from "#core/capnp-text.ts";
import type { WorkerLayout } from "#core/layout.ts";
import type { RouterSettings } from "#runtime/router-settings.ts";
import { platformCapabilities, privateHeaders } from "#runtime/routes.ts";

/** Capability kinds of the router's two ways into the platform: the ingress by public host name, and questions to control. */
export const routerCapabilities = { platform: platformCapabilities.router, control: "egress" } as const;

/** Requests carry the whole URL: the egress process must know where they go. */
const proxyStyle = new CapnpRaw("proxy");

/** Names in a configuration. */
export const routerService = "router";
export const routerCacheEntrypoint = "cache";
export const routerEventsEntrypoint = "events";

/** Lets the router hand events to the user's Worker. It would expose V8's deserializer to user code, which must never have it. */
const eventsFlag = "service_binding_extra_handlers";

/**
 * The services through which a Worker's `fetch()`, `connect()` and Cache API calls leave. `script` is the file of
 * `router.worker.ts` beside the configuration.
 */
export function routerServices(options: {
  workerId: string;
  layout: WorkerLayout;
  capabilityKey: Buffer;
  settings: RouterSettings;
  script: string;
  /** The user's Worker, which gets the events that come by the router. */
  user: string;
}): CapnpValue[] {
  const { layout, settings, workerId } = options;
  const capability = (kind: string) => signCapability(options.capabilityKey, { scope: workerId, kind, resource: "" });
  return [
    {
      name: routerService,
      worker: {
        modules: [{ name: "router.js", esModule: embed(options.script) }],
        compatibilityDate: "2026-11-01",
        // A `connect` handler needs `experimental`; passing connections through natively needs no handler, and tells the
        // caller about a refused one, which a handler cannot.
        compatibilityFlags: [settings.reachesLoopback ? "experimental" : "connect_pass_through", eventsFlag],
        globalOutbound: "router-egress",
        bindings: [
          { name: "OWN", json: JSON.stringify(settings) },
          { name: "PLATFORM", service: "router-platform" },
          { name: "EGRESS", service: "router-egress" },
          { name: "CONTROL", service: "router-control" },
          { name: "USER", service: options.user },
        ],
      },
    },
    externalService({
      name: "router-platform",
      socket: layout.platform,
      capability: capability(routerCapabilities.platform),
      http: { cfBlobHeader: privateHeaders.cf, forwardedProtoHeader: privateHeaders.proto },
    }),
    { name: "router-egress", external: { address: `unix:${layout.egress}`, http: { style: proxyStyle } } },
    externalService({
      name: "router-control",
      socket: layout.log,
      capability: capability(routerCapabilities.control),
    }),
  ];
}
