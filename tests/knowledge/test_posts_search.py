"""What a question finds, in which order, and that nothing in it is an error; the same in either database."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lindos.knowledge import Deleted, Edited, Post, PostQuery, Posts
from lindos.knowledge.ranking import MOST_MATCHES, Shares, fused, relevance, sought
from lindos.knowledge.words import LONGEST_WORD, MOST_WORDS, STOP_WORDS, fold, question_words, words
from lindos.storage import Database
from tests.knowledge.stores import NOON, at, on_store, post, uris

Location = Path | str
HOUR = 3600.0


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("élection", "The ELECTION is over"),
        ("Who won the elections in Québec?", "quebec: Election night"),
        ("STRASSE", "Lange Straße 5"),
        ("Πολιτική", "πολιτικη"),
        ("москва", "МОСКВА сегодня"),
        ("東京", "きのう東京で雨が降った"),
        ("猫", "白い黒猫がいる"),
        ("大統領選挙の結果は？", "速報：大統領選挙の開票が始まった"),
        ("แมว", "ฉันชอบแมวมาก"),
        ("한국", "한국어로 말해요"),
        ("हिन्दी", "आज हिन्दी दिवस है"),
        ("القاهرة", "صباح الخير من القاهرة"),
        ("what about 62%?", "62% counted"),
        ("#Lindos2026", "see you at Lindos2026"),
        ("🚀", "up we go 🚀🚀"),
        ("which parties?", "Every party has won, la partie est finie"),
        ("what is it", "so what is it now"),
        ("x" * 5000, "x" * 6000),
    ],
)
def test_words_of_any_language_are_found(location: Location, question: str, text: str):
    async def work(posts: Posts) -> None:
        await posts.apply([post("u:1", text), post("u:2", "nothing of the kind", 1)])
        assert uris(await posts.search(PostQuery(question)))[:1] == ["u:1"]

    on_store(location, work)


def test_a_question_without_words_finds_nothing_and_an_empty_one_the_latest(location: Location):
    async def work(posts: Posts) -> None:
        assert await posts.search(PostQuery("anything")) == await posts.search(PostQuery()) == []
        await posts.apply([post(f"u:{n}", "words", n) for n in range(5)])
        assert await posts.search(PostQuery("?!. -")) == []
        assert await posts.search(PostQuery("absent")) == []
        assert uris(await posts.search(PostQuery(" ", limit=2))) == ["u:4", "u:3"]
        assert await posts.search(PostQuery("words", limit=0)) == await posts.search(PostQuery(limit=-1)) == []

    on_store(location, work)


def test_rarer_words_weigh_more_and_fresher_posts_come_first(location: Location):
    async def work(posts: Posts) -> None:
        filler = [post(f"f:{n}", f"the {('harbour', 'city', 'sea')[n % 3]} today number{n}", n) for n in range(300)]
        told = [
            post("old", "a lighthouse", 300 - 72 * HOUR),
            post("new", "a lighthouse", 300),
            post("both", "the harbour and its lighthouse", 299),
        ]
        await posts.apply(filler + told)
        found = uris(await posts.search(PostQuery("Which lighthouse is at the harbour?", limit=10)))
        assert found[0] == "both"
        assert found.index("new") < found.index("old")
        scores = [hit.score for hit in await posts.search(PostQuery("lighthouse harbour"))]
        assert scores == sorted(scores, reverse=True)
        assert all(score > 0 for score in scores)

    on_store(location, work)


def test_times_authors_and_languages_are_kept_to(location: Location):
    async def work(posts: Posts) -> None:
        for n in range(30):
            language = ("en", "en-GB", "fr")[n % 3]
            await posts.apply([post(f"u:{n}", "news of the day", n, author=f"desk{n % 3}.example", language=language)])

        async def found(**asked: Any) -> set[int]:
            with_words = await posts.search(PostQuery("news", limit=99, **asked))
            latest = await posts.search(PostQuery(limit=99, **asked))
            assert set(uris(with_words)) == set(uris(latest))
            return {int(uri[2:]) for uri in uris(latest)}

        assert await found(since=at(10), until=at(20)) == set(range(10, 20))
        assert await found(since=at(9.5)) == set(range(10, 30))
        assert await found(until=at(0.000001)) == {0}
        assert await found(until=NOON) == set()
        assert await found(since=at(20), until=at(10)) == set()
        assert await found(authors=("@DESK1.example",)) == set(range(1, 30, 3))
        assert await found(authors=("example",)) == set()
        assert await found(authors=("desk1.example", "desk2.example"), since=at(28)) == {28, 29}
        assert await found(excluded_authors=("desk0.example",), until=at(6)) == {1, 2, 4, 5}
        assert await found(authors=("desk0.example",), excluded_authors=("desk0.example",)) == set()
        assert await found(language="EN", until=at(6)) == {0, 1, 3, 4}
        assert await found(language="en-GB") == set(range(1, 30, 3))
        assert await found(language="e") == await found(language="%") == await found(language="\x00\ud800") == set()

    on_store(location, work)


@pytest.mark.parametrize("few", [0, 1000])
def test_an_author_of_few_posts_is_searched_as_one_of_many(location: Location, few: int, monkeypatch):
    """Read one by one or found by words, it is the same; common words find what is theirs, however old."""
    monkeypatch.setattr("lindos.knowledge.finding.FEW", few)
    loud = [post(f"u:{n}", f"good people have time {n}", n, author="loud") for n in range(300)]
    own = [post(f"own:{n}", text, n, author="desk.example") for n, text in enumerate(("good time", "xyl", "people"))]

    async def work(posts: Posts) -> None:
        await posts.apply([*own, *loud, post("gone", "good people", 5, author="desk.example"), Deleted("gone", at(6))])
        query = PostQuery("good people time xyl", authors=("desk.example",))
        assert set(uris(await posts.search(query))) == {"own:0", "own:1", "own:2"}
        assert uris(await posts.search(replace(query, since=at(1), until=at(2)))) == ["own:1"]
        assert await posts.search(replace(query, language="fr")) == []
        assert await posts.search(replace(query, text="absent")) == []
        assert await posts.search(replace(query, excluded_authors=("desk.example",))) == []

    on_store(location, work)


def test_words_that_are_everywhere_find_the_latest_and_do_not_hide_what_is_rare(location: Location):
    """Also where there are more posts than a question may look at."""

    async def work(posts: Posts) -> None:
        most = MOST_MATCHES + 2000
        for start in range(0, most, 1000):
            numbers = range(start, start + 1000)
            await posts.apply([post(f"u:{n}", f"vote count in district {n % 50}", n) for n in numbers])
        await posts.apply([post("needle", "vote count at the lighthouse", -HOUR)])
        found = uris(await posts.search(PostQuery("vote count", limit=5)))
        assert found == [f"u:{most - 1 - n}" for n in range(5)]
        assert uris(await posts.search(PostQuery("vote count lighthouse", limit=3)))[0] == "needle"
        # A word nobody uses does not keep the others from finding something.
        assert len(await posts.search(PostQuery("vote countt", limit=5))) == 5
        found = uris(await posts.search(PostQuery("vote count", until=at(100), limit=5)))
        assert found == [f"u:{99 - n}" for n in range(5)]

    on_store(location, work)


SYNTAX = [*"\"'*^:-+(){}&|!\\;", "AND", "OR", "NOT", "NEAR", "<->", "--"]
QUESTION = st.one_of(
    st.text(st.characters(codec=None), max_size=60),
    st.lists(st.one_of(st.sampled_from(SYNTAX), st.text(max_size=4)), max_size=12).map(" ".join),
    st.lists(st.sampled_from([*SYNTAX, "word", "posts_words", "%", "NULL"]), max_size=12).map("".join),
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(QUESTION, min_size=10, max_size=20))
@example(['"', "a AND", "NEAR(a b)", "post_words : x", "a*", "^a", "'a' & !", "a:*", "\\", "\x00", "\ud800"] * 2)
def test_nothing_in_a_question_is_syntax_and_every_post_is_found_by_its_own_words(location: Location, texts: list[str]):
    async def work(posts: Posts) -> None:
        await posts.apply([post(f"u:{text}", text) for text in texts])
        for text in dict.fromkeys(texts):
            found = await posts.search(PostQuery(text, limit=1000))
            assert all(math.isfinite(hit.score) for hit in found)
            own = (await posts.get([f"u:{text}"]))[f"u:{text}"].uri
            if words(text) and len(words(text)) <= 12:
                assert own in uris(found)
            elif not text.strip():
                assert len(found) == await posts.count()
            else:
                assert words(text) or found == []

    on_store(location, work)


def test_both_databases_find_the_same_in_the_same_order(tmp_path: Path, postgres_url: str):
    randomly = random.Random(5)
    vocabulary = [f"word{n}" for n in range(300)]
    weights = [1 / (n + 2) for n in range(300)]
    changes: list[Post | Edited | Deleted] = []
    for n in range(3000):
        text = " ".join(randomly.choices(vocabulary, weights, k=randomly.randint(3, 25)))
        changes.append(post(f"u:{n}", text, n * 60, author=f"a{n % 9}"))
        if n % 10 == 7:
            changes.append(Edited(f"u:{n - 3}", text, at(n * 60)))
        if n % 10 == 9:
            changes.append(Deleted(f"u:{n - 4}", at(n * 60)))
    questions = [" ".join(randomly.choices(vocabulary, k=randomly.randint(1, 4))) for _ in range(30)]
    queries = [PostQuery(text, limit=10) for text in questions]
    queries += [PostQuery(text, authors=("a1", "a2"), since=at(60_000), limit=10) for text in questions[:10]]

    async def answers(location: Location) -> list[list[str]]:
        async with await Database.open(location) as database:
            posts = Posts(database)
            await posts.apply(changes)
            return [uris(await posts.search(query)) for query in queries]

    ours, theirs = asyncio.run(answers(tmp_path / "lindos.db")), asyncio.run(answers(postgres_url))
    assert sum(map(len, ours)) > 250
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    # Which of many equally good posts are looked at closely may differ.
    assert same >= 0.9 * len(queries)
    for a, b in zip(ours, theirs, strict=True):
        assert a[:1] == b[:1]


@given(st.text(st.characters(codec=None), max_size=200))
@example("ﬀ𝐀Ⅷ㍿ǆ")
def test_words_are_the_same_however_they_are_written(text: str):
    found = words(text)
    assert words(text.upper().lower()) == words(text.upper())
    assert len(found) <= MOST_WORDS
    for word in found:
        assert 0 < len(word) <= LONGEST_WORD
        assert not any(sign in word for sign in " \"'\\*:&|!()\x00\t\n")
        word.encode()
    assert set(question_words(text)) <= set(found) | {word[:1] for word in found}
    assert fold(fold(text)) == fold(text)


def test_very_long_texts_give_only_so_many_words():
    assert len(words("abc " * 100_000)) == MOST_WORDS
    assert len(words("東" * 100_000)) == MOST_WORDS
    assert set(words("x" * 300_000)[:-1]) == {"x" * LONGEST_WORD}


def test_stop_words_are_not_looked_up_where_others_are():
    shares = Shares()
    assert sought(question_words("Who was the president of France?"), shares, 0).all == ("president", "france")
    assert sought(question_words("Qui est le président de la France ?"), shares, 0).all == ("president", "france")
    assert set(sought(question_words("who was it?"), shares, 0).all) == {"who", "was", "it"}
    assert {"the", "les"} <= STOP_WORDS


def test_words_in_too_many_posts_are_common():
    texts = [f"city city{n % 10} unique{n}" for n in range(1000)]
    shares = Shares.of(texts)
    assert shares.share("city") > 0.99
    assert shares.share("city3") == pytest.approx(0.1, abs=0.01)
    assert shares.share("unseen") < 0.001
    asked = sought(["city", "city3", "unique5"], shares, 100_000)
    assert (asked.rare, asked.common) == (("unique5",), ("city3", "city"))
    assert sought(["city", "city3", "unique5"], shares, 1000).common == ()


def test_relevance_is_bm25():
    # By hand: weight x tf (k1 + 1) / (tf + k1 (1 - b + b L / mean)), with k1 = 1.2 and b = 0.3.
    shares = Shares(100, {}, 4.0)
    twice = 2 * 2 * 2.2 / (2 + 1.2 * (0.7 + 0.3 * 3 / 4))
    assert relevance({"cat": 2.0}, "cat dog cat", shares) == pytest.approx(twice)
    assert relevance({"cat": 2.0, "dog": 1.0}, "a b c dog", shares) == pytest.approx(2.2 / (1 + 1.2))
    assert relevance({"cat": 2.0}, "", shares) == 0


def test_rankings_are_fused_by_rank():
    assert fused([[1, 2], [2, 3]]) == pytest.approx({1: 1 / 61, 2: 1 / 62 + 1 / 61, 3: 1 / 62})


def test_ages_count_from_the_newest_post_or_the_end_of_the_query(location: Location):
    """So that a timeline of years ago is answered as it would have been then."""

    async def work(posts: Posts) -> None:
        await posts.apply([post("early", "storm warning", 0), post("late", "storm warning here", 40 * HOUR)])
        assert uris(await posts.search(PostQuery("storm warning")))[0] == "late"
        then = await posts.search(PostQuery("storm warning", until=NOON + timedelta(seconds=1)))
        assert uris(then) == ["early"]
        now = await posts.search(PostQuery("storm", until=NOON + timedelta(days=300)))
        assert {hit.post.uri for hit in now} == {"early", "late"}

    on_store(location, work)
