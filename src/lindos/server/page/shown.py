"""Messages as they may be shown now: stored answers are looked at again whenever somebody sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lindos.assistant import Assistant, Basis, Standing
from lindos.server.page.basis import basis_view, kept, mark, places, unkept, with_graves
from lindos.server.page.markdown import blocks
from lindos.server.page.views import ConversationView, MessageView, Summary, speed
from lindos.storage import Conversations, MessageRow, Thread


@dataclass(frozen=True)
class Looked:
    """An answer, looked at again."""

    text: str
    basis: Basis
    """With places in `text`; the sources are those of before, in their old order."""
    standing: Standing | None = None
    """None where nothing can have become of it."""

    @property
    def mark(self) -> str:
        return mark(self.standing) if self.standing else ""


class Shown:
    """What the page is shown of stored messages."""

    def __init__(self, assistant: Assistant, conversations: Conversations) -> None:
        self._assistant = assistant
        self._conversations = conversations

    async def look(self, row: MessageRow) -> Looked:
        """An answer as it may be shown now. The words of posts that are gone since go from the database as well."""
        basis = unkept(row.basis)
        if not basis.sources and not basis.events:
            return Looked(row.content, basis)
        standing = await self._assistant.standing(row.content, basis)
        looked = Looked(standing.text, with_graves(basis, standing), standing)
        if standing.deleted and row.state != "writing":
            await self._forget(row, looked)
        return looked

    async def _forget(self, row: MessageRow, looked: Looked) -> None:
        column = kept(looked.basis)
        if (looked.text, column) != (row.content, row.basis):
            await self._conversations.write(row.id, content=looked.text, basis=column)

    async def message(self, row: MessageRow, versions: Sequence[int] = ()) -> MessageView:
        """One turn."""
        looked = await self.look(row) if row.role == "assistant" else Looked(row.content, Basis())
        fields = {name: getattr(row, name) for name in MessageView.model_fields if hasattr(row, name)}
        html = blocks(looked.text, places(looked.basis), anchor(row.id)) if row.role == "assistant" else ()
        return MessageView.model_validate(
            {
                **fields,
                "text": looked.text,
                "blocks": list(html),
                "basis": basis_view(looked.basis, looked.standing),
                "mark": looked.mark,
                "versions": list(versions) or [row.id],
                "speed": speed(row.completion_tokens, row.seconds),
            }
        )

    async def thread(self, thread: Thread) -> ConversationView:
        """A conversation with the branch that is shown."""
        messages = [await self.message(row, thread.versions[row.id]) for row in thread.messages]
        return ConversationView(**Summary.of(thread.conversation).model_dump(), messages=messages)

    async def marks(self, thread: Thread) -> dict[int, str]:
        """Of every answer that rests on something and has ended: what `MessageView.mark` would be."""
        ended = [row for row in thread.messages if row.basis and row.state != "writing"]
        return {row.id: (await self.look(row)).mark for row in ended}


def anchor(message_id: int) -> str:
    """What the names of a message's sources on the page begin with."""
    return f"source-{message_id}"
