// What is new: how many posts are known, and whether something became of what the answers shown here rest on.

import { $, copyText, h, icon } from "./dom.js";
import { call } from "./api.js";
import { announce } from "./announce.js";
import * as chat from "./chat.js";
import { popover } from "./popover.js";
import { retell, utc } from "./time.js";

const EVERY_MS = 4000;
const AWAY_MS = 15000;
const WINDOW_MS = 60000;
const DONE_MS = 1500;
const COMMAND = "lindos posts follow bluesky";
let timer = 0;
let asked = 0;
let samples = [];

/** Ask now, and again every few seconds while somebody looks at the page. */
export async function look() {
  clearTimeout(timer);
  if (document.visibilityState !== "visible") return;
  const mine = ++asked;
  let pause = EVERY_MS;
  try {
    const id = chat.conversation?.id ?? "";
    const news = await call("GET", `/api/news?conversation=${id}`);
    if (mine !== asked) return; // a later look asked meanwhile: what it hears is newer
    count(news);
    retell();
    await chat.lookAgain(id, news.marks);
  } catch {
    pause = AWAY_MS; // the status says so already
  }
  if (mine !== asked) return;
  clearTimeout(timer);
  timer = setTimeout(look, pause);
}

// The counter.

function count(news) {
  const number = news.posts?.count ?? 0;
  $("posts").hidden = number === 0;
  if (!number) {
    samples = [];
    return;
  }
  const now = performance.now();
  samples = [...samples.filter((one) => now - one.at < WINDOW_MS), { at: now, number }];
  $("posts-count").textContent = number.toLocaleString();
  $("posts-short").textContent = short(number);
  $("posts-word").textContent = number === 1 ? " post" : " posts";
  $("posts-rate").textContent = rate();
  fill(news);
}

/** "+12/s", "+4/min", or nothing. */
function rate() {
  const [first, last] = [samples[0], samples.at(-1)];
  const seconds = (last.at - first.at) / 1000;
  const speed = seconds > 0 ? (last.number - first.number) / seconds : 0;
  if (speed >= 9.95) return `+${Math.round(speed).toLocaleString()}/s`;
  if (speed >= 0.95) return `+${speed.toFixed(1).replace(/\.0$/, "")}/s`;
  return speed * 60 >= 0.5 ? `+${Math.round(speed * 60)}/min` : "";
}

function short(number) {
  return new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(number);
}

// What stands behind it.

function fill({ posts, streams }) {
  const newest = posts.newest ? ` The newest was seen at ${utc(posts.newest)}.` : "";
  const known = `${posts.count.toLocaleString()} ${posts.count === 1 ? "post is" : "posts are"} known here.`;
  put("posts-about", known + newest);
  const list = streams.length ? streams.map(stream) : [h("li", { class: "stream" }, "This server follows no stream itself.")];
  const now = JSON.stringify(streams);
  if ($("posts-streams").dataset.shown === now) return;
  $("posts-streams").dataset.shown = now;
  $("posts-streams").replaceChildren(...list);
}

function put(id, words) {
  if ($(id).textContent !== words) $(id).textContent = words;
}

function stream(one) {
  const state = one.words || (one.live ? "live" : "not connected");
  return h(
    "li",
    { class: one.live ? "stream live" : "stream" },
    h("span", { class: "stream-dot" }),
    h("span", { class: "stream-name" }, one.name),
    h("span", { class: "stream-state" }, state),
  );
}

function startCounter() {
  const copy = h("button", { class: "tool", type: "button", "aria-label": "Copy this command", title: "Copy" }, icon("copy"));
  copy.addEventListener("click", async () => {
    const worked = await copyText(COMMAND);
    announce(worked ? "Copied" : "Copying is not possible here");
    if (!worked) return;
    copy.replaceChildren(icon("check"));
    setTimeout(() => copy.replaceChildren(icon("copy")), DONE_MS);
  });
  $("posts-command").replaceChildren(h("code", {}, COMMAND), copy);
  popover($("posts-button"), $("posts-panel"), () => copy);
}

/** Begin to look. */
export function startNews() {
  startCounter();
  document.addEventListener("visibilitychange", look);
  look();
}
