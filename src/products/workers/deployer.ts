import type { RunnableVersion } from "#products/workers/runnable.ts";

/** What the control plane asks of the part that runs processes. */
export interface Deployer {
  /**
   * Starts the version once and keeps the process for the deployment that follows. Refused with error 10021 when it
   * does not start; the process is ended when `signal` aborts.
   */
  trial(request: TrialRequest, signal: AbortSignal): Promise<TrialOutcome>;
  /** Why workerd would refuse this date and these flags for a Worker of a user; undefined when it accepts them. */
  refusesCompatibility(date: string, flags: readonly string[]): Promise<string | undefined>;
  /** Resolves when the ingress serves what the control database says now. */
  settle(): Promise<void>;
}

export type TrialRequest = {
  version: RunnableVersion;
  /** Sealed texts by binding name, base64. */
  secrets: Record<string, string>;
  /** Folder that holds the modules of a version that is not accepted yet, each file named by its hash. */
  stagingFolder?: string;
};

export type TrialOutcome = {
  startupMs: number;
  handlers: string[] | null;
  namedHandlers: { name: string; handlers: string[] }[];
};
