"""Responses kept in the database, each with its items and what it rests on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from lindos.storage.conversations import NotFound
from lindos.storage.database import Database
from lindos.storage.response_tables import ResponseItemRow, ResponseRow

Item = dict[str, Any]


@dataclass(frozen=True)
class StoredResponse:
    """A response as it was when it ended."""

    id: str
    previous_id: str | None
    body: dict[str, Any]
    """Without its output."""
    input: tuple[Item, ...]
    """What it was asked with, without what came before it."""
    output: tuple[Item, ...]
    basis: str = ""
    """JSON; empty for a bare model's."""


class Responses:
    """The kept responses. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, response: StoredResponse) -> None:
        """Keep a response that is not kept yet."""
        items = [*((False, item) for item in response.input), *((True, item) for item in response.output)]
        async with self._database.write() as session:
            row = ResponseRow(
                id=response.id,
                previous_id=response.previous_id,
                body=json.dumps(response.body),
                basis=response.basis,
            )
            session.add(row)
            await session.flush()
            for place, (output, item) in enumerate(items):
                body = json.dumps(item)
                session.add(
                    ResponseItemRow(response_id=row.id, place=place, item_id=item["id"], output=output, body=body)
                )

    async def get(self, response_id: str) -> StoredResponse:
        """A response. Raises NotFound."""
        async with self._database.read() as session:
            row = await session.get(ResponseRow, response_id)
            if row is None:
                raise _unknown(response_id)
            return (await _whole(session, [row]))[0]

    async def chain(self, response_id: str) -> list[StoredResponse]:
        """All that a response goes on from, the first one first, and itself. Raises NotFound where one is gone."""
        ids = select(ResponseRow.id, ResponseRow.previous_id, literal(0).label("depth"))
        chain = ids.where(ResponseRow.id == response_id).cte("chain", recursive=True)
        earlier = select(ResponseRow.id, ResponseRow.previous_id, chain.c.depth + 1)
        chain = chain.union_all(earlier.join(chain, ResponseRow.id == chain.c.previous_id))
        statement = select(ResponseRow).join(chain, ResponseRow.id == chain.c.id).order_by(chain.c.depth.desc())
        async with self._database.read() as session:
            rows = list(await session.scalars(statement))
            if not rows:
                raise _unknown(response_id)
            if rows[0].previous_id is not None:
                raise _unknown(rows[0].previous_id)
            return await _whole(session, rows)

    async def holding(self, item_id: str) -> StoredResponse:
        """The response that an item is of: that wrote it where one did, else the first that was asked with it.

        Raises NotFound.
        """
        statement = (
            select(ResponseRow)
            .join(ResponseItemRow, ResponseItemRow.response_id == ResponseRow.id)
            .where(ResponseItemRow.item_id == item_id)
            .order_by(ResponseItemRow.output.desc(), ResponseRow.created_at)
            .limit(1)
        )
        async with self._database.read() as session:
            row = await session.scalar(statement)
            if row is None:
                raise NotFound(f"there is no item '{item_id}'")
            return (await _whole(session, [row]))[0]

    async def delete(self, response_id: str) -> None:
        """Forget a response with its items. Those that go on from it stay, but end their chains. Raises NotFound."""
        async with self._database.write() as session:
            row = await session.get(ResponseRow, response_id)
            if row is None:
                raise _unknown(response_id)
            await session.execute(delete(ResponseItemRow).where(ResponseItemRow.response_id == response_id))
            await session.delete(row)


async def _whole(session: AsyncSession, rows: Iterable[ResponseRow]) -> list[StoredResponse]:
    rows = list(rows)
    of_rows = ResponseItemRow.response_id.in_([row.id for row in rows])
    statement = select(ResponseItemRow).where(of_rows).order_by(ResponseItemRow.response_id, ResponseItemRow.place)
    items: dict[str, tuple[list[Item], list[Item]]] = {row.id: ([], []) for row in rows}
    for item in await session.scalars(statement):
        items[item.response_id][item.output].append(json.loads(item.body))
    return [
        StoredResponse(
            id=row.id,
            previous_id=row.previous_id,
            body=json.loads(row.body),
            input=tuple(items[row.id][False]),
            output=tuple(items[row.id][True]),
            basis=row.basis,
        )
        for row in rows
    ]


def _unknown(response_id: str) -> NotFound:
    return NotFound(f"there is no response '{response_id}' (any more): it was deleted, or not stored")
