"""`lindos posts`: streams of posts into the store, and what is found there."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from lindos.specs import LindosError

if TYPE_CHECKING:
    from lindos.knowledge import Posts
    from lindos.knowledge.meaning import Meaning
    from lindos.knowledge.streams import JsonLines
    from lindos.storage import Database

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Follow what people post, import it, and search what is kept."
)
Data = Annotated[
    Path | None,
    typer.Option(help="Folder that keeps the posts, beside the conversations.", show_default="~/.local/share/lindos"),
]
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class PostsError(LindosError):
    """Something about streams or the store; the text says what."""


@app.command()
def follow(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="What to follow; see above.")],
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Another server of the same kind, for a single source.")
    ] = None,
    data: Data = None,
) -> None:
    """Follow sources until Ctrl-C; the next time they go on where they were left.

    SOURCE is `bluesky`, `bluesky-v1` (by another server: `bluesky:wss://HOST`), `mastodon:HOST` (with a token in
    LINDOS_MASTODON_TOKEN, for several `HOST=TOKEN HOST=TOKEN`), `feed:URL` or a plain http address, `hackernews`, or
    `file:PATH`. Several are followed together.
    """
    from lindos.cli.posts_telling import Telling
    from lindos.knowledge.streams import StreamError, parse_source, parse_sources
    from lindos.knowledge.streams import follow as run

    if url is not None and len(sources) > 1:
        raise PostsError("--url says where one source is; give one source with it")
    try:
        streams = [parse_source(sources[0], url=url)] if url else parse_sources(sources)
    except StreamError as error:
        raise PostsError(str(error)) from None
    console = Console(stderr=True, highlight=False)

    async def main() -> None:
        async with _store(data) as posts:
            console.print("Ctrl-C ends it; the next time it goes on from there.")
            try:
                async with Telling(console, streams) as telling:
                    await run(posts, streams, telling.news)
            finally:
                console.print(f"{await posts.count():,} posts are kept.")

    _run(main())


@app.command(name="import")
def import_files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="JSONL files.")],
    again: Annotated[bool, typer.Option(help="Read from the beginning, not from where the last import ended.")] = False,
    keep_times: Annotated[
        bool, typer.Option(help="Believe the files when posts were seen, as for an export of our own.")
    ] = False,
    data: Data = None,
) -> None:
    """Import posts from JSONL files; an import that was ended goes on where it was.

    A line is {"uri", "author", "text"} with, if known, "created_at", "handle", "language", "links", "reply_to"; or a
    replay's {"post": {...}}, {"edit": {"uri", "text"}}, {"delete": {"uri"}}; or an event of Jetstream v1.
    """
    from lindos.cli.posts_telling import Importing
    from lindos.knowledge.streams import JsonLines
    from lindos.knowledge.streams import follow as run
    from lindos.specs import SpecError

    for path in files:
        if not path.is_file():
            raise SpecError(f"there is no file '{path}'")
    streams = [JsonLines(path, again=again, keep_times=keep_times) for path in dict.fromkeys(files)]
    console = Console(stderr=True, highlight=False)

    async def main() -> None:
        async with _store(data) as posts:
            try:
                async with Importing(console, streams) as importing:
                    await run(posts, streams, importing.news)
            finally:
                console.print(f"{await posts.count():,} posts are kept.")

    _run(main())
    if not any(_worth(stream) for stream in streams):
        raise PostsError("no line of that is a post")


def _worth(stream: JsonLines) -> bool:
    return stream.counters.received == 0 or stream.counters.received > stream.counters.malformed


@app.command()
def search(
    words: Annotated[list[str] | None, typer.Argument(help="Words to look for; none: the latest posts.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Seen since: a time (UTC), or 30m, 2h, 7d.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Seen before.")] = None,
    author: Annotated[
        list[str] | None, typer.Option(help="A handle, an author's id or a domain; may be given again.")
    ] = None,
    language: Annotated[str, typer.Option(help="As posts claim it, such as en.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
    meaning: Annotated[
        bool,
        typer.Option(
            "--meaning/--no-meaning", help="Find posts by what they mean, too, as far as a server made vectors of them."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON a post, as `import` takes it.")] = False,
    data: Data = None,
) -> None:
    """Search the posts that are kept: the best first, or the latest where no words are given."""
    from lindos.cli.posts_telling import show_hits
    from lindos.knowledge import PostQuery
    from lindos.knowledge.streams import exported

    query = PostQuery(
        text=" ".join(words or []),
        since=_moment(since, "--since"),
        until=_moment(until, "--until"),
        authors=tuple(author or ()),
        language=language,
        limit=limit,
    )

    async def main() -> None:
        async with _store(data, meaning=meaning) as posts:
            hits = await posts.search(query)
        if as_json:
            for hit in hits:
                typer.echo(exported(hit.post))
        else:
            show_hits(Console(highlight=False), hits)

    _run(main())


@app.command()
def status(data: Data = None) -> None:
    """Say how many posts are kept, and where each stream was left."""
    from lindos.cli.posts_telling import show_streams

    async def main() -> None:
        async with _store(data) as posts:
            show_streams(Console(highlight=False), await posts.count(), await posts.cursors())

    _run(main())


@app.command()
def compact(data: Data = None) -> None:
    """Bring the index of words into order, and what deleted posts left in it off the disk. Takes seconds."""

    async def main() -> None:
        async with _store(data) as posts:
            await posts.compact()
            Console(highlight=False).print(f"{await posts.count():,} posts are in order.")

    _run(main())


@asynccontextmanager
async def _store(data: Path | None, *, meaning: bool = False) -> AsyncIterator[Posts]:
    from lindos.knowledge import Posts
    from lindos.storage import Database, data_directory, database_location

    async with await Database.open(database_location(data or data_directory())) as database:
        yield Posts(database, meaning=await _loaded(database) if meaning else None)


async def _loaded(database: Database) -> Meaning:
    """The vectors that are there. Raises PostsError."""
    from lindos.knowledge.embedding import Embedder, EmbeddingsMissingError, embedding_files
    from lindos.knowledge.meaning import Meaning

    try:
        meaning = Meaning(database, Embedder(embedding_files()))
    except EmbeddingsMissingError as error:
        raise PostsError(str(error)) from None
    await meaning.load()
    return meaning


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Do it until it is done or a signal ends it. Raises PostsError."""
    from lindos.knowledge.streams import StreamError
    from lindos.storage import StorageError

    async def main() -> None:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # Windows has no signals here; Ctrl-C arrives as it used to
                loop.add_signal_handler(number, task.cancel)
        await task

    try:
        asyncio.run(main())
    except (asyncio.CancelledError, KeyboardInterrupt):
        return
    except (StreamError, StorageError) as error:
        raise PostsError(str(error)) from None


def _moment(text: str | None, option: str) -> datetime | None:
    """A time as people write it: `2026-07-04`, `2026-07-04T12:30`, or how long ago, `2h`."""
    if text is None:
        return None
    ago = re.fullmatch(r"(\d{1,6})([mhdw])", text.strip())
    try:
        if ago:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        at = datetime.fromisoformat(text.strip())
        return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).astimezone(UTC)
    except (ValueError, OverflowError):
        raise PostsError(f"{option}: '{text}' is no time; write 2026-07-04, 2026-07-04T12:30 or 2h") from None
