"""Writing a response: from the question to what is kept, whatever ends it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from lindos.assistant import EngineError, Usage
from lindos.server.errors import as_api_error
from lindos.server.service import Service
from lindos.server.underway import Run
from lindos.server.v1.choices import Submit, submitted
from lindos.server.v1.responses_input import Item
from lindos.server.v1.responses_writer import Event, ResponseWriter
from lindos.server.v1.speech import Spoken, basis_of
from lindos.storage import StorageError, StoredResponse

log = logging.getLogger("lindos.server")


class ResponseRun:
    """One response, from before its first word until it is kept."""

    def __init__(
        self, service: Service, writer: ResponseWriter, submit: Submit, asked: list[Item], *, streamed: bool
    ) -> None:
        """`streamed`: whether its reader knows its name before it ends, and can look at one that has failed."""
        self._service = service
        self._writer = writer
        self._submit = submit
        self._asked = asked
        self._streamed = streamed
        self.fault: EngineError | StorageError | None = None
        """Why it failed."""
        self._run = Run(self._snapshot, asked, writer.reply.store)

    @property
    def writer(self) -> ResponseWriter:
        return self._writer

    async def events(self) -> AsyncGenerator[Event, None]:
        """Write it, telling what happens. Raises what `submit` raises; to be closed by its reader (`aclosing`)."""
        name = self._writer.reply.id
        try:
            async with submitted(self._submit, 1) as answers:
                answer = answers[0]
                self._run.stop = answer.cancel
                self._service.under_way[name] = self._run
                kept = False
                try:
                    async with aclosing(self._written(answer)) as events:
                        async for event in events:
                            yield event
                    last = await self._ended(answer)
                    kept = True
                    for event in last:
                        yield event
                finally:
                    if not kept:
                        await asyncio.shield(self._left(answer))
        finally:
            self._service.under_way.pop(name, None)
            self._run.ended.set()

    async def _written(self, answer: Spoken) -> AsyncGenerator[Event, None]:
        for event in self._writer.begin():
            yield event
        try:
            async for chunk in answer:
                for event in self._writer.take(chunk, basis_of(answer)):
                    yield event
        except EngineError as error:
            self.fault = error

    async def _ended(self, answer: Spoken) -> list[Event]:
        """The last events, once the response is kept."""
        usage = await answer.wait()
        if self.fault is not None:
            last = list(self._failed(answer, usage))
        else:
            last = list(self._writer.end(answer.finish, usage, basis_of(answer)))
        try:
            await self._keep()
        except StorageError as error:
            self.fault = error
            last += self._failed(answer, usage)
        return [*last, self._writer.last()]

    async def _left(self, answer: Spoken) -> None:
        """Keep what there is of an answer whose reader is gone."""
        answer.cancel()
        usage = await answer.wait()
        if self._writer.reply.status == "in_progress":
            list(self._writer.end("cancelled", usage, basis_of(answer)))
        try:
            await self._keep()
        except StorageError as error:
            log.error("a response whose reader had left could not be kept: %s", error)

    def _failed(self, answer: Spoken, usage: Usage) -> Iterator[Event]:
        assert self.fault is not None
        return self._writer.fail(as_api_error(self.fault).body["error"]["message"], usage, basis_of(answer))

    async def _keep(self) -> None:
        if not self._run.stored or (self.fault is not None and not self._streamed):
            return
        reply, basis = self._writer.snapshot(), self._writer.basis
        output = reply.pop("output")
        response = StoredResponse(
            id=reply["id"],
            previous_id=reply["previous_response_id"],
            body=reply,
            input=tuple(self._asked),
            output=tuple(output),
            basis="" if basis is None else basis.model_dump_json(),
        )
        await self._service.responses.put(response)

    def _snapshot(self) -> Event:
        return self._writer.snapshot(cancelled=self._run.cancelled and not self._run.ended.is_set())
