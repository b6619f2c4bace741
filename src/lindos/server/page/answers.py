"""Answers under way on the page: written, saved as they grow, watched by any number of readers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from typing import Any, Literal

from lindos.assistant import Ask, Assistant, AssistantAnswer, Basis, EngineError
from lindos.server.errors import public_words
from lindos.server.page.basis import basis_view, kept, places
from lindos.server.page.blocks import GrowingText, changes
from lindos.server.page.shown import anchor
from lindos.server.settings import Settings
from lindos.server.sse import finish
from lindos.specs import LindosError
from lindos.storage import Conversations, State, StorageError

log = logging.getLogger("lindos.server")

FASTEST_SECONDS = 0.04
"""Between two patches to one reader: as often as an eye can tell."""
RENDER_SHARE = 4
"""A patch is followed by this many times its own rendering time of rest, so that long answers stay cheap."""

Ending = Literal["stopped", "interrupted"]


class Run:
    """One answer under way. It ends by itself, by `stop`, or when nobody has watched it for a while."""

    def __init__(self, message_id: int, conversation_id: str, settings: Settings, conversations: Conversations) -> None:
        self.message_id = message_id
        self.conversation_id = conversation_id
        self.text = ""
        self.tokens = 0
        self.unsaved = False
        """Whether its last words are nowhere but here."""
        self.task: asyncio.Task[None] | None = None
        self._settings = settings
        self._conversations = conversations
        self._growing = GrowingText(anchor(message_id))
        self._rendered: tuple[str, Basis | None] = ("", None)
        self._render_seconds = 0.0
        self._answer: AssistantAnswer | None = None
        self._ending: Ending | None = None
        self._left = False
        """Whether it ended because nobody watched."""
        self._ended = asyncio.Event()
        self._watchers: set[asyncio.Event] = set()
        self._leaving: asyncio.TimerHandle | None = None
        self._first_at: float | None = None
        self._saved_at = time.monotonic()

    @property
    def basis(self) -> Basis:
        """What its text so far rests on: more may be known already, and never be written."""
        basis = self._answer.basis if self._answer is not None else Basis()
        within = tuple(one for one in basis.citations if one.end <= len(self.text))
        return basis if len(within) == len(basis.citations) else basis.model_copy(update={"citations": within})

    # Writing.

    async def write(self, assistant: Assistant, ask: Ask) -> None:
        """Have the assistant answer, and keep what it wrote however that ends."""
        fields: dict[str, Any] = {}
        state: State = "interrupted"
        try:
            state, fields = await self._write(assistant, ask)
        except asyncio.CancelledError:
            state = self._ending or "interrupted"
        except LindosError as error:
            state, fields = "failed", {"error": public_words(error)}
        except Exception:
            log.exception("an answer failed")
            state, fields = "failed", {"error": "Something went wrong in the server; its log says more."}
        finally:
            await asyncio.shield(self._end(state, fields))

    async def _write(self, assistant: Assistant, ask: Ask) -> tuple[State, dict[str, Any]]:
        async with await assistant.answer(ask) as answer:
            self._answer = answer
            self._tell()  # sources may be known before the first word is
            if self._ending:
                answer.cancel()
            try:
                async for chunk in answer:
                    self._take(chunk.text, chunk.tokens)
                    await self._save_now_and_then()
                fault = None
            except EngineError as error:
                fault = public_words(error)
        fields: dict[str, Any] = {
            "prompt_tokens": answer.usage.prompt_tokens,
            "completion_tokens": answer.usage.completion_tokens,
            "dropped": answer.dropped,
            "finish": answer.finish or "",
            "error": fault or "",
        }
        if answer.timing and answer.timing.first_token is not None:
            fields["seconds"] = answer.timing.total - answer.timing.first_token
        if self._ending and answer.finish not in ("stop", "length"):  # else it had ended by itself just before
            return self._ending, {**fields, "finish": "left" if self._left else fields["finish"], "error": ""}
        return ("failed" if fault else "done"), fields

    def _take(self, text: str, tokens: int) -> None:
        if self._first_at is None and tokens:
            self._first_at = time.monotonic()
        self.text += text
        self.tokens += tokens
        self._tell()

    async def _save_now_and_then(self) -> None:
        if time.monotonic() - self._saved_at < self._settings.save_seconds:
            return
        try:
            # The state again: another server that starts on this database takes the answer for an interrupted one.
            await self._conversations.write(self.message_id, content=self.text, basis=kept(self.basis), state="writing")
        except StorageError as error:
            log.error("an answer could not be saved as it grows: %s", error)
        self._saved_at = time.monotonic()

    async def _end(self, state: State, fields: dict[str, Any]) -> None:
        try:
            await self._conversations.write(
                self.message_id, content=self.text, basis=kept(self.basis), state=state, **fields
            )
        except StorageError as error:
            # The next start of a server calls it interrupted, with what was saved last.
            log.error("an answer could not be saved: %s", error)
            self.unsaved = True
        finally:
            self._ended.set()
            self._tell()
            if self._leaving is not None:
                self._leaving.cancel()

    # Ending.

    def stop(self, ending: Ending = "stopped") -> None:
        """End soon; what was written stays."""
        self._ending = self._ending or ending
        if self._answer is not None:
            self._answer.cancel()

    async def wait(self) -> None:
        """Wait until it ended and was saved."""
        await self._ended.wait()

    # Watching.

    async def follow(self) -> AsyncGenerator[dict[str, Any], None]:
        """What a page that shows nothing of it yet has to do, until the end: patches {blocks, count, speed}.

        Where what it rests on grew since the last patch, that stands in the patch too, as `basis`.
        """
        news = asyncio.Event()
        self._arrive(news)
        shown: tuple[str, ...] = ()
        told: Basis = Basis()
        try:
            while True:
                news.clear()
                ended = self._ended.is_set()
                basis = self.basis
                blocks = self._render(basis, final=ended)
                if blocks != shown or basis != told:
                    patch = {"blocks": changes(shown, blocks), "count": len(blocks), "speed": self._speed()}
                    yield patch | _grown(told, basis)
                    shown, told = blocks, basis
                if ended:
                    return
                await news.wait()
                await self._rest()
        finally:
            self._leave(news)

    def _render(self, basis: Basis, *, final: bool) -> tuple[str, ...]:
        if final:
            self._growing.settle(self.text, places(basis))
        elif self._rendered != (self.text, basis):
            started = time.perf_counter()
            self._growing.grow(self.text, places(basis))
            self._render_seconds = time.perf_counter() - started
        self._rendered = (self.text, basis)
        return self._growing.blocks

    async def _rest(self) -> None:
        """Let a few tokens gather, unless it ended."""
        pause = max(FASTEST_SECONDS, RENDER_SHARE * self._render_seconds)
        ended = asyncio.ensure_future(self._ended.wait())
        await asyncio.wait({ended}, timeout=pause)
        await finish(ended)

    def _speed(self) -> float | None:
        seconds = time.monotonic() - self._first_at if self._first_at else 0.0
        return round((self.tokens - 1) / seconds, 1) if seconds > 0.2 and self.tokens > 1 else None

    def _tell(self) -> None:
        for news in self._watchers:
            news.set()

    def _arrive(self, news: asyncio.Event) -> None:
        self._watchers.add(news)
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def _leave(self, news: asyncio.Event) -> None:
        self._watchers.discard(news)
        if not self._watchers:
            self.linger()

    def linger(self) -> None:
        """Nobody watches: stop in a while, unless somebody comes."""
        if not self._ended.is_set():
            self._leaving = asyncio.get_running_loop().call_later(self._settings.linger_seconds, self._abandon)

    def _abandon(self) -> None:
        self._left = self._ending is None
        self.stop()


def _grown(told: Basis, basis: Basis) -> dict[str, Any]:
    view = basis_view(basis)
    return {"basis": view.model_dump(mode="json")} if view is not None and basis != told else {}


class Answers:
    """All answers under way."""

    def __init__(self, settings: Settings, conversations: Conversations) -> None:
        self._settings = settings
        self._conversations = conversations
        self._runs: dict[int, Run] = {}

    def start(self, assistant: Assistant, message_id: int, conversation_id: str, ask: Ask) -> Run:
        """Have the assistant answer into the stored message `message_id`."""
        run = Run(message_id, conversation_id, self._settings, self._conversations)
        self._runs[message_id] = run
        run.linger()
        run.task = asyncio.create_task(run.write(assistant, ask))
        run.task.add_done_callback(lambda _: self._runs.pop(message_id, None))
        return run

    def get(self, message_id: int) -> Run | None:
        """The answer under way into this message, if one is."""
        return self._runs.get(message_id)

    async def stop_conversation(self, conversation_id: str) -> None:
        """Stop every answer of a conversation and wait until they ended."""
        for run in [run for run in self._runs.values() if run.conversation_id == conversation_id]:
            run.stop()
            await run.wait()

    async def close(self) -> None:
        """Interrupt all answers, as the server ends; returns when what was written is saved."""
        runs = list(self._runs.values())
        for run in runs:
            run.stop("interrupted")
        for run in runs:
            await run.wait()
