import { randomUUID } from "node:crypto";
import { z } from "zod";
import { createRoutes, ok, param, readJson, type Api, type ApiContext } from "#http/app.ts";
import { bucketRef } from "#products/r2/bucket-ref.ts";
import { r2Errors } from "#products/r2/errors.ts";
import { publicHost } from "#products/r2/public-host.ts";
import type { PublicHosts } from "#products/r2/public-hosts.ts";
import type { BucketRef } from "#products/r2/schema.ts";
import {
  defaultLifecycle,
  newNotificationRule,
  settingSchemas,
  tlsVersions,
  type CustomDomain,
  type NotificationRule,
  type QueueNotifications,
} from "#products/r2/settings.ts";
import type { R2Settings } from "#products/r2/settings-store.ts";
import type { R2Store } from "#products/r2/store.ts";

export type SettingParts = {
  store: R2Store;
  settings: R2Settings;
  hosts: PublicHosts;
  appDomain: string;
  /** The name of a zone of the account; undefined when there is none. */
  zoneName: (accountId: string, zoneId: string) => Promise<string | undefined>;
  /** Whether a host is a Worker's or one that the platform keeps. */
  hostIsTaken: (accountId: string, host: string) => Promise<boolean>;
  /** The name of a queue of the account; throws when there is none. */
  queueName: (accountId: string, queueId: string) => Promise<string>;
  /** Resolves when the ingress knows what was written about hosts. */
  settle: () => Promise<void>;
};

/** Below `/r2/buckets/:bucket` (https://developers.cloudflare.com/api/resources/r2/subresources/buckets/). */
export function settingRoutes(parts: SettingParts): Api {
  const app = createRoutes();
  const { settings } = parts;
  for (const name of ["cors", "lifecycle", "lock"] as const) {
    app.get(`/${name}`, async (c) => {
      const rules = await settings.get(bucketRef(c), name);
      if (name === "cors" && !rules) throw r2Errors.noCors();
      return ok(c, { rules: rules ?? (name === "lifecycle" ? defaultLifecycle : []) });
    });
    app.put(`/${name}`, async (c) => {
      const schema: z.ZodType<{ rules: unknown[] }> = settingSchemas[name];
      const { rules } = await readJson(c, schema);
      // Each kind of rules was checked by its own schema.
      await settings.set(bucketRef(c), name, rules as never);
      return ok(c, {});
    });
  }
  app.delete("/cors", async (c) => {
    await settings.set(bucketRef(c), "cors");
    return ok(c, {});
  });
  app.get("/domains/managed", async (c) => ok(c, await managedDomain(c, parts)));
  app.put("/domains/managed", async (c) => {
    const { enabled } = await readJson(c, z.object({ enabled: z.boolean() }));
    await settings.set(bucketRef(c), "devUrl", enabled);
    return ok(c, await managedDomain(c, parts));
  });
  addDomainRoutes(app, parts);
  addUnavailable(app, parts);
  return app;
}

async function managedDomain(c: ApiContext, { store, settings, appDomain }: SettingParts) {
  const ref = bucketRef(c);
  const { id } = await store.getBucket(ref);
  const enabled = (await settings.get(ref, "devUrl")) ?? false;
  return { bucketId: id, domain: publicHost(id, appDomain), enabled };
}

const hostName = z
  .string()
  .toLowerCase()
  .max(253)
  .regex(/^(?!-)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+$/, "is not a host name");
const domainSettings = { minTLS: z.enum(tlsVersions).optional(), ciphers: z.array(z.string()).optional() };
const newDomain = z.object({ domain: hostName, zoneId: z.string(), enabled: z.boolean(), ...domainSettings });
const domainChange = z.object({ enabled: z.boolean().optional(), ...domainSettings });

/** Custom domains of a bucket, https://developers.cloudflare.com/r2/buckets/public-buckets/. */
const domainsMax = 50;

function addDomainRoutes(app: Api, parts: SettingParts): void {
  const { store, settings, hosts } = parts;
  app.get("/domains/custom", async (c) => {
    const domains = await settings.listDomains(bucketRef(c));
    return ok(c, { domains: domains.map(domainJson) });
  });
  app.post("/domains/custom", async (c) => {
    const { domain, zoneId, enabled, minTLS } = await readJson(c, newDomain);
    const ref = bucketRef(c);
    const { id } = await store.getBucket(ref);
    const zoneName = await parts.zoneName(ref.accountId, zoneId);
    if (zoneName === undefined || (domain !== zoneName && !domain.endsWith(`.${zoneName}`)))
      throw r2Errors.domainOutsideZone(domain);
    if (await parts.hostIsTaken(ref.accountId, domain)) throw r2Errors.domainTaken();
    if ((await settings.listDomains(ref)).length >= domainsMax) throw r2Errors.tooManyDomains(domainsMax);
    // First the host, which alone shows nothing; on the way back the other way round.
    await hosts.claim({ host: domain, accountId: ref.accountId, bucketId: id });
    // A Worker may have got it since the look above; from the claim on none can.
    if (await parts.hostIsTaken(ref.accountId, domain)) {
      await hosts.release({ host: domain, bucketId: id });
      throw r2Errors.domainTaken();
    }
    const added: CustomDomain = { domain, enabled, zoneId, zoneName, ...(minTLS && { minTLS }) };
    await settings.addDomain(ref, added);
    await parts.settle();
    return ok(c, domainJson(added));
  });
  app.get("/domains/custom/:domain", async (c) => ok(c, domainJson(await findDomain(c, settings))));
  app.put("/domains/custom/:domain", async (c) => {
    const { enabled, minTLS } = await readJson(c, domainChange);
    const changed = {
      ...(await findDomain(c, settings)),
      ...(enabled !== undefined && { enabled }),
      ...(minTLS && { minTLS }),
    };
    await settings.updateDomain(bucketRef(c), changed);
    return ok(c, domainJson(changed));
  });
  app.delete("/domains/custom/:domain", async (c) => {
    const ref = bucketRef(c);
    const { id } = await store.getBucket(ref);
    const { domain } = await findDomain(c, settings);
    await settings.removeDomain(ref, domain);
    await hosts.release({ host: domain, bucketId: id });
    await parts.settle();
    return ok(c, { domain });
  });
}

