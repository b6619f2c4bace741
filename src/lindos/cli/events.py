"""`lindos events`: the register of events whose outcome nobody may announce early."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from lindos.assistant.settlement import Events, Standing

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The register of events: the assistant names no outcome of one before it is settled.",
)
Data = Annotated[
    Path | None, typer.Option("--data", help="The folder that holds the database (DATABASE_URL goes before it).")
]
T = TypeVar("T")


def _with_events(data: Path | None, work: Callable[[Events], Awaitable[T]]) -> T:
    from lindos.assistant.settlement import Events
    from lindos.knowledge import Posts
    from lindos.specs import LindosError
    from lindos.storage import Database, NotFound, StorageError, data_directory, database_location

    async def run() -> T:
        async with await Database.open(database_location(data or data_directory())) as database:
            return await work(Events(database, Posts(database)))

    try:
        return asyncio.run(run())
    except (StorageError, NotFound) as error:
        raise LindosError(str(error)) from None


@app.command("list")
def list_events(data: Data = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Every event and how it stands now."""
    standings = _with_events(data, lambda events: events.standings())
    if as_json:
        print(json.dumps([_described(standing) for standing in standings.values()], ensure_ascii=False, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not standings:
        console.print("There are no events yet; `lindos events add FILE.toml` registers some.")
        return
    table = Table("id", "title", "closes (UTC)", "state", "stands", "outcome", "calls")
    for standing in standings.values():
        event = standing.event
        calls = f"{len(standing.calls)} of {event.quorum}"
        table.add_row(
            event.id,
            event.title,
            f"{event.closes:%Y-%m-%d %H:%M}",
            standing.state,
            standing.form,
            standing.outcome,
            calls,
        )
    console.print(table)


@app.command()
def show(event_id: str, data: Data = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """One event: its record, how it stands, and what it stands by."""
    standing = _with_events(data, lambda events: events.standing(event_id))
    if as_json:
        print(json.dumps(_described(standing), ensure_ascii=False, indent=1))
        return
    from lindos.assistant.settlement import event_toml

    print(event_toml([standing.event]))
    print(
        f"# stands: {standing.form}, state {standing.state}"
        + (f", outcome {standing.outcome}" if standing.outcome else "")
    )
    for call in standing.calls:
        print(f"# call by {call.source}, seen {call.post.seen_at:%Y-%m-%d %H:%M} UTC: {call.outcome} ({call.post.uri})")
    for count in standing.counts:
        print(f"# count by {count.source}, seen {count.post.seen_at:%Y-%m-%d %H:%M} UTC: {count.words}")


@app.command()
def add(files: list[Path], data: Data = None) -> None:
    """Register the events of TOML files, or write new records of those that are registered already."""
    from lindos.assistant.settlement import read_events

    found = [event for file in files for event in read_events(file)]

    async def put(events: Events) -> list[Standing]:
        return [await events.put(event) for event in found]

    for standing in _with_events(data, put):
        print(f"{standing.event.id}: {standing.event.state}, stands {standing.form}")


@app.command("set")
def set_event(
    event_id: str,
    state: Annotated[
        str | None, typer.Option("--state", help="scheduled, open, counting, called, certified, disputed.")
    ] = None,
    outcome: Annotated[str | None, typer.Option("--outcome", help="With the states called and certified.")] = None,
    closes: Annotated[str | None, typer.Option("--closes", help="A new end, like 2031-05-04T20:00Z.")] = None,
    data: Data = None,
) -> None:
    """Change an event's state. A change that names no outcome takes an earlier one away, calls included."""
    from lindos.assistant.settlement import Event
    from lindos.specs import SpecError

    if state is None and outcome is None and closes is None:
        raise SpecError("say what to change: --state, --outcome or --closes")

    async def change(events: Events) -> Standing:
        record = (await events.registry.get(event_id)).event.model_dump()
        given = {"state": state, "closes": closes}
        fields = {
            **record,
            **{name: value for name, value in given.items() if value is not None},
            "outcome": outcome or "",
        }
        return await events.put(Event.parse(fields, where=f"event {event_id}"))

    standing = _with_events(data, change)
    print(
        f"{event_id}: {standing.state}, stands {standing.form}"
        + (f", outcome {standing.outcome}" if standing.outcome else "")
    )


@app.command()
def remove(event_id: str, data: Data = None) -> None:
    """Take an event out of the register. Its history stays in the database."""
    _with_events(data, lambda events: events.remove(event_id))
    print(f"{event_id} is no longer registered.")


@app.command()
def history(event_id: str, data: Data = None) -> None:
    """Every record that was written of an event, and when it took calls away."""
    for record in _with_events(data, lambda events: events.registry.history(event_id)):
        cleared = f", calls before {record.cleared_at:%Y-%m-%d %H:%M:%S} do not count" if record.cleared_at else ""
        outcome = f", outcome {record.event.outcome}" if record.event.outcome else ""
        print(f"{record.at:%Y-%m-%d %H:%M:%S} UTC: {record.event.state}{outcome}{cleared}")


@app.command()
def export(data: Data = None) -> None:
    """Print all events as a TOML file that `lindos events add` reads."""
    from lindos.assistant.settlement import event_toml

    print(event_toml(_with_events(data, lambda events: events.all())), end="")


def _described(standing: Standing) -> dict[str, Any]:
    from lindos.assistant.settlement import described

    return described(standing)
