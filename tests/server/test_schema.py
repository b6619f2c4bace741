"""Every operation of the API against its own description, with requests made up by schemathesis."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from lindos.server import Settings, create_app
from tests.server.events import ask, create
from tests.server.scripted import ScriptedChatModel
from tests.server.served import Served, idle, wait_until

FEW, MANY = 10, 150
"""Examples an operation, beside those that cover its boundaries."""
PATIENCE = 60

description = create_app(Settings(data=Path("unused")), lambda: ScriptedChatModel("")).openapi()
schema = schemathesis.openapi.from_dict(description)
known: dict[str, Any] = {}
"""Things that are there, so that not every request ends at 404."""


@pytest.fixture
def something(server: Served) -> Served:
    """The server, with a conversation that requests can name."""
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        known["conversation_id"] = create(client)
        events = ask(client, known["conversation_id"], "Is anybody there?")
        known["message_id"] = events[-1][1]["answer"]["id"]
    return server


def reach(case: schemathesis.Case) -> None:
    """Let a request get further than to 404, and keep answers short; what is wrong with it stays wrong."""
    for name in case.path_parameters:
        if name in known and len(str(case.path_parameters[name])) % 2:
            case.path_parameters[name] = known[name]
    if str((case.query or {}).get("stream", "")).lower() == "true":
        del case.query["stream"]  # a kept response is not streamed
    body: Any = case.body
    if isinstance(body, dict) and "event_id" in case.path_parameters and isinstance(body.get("id"), str):
        body["id"] = case.path_parameters["event_id"]  # nor that the record has the address's id
    if isinstance(body, dict) and isinstance(body.get("model"), str) and 0 < len(body["model"]) <= 256:
        body["model"] = "tiny"
        name = "max_output_tokens" if "/responses" in case.path else "max_tokens"
        limit = body.get(name)
        if limit is None or (isinstance(limit, int) and 2 < limit <= 2**31):
            body[name] = 2
        for name, good in (("persona", r".{1,64}"), ("language", r"[a-z]{2}")):
            # The assistant's, and this is the bare model.
            if isinstance(body.get(name), str) and re.fullmatch(good, body[name]):
                del body[name]
        if isinstance(body.get("tool_choice"), dict) and not body.get("tools"):
            del body["tool_choice"]  # the description cannot say that one wants the other
        if isinstance(body.get("messages"), list) and len(body["messages"]) <= 4096:
            del body["messages"][100:]  # nor what the context holds
        if isinstance(body.get("stream_options"), dict) and not body.get("stream"):
            body["stream"] = True  # the description cannot say that one wants the other
        if (
            "/chat/" in case.path
            and body.get("top_logprobs") is not None
            and (body.get("logprobs") is None or body["logprobs"] is False)
        ):
            body["logprobs"] = True  # nor this
        within_the_model(body)


def within_the_model(body: dict[str, Any]) -> None:
    """Token ids that the model has, formats that can be compiled: the description knows only their shape."""
    biases = body.get("logit_bias")
    if isinstance(biases, dict):
        body["logit_bias"] = {key[-2:] if re.fullmatch("[0-9]{1,9}", key) else key: biases[key] for key in biases}
    wanted = body.get("response_format")
    good = {"json_schema": {"type": "object"}, "regex": "a+", "grammar": 'start: "a"'}
    if isinstance(wanted, dict):
        for name in ("regex", "grammar"):
            if isinstance(wanted.get(name), str) and 0 < len(wanted[name]) <= 1 << 16:
                wanted[name] = good[name]
        if isinstance(wanted.get("json_schema"), dict) and isinstance(wanted["json_schema"].get("schema"), dict):
            wanted["json_schema"]["schema"] = good["json_schema"]


def keeps_to_it(case: schemathesis.Case, server: Served) -> None:
    # A long stream is left before its end, and what it held is free once the server has noticed: not at once, but soon.
    wait_until(lambda: idle(server), "the request before was never given up")
    reach(case)
    case.call_and_validate(base_url=server.url, timeout=PATIENCE)


@schema.parametrize()
@settings(
    max_examples=FEW,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list[Any](HealthCheck),
)
def test_every_operation_keeps_to_its_description(case: schemathesis.Case, something: Served):
    keeps_to_it(case, something)


@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=MANY, deadline=None, suppress_health_check=list[Any](HealthCheck))
def test_every_operation_keeps_to_its_description_for_long(case: schemathesis.Case, something: Served):
    keeps_to_it(case, something)
