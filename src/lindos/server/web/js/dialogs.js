// Dialogs: a question with or without a field, and the list of shortcuts.

import { $, h, isMac } from "./dom.js";

/** Answers the question that is open, or that was closed a moment ago. */
let settle = null;

/**
 * Ask something; resolves to the text typed, true where there is no field, or null when cancelled.
 * `field`: {label, value, type} or nothing.
 */
export function ask({ title, text = "", ok, danger = false, field = null, required = false }) {
  const dialog = $("prompt");
  const input = $("prompt-input");
  const cancel = $("prompt-cancel");
  // A dialog's close event comes late: whoever asks again before it must not take it for the answer to this question.
  settle?.();
  $("prompt-title").textContent = title;
  $("prompt-text").textContent = text;
  $("prompt-ok").textContent = ok;
  $("prompt-ok").className = danger ? "button danger" : "button primary";
  cancel.hidden = required;
  input.hidden = !field;
  input.type = field?.type ?? "text";
  input.value = field?.value ?? "";
  input.setAttribute("aria-label", field?.label ?? "");
  dialog.returnValue = "";
  dialog.showModal();
  if (field) input.select();
  return new Promise((resolve) => {
    cancel.onclick = () => dialog.close("");
    dialog.oncancel = (event) => {
      if (required) event.preventDefault();
    };
    settle = () => {
      settle = null;
      if (dialog.returnValue !== "ok") resolve(null);
      else resolve(field ? input.value : true);
    };
    dialog.onclose = () => {
      if (!dialog.open) settle?.();
    };
  });
}

const MOD = isMac ? "⌘" : "Ctrl";
const SHORTCUTS = [
  ["Send", ["Enter"]],
  ["New line", ["Shift", "Enter"]],
  ["Stop the answer", ["Esc"]],
  ["Edit the last question", ["↑"]],
  ["Search conversations", [MOD, "K"]],
  ["New conversation", [MOD, "Shift", "O"]],
  ["Show or hide conversations", [MOD, "B"]],
  ["Go to the question field", ["/"]],
  ["This list", ["?"]],
];

/** Show the list of shortcuts. */
export function showShortcuts() {
  const rows = SHORTCUTS.map(([words, keys]) =>
    h("div", {}, h("dt", {}, words), h("dd", {}, ...keys.map((key) => h("kbd", {}, key)))),
  );
  $("shortcut-list").replaceChildren(...rows);
  $("shortcuts").showModal();
}

/** Whether a dialog is open. */
export function dialogOpen() {
  return document.querySelector("dialog[open]") !== null;
}
