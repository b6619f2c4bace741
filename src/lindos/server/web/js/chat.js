// The conversation that is open: asking, watching the answer, stopping, going back to other versions.

import { Failure, call, stream } from "./api.js";
import { announce, toast } from "./announce.js";
import { spokenBasis } from "./basis.js";
import * as thread from "./thread.js";
import { toEnd } from "./scroll.js";

const REATTACH_MS = [500, 1000, 2000, 3000, 5000];
const SAID_ALOUD = 600;

/** What is open: its id, title, persona and messages; null before the first question. */
export let conversation = null;
/** The id of the answer that is being written into what is open, or null. */
export let writing = null;

let asking = false;
let opening = 0;
let listener = () => {};

/** Have `changed` called whenever what is open, or whether an answer is under way, changed. */
export function onChange(changed) {
  listener = changed;
}

/** Whether a question was sent whose answer has not ended. */
export function busy() {
  return asking || writing !== null;
}

function show(view) {
  conversation = view;
  const last = view?.messages.at(-1);
  writing = last?.state === "writing" ? last.id : null;
  asking = false;
  thread.render(view?.messages ?? []);
  listener();
}

/** Leave what is open; the next question begins a new conversation. An answer under way goes on. */
export function fresh() {
  opening += 1;
  show(null);
}

/** Open a conversation; resolves to whether it is the one shown now. Rejects with a Failure. */
export async function open(id) {
  const ticket = ++opening;
  const view = await call("GET", `/api/conversations/${id}`);
  if (ticket !== opening) return false;
  show(view);
  toEnd();
  if (writing !== null) watch(id, writing);
  return true;
}

function isOpen(id) {
  return conversation?.id === id;
}

/** Ask something; resolves to whether the server took it. */
export async function ask(text, persona) {
  opening += 1; // what is still on its way must not take the question along
  asking = true;
  listener();
  try {
    if (!conversation) show({ ...(await call("POST", "/api/conversations", { persona })), messages: [] });
  } catch (error) {
    return refused(error);
  }
  asking = true;
  const parent = conversation.messages.findLast((message) => message.role === "assistant");
  return run(`/api/conversations/${conversation.id}/messages`, { text, parent_id: parent?.id ?? null, persona });
}

/** Ask instead of an earlier question; what followed stays as another version. */
export async function edit(message, text) {
  if (asking) return false; // a question is on its way already
  if (busy()) await stop();
  return run(
    `/api/conversations/${conversation.id}/messages`,
    { text, parent_id: message.parent_id, persona: conversation.persona || null },
    message.id,
  );
}

/** Another try at an answer. */
export async function again(message) {
  if (asking) return false;
  if (busy()) await stop();
  return run(`/api/messages/${message.parent_id}/answers`, { persona: conversation.persona || null }, message.id);
}

/** Send what begins an answer, and watch it; resolves to whether the server took it, before the answer ends. */
function run(path, body, instead = null) {
  const id = conversation.id;
  asking = true;
  listener();
  return new Promise((resolve) => {
    const begun = (data) => {
      resolve(true);
      if (!isOpen(id)) return;
      if (instead !== null) cut(instead);
      if (data.question) add(data.question);
    };
    follow(id, (onEvent) => stream("POST", path, body, onEvent), begun).catch((error) => resolve(refused(error)));
  });
}

function refused(error) {
  asking = false;
  listener();
  toast(error instanceof Failure ? error.message : String(error));
  return false;
}

/** Watch an answer that is under way already. */
function watch(id, answerId) {
  const start = (onEvent) => stream("GET", `/api/messages/${answerId}/stream`, undefined, onEvent);
  follow(id, start).catch((error) => lose(id, answerId, error));
}

/** Put a stream of events on the page; when it breaks before its end, take it up again. */
async function follow(id, start, begun = () => {}) {
  const { answerId, ended } = await play(id, start, begun);
  if (ended) return;
  if (answerId === null) throw new Failure(0, "The connection broke before the answer began");
  for (const pause of REATTACH_MS) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    if (!isOpen(id)) return;
    try {
      const take = (onEvent) => stream("GET", `/api/messages/${answerId}/stream`, undefined, onEvent);
      if ((await play(id, take)).ended) return;
    } catch (error) {
      if (error.status === 404) break;
    }
  }
  lose(id, answerId, new Failure(0, "The server does not answer. What was written before is kept"));
}

