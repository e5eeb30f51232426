/** What `router.worker.ts` knows about this installation. */
export type RouterSettings = {
  /** Public host names of the platform itself: console, S3, AI Gateway; lower case. */
  hosts: readonly string[];
  /** Workers answer below it. */
  domain: string;
  /** Ports of public addresses: the one that the ingress listens on, and that of a TLS proxy in front of it. */
  ports: readonly number[];
  listenPort: number;
  /** Whether Workers may connect to this machine's loopback addresses (`allowsLoopback`). */
  reachesLoopback: boolean;
  /** Addresses of this machine's interfaces. */
  addresses: readonly string[];
};
