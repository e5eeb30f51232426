import type { LockRule } from "#products/r2/settings.ts";

/** Whether a rule keeps the object from being overwritten or deleted. https://developers.cloudflare.com/r2/buckets/bucket-locks/ */
export function isLocked(rules: readonly LockRule[], object: { key: string; uploaded: number }, now: number): boolean {
  return rules.some((rule) => {
    if (!rule.enabled || !object.key.startsWith(rule.prefix ?? "")) return false;
    const { condition } = rule;
    switch (condition.type) {
      case "Age":
        return now < object.uploaded + condition.maxAgeSeconds * 1000;
      case "Date":
        return now < Date.parse(condition.date);
      case "Indefinite":
        return true;
    }
  });
}
