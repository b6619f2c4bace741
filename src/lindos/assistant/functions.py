"""Functions that a caller offers to a model: how they are told to it, how calls and results stand in a conversation.

A ChatModel takes text and gives text, so all of this is text, in the convention of Hermes
(https://github.com/NousResearch/Hermes-Function-Calling) that Qwen's chat models were trained on too: a call is
`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, a result `<tool_response>...</tool_response>` in a turn of
the user's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lindos.assistant.model import Grammar, RequestError
from lindos.specs import Message
from lindos.specs.conversation import Role

CALL_OPEN, CALL_CLOSE = "<tool_call>", "</tool_call>"
RESULT_OPEN, RESULT_CLOSE = "<tool_response>", "</tool_response>"
MOST_CALLS = 8
"""Calls that an answer which has to be calls may have."""
_HEAD = "# Tools\n\nYou may call one or more functions to assist with the user query."
_FORM = (
    "For each function call, return a json object with function name and arguments within "
    f"{CALL_OPEN}{CALL_CLOSE} XML tags:\n"
    f'{CALL_OPEN}\n{{"name": <function-name>, "arguments": <args-json-object>}}\n{CALL_CLOSE}'
)
_MARKS = re.compile(r"<(?=/?(?:tool_call|tool_response|tools)>)")
# Bounded white space, and nothing of a schema left out in silence: as answers are held to a JSON schema elsewhere.
_GUIDANCE = {"whitespace_pattern": r"[ \t\n\r]{1,16}", "lenient": False}


@dataclass(frozen=True)
class Function:
    """Something that a model may ask its caller to do."""

    name: str
    """1 to 64 letters, digits, `_` and `-`."""
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    """A JSON schema of an object; None: any object."""
    strict: bool = False
    """Whether arguments that do not fit the schema make a call none."""

    @property
    def schema(self) -> dict[str, Any]:
        """What its arguments have to fit; they are an object in any case."""
        return {"type": "object", **(self.parameters or {})}


@dataclass(frozen=True)
class Said:
    """A turn of a conversation in words."""

    role: Role
    text: str


@dataclass(frozen=True)
class Called:
    """A call that a model made earlier."""

    id: str
    name: str
    arguments: str
    """JSON."""


@dataclass(frozen=True)
class Returned:
    """What a call came to."""

    id: str
    text: str


Turn = Said | Called | Returned


def defused(text: str) -> str:
    """A text by somebody else, in which nothing is taken for a call or a result: its marks are set off by a space."""
    return _MARKS.sub("< ", text)


def rendered(turns: Iterable[Turn], functions: Sequence[Function] = ()) -> list[Message]:
    """The conversation as a model is told it, functions on offer behind the first instructions.

    Marks of calls and results that people write are defused: a model would take them for its own and for ours.
    """
    messages: list[Message] = []
    for turn in turns:
        match turn:
            case Said(role, text):
                messages.append(Message(role=role, content=defused(text) if role == "user" else text))
            case Called():
                _join(messages, "assistant", f"{CALL_OPEN}\n{_call(turn)}\n{CALL_CLOSE}")
            case Returned():
                results = f"{RESULT_OPEN}\n{defused(turn.text)}\n{RESULT_CLOSE}"
                if messages and messages[-1].result:
                    _join(messages, "user", results)
                else:
                    messages.append(Message(role="user", content=results, result=True))
    if not functions:
        return messages
    at = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    return [*messages[:at], Message(role="system", content=_offer(functions)), *messages[at:]]


def offers_functions(messages: Iterable[Message]) -> bool:
    """Whether a rendered conversation has functions on offer, so that an answer may hold calls."""
    return any(message.role == "system" and message.content.startswith(_HEAD) for message in messages)


def calls_grammar(functions: Sequence[Function], *, several: bool, otherwise: str | None = None) -> Grammar:
    """An answer that is one call or, if `several`, up to MOST_CALLS; or else JSON that fits the schema `otherwise`.

    Raises RequestError for schemas that are too long or nested too deeply; what else is wrong with one comes out when
    the model compiles the grammar.
    """
    start = "calls" if otherwise is None else "calls | otherwise"
    lines = [
        f"start: {start}",
        "calls: call" + (f' ("\\n" call){{0,{MOST_CALLS - 1}}}' if several else ""),
        f"call: {json.dumps(CALL_OPEN)} /\\n?/ function /\\n?/ {json.dumps(CALL_CLOSE)}",
        "function: " + " | ".join(f"f{number}" for number, _ in enumerate(functions)),
    ]
    try:
        for number, function in enumerate(functions):
            opening = json.dumps(f'{{"name": "{function.name}", "arguments": ')
            lines.append(f'f{number}: {opening} a{number} "}}"')
            lines.append(f"a{number}: %json {_guided(function.schema)}")
        if otherwise is not None:
            lines.append(f"otherwise: %json {_guided(json.loads(otherwise))}")
    except RecursionError:
        raise RequestError("a JSON schema is nested too deeply", param="tools") from None
    try:
        return Grammar("lark", "\n".join(lines))
    except RequestError as error:
        raise RequestError(f"the functions' schemas are too much: {error}", param="tools") from None


def _guided(schema: Mapping[str, Any]) -> str:
    return json.dumps({**schema, "x-guidance": _GUIDANCE})


def _offer(functions: Sequence[Function]) -> str:
    lines = [_HEAD, "", "You are provided with function signatures within <tools></tools> XML tags:", "<tools>"]
    for function in functions:
        signature = {"name": function.name, "description": function.description, "parameters": function.schema}
        lines.append(json.dumps({"type": "function", "function": signature}, ensure_ascii=False))
    return "\n".join([*lines, "</tools>", "", _FORM])


def _call(call: Called) -> str:
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        arguments = call.arguments  # as text: what a model wrote wrongly, it should see so
    return json.dumps({"name": call.name, "arguments": arguments}, ensure_ascii=False)


def _join(messages: list[Message], role: Role, text: str) -> None:
    """`text` as the end of the last message where that is of `role`, else as a message."""
    if messages and messages[-1].role == role:
        before = f"{messages[-1].content}\n" if messages[-1].content else ""
        messages[-1] = messages[-1].model_copy(update={"content": before + text})
    else:
        messages.append(Message(role=role, content=text))
