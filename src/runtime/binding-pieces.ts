import { externalService, type BindingPiece } from "#core/binding-piece.ts";
import { signCapability } from "#core/capability.ts";
import { embed, type CapnpValue } from "#core/capnp-text.ts";
import type { WorkerScriptName } from "#core/entry.ts";
import type { WorkerLayout } from "#core/layout.ts";
import type { ResolvedBinding, RunnableVersion } from "#products/workers/runnable.ts";
import { workflowBinding } from "#products/workflows/piece.ts";
import { namespaceBinding } from "#runtime/object-pieces.ts";
import { assetsEntrypoint, assetsService } from "#runtime/assets-config.ts";
import { platformCapabilities, privateHeaders, serviceResource, sessionHost } from "#runtime/routes.ts";

/**
 * A file that must lie beside a configuration. `hash`: a link to the blob; `script`: a link to a built worker script; `text`:
 * written as it is.
 */
export type ConfigFile = { name: string } & ({ hash: string } | { script: WorkerScriptName } | { text: string });

/** What a product needs to know to write its binding's piece of a configuration. */
export type PieceContext = { name: string; workerId: string; socket: string; capabilityKey: Buffer };

/** The pieces that products write themselves. */
export type PieceMakers = {
  kv: (options: PieceContext & { namespaceId: string }) => BindingPiece;
  r2: (options: PieceContext & { bucketId: string }) => BindingPiece;
  queue: (options: PieceContext & { queueId: string }) => BindingPiece;
  d1: (
    options: Omit<PieceContext, "socket"> & { databaseId: string; host: number; socketOf: (host: number) => string },
  ) => BindingPiece;
  ai: (options: PieceContext & { accountId: string }) => BindingPiece;
  vectorize: (options: PieceContext & { indexId: string }) => BindingPiece;
};

/** What all bindings of a version add to its configuration. */
export type BindingPieces = BindingPiece & {
  extensions: CapnpValue[];
  files: ConfigFile[];
  environment: Record<string, string>;
};

type Piece = Partial<BindingPieces>;
type Options = {
  layout: WorkerLayout;
  capabilityKey: Buffer;
  pieces: PieceMakers;
  /** Set for the process that has the Worker's own objects. */
  objects?: unknown;
};

const serviceCapability = platformCapabilities.service;

export function bindingPieces(version: RunnableVersion, options: Options): BindingPieces {
  const all = version.bindings.map((binding, index) => pieceOf(binding, index, version, options));
  const named = all.flatMap((piece) => piece.modules ?? []).map((module) => [module.name, module] as const);
  const modules = [...new Map(named).values()];
  return {
    bindings: all.flatMap(({ bindings = [] }) => bindings),
    services: all.flatMap(({ services = [] }) => services),
    extensions: modules.map(({ name, script }) => ({ name, internal: true, esModule: embed(`${script}.js`) })),
    files: [
      ...all.flatMap(({ files = [] }) => files),
      ...modules.map(({ script }) => ({ name: `${script}.js`, script })),
    ],
    environment: Object.assign({}, ...all.map(({ environment = {} }) => environment)) as Record<string, string>,
  };
}

function pieceOf(binding: ResolvedBinding, index: number, version: RunnableVersion, options: Options): Piece {
  const { name } = binding;
  const { layout, capabilityKey, pieces } = options;
  const { workerId } = version;
  const context = (socket: string): PieceContext => ({ name, workerId, socket, capabilityKey });
  switch (binding.type) {
    case "plain_text":
      return { bindings: [{ name, text: binding.text }] };
    case "json":
      return { bindings: [{ name, json: JSON.stringify(binding.json) }] };
    case "secret_text": {
      const variable = `SOLUM_SECRET_${index}`;
      return { bindings: [{ name, fromEnvironment: variable }], environment: { [variable]: name } };
    }
    case "kv_namespace":
      return pieces.kv({ ...context(layout.state), namespaceId: binding.namespaceId });
    case "r2_bucket":
      return pieces.r2({ ...context(layout.state), bucketId: binding.bucketId });
    case "queue":
      return pieces.queue({ ...context(layout.state), queueId: binding.queueId });
    case "d1": {
      const { databaseId, host } = binding;
      return pieces.d1({ name, workerId, capabilityKey, databaseId, host, socketOf: layout.d1Host });
    }
    case "ai":
      return pieces.ai({ ...context(layout.ai), accountId: version.accountId });
    case "vectorize":
      return pieces.vectorize({ ...context(layout.vectors), indexId: binding.indexId });
    case "service":
      return servicePiece(binding, version, options);
    case "durable_object_namespace":
      return { bindings: [namespaceBinding(binding, version, options.objects !== undefined)] };
    case "workflow": {
      const isLocal = options.objects !== undefined && binding.placed?.owner === workerId;
      return { bindings: [workflowBinding(binding, isLocal)] };
    }
    case "assets":
      return { bindings: [{ name, service: { name: assetsService, entrypoint: assetsEntrypoint } }] };
    case "version_metadata": {
      const metadata = { id: version.versionId, tag: version.versionTag, timestamp: version.createdOn };
      return { bindings: [{ name, json: JSON.stringify(metadata) }] };
    }
    case "wasm_module":
    case "text_blob":
    case "data_blob": {
      const file = `b${index}`;
      return {
        bindings: [{ name, [blobField[binding.type]]: embed(file) }],
        files: [{ name: file, hash: binding.hash }],
      };
    }
    case "unsupported": {
      const about = { name: "about", json: JSON.stringify({ name, type: binding.wanted }) };
      const module = { name: "solum:unsupported", script: "unsupported" } as const;
      return {
        bindings: [{ name, wrapped: { moduleName: module.name, innerBindings: [about] } }],
        modules: [module],
      };
    }
  }
}

const blobField = { wasm_module: "wasmModule", text_blob: "text", data_blob: "data" } as const;

/** Goes to the ingress, which knows the current version of the callee. */
function servicePiece(
  { name, service, entrypoint, props }: ResolvedBinding & { type: "service" },
  version: RunnableVersion,
  options: Options,
): Piece {
  const serviceName = `service:${name}`;
  const capability = signCapability(options.capabilityKey, {
    scope: version.workerId,
    kind: serviceCapability,
    resource: serviceResource({ service: `${version.accountId}/${service}`, entrypoint, props }),
  });
  // `fetch` is HTTP, everything else a session of calls by `CONNECT`, which carries no headers of ours: its host says it all.
  // Without these two headers the callee would lose the scheme and `request.cf` (workerd-runtime §13).
  const http = {
    cfBlobHeader: privateHeaders.cf,
    forwardedProtoHeader: privateHeaders.proto,
    capnpConnectHost: sessionHost(capability),
  };
  return {
    bindings: [{ name, service: serviceName }],
    services: [externalService({ name: serviceName, socket: options.layout.platform, capability, http })],
  };
}
