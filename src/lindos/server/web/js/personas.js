// How Lindos speaks: a button that names it, and a card for each way.

import { $, h, icon, memory } from "./dom.js";
import { popover } from "./popover.js";

let persona = null;
let known = [];
let humour = true;
let chosen = () => {};

/** Offer these; `choose(id)` is called when one is chosen. */
export function setPersonas(personas, wishes, choose) {
  known = personas;
  chosen = choose;
  persona = [persona, ...wishes].find((id) => personas.some((one) => one.id === id)) ?? personas[0]?.id ?? null;
  const button = h("button", { id: "persona", class: "persona-button", type: "button", "aria-haspopup": "true" });
  const cards = h("div", { class: "persona-cards", role: "radiogroup", "aria-label": "How Lindos speaks" });
  const note = "Humour is off in answers about events that are still open.";
  const panel = h(
    "div",
    { id: "persona-panel", class: "panel persona-panel" },
    cards,
    h("p", { class: "panel-note" }, icon("info"), note),
  );
  $("personas").replaceChildren(button, panel);
  $("personas").hidden = personas.length < 2;
  const close = popover(button, panel, () => panel.querySelector("input:checked"));
  cards.append(...personas.map((one) => card(one, close)));
  cards.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    close();
  });
  name();
}

function card(one, close) {
  const input = h("input", { type: "radio", name: "persona", value: one.id, checked: one.id === persona });
  input.addEventListener("change", () => {
    persona = one.id;
    memory.set("persona", one.id);
    name();
    chosen(one.id);
  });
  // A click is meant; the arrow keys, which also click, only look around.
  input.addEventListener("click", (event) => event.detail > 0 && close());
  const words = h("span", { class: "persona-words" }, h("strong", {}, one.title), h("span", {}, one.description));
  return h("label", { class: "persona" }, input, words, icon("check"));
}

function name() {
  const title = known.find((one) => one.id === persona)?.title ?? "";
  const off = humour ? null : h("span", { class: "persona-off" }, "humour off");
  const hidden = h("span", { class: "hidden" }, "How Lindos speaks: ");
  $("persona")?.replaceChildren(icon("voice"), hidden, h("span", { class: "persona-title" }, title), off ?? "", icon("up"));
}

/** The persona chosen now. */
export function chosenPersona() {
  return persona;
}

/** Show the persona of a conversation that was opened. */
export function showPersona(id) {
  const input = [...$("personas").querySelectorAll("input")].find((one) => one.value === id);
  if (!input) return;
  input.checked = true;
  persona = id;
  name();
}

/** Say whether the answer shown last was free to be funny. */
export function showHumour(on) {
  if (on === humour) return;
  humour = on;
  name();
}
