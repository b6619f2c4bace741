"""What answers on the page rest on: told as they grow, kept, and looked at again whenever they are shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from lindos.assistant import Basis, Cut, Standing
from lindos.knowledge import Post
from lindos.server import Settings
from lindos.server.page.basis import basis_view, kept, mark, places, unkept, with_graves
from tests.server.events import ask, create, parsed, shown
from tests.server.grounded import NIGHT, Following, Given, GroundedGate, election, give, grounded, source
from tests.server.scripted import ScriptedChatModel
from tests.server.served import served

COUNT = source("count.example", "62% counted: Halvorsen 51.8%, Reyl 46.9%", minutes=4, authoritative=True)
DESK = source("desk.example", "We are not calling this tonight", minutes=2, claimed=45)
CROWD = source("crowd.example", "IT IS OVER, HALVORSEN WINS", minutes=1)
TEXT = "Halvorsen **leads** with 51.8%. The desk says: “We are not calling this tonight”. More is to come."
NIGHTLY = grounded(
    TEXT,
    [COUNT, DESK, CROWD],
    {"Halvorsen **leads** with 51.8%.": "count.example", "We are not calling this tonight": "desk.example"},
    quotes="desk.example",
    form="partial",
    as_of=NIGHT,
    events=(election(),),
    cut=(Cut(text="Halvorsen has won.", reason="unsettled"), Cut(text="By a mile.", reason="unsettled")),
)


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Given]:
    settings = Settings(port=0, data=tmp_path, personas=Path("nowhere"), save_seconds=0.01)
    with served(settings, lambda: ScriptedChatModel("plain", piece=7)) as server:
        yield give(server, lambda question: NIGHTLY if "won" in question else ("Just words.", Basis()))


@pytest.fixture
def client(given: Given) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=given.server.url, timeout=60) as found:
        yield found


def last(client: httpx.Client, conversation: str) -> dict:
    return client.get(f"/api/conversations/{conversation}").json()["messages"][-1]


def marks(client: httpx.Client, conversation: str) -> dict[str, str]:
    return client.get("/api/news", params={"conversation": conversation}).json()["marks"]


def test_an_answer_comes_with_its_sources_and_citations(given: Given, client: httpx.Client):
    conversation = create(client, persona="regular")
    events = ask(client, conversation, "Who won?")
    patches = [data for name, data in events if name == "patch"]
    grown = [patch["basis"] for patch in patches if "basis" in patch]
    assert [one["number"] for one in grown[0]["sources"]] == [1, 2, 3]
    answer = events[-1][1]["answer"]
    assert answer["blocks"] == shown(events)
    anchor = f"#source-{answer['id']}"
    assert re.findall(r'href="(#[^"]+)"', answer["blocks"][0]) == [f"{anchor}-1", f"{anchor}-2"]
    basis = answer["basis"]
    assert basis == grown[-1]
    assert (basis["form"], basis["as_of"]) == ("partial", "2031-05-06T21:14:00Z")
    assert basis["events"] == [{"title": "Mayor of Port Ellery", "form": "partial"}]
    assert [(one["number"], one["cited"], one["authoritative"]) for one in basis["sources"]] == [
        (1, True, True),
        (2, True, False),
        (3, False, False),
    ]
    assert [one["claimed_at"] for one in basis["sources"]] == [None, "2031-05-06T20:29:00Z", None]
    assert basis["held_back"] == [{"reason": "told an outcome that is not settled", "count": 2}]
    assert "has won" not in str(events), "nobody is shown what was held back"
    assert last(client, conversation) == answer
    assert client.get(f"/api/messages/{answer['id']}").json() == answer
    assert [(one.persona, one.messages[-1].content) for one in given.assistant.asked] == [("regular", "Who won?")]


def test_what_was_never_written_cites_nothing(given: Given, client: httpx.Client, monkeypatch: pytest.MonkeyPatch):
    """An assistant may know all citations of a text before its first word is out."""
    feed = GroundedGate.feed

    def at_once(gate: GroundedGate, text: str) -> str:
        feed(gate, text)
        gate.citations = list(NIGHTLY[1].citations)
        return text

    monkeypatch.setattr(GroundedGate, "feed", at_once)
    given.assistant.scripted.pause = 0.05
    conversation = create(client)
    path = f"/api/conversations/{conversation}/messages"
    with client.stream("POST", path, json={"text": "Who won?"}) as response:
        text = ""
        for piece in response.iter_text():
            text += piece
            if text.count("event: patch") == 2:
                number = parsed(text[: text.index("\n\n") + 2])[0][1]["answer"]["id"]
                client.post(f"/api/messages/{number}/stop")
    answer = parsed(text)[-1][1]["answer"]
    assert answer["state"] == "stopped"
    assert answer["blocks"] == shown(parsed(text))
    row = given.server.run(given.server.service.conversations.message(answer["id"]))
    assert [one for one in unkept(row.basis).citations if one.end > len(row.content)] == []
    assert ("cite" in "".join(answer["blocks"])) == (len(answer["text"]) >= 31)


def test_an_answer_that_rests_on_nothing_shows_nothing(client: httpx.Client):
    conversation = create(client)
    events = ask(client, conversation, "Hello")
    answer = events[-1][1]["answer"]
    assert (answer["basis"], answer["mark"]) == (None, "")
    assert all("basis" not in data for name, data in events if name == "patch")
    assert marks(client, conversation) == {}


def test_a_deleted_post_is_gone_from_old_answers_and_from_the_database(given: Given, client: httpx.Client):
    conversation = create(client)
    answer = ask(client, conversation, "Who won?")[-1][1]["answer"]
    key = str(answer["id"])
    assert marks(client, conversation) == {key: ""}
    given.assistant.deleted.add(DESK.uri)
    marked = marks(client, conversation)[key]
    assert marked != answer["mark"]
    found = last(client, conversation)
    assert "not calling" not in str(found)
    assert found["mark"] == marked
    assert [(one["number"], one["state"], one["text"] == "") for one in found["basis"]["sources"]] == [
        (1, "", False),
        (2, "deleted", True),
        (3, "", False),
    ]
    assert (found["basis"]["sources"][1]["url"], found["basis"]["sources"][1]["author"]) == ("", "@desk.example")
    assert re.findall(r">(\d)</a>", found["blocks"][0]) == ["1"]
    row = given.server.run(given.server.service.conversations.message(answer["id"]))
    assert "not calling" not in row.content + row.folded + row.basis
    assert client.get("/api/conversations", params={"query": "not calling this"}).json()["conversations"] == []
    assert last(client, conversation) == found, "looking again changes nothing"
    assert marks(client, conversation)[key] == marked


def test_a_sentence_that_rests_on_a_deleted_post_goes_with_it(given: Given, client: httpx.Client):
    """Not only the post's own words: what was said in others by it alone, too."""
    conversation = create(client)
    answer = ask(client, conversation, "Who won?")[-1][1]["answer"]
    given.assistant.deleted.add(COUNT.uri)
    found = last(client, conversation)
    assert found["text"] == TEXT.replace("Halvorsen **leads** with 51.8%.", "[deleted]")
    assert re.findall(r">(\d)</a>", found["blocks"][0]) == ["2"]
    row = given.server.run(given.server.service.conversations.message(answer["id"]))
    assert "51.8" not in row.content + row.folded


