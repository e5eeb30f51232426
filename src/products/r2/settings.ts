import { z } from "zod";

/** What a bucket is configured with, in the shapes of the REST API (https://developers.cloudflare.com/api/resources/r2/). */

/** Rules of one kind in a bucket: cloudflare-docs, r2/buckets/object-lifecycles and r2/buckets/bucket-locks. */
const rulesMax = 1000;
const text = z.string().max(1024);
const seconds = z.int().min(0);
/** `2026-11-25` or with a time of day. */
const date = z.string().refine((value) => !Number.isNaN(Date.parse(value)), "is not a date");

export const corsMethods = ["GET", "PUT", "POST", "DELETE", "HEAD"] as const;
const corsRule = z.object({
  id: text.optional(),
  allowed: z.object({
    origins: z.array(text).min(1).max(100),
    methods: z.array(z.enum(corsMethods)).min(1),
    headers: z.array(text).max(100).optional(),
  }),
  exposeHeaders: z.array(text).max(100).optional(),
  maxAgeSeconds: z.int().min(0).max(86_400).optional(),
});
export type CorsRule = z.infer<typeof corsRule>;

const age = z.object({ type: z.literal("Age"), maxAge: seconds });
const lifecycleCondition = z.discriminatedUnion("type", [age, z.object({ type: z.literal("Date"), date })]);
const lifecycleRule = z.object({
  id: text,
  enabled: z.boolean(),
  conditions: z.object({ prefix: text.optional() }).default({}),
  deleteObjectsTransition: z.object({ condition: lifecycleCondition }).optional(),
  abortMultipartUploadsTransition: z.object({ condition: age }).optional(),
  storageClassTransitions: z
    .array(z.object({ condition: lifecycleCondition, storageClass: z.literal("InfrequentAccess") }))
    .max(1)
    .optional(),
});
export type LifecycleRule = z.infer<typeof lifecycleRule>;
export type LifecycleCondition = z.infer<typeof lifecycleCondition>;

const lockRule = z.object({
  id: text,
  enabled: z.boolean(),
  prefix: text.optional(),
  condition: z.discriminatedUnion("type", [
    z.object({ type: z.literal("Age"), maxAgeSeconds: seconds }),
    z.object({ type: z.literal("Date"), date }),
    z.object({ type: z.literal("Indefinite") }),
  ]),
});
export type LockRule = z.infer<typeof lockRule>;

const notificationActions = [
  "PutObject",
  "CopyObject",
  "DeleteObject",
  "CompleteMultipartUpload",
  "LifecycleDeletion",
] as const;
/** A rule as it is asked for; https://developers.cloudflare.com/r2/buckets/event-notifications/. */
export const newNotificationRule = z.object({
  prefix: text.optional(),
  suffix: text.optional(),
  description: text.optional(),
  actions: z.array(z.enum(notificationActions)).min(1),
});
export type NotificationRule = z.infer<typeof newNotificationRule> & { ruleId: string; createdAt: string };
export type QueueNotifications = { queueId: string; queueName: string; rules: NotificationRule[] };

export const settingSchemas = {
  cors: z.object({ rules: z.array(corsRule).max(100) }),
  lifecycle: z.object({ rules: z.array(lifecycleRule).max(rulesMax) }),
  lock: z.object({ rules: z.array(lockRule).max(rulesMax) }),
};

export type BucketSettings = {
  cors: CorsRule[];
  lifecycle: LifecycleRule[];
  lock: LockRule[];
  notifications: QueueNotifications[];
  /** Whether the bucket is public under the platform's own domain. */
  devUrl: boolean;
};
export type SettingName = keyof BucketSettings;

export const tlsVersions = ["1.0", "1.1", "1.2", "1.3"] as const;
/** A host of the customer's own under which the bucket is public. */
export type CustomDomain = {
  domain: string;
  enabled: boolean;
  minTLS?: (typeof tlsVersions)[number];
  zoneId?: string;
  zoneName?: string;
};

/** What every new bucket has. https://developers.cloudflare.com/r2/buckets/object-lifecycles/ */
export const defaultLifecycle: LifecycleRule[] = [
  {
    id: "Default Multipart Abort Rule",
    enabled: true,
    conditions: { prefix: "" },
    abortMultipartUploadsTransition: { condition: { type: "Age", maxAge: 7 * 86_400 } },
  },
];

/** What an access key of the S3 API may do. Without `buckets`: all of the account, and buckets themselves. */
export type Grant = { buckets?: { name: string; jurisdiction: string }[]; write: boolean };

/** An API token for R2; its id is the access key id. Times are ISO texts. */
export type AccessKey = {
  id: string;
  accountId: string;
  name: string;
  grants: Grant[];
  /** As they were given, to show them again. */
  policies: unknown[];
  status: "active" | "disabled";
  issuedOn: string;
  modifiedOn: string;
  notBefore?: string;
  expiresOn?: string;
};
