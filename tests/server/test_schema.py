"""Every operation of the API against its own description, with requests made up by schemathesis."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from lindos.server import Settings, create_app
from tests.server.events import ask, create
from tests.server.scripted import ScriptedChatModel
from tests.server.sensible import known_event, make_sensible
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
    """The server, with a conversation and a response that requests can name."""
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        known["conversation_id"] = create(client)
        events = ask(client, known["conversation_id"], "Is anybody there?")
        known["message_id"] = events[-1][1]["answer"]["id"]
        asked = {"model": "tiny", "input": "Is anybody there?", "max_output_tokens": 2}
        known["response_id"] = client.post("/v1/responses", json=asked).json()["id"]
    return server


def reach(case: schemathesis.Case) -> None:
    """Let a request get further than to 404; what is wrong with it stays wrong."""
    for name in case.path_parameters:
        if name in known and len(str(case.path_parameters[name])) % 2:
            case.path_parameters[name] = known[name]
    body: Any = deepcopy(case.body)  # requests share parts of theirs
    if isinstance(body, dict):
        case.body = body
        known_event(case.path_parameters, body)
        make_sensible(case.path, body)


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