/** One stream, from its beginning to its end or to where it breaks. */
async function play(id, start, begun = () => {}) {
  let answerId = null;
  let ended = false;
  await start((name, data) => {
    if (name === "start") {
      answerId = data.answer.id;
      begun(data);
    }
    ended ||= name === "end";
    if (!isOpen(id)) {
      if (name !== "patch") listener();
    } else if (name === "start") began(data);
    else if (name === "patch") grew(answerId, data);
    else finished(data);
  });
  return { answerId, ended };
}

function lose(id, answerId, error) {
  if (!isOpen(id)) return;
  writing = null;
  asking = false;
  thread.lost(answerId, error.message, () => open(id).catch((problem) => toast(problem.message)));
  announce("The connection to the server is gone.");
  listener();
}

function began(data) {
  asking = false;
  const last = conversation.messages.at(-1)?.id ?? null;
  if (last !== data.answer.parent_id && last !== data.answer.id) return listener(); // another version is shown by now
  Object.assign(conversation, data.conversation);
  add(data.answer);
  writing = data.answer.id;
  listener();
  announce("Lindos is writing.");
}

function grew(id, change) {
  const message = conversation.messages.find((known) => known.id === id);
  if (!message) return; // another version is shown by now
  const first = change.basis && !message.basis;
  if (change.basis) message.basis = change.basis;
  thread.patch(message, change);
  if (first) listener();
}

function finished(data) {
  if (writing === data.answer.id) writing = null;
  if (!conversation.messages.some((message) => message.id === data.answer.id)) return listener(); // as above
  Object.assign(conversation, data.conversation);
  add(data.answer);
  listener();
  const said = () => spokenBasis(data.answer.basis) + thread.words(data.answer.id);
  const words = data.answer.state === "failed" ? `That did not work: ${data.answer.error}` : said();
  announce(words.length > SAID_ALOUD ? `${words.slice(0, SAID_ALOUD)} … and more.` : words);
}

function add(message) {
  const at = conversation.messages.findIndex((known) => known.id === message.id);
  if (at < 0) {
    conversation.messages.push(message);
    toEnd();
  } else conversation.messages[at] = message;
  thread.put(message);
}

function cut(id) {
  const at = conversation.messages.findIndex((message) => message.id === id);
  if (at >= 0) conversation.messages.length = at;
  thread.cutFrom(id);
}

/** Look again at the answers of a conversation whose marks are not what they were; nothing where it is not open. */
export async function lookAgain(id, marks) {
  if (!isOpen(id)) return;
  const moved = conversation.messages.filter(
    (message) => marks[message.id] !== undefined && message.state !== "writing" && marks[message.id] !== message.mark,
  );
  for (const { id: answerId } of moved) {
    const found = await call("GET", `/api/messages/${answerId}`);
    const at = isOpen(id) ? conversation.messages.findIndex((message) => message.id === answerId) : -1;
    if (at < 0) return;
    tellChange(conversation.messages[at].basis, found.basis);
    conversation.messages[at] = found;
    thread.renew(found);
    listener();
  }
}

function tellChange(before, now) {
  const gone = (basis) => basis?.sources.filter((one) => one.state === "deleted").length ?? 0;
  if (gone(now) > gone(before)) announce("A source of an answer here was deleted by its author.");
  else if ((now?.stale.length ?? 0) > (before?.stale.length ?? 0)) announce("Things have moved since an answer here was written.");
}

/** End the answer under way; resolves when it has ended. */
export async function stop() {
  if (writing === null) return;
  try {
    await call("POST", `/api/messages/${writing}/stop`);
  } catch (error) {
    toast(error.message);
  }
}

/** Show another version of a message. */
export async function showVersion(id, tool) {
  try {
    const open = conversation.id;
    const view = await call("POST", `/api/messages/${id}/show`);
    if (!isOpen(open)) return;
    show(view);
    thread.focusTool(id, tool);
    if (writing !== null) watch(open, writing);
  } catch (error) {
    toast(error.message);
  }
}

/** The persona of the answers to come. */
export async function setPersona(persona) {
  if (!conversation) return;
  conversation.persona = persona;
  try {
    await call("PATCH", `/api/conversations/${conversation.id}`, { persona });
  } catch (error) {
    toast(error.message);
  }
}

/** Take over a changed title, or that what is open was deleted. */
export function changedElsewhere(id, change) {
  if (!isOpen(id)) return;
  if (change === null) fresh();
  else {
    Object.assign(conversation, change);
    listener();
  }
}
