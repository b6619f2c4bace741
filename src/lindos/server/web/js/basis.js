// What an answer rests on: how far its event is settled, what became of it since, what was held back, its sources.

import { $, h, icon } from "./dom.js";
import { buildSources } from "./sources.js";
import { time, utc } from "./time.js";

const FORMS = {
  settled: { word: "Settled", icon: "settled", title: "The event's own sources have said how it ended" },
  partial: { word: "Partial", icon: "half", title: "Under way: what is known so far decides nothing" },
  conflicting: { word: "Conflicting", icon: "conflict", title: "The event's own sources say different things" },
  unknown: { word: "Unknown", icon: "unknown", title: "None of the event's own sources has said anything yet" },
};

/**
 * Show or renew what `message` rests on, in its turn, whose words stand in `said`.
 * Nothing is touched where nothing changed.
 */
export function showBasis(turn, said, message, actions) {
  const { basis } = message;
  const writing = message.state === "writing";
  const now = JSON.stringify([basis, writing]);
  if (turn.basisShown === now) return;
  turn.basisShown = now;
  const prose = said.querySelector(".prose");
  const held = turn.contains(document.activeElement) && document.activeElement.closest(".source")?.id;
  put(said, ".verdicts", basis && verdicts(basis), (element) => prose.before(element));
  put(said, ".stale", basis?.stale.length ? stale(message, actions) : null, (element) => prose.before(element));
  put(said, ".refused", basis?.refused ? refused(basis) : null, (element) => prose.after(element));
  put(said, ".held", basis?.held_back.length ? heldBack(basis) : null, (element) => prose.after(element));
  put(turn, ".sources", basis && buildSources(message.id, basis, writing), (element) => turn.append(element));
  turn.classList.toggle("sourced", Boolean(basis?.sources.length));
  nameCites(turn, basis);
  if (held && !turn.contains(document.activeElement)) $(held)?.focus({ preventScroll: true });
}

/** Put `element` in place of what is found there; `add` puts it where nothing is. */
function put(root, selector, element, add) {
  const shown = root.querySelector(`:scope > ${selector}`);
  if (shown && element) {
    keepOpen(shown, element);
    shown.replaceWith(element);
  } else if (element) add(element);
  else shown?.remove();
}

function keepOpen(before, after) {
  const own = (root) => [root, ...root.querySelectorAll("details")].filter((one) => one.matches("details"));
  for (const details of own(after)) {
    const old = own(before).find((one) => one.className === details.className);
    if (old) details.open = old.open;
  }
}

// How far it is settled.

/** What is said of each event; of one that nobody registered only how far it is settled. */
function eventsOf(basis) {
  return basis.events.length ? basis.events : [{ title: "", form: basis.form }];
}

function verdicts(basis) {
  if (!basis.events.length && basis.form === "none" && !basis.as_of) return null;
  return h("div", { class: "verdicts" }, ...eventsOf(basis).map((event) => verdict(event, basis)));
}

function verdict({ form: name, title }, basis) {
  const form = FORMS[name];
  return h(
    "p",
    { class: "verdict", "data-form": name },
    form ? h("span", { class: "verdict-form", title: form.title }, icon(form.icon), form.word) : null,
    title ? h("span", { class: "verdict-title", dir: "auto" }, title) : null,
    asOf(basis),
  );
}

function asOf(basis) {
  return basis.as_of ? h("span", { class: "verdict-time" }, "as of ", time(basis.as_of)) : null;
}

/** The same in words, for those who listen; empty where there is nothing to say. */
export function spokenBasis(basis) {
  if (!basis) return "";
  const at = basis.as_of ? `as of ${utc(basis.as_of)}` : "";
  const events = eventsOf(basis).map((event) => [FORMS[event.form]?.word, event.title, at].filter(Boolean).join(", "));
  return events.some(Boolean) ? `${events.join(". ")}. ` : "";
}

/** Whether an answer is about an event that is not settled. */
export function isOpen(basis) {
  return basis ? eventsOf(basis).some((event) => event.form !== "settled" && event.form !== "none") : false;
}

function stale(message, actions) {
  return h(
    "div",
    { class: "stale", role: "group", "aria-label": "This answer is of an earlier time" },
    icon("again"),
    h("span", { title: message.basis.stale.join(", ") }, "Things have moved since this was written."),
    h("button", { class: "button", type: "button", onclick: () => actions.again(message) }, "Ask again"),
  );
}

// What is not shown.

function heldBack(basis) {
  const count = basis.held_back.reduce((sum, one) => sum + one.count, 0);
  const reasons = basis.held_back.map((one) => h("li", {}, `${one.count} ${one.reason}`));
  return h(
    "details",
    { class: "held" },
    h("summary", {}, icon("shield"), h("span", {}, count === 1 ? "1 sentence was held back" : `${count} sentences were held back`), icon("chevron")),
    h("ul", {}, ...reasons),
  );
}

function refused(basis) {
  return h("p", { class: "notice refused" }, icon("shield"), `Refused by the policy's rule “${basis.refused}”.`);
}

/** Give the numbers in the text names that say whose words they lead to. */
export function nameCites(turn, basis) {
  for (const cite of turn.querySelectorAll(".cite")) {
    const source = basis?.sources.find((one) => cite.getAttribute("href").endsWith(`-${one.number}`));
    if (source) cite.setAttribute("aria-label", `Source ${source.number}: ${source.author}`);
  }
}
