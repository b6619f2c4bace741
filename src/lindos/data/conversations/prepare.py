"""Fine-tuning conversations: from a file that lists kinds and sources to a data set with masks (assistant turns only).

Own templates speak in the voice of the product; what people wrote elsewhere is shortened and cleaned. Everything is
drawn with seeded generators, so the same file, sources and tokenizer give the same data set.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from rich.console import Console

from lindos.data.conversations import asked, dialogue, lookup
from lindos.data.conversations.filter import Filter, Made
from lindos.data.conversations.own import own_conversation
from lindos.data.conversations.tales import quoted, tale
from lindos.data.conversations.voice import SYSTEM, Exchange, VoiceName, pick, vary, voice_table
from lindos.data.errors import DataError
from lindos.data.files import read_rows
from lindos.data.gather import Tally, progress_bar
from lindos.data.harvest import place
from lindos.data.mix import KeepOut
from lindos.data.readers.base import Row
from lindos.data.shards import DatasetWriter, Meta, ShardWriter
from lindos.specs import Message, Spec, nearest, read_table
from lindos.text import ByteLevelTokenizer, chat_template, load_tokenizer

OWN: dict[str, Callable[[random.Random, VoiceName], tuple[str, list[Exchange]]]] = {
    "own": own_conversation,
    "tale": tale,
    "quoted": quoted,
}
READ: dict[str, Callable[[Iterable[Row], random.Random], Iterator[list[Exchange]]]] = {
    "glossary": lookup.glossary,
    "dictionary": lookup.dictionary,
    "countries": lookup.countries,
    "instructions": asked.instructions,
    "threads": asked.threads,
    "trivia": asked.trivia,
    "tasks": asked.tasks,
    "bookings": dialogue.bookings,
    "short-stories": dialogue.short_stories,
}

BOOKING_SYSTEM = "You are Lindos, working as a booking assistant. Be clear and sober."


class ChatSource(Spec):
    """One kind of conversation: made by own templates (no path) or read from a file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    group: str = Field(default="chat", pattern=r"^[a-z0-9][a-z0-9_-]*$")
    maker: str
    """One of `OWN` (no path) or `READ` (with a path)."""
    path: str = ""
    """Relative to the data root."""
    count: int = Field(gt=0)
    """At most this many conversations."""
    licence: str = ""
    attribution: str = ""

    @field_validator("maker")
    @classmethod
    def _known(cls, maker: str) -> str:
        known = [*OWN, *READ]
        if maker not in known:
            close = nearest(maker, known)
            raise ValueError(f"unknown maker '{maker}'" + (f"; did you mean '{close}'?" if close else ""))
        return maker


class ChatMix(Spec):
    """A whole conversations file."""

    name: str
    seed: int = 1
    heldout: float = Field(default=0.01, ge=0, lt=0.5)
    longest_answer: int = Field(default=200, gt=0)
    """Conversations with an answer of more tokens are left out."""
    longest: int = Field(default=512, gt=0)
    """Conversations of more tokens are left out."""
    keep_out: KeepOut | None = None
    questions: str = ""
    """A TOML file whose `question` table's `ask` lines no conversation may contain; relative to this file."""
    source: tuple[ChatSource, ...] = Field(min_length=1)


def load_chat_mix(path: Path) -> ChatMix:
    """Read a conversations file (TOML). Raises SpecError."""
    return ChatMix.parse(read_table(path), where=str(path))


def prepare_conversations(
    config: Path, out: Path, tokenizer_dir: Path, root: Path, *, console: Console | None = None
) -> Meta:
    """Make the data set `out` of the conversations file `config`; sources lie under `root`.

    Raises DataError, and SpecError for a file that cannot be understood.
    """
    console = console or Console(stderr=True)
    mix = load_chat_mix(config)
    tokenizer = load_tokenizer(tokenizer_dir)
    if not isinstance(tokenizer, ByteLevelTokenizer):
        raise DataError(f"{tokenizer_dir}: conversations need a byte-level tokenizer with role tokens")
    template = chat_template(tokenizer, "chat")
    for source in mix.source:
        if source.path and not (root / source.path).is_file():
            raise DataError(f"{root / source.path}: no such file (source '{source.name}'); is --root right?")
    with console.status("hashing the evaluations to keep out"):
        check = Filter.made(mix.keep_out, root, config.parent / mix.questions if mix.questions else None)
    tallies = []
    with (
        DatasetWriter(out, name=mix.name, vocabulary=tokenizer.vocabulary) as writer,
        progress_bar(console) as progress,
    ):
        heldout = {source.group: writer.part(f"heldout/{source.group}", masked=True) for source in mix.source}
        seen: set[bytes] = set()
        for source in mix.source:
            line = progress.add_task(source.name, total=source.count)
            tally = Tally(source.name, source.group, source.licence, source.attribution, 1.0)
            shard = writer.part(source.name, masked=True)
            for made in check.kept(conversations_of(source, mix.seed, root), tally, seen):
                tokens, counted = template.training(made.messages, sources=source.maker == "quoted")
                if _too_long(tokens, counted, mix):
                    tally.dropped["too long"] += 1
                    continue
                _add(shard, heldout[source.group], tokens, counted, made, mix, tally)
                progress.update(line, completed=shard.documents + tally.heldout_documents)
                if shard.documents + tally.heldout_documents >= source.count:
                    break
            writer.keep(shard.close(name=source.name, group=source.group, split="train", packing="whole"))
            tally.documents, tally.tokens, tally.text_bytes = shard.documents, shard.tokens, shard.text_bytes
            tallies.append(tally)
        for group, part in heldout.items():
            writer.keep(part.close(name=f"heldout-{group}", group=group, split="heldout", packing="whole"))
        return writer.finish(tokenizer.source, _report(mix, tallies, check))


