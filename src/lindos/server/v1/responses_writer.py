"""A response as it is written: its items, and the typed events that tell of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from lindos.assistant import Basis, Chunk, TokenLogprob, Usage
from lindos.assistant.model import Finish
from lindos.server.v1.evidence import Evidence, FlatCitation, citations_of
from lindos.server.v1.logprobs import chat_logprobs
from lindos.server.v1.responses_input import new_id
from lindos.server.v1.responses_replies import (
    IncompleteDetails,
    ItemStatus,
    OutputCall,
    OutputMessage,
    OutputRefusal,
    OutputSearch,
    OutputText,
    ResponseFault,
    ResponseReply,
    ResponseStatus,
    ResponseUsage,
    SearchAction,
    SearchedPlace,
    listed_tokens,
)
from lindos.server.v1.speech import MadeCall, Piece, Speech

Event = dict[str, Any]
ARGUMENTS_PIECE = 512
"""Characters of a call's arguments that an event carries."""


class ResponseWriter:
    """Turns the chunks of one answer into items and events.

    All words are one message, which stays open until the end: only then it is certain what they rest on. Calls stand
    beside it as items of their own.
    """

    def __init__(
        self, reply: ResponseReply, speech: Speech, *, query: str, sources: bool = False, logprobs: bool = False
    ) -> None:
        """`query`: what posts are searched for, if they are; `sources`, `logprobs`: whether these are to be told."""
        self.reply = reply
        self.basis: Basis | None = None
        """What the answer rests on, by the places of the text that is shown; None: it is a bare model's."""
        self._speech = speech
        self._query = query
        self._sources = sources
        self._logprobs: list[TokenLogprob] | None = [] if logprobs else None
        self._count = 0
        self._message: int | None = None
        """Where in the output the message is, once there is one."""
        self._searched = False

    def snapshot(self, *, cancelled: bool = False) -> Event:
        """The response as it stands."""
        sent = self.reply.sent()
        return {**sent, "status": "cancelled"} if cancelled else sent

    def begin(self) -> Iterator[Event]:
        """The events before the first word."""
        for name in ("response.created", "response.in_progress"):
            yield self._event(name, response=self.snapshot())

    def take(self, chunk: Chunk, basis: Basis | None) -> Iterator[Event]:
        """More of the answer."""
        yield from self._search(basis)
        refused = basis is not None and bool(basis.refused)
        said = self._speech.feed(chunk.text, refused=refused)
        if chunk.finish is not None:
            said += self._speech.end(refused=refused)
        yield from self._show(said, chunk.logprobs)

    def end(self, finish: Finish | None, usage: Usage, basis: Basis | None) -> Iterator[Event]:
        """The events before the last one."""
        # An answer that was cancelled may have no last chunk; to end a speech twice says nothing twice.
        yield from self._show(self._speech.end(refused=basis is not None and bool(basis.refused)), ())
        yield from self._search(basis)
        self._rest(basis)
        if self._message is None and not self._speech.calls:
            yield from self._open(refusal=False)
        whole = finish == "stop"
        if self._message is not None:
            yield from self._close("completed" if whole else "incomplete")
        status: ResponseStatus = "completed" if whole else "incomplete" if finish == "length" else "cancelled"
        if status == "incomplete":
            self.reply.incomplete_details = IncompleteDetails(reason="max_output_tokens")
        self._settle(status, usage)

    def fail(self, message: str, usage: Usage, basis: Basis | None) -> Iterator[Event]:
        """The events before the last one of a response that came to nothing."""
        self._rest(basis)
        yield self._event("error", code="server_error", message=message, param=None)
        self.reply.error = ResponseFault(code="server_error", message=message)
        if self._message is not None:
            self._item(self._message).status = "incomplete"
        self._settle("failed", usage)

    def last(self) -> Event:
        """The last event."""
        # There is none of its own for what was cancelled.
        name = self.reply.status if self.reply.status in ("completed", "failed") else "incomplete"
        return self._event(f"response.{name}", response=self.snapshot())

    def _rest(self, basis: Basis | None) -> None:
        """Note what the answer rests on; what was deleted since goes from one that failed, too."""
        if basis is not None:
            self.basis = self._speech.settled(basis)
            self.reply.lindos = Evidence.of(self.basis)

    def _settle(self, status: ResponseStatus, usage: Usage) -> None:
        self.reply.status = status
        self.reply.usage = ResponseUsage.of(usage)
        self.reply.completed_at = int(time.time()) if status == "completed" else None

    def _show(self, said: list[Piece | MadeCall], logprobs: tuple[TokenLogprob, ...]) -> Iterator[Event]:
        if self._logprobs is not None:
            self._logprobs += logprobs
        for one in said:
            if isinstance(one, MadeCall):
                yield from self._call(one)
            else:
                yield from self._words(one, logprobs)
                logprobs = ()

    def _words(self, piece: Piece, logprobs: tuple[TokenLogprob, ...]) -> Iterator[Event]:
        if self._message is None:
            yield from self._open(refusal=piece.refusal)
        part = self._part()
        if isinstance(part, OutputRefusal):
            part.refusal += piece.text
            yield self._of_part("response.refusal.delta", delta=piece.text)
        else:
            part.text += piece.text
            told = listed_tokens(chat_logprobs(logprobs).content) if self._logprobs is not None else []
            yield self._of_part("response.output_text.delta", delta=piece.text, logprobs=told)

    def _open(self, *, refusal: bool) -> Iterator[Event]:
        """Begin the message."""
        message = OutputMessage(id=new_id("msg"), status="in_progress", content=[])
        self._message = len(self.reply.output)
        yield self._added(message)
        message.content.append(OutputRefusal() if refusal else OutputText())
        yield self._of_part("response.content_part.added", part=self._part().model_dump())

    def _close(self, status: ItemStatus) -> Iterator[Event]:
        """End the message; now its citations are certain."""
        part = self._part()
        if isinstance(part, OutputRefusal):
            yield self._of_part("response.refusal.done", refusal=part.refusal)
        else:
            cited: list[FlatCitation] = [] if self.basis is None else citations_of(self.basis)
            for number, citation in enumerate(cited):
                part.annotations.append(citation)
                told = {"annotation_index": number, "annotation": citation.model_dump()}
                yield self._of_part("response.output_text.annotation.added", **told)
            if self._logprobs is not None:
                part.logprobs = listed_tokens(chat_logprobs(self._logprobs).content)
            yield self._of_part("response.output_text.done", text=part.text, logprobs=part.logprobs)
        yield self._of_part("response.content_part.done", part=part.model_dump())
        assert self._message is not None
        yield self._done(self._message, status)

    def _call(self, call: MadeCall) -> Iterator[Event]:
        item = OutputCall(id=new_id("fc"), call_id=call.id, name=call.name, arguments="", status="in_progress")
        place = {"item_id": item.id, "output_index": len(self.reply.output)}
        yield self._added(item)
        for at in range(0, len(call.arguments), ARGUMENTS_PIECE):
            delta = call.arguments[at : at + ARGUMENTS_PIECE]
            yield self._event("response.function_call_arguments.delta", **place, delta=delta)
        item.arguments = call.arguments
        yield self._event("response.function_call_arguments.done", **place, arguments=call.arguments)
        yield self._done(place["output_index"], "completed")

    def _search(self, basis: Basis | None) -> Iterator[Event]:
        """Tell, once, that posts were found."""
        if self._searched or basis is None or not basis.sources:
            return
        self._searched = True
        item = OutputSearch(id=new_id("ws"), status="in_progress", action=SearchAction(query=self._query or None))
        place = {"item_id": item.id, "output_index": len(self.reply.output)}
        yield self._added(item)
        for name in ("in_progress", "searching", "completed"):
            yield self._event(f"response.web_search_call.{name}", **place)
        if self._sources:
            item.action.sources = found_places(basis)
        yield self._done(place["output_index"], "completed")

    # Events.

    def _added(self, item: OutputMessage | OutputCall | OutputSearch) -> Event:
        self.reply.output.append(item)
        index = len(self.reply.output) - 1
        return self._event("response.output_item.added", output_index=index, item=item.model_dump())

    def _done(self, index: int, status: ItemStatus) -> Event:
        item = self.reply.output[index]
        item.status = status  # type: ignore[assignment]
        return self._event("response.output_item.done", output_index=index, item=item.model_dump())

    def _of_part(self, name: str, **fields: Any) -> Event:
        """An event of the message's one part."""
        assert self._message is not None
        place = {"item_id": self._item(self._message).id, "output_index": self._message, "content_index": 0}
        return self._event(name, **place, **fields)

    def _event(self, name: str, **fields: Any) -> Event:
        self._count += 1
        return {"type": name, "sequence_number": self._count - 1, **fields}

    def _item(self, index: int) -> OutputMessage:
        item = self.reply.output[index]
        assert isinstance(item, OutputMessage)
        return item

    def _part(self) -> OutputText | OutputRefusal:
        assert self._message is not None
        return self._item(self._message).content[0]


def found_places(basis: Basis) -> list[SearchedPlace]:
    """Where the posts that were found can be looked at."""
    return [SearchedPlace(url=source.url or source.uri) for source in basis.sources]
