// What model this is, whether it is ready, and the page before the first question.

import { $, h, icon, mark } from "./dom.js";
import { call } from "./api.js";
import * as composer from "./composer.js";
import * as thread from "./thread.js";

const LOADING_MS = 700;
const FAR_MS = 3000;
let state = null;
let timer = 0;

/** Ask the server, and again while the model loads or the server is away. */
export async function check() {
  clearTimeout(timer);
  let pause = LOADING_MS;
  try {
    take(await call("GET", "/api/state"));
  } catch {
    away();
    pause = FAR_MS;
  }
  if (!state?.ready && !state?.fault) timer = setTimeout(check, pause);
}

function take(found) {
  const news = JSON.stringify(found) !== JSON.stringify(state);
  state = found;
  if (!news) return;
  thread.setActions({ context: found.model?.context ?? 0 });
  composer.offerPersonas(found.personas, found.default_persona);
  composer.setReady(found.ready, found.fault ? "" : loadingWords());
  $("caution").textContent = found.fault || (found.model?.caution ?? "");
  showModel();
  showEmpty();
}

function loadingWords() {
  return `Loading the model: ${state.loading.message} (${Math.round(100 * state.loading.fraction)}%)`;
}

function away() {
  state = state && { ...state, ready: false };
  composer.setReady(false, "The server does not answer");
  chip("fault", "No connection");
}

function chip(kind, ...parts) {
  $("model").dataset.state = kind;
  $("model").replaceChildren(h("span", { class: "model-dot" }), ...parts);
}

function showModel() {
  const name = (text) => h("span", { class: "model-name" }, text);
  if (state.fault) chip("fault", "The model does not run");
  else if (!state.ready) chip("loading", `Loading ${Math.round(100 * state.loading.fraction)}%`);
  else {
    const { parameters, active_parameters: active } = state.model;
    chip("ready", name(state.model.name), h("span", {}, parameters ? short(parameters) : "upstream"));
    const size = `${parameters.toLocaleString()} parameters, ${short(active)} of them active for each token`;
    $("model").title =
      `${parameters ? size : "On another server"}; ` +
      `remembers ${state.model.context.toLocaleString()} tokens. Lindos ${state.version}.`;
  }
}

/** A large number in few letters: 19M, 1.3B. */
function short(number) {
  for (const [size, letter] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
    if (number >= size) return `${(number / size).toFixed(number / size < 9.95 ? 1 : 0).replace(/\.0$/, "")}${letter}`;
  }
  return String(number);
}

/** Show the page before the first question, or take it away. */
export function showEmpty() {
  const place = $("empty");
  // A conversation that is still on its way is not the lack of one.
  place.hidden = !thread.isEmpty() || location.pathname !== "/";
  if (place.hidden || !state) return;
  const kept = place.querySelector(".mark");
  place.replaceChildren(
    kept ?? mark(),
    h("h2", { class: "greeting" }, "What shall we talk about?"),
    h("p", { class: "about" }, about()),
    h("ul", { class: "suggestions", "aria-label": "Suggestions" }, ...state.suggestions.map(suggestion)),
  );
}

function about() {
  if (state.fault) return state.fault;
  if (!state.ready) return "One moment: the model is still loading.";
  const { name, parameters, note } = state.model;
  const title = name[0].toUpperCase() + name.slice(1);
  // Nobody tells how large a model on another server is.
  if (!parameters) return `${title} runs on another server, which gets what you type.${note ? ` ${note}` : ""}`;
  const where = state.local ? " and runs on this machine: nothing you type leaves it." : ".";
  return `${title} has ${short(parameters)} parameters${where}${note ? ` ${note}` : ""}`;
}

function suggestion(text) {
  const button = h("button", { class: "suggestion", type: "button", disabled: !state.ready }, h("span", {}, text), icon("right"));
  button.addEventListener("click", () => {
    $("question").focus();
    composer.send(text);
  });
  return h("li", {}, button);
}
