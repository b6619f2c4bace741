// Earlier conversations: found, opened, renamed, deleted. On a narrow window the list is a drawer.

import { $, composing, h, icon, isMac, isNarrow, memory } from "./dom.js";
import { announce, toast } from "./announce.js";
import { call } from "./api.js";
import * as chat from "./chat.js";
import { ask } from "./dialogs.js";

const PAGE = 60;
const MOST = 1000;
const TYPING_MS = 180;
const DAY = 86_400_000;
let shown = PAGE;
let asked = 0;
let waiting = 0;
let goTo = () => {};

/** Ask the server for the list again. */
export async function refresh() {
  const query = $("search").value.trim();
  const ticket = ++asked;
  try {
    const parameters = new URLSearchParams({ query: query.slice(0, 200), limit: shown });
    const found = await call("GET", `/api/conversations?${parameters}`);
    if (ticket === asked) list(found, query);
  } catch (error) {
    if (ticket === asked) $("conversations").replaceChildren(h("p", { class: "list-note" }, error.message));
  }
}

function list({ conversations, more }, query) {
  const focused = document.activeElement?.closest(".conversation")?.dataset.id;
  const groups = new Map();
  for (const one of conversations) {
    const name = query ? "Found" : age(new Date(one.updated_at));
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(entry(one));
  }
  const parts = [...groups].flatMap(([name, entries]) => [
    h("h2", { class: "group-title" }, name),
    h("ul", { class: "group-list" }, ...entries),
  ]);
  if (!parts.length) parts.push(h("p", { class: "list-note" }, query ? `Nothing found for “${query}”.` : "Nothing here yet."));
  if (more) parts.push(h("button", { class: "button list-more", type: "button", onclick: showMore }, "Show more"));
  $("conversations").replaceChildren(...parts);
  mark();
  if (focused) focusEntry(focused);
}

/** Keep the hand on a conversation, also when the list was made anew under it. */
function focusEntry(id) {
  $("conversations").querySelector(`[data-id="${id}"] a`)?.focus();
}

function showMore() {
  shown = Math.min(shown + PAGE, MOST);
  refresh();
}

function age(date) {
  const today = new Date().setHours(0, 0, 0, 0);
  if (date >= today) return "Today";
  if (date >= today - DAY) return "Yesterday";
  if (date >= today - 7 * DAY) return "This week";
  if (date >= today - 30 * DAY) return "This month";
  return date.toLocaleDateString(undefined, { month: "long", year: "numeric" });
}

function entry(one) {
  const title = one.title || "New conversation";
  const link = h("a", { class: "conversation-link", href: `/c/${one.id}`, title }, title);
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // another tab, as usual
    event.preventDefault();
    goTo(one.id);
    closeDrawer();
  });
  link.addEventListener("keydown", (event) => {
    if (event.key === "F2") rename(one);
    else if (event.key === "Delete") remove(one);
  });
  const more = h(
    "button",
    { class: "icon-button conversation-more", type: "button", "aria-label": `More about “${title}”`, "aria-haspopup": "menu", "aria-expanded": "false" },
    icon("more"),
  );
  more.addEventListener("click", () => openMenu(more, one));
  return h("li", { class: "conversation", "data-id": one.id }, link, more);
}

