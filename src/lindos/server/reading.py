"""Reading what the routes answer, as a client does: streams put together, texts, citations, what an answer rests on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from lindos.assistant.routes import RouteName

PARTING = "\n\n"
"""Between the choices of an answer, and between its words and its calls."""


def answer_of(route: RouteName, reply: Mapping[str, Any]) -> dict[str, Any]:
    """A whole reply as a replay prints it: {text, form, as_of, citations, cut}.

    All that is said is in `text`, choice after choice, calls as name(arguments). Completions tell no citations, and
    what a bare model says rests on nothing.
    """
    told = [said for said, _ in _said(route, reply) if said]
    places = list(dict.fromkeys(place for _, cited in _said(route, reply) for place in cited))
    # Where there are several choices, each tells its own, and the reply repeats the first one's.
    evidence = [choice["lindos"] for choice in reply.get("choices", ()) if choice.get("lindos")]
    evidence = evidence or ([reply["lindos"]] if reply.get("lindos") else [])
    sources = {source["url"] or source["uri"]: source for one in evidence for source in one["sources"]}
    first = evidence[0] if evidence else {}
    return {
        "text": PARTING.join(told),
        "form": first.get("form", "none"),
        "as_of": _moment(first.get("as_of")),
        "citations": [
            {"uri": sources[place]["uri"], "text": sources[place]["text"]} for place in places if place in sources
        ],
        "cut": [cut.get("text") or "" for one in evidence for cut in one["cut"]],
    }


def error_of(reply: Any) -> str:
    """The message of a reply that is an error, or of a response that failed; empty for others."""
    error = reply.get("error") if isinstance(reply, Mapping) else None
    return error["message"] if error else ""


def whole_of(route: RouteName, stream: str) -> dict[str, Any]:
    """The whole reply of a stream of events, its texts those of the stream's pieces."""
    events = list(_events(stream))
    if route == "responses":
        return _whole_response(events)
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for event in events:
        if event.get("error"):
            return event
        for piece in event["choices"]:
            choice = choices.setdefault(piece["index"], {"message": {"content": ""}, "text": ""})
            if event.get("lindos"):
                choice["lindos"] = event["lindos"]
            choice["text"] += piece.get("text") or ""
            _add(choice["message"], piece.get("delta") or {})
    whole["choices"] = [choices[index] for index in sorted(choices)]
    return whole


def _events(stream: str) -> Iterator[dict[str, Any]]:
    for line in stream.split("\n"):
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def _add(message: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """What one chunk of a chat adds to its message."""
    for name in ("content", "refusal"):
        if delta.get(name):
            message[name] = (message.get(name) or "") + delta[name]
    if delta.get("annotations"):
        message["annotations"] = delta["annotations"]
    for part in delta.get("tool_calls") or ():
        calls = message.setdefault("tool_calls", [])
        if part["index"] == len(calls):
            calls.append({"function": {"name": part["function"]["name"], "arguments": ""}})
        calls[part["index"]]["function"]["arguments"] += part["function"].get("arguments") or ""


def _whole_response(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The response of the last event, its words and arguments as they were streamed before."""
    response = events[-1]["response"]
    streamed: dict[int, str] = {}
    for event in events:
        if event["type"].endswith(".delta"):
            streamed[event["output_index"]] = streamed.get(event["output_index"], "") + event["delta"]
    for index, item in enumerate(response["output"]):
        text = streamed.get(index, "")
        if item["type"] == "function_call":
            item["arguments"] = text
        elif item["type"] == "message":
            part = item["content"][0]
            part["refusal" if part["type"] == "refusal" else "text"] = text
    return response


def _said(route: RouteName, reply: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Each stretch of what an answer says, with the places on the web that it cites."""
    if route == "responses":
        for item in reply["output"]:
            if item["type"] == "function_call":
                yield _call(item), []
            for part in item["content"] if item["type"] == "message" else ():
                yield part.get("text") or part.get("refusal") or "", [one["url"] for one in part.get("annotations", ())]
        return
    for choice in reply["choices"]:
        if route == "completions":
            yield choice["text"], []
            continue
        message = choice["message"]
        yield message.get("content") or "", [one["url_citation"]["url"] for one in message.get("annotations") or ()]
        yield message.get("refusal") or "", []
        yield from ((_call(call["function"]), []) for call in message.get("tool_calls") or ())


def _call(function: Mapping[str, Any]) -> str:
    return f"{function['name']}({function['arguments']})"


def _moment(at: str | None) -> str | None:
    return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
