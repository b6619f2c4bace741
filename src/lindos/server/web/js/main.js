// Puts the page together: what is open, its address, and what to do when that changes.

import { $, hasKeyboard, placeIcons } from "./dom.js";
import { call, whenLocked } from "./api.js";
import { toast } from "./announce.js";
import * as chat from "./chat.js";
import * as composer from "./composer.js";
import * as sidebar from "./sidebar.js";
import * as status from "./status.js";
import * as thread from "./thread.js";
import { ask } from "./dialogs.js";
import { startKeys } from "./keys.js";
import { startNews } from "./news.js";
import { showPersona } from "./personas.js";
import { startScroll } from "./scroll.js";
import { startSources } from "./sources.js";
import { startTheme } from "./theme.js";

let known = "";

function changed() {
  const { id = null, title = "" } = chat.conversation ?? {};
  $("title").textContent = title;
  document.title = title ? `${title} · Lindos` : "Lindos";
  const path = id ? `/c/${id}` : "/";
  if (location.pathname !== path) history.pushState(null, "", path);
  composer.update();
  status.showEmpty();
  sidebar.mark();
  const now = `${id} ${title} ${chat.writing}`;
  if (now !== known) sidebar.refresh();
  known = now;
}

async function open(id) {
  if (id === null) {
    fresh();
    return;
  }
  try {
    if (!(await chat.open(id))) return; // something else was opened meanwhile
    showPersona(chat.conversation.persona);
  } catch (error) {
    toast(error.status === 404 ? "That conversation is not there any more." : error.message);
    // Without this, going back would lead here again and again.
    const away = error.status === 0 && chat.conversation;
    history.replaceState(null, "", away ? `/c/${chat.conversation.id}` : "/");
    if (!away) chat.fresh();
  }
  if (hasKeyboard.matches) $("question").focus();
}

function fresh() {
  chat.fresh();
  sidebar.closeDrawer();
  if (hasKeyboard.matches) $("question").focus();
}

function fromAddress() {
  return location.pathname.match(/^\/c\/([0-9a-f]{32})$/)?.[1] ?? null;
}

async function unlock() {
  let text = "This server is guarded by a key.";
  for (;;) {
    const field = { label: "API key", type: "password" };
    const key = await ask({ title: "API key", text, ok: "Open", field, required: true });
    try {
      await call("POST", "/api/session", { key: key ?? "" });
      return;
    } catch (error) {
      text = error.message;
    }
  }
}

let unlocking = null;
whenLocked(() => (unlocking ??= unlock().finally(() => (unlocking = null))));

placeIcons();
startTheme();
startScroll();
startSources();
composer.startComposer();
chat.onChange(changed);
thread.setActions({ edit: chat.edit, again: chat.again, show: (id, _role, name) => chat.showVersion(id, `version-${name}`) });
sidebar.startSidebar(open);
startKeys(fresh);

for (const element of document.querySelectorAll("[data-action=new]")) {
  element.addEventListener("click", (event) => {
    event.preventDefault();
    fresh();
  });
}
addEventListener("popstate", () => {
  const id = fromAddress();
  if (id !== (chat.conversation?.id ?? null)) open(id); // else only a place on the page was gone to
});
// A server that was away, or another model behind the same address, shows when one comes back to the page.
addEventListener("focus", status.check);

await status.check();
await open(fromAddress());
startNews();
