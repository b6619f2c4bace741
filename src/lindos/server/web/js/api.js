// Talking to the server.

/** What the server refused, in its own words; status 0 when it could not be reached. */
export class Failure extends Error {
  constructor(status, message, code = null) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const UNREACHABLE = "The server does not answer. Is it still running?";
let onLocked = null;

/** What to call when the server wants its key; it resolves once the key was given. */
export function whenLocked(unlock) {
  onLocked = unlock;
}

async function send(method, path, body, signal) {
  let response;
  try {
    response = await fetch(path, {
      method,
      signal,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, UNREACHABLE);
  }
  if (response.ok) return response;
  let found = null;
  try {
    found = (await response.json()).error;
  } catch {
    // Whatever answered was not our server.
  }
  const failure = new Failure(response.status, found?.message ?? `The server answered ${response.status}.`, found?.code);
  if (response.status === 401 && onLocked && path !== "/api/session") {
    await onLocked();
    return send(method, path, body, signal);
  }
  throw failure;
}

/** One request; resolves to the answer's JSON, or null where there is none. */
export async function call(method, path, body) {
  const response = await send(method, path, body);
  return response.status === 204 ? null : response.json();
}

/**
 * One request whose answer is a stream of events; `onEvent(name, data)` for each.
 * Resolves when the stream ends, however that is; rejects with a Failure when it did not begin.
 */
export async function stream(method, path, body, onEvent) {
  const response = await send(method, path, body);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const event = parsed(part);
        if (event) onEvent(event.name, event.data);
      }
    }
  } catch {
    // The connection broke: who called sees that no "end" came.
  }
}

function parsed(part) {
  let name = "message";
  const data = [];
  for (const line of part.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data.push(line.slice(6));
  }
  return data.length ? { name, data: JSON.parse(data.join("\n")) } : null;
}
