// One turn of a conversation: its element, and how it changes while it is written.

import { copyText, h, icon, mark, sends } from "./dom.js";
import { announce } from "./announce.js";
import { showBasis } from "./basis.js";

const DONE_MS = 1500;
const LONG_TEXT = 1400;
const LONG_LINES = 18;

/**
 * The element of a message. `actions` are what its tools call: edit(message, text), again(message),
 * show(versionId), and `context`, the model's context in tokens.
 */
export function buildTurn(message, actions) {
  const turn = h("article", { class: `turn ${message.role}`, "data-id": message.id });
  if (message.role === "user") fillQuestion(turn, message, actions);
  else fillAnswer(turn, message, actions);
  return turn;
}

// Questions.

function fillQuestion(turn, message, actions) {
  const bubble = h("div", { class: "bubble", dir: "auto" }, message.text);
  turn.replaceChildren(h("h3", { class: "hidden" }, "You said"), bubble);
  if (message.text.length > LONG_TEXT || message.text.split("\n").length > LONG_LINES) {
    bubble.classList.add("long");
    const unfold = h("button", { class: "unfold", type: "button" }, "Show all of it");
    unfold.addEventListener("click", () => {
      bubble.classList.remove("long");
      unfold.remove();
    });
    turn.append(unfold);
  }
  const edit = tool("pen", "Edit this question", () => editQuestion(turn, message, actions));
  edit.dataset.tool = "edit";
  turn.append(h("div", { class: "tools" }, edit, copyTool("Copy this question", () => message.text), versions(message, actions)));
}

function editQuestion(turn, message, actions) {
  const field = h("textarea", { rows: 1, "aria-label": "Edit your question", dir: "auto", maxlength: 100000 });
  field.value = message.text;
  const back = () => {
    fillQuestion(turn, message, actions);
    turn.querySelector("[data-tool=edit]").focus();
  };
  const send = () => {
    if (field.value.trim()) actions.edit(message, field.value);
  };
  const form = h(
    "form",
    { class: "editor", onsubmit: (event) => (event.preventDefault(), send()) },
    field,
    h(
      "div",
      { class: "editor-row" },
      h("button", { class: "button", type: "button", onclick: back }, "Cancel"),
      h("button", { class: "button primary", type: "submit" }, "Send"),
    ),
  );
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      back();
    } else if (sends(event)) {
      event.preventDefault();
      send();
    }
  });
  field.addEventListener("input", () => fit(field));
  turn.replaceChildren(h("h3", { class: "hidden" }, "Edit your question"), form);
  fit(field);
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
}