def test_a_deleted_post_that_was_only_found_leaves_no_trace(given: Given, client: httpx.Client):
    conversation = create(client)
    answer = ask(client, conversation, "Who won?")[-1][1]["answer"]
    given.assistant.deleted.add(CROWD.uri)
    for _ in range(2):
        found = last(client, conversation)
        assert [one["number"] for one in found["basis"]["sources"]] == [1, 2]
        assert found["blocks"] == answer["blocks"]
        assert "crowd" not in str(found)


def test_what_is_gone_is_not_told_to_the_model_again(given: Given, client: httpx.Client):
    conversation = create(client)
    answer = ask(client, conversation, "Who won?")[-1][1]["answer"]
    given.assistant.deleted.add(DESK.uri)
    ask(client, conversation, "And now?", parent_id=answer["id"])
    told = given.assistant.asked[-1].messages
    assert [message.role for message in told] == ["user", "assistant", "user"]
    assert "leads" in told[1].content
    assert "not calling" not in told[1].content


def test_edits_and_events_that_moved_on_are_marked(given: Given, client: httpx.Client):
    conversation = create(client)
    answer = ask(client, conversation, "Who won?")[-1][1]["answer"]
    seen = {answer["mark"]}
    given.assistant.moved.add("port-ellery-mayor")
    found = last(client, conversation)
    assert found["basis"]["stale"] == ["Mayor of Port Ellery"]
    seen.add(found["mark"])
    given.assistant.edited.add(COUNT.uri)
    found = last(client, conversation)
    assert [one["state"] for one in found["basis"]["sources"]] == ["edited", "", ""]
    seen.add(found["mark"])
    assert len(seen) == 3
    assert found["text"] == TEXT


