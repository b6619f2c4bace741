// The sources beside an answer, and the numbers in its text that lead to them.

import { $, h, icon, isNarrow } from "./dom.js";
import { time } from "./time.js";

const FEW = 3;
const LONG = 320;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** The sources of a message: {basis, writing, id}; null where there is nothing to show. */
export function buildSources(id, basis, writing) {
  const cited = basis.sources.filter((one) => one.cited);
  const others = basis.sources.filter((one) => !one.cited);
  if (!basis.sources.length) return null;
  const box = h("section", { class: "sources", "aria-label": "Sources of this answer" });
  if (cited.length) box.append(fold(cited, id));
  if (others.length && writing) box.append(h("p", { class: "sources-found" }, icon("search"), found(others.length, cited.length)));
  else if (others.length) box.append(also(others, id, cited.length));
  return box;
}

function found(count, more) {
  return `${more ? "Reading " : "Found "}${count}${more ? " more" : ""} ${count === 1 ? "post" : "posts"}`;
}

function fold(cited, id) {
  const words = cited.length === 1 ? "1 source" : `${cited.length} sources`;
  const details = h(
    "details",
    { class: "sources-cited" },
    h("summary", {}, h("span", {}, words), icon("chevron")),
    h("ol", { class: "source-list" }, ...cited.map((one) => card(one, id))),
  );
  details.open = opened(cited.length);
  return details;
}

function opened(count) {
  return !isNarrow.matches || count <= FEW;
}

function also(others, id, cited) {
  const words = `${cited ? "Also found" : "Found, not used"}: ${others.length} ${others.length === 1 ? "post" : "posts"}`;
  return h(
    "details",
    { class: "sources-also" },
    h("summary", {}, h("span", {}, words), icon("chevron")),
    h("ol", { class: "source-list" }, ...others.map((one) => card(one, id))),
  );
}

// One source. What a post says is text, never markup.

function card(one, id) {
  const item = h("li", { id: `source-${id}-${one.number}`, class: "source", tabindex: -1, "data-number": one.number });
  if (one.state) item.classList.add(one.state);
  const head = h(
    "p",
    { class: "source-head" },
    h("span", { class: "source-number" }, h("span", { class: "hidden" }, "Source "), String(one.number)),
    h("span", { class: "source-author", dir: "auto" }, one.author),
  );
  if (one.authoritative) head.append(badge("shield", "authoritative", "One of the sources by which this event is settled"));
  if (one.state === "edited") head.append(badge("pen", "edited since", "The post says something else by now"));
  item.append(head);
  if (one.state === "deleted") item.append(h("p", { class: "source-gone" }, icon("trash"), "Deleted by its author"));
  else item.append(...words(one));
  item.append(foot(one));
  return item;
}

function badge(name, text, title) {
  return h("span", { class: `source-badge ${name}`, title }, icon(name), text);
}

function words(one) {
  const text = h("p", { class: "source-text", dir: "auto" }, one.text);
  if (one.text.length <= LONG) return [text];
  text.classList.add("long");
  const more = h("button", { class: "source-more", type: "button" }, "Show all of it");
  more.addEventListener("click", () => {
    text.classList.remove("long");
    more.remove();
  });
  return [text, more];
}

function foot(one) {
  const line = h("p", { class: "source-foot" }, h("span", {}, "seen ", time(one.seen_at)));
  if (one.claimed_at && one.state !== "deleted") {
    line.append(h("span", { title: "The post's own claim, which nobody checked" }, "dated ", time(one.claimed_at)));
  }
  if (one.url) {
    const label = `Open the post by ${one.author} in a new tab`;
    line.append(h("a", { class: "source-link", href: one.url, target: "_blank", rel: "noopener noreferrer nofollow", "aria-label": label }, "Open", icon("out")));
  }
  return line;
}

// From the text to the source and back.

function cardOf(cite) {
  return $(cite.getAttribute("href").slice(1));
}

function citesOf(card) {
  return card.closest(".turn").querySelectorAll(`.cite[href="#${card.id}"]`);
}

function light(target, on) {
  const cite = target.closest?.(".cite");
  const card = cite ? cardOf(cite) : target.closest?.(".source");
  card?.classList.toggle("lit", on);
  if (card) for (const one of citesOf(card)) one.classList.toggle("lit", on);
}

function goTo(cite) {
  const card = cardOf(cite);
  if (!card) return;
  const details = card.closest("details");
  if (details) details.open = true;
  card.from = cite;
  card.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
  card.focus({ preventScroll: true });
}

/** Wire the numbers up, for all turns there will ever be. */
export function startSources() {
  const thread = $("thread");
  for (const [event, on] of [["pointerover", true], ["pointerout", false], ["focusin", true], ["focusout", false]]) {
    thread.addEventListener(event, ({ target }) => light(target, on));
  }
  thread.addEventListener("click", (event) => {
    const cite = event.target.closest(".cite");
    if (!cite) return;
    event.preventDefault(); // the address names the conversation, not a place in it
    goTo(cite);
  });
  thread.addEventListener("keydown", (event) => {
    const card = event.target.closest(".source");
    const cite = card && (card.from?.isConnected ? card.from : citesOf(card)[0]);
    if (event.key !== "Escape" || !cite) return;
    event.stopPropagation();
    cite.focus();
  });
  isNarrow.addEventListener("change", () => {
    for (const details of thread.querySelectorAll(".sources-cited")) {
      details.open = opened(details.querySelectorAll(".source").length);
    }
  });
}
