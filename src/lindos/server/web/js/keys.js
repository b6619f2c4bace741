// Shortcuts that work everywhere on the page.

import { $, composing, isMac } from "./dom.js";
import * as chat from "./chat.js";
import * as sidebar from "./sidebar.js";
import { dialogOpen, showShortcuts } from "./dialogs.js";

function typing(target) {
  return target.matches?.("input:not([type=radio]), textarea, select");
}

/** Wire them up; `fresh` begins a new conversation. */
export function startKeys(fresh) {
  $("help").addEventListener("click", showShortcuts);
  document.addEventListener("keydown", (event) => {
    if (dialogOpen() || composing(event)) return;
    const mod = isMac ? event.metaKey : event.ctrlKey;
    const key = event.key.toLowerCase();
    let action = null;
    if (mod && !event.shiftKey && key === "k") action = sidebar.focusSearch;
    else if (mod && event.shiftKey && key === "o") action = fresh;
    else if (mod && !event.shiftKey && key === "b") action = sidebar.toggle;
    else if (event.key === "Escape") action = escape;
    else if (!typing(event.target) && !mod && !event.altKey) {
      if (event.key === "?") action = showShortcuts;
      else if (event.key === "/") action = () => $("question").focus();
    }
    if (!action) return;
    event.preventDefault();
    action();
  });
}

function escape() {
  if (sidebar.closeDrawer()) return;
  if (chat.busy()) chat.stop();
  else $("question").focus();
}