async function findDomain(c: ApiContext, settings: R2Settings): Promise<CustomDomain> {
  const host = param(c, "domain").toLowerCase();
  const found = (await settings.listDomains(bucketRef(c))).find(({ domain }) => domain === host);
  if (!found) throw r2Errors.noSuchDomain();
  return found;
}

/** Whoever runs this server has shown to own the zone; certificates are what the ingress has. */
function domainJson({ domain, enabled, minTLS = "1.0", zoneId, zoneName }: CustomDomain) {
  return { domain, enabled, status: { ownership: "active", ssl: "active" }, minTLS, zoneId, zoneName };
}

/** What stands on services of Cloudflare's that are not here is said plainly. */
function addUnavailable(app: Api, { settings }: SettingParts): void {
  /** Refuses a bucket that is not there, before anything is said of it. */
  const check = async (c: ApiContext) => void (await settings.usage(bucketRef(c)));
  app.get("/sippy", async (c) => {
    await check(c);
    return ok(c, { enabled: false });
  });
  app.delete("/sippy", async (c) => {
    await check(c);
    return ok(c, { enabled: false });
  });
  app.put("/sippy", async (c) => {
    await check(c);
    throw r2Errors.notHere("Sippy (incremental migration from another provider)");
  });
  // Every upload to this server is a local one.
  app.get("/local-uploads", async (c) => {
    await check(c);
    return ok(c, { enabled: false });
  });
  app.put("/local-uploads", async (c) => {
    await check(c);
    const { enabled } = await readJson(c, z.object({ enabled: z.boolean() }));
    if (enabled) throw r2Errors.notHere("Local uploads");
    return ok(c, { enabled });
  });
}

/** `/accounts/:account_id/r2-catalog`: 40401 is what wrangler takes for a bucket without a catalog. */
export function catalogRoutes(): Api {
  const app = createRoutes();
  app.get("/:bucket", () => {
    throw r2Errors.noCatalog();
  });
  app.all("*", () => {
    throw r2Errors.notHere("R2 Data Catalog");
  });
  return app;
}

/** Rules of one queue and one bucket. https://developers.cloudflare.com/r2/buckets/event-notifications/ */
const rulesPerQueue = 100;

/** `/accounts/:account_id/event_notifications/r2/:bucket/configuration`. */
export function notificationRoutes({ settings, queueName }: SettingParts): Api {
  const app = createRoutes();
  const read = async (ref: BucketRef) => (await settings.get(ref, "notifications")) ?? [];
  app.get("/", async (c) => {
    const ref = bucketRef(c);
    const queues = await read(ref);
    if (queues.length === 0) throw r2Errors.noNotifications();
    return ok(c, { bucketName: ref.name, queues });
  });
  app.put("/queues/:queue", async (c) => {
    const { rules } = await readJson(c, z.object({ rules: z.array(newNotificationRule).min(1).max(rulesPerQueue) }));
    const ref = bucketRef(c);
    const queueId = param(c, "queue");
    const name = await queueName(ref.accountId, queueId);
    const [queues, createdAt] = [await read(ref), new Date().toISOString()];
    const added = rules.map((rule): NotificationRule => ({ ...rule, ruleId: randomUUID(), createdAt }));
    const before = queues.find((one) => one.queueId === queueId);
    const changed: QueueNotifications = { queueId, queueName: name, rules: [...(before?.rules ?? []), ...added] };
    if (changed.rules.length > rulesPerQueue) throw r2Errors.tooManyRules(rulesPerQueue);
    await settings.set(ref, "notifications", [...queues.filter((one) => one !== before), changed]);
    return ok(c, { event_notification_detail_id: added[0]?.ruleId });
  });
  app.delete("/queues/:queue", async (c) => {
    const text = await c.req.text();
    const { ruleIds } = z
      .object({ ruleIds: z.array(z.string()).optional() })
      .parse(text === "" ? {} : (JSON.parse(text) as unknown));
    const ref = bucketRef(c);
    const queues = await read(ref);
    const before = queues.find((one) => one.queueId === param(c, "queue"));
    if (!before) throw r2Errors.noNotifications();
    const gone = new Set(ruleIds ?? before.rules.map(({ ruleId }) => ruleId));
    const rules = before.rules.filter(({ ruleId }) => !gone.has(ruleId));
    if (rules.length === before.rules.length) throw r2Errors.noNotifications();
    const others = queues.filter((one) => one !== before);
    await settings.set(ref, "notifications", rules.length > 0 ? [...others, { ...before, rules }] : others);
    return ok(c, {});
  });
  return app;
}
