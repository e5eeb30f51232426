import { randomBytes } from "node:crypto";
import { z } from "zod";
import { newHexId } from "#core/ids.ts";
import { accountOf, createRoutes, ok, pageOf, param, readJson, type Api } from "#http/app.ts";
import { paginate } from "#http/envelope.ts";
import { apiErrors } from "#http/errors.ts";
import { bucketName, jurisdictions } from "#products/r2/schema.ts";
import type { AccessKey, Grant } from "#products/r2/settings.ts";
import type { R2Settings } from "#products/r2/settings-store.ts";

/**
 * API tokens for R2 in the shape of https://developers.cloudflare.com/api/resources/accounts/subresources/tokens/: the
 * token's id is the access key id of the S3 API, the SHA-256 of its value the secret access key
 * (https://developers.cloudflare.com/r2/api/tokens/).
 */
const groups = [
  { id: "bf7481a1826f439697cb59a20b22293e", name: "Workers R2 Storage Write", on: "account", write: true },
  { id: "b4992e1108244f5d8bfbd5744320c2e1", name: "Workers R2 Storage Read", on: "account", write: false },
  { id: "2efd5506f9c8494dacb1fa10a3e7d5b6", name: "Workers R2 Storage Bucket Item Write", on: "bucket", write: true },
  { id: "6a018a9f2fc74eb6b293b0c548f38b39", name: "Workers R2 Storage Bucket Item Read", on: "bucket", write: false },
] as const;
const scopes = { account: "com.cloudflare.api.account", bucket: "com.cloudflare.edge.r2.bucket" } as const;

const time = z.iso.datetime({ offset: true });
const policy = z.object({
  id: z.string().optional(),
  effect: z.literal("allow"),
  permission_groups: z.array(z.object({ id: z.string(), name: z.string().optional() })).min(1),
  resources: z.record(z.string(), z.literal("*")),
});
const newToken = z.object({
  name: z.string().min(1).max(120),
  policies: z.array(policy).min(1).max(100),
  expires_on: time.optional(),
  not_before: time.optional(),
  status: z.enum(["active", "disabled"]).optional(),
});
type NewToken = z.infer<typeof newToken>;

/** `/accounts/:account_id/tokens`. A token is shown when it is made or rolled, and never again. */
export function tokenRoutes(settings: R2Settings): Api {
  const app = createRoutes();
  app.get("/permission_groups", (c) =>
    ok(
      c,
      groups.map(({ id, name, on }) => ({ id, name, scopes: [scopes[on]] })),
    ),
  );
  app.get("/", async (c) => {
    const keys = (await settings.listAccessKeys(accountOf(c))).map(tokenJson);
    const { items, info } = paginate(keys, pageOf(c, { perPage: 20, perPageMax: 50 }));
    return ok(c, items, info);
  });
  app.post("/", async (c) => {
    const given = await readJson(c, newToken);
    const now = new Date().toISOString();
    const accountId = accountOf(c);
    const key: AccessKey = {
      id: newHexId(),
      issuedOn: now,
      ...changeable(accountId, given),
      accountId,
      modifiedOn: now,
    };
    const value = newValue();
    await settings.addAccessKey(key, value);
    return ok(c, { ...tokenJson(key), value });
  });
  app.get("/:token", async (c) => ok(c, tokenJson(await settings.getAccessKey(accountOf(c), param(c, "token")))));
  app.put("/:token", async (c) => {
    const given = await readJson(c, newToken);
    const accountId = accountOf(c);
    const { id, issuedOn } = await settings.getAccessKey(accountId, param(c, "token"));
    const modifiedOn = new Date().toISOString();
    const key: AccessKey = { id, issuedOn, ...changeable(accountId, given), accountId, modifiedOn };
    await settings.updateAccessKey(key);
    return ok(c, tokenJson(key));
  });
  app.put("/:token/value", async (c) => {
    const key = await settings.getAccessKey(accountOf(c), param(c, "token"));
    const value = newValue();
    await settings.updateAccessKey({ ...key, modifiedOn: new Date().toISOString() }, value);
    return ok(c, value);
  });
  app.delete("/:token", async (c) => {
    const id = param(c, "token");
    await settings.removeAccessKey(accountOf(c), id);
    return ok(c, { id });
  });
  return app;
}

/** 320 random bits. */
function newValue(): string {
  return randomBytes(40).toString("base64url");
}

function changeable(accountId: string, given: NewToken) {
  const { name, policies, status = "active", expires_on: expiresOn, not_before: notBefore } = given;
  return {
    name,
    status,
    grants: policies.flatMap((one) => grantsOf(accountId, one)),
    policies: policies.map((one) => ({ ...one, id: one.id ?? newHexId() })),
    ...(expiresOn !== undefined && { expiresOn }),
    ...(notBefore !== undefined && { notBefore }),
  };
}

function grantsOf(accountId: string, { permission_groups, resources }: z.infer<typeof policy>): Grant[] {
  return permission_groups.map(({ id }): Grant => {
    const group = groups.find((one) => one.id === id);
    if (!group) throw apiErrors.invalid("policies.permission_groups", `${id} is not one of R2's permission groups`);
    const { write } = group;
    const names = Object.keys(resources);
    if (group.on === "account") {
      const whole = `${scopes.account}.${accountId}`;
      if (names.length !== 1 || names[0] !== whole) throw apiErrors.invalid("policies.resources", `must be ${whole}`);
      return { write };
    }
    return { write, buckets: names.map((name) => bucketOf(accountId, name)) };
  });
}

/** `com.cloudflare.edge.r2.bucket.<account id>_<jurisdiction>_<bucket>`. */
function bucketOf(accountId: string, resource: string): { name: string; jurisdiction: string } {
  const start = `${scopes.bucket}.${accountId}_`;
  const [, jurisdiction = "", name = ""] = /^([a-z-]+)_(.+)$/.exec(resource.slice(start.length)) ?? [];
  const known = jurisdictions.some((one) => one === jurisdiction) && bucketName.test(name);
  if (!resource.startsWith(start) || !known)
    throw apiErrors.invalid("policies.resources", `must be ${start}<jurisdiction>_<bucket>`);
  return { name, jurisdiction };
}

function tokenJson({ id, name, status, policies, issuedOn, modifiedOn, expiresOn, notBefore }: AccessKey) {
  return {
    id,
    name,
    status,
    policies,
    issued_on: issuedOn,
    modified_on: modifiedOn,
    ...(expiresOn !== undefined && { expires_on: expiresOn }),
    ...(notBefore !== undefined && { not_before: notBefore }),
  };
}
