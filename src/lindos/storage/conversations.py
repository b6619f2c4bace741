"""Conversations kept in the database: made, found, branched, written into."""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from lindos.storage.database import Database
from lindos.storage.tables import ConversationRow, MessageRow

TITLE_LENGTH = 60


class NotFound(LookupError):  # noqa: N818 - an answer to a question, not a fault
    """There is no such conversation or message."""


@dataclass(frozen=True)
class Thread:
    """A conversation as it is shown: one branch of its tree of messages."""

    conversation: ConversationRow
    messages: tuple[MessageRow, ...]
    """The branch, oldest first."""
    versions: dict[int, tuple[int, ...]]
    """For each message of the branch, the ids of all versions of it (itself included), oldest first."""


class Conversations:
    """What the pages and the terminal keep. Every method is one transaction; NotFound when an id is unknown."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Conversations.

    async def create(self, *, persona: str = "", title: str = "") -> ConversationRow:
        row = ConversationRow(id=secrets.token_hex(16), persona=persona, title=_clean(title), folded=fold(title))
        async with self._database.write() as session:
            session.add(row)
        return row

    async def find(self, query: str = "", *, limit: int = 50, offset: int = 0) -> list[ConversationRow]:
        """The latest conversations; with a query those whose title, or one of whose messages, holds all its words."""
        statement = select(ConversationRow)
        words = fold(query).split()
        if words:
            in_title = and_(*(ConversationRow.folded.contains(word, autoescape=True) for word in words))
            in_message = exists().where(
                MessageRow.conversation_id == ConversationRow.id,
                *(MessageRow.folded.contains(word, autoescape=True) for word in words),
            )
            statement = statement.where(or_(in_title, in_message))
        statement = statement.order_by(ConversationRow.updated_at.desc(), ConversationRow.id)
        async with self._database.read() as session:
            return list(await session.scalars(statement.limit(limit).offset(offset)))

    async def get(self, conversation_id: str) -> ConversationRow:
        async with self._database.read() as session:
            return await _conversation(session, conversation_id)

    async def change(
        self, conversation_id: str, *, title: str | None = None, persona: str | None = None
    ) -> ConversationRow:
        async with self._database.write() as session:
            row = await _conversation(session, conversation_id)
            if title is not None:
                row.title, row.folded = _clean(title), fold(title)
            if persona is not None:
                row.persona = persona
            return row

    async def delete(self, conversation_id: str) -> None:
        async with self._database.write() as session:
            row = await _conversation(session, conversation_id)
            await session.execute(delete(MessageRow).where(MessageRow.conversation_id == conversation_id))
            await session.delete(row)

    # Messages.

    async def message(self, message_id: int) -> MessageRow:
        async with self._database.read() as session:
            return await _message(session, message_id)

    async def thread(self, conversation_id: str) -> Thread:
        """The branch that is shown."""
        async with self._database.read() as session:
            row = await _conversation(session, conversation_id)
            tree = await _tree(session, conversation_id)
        return _branch(row, tree, row.leaf_id)

    async def branch(self, message_id: int) -> Thread:
        """The branch that ends with this message, whichever is shown."""
        async with self._database.read() as session:
            row = await _conversation(session, (await _message(session, message_id)).conversation_id)
            tree = await _tree(session, row.id)
        return _branch(row, tree, message_id)

    async def add(
        self, conversation_id: str, role: str, content: str = "", *, parent_id: int | None = None, **fields: Any
    ) -> MessageRow:
        """A new message after `parent_id` (None: a first one); the branch shown then ends with it.

        `fields` are further columns of MessageRow. A conversation without a title takes it from its first question.
        Raises ValueError when the parent is of another conversation, or of the same role.
        """
        content = _clean(content)
        async with self._database.write() as session:
            conversation = await _conversation(session, conversation_id)
            parent = None if parent_id is None else await _message(session, parent_id)
            before = parent.role if parent else "assistant"
            if (parent and parent.conversation_id != conversation_id) or before == role:
                raise ValueError(f"message {parent_id} cannot be answered by the {role} here")
            row = MessageRow(
                conversation_id=conversation_id,
                parent_id=parent_id,
                role=role,
                content=content,
                folded=fold(content),
                **fields,
            )
            session.add(row)
            await session.flush()
            conversation.leaf_id, conversation.updated_at = row.id, row.created_at
            if not conversation.title and role == "user":
                conversation.title = title_of(content)
                conversation.folded = fold(conversation.title)
        return row

    async def write(self, message_id: int, **fields: Any) -> None:
        """Change columns of a message, as its answer grows or ends. A message that was deleted meanwhile stays so."""
        if "content" in fields:
            fields["content"] = _clean(fields["content"])
            fields["folded"] = fold(fields["content"])
        async with self._database.write() as session:
            await session.execute(update(MessageRow).where(MessageRow.id == message_id).values(**fields))

    async def show(self, message_id: int) -> Thread:
        """Show the branch through this message: down to its newest descendant."""
        async with self._database.write() as session:
            message = await _message(session, message_id)
            conversation = await _conversation(session, message.conversation_id)
            tree = await _tree(session, message.conversation_id)
            newest_child = {row.parent_id: row.id for row in tree}  # in order of ids, so the last one stays
            leaf = message_id
            while leaf in newest_child:
                leaf = newest_child[leaf]
            conversation.leaf_id = leaf
        return _branch(conversation, tree, leaf)

    async def recover(self) -> int:
        """Mark answers that were under way when a server ended as interrupted; returns how many there were."""
        async with self._database.write() as session:
            result = await session.execute(
                update(MessageRow).where(MessageRow.state == "writing").values(state="interrupted")
            )
            return result.rowcount  # type: ignore[attr-defined]


async def _conversation(session: AsyncSession, conversation_id: str) -> ConversationRow:
    row = await session.get(ConversationRow, conversation_id)
    if row is None:
        raise NotFound(f"there is no conversation '{conversation_id}'")
    return row


async def _message(session: AsyncSession, message_id: int) -> MessageRow:
    # Beyond their size of integers the drivers raise; such a number is simply unknown.
    row = await session.get(MessageRow, message_id) if abs(message_id) < 2**31 else None
    if row is None:
        raise NotFound(f"there is no message {message_id}")
    return row


async def _tree(session: AsyncSession, conversation_id: str) -> list[MessageRow]:
    statement = select(MessageRow).where(MessageRow.conversation_id == conversation_id).order_by(MessageRow.id)
    return list(await session.scalars(statement))


def _branch(conversation: ConversationRow, tree: list[MessageRow], leaf: int | None) -> Thread:
    by_id = {row.id: row for row in tree}
    path: list[MessageRow] = []
    while leaf is not None:
        path.append(by_id[leaf])
        leaf = by_id[leaf].parent_id
    path.reverse()
    children: dict[int | None, list[int]] = {}
    for row in tree:
        children.setdefault(row.parent_id, []).append(row.id)
    return Thread(conversation, tuple(path), {row.id: tuple(children[row.parent_id]) for row in path})


def fold(text: str) -> str:
    """Text as search compares it: without case and accents, so that "cafe" finds "Café"."""
    # Taking letters apart can bring capitals to light (a mathematical A), and folding case whole letters.
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", _clean(text)).casefold())
    return "".join(c for c in plain if not unicodedata.combining(c))


def title_of(text: str) -> str:
    """A title from the first words of a message."""
    words = " ".join(text.split())
    if len(words) <= TITLE_LENGTH:
        return words
    cut = words[: TITLE_LENGTH - 1]
    return (cut[: cut.rfind(" ")] if " " in cut[TITLE_LENGTH // 2 :] else cut) + "…"


def _clean(text: str) -> str:
    """What every database takes: no NUL, no half of a surrogate pair."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
