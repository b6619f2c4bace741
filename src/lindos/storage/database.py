"""The door to the database: opened, brought up to date, handed out as sessions."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import aiosqlite
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

FILE_NAME = "lindos.db"
BUSY_SECONDS = 10
CLOSING_SECONDS = 5
"""How long closing waits for what is still being worked on."""
URL_VARIABLE = "DATABASE_URL"
_MIGRATING = 0x4C696E646F73
"""The number of the lock that keeps processes from bringing one PostgreSQL up to date at once: our name in ASCII."""
_MIGRATIONS = Path(__file__).with_name("migrations")


class StorageError(Exception):
    """The database cannot be used, or just failed; the text says which, and why."""


def data_directory() -> Path:
    """Where a user's conversations are kept: `$XDG_DATA_HOME/lindos`, by default `~/.local/share/lindos`."""
    root = os.environ.get("XDG_DATA_HOME", "")
    # The specification of those variables has relative paths ignored.
    return (Path(root) if os.path.isabs(root) else Path.home() / ".local" / "share") / "lindos"


def database_location(data: Path) -> Path | str:
    """Where the database is: what `$DATABASE_URL` says, else a SQLite file in the folder `data`."""
    return os.environ.get(URL_VARIABLE) or data / FILE_NAME


class Database:
    """An open database. `read` and `write` give sessions; what `write` did is committed when its block ends well.

    Where the database fails (a full disk, a lost server) they raise StorageError.
    """

    def __init__(self, engine: AsyncEngine, where: str) -> None:
        self._engine = engine
        self._where = where
        self._workers = _workers_of(engine)
        self._reading = async_sessionmaker(engine, expire_on_commit=False)
        self._writing = async_sessionmaker(engine.execution_options(lindos_write=True), expire_on_commit=False)

    @classmethod
    async def open(cls, location: Path | str) -> Self:
        """Open a SQLite file (made when it is missing) or a URL, and bring its tables up to date.

        URLs are `postgresql://user:password@host/name`, also as `postgres://`, or any async one of SQLAlchemy.
        Raises StorageError when that cannot be done; a database of a newer Lindos is refused, not changed.
        """
        if isinstance(location, str) and "://" in location:
            where, engine = _server(location)
        else:
            where = str(_prepare_file(Path(location)))
            engine = create_async_engine(f"sqlite+aiosqlite:///{where}", connect_args={"timeout": BUSY_SECONDS})
        if engine.dialect.name == "sqlite":
            _tune_sqlite(engine)
        database = cls(engine, where)
        try:
            await database._migrate()
        except BaseException:
            await engine.dispose()
            raise
        return database

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that only reads."""
        with self._failing():
            async with self._reading() as session:
                yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session in one transaction: committed when the block ends well, rolled back when it raises."""
        with self._failing():
            async with self._writing() as session, session.begin():
                yield session

    async def close(self) -> None:
        """Close all connections. Whoever was cancelled amid a statement has left one that finishes it first."""
        await self._engine.dispose()
        await asyncio.to_thread(_join, list(self._workers))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _migrate(self) -> None:
        try:
            with self._failing():
                async with self._engine.execution_options(lindos_write=True).begin() as connection:
                    await connection.run_sync(_upgrade)
        except CommandError as error:
            raise StorageError(
                f"{self._where} was written by a newer version of Lindos ({error}); "
                "update Lindos, or give another --data"
            ) from None

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Have what drivers raise said in our words."""
        try:
            yield
        except (SQLAlchemyError, OSError, *_driver_errors(self.dialect)) as error:
            reason = getattr(error, "orig", None) or error
            raise StorageError(f"{self._where} cannot be used as a database: {reason}") from error


def _server(location: str) -> tuple[str, AsyncEngine]:
    """What a database behind a URL is called (without passwords), and its engine."""
    try:
        url = _async_url(make_url(location))
        host = url.host or url.query.get("host") or "this machine"
        # A server may have been restarted since it was asked last.
        return f"{url.database} on {host}", create_async_engine(url, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        hint = "; install it with: pip install 'lindos[postgres]'" if error.name == "asyncpg" else ""
        raise StorageError(f"The database's driver, {error.name}, is not installed{hint}") from None
    except (ArgumentError, SQLAlchemyError, ValueError) as error:
        reason = str(error).splitlines()[0].replace(location, "the URL")
        raise StorageError(
            f"The database's URL cannot be used: {reason}; it looks like postgresql://user:password@host/name"
        ) from None


def _async_url(url: URL) -> URL:
    """PostgreSQL's URL as others write it, as asyncpg understands it."""
    if url.drivername not in ("postgres", "postgresql", "postgresql+asyncpg"):
        return url
    query = dict(url.query)
    if "sslmode" in query:
        query.setdefault("ssl", query.pop("sslmode"))
    if unknown := query.keys() - {"host", "port", "ssl"}:
        raise ValueError(f"its options {', '.join(sorted(unknown))} are not among host, port, ssl and sslmode")
    return url.set(drivername="postgresql+asyncpg", query=query)


def _driver_errors(dialect: str) -> tuple[type[Exception], ...]:
    """What asyncpg raises itself, where SQLAlchemy does not wrap it: while connecting."""
    if dialect != "postgresql":
        return ()
    import asyncpg  # an extra of ours, which is here when such a database was opened

    return (asyncpg.PostgresError, asyncpg.InterfaceError)


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _MIGRATING})
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _prepare_file(path: Path) -> Path:
    """Make the file and its folder readable by their owner only: conversations are private."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StorageError(f"{path} cannot be opened: {error.strerror}; give another folder with --data") from None
    return path.resolve()


def _workers_of(engine: AsyncEngine) -> weakref.WeakSet[threading.Thread]:
    """The threads of SQLite's connections, from before they are open: opening, too, may be given up half done. Each
    reports to the event loop, which must outlive them."""
    workers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
    if engine.dialect.name != "sqlite":
        return workers

    def opening(*arguments: Any, **options: Any) -> aiosqlite.Connection:
        connection = aiosqlite.connect(*arguments, **options)
        connection._thread.daemon = True  # as SQLAlchemy would have it
        workers.add(connection._thread)
        return connection

    @event.listens_for(engine.sync_engine, "do_connect")
    def connecting(_dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]) -> None:
        options["async_creator_fn"] = opening

    return workers


def _join(workers: list[threading.Thread]) -> None:
    deadline = time.monotonic() + CLOSING_SECONDS
    for worker in filter(threading.Thread.is_alive, workers):
        worker.join(max(0.0, deadline - time.monotonic()))


def _use_write_ahead_log(cursor: Any) -> None:
    """Waits for others as statements do: SQLite's own waiting leaves out the change of a fresh file's journal."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the byte above says more exactly why
            if not busy or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def _tune_sqlite(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        # The driver's own idea of transactions leaves tables half changed; we say BEGIN ourselves, below.
        connection.isolation_level = None
        cursor = connection.cursor()
        _use_write_ahead_log(cursor)
        tuned = ("synchronous = NORMAL", "foreign_keys = ON", "cache_size = -16000", "wal_autocheckpoint = 16000")
        # What is deleted is overwritten; some builds of SQLite do so unasked.
        for pragma in (*tuned, "secure_delete = ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Connection) -> None:
        # A reader that turns writer fails at once when another wrote meanwhile; one that starts as writer waits.
        writes = connection.get_execution_options().get("lindos_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