def conversations_of(source: ChatSource, seed: int, root: Path) -> Iterator[Made]:
    """The source's conversations in the order of a seeded generator, unfiltered; own ones without end."""
    rng = random.Random(f"{seed}/{source.name}")
    if source.maker in OWN:
        while True:
            voice, system = _voice(rng, (45, 33, 22))
            kind, exchanges = OWN[source.maker](rng, voice)
            yield Made(_messages(exchanges, system), kind)
    rows = read_rows(root / source.path)
    found = list(READ[source.maker](rows, rng))
    if source.maker == "dictionary":  # these come with the commonest words first
        found = found[: source.count * 3 // 2]
    rng.shuffle(found)
    booking = source.maker == "bookings"
    for exchanges in found:
        voice, system = _voice(rng, (28, 50, 22))
        yield Made(
            _messages(_typed(exchanges, voice, source.maker, rng), BOOKING_SYSTEM if booking else system), source.name
        )


def _voice(rng: random.Random, shares: Sequence[int]) -> tuple[VoiceName, str | None]:
    """Direct, sober, or no system message, which behaves as direct."""
    name = pick(rng, ("direct", "sober", "none"), shares)
    return ("direct", None) if name == "none" else (name, SYSTEM[name])


_ASIDES = frozenset(("glossary", "dictionary", "countries", "trivia"))


def _typed(exchanges: list[Exchange], voice: VoiceName, maker: str, rng: random.Random) -> list[Exchange]:
    """Some questions as people type them; in the direct voice a fact at times has a remark behind it."""
    if maker in ("bookings", "short-stories"):
        return exchanges
    typed = [(vary(rng, question) if len(question) < 160 else question, answer) for question, answer in exchanges]
    if voice == "direct" and maker in _ASIDES and rng.random() < 0.2:
        question, answer = typed[0]
        typed[0] = question, f"{answer} {pick(rng, voice_table('facts')['asides'])}"
    return typed


def _messages(exchanges: Iterable[Exchange], system: str | None) -> list[Message]:
    messages = [Message(role="system", content=system)] if system else []
    for question, answer in exchanges:
        messages += [Message(role="user", content=question), Message(role="assistant", content=answer)]
    return messages


def _too_long(tokens: Sequence[int], counted: Sequence[bool], mix: ChatMix) -> bool:
    longest = max((len(run) for run in re.findall("1+", "".join("01"[each] for each in counted))), default=0)
    return len(tokens) > mix.longest or longest > mix.longest_answer


def _add(
    shard: ShardWriter,
    heldout: ShardWriter,
    tokens: list[int],
    counted: list[bool],
    made: Made,
    mix: ChatMix,
    tally: Tally,
) -> None:
    """To the training part or, chosen by the conversation's hash, to the held-out part of its group."""
    said = "\n".join(message.content for message in made.messages)
    apart = int.from_bytes(place(said)[:8], "little") < mix.heldout * 2.0**64
    # Bits per byte are counted over what the loss counts: the assistant's words.
    size = sum(len(message.content.encode()) for message in made.messages if message.role == "assistant")
    (heldout if apart else shard).add(tokens, counted, text_bytes=size)
    tally.heldout_documents += apart


def _report(mix: ChatMix, tallies: list[Tally], check: Filter) -> dict[str, Any]:
    return {
        "mix": mix.model_dump(mode="json"),
        "sources": [vars(tally) for tally in tallies],
        "kinds": dict(check.kinds),
        "overlaps": dict(sum((tally.overlaps for tally in tallies), Counter())),
        "dropped": dict(sum((tally.dropped for tally in tallies), Counter())),
    }
