"""The own templates: everything filled, both voices, answers that are right."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lindos.data.conversations.own import OWN_KINDS, exchanges_of, own_conversation
from lindos.data.conversations.sums import sums
from lindos.data.conversations.tales import SOURCE, quoted, tale
from lindos.data.conversations.voice import fill, vary, voice_table, with_article
from lindos.data.conversations.words import DAYS, MONTHS, calendar, pair

VOICES = ("direct", "sober")
seeds = st.integers(0, 2**32)


@pytest.mark.parametrize("kind", OWN_KINDS)
@pytest.mark.parametrize("voice", VOICES)
def test_every_kind_gives_short_whole_exchanges(kind, voice):
    rng = random.Random(f"{kind}/{voice}")
    for _ in range(150):
        exchanges = exchanges_of(kind, rng, voice)
        assert exchanges
        for asked, answer in exchanges:
            assert asked.strip()
            assert answer.strip()
            assert not re.search(r"[{}]", asked + answer), (asked, answer)
            assert not re.search(r"\b[Aa] (?:owl|elephant|apple|ant)", answer), answer
            assert len(answer.split()) <= 45, answer


@pytest.mark.parametrize("make", [own_conversation, tale, quoted])
def test_conversations_follow_from_the_generator(make):
    for seed in range(20):
        assert make(random.Random(seed), "direct") == make(random.Random(seed), "direct")
    assert make(random.Random(1), "direct") != make(random.Random(2), "direct")


@given(seeds)
def test_sums_are_right(seed):
    asked, answer = sums(random.Random(seed), "sober")
    found = re.search(r"(\d+) ?(\+|plus|-|minus|take away|x|times|\*|multiplied by|/|divided by) ?(\d+)", asked)
    if not found:
        return
    a, b, sign = int(found[1]), int(found[3]), found[2]
    wanted = (
        a + b
        if sign in "+plus"
        else a - b
        if sign in ("-", "minus", "take away")
        else a // b
        if sign in ("/", "divided by")
        else a * b
    )
    assert re.findall(r"\d+", answer)[-1] == str(wanted)
    assert wanted >= 0


@given(seeds)
def test_the_calendar_is_in_order(seed):
    asked, answer = calendar(random.Random(seed), "sober")
    found = re.match(r"(?:What|Which|What is the) (?:day|month)?.*?(after|before) (\w+)\?", asked)
    if not found or found[2] not in (*DAYS, *MONTHS):
        return
    ring = DAYS if found[2] in DAYS else MONTHS
    step = 1 if found[1] == "after" else -1
    assert answer.split()[0].rstrip(".") == ring[(ring.index(found[2]) + step) % len(ring)]


@given(seeds)
def test_pairs_come_from_their_tables(seed):
    asked, answer = pair(random.Random(seed), "sober")
    found = re.match(r"What is the opposite of (\w+)\?", asked)
    if found:
        assert voice_table("knowledge")["opposites"][found[1]] in answer.lower()


@given(seeds, st.sampled_from(VOICES))
def test_an_answer_from_posts_cites_a_post_that_holds_it(seed, voice):
    _, [(asked, answer)] = quoted(random.Random(seed), voice)
    posts = re.findall(rf"{re.escape(SOURCE)}\[(\d)\] (@\w+): ([^\n]+)", asked)
    assert posts
    assert [number for number, _, _ in posts] == [str(n) for n in range(1, len(posts) + 1)]
    cited = re.search(r"\[(\d)\]", answer)
    if cited is None:
        assert answer in voice_table("posts")["lost"]
        return
    _, handle, post = posts[int(cited[1]) - 1]
    for named in re.findall(r"@\w+", answer):
        assert named == handle
    for person in voice_table("posts")["people"]:
        if person in answer:
            assert person in post


@given(seeds)
def test_a_rumour_is_never_told_as_a_result(seed):
    _, [(asked, answer)] = quoted(random.Random(seed), "direct")
    official = "elected" in asked and ("Official" in asked or "declares" in asked)
    if not official and re.search(r"\bwon\b|is over|percent", asked):
        assert not re.search(r"\bwon\. The count is complete|and it's official", answer)


@given(st.text(max_size=80), seeds)
def test_varying_a_question_never_fails(text, seed):
    assert isinstance(vary(random.Random(seed), text), str)


def test_filling():
    assert fill("{X} and {x:a} and {x:A} and {x:C}", {"x": "owl"}) == "Owl and an owl and An owl and Owl"
    assert with_article("unicorn") == "a unicorn"
    with pytest.raises(KeyError):
        fill("{missing}", {})


def test_despair_is_answered_and_then_left_in_peace():
    for seed in range(4000):
        _, exchanges = own_conversation(random.Random(seed), "direct")
        grave = [answer for _, answer in exchanges if "crisis line" in answer]
        assert not grave or len(exchanges) == 1


def test_refusals_name_no_recipe():
    rng = random.Random(5)
    for _ in range(300):
        _, answer = exchanges_of("refusals", rng, "direct")[0]
        assert not re.search(r"\b(?:step|mix|ingredients|you need|start by)\b", answer, re.IGNORECASE)
