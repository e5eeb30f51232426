/**
 * Cron expressions as Cloudflare reads them: https://developers.cloudflare.com/workers/configuration/cron-triggers/ and its own
 * parser, github.com/cloudflare/saffron. What sets it apart from others: Sunday is 1, ranges may go over the end (`FRI-MON`,
 * `22-2`), and days of the month or of the week are enough, either of them, when both are given. Times are UTC.
 */
export type CronExpression = {
  /** The first matching minute after `ms`, milliseconds since 1970; undefined when there is none (30 February). */
  nextAfter(ms: number): number | undefined;
};

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;
/** The longest wait there is, 29 February on one day of the week across a century without a leap day, is 40 years. */
const daysAhead = 41 * 366;

type Field = { min: number; max: number; names?: string[] };
const minutes: Field = { min: 0, max: 59 };
const hours: Field = { min: 0, max: 23 };
const daysOfMonth: Field = { min: 1, max: 31 };
const months: Field = { min: 1, max: 12, names: "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split(" ") };
const daysOfWeek: Field = { min: 1, max: 7, names: "SUN MON TUE WED THU FRI SAT".split(" ") };

/** A day of a month, what a rule about days looks at: all counted from 1, Sunday is 1. */
type Day = { day: number; weekday: number; last: number };
type Rule = (day: Day) => boolean;

/** Undefined when `text` is not one. */
export function parseCron(text: string): CronExpression | undefined {
  const parts = text.split(/[ \t]+/);
  const [minute = "", hour = "", dom = "", month = "", dow = ""] = parts;
  const inMinutes = valuesOf(minutes, minute);
  const inHours = valuesOf(hours, hour);
  const inMonths = valuesOf(months, month);
  const ofMonth = monthRule(dom);
  const ofWeek = weekRule(dow);
  if (parts.length !== 5 || !inMinutes || !inHours || !inMonths || !ofMonth || !ofWeek) return undefined;
  const both = dom !== "*" && dow !== "*";
  const isDue: Rule = (day) => (both ? ofMonth(day) || ofWeek(day) : ofMonth(day) && ofWeek(day));
  const timesMs = [...inHours]
    .flatMap((h) => [...inMinutes].map((m) => (h * 60 + m) * minuteMs))
    .toSorted((a, b) => a - b);
  return {
    nextAfter(ms) {
      const today = Math.floor(ms / dayMs) * dayMs;
      for (let days = 0; days <= daysAhead; days++) {
        const at = today + days * dayMs;
        const date = new Date(at);
        if (!inMonths.has(date.getUTCMonth() + 1) || !isDue(dayOf(date))) continue;
        const time = timesMs.find((one) => at + one > ms);
        if (time !== undefined) return at + time;
      }
      return undefined;
    },
  };
}

function dayOf(date: Date): Day {
  const last = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 0)).getUTCDate();
  return { day: date.getUTCDate(), weekday: date.getUTCDay() + 1, last };
}

/** `*`, `5`, `1-5`, `3-30/2`, `3/4`, `1-10/3`, and several of them with commas. */
function valuesOf(field: Field, text: string): Set<number> | undefined {
  if (text === "*") return new Set(count(field, field.min, field.max, 1));
  const all = text.split(",").map((part) => someOf(field, part));
  return all.includes(undefined) ? undefined : new Set(all.flatMap((some) => some ?? []));
}

function someOf(field: Field, text: string): number[] | undefined {
  const [, from = "", to, by] = /^(\*|[0-9a-z]+)(?:-([0-9a-z]+))?(?:\/([0-9]+))?$/i.exec(text) ?? [];
  const isStar = from === "*";
  // A star stands for the first value; alone it is one of a list only by mistake.
  if (isStar && (to !== undefined || by === undefined)) return undefined;
  const start = isStar ? field.min : valueOf(field, from);
  const end = to === undefined ? undefined : valueOf(field, to);
  const step = by === undefined ? 1 : Number(by);
  if (start === undefined || (to !== undefined && end === undefined)) return undefined;
  if (step < 1 || step > field.max - field.min) return undefined;
  if (to === undefined && by === undefined) return [start];
  return count(field, start, end ?? field.max, step);
}

function valueOf({ min, max, names }: Field, text: string): number | undefined {
  const named = names?.indexOf(text.toUpperCase()) ?? -1;
  if (named >= 0) return named + min;
  const value = /^[0-9]{1,3}$/.test(text) ? Number(text) : -1;
  return value >= min && value <= max ? value : undefined;
}

/** From `start` to `end` and, where that is before it, over the end of the field. */
function count({ min, max }: Field, start: number, end: number, step: number): number[] {
  const size = max - min + 1;
  const length = start <= end ? end - start + 1 : end - start + 1 + size;
  return Array.from({ length: Math.ceil(length / step) }, (_, index) => ((start - min + index * step) % size) + min);
}

/** Days of the month: values, `L` the last, `L-3` three before it, `15W` the weekday nearest to the 15th, `LW`, `L-3W`. */
function monthRule(text: string): Rule | undefined {
  const [, offset = "0", nearLast] = /^L(?:-([0-9]+))?(W)?$/.exec(text) ?? [];
  if (text.startsWith("L")) {
    const before = Number(offset);
    if (!/^L(-[0-9]+)?W?$/.test(text) || before > 30 || (text.includes("-") && before < 1)) return undefined;
    return (day) => day.day === (nearLast ? nearestWeekday(day, day.last - before) : day.last - before);
  }
  const [, near] = /^([0-9]+)W$/.exec(text) ?? [];
  if (near !== undefined) {
    const wanted = valueOf(daysOfMonth, near);
    return wanted === undefined ? undefined : (day) => day.day === nearestWeekday(day, wanted);
  }
  const values = valuesOf(daysOfMonth, text);
  return values && (({ day }) => values.has(day));
}

/** Days of the week: values, `L` Saturday, `FRIL` the last Friday of the month, `FRI#2` the second one. */
function weekRule(text: string): Rule | undefined {
  if (text === "L") return ({ weekday }) => weekday === daysOfWeek.max;
  const [, name = "", kind, nth] = /^([0-9a-z]+?)(?:(L)|#([1-5]))$/i.exec(text) ?? [];
  if (kind === "L" || nth !== undefined) {
    const wanted = valueOf(daysOfWeek, name);
    if (wanted === undefined) return undefined;
    if (kind === "L") return ({ day, weekday, last }) => weekday === wanted && day + 7 > last;
    return ({ day, weekday }) => weekday === wanted && Math.ceil(day / 7) === Number(nth);
  }
  const values = valuesOf(daysOfWeek, text);
  return values && (({ weekday }) => values.has(weekday));
}

/** The weekday nearest to the day `wanted` of the month that `day` is in, without leaving it. */
function nearestWeekday({ day, weekday, last }: Day, wanted: number): number | undefined {
  if (wanted < 1 || wanted > last) return undefined;
  // Counted from 0, Sunday; `day` says where the week stands.
  const on = (((weekday - 1 + wanted - day) % 7) + 7) % 7;
  if (on === 6) return wanted > 1 ? wanted - 1 : wanted + 2;
  if (on === 0) return wanted < last ? wanted + 1 : wanted - 2;
  return wanted;
}
