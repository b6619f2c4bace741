// The branch of a conversation that is shown: its turns in order.

import { $ } from "./dom.js";
import { buildTurn, failure, patchTurn, showSpeed } from "./turn.js";
import { follow, stay } from "./scroll.js";

let actions = {};

/** What the tools of turns call, and what they need to know; see buildTurn. */
export function setActions(given) {
  actions = { ...actions, ...given };
}

function element(id) {
  return $("thread").querySelector(`:scope > [data-id="${id}"]`);
}

/** Show these messages and no others. */
export function render(messages) {
  $("thread").replaceChildren(...messages.map((message) => buildTurn(message, actions)));
  stay();
}

/** Add a message at the end, or put it in place of what is shown of it. */
export function put(message) {
  const turn = buildTurn(message, actions);
  const shown = element(message.id);
  if (shown) {
    const inside = shown.contains(document.activeElement);
    shown.replaceWith(turn);
    if (inside) $("question").focus();
  } else {
    turn.classList.add("arriving");
    $("thread").append(turn);
  }
  follow();
}

/** Take away a message and all that follows. */
export function cutFrom(id) {
  const turn = element(id);
  while (turn?.nextElementSibling) turn.nextElementSibling.remove();
  turn?.remove();
}

/** Let an answer grow. */
export function patch(id, change) {
  const turn = element(id);
  if (!turn) return;
  patchTurn(turn, change);
  showSpeed(turn, change.speed);
  follow();
}

/** What an answer says, as it is read. */
export function words(id) {
  return element(id)?.querySelector(".prose").innerText ?? "";
}

/** Begin to edit the last question. */
export function editLast() {
  const tools = $("thread").querySelectorAll(".turn.user [data-tool=edit]");
  tools[tools.length - 1]?.click();
}

/** After another version was shown: keep the hand on the same tool. */
export function focusTool(id, name) {
  const wanted = element(id)?.querySelectorAll(".versions .tool") ?? [];
  const open = [...wanted].filter((button) => !button.disabled);
  (open.find((button) => button.dataset.tool === name) ?? open[0])?.focus();
}

/** An answer whose end the page cannot learn: say so, and offer a way out. */
export function lost(id, words, retry) {
  const turn = element(id);
  if (!turn) return;
  turn.classList.remove("waiting", "writing");
  turn.setAttribute("aria-busy", "false");
  turn.querySelector(".tools")?.remove();
  turn.append(failure("The connection is gone", words, "Load again", retry));
  follow();
}

/** Whether anything is shown. */
export function isEmpty() {
  return !$("thread").hasChildNodes();
}
