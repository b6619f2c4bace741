"""Opening databases: fresh, old, newer, broken."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from lindos.storage import Conversations, Database, StorageError, data_directory
from lindos.storage.post_tables import INDEX_TABLE
from lindos.storage.tables import Table

FULL = "CREATE TRIGGER f BEFORE UPDATE ON conversations BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"


def open_and_close(path: Path) -> None:
    async def main() -> None:
        async with await Database.open(path) as database:
            await Conversations(database).find()

    asyncio.run(main())


def is_declared(name: str | None, kind: str, _: object) -> bool:
    """Whether a table is one of those the code declares; what finds words is made in each database's own way."""
    return kind != "table" or not str(name).startswith(INDEX_TABLE)


def test_a_fresh_one_is_private(tmp_path: Path):
    path = tmp_path / "deep" / "er" / "lindos.db"
    open_and_close(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_migrations_make_the_tables_that_the_code_wants(tmp_path: Path):
    path = tmp_path / "lindos.db"
    open_and_close(path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        opts = {"compare_server_default": True, "include_name": is_declared}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, Table.metadata) == []
    engine.dispose()


def test_answers_of_before_there_were_bases_have_none(tmp_path: Path):
    path = tmp_path / "lindos.db"

    async def write() -> int:
        async with await Database.open(path) as database:
            store = Conversations(database)
            return (await store.add((await store.create()).id, "user", "kept")).id

    async def read(message: int) -> tuple[str, str]:
        async with await Database.open(path) as database:
            row = await Conversations(database).message(message)
            return row.content, row.basis

    number = asyncio.run(write())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE messages DROP COLUMN basis")
        connection.execute("UPDATE alembic_version SET version_num = '0004'")
    assert asyncio.run(read(number)) == ("kept", "")


def test_opening_twice_changes_nothing(tmp_path: Path):
    path = tmp_path / "lindos.db"
    open_and_close(path)
    with closing(sqlite3.connect(path)) as connection:
        before = list(connection.iterdump())
    open_and_close(path)
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before


def test_several_may_open_a_fresh_one_at_once(tmp_path: Path):
    async def main() -> None:
        for again in range(20):
            opening = (Database.open(tmp_path / f"{again}.db") for _ in range(4))
            for database in await asyncio.gather(*opening):
                await database.close()

    asyncio.run(main())


def test_a_fresh_one_that_another_holds_is_waited_for(tmp_path: Path):
    path = tmp_path / "lindos.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE held (id)")
        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(0.3, other.rollback).start()
        open_and_close(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_one_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path):
    path = tmp_path / "lindos.db"
    open_and_close(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StorageError, match="newer version of Lindos"):
        open_and_close(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path):
    path = tmp_path / "lindos.db"
    path.write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(StorageError, match="cannot be used as a database"):
        open_and_close(path)
    assert path.read_bytes() == b"Dear diary, " * 1000


def test_one_that_fails_later_says_so(tmp_path: Path):
    path = tmp_path / "lindos.db"

    async def main() -> None:
        async with await Database.open(path) as database:
            conversation = await Conversations(database).create()
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute(FULL)
            with pytest.raises(StorageError, match="the disk is full"):
                await Conversations(database).change(conversation.id, title="a new one")
            assert (await Conversations(database).get(conversation.id)).title == ""

    asyncio.run(main())


def test_a_failed_migration_leaves_nothing_half_done(tmp_path: Path):
    path = tmp_path / "lindos.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE messages (mine TEXT)")  # in the way of the second table
    with pytest.raises(StorageError, match="already exists"):
        open_and_close(path)
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    assert names == ["messages"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="--data"):
        open_and_close(tmp_path / "file" / "lindos.db")


def test_where_it_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_directory() == tmp_path / "lindos"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_directory() == tmp_path / ".local" / "share" / "lindos"
    assert os.path.isabs(data_directory())


SLOW = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT count(*) FROM n"


def connection_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if "_connection_worker_thread" in thread.name}


def test_closing_waits_for_what_was_cancelled_amid_a_statement(tmp_path: Path):
    before = set(threading.enumerate())

    async def cancelled_and_closed() -> set[threading.Thread]:
        database = await Database.open(tmp_path / "lindos.db")

        async def slow() -> None:
            async with database.read() as session:
                await session.execute(text(SLOW))

        reading = asyncio.create_task(slow())
        for pause in (0.05, 0.01):  # the second time it is amid giving the connection back
            await asyncio.sleep(pause)
            reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await database.close()
        return connection_threads()

    assert not asyncio.run(cancelled_and_closed()) - before


def test_closing_waits_for_connections_given_up_as_they_were_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    before, plain = set(threading.enumerate()), sqlite3.connect

    def slow(*arguments: Any, **options: Any) -> sqlite3.Connection:
        time.sleep(0.3)
        return plain(*arguments, **options)

    async def cancelled_and_closed() -> set[threading.Thread]:
        database = await Database.open(tmp_path / "lindos.db")
        monkeypatch.setattr(sqlite3, "connect", slow)

        async def look() -> None:
            async with database.read() as session:
                await session.execute(text("SELECT 1"))

        async with database.read() as session:  # takes the connection that is open
            await session.execute(text("SELECT 1"))
            another = asyncio.create_task(look())
            await asyncio.sleep(0.1)
            another.cancel()
            with pytest.raises(asyncio.CancelledError):
                await another
        await database.close()
        return connection_threads()

    assert not asyncio.run(cancelled_and_closed()) - before
