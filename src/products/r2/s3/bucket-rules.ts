import type { z } from "zod";
import type { WireResponse } from "#http/wire/server.ts";
import type { BucketRef } from "#products/r2/schema.ts";
import { xmlAnswer, type BucketCall } from "#products/r2/s3/context.ts";
import { readXmlBody } from "#products/r2/s3/payload.ts";
import { s3Errors } from "#products/r2/s3/s3-errors.ts";
import { parseXml, type Element, type XmlValue } from "#products/r2/s3/xml.ts";
import {
  corsMethods,
  defaultLifecycle,
  settingSchemas,
  type CorsRule,
  type LifecycleCondition,
  type LifecycleRule,
} from "#products/r2/settings.ts";

/** CORS and lifecycle rules as S3 writes them, kept as the REST API has them. */

export async function getCors(call: BucketCall): Promise<WireResponse> {
  const rules = await call.store.settings.get(refOf(call), "cors");
  if (!rules) throw s3Errors.noCors();
  return xmlAnswer("CORSConfiguration", {
    CORSRule: rules.map((rule) => ({
      ID: rule.id,
      AllowedOrigin: rule.allowed.origins,
      AllowedMethod: rule.allowed.methods,
      AllowedHeader: rule.allowed.headers,
      ExposeHeader: rule.exposeHeaders,
      MaxAgeSeconds: rule.maxAgeSeconds,
    })),
  });
}

export async function putCors(call: BucketCall): Promise<WireResponse> {
  const root = parseXml(await readXmlBody(call.request, call.verified), "CORSConfiguration");
  const rules = root.children("CORSRule").map((rule): CorsRule => {
    const [id, age] = [rule.text("ID"), rule.text("MaxAgeSeconds")];
    const [headers, exposed] = [rule.texts("AllowedHeader"), rule.texts("ExposeHeader")];
    const methods = rule.texts("AllowedMethod").map((name) => {
      const method = corsMethods.find((one) => one === name);
      if (!method) throw s3Errors.malformedXml();
      return method;
    });
    return {
      ...(id !== undefined && { id }),
      allowed: { origins: rule.texts("AllowedOrigin"), methods, ...(headers.length > 0 && { headers }) },
      ...(exposed.length > 0 && { exposeHeaders: exposed }),
      ...(age !== undefined && { maxAgeSeconds: numberOf(age) }),
    };
  });
  await call.store.settings.set(refOf(call), "cors", checked(settingSchemas.cors, rules));
  return { status: 200 };
}

export async function deleteCors(call: BucketCall): Promise<WireResponse> {
  await call.store.settings.set(refOf(call), "cors");
  return { status: 204, reason: "No Content" };
}

export async function getLifecycle(call: BucketCall): Promise<WireResponse> {
  const rules = (await call.store.settings.get(refOf(call), "lifecycle")) ?? defaultLifecycle;
  if (rules.length === 0) throw s3Errors.noLifecycle();
  return xmlAnswer("LifecycleConfiguration", {
    Rule: rules.map((rule) => {
      const [expire, abort] = [rule.deleteObjectsTransition, rule.abortMultipartUploadsTransition];
      return {
        ID: rule.id,
        Filter: { Prefix: rule.conditions.prefix ?? "" },
        Status: rule.enabled ? "Enabled" : "Disabled",
        Expiration: expire && conditionXml(expire.condition),
        Transition: rule.storageClassTransitions?.map(({ condition }) => ({
          ...conditionXml(condition),
          StorageClass: "STANDARD_IA",
        })),
        AbortIncompleteMultipartUpload: abort && { DaysAfterInitiation: daysOf(abort.condition.maxAge) },
      };
    }),
  });
}

export async function putLifecycle(call: BucketCall): Promise<WireResponse> {
  const root = parseXml(await readXmlBody(call.request, call.verified), "LifecycleConfiguration");
  const rules = root.children("Rule").map(lifecycleRule);
  if (rules.length === 0) throw s3Errors.malformedXml();
  await call.store.settings.set(refOf(call), "lifecycle", checked(settingSchemas.lifecycle, rules));
  return { status: 200 };
}

export async function deleteLifecycle(call: BucketCall): Promise<WireResponse> {
  await call.store.settings.set(refOf(call), "lifecycle", []);
  return { status: 204, reason: "No Content" };
}

function lifecycleRule(rule: Element, at: number): LifecycleRule {
  const status = rule.text("Status");
  if (status !== "Enabled" && status !== "Disabled") throw s3Errors.malformedXml();
  for (const name of ["NoncurrentVersionExpiration", "NoncurrentVersionTransition"])
    if (rule.child(name)) throw s3Errors.notImplemented(name);
  const filter = rule.child("Filter");
  for (const name of ["Tag", "And", "ObjectSizeGreaterThan", "ObjectSizeLessThan"])
    if (filter?.child(name)) throw s3Errors.notImplemented(`Lifecycle filter ${name}`);
  const [expire, abort] = [rule.child("Expiration"), rule.child("AbortIncompleteMultipartUpload")];
  const transitions = rule.children("Transition").map((transition) => {
    if (transition.text("StorageClass") !== "STANDARD_IA") throw s3Errors.storageClass();
    return { condition: conditionOf(transition), storageClass: "InfrequentAccess" as const };
  });
  return {
    id: rule.text("ID") ?? `rule-${at + 1}`,
    enabled: status === "Enabled",
    conditions: { prefix: filter?.text("Prefix") ?? rule.text("Prefix") ?? "" },
    ...(expire && { deleteObjectsTransition: { condition: conditionOf(expire) } }),
    ...(abort && {
      abortMultipartUploadsTransition: {
        condition: { type: "Age" as const, maxAge: numberOf(abort.text("DaysAfterInitiation")) * daySeconds },
      },
    }),
    ...(transitions.length > 0 && { storageClassTransitions: transitions }),
  };
}

const daySeconds = 86_400;

function conditionOf(element: Element): LifecycleCondition {
  const date = element.text("Date");
  if (date !== undefined) return { type: "Date", date };
  return { type: "Age", maxAge: numberOf(element.text("Days")) * daySeconds };
}

/** S3 counts whole days; what the REST API was given in seconds is shown as the day in which it is due. */
function daysOf(seconds: number): number {
  return Math.ceil(seconds / daySeconds);
}

function conditionXml(condition: LifecycleCondition): { [name: string]: XmlValue } {
  return condition.type === "Age"
    ? { Days: daysOf(condition.maxAge) }
    : { Date: new Date(condition.date).toISOString() };
}

function numberOf(text: string | undefined): number {
  if (text === undefined || !/^\d{1,9}$/.test(text)) throw s3Errors.malformedXml();
  return Number(text);
}

function checked<Rule>(schema: z.ZodType<{ rules: Rule[] }>, rules: Rule[]): Rule[] {
  const { success, data } = schema.safeParse({ rules });
  if (!success) throw s3Errors.malformedXml();
  return data.rules;
}

function refOf({ accountId, bucket }: BucketCall): BucketRef {
  return { accountId, name: bucket.name, jurisdiction: bucket.jurisdiction };
}
