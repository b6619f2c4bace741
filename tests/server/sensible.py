"""Made-up requests, made sensible: what belongs together and what a model can do, no description can say.

Only what has its shape is changed, so that what is wrong with a request stays wrong.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from pydantic import TypeAdapter, ValidationError

from lindos.assistant.settlement.event import Moment
from lindos.server.errors import ApiError
from lindos.server.v1.events import EventId
from lindos.server.v1.formats import ResponseFormat
from lindos.server.v1.messages import ChatMessage
from lindos.server.v1.responses_input import InputItem
from lindos.server.v1.responses_schema import LOGPROBS, Includable, TextOptions
from lindos.server.v1.tools import ChatTool, ChatToolChoice, ResponseTool, ResponseToolChoice
from lindos.server.v1.values import Alternatives, Biases, Language, PersonaName

FEW_TOKENS = 2
MOST_TURNS = 100
OBJECT = {"type": "object"}


def fits(kind: Any, value: Any) -> bool:
    """Whether a part of a request has its shape."""
    try:
        TypeAdapter(kind).validate_python(value)
    except (ValidationError, ApiError):
        return False
    return True


def make_sensible(path: str, body: dict[str, Any]) -> None:
    """Have a request to a model get further than to what is told apart at its beginning, and keep its answer short."""
    if not isinstance(body.get("model"), str) or not 0 < len(body["model"]) <= 256:
        return
    responses = path.endswith("/responses")
    assistant = len(body["model"]) % 2 == 0
    body["model"] = "lindos" if assistant else "tiny"
    _shorten(body, "max_output_tokens" if responses else "max_tokens")
    _for_whom(body, assistant=assistant)
    _of_the_model(body)
    _together(body, chat="/chat/" in path, responses=responses)
    _tools(body, assistant=assistant, flat=responses)
    if responses:
        _input(body)
    else:
        _messages(body)


def _shorten(body: dict[str, Any], name: str) -> None:
    limit = body.get(name)
    if limit is None or (isinstance(limit, int) and FEW_TOKENS < limit <= 2**31):
        body[name] = FEW_TOKENS


def _for_whom(body: dict[str, Any], *, assistant: bool) -> None:
    """Each of the two has parameters that the other has not."""
    if fits(PersonaName, body.get("persona")):
        body["persona"] = "regular" if assistant else None
    if not assistant and fits(Language, body.get("language")):
        body["language"] = None
    if assistant:
        if fits(Biases, body.get("logit_bias")):
            body["logit_bias"] = {}
        if fits(bool, body.get("logprobs")) or fits(Alternatives, body.get("logprobs")):
            body["logprobs"] = None
            if fits(Alternatives, body.get("top_logprobs")):
                body["top_logprobs"] = None


def _of_the_model(body: dict[str, Any]) -> None:
    """Token ids that it has, formats that it can be held to."""
    if fits(Biases, body.get("logit_bias")):
        body["logit_bias"] = {key[-2:]: bias for key, bias in body["logit_bias"].items()}
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and fits(ResponseFormat, wanted):
        wanted |= {name: good for name, good in (("regex", "a+"), ("grammar", 'start: "a"')) if name in wanted}
        if wanted["type"] == "json_schema":
            wanted["json_schema"]["schema"] = OBJECT
    text = body.get("text")
    if isinstance(text, dict) and fits(TextOptions, text) and (text.get("format") or {}).get("type") == "json_schema":
        text["format"]["schema"] = OBJECT


def _together(body: dict[str, Any], *, chat: bool, responses: bool) -> None:
    """Some parameters want another one."""
    if isinstance(body.get("stream_options"), dict) and not body.get("stream"):
        body["stream"] = True
    if chat and body.get("top_logprobs") is not None and (body.get("logprobs") is None or body["logprobs"] is False):
        body["logprobs"] = body["model"] == "tiny"
        if body["model"] == "lindos" and fits(Alternatives, body["top_logprobs"]):
            body["top_logprobs"] = None
    included = body.get("include")
    if responses and isinstance(included, list | None) and fits(list[Includable], included or []):
        others = [name for name in included or [] if name != LOGPROBS]
        body["include"] = others[:15] if body["model"] == "lindos" else [LOGPROBS, *others[:15]]
        if included is not None and len(included) > 16:
            body["include"] = included
        if body["model"] == "lindos" and fits(Alternatives, body.get("top_logprobs")):
            body["top_logprobs"] = None


def _tools(body: dict[str, Any], *, assistant: bool, flat: bool) -> None:
    """Functions with different names and simple schemas, a choice among them, searches of the assistant alone."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools is not None and not fits(list[ResponseTool if flat else ChatTool], tools):
        return
    functions: dict[str, Any] = {}
    searches: list[Any] = []
    for tool in tools or []:
        if tool["type"] == "function":
            shape = tool if flat else tool["function"]
            shape["parameters"] = OBJECT
            if fits(str, shape.get("description")):
                shape["description"] = shape["description"][:20]
            functions[shape["name"]] = tool
        else:
            searches = [{"type": tool["type"], "from_date": tool.get("from_date")}]
    if tools is not None and len(tools) <= 128:
        body["tools"] = [*functions.values(), *(searches if assistant else [])]
    if functions and isinstance(body.get("response_format"), dict) and fits(ResponseFormat, body["response_format"]):
        body["response_format"] = None
    if not fits(ResponseToolChoice if flat else ChatToolChoice, choice):
        return
    if choice == "required" or isinstance(choice, dict):
        body["tool_choice"] = None if not functions else "required"


def _messages(body: dict[str, Any]) -> None:
    """As many as the context holds, results only of calls."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not 0 < len(messages) <= 4096:
        return
    calls: set[str] = set()
    for message in messages:
        if not fits(ChatMessage, message):
            continue
        calls |= {call["id"] for call in message.get("tool_calls") or ()}
        if message["role"] == "tool" and message["tool_call_id"] not in calls:
            message |= {"role": "user", "tool_call_id": None}
    if all(fits(ChatMessage, message) for message in messages):
        del messages[MOST_TURNS:]


def _input(body: dict[str, Any]) -> None:
    """Results only of calls, and something to answer."""
    items = body.get("input")
    if not isinstance(items, list) or not 0 < len(items) <= 4096 or not fits(list[InputItem], items):
        return
    del items[MOST_TURNS:]
    calls: set[str] = set()
    for item in items:
        if item.get("type") == "function_call":
            calls.add(item["call_id"])
        elif item.get("type") == "function_call_output" and item["call_id"] not in calls:
            item.clear()
            item |= {"role": "user", "content": "x"}
    if all(item.get("type") == "web_search_call" for item in items):
        items.append({"role": "user", "content": "x"})


def known_event(path_parameters: dict[str, Any], body: dict[str, Any]) -> None:
    """A record has the id of its address, and closes after it opens."""
    named = unquote(str(path_parameters.get("event_id", "")))
    if fits(EventId, named) and fits(EventId, body.get("id")):
        body["id"] = named
    times = [body.get("opens"), body.get("closes")]
    if all(fits(Moment, time) for time in times):
        body["opens"], body["closes"] = sorted(times, key=TypeAdapter(Moment).validate_python)
