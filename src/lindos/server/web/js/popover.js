// A button that shows something beside it, and hides it again.

/**
 * Have `button` show and hide `panel`, which must stand in the same holder. Escape, a press elsewhere and leaving with
 * Tab hide it. `first()` is what has the focus when it opens. Returns a function that hides it.
 */
export function popover(button, panel, first = () => panel.querySelector("a, button, input")) {
  const holder = button.parentElement;
  const isOpen = () => !panel.hidden;

  function open() {
    panel.hidden = false;
    button.setAttribute("aria-expanded", "true");
    document.addEventListener("pointerdown", outside, true);
    first()?.focus();
  }

  function close(back = true) {
    if (!isOpen()) return;
    panel.hidden = true;
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside, true);
    if (back) button.focus();
  }

  function outside(event) {
    if (!holder.contains(event.target)) close(false);
  }

  panel.hidden = true;
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-controls", panel.id);
  button.addEventListener("click", () => (isOpen() ? close() : open()));
  holder.addEventListener("keydown", (event) => {
    // Out of the page leads to no element that could tell.
    if (event.key === "Tab") setTimeout(() => holder.contains(document.activeElement) || close(false));
    if (event.key !== "Escape" || !isOpen()) return;
    event.preventDefault();
    event.stopPropagation();
    close();
  });
  holder.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !holder.contains(event.relatedTarget)) close(false);
  });
  return close;
}
