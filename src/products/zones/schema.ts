import { z } from "zod";

/** A domain whose hosts an account may give to its Workers. Times are ISO texts. */
export type Zone = { id: string; accountId: string; name: string; createdOn: string; modifiedOn: string };

/** Requests of a zone that go to a Worker, or, without a script, to none although a wider route would match. */
export type ZoneRoute = {
  id: string;
  zoneId: string;
  zoneName: string;
  /** As it was written. */
  pattern: string;
  script: string | undefined;
};

/** A whole host of a zone that is a Worker's. */
export type CustomDomain = {
  id: string;
  zoneId: string;
  zoneName: string;
  hostname: string;
  script: string;
  enabled: boolean;
  previewsEnabled: boolean;
};

export const limits = {
  /** Characters of a host name (RFC 1035 §2.3.4). */
  hostLength: 253,
  zonesPerAccount: 1000,
  /** https://developers.cloudflare.com/workers/platform/limits/#routes-and-domains */
  routesPerZone: 1000,
  domainsPerZone: 100,
  /** Of one account, and of all: the whole routing table has to fit in the 64 MiB that the ingress takes. */
  perAccount: 5000,
  inAll: 20_000,
  /** Characters of a pattern. */
  patternLength: 1024,
} as const;

export const newZone = z.looseObject({
  name: z.string(),
  account: z.looseObject({ id: z.string() }).optional(),
});

export const routeBody = z.looseObject({ pattern: z.string(), script: z.string().nullish() });

const inZone = { zone_id: z.string().optional(), zone_name: z.string().optional() };

/** `PUT /workers/scripts/:name/routes`: all routes of the Worker. */
export const workerRoutesBody = z
  .array(z.union([z.string().transform((pattern) => ({ pattern })), z.looseObject({ pattern: z.string(), ...inZone })]))
  .max(limits.routesPerZone);

const origin = z.looseObject({
  hostname: z.string(),
  ...inZone,
  enabled: z.boolean().default(true),
  previews_enabled: z.boolean().default(false),
});

/** `POST …/domains/changeset`: what wrangler is about to ask for. */
export const changesetBody = z.array(origin).max(limits.domainsPerZone);

/** `PUT …/domains/records`: all custom domains of the Worker. */
export const domainRecordsBody = z.looseObject({
  override_scope: z.boolean().default(true),
  override_existing_origin: z.boolean().default(false),
  origins: changesetBody,
});

/** `PUT /workers/domains` of the public API: one more custom domain. */
export const domainBody = z.looseObject({
  hostname: z.string(),
  service: z.string(),
  environment: z.string().optional(),
  ...inZone,
});
