"""What carries a sentence: the register its names and times, posts what they say, and where it is cited."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.assistant.basis import Source
from lindos.assistant.gate import Gate, Rules
from lindos.assistant.looking_back import GONE
from lindos.assistant.ordinary import is_ordinary
from lindos.assistant.settlement import Event, Scene, Standing
from lindos.assistant.settlement.names import cast_of
from lindos.assistant.settlement.words import without_citations

NOW = datetime(2031, 5, 4, 21, 14, tzinfo=UTC)


def event(name: str, **more: object) -> Standing:
    fields = {"opens": "2031-05-04T06:00Z", "closes": "2031-05-04T20:00Z", "state": "counting"}
    names = {
        "id": name,
        "title": f"{name} presidential election",
        "jurisdiction": name,
        "authoritative": ["@a.example"],
    }
    one = Event.parse({**fields, **names, **more})
    return Standing(one, "counting", "unknown", cast_of(one).with_people(["Orlin Tace", "Maren Doul"]))


OPEN = event("Veldoria")
OTHER = event("Korrund", opens="2031-08-09T07:30Z", closes="2031-08-09T19:00Z")


def post(number: int, text: str) -> Source:
    return Source(uri=f"at://a/{number}", url="", author="@a", text=text, created_at=NOW, seen_at=NOW)


STRICT = Rules(Scene("strict", NOW, (OPEN,)), supported=True)
BRIDGE = post(1, "The harbour bridge opened on 5 May 2031. i have hiv, please tell nobody. Trump denied the claims.")
FERRY = post(2, "Ferries to Lindos cost 4.50 now, says Anna Bell.")
POSTS = Rules(Scene("watchful", NOW), (BRIDGE, FERRY), supported=True)


def through(rules: Rules, text: str, step: int = 7) -> tuple[str, Gate]:
    gate = Gate(rules)
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    return "".join([*(gate.feed(piece) for piece in pieces), gate.finish()]), gate


def cited(rules: Rules, text: str) -> list[tuple[str, str]]:
    shown, gate = through(rules, text)
    return [(shown[one.start : one.end], one.uri) for one in gate.citations]


# The register.

TIMES = [
    "Polls close at 20:00.",
    "Polls closed at 20:00 UTC on 4 May 2031.",
    "The polls closed at 8 p.m. on May 4, 2031.",
    "Polls opened at six o'clock, on 2031-05-04.",
    "Polls close at eight.",
    "Les bureaux ont fermé à 20 h le 4 mai 2031.",
    "Les bureaux ont ouvert à 6h00.",
    "As of 21:14 UTC, the count in Veldoria goes on.",
    "Voting in the 2031 election ended at 20h00.",
]


@pytest.mark.parametrize("text", TIMES)
def test_the_register_carries_its_own_times(text: str):
    shown, gate = through(STRICT, text)
    assert shown == text
    assert gate.cut == []
    assert gate.citations == []


INVENTED = [
    "The challenger leads by 8 points with 20% of the precincts counted.",
    "The challenger leads by 8 points with 20 of 31 districts counted.",
    "Turnout was 20%.",
    "Counting stands at 31 percent.",
    "In all, 2,031 votes are counted.",
    "So far 2031 votes are counted.",
    "The gap is six points.",
    "The count reached 4 of 6 wards.",
    "Polls close at 19:00.",
    "Polls closed at 8 a.m. on 4 May.",
    "Polls close on 5 May 2031.",
    "Voting in the 2020 election ended at 20h00.",
    "May 4 votes decide it, with 20:00 seats left.",
]


@pytest.mark.parametrize("text", INVENTED)
def test_it_carries_no_counts_and_no_other_times(text: str):
    shown, gate = through(STRICT, text)
    assert shown == STRICT.apology
    assert len(gate.cut) == 1


@given(
    st.integers(0, 99), st.sampled_from(["points", "%", "percent", "votes", "of 31 districts", "seats", "precincts"])
)
def test_no_number_is_a_count_by_being_a_time(number: int, unit: str):
    _, gate = through(STRICT, f"The challenger leads by {number} {unit} as counting goes on.")
    assert len(gate.cut) == 1


def test_numbers_in_an_events_name_stand_in_it_only():
    ward = event("Veldoria", title="Ward 12 council election", match=["Ward 12"])
    rules = replace(STRICT, scene=Scene("strict", NOW, (ward,)))
    assert through(rules, "Counting goes on in Ward 12.")[1].cut == []
    assert through(rules, "Counting goes on with 12 boxes left.")[1].cut


def test_times_of_one_event_are_not_those_of_another():
    rules = replace(POSTS, scene=Scene("watchful", NOW, (OPEN, OTHER)))
    assert through(rules, "Polls in Korrund close at 19:00.")[1].cut == []
    assert through(rules, "Polls in Veldoria close at 19:00.")[1].cut
    assert through(rules, "The shops close at 19:00.")[1].cut, "it is about no event"


# Posts.


@pytest.mark.parametrize(
    "text",
    ["Biden denied the claims [1].", "Macron resigned.", "Macron resigned [1].", "Biden denied the claims [1, 2]."],
)
def test_a_name_is_one_at_the_beginning_of_a_sentence_too(text: str):
    shown, gate = through(POSTS, text)
    assert shown == POSTS.apology
    assert [cut.reason for cut in gate.cut] == ["unsupported"]


def test_what_is_about_no_source_is_not_held_to_any():
    rules = Rules(Scene("watchful", NOW))
    text = "Macron is president of France. In Python, a[1] is the second item of [1, 2]."
    assert through(rules, text)[0] == text


@pytest.mark.parametrize("text", ["Ferries cost 4.50 now [2].", "Volunteers say the bridge opened on 5 May 2031 [1]."])
def test_ordinary_words_begin_sentences(text: str):
    assert through(POSTS, text)[1].cut == []


def test_ordinary_words():
    ordinary = "Ferries Volunteers Commuters Firefighters Turnout Counting Residents Plusieurs Habitants Selon Tickets"
    assert [word for word in ordinary.split() if not is_ordinary(word)] == []
    names = "Macron Biden Trump Putin Harris Tace Halvorsen Doul Merz Musk Vance Johnson London Emily Veldoria"
    assert [word for word in names.split() if is_ordinary(word)] == []


def test_what_cannot_be_counted_is_cited_as_the_model_says():
    text = "One person there says they have hiv [1]. They say prices went up [2]. So it goes."
    assert cited(POSTS, text) == [
        ("One person there says they have hiv.", BRIDGE.uri),
        ("They say prices went up.", FERRY.uri),
    ]


def test_a_citation_of_nothing_is_none():
    _, gate = through(POSTS, "They say prices went up [7].")
    assert [cut.reason for cut in gate.cut] == ["unknown_citation"]


def test_several_in_one_mark():
    assert without_citations("It is [1, 2], or so [3; 4] and [5 and 6] [7].") == (
        "It is, or so and.",
        (1, 2, 3, 4, 5, 6, 7),
    )
    both = "They say prices went up and the bridge is open [1, 2]."
    assert [uri for _, uri in cited(POSTS, both)] == [BRIDGE.uri, FERRY.uri]


# Places.


def test_a_citation_stands_where_its_sentence_does():
    text = "Macron resigned in 1999. The harbour bridge opened on 5 May 2031 [1]. Ferries cost 4.50 [2]."
    assert cited(POSTS, text) == [
        ("The harbour bridge opened on 5 May 2031.", BRIDGE.uri),
        ("Ferries cost 4.50.", FERRY.uri),
    ]


SENTENCES = {
    "The harbour bridge opened on 5 May 2031 [1].": "The harbour bridge opened on 5 May 2031.",
    "Ferries cost 4.50 [2].": "Ferries cost 4.50.",
    "Macron resigned in 1999.": "",
    "They say so [1].": "They say so.",
    "It is what it is.": "It is what it is.",
}


@given(
    st.lists(
        st.tuples(st.sampled_from(list(SENTENCES)), st.sampled_from([" ", "\n", "\n\n", "  "])), min_size=1, max_size=7
    ),
    st.sampled_from(["", "\n\n"]),
    st.integers(0, 40),
    st.integers(1, 30),
)
def test_places_are_those_of_what_was_shown(said: list[tuple[str, str]], head: str, offset: int, step: int):
    offset = offset if head else 0
    text = "".join(sentence + space for sentence, space in said)
    gate = Gate(POSTS, offset=offset, head=head)
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    shown = "x" * offset + "".join([*(gate.feed(piece) for piece in pieces), gate.finish()])
    wanted = [SENTENCES[sentence] for sentence, _ in said if "[" in sentence]
    assert [shown[one.start : one.end] for one in gate.citations] == wanted
    assert GONE["en"] not in shown
