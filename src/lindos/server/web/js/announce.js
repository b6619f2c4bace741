// Words for those who listen, and short messages for those who look.

import { $, h } from "./dom.js";

const TOAST_MS = 5000;

/** Have screen readers say something, politely. */
export function announce(text) {
  const place = $("announcer");
  // The same words twice in a row would not be said again.
  place.textContent = place.textContent === text ? `${text}\u00a0` : text;
}

/** Show a short message for a while. */
export function toast(text) {
  const element = h("div", { class: "toast" }, text);
  $("toasts").append(element);
  setTimeout(() => element.remove(), TOAST_MS);
}