def test_the_news_count_posts_and_tell_of_streams(given: Given, client: httpx.Client):
    assert client.get("/api/news").json() == {"posts": {"count": 0, "newest": None}, "streams": [], "marks": {}}
    now = give(given.server, given.assistant.script, [Following("bluesky", False, "waits 5 s")])
    now.posts.number = 48_210
    now.posts.latest = Post("bluesky", "at://x/1", "did:x", "hello", NIGHT)
    news = client.get("/api/news", params={"conversation": "0" * 32}).json()
    assert news["posts"] == {"count": 48_210, "newest": "2031-05-06T21:14:00Z"}
    assert news["streams"] == [{"name": "bluesky", "live": False, "words": "waits 5 s"}]
    assert news["marks"] == {}, "a conversation that is gone has no news"
    assert client.get("/api/news", params={"conversation": "x"}).status_code == 400


def test_only_the_web_is_linked_to():
    hostile = ("javascript:alert(1)", "data:text/html,x", "//x.example", "https://", "http://[", "at://x/1", "")
    for url in hostile:
        view = basis_view(Basis(sources=(COUNT.model_copy(update={"url": url}),)))
        assert view is not None
        assert view.sources[0].url == ""


def test_a_basis_is_kept_and_read_again():
    basis = NIGHTLY[1]
    assert unkept(kept(basis)) == basis
    assert kept(Basis()) == ""
    assert unkept("") == Basis()
    assert unkept('{"from": "another version"}') == Basis()
    assert basis_view(Basis(language="fr")) is None


def test_places_follow_the_numbers_of_sources():
    _, basis = NIGHTLY
    assert places(basis) == ((31, 1), (TEXT.index("”"), 2))
    assert places(basis.model_copy(update={"sources": (DESK,)})) == ((TEXT.index("”"), 1),)


def test_graves_keep_numbers_and_say_no_more_each_time():
    _, basis = NIGHTLY
    gone = Standing(text=TEXT, deleted=(COUNT.uri, CROWD.uri), basis=Basis(sources=(DESK,)))
    once = with_graves(basis, gone)
    assert [(one.uri, one.author, one.text) for one in once.sources] == [
        (COUNT.uri, "@count.example", ""),
        (DESK.uri, DESK.author, DESK.text),
        (CROWD.uri, "", ""),
    ]
    assert with_graves(once, gone) == once


def test_marks_tell_what_became_of_an_answer():
    basis = Basis()
    some = [
        Standing(text="", basis=basis),
        Standing(text="", basis=basis, stale=("a",)),
        Standing(text="", basis=basis, deleted=("a",)),
        Standing(text="", basis=basis, edited=("a",)),
        Standing(text="", basis=basis, edited=("a", "b")),
    ]
    assert mark(some[0]) == ""
    assert len({mark(one) for one in some}) == len(some)
    swapped = Standing(text="other words", basis=basis, edited=("b", "a"))
    assert mark(swapped) == mark(some[-1])


def test_a_claimed_time_is_told_only_where_it_differs():
    near = COUNT.model_copy(update={"created_at": COUNT.seen_at - timedelta(seconds=20)})
    for one in (near, COUNT.model_copy(update={"created_at": None})):
        view = basis_view(Basis(sources=(one,)))
        assert view is not None
        assert view.sources[0].claimed_at is None
