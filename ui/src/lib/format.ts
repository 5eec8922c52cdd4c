/** Dates, numbers and durations, by the browser's own rules. */

const language = (): string => navigator.language || "en";

const DATE: Intl.DateTimeFormatOptions = { year: "numeric", month: "short", day: "numeric" };
const MOMENT: Intl.DateTimeFormatOptions = { ...DATE, hour: "2-digit", minute: "2-digit", second: "2-digit" };

export function date(at: string | Date): string {
  return new Intl.DateTimeFormat(language(), DATE).format(new Date(at));
}

export function moment(at: string | Date): string {
  return new Intl.DateTimeFormat(language(), MOMENT).format(new Date(at));
}

export function number(value: number): string {
  return new Intl.NumberFormat(language()).format(value);
}

export function percent(value: number): string {
  return new Intl.NumberFormat(language(), { style: "percent", maximumFractionDigits: 1 }).format(value);
}

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_557_600],
  ["month", 2_629_800],
  ["week", 604_800],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];

/** How long ago, or until when: "3 days ago", "in 2 hours". */
export function relative(at: string | Date, now: Date): string {
  const seconds = (new Date(at).getTime() - now.getTime()) / 1000;
  const words = new Intl.RelativeTimeFormat(language(), { numeric: "auto" });
  for (const [unit, length] of UNITS) {
    if (Math.abs(seconds) >= length) return words.format(Math.trunc(seconds / length), unit);
  }
  return words.format(Math.trunc(seconds), "second");
}

/** A span in its two largest units: "3 days 4 hours". */
export function span(ms: number): string {
  let seconds = Math.max(0, Math.floor(ms / 1000));
  const parts: string[] = [];
  for (const [unit, length] of [...UNITS.slice(3), ["second", 1] as [Intl.RelativeTimeFormatUnit, number]]) {
    const count = Math.floor(seconds / length);
    if (count > 0 || (unit === "second" && parts.length === 0)) {
      const unitName = unit as Intl.NumberFormatOptions["unit"];
      parts.push(new Intl.NumberFormat(language(), { style: "unit", unit: unitName, unitDisplay: "long" }).format(count));
      seconds -= count * length;
    }
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

export function list(items: string[]): string {
  return new Intl.ListFormat(language(), { type: "conjunction" }).format(items);
}
