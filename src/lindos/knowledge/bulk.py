"""Many rows at once, as each database takes them quickest: SQLAlchemy's own way costs SQLite as much as the work."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ARRAY, LargeBinary, Table, any_, bindparam, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from lindos.knowledge.records import chunks
from lindos.storage.tables import UtcDateTime

Values = dict[str, Any]
"""A row by the names of its columns. Moments are in UTC."""
_MOMENT = len("2026-01-01 12:00:00.000000")


async def insert_rows(connection: AsyncConnection, table: Table, rows: Sequence[Values]) -> None:
    """Write new rows, all of whose columns are given."""
    if not rows:
        return
    if connection.dialect.name != "sqlite":
        await connection.execute(insert(table), list(rows))
        return
    columns = [column.name for column in table.c]
    places = ", ".join("?" for _ in columns)
    statement = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})"
    await connection.exec_driver_sql(statement, await asyncio.to_thread(_plain, table, columns, rows))


def _plain(table: Table, columns: Sequence[str], rows: Sequence[Values]) -> list[tuple[Any, ...]]:
    """Rows' values as SQLAlchemy has SQLite keep them."""
    # By name: one row may hold its columns in another order than the next.
    values = [[row[name] for row in rows] for name in columns]
    for place, name in enumerate(columns):
        if isinstance(table.c[name].type, UtcDateTime):
            values[place] = [_plain_moment(moment) for moment in values[place]]
    return list(zip(*values, strict=True))


def _plain_moment(moment: datetime | None) -> str | None:
    """Moments are in UTC, without saying so."""
    return None if moment is None else moment.isoformat(" ", "microseconds")[:_MOMENT]


async def rows_by_key(connection: AsyncConnection, table: Table, keys: Collection[bytes]) -> dict[bytes, Values]:
    """The rows of a table with these keys."""
    found: dict[bytes, Values] = {}
    for part in chunks(keys):
        rows = await (_of_sqlite if connection.dialect.name == "sqlite" else _of_others)(connection, table, part)
        found |= {row["key"]: row for row in rows}
    return found


async def _of_sqlite(connection: AsyncConnection, table: Table, keys: list[bytes]) -> list[Values]:
    columns = [column.name for column in table.c]
    places = ", ".join("?" for _ in keys)
    statement = f"SELECT {', '.join(columns)} FROM {table.name} WHERE key IN ({places})"
    rows = [dict(zip(columns, row, strict=True)) for row in await connection.exec_driver_sql(statement, tuple(keys))]
    for name in [column.name for column in table.c if isinstance(column.type, UtcDateTime)]:
        for row in rows:
            if row[name] is not None:
                row[name] = datetime.fromisoformat(row[name]).replace(tzinfo=UTC)
    return rows


async def _of_others(connection: AsyncConnection, table: Table, keys: list[bytes]) -> list[Values]:
    among = any_(bindparam("keys", keys, ARRAY(LargeBinary)))
    return [dict(row) for row in (await connection.execute(select(table).where(table.c.key == among))).mappings()]
