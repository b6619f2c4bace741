// Following the newest words, without ever fighting the reader.

import { $ } from "./dom.js";

const NEAR = 64;
let following = true;

function gap() {
  const scroller = $("scroller");
  return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
}

function show() {
  $("latest").hidden = following || gap() < NEAR;
}

/** Stay at the end, if that is where the reader is. Call it after the thread grew. */
export function follow() {
  const scroller = $("scroller");
  if (following) scroller.scrollTop = scroller.scrollHeight;
  show();
}

/** Go to the end and stay there. */
export function toEnd() {
  following = true;
  follow();
}

/** Stay where the reader is now, wherever that is. */
export function stay() {
  following = gap() < 2;
  show();
}

/** Watch what the reader does: moving up lets go, coming back to the end takes hold again. */
export function startScroll() {
  const scroller = $("scroller");
  let before = 0;
  scroller.addEventListener(
    "scroll",
    () => {
      // Only a move upwards is a wish to read: the thread growing below is not.
      if (scroller.scrollTop < before - 1 && gap() > 2) following = false;
      if (gap() < 2) following = true;
      before = scroller.scrollTop;
      show();
    },
    { passive: true },
  );
  new ResizeObserver(follow).observe(scroller);
  $("latest").addEventListener("click", () => {
    toEnd();
    $("question").focus();
  });
}