/** Make a textarea as high as its text. */
export function fit(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

// Answers.

function fillAnswer(turn, message, actions) {
  const said = h("div", { class: "said" });
  turn.replaceChildren(mark("mark avatar"), h("h3", { class: "hidden" }, "Lindos said"), said);
  if (message.dropped > 0) said.append(forgotten(message, actions));
  said.append(h("div", { class: "prose" }));
  patchTurn(turn, { blocks: message.blocks.map((html, index) => ({ index, html })), count: message.blocks.length });
  showBasis(turn, said, message, actions);
  setWriting(turn, message);
  if (message.state === "writing") return;
  said.append(...ending(message, actions), answerTools(message, actions));
}

/** Bring an answer that has ended up to date with what became of it. */
export function renewTurn(turn, message, actions) {
  const prose = turn.querySelector(".prose");
  const blocks = message.blocks
    .map((html, index) => ({ index, html }))
    .filter(({ index, html }) => prose.children[index]?.source !== html);
  patchTurn(turn, { blocks, count: message.blocks.length });
  showBasis(turn, turn.querySelector(".said"), message, actions);
}

/** Show what an answer rests on, as that grows. */
export function growBasis(turn, message, actions) {
  showBasis(turn, turn.querySelector(".said"), message, actions);
}

function setWriting(turn, message) {
  const writing = message.state === "writing";
  const empty = !turn.querySelector(".prose").hasChildNodes();
  turn.classList.toggle("waiting", writing && empty);
  turn.classList.toggle("writing", writing && !empty);
  turn.setAttribute("aria-busy", String(writing));
}

/** Bring an answer's blocks up to date: {blocks: [{index, html}], count}. */
export function patchTurn(turn, patch) {
  const prose = turn.querySelector(".prose");
  for (const { index, html } of patch.blocks) {
    const block = h("div", { class: "block", dir: "auto" });
    block.source = html;
    block.innerHTML = html; // sanitised by the server
    dress(block);
    if (index < prose.children.length) prose.children[index].replaceWith(block);
    else prose.append(block);
  }
  while (prose.children.length > patch.count) prose.lastElementChild.remove();
  if (turn.classList.contains("waiting") && patch.count > 0) turn.classList.replace("waiting", "writing");
}

/** What the server's HTML leaves to the page: frames for code and tables. */
function dress(block) {
  for (const pre of block.querySelectorAll("pre")) {
    const language = pre.dataset.language ?? "";
    const code = pre.querySelector("code") ?? pre;
    const words = h("span", {}, "Copy");
    const copy = h("button", { class: "code-copy", type: "button", "aria-label": "Copy this code" }, icon("copy"), words);
    copy.addEventListener("click", async () => {
      const worked = await copyText(code.textContent);
      words.textContent = worked ? "Copied" : "Not possible";
      announce(worked ? "Code copied" : "Copying is not possible here");
      setTimeout(() => (words.textContent = "Copy"), DONE_MS);
    });
    const frame = h("figure", { class: "code" }, h("div", { class: "code-head" }, h("span", {}, language), copy));
    pre.replaceWith(frame);
    pre.tabIndex = 0;
    pre.setAttribute("role", "region");
    pre.setAttribute("aria-label", language ? `Code in ${language}` : "Code");
    pre.dir = "ltr";
    frame.append(pre);
  }
  for (const table of block.querySelectorAll("table")) {
    const frame = h("div", { class: "table", tabindex: 0, role: "region", "aria-label": "Table" });
    table.replaceWith(frame);
    frame.append(table);
  }
}

function forgotten(message, actions) {
  const size = actions.context ? ` of ${actions.context.toLocaleString()} tokens` : "";
  const what = message.dropped === 1 ? "The oldest message does" : `The oldest ${message.dropped} messages do`;
  return h("p", { class: "notice above" }, icon("info"), `${what} not fit into the model's memory${size}: it answered without.`);
}

function ending(message, actions) {
  const note = (words) => [h("p", { class: "notice" }, icon("info"), words)];
  if (message.state === "failed") {
    return [failure("That did not work", message.error, "Try again", () => actions.again(message))];
  }
  if (message.state === "stopped" && message.finish === "left") return note("The page was away, so the answer ended here.");
  if (message.state === "stopped") return note("You stopped this answer.");
  if (message.state === "interrupted") return note("The server ended while this was being written.");
  if (message.finish === "length") return note("Cut off: this is as long as an answer gets here.");
  if (!message.text.trim()) return note("The model had nothing to say. Try again, or ask in other words.");
  return [];
}

/** What went wrong, and what can be done. */
export function failure(title, words, offer, action) {
  return h(
    "div",
    { class: "failure", role: "group", "aria-label": title },
    h("p", { class: "failure-words" }, h("strong", {}, title), h("span", {}, sentence(words))),
    h("button", { class: "button", type: "button", onclick: action }, offer),
  );
}

function sentence(words) {
  const text = words.trim() || "Something went wrong.";
  return text[0].toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}

function answerTools(message, actions) {
  const tools = h("div", { class: "tools" });
  if (message.text) tools.append(copyTool("Copy this answer", () => message.text));
  const again = tool("again", "Answer again", () => actions.again(message));
  again.dataset.tool = "again";
  tools.append(again);
  const choice = versions(message, actions);
  if (choice) tools.append(choice);
  const measure = measured(message, actions);
  if (measure) tools.append(measure);
  return tools;
}

function measured(message, actions) {
  if (!message.completion_tokens) return null;
  const parts = [];
  if (message.speed) parts.push(`${message.speed.toLocaleString(undefined, { maximumFractionDigits: 1 })} tokens/s`);
  parts.push(`${message.completion_tokens.toLocaleString()} ${message.completion_tokens === 1 ? "token" : "tokens"}`);
  const used = message.prompt_tokens + message.completion_tokens;
  const room = actions.context ? ` of ${actions.context.toLocaleString()}` : "";
  const title = `${message.model}: ${message.prompt_tokens} tokens read, ${used.toLocaleString()}${room} used in all`;
  return h("span", { class: "measure", title }, parts.join(" · "));
}

/** Show how fast an answer comes, while it comes. */
export function showSpeed(turn, speed) {
  if (!speed) return;
  let place = turn.querySelector(".measure");
  if (!place) {
    place = h("span", { class: "measure", "aria-hidden": "true" });
    turn.querySelector(".said").append(h("div", { class: "tools" }, place));
  }
  place.textContent = `${speed.toLocaleString(undefined, { maximumFractionDigits: 1 })} tokens/s`;
}

// Tools.

function tool(name, words, action) {
  return h("button", { class: "tool", type: "button", "aria-label": words, title: words, onclick: action }, icon(name));
}

function copyTool(words, text) {
  const button = tool("copy", words, async () => {
    const worked = await copyText(text());
    announce(worked ? "Copied" : "Copying is not possible here");
    if (!worked) return;
    button.classList.add("done");
    button.replaceChildren(icon("check"));
    setTimeout(() => {
      button.classList.remove("done");
      button.replaceChildren(icon("copy"));
    }, DONE_MS);
  });
  return button;
}

function versions(message, actions) {
  const count = message.versions.length;
  if (count < 2) return null;
  const at = message.versions.indexOf(message.id);
  const step = (name, words, to) => {
    const button = tool(name, words, () => actions.show(message.versions[to], message.role, name));
    button.dataset.tool = `version-${name}`;
    button.disabled = to < 0 || to >= count;
    return button;
  };
  return h(
    "div",
    { class: "versions", role: "group", "aria-label": `Version ${at + 1} of ${count}` },
    step("left", "Earlier version", at - 1),
    h("span", { "aria-hidden": "true" }, `${at + 1}/${count}`),
    step("right", "Later version", at + 1),
  );
}
