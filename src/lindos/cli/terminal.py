"""Talking in the terminal: streamed, with history, and through pipes."""

from __future__ import annotations

import asyncio
import contextlib
import io
import signal
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from lindos.assistant import (
    DEFAULT_PERSONA,
    Ask,
    Assistant,
    AssistantAnswer,
    Basis,
    ChatModel,
    Events,
    Persona,
    chat_sampling,
    personas,
)
from lindos.cli.serve import Progress
from lindos.cli.source import Source
from lindos.knowledge import Posts
from lindos.specs import LindosError, Message, SpecError, nearest
from lindos.storage import Conversations, Database, StorageError, data_directory, database_location

SCRIPTS_NEED = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060"
"""Unseen characters that words are written with: hyphens where a line may end, joiners, marks of direction."""

HELP = """\
/new            begin a new conversation
/persona [ID]   list how Lindos can sound, or choose
/help           this list
/quit           leave (or Ctrl-D)
Ctrl-C          stop the answer"""


def talk(source: Source, *, persona: str | None, data: Path | None) -> int:
    """Talk until the end of the input; returns the exit status: 1 when an answer failed. Raises LindosError."""
    known = personas()
    chosen = _persona(known, persona or DEFAULT_PERSONA)
    interactive = sys.stdin.isatty()
    if interactive:  # whoever started us may have had Ctrl-C ignored, as shells do for scripts run with `&`
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with asyncio.Runner() as runner:
        session = runner.run(Session.open(source, chosen, data or data_directory(), keep=interactive))
        try:
            for line in _questions(session.say, interactive):
                if not line.startswith("/"):
                    try:
                        runner.run(session.ask(line))
                    except KeyboardInterrupt:  # a second Ctrl-C, before the first one was done with
                        session.status = 130
                        break
                elif not _command(session, known, line):
                    break
        finally:
            runner.run(session.close())
    return session.status


class Session:
    """One conversation at a time with one model. What a person typed is kept where the page finds it, too."""

    def __init__(
        self, model: ChatModel, persona: Persona, database: Database | None, say: Console, *, keep: bool
    ) -> None:
        self.persona = persona
        self.status = 0
        self.say = say
        self._model = model
        self._database = database
        posts = Posts(database) if database else None
        self._assistant = Assistant(model, personas(), posts, Events(database, posts) if database else None)
        self._store = Conversations(database) if database and keep else None
        self._kept = keep
        self._conversation: str | None = None
        self._last: int | None = None
        self._messages: list[Message] = []
        self._text = ""
        self._answering: AssistantAnswer | None = None

    @classmethod
    async def open(cls, source: Source, persona: Persona, data: Path, *, keep: bool) -> Session:
        """Load the model, and open the database where conversations are to be kept. Raises LindosError."""
        say = Console(stderr=True, highlight=False)
        try:
            place = database_location(data)
            # What comes through a pipe is nobody's history; posts and events that are there count all the same.
            wanted = keep or not isinstance(place, Path) or place.exists()
            database = await Database.open(place) if wanted else None
        except StorageError as error:
            raise LindosError(str(error)) from None
        progress = Progress(say, source.name)
        model = source.start(progress.show)
        try:
            info = await model.wait_ready()
        except BaseException:
            progress.stop()
            await model.close()
            if database:
                await database.close()
            raise
        progress.done(info)
        if keep:
            say.print("Type a question, or /help. Ctrl-D leaves.\n")
        return cls(model, persona, database, say, keep=keep)

    async def close(self) -> None:
        await self._model.close()
        if self._database:
            await self._database.close()

    def fresh(self) -> None:
        """Forget what was said."""
        self._conversation, self._last, self._messages = None, None, []
        self._kept = self._store is not None

    async def ask(self, question: str) -> None:
        """Answer a question, streamed to stdout; Ctrl-C stops it."""
        self._messages.append(Message(role="user", content=question))
        self._text, self._answering, fields = "", None, {"state": "stopped"}
        try:
            await self._keep("user", question)
            fields = {"state": "done", **await self._answer()}
        except LindosError as problem:
            fields = {"state": "failed", "error": str(problem)}
            self.status = 1
            self.say.print(f"[bold red]That did not work:[/bold red] {escape(str(problem))}")
        except asyncio.CancelledError:  # Ctrl-C: the answer ends here, the conversation goes on
            _go_on()
            self.say.print("\n[dim](stopped)[/dim]")
        self._messages.append(Message(role="assistant", content=self._text))
        try:
            await self._keep("assistant", self._text, model=self._model.info.name, basis=self._basis(), **fields)
        except asyncio.CancelledError:  # a moment too late: there is nothing left to stop
            _go_on()

    async def _answer(self) -> dict[str, Any]:
        sampling = chat_sampling(await self._model.wait_ready())  # after a death the engine is started again
        said = tuple(message for message in self._messages if message.content)
        async with await self._assistant.answer(Ask(said, persona=self.persona.id, sampling=sampling)) as answer:
            self._answering = answer
            if answer.dropped:
                self.say.print(f"[dim](the oldest {answer.dropped} messages do not fit any more)[/dim]")
            async for chunk in answer:
                print("".join(map(_harmless, chunk.text)), end="", flush=True)
                self._text += chunk.text
        print()
        self._show_sources(answer)
        usage = answer.usage
        return {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "dropped": answer.dropped,
            "finish": answer.finish or "",
        }

    def _basis(self) -> str:
        """What the words of the last answer rest on, however it ended; more may be known, and never have been said."""
        basis = self._answering.basis if self._answering is not None else Basis()
        within = tuple(one for one in basis.citations if one.end <= len(self._text))
        basis = basis.model_copy(update={"citations": within})
        return "" if basis == Basis() else basis.model_dump_json()

    def _show_sources(self, answer: AssistantAnswer) -> None:
        """Below the answer, the posts it rests on, and how much was held back."""
        basis = answer.basis
        cited = {citation.uri for citation in basis.citations}
        for source in basis.sources:
            if source.uri in cited:
                text = "".join(map(_harmless, f"{source.author}, seen {source.seen_at:%H:%M} UTC: {source.text}"))
                self.say.print(f"[dim]  {escape(' '.join(text.split()))}[/dim]")
        if basis.cut:
            count = len(basis.cut)
            self.say.print(f"[dim]  ({count} {'sentence was' if count == 1 else 'sentences were'} held back)[/dim]")

    async def _keep(self, role: str, text: str, **fields: Any) -> None:
        """Store a message, to the end also when Ctrl-C comes meanwhile, which then raises CancelledError afterwards."""
        storing = asyncio.ensure_future(self._store_message(role, text, **fields))
        try:
            await asyncio.shield(storing)
        except asyncio.CancelledError:
            await storing
            raise

    async def _store_message(self, role: str, text: str, **fields: Any) -> None:
        if self._store is None or not self._kept:
            return
        try:
            if self._conversation is None:
                self._conversation = (await self._store.create(persona=self.persona.id)).id
            row = await self._store.add(
                self._conversation, role, text, parent_id=self._last, persona=self.persona.id, **fields
            )
            self._last = row.id
        except (StorageError, LookupError) as problem:  # the second: the page deleted the conversation meanwhile
            self._kept = False
            self.say.print(f"[yellow]From here on this conversation is not kept:[/yellow] {escape(str(problem))}")


