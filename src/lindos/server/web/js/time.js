// Times as the page tells them: in UTC, with the day where it is not today's.

import { h } from "./dom.js";

const FORMAT = { timeZone: "UTC", hourCycle: "h23", hour: "2-digit", minute: "2-digit" };

/** "21:14 UTC"; "6 May, 21:14 UTC"; "6 May 2030, 21:14 UTC". */
export function utc(iso, now = new Date()) {
  const then = new Date(iso);
  const day = (date) => date.toISOString().slice(0, 10);
  const year = then.getUTCFullYear() === now.getUTCFullYear() ? {} : { year: "numeric" };
  const date = day(then) === day(now) ? {} : { day: "numeric", month: "short", ...year };
  return `${new Intl.DateTimeFormat("en-GB", { ...FORMAT, ...date }).format(then)} UTC`;
}

/** An element that tells a time. */
export function time(iso) {
  const whole = new Intl.DateTimeFormat("en-GB", { dateStyle: "full", timeStyle: "long", timeZone: "UTC" });
  return h("time", { datetime: iso, title: whole.format(new Date(iso)) }, utc(iso));
}

/** Tell all times again: what was today's is yesterday's after midnight. */
export function retell() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const words = utc(element.dateTime);
    if (element.textContent !== words) element.textContent = words;
  }
}
