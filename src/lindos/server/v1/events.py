"""`/v1/events`: the register of events, and how each of them stands."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel

from lindos.assistant import EventState, Form
from lindos.assistant.settlement import Event, Events, described
from lindos.assistant.settlement.event import EVENT_ID, LONGEST_ID
from lindos.server.errors import ApiError
from lindos.server.service import Service, ServiceOf

router = APIRouter(tags=["events"])

EventId = Annotated[str, Path(pattern=EVENT_ID, max_length=LONGEST_ID)]


class StandingReply(BaseModel):
    """How an event stands, and what by."""

    state: EventState
    form: Form
    outcome: str
    rivals: list[str]
    calls: list[dict[str, Any]]
    counts: list[dict[str, Any]]
    fingerprint: str


class EventReply(Event):
    """An event's record with its standing."""

    standing: StandingReply


class EventList(BaseModel):
    object: str = "list"
    data: list[EventReply]


class RecordReply(BaseModel):
    """One record of an event's history."""

    at: datetime
    cleared_at: datetime | None
    event: Event


class RecordList(BaseModel):
    object: str = "list"
    data: list[RecordReply]


def _events(service: Service) -> Events:
    if service.assistant.events is None:
        raise ApiError(404, "this server keeps no register of events")
    return service.assistant.events


@router.get("/v1/events")
async def list_events(service: ServiceOf) -> EventList:
    """All events, in the order of their closing."""
    standings = await _events(service).standings()
    return EventList(data=[EventReply.model_validate(described(standing)) for standing in standings.values()])


@router.get("/v1/events/{event_id}")
async def one_event(event_id: EventId, service: ServiceOf) -> EventReply:
    """One event and how it stands now."""
    return EventReply.model_validate(described(await _events(service).standing(event_id)))


@router.put("/v1/events/{event_id}")
async def put_event(event_id: EventId, body: Event, service: ServiceOf) -> EventReply:
    """Write a whole new record; one that names no outcome clears an earlier one."""
    if body.id != event_id:
        raise ApiError(400, f"the record's id is '{body.id}', the address says '{event_id}'", param="id")
    return EventReply.model_validate(described(await _events(service).put(body)))


@router.delete("/v1/events/{event_id}", status_code=204)
async def remove_event(event_id: EventId, service: ServiceOf) -> None:
    """Take it out of the register; its history stays in the database."""
    await _events(service).remove(event_id)


@router.get("/v1/events/{event_id}/history")
async def event_history(event_id: EventId, service: ServiceOf) -> RecordList:
    """All records that were written of it, the oldest first."""
    records = await _events(service).registry.history(event_id)
    return RecordList(data=[RecordReply(at=r.at, cleared_at=r.cleared_at, event=r.event) for r in records])
