"""Whose posts are whose: it decides who is authoritative."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lindos.knowledge import PostQuery, Posts, Renamed
from lindos.knowledge.names import handle_place, place, places, within
from lindos.knowledge.records import clean
from tests.knowledge.stores import NOON, at, on_store, post, uris

AGENCY = [
    "agency.example",
    "Agency.Example",
    "@agency.example",
    "desk.agency.example",
    "DESK.agency.EXAMPLE",
    "a.b.agency.example",
    "desk@agency.example",
    "@desk@agency.example",
    "first.last+tag@agency.example",
]
OTHERS = [
    "agency.example.evil.com",
    "agency.example@evil.com",
    "desk@agency.example.evil.com",
    "desk@agency.example@evil.com",
    "evil@evil.com@agency.example",
    "notagency.example",
    "not-agency.example",
    "desk@notagency.example",
    "agency.examples",
    "agency.exampl",
    "agency-example",
    "agencyxexample",
    "example",
    "agency",
    "example.agency",
    "agency.example.",
    "agency.example ",
    " agency.example",
    "agency.example\n",
    "agency.example\u200b",
    "agency\u00ad.example",
    "agency\u3002example",
    "desk\uff0eagency.example",
    "x\u2024agency.example",
    "аgency.example",  # a Cyrillic letter
    "ａgency.example",  # a full-width one
    "agency.ex\u0430mple",
    "des\u212a.agency.example ",
    "evil.com/.agency.example",
    "evil.com?.agency.example",
    "evil.com#@agency.example",
    "evil.com/@agency.example",
    "evil com.agency.example",
    "evil.com:80.agency.example",
    ".agency.example",
    "..agency.example",
    "@.agency.example",
    "-.agency.example",
    "@agency.example@agency.example@",
    "@@agency.example",
    "https://agency.example",
    "https://agency.example/feed",
    "did:web:agency.example",
    "did:web:desk.agency.example",
    "desk@social.agency.example",
    "",
    "@",
]


def test_a_domain_means_its_own_names_and_no_lookalike(location: Path | str):
    async def work(posts: Posts) -> None:
        names = [*AGENCY, *OTHERS]
        by_author = [post(f"author:{n}", author=name) for n, name in enumerate(names)]
        by_handle = [post(f"handle:{n}", author=f"did:plc:{n}", handle=name) for n, name in enumerate(names)]
        await posts.apply(by_author + by_handle)
        expected = {f"{kind}:{n}" for kind in ("author", "handle") for n in range(len(AGENCY))}
        for asked in ("agency.example", "AGENCY.example", "@agency.example", " agency.example. "):
            assert set(uris(await posts.by([asked], since=NOON))) == expected, asked
        found = await posts.search(PostQuery(authors=("agency.example",), limit=1000))
        assert set(uris(found)) == expected
        rest = await posts.search(PostQuery(excluded_authors=("agency.example",), limit=1000))
        assert set(uris(rest)) == {one.uri for one in by_author + by_handle} - expected

    on_store(location, work)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("@desk.agency.example", {"desk.agency.example", "x.desk.agency.example"}),
        ("Desk@Agency.example", {"desk@agency.example"}),
        ("did:plc:abc", {"did:plc:abc"}),
        ("did:plc:ABC", {"did:plc:ABC"}),
        ("pg", {"pg"}),
        ("https://agency.example/feed", {"https://agency.example/feed"}),
        ("müller.example", {"müller.example", "desk.müller.example", "x@müller.example"}),
        ("example", {"example"}),
        ("*.agency.example", set()),
        ("%", set()),
        ("", set()),
        ("@", set()),
        (".", set()),
        (".example", set()),
        ("' OR 1=1 --", set()),
    ],
)
def test_ids_and_handles_mean_one_author(location: Path | str, asked: str, meant: set[str]):
    names = [
        "desk.agency.example",
        "x.desk.agency.example",
        "desk@agency.example",
        "x@desk",
        "did:plc:abc",
        "did:plc:ABC",
    ]
    names += ["pg", "pgx", "https://agency.example/feed", "müller.example", "desk.müller.example", "x@müller.example"]
    names += ["example", "x.example", "muller.example", "xn--mller-kva.example"]

    async def work(posts: Posts) -> None:
        await posts.apply([post(f"u:{name}", author=name) for name in names])
        assert {one.author for one in await posts.by([asked], since=NOON)} == meant

    on_store(location, work)


def test_no_handle_stands_for_somebodys_id(location: Path | str):
    async def work(posts: Posts) -> None:
        await posts.apply([post("u:1", author="did:plc:evil", handle="did:plc:agency")])
        await posts.apply([post("u:2", author="evil", handle="@DID:plc:agency"), post("u:3", author="did:plc:agency")])
        await posts.apply([Renamed("did:plc:worse", "did:plc:agency", at(1)), post("u:4", author="did:plc:worse")])
        assert uris(await posts.by(["did:plc:agency"], since=NOON)) == ["u:3"]
        await posts.apply([post("u:5", author="DID:plc:agency"), post("u:6", author="@did:plc:agency")])
        assert uris(await posts.by(["did:plc:agency"], since=NOON)) == ["u:3"]

    on_store(location, work)


def test_links_and_mentions_make_nothing_somebodys(location: Path | str):
    async def work(posts: Posts) -> None:
        claim = post(
            "https://agency.example/1",
            "agency.example says: @agency.example called it",
            author="fan",
            links=("https://agency.example", "agency.example"),
            reply_to="at://agency.example/1",
            source="feed:https://agency.example",
        )
        await posts.apply([claim])
        assert await posts.by(["agency.example"], since=NOON) == []

    on_store(location, work)


def test_a_time_is_what_was_seen_not_what_is_claimed_and_the_latest_come_first(location: Path | str):
    async def work(posts: Posts) -> None:
        await posts.apply([post(f"u:{n}", seconds=n / 4000, author=f"a{n % 2}", created_at=at(99)) for n in range(20)])
        assert uris(await posts.by(["a1"], since=at(5 / 4000), until=at(11 / 4000))) == ["u:9", "u:7", "u:5"]
        assert uris(await posts.by(["a1", "a0"], since=NOON, limit=3)) == ["u:19", "u:18", "u:17"]
        assert await posts.by(["a1"], since=at(1)) == []
        assert await posts.by(["a1"], since=NOON, limit=0) == await posts.by([], since=NOON) == []

    on_store(location, work)


LABEL = st.sampled_from(["agency", "example", "evil", "a", "x-y", "ü", "1", "Agency", ""])
NAME = st.lists(st.one_of(LABEL, st.sampled_from(list("@./ -_:\u3002"))), max_size=7).map("".join)
HOST = st.lists(LABEL.filter(bool), min_size=2, max_size=4).map(".".join)


@given(NAME, HOST)
@example("a@agency.example", "agency.example")
@example("x.agency.example", "agency.example")
def test_places_say_what_the_rule_says(name: str, domain: str):
    bare, wanted = name.removeprefix("@").lower(), domain.lower()
    user, at_sign, host = bare.rpartition("@")
    plain = bool(host) and all(label and label[0] not in "-_" and label[-1] not in "-_" for label in host.split("."))
    plain = plain and not any(sign in host for sign in "@/ :\u3002")
    expected = bare == wanted
    if plain and not at_sign:
        expected |= bare.endswith("." + wanted)
    elif plain:
        expected |= host == wanted and bool(user) and not any(sign in user for sign in "@/ :\u3002")
    assert within(place(name), places([domain])) == expected


@given(st.text(st.characters(codec=None)))
def test_any_name_has_a_place_of_its_own(name: str):
    assert place(name) == place(name)
    assert len(place(name)) <= 600
    if name == name.strip() and not name.endswith(".") and name not in ("", "@"):
        assert within(place(name), places([name]))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec=None), max_size=30), min_size=1, max_size=8))
def test_the_database_finds_what_places_say(tmp_path: Path, names: list[str]):
    async def work(posts: Posts) -> None:
        await posts.apply([post(f"u:{number}", author=name) for number, name in enumerate(names)])
        known = {one.author for one in (await posts.get(f"u:{number}" for number in range(len(names)))).values()}
        for name in names:
            found = {one.author for one in await posts.by([name], since=NOON)}
            assert found == {one for one in known if within(place(one), places([clean(name)]))}

    on_store(tmp_path / f"{time.monotonic_ns()}.db", work)  # one for each example: posts of others are found, too


def test_empty_handles_are_nobodys():
    assert handle_place("") is None
    assert places(["", "@", " ", "."]).equal == ()
