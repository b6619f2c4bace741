"""What a replay asks over a route of the API is answered as the assistant itself answers it, at the same moment."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from lindos.assistant.replay import replay
from lindos.assistant.routes import DIRECT, ROUTES, route_of, unknown
from lindos.assistant.timeline import read_lines
from lindos.cli.assistant import app
from lindos.specs import SpecError
from tests.replay.play import announcing, answered
from tests.replay.test_announcements import partial
from tests.replay.timelines import Timeline
from tests.replay.world import race

WAYS = [(route, stream) for route in ("responses", "chat", "completions") for stream in (False, True)]
WIN = {"model": [{"match": "", "reply": "Ada Tace won in Vell."}]}
ASK = {"at": "2031-05-04T21:14:00Z", "ask": "Who won in Vell?"}
VELL = {
    "at": "2031-05-04T20:01:00Z",
    "event": {
        "id": "vell",
        "kind": "election",
        "title": "Mayor of Vell 2031",
        "match": ["Vell"],
        "opens": "2031-05-04T08:00:00Z",
        "closes": "2031-05-04T20:00:00Z",
        "state": "counting",
        "authoritative": ["agency.example"],
        "quorum": 1,
    },
}
CALL = {"uri": "at://agency.example/1", "author": "agency.example", "text": "Ada Tace wins the election in Vell."}


def every_way(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines with each question put to the assistant itself, and then over every route."""
    ways: list[dict[str, Any]] = [{"route": None}, *({"route": route, "stream": stream} for route, stream in WAYS)]
    return [{**line, **way} for line in lines for way in (ways if "ask" in line else [{}])]


@settings(max_examples=3)
@given(st.integers(0, 2**32))
def test_every_route_answers_as_the_assistant_does(seed):
    rng = random.Random(seed)
    timeline = partial(rng, race(rng))
    ask = announcing(timeline.race, rng, 1)
    ask(timeline, "one outlet")
    timeline.call("wire.example", timeline.race.sides[0])
    ask(timeline, "quorum")
    answers = answered(every_way(timeline.played()))
    assert len(answers) == 2 * (1 + len(WAYS))
    for first in range(0, len(answers), 1 + len(WAYS)):
        expected = {**answers[first], "text": answers[first]["text"].strip(), "ask_index": None}
        for answer, (route, _) in zip(answers[first + 1 :], WAYS, strict=False):
            cited = [] if route == "completions" else expected["citations"]
            told = {**answer, "text": answer["text"].strip(), "ask_index": None}
            assert told == {**expected, "citations": cited}


def test_a_question_over_a_route_is_answered_as_of_its_line():
    at = "2031-05-04T23:59:00Z"
    lines = [WIN, VELL, ASK, {"at": "2031-05-04T21:15:00Z", "post": CALL}, {**ASK, "at": at}]
    answers = answered(every_way(lines))
    for place, (route, _) in enumerate(WAYS, 1):
        before, after = answers[place], answers[1 + len(WAYS) + place]
        assert (before["form"], before["as_of"]) == ("unknown", ASK["at"])
        assert "21:14 UTC" in before["text"]
        assert "Tace" not in before["text"]
        assert before["cut"] == ["Ada Tace won in Vell."]
        assert (after["form"], after["as_of"]) == ("settled", at)
        cited = [{"uri": CALL["uri"], "text": CALL["text"]}]
        assert after["citations"] == ([] if route == "completions" else cited)


def test_fields_of_the_request_reach_the_route():
    """Of several choices, all that is said is told."""
    lines = [WIN, VELL, {"at": "2031-05-04T21:00:00Z", "post": CALL}]
    asks = [{**ASK, "route": route, "stream": stream, "request": {"n": 3}} for route, stream in WAYS[2:]]
    answers = answered([*lines, *asks])
    assert [answer["text"].count("Ada Tace won in Vell.") for answer in answers] == [3] * 4


def test_the_names_of_routes():
    for name, meant in ROUTES.items():
        for line, stream in (({}, False), ({"stream": True}, True), ({"stream": False}, False)):
            route = route_of({"route": name, **line})
            assert route is not None
            assert (route.name, route.stream) == (meant, stream)
        streamed = route_of({"route": f"{name}+stream"})
        assert streamed is not None
        assert (streamed.name, streamed.stream) == (meant, True)
    assert all(route_of(line) is None for line in ({}, {"route": None}, *({"route": name} for name in DIRECT)))


@settings(max_examples=30)
@given(st.one_of(st.text(), st.integers(), st.booleans(), st.lists(st.text()), st.dictionaries(st.text(), st.text())))
def test_other_names_of_routes_are_told_and_go_to_the_assistant(name):
    plain = name.removesuffix("+stream").removeprefix("/").removeprefix("v1/") if isinstance(name, str) else name
    if isinstance(plain, str) and plain.replace("/", ".") in (*ROUTES, *DIRECT):
        return
    assert route_of({"route": name}) is None
    assert unknown({"route": name}).startswith(f"there is no route {name!r}")


def test_routes_are_also_named_by_their_paths():
    paths = {"/v1/responses": "responses", "/v1/chat/completions": "chat", "v1/completions+stream": "completions"}
    for path, name in paths.items():
        route = route_of({"route": path})
        assert route is not None
        assert route.name == name
        assert not unknown({"route": path})


def test_timelines_with_names_of_their_own_are_answered(caplog: pytest.LogCaptureFixture):
    """Other people's timelines: a name of a route we have not, and keys that mean something else to them."""
    lines = [WIN, VELL, {**ASK, "route": "response"}, {**ASK, "route": "chat", "request": "r-17"}, {**ASK, "route": 4}]
    assert {answer["form"] for answer in answered(lines)} == {"unknown"}
    assert "line 3: there is no route 'response'; did you mean 'responses'?" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"route": "chat", "request": {"m": 2}}, "line 3: POST /v1/chat/completions was answered with 400: unknown"),
        ({"route": "responses+stream", "request": {"input": []}}, "line 3: POST /v1/responses was answered with 400"),
        ({"route": "completions", "ask": 3}, "line 3: the question must be a text"),
    ],
)
def test_what_cannot_be_asked_is_said_with_its_line(wrong, words):
    with pytest.raises(SpecError, match=words):
        answered([WIN, VELL, {**ASK, **wrong}])


def test_a_replay_without_a_server_has_no_routes():
    with pytest.raises(SpecError, match="line 2: the route 'chat' wants a server"):
        replay([WIN, {**ASK, "route": "chat"}])


def test_the_command_asks_over_routes(tmp_path: Path):
    """Empty lines count, so that errors name the file's own."""
    file = tmp_path / "timeline.jsonl"
    lines = [json.dumps(WIN), "", json.dumps(VELL), json.dumps({**ASK, "route": "responses+stream"})]
    file.write_text("\n".join(lines), encoding="utf-8")
    got = CliRunner().invoke(app, ["replay", str(file), "--json"])
    assert got.exit_code == 0, got.output
    (answer,) = json.loads(got.stdout)
    assert answer["cut"] == ["Ada Tace won in Vell."]
    assert answer["form"] == "unknown"
    file.write_text("\n".join([*lines, json.dumps({**ASK, "ask": 3})]), encoding="utf-8")
    with pytest.raises(SpecError, match="line 5: the question must be a text"):
        answered(read_lines(file))


def test_timelines_ask_over_every_route():
    rng = random.Random(1)
    timeline = Timeline(race(rng), rng)
    announcing(timeline.race, rng, 60)(timeline, "")
    asked = {(line.data["route"], line.data.get("stream", False)) for line in timeline.lines}
    assert asked == {*WAYS, ("direct", False)}
