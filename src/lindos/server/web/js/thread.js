// The branch of a conversation that is shown: its turns in order.

import { $ } from "./dom.js";
import { nameCites } from "./basis.js";
import { buildTurn, failure, growBasis, patchTurn, renewTurn, showSpeed } from "./turn.js";
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

/** Let an answer grow; `message` is what is known of it by now. */
export function patch(message, change) {
  const turn = element(message.id);
  if (!turn) return;
  patchTurn(turn, change);
  if (change.basis) growBasis(turn, message, actions);
  else nameCites(turn, message.basis);
  showSpeed(turn, change.speed);
  follow();
}

/** Show an answer as it may be shown by now, in its place. */
export function renew(message) {
  const turn = element(message.id);
  if (turn) renewTurn(turn, message, actions);
  stay();
}

/** What an answer says, as it is read: without the numbers of its sources. */
export function words(id) {
  const prose = element(id)?.querySelector(".prose").cloneNode(true);
  for (const cite of prose?.querySelectorAll(".cite") ?? []) cite.remove();
  return [...(prose?.children ?? [])].map((block) => block.textContent.trim()).join("\n");
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
  turn.querySelector(".said").append(failure("The connection is gone", words, "Load again", retry));
  follow();
}

/** Whether anything is shown. */
export function isEmpty() {
  return !$("thread").hasChildNodes();
}
