"""Events: the register together with how each of them stands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from lindos.assistant.settlement.event import Event
from lindos.assistant.settlement.registry import Record, Registry
from lindos.assistant.settlement.standing import Standing, clearing, standing_of
from lindos.knowledge import Posts
from lindos.storage import Database, NotFound


class Events:
    """What operators registered, and how it stands by their records and by live posts."""

    def __init__(
        self,
        database: Database,
        posts: Posts | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.registry = Registry(database, clock)
        self._posts = posts
        self._clock = clock

    async def all(self) -> list[Event]:
        """The events as their operators wrote them last, in the order of their closing."""
        return [record.event for record in await self.registry.all()]

    async def put(self, event: Event) -> Standing:
        """Write a whole new record of an event. One that names no outcome clears an earlier one, calls included,
        where it changes the state that was reached or takes an outcome back."""
        try:
            before = await self.registry.get(event.id)
        except NotFound:
            before = None
        now = self._clock()
        earlier = before and await self._stand(before)
        cleared = clearing(event, earlier, now) or (before.cleared_at if before else None)
        await self.registry.put(event, cleared_at=cleared)
        return await self.standing(event.id)

    async def remove(self, event_id: str) -> None:
        """Take an event out of the register. Raises NotFound."""
        await self.registry.remove(event_id)

    async def standing(self, event_id: str) -> Standing:
        """How one event stands now. Raises NotFound."""
        return await self._stand(await self.registry.get(event_id))

    async def standings(self, event_ids: list[str] | None = None) -> dict[str, Standing]:
        """How events stand now, by id; ids that are unknown are left out."""
        records = await self.registry.all()
        wanted = None if event_ids is None else set(event_ids)
        return {
            record.event.id: await self._stand(record)
            for record in records
            if wanted is None or record.event.id in wanted
        }

    async def _stand(self, record: Record) -> Standing:
        return await standing_of(record, await self.registry.all(), self._posts, self._clock())