/** Mark the one that is open. */
export function mark() {
  for (const item of document.querySelectorAll(".conversation")) {
    const link = item.querySelector("a");
    if (item.dataset.id === chat.conversation?.id) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// Renaming and deleting.

function openMenu(button, one) {
  const menu = h(
    "div",
    { class: "menu", role: "menu" },
    h("button", { type: "button", role: "menuitem", onclick: () => (close(), rename(one)) }, icon("pen"), "Rename"),
    h("button", { type: "button", role: "menuitem", class: "danger", onclick: () => (close(), remove(one)) }, icon("trash"), "Delete"),
  );
  const items = [...menu.children];
  const close = () => {
    menu.remove();
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside, true);
    button.focus();
  };
  const outside = (event) => !menu.contains(event.target) && close();
  menu.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
    else if (event.key === "Escape" || event.key === "Tab") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  document.body.append(menu);
  const place = button.getBoundingClientRect();
  menu.style.left = `${Math.min(place.left, innerWidth - menu.offsetWidth - 8)}px`;
  menu.style.top = `${Math.min(place.bottom + 4, innerHeight - menu.offsetHeight - 8)}px`;
  button.setAttribute("aria-expanded", "true");
  document.addEventListener("pointerdown", outside, true);
  items[0].focus();
}

async function rename(one) {
  const title = await ask({ title: "Rename", ok: "Rename", field: { label: "New name", value: one.title } });
  focusEntry(one.id);
  if (!title?.trim()) return;
  try {
    const changed = await call("PATCH", `/api/conversations/${one.id}`, { title: title.trim().slice(0, 200) });
    chat.changedElsewhere(one.id, changed);
    refresh();
  } catch (error) {
    toast(error.message);
  }
}

async function remove(one) {
  const text = `“${one.title || "New conversation"}” and all its messages will be gone for good.`;
  const sure = await ask({ title: "Delete this conversation?", text, ok: "Delete", danger: true });
  focusEntry(one.id);
  if (!sure) return;
  try {
    await call("DELETE", `/api/conversations/${one.id}`);
    if (chat.conversation?.id === one.id) goTo(null);
    announce("Deleted");
    refresh();
  } catch (error) {
    toast(error.message);
  }
}

// The drawer, and folding the list away.

/** Show or hide the list. */
export function toggle() {
  const app = $("app");
  if (isNarrow.matches) {
    if (app.classList.contains("drawer")) closeDrawer();
    else openDrawer();
  } else {
    const folded = app.classList.toggle("folded");
    memory.set("folded", folded ? "yes" : "no");
    $("open-sidebar").setAttribute("aria-expanded", String(!folded));
    $(folded ? "open-sidebar" : "close-sidebar").focus();
  }
}

function openDrawer() {
  $("app").classList.add("drawer");
  $("scrim").hidden = false;
  $("main").inert = true;
  $("open-sidebar").setAttribute("aria-expanded", "true");
  $("close-sidebar").focus();
}

/** Close the drawer; nothing where there is none. Returns whether it was open. */
export function closeDrawer() {
  const open = $("app").classList.contains("drawer");
  if (!open) return false;
  $("app").classList.remove("drawer");
  $("scrim").hidden = true;
  $("main").inert = false;
  $("open-sidebar").setAttribute("aria-expanded", "false");
  $("open-sidebar").focus();
  return true;
}

/** Go to the search field, wherever it is hidden. */
export function focusSearch() {
  const app = $("app");
  if (isNarrow.matches ? !app.classList.contains("drawer") : app.classList.contains("folded")) toggle();
  $("search").select();
  $("search").focus();
}

/** Open the first that is found for what stands in the field now, not for what stood there before. */
async function openFirst() {
  clearTimeout(waiting);
  await refresh();
  $("conversations").querySelector("a")?.click();
}

/** Wire it up; `open(id)` opens a conversation, `open(null)` a new one. */
export function startSidebar(open) {
  goTo = open;
  if (memory.get("folded") === "yes") $("app").classList.add("folded");
  document.querySelector(".search-key").textContent = isMac ? "⌘K" : "Ctrl K";
  $("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(refresh, TYPING_MS);
  });
  $("search").addEventListener("keydown", (event) => {
    if (composing(event)) return;
    if (event.key === "Escape" && $("search").value) {
      event.stopPropagation();
      $("search").value = "";
      refresh();
    } else if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      if (event.key === "Enter") openFirst();
      else $("conversations").querySelector("a")?.focus();
    }
  });
  $("conversations").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !document.activeElement.matches(".conversation-link")) return;
    event.preventDefault();
    const links = [...$("conversations").querySelectorAll("a")];
    const next = links.indexOf(document.activeElement) + step;
    (links[next] ?? (next < 0 ? $("search") : null))?.focus();
  });
  for (const id of ["open-sidebar", "close-sidebar"]) $(id).addEventListener("click", toggle);
  $("scrim").addEventListener("click", closeDrawer);
  isNarrow.addEventListener("change", closeDrawer);
  refresh();
}
