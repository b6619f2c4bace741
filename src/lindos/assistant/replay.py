"""Replaying a timeline: posts, edits, deletions, events and questions, each at its time, against the assistant."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lindos.assistant.answer import AssistantAnswer
from lindos.assistant.ask import Ask
from lindos.assistant.assistant import Assistant
from lindos.assistant.bundled import find_model
from lindos.assistant.engine_model import EngineChatModel
from lindos.assistant.model import ChatModel, Sampling
from lindos.assistant.persona import DEFAULT_PERSONA, Persona, personas
from lindos.assistant.routes import OpenAsker, RouteAsker, RoutedAsk, route_of, unknown
from lindos.assistant.scripted import scripted
from lindos.assistant.settlement import Events
from lindos.assistant.timeline import change_of, event_of, moment
from lindos.knowledge import Posts
from lindos.specs import Message, SpecError
from lindos.storage import Database

ANSWER_TOKENS = 512
HAPPENING = frozenset(("post", "edit", "delete", "event", "ask"))
"""What happens at a time; lines that tell nothing of these are passed over."""

log = logging.getLogger("lindos.assistant")


class Clock:
    """Stands at the time of the line that is being replayed; lines of one time follow each other by microseconds."""

    def __init__(self) -> None:
        self.now = datetime.fromtimestamp(0, UTC)
        self._line = self.now
        self._ticks = 0

    def set(self, at: datetime) -> None:
        self._ticks = self._ticks + 1 if at == self._line else 0
        self._line = at
        self.now = at + timedelta(microseconds=self._ticks)

    def __call__(self) -> datetime:
        return self.now


def replay(
    lines: Iterable[Mapping[str, Any]], *, model: str | None = None, asker: OpenAsker | None = None
) -> list[dict[str, Any]]:
    """`replay_lines` for callers without an event loop."""
    return asyncio.run(replay_lines(lines, model=model, asker=asker))


async def replay_lines(
    lines: Iterable[Mapping[str, Any]], *, model: str | None = None, asker: OpenAsker | None = None
) -> list[dict[str, Any]]:
    """The answers of a timeline, in the order of its questions, each {ask_index, text, form, as_of, citations, cut}.

    Its store is its own and gone at the end. The model is the script on the first line where there is one, else that
    of the directory `model`, else the bundled one. Questions with a route go to `asker`, over the same store and clock.
    Raises SpecError that names the line which cannot be used.
    """
    listed = list(lines)
    routes = _routes(listed, asker)
    clock = Clock()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lindos-replay-"))
        database = await stack.enter_async_context(await Database.open(Path(folder) / "replay.db"))
        posts = Posts(database)
        events = Events(database, posts, clock)
        chat = await _model(listed, model, stack)
        known = personas()
        assistant = Assistant(chat, known, posts, events, clock=clock)
        over = await stack.enter_async_context(asker(assistant, database)) if asker is not None and routes else None
        asking = _Asking(assistant, known, over)
        answers: list[dict[str, Any]] = []
        for number, line in enumerate(listed, 1):
            where = f"line {number}"
            if "at" not in line:
                if HAPPENING & line.keys():
                    raise SpecError(f"{where}: has no 'at', the time it happens")
                continue
            clock.set(moment(line["at"], f"{where}: at"))
            if "ask" in line:
                answers.append({"ask_index": len(answers), **await asking.answer(line, where)})
            elif "event" in line:
                await events.put(event_of(line["event"], where))
            elif (change := change_of(line, clock.now, where)) is not None:
                await posts.apply([change])
    return answers


def _routes(lines: list[Mapping[str, Any]], asker: OpenAsker | None) -> bool:
    """Whether questions go over routes. Raises SpecError before anything happens where nothing takes them."""
    found = False
    for number, line in enumerate(lines, 1):
        if "ask" not in line:
            continue
        if said := unknown(line):
            log.warning("line %d: %s", number, said)
        if route_of(line) is not None:
            if asker is None:
                raise SpecError(
                    f"line {number}: the route {line['route']!r} wants a server, and none was given (asker)"
                )
            found = True
    return found


async def _model(lines: list[Mapping[str, Any]], name: str | None, stack: AsyncExitStack) -> ChatModel:
    script = next((line for line in lines if line), {}).get("model")
    if isinstance(script, list) and name is None:
        return scripted(script)
    if name is None and not any("ask" in line for line in lines):
        return scripted([])
    chat = EngineChatModel.start(find_model(name))
    stack.push_async_callback(chat.close)
    await chat.wait_ready()
    return chat


@dataclass(frozen=True)
class _Asking:
    """Whom the questions of a timeline go to."""

    assistant: Assistant
    personas: Mapping[str, Persona]
    over: RouteAsker | None
    """For questions with a route."""

    async def answer(self, line: Mapping[str, Any], where: str) -> dict[str, Any]:
        """What a replay prints of the answer to a line's question, without its index."""
        question = line["ask"]
        if not isinstance(question, str):
            raise SpecError(f"{where}: the question must be a text (got {question!r})")
        persona = line.get("persona")
        if not isinstance(persona, str) or persona not in self.personas:
            persona = DEFAULT_PERSONA
        language = str(line.get("lang") or "")
        route = route_of(line)
        if route is None or self.over is None:
            return await self._directly(question, persona, language)
        more = line.get("request")
        more = more if isinstance(more, Mapping) else {}
        try:
            return await self.over(RoutedAsk(question, route, persona, language, ANSWER_TOKENS, more))
        except SpecError as error:
            raise SpecError(f"{where}: {error}") from None

    async def _directly(self, question: str, persona: str, language: str) -> dict[str, Any]:
        ask = Ask(
            messages=(Message(role="user", content=question),),
            persona=persona,
            language=language,
            sampling=Sampling(temperature=0.0, max_tokens=ANSWER_TOKENS),
        )
        answer = await self.assistant.answer(ask)
        async with answer:
            text = "".join([chunk.text async for chunk in answer])
        return {"text": text, **outcome_of(answer)}


def outcome_of(answer: AssistantAnswer) -> dict[str, Any]:
    """What an answer rests on, as a replay prints it."""
    basis = answer.basis
    texts = {source.uri: source.text for source in basis.sources}
    cited = list(dict.fromkeys(citation.uri for citation in basis.citations))
    return {
        "form": basis.form,
        "as_of": basis.as_of.strftime("%Y-%m-%dT%H:%M:%SZ") if basis.as_of else None,
        "citations": [{"uri": uri, "text": texts.get(uri, "")} for uri in cited],
        "cut": [cut.text for cut in basis.cut],
    }
