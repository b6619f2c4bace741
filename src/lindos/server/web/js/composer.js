// Where questions are written: the field, the persona, and the button that sends or stops.

import { $, composing, h, memory, sends, setIcon } from "./dom.js";
import * as chat from "./chat.js";
import * as thread from "./thread.js";
import { fit } from "./turn.js";

const FEW = 3;
let ready = false;
let persona = null;

/** Whether the model can answer. */
export function setReady(value, hint) {
  ready = value;
  $("composer-hint").textContent = value ? "" : hint;
  update();
}

/** The choice of personas: a switch for a few, a list for many. */
export function setPersonas(personas, fallback) {
  const known = (id) => personas.some((one) => one.id === id);
  persona = [persona, chat.conversation?.persona, memory.get("persona"), fallback].find(known);
  const choose = (id) => {
    persona = id;
    memory.set("persona", id);
    chat.setPersona(id);
  };
  $("personas").replaceChildren(personas.length <= FEW ? group(personas, choose) : list(personas, choose));
  $("personas").hidden = personas.length < 2;
}

function group(personas, choose) {
  const box = h("div", { class: "personas", role: "radiogroup", "aria-label": "How Lindos speaks" });
  for (const one of personas) {
    const input = h("input", { type: "radio", name: "persona", value: one.id, checked: one.id === persona });
    input.addEventListener("change", () => choose(one.id));
    box.append(h("label", { class: "persona", title: one.description }, input, h("span", {}, one.title)));
  }
  return box;
}

function list(personas, choose) {
  const select = h("select", { "aria-label": "How Lindos speaks" });
  for (const one of personas) select.append(h("option", { value: one.id, selected: one.id === persona }, one.title));
  select.addEventListener("change", () => choose(select.value));
  return select;
}

/** The persona chosen now. */
export function chosenPersona() {
  return persona;
}

/** Show the persona of a conversation that was opened. */
export function showPersona(id) {
  const input = [...$("personas").querySelectorAll("input")].find((one) => one.value === id);
  const select = $("personas").querySelector("select");
  if (input) input.checked = true;
  else if (select && [...select.options].some((option) => option.value === id)) select.value = id;
  else return;
  persona = id;
}

/** Send what stands in the field, or `text`. */
export async function send(text = $("question").value) {
  if (!text.trim() || !ready || chat.busy()) return;
  const field = $("question");
  field.value = "";
  fit(field);
  update();
  const taken = await chat.ask(text, persona);
  if (!taken && !field.value) {
    field.value = text; // nothing typed is ever lost
    fit(field);
    update();
  }
}

/** Bring the button up to date. */
export function update() {
  const button = $("send");
  const stopping = chat.busy();
  button.classList.toggle("stopping", stopping);
  button.setAttribute("aria-label", stopping ? "Stop" : "Send");
  button.title = stopping ? "Stop (Esc)" : "Send (Enter)";
  setIcon(button, stopping ? "stop" : "send");
  button.disabled = stopping ? chat.writing === null : !ready || !$("question").value.trim();
}

/** Wire it up. */
export function startComposer() {
  const field = $("question");
  field.addEventListener("input", () => {
    fit(field);
    update();
  });
  field.addEventListener("keydown", (event) => {
    if (composing(event)) return;
    if (sends(event)) {
      event.preventDefault();
      send();
    } else if (event.key === "ArrowUp" && !field.value && !chat.busy()) {
      event.preventDefault();
      thread.editLast();
    }
  });
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (chat.busy()) chat.stop();
    else send();
  });
  // A click beside the field is meant for it.
  $("composer").addEventListener("click", (event) => {
    if (event.target === event.currentTarget) field.focus();
  });
  update();
}
