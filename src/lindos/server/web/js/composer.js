// Where questions are written: the field, the persona, and the button that sends or stops.

import { $, composing, memory, sends, setIcon } from "./dom.js";
import { isOpen } from "./basis.js";
import * as chat from "./chat.js";
import { chosenPersona, setPersonas, showHumour } from "./personas.js";
import * as thread from "./thread.js";
import { fit } from "./turn.js";

let ready = false;

/** Whether the model can answer. */
export function setReady(value, hint) {
  ready = value;
  $("composer-hint").textContent = value ? "" : hint;
  update();
}

/** The choice of personas. */
export function offerPersonas(personas, fallback) {
  setPersonas(personas, [chat.conversation?.persona, memory.get("persona"), fallback], chat.setPersona);
}

/** Send what stands in the field, or `text`. */
export async function send(text = $("question").value) {
  if (!text.trim() || !ready || chat.busy()) return;
  const field = $("question");
  field.value = "";
  fit(field);
  update();
  const taken = await chat.ask(text, chosenPersona());
  if (!taken && !field.value) {
    field.value = text; // nothing typed is ever lost
    fit(field);
    update();
  }
}

/** Bring the button up to date, and what is said of humour. */
export function update() {
  const last = chat.conversation?.messages.findLast((message) => message.role === "assistant");
  showHumour(!isOpen(last?.basis));
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
