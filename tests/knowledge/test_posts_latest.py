"""The latest posts of several authors, kept: always what asking anew would give."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from lindos.knowledge import Deleted, Edited, Posts, Renamed, TakenDown
from lindos.knowledge.latest import Latest
from lindos.storage import Database
from tests.knowledge.stores import NOON, at, on_store, post

Location = Path | str
AUTHORS = [
    "agency.example",
    "desk.agency.example",
    "did:plc:ann",
    "user@agency.example",
    "other.example",
    "did:plc:bob",
]
ASKED = ["agency.example", "desk.agency.example", "did:plc:ann", "@ann.example", "nobody.example", "="]


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_asking_anew_gives_whatever_happens(location: Location, seed: int):
    randomly = random.Random(seed)

    def change(number: int):
        uri, when = f"x:{randomly.randrange(number + 1)}", at(number + 0.25)
        match randomly.randrange(8):
            case 0:
                return Deleted(uri, when)
            case 1:
                return Edited(uri, f"edit {randomly.randrange(3)}", at(randomly.choice((number, 1000))))
            case 2:
                return Renamed(
                    f"did:plc:{randomly.choice(('ann', 'bob'))}", randomly.choice(("ann.example", "b")), when
                )
            case 3:
                return TakenDown(randomly.choice(AUTHORS), when)
        early = randomly.choice((0, -40))
        return post(f"x:{number}", f"post {number}", number + early, author=randomly.choice(AUTHORS))

    async def main() -> None:
        async with await Database.open(location) as ours, await Database.open(location) as others:
            asking, writing = Posts(ours), Posts(others)
            latest = Latest(ours, ASKED, since=NOON, limit=5)
            number = 0
            for _ in range(25):
                batch = [change(number := number + 1) for _ in range(randomly.choice((1, 6)))]
                await randomly.choice((asking, writing)).apply(batch)
                found = await latest.posts()
                for author in ASKED:
                    assert list(found[author]) == await asking.by([author], since=NOON, limit=5)
            assert any((await latest.posts()).values())

    asyncio.run(main())


def test_what_stays_the_same_stays_the_same_object(tmp_path: Path):
    async def work(posts: Posts) -> None:
        await posts.apply([post("x:1", "one", author="did:plc:ann"), post("x:2", "two", author="did:plc:bob")])
        latest = Latest(posts._database, ["did:plc:ann", "did:plc:bob"], since=NOON, limit=9)
        before = dict(await latest.posts())
        await posts.apply([post("x:3", "three", author="did:plc:cyd"), Edited("x:1", "uno", at(5))])
        after = await latest.posts()
        assert after["did:plc:bob"] is before["did:plc:bob"]
        assert [one.text for one in after["did:plc:ann"]] == ["uno"]

    on_store(tmp_path / "lindos.db", work)


def test_many_authors_are_asked_for_in_parts(tmp_path: Path):
    names = [f"source{number}.example" for number in range(230)]

    async def work(posts: Posts) -> None:
        await posts.apply([post(f"x:{name}", name, author=name) for name in names])
        found = await Latest(posts._database, names, since=NOON, limit=2).posts()
        assert {name: [one.text for one in theirs] for name, theirs in found.items()} == {
            name: [name] for name in names
        }

    on_store(tmp_path / "lindos.db", work)