def _go_on() -> None:
    """Take back the cancellation that Ctrl-C is to an asyncio.Runner."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()


def _questions(say: Console, interactive: bool) -> Iterator[str]:
    """The lines typed or piped in, without the empty ones."""
    for stream in (sys.stdin, sys.stdout):  # what the terminal's encoding lacks must not end a conversation
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if not interactive:
        for line in sys.stdin:
            if line.strip():
                yield line.strip()
        return
    with contextlib.suppress(ImportError):  # some Pythons come without it
        import readline  # noqa: F401 - gives `input` editing and history

    interrupted = False
    while True:
        try:
            line = input("\n\x01\033[1;36m\x02you>\x01\033[0m\x02 ").strip()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            if interrupted:
                return
            interrupted = True
            say.print("\n[dim](Ctrl-C again, or /quit, leaves)[/dim]")
            continue
        interrupted = False
        if line:
            yield line


def _command(session: Session, known: dict[str, Persona], line: str) -> bool:
    """Do what a line that begins with / says; False when it says to leave."""
    name, _, argument = line[1:].partition(" ")
    match name:
        case "quit" | "exit":
            return False
        case "new":
            session.fresh()
            session.say.print("A new conversation.")
        case "help":
            session.say.print(escape(HELP))
        case "persona" if argument.strip():
            try:
                session.persona = _persona(known, argument.strip())
                session.say.print(f"From now on: {escape(session.persona.title)}.")
            except SpecError as error:
                session.say.print(escape(str(error)))
        case "persona":
            for persona in known.values():
                mark = "*" if persona is session.persona else " "
                session.say.print(escape(f"{mark} {persona.id:<12} {persona.title}. {persona.description}"))
        case _:
            session.say.print(f"There is no /{escape(name)}; /help lists what there is.")
    return True


def _persona(known: dict[str, Persona], name: str) -> Persona:
    if name not in known:
        close = nearest(name, known)
        hint = f"; did you mean '{close}'?" if close else f" (known: {', '.join(known)})"
        raise SpecError(f"there is no persona '{name}'{hint}")
    return known[name]


def _harmless(character: str) -> str:
    """Control characters could move the cursor or worse; a model has no business doing that."""
    if character in "\n\t" or character in SCRIPTS_NEED:
        return character
    return "\ufffd" if unicodedata.category(character) in ("Cc", "Cs", "Cf", "Cn") else character
