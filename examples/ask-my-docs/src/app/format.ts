const units = ["byte", "kilobyte", "megabyte", "gigabyte"] as const;

/** 1234567 → "1.2 MB". */
export function sizeText(bytes: number): string {
  const step = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), units.length - 1);
  const value = bytes / 1000 ** step;
  return value.toLocaleString(undefined, {
    style: "unit",
    unit: units[step],
    unitDisplay: step === 0 ? "long" : "short",
    maximumFractionDigits: value < 10 ? 1 : 0,
  });
}

/** The time for today, the day for this year, the whole date for anything older. */
export function timeText(at: number): string {
  const [then, now] = [new Date(at), new Date()];
  if (then.toDateString() === now.toDateString()) return then.toLocaleTimeString(undefined, { timeStyle: "short" });
  const year = then.getFullYear() === now.getFullYear() ? undefined : "numeric";
  return then.toLocaleDateString(undefined, { day: "numeric", month: "short", year });
}

/** Markdown without its signs, for a line of preview. */
export function withoutMarkdown(text: string): string {
  return text.replaceAll(/^\s*(?:#+|[-+*>])\s|[*`]/gm, "");
}

/** 0.000024 → "$0.000024": of small sums the first digits that say something. */
export function dollarText(sum: number): string {
  return sum.toLocaleString(undefined, {
    style: "currency",
    currency: "USD",
    minimumFractionDigits: 2,
    maximumFractionDigits: sum !== 0 && sum < 1 ? 6 : 2,
  });
}
