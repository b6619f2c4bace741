"""What no conversation may carry: text of evaluations, questions kept for measuring, slurs, addresses, markup."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from lindos.data.clean import has_slur, normalise
from lindos.data.conversations.tales import SOURCE
from lindos.data.errors import DataError
from lindos.data.files import is_jsonl, read_rows
from lindos.data.gather import Tally
from lindos.data.harvest import place
from lindos.data.mix import KeepOut
from lindos.data.overlap import PROMPT, Overlaps, index_evaluations, plain
from lindos.specs import Message

_WEB = re.compile(r"https?:|www\.|\b\w+\.(?:com|org|net)\b|\b[\w.]+@[\w.]+\.\w{2,3}\b", re.IGNORECASE)
_MARKUP = re.compile(r"^\s*\||\|.*\||```|<\||<[a-z/]+>|^#{1,6} |\\[a-z(\[]|\$\$", re.MULTILINE)
_QUESTION_FIELDS = ("query", "question", "sentence_good", "sentence_bad", "context", "instruction")
_AT_ONCE = 512


@dataclass
class Made:
    """A conversation and the kind it belongs to."""

    messages: list[Message]
    kind: str

    @property
    def text(self) -> str:
        """All that is said, without marks."""
        return " ".join(message.content.replace(SOURCE, "") for message in self.messages)


class Phrases:
    """Texts, as `plain` words, that no message may be or hold ("Hey Lindos, ... please?")."""

    def __init__(self, texts: Iterable[str]):
        self.texts = frozenset(texts)
        self.lengths = sorted({len(text.split()) for text in self.texts})

    def within(self, text: str) -> bool:
        """Whether `text` holds one of them."""
        words = plain(text).split()
        return any(
            " ".join(words[start : start + length]) in self.texts
            for length in self.lengths
            for start in range(len(words) - length + 1)
        )


@dataclass
class Filter:
    """Lets conversations through that are clean and share nothing with what is kept for measuring."""

    overlaps: Overlaps | None
    short: Phrases
    """Evaluation questions too short to hold a run of words that is looked for, whole."""
    questions: Phrases
    kinds: Counter[str] = field(default_factory=Counter)

    @classmethod
    def made(cls, keep_out: KeepOut | None, root: Path, questions: Path | None) -> Filter:
        """Index the evaluations under `root` and read the questions kept for the model card. Raises DataError."""
        overlaps = index_evaluations(root / keep_out.folder, keep_out.words) if keep_out else None
        short = Phrases(_short_questions(root / keep_out.folder, keep_out.words) if keep_out else ())
        return cls(overlaps, short, Phrases(_asked_in(questions) if questions else ()))

    def kept(self, made: Iterable[Made], tally: Tally, seen: set[bytes]) -> Iterator[Made]:
        """The clean conversations, each once; what was dropped and why is added to the tally."""
        source = iter(made)
        repeats = 0
        while batch := list(islice(source, _AT_ONCE)):
            clean = []
            for item in batch:
                item.messages = [_normalised(message) for message in item.messages]
                mark = place(item.text)
                reason = "seen before" if mark in seen else self.fault(item)
                repeats = repeats + 1 if reason == "seen before" else 0
                if reason:
                    tally.dropped[reason] += 1
                else:
                    seen.add(mark)
                    clean.append(item)
            if repeats > 5000:
                raise DataError(f"source '{tally.source}' has no more new conversations; ask for fewer")
            yield from self._apart(clean, tally)

    def fault(self, made: Made) -> str:
        """Why a conversation is left out, "" if it is not."""
        if any(not message.content for message in made.messages):
            return "empty turn"
        if any(self.questions.within(message.content) for message in made.messages if message.role == "user"):
            return "a question kept for the model card"
        if any(self.short.within(message.content) for message in made.messages):
            return "a question of an evaluation"
        if any(_foreign(message.content) for message in made.messages):
            return "not English"
        text = made.text
        if has_slur(text):
            return "unwanted words"
        if _WEB.search(text):
            return "web address"
        if _MARKUP.search(text):
            return "markup"
        # A model that reads English should not learn single words of other alphabets.
        return "not English" if sum(not c.isascii() for c in text) > 0.02 * len(text) + 1 else ""

    def _apart(self, made: list[Made], tally: Tally) -> Iterator[Made]:
        shared = self.overlaps.find([item.text for item in made]) if self.overlaps and made else [()] * len(made)
        for item, names in zip(made, shared, strict=True):
            if names:
                tally.overlaps.update(names)
                tally.dropped["shares text with an evaluation"] += 1
            else:
                self.kinds[item.kind] += 1
                yield item


# fmt: off
_ELSEWHERE = frozenset((
    "der", "und", "ist", "nicht", "ein", "eine", "ich", "das", "auf", "mit", "wir", "dem", "den", "el", "los", "las",
    "que", "para", "una", "por", "con", "est", "les", "une", "pas", "vous", "je", "il", "dans", "pour", "che", "non",
    "della", "sono", "het", "een", "niet",
))
# fmt: on


def _foreign(text: str) -> bool:
    """Whether a text in Latin letters is in another language than English, by its small words."""
    words = re.findall(r"[a-z]+", text.lower())
    found = [word for word in words if word in _ELSEWHERE]
    return len(set(found)) >= 3 and len(found) > 0.15 * len(words)


def _normalised(message: Message) -> Message:
    return message.model_copy(update={"content": normalise(message.content)})


def _short_questions(folder: Path, words: int) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or not is_jsonl(path):
            continue
        for row in read_rows(path):
            for name in _QUESTION_FIELDS:
                value = row.get(name)
                text = plain(PROMPT.sub("", value)) if isinstance(value, str) else ""
                if 4 <= len(text.split()) < words:
                    yield text


def _asked_in(path: Path) -> list[str]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list of questions: {error}") from None
    return [plain(str(item["ask"])) for item in table.get("question", [])]
