"""Replaying a timeline: posts, edits, deletions, events and questions, each at its time, against the assistant."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lindos.assistant.answer import AssistantAnswer
from lindos.assistant.ask import Ask
from lindos.assistant.assistant import Assistant
from lindos.assistant.bundled import find_model
from lindos.assistant.engine_model import EngineChatModel
from lindos.assistant.model import ChatModel, Sampling
from lindos.assistant.persona import DEFAULT_PERSONA, personas
from lindos.assistant.scripted import scripted
from lindos.assistant.settlement import Event, Events
from lindos.knowledge import Change, Deleted, Edited, Post, Posts
from lindos.specs import Message, SpecError
from lindos.storage import Database

ANSWER_TOKENS = 512
HAPPENING = frozenset(("post", "edit", "delete", "event", "ask"))
"""What happens at a time; lines that tell nothing of these are passed over."""


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


def replay(lines: Iterable[Mapping[str, Any]], *, model: str | None = None) -> list[dict[str, Any]]:
    """`replay_lines` for callers without an event loop."""
    return asyncio.run(replay_lines(lines, model=model))


async def replay_lines(lines: Iterable[Mapping[str, Any]], *, model: str | None = None) -> list[dict[str, Any]]:
    """The answers of a timeline, in the order of its questions, each {ask_index, text, form, as_of, citations, cut}.

    Its store is its own and gone at the end. The model is the script on the first line where there is one, else that
    of the directory `model`, else the bundled one. Raises SpecError that names the line which cannot be used.
    """
    listed = list(lines)
    clock = Clock()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lindos-replay-"))
        database = await stack.enter_async_context(await Database.open(Path(folder) / "replay.db"))
        posts = Posts(database)
        events = Events(database, posts, clock)
        chat = await _model(listed, model, stack)
        assistant = Assistant(chat, personas(), posts, events, clock=clock)
        answers: list[dict[str, Any]] = []
        for number, line in enumerate(listed, 1):
            where = f"line {number}"
            if "at" not in line:
                if HAPPENING & line.keys():
                    raise SpecError(f"{where}: has no 'at', the time it happens")
                continue
            clock.set(moment(line["at"], f"{where}: at"))
            if "ask" in line:
                answers.append(await _ask(assistant, line, len(answers)))
            elif "event" in line:
                await events.put(_event(line["event"], where))
            elif (change := change_of(line, clock.now, where)) is not None:
                await posts.apply([change])
    return answers


async def _model(lines: list[Mapping[str, Any]], name: str | None, stack: AsyncExitStack) -> ChatModel:
    script = lines[0].get("model") if lines else None
    if isinstance(script, list) and name is None:
        return scripted(script)
    if name is None and not any("ask" in line for line in lines):
        return scripted([])
    chat = EngineChatModel.start(find_model(name))
    stack.push_async_callback(chat.close)
    await chat.wait_ready()
    return chat


async def _ask(assistant: Assistant, line: Mapping[str, Any], index: int) -> dict[str, Any]:
    question = line["ask"]
    if not isinstance(question, str):
        raise SpecError(f"ask {index}: the question must be a text (got {question!r})")
    known = personas()
    ask = Ask(
        messages=(Message(role="user", content=question),),
        persona=line.get("persona") if line.get("persona") in known else DEFAULT_PERSONA,  # type: ignore[arg-type]
        language=str(line.get("lang") or ""),
        sampling=Sampling(temperature=0.0, max_tokens=ANSWER_TOKENS),
    )
    answer = await assistant.answer(ask)
    async with answer:
        text = "".join([chunk.text async for chunk in answer])
    return {"ask_index": index, "text": text, **outcome_of(answer)}


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


def _event(record: Any, where: str) -> Event:
    if not isinstance(record, Mapping):
        raise SpecError(f"{where}: an event is an object (got {record!r})")
    return Event.parse({name: record[name] for name in Event.model_fields if name in record}, where=f"{where}, event")


def change_of(line: Mapping[str, Any], at: datetime, where: str) -> Change | None:
    """The change to the store that a line tells; None where it tells none."""
    for name, make in (("post", _post), ("edit", _edit), ("delete", _delete)):
        if name in line:
            record = line[name]
            if not isinstance(record, Mapping) or not isinstance(record.get("uri"), str):
                raise SpecError(f"{where}: a {name} is an object with a uri (got {record!r})")
            return make(record, at)
    return None


def _post(record: Mapping[str, Any], at: datetime) -> Post:
    links = record.get("links")
    return Post(
        source="replay",
        uri=record["uri"],
        author=str(record.get("author") or ""),
        text=str(record.get("text") or ""),
        seen_at=at,
        created_at=_claimed(record.get("created_at")),
        language=str(record.get("lang") or ""),
        links=tuple(str(link) for link in links) if isinstance(links, list) else (),
        reply_to=str(record["reply_to"]) if record.get("reply_to") else None,
    )


def _edit(record: Mapping[str, Any], at: datetime) -> Edited:
    return Edited(uri=record["uri"], text=str(record.get("text") or ""), at=at)


def _delete(record: Mapping[str, Any], at: datetime) -> Deleted:
    return Deleted(uri=record["uri"], at=at)


def _claimed(value: Any) -> datetime | None:
    """A time that a post claims; what is none is left out, as streams do."""
    try:
        return moment(value, "created_at") if value else None
    except SpecError:
        return None


def moment(value: Any, where: str) -> datetime:
    """A time: ISO 8601 (without a zone it is UTC), or seconds since 1970. Raises SpecError."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        at = datetime.fromisoformat(str(value).strip().replace("Z", "+00:00"))
    except (ValueError, OverflowError, OSError):
        raise SpecError(f"{where}: '{value}' is no time; write it like 2031-05-04T21:14:00Z") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file, empty ones left out. Raises SpecError that names the line which is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{path}, line {number}: not JSON: {error}") from None
        if not isinstance(record, dict):
            raise SpecError(f"{path}, line {number}: not an object")
        lines.append(record)
    return lines
