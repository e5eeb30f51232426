import { join } from "node:path";

/**
 * Every path of an installation. `data` holds what must survive; `runtime` holds sockets and generated files, and can be
 * made anew. Nothing in a name comes from a user: only ids that we made.
 */
export function dataLayout(data: string) {
  return {
    root: data,
    /** Held by the supervisor for as long as it lives. */
    lock: join(data, "lock"),
    /** Where a running instance is: read by other commands. */
    instance: join(data, "instance.json"),
    keys: join(data, "keys"),
    masterKey: join(data, "keys", "master.key"),
    token: join(data, "keys", "token"),
    logs: join(data, "logs"),
    log: (process: string) => join(data, "logs", `${process}.log`),
    control: join(data, "control"),
    controlLock: join(data, "control", "lock"),
    controlDb: join(data, "control", "control.db"),
    /** Uploads that are not accepted yet; emptied at start. */
    staging: join(data, "control", "staging"),
    /** SQL files on their way into databases; emptied at start. */
    imports: join(data, "control", "imports"),
    /** Modules and assets by the SHA-256 of their bytes. */
    blobs: join(data, "control", "blobs"),
    blob: (hash: string) => join(data, "control", "blobs", hash.slice(0, 2), hash),
    /** Each distinct set of assets: a folder of hard links, and beside it which file has which type. */
    assetTrees: join(data, "control", "assets"),
    assetFiles: (tree: string) => join(data, "control", "assets", tree, "files"),
    assetManifest: (tree: string) => join(data, "control", "assets", tree, "manifest.json"),
    /** Files of a set that were uploaded for it, without those kept from earlier sets. */
    assetOwn: (tree: string) => join(data, "control", "assets", tree, "own.json"),
    state: join(data, "state"),
    stateLock: join(data, "state", "lock"),
    kvDb: join(data, "state", "kv.db"),
    kvValues: join(data, "state", "kv"),
    queuesDb: join(data, "state", "queues.db"),
    r2Db: join(data, "state", "r2.db"),
    r2Blobs: join(data, "state", "r2"),
    d1Host: (host: number) => join(data, "d1", String(host)),
    d1Lock: (host: number) => join(data, "d1", String(host), "lock"),
    /** Modules of Workers' processes that run: links to their blobs, a folder for each process, so that it sees no others. */
    modules: join(data, "modules"),
    modulesOf: (processId: string) => join(data, "modules", processId),
    /** Durable Objects: a folder for each Worker that has some, in it one for each namespace. */
    objects: join(data, "objects"),
    objectsOf: (workerId: string) => join(data, "objects", workerId),
    /** Beside the folder, which the Worker's process can write to. */
    objectsLock: (workerId: string) => join(data, "objects", `${workerId}.lock`),
    ai: join(data, "ai"),
    aiLock: join(data, "ai", "lock"),
    aiDb: join(data, "ai", "ai.db"),
    vectors: join(data, "vectors"),
    vectorsLock: join(data, "vectors", "lock"),
    vectorsDb: join(data, "vectors", "vectors.db"),
    /** What is made of the database to search it fast: graphs of indexes, and what they hold. */
    vectorGraphs: join(data, "vectors", "graphs"),
    ingress: join(data, "ingress"),
    ingressLock: (index: number) => join(data, "ingress", index === 0 ? "lock" : `lock-${index}`),
    /** The last routing table that was good, as each ingress process knows it. */
    routes: (index: number) => join(data, "ingress", index === 0 ? "routes.json" : `routes-${index}.json`),
  };
}

/** Name of an ingress process as a service; the first is the one that Workers reach. */
export function ingressName(index: number): string {
  return index === 0 ? "ingress" : `ingress-${index}`;
}

export type DataLayout = ReturnType<typeof dataLayout>;

/** Sockets and generated files. Kept short: a unix socket's path ends at 107 bytes. */
export function runtimeLayout(runtime: string) {
  return {
    root: runtime,
    /** The configuration as the supervisor read it. */
    config: join(runtime, "config.json"),
    supervisor: join(runtime, "supervisor.sock"),
    control: join(runtime, "control.sock"),
    /** REST calls to the stores in the state process. */
    stores: join(runtime, "stores.sock"),
    /** The S3 API and public buckets: the state process answers. */
    s3: join(runtime, "s3.sock"),
    /** Events for Workers, from the state process: the ingress listens. */
    events: join(runtime, "events.sock"),
    /** The table and counters of each ingress process. */
    ingress: (index: number) => join(runtime, `${ingressName(index)}.sock`),
    /** In folders of their own: Workers' processes see these, and nothing else that serves everybody. */
    egress: join(runtime, "egress", "egress.sock"),
    egressFolder: join(runtime, "egress"),
    /** The API's requests about AI Gateway, from the control process. */
    ai: join(runtime, "ai.sock"),
    /** The API's requests about Vectorize, from the control process. */
    vectors: join(runtime, "vectors.sock"),
    /** The gateways' public host, from the ingress. */
    gateway: join(runtime, "gateway.sock"),
    d1Host: (host: number) => join(runtime, "d1", `${host}.sock`),
    d1Folder: join(runtime, "d1"),
    /** Generated configuration of a process that we start ourselves. */
    service: (name: string) => join(runtime, "services", name),
    /** Configurations and output of Workers' processes, and the sockets that each listens on: seen by that process alone. */
    processes: join(runtime, "p"),
    process: (processId: string) => join(runtime, "p", processId),
    processSockets: join(runtime, "s"),
    socketsOf: (processId: string) => join(runtime, "s", processId),
    /** Where a Worker's objects are called: a folder for each, which processes that call them see. */
    owners: join(runtime, "o"),
    owner: (workerId: string) => ownerLayout(join(runtime, "o", workerId)),
    workers: join(runtime, "w"),
    /** One Worker's sockets: all that its processes can reach. */
    worker: (workerId: string) => workerLayout(join(runtime, "w", workerId)),
  };
}

export type RuntimeLayout = ReturnType<typeof runtimeLayout>;

function ownerLayout(root: string) {
  return { root, debug: join(root, "debug.sock") };
}

function workerLayout(root: string) {
  return {
    root,
    /** KV and R2 bindings: the state process listens. */
    state: join(root, "state.sock"),
    /** AI bindings: the AI process listens. */
    ai: join(root, "ai.sock"),
    /** Vectorize bindings: the process of vectors listens. */
    vectors: join(root, "vectors.sock"),
    /** Batches of log events: the control process listens. */
    log: join(root, "log.sock"),
    /** Service bindings and the platform's own host names: the ingress listens. */
    platform: join(root, "platform.sock"),
    /** Has the process of objects started that the Worker binds: the supervisor listens. */
    owner: join(root, "owner.sock"),
    /** Links to the sockets of processes that serve every Worker. */
    egress: join(root, "egress.sock"),
    d1Host: (host: number) => join(root, `d1-${host}.sock`),
  };
}

export type WorkerLayout = ReturnType<typeof workerLayout>;
