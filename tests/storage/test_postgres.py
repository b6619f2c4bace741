"""Opening PostgreSQL: by any of its URLs, several at once, broken ones."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from lindos.storage import Conversations, Database, StorageError, database_location
from lindos.storage.tables import Table
from tests.postgres import Postgres
from tests.storage.test_database import is_declared

CUT_ALL_OFF = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname <> '' AND pid <> pg_backend_pid()"


async def open_and_close(location: Path | str) -> None:
    async with await Database.open(location) as database:
        await Conversations(database).find()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_its_urls_are_understood_as_others_write_them(postgres_url: str, scheme: str):
    async def main() -> None:
        async with await Database.open(postgres_url.replace("postgresql", scheme) + "&sslmode=disable") as database:
            assert database.dialect == "postgresql"
            assert await Conversations(database).find() == []

    asyncio.run(main())


def test_the_migrations_make_the_tables_that_the_code_wants(postgres_url: str):
    def compare(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"include_name": is_declared})
        return compare_metadata(context, Table.metadata)

    async def main() -> None:
        await open_and_close(postgres_url)
        engine = create_async_engine(postgres_url.replace("postgresql", "postgresql+asyncpg"))
        async with engine.connect() as connection:
            assert await connection.run_sync(compare) == []
        await engine.dispose()

    asyncio.run(main())


def test_several_may_open_a_fresh_one_at_once(postgres: Postgres):
    async def main() -> None:
        for _ in range(3):
            location = postgres.fresh()
            await asyncio.gather(*(open_and_close(location) for _ in range(5)))

    asyncio.run(main())


def test_one_of_a_newer_version_is_refused_and_left_alone(postgres: Postgres, postgres_url: str):
    name = postgres_url.split("/")[3].partition("?")[0]
    asyncio.run(open_and_close(postgres_url))
    postgres.say("UPDATE alembic_version SET version_num = '9999'", database=name)
    with pytest.raises(StorageError, match="newer version of Lindos"):
        asyncio.run(open_and_close(postgres_url))
    assert postgres.say("SELECT version_num FROM alembic_version", database=name).strip() == "9999"


def test_a_connection_that_broke_meanwhile_is_made_anew(postgres: Postgres, postgres_url: str):
    async def main() -> None:
        async with await Database.open(postgres_url) as database:
            store = Conversations(database)
            await store.create(title="before")
            postgres.say(CUT_ALL_OFF)
            assert [row.title for row in await store.find()] == ["before"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("postgresql://lindos:secret@/absent?host={socket}", "absent on .* cannot be used as a database.*not exist"),
        ("postgresql://nobody:secret@/postgres?host={socket}", "cannot be used as a database.*nobody"),
        ("postgresql://lindos:secret@127.0.0.1:1/x", "x on 127.0.0.1 cannot be used as a database"),
        ("postgresql://lindos:secret@host:port/x", "URL cannot be used.*it looks like postgresql://"),
        ("nonsense://lindos:secret@host/x", "URL cannot be used.*nonsense"),
        ("mysql+aiomysql://lindos:secret@host/x", "driver, aiomysql, is not installed"),
        ("postgresql://lindos:secret@/x?host={socket}&nonsense=1", "URL cannot be used: .*nonsense"),
    ],
)
def test_one_that_cannot_be_used_is_named_without_its_password(postgres_url: str, location: str, message: str):
    location = location.replace("{socket}", postgres_url.partition("?host=")[2])
    with pytest.raises(StorageError, match=message) as caught:
        asyncio.run(open_and_close(location))
    assert "secret" not in str(caught.value)


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StorageError, match=r"pip install 'lindos\[postgres\]'"):
        asyncio.run(open_and_close("postgresql://lindos@localhost/x"))


def test_the_environment_says_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("DATABASE_URL", "postgres://host/x")
    assert database_location(tmp_path) == "postgres://host/x"
    for unset in (lambda: monkeypatch.setenv("DATABASE_URL", ""), lambda: monkeypatch.delenv("DATABASE_URL")):
        unset()
        assert database_location(tmp_path) == tmp_path / "lindos.db"
