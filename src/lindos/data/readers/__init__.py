"""Readers: from one row of a source to the plain texts in it.

A reader takes a row (a JSON object; plain text files give {"text": ...}) and the size that long texts are cut to, in
characters, and yields clean texts. Each source of the bundled model's mix has one; `text` and `turns` suit any other.
"""

from lindos.data.readers.base import Reader, Row
from lindos.data.readers.dialogue import goal_dialogue, turns
from lindos.data.readers.facts import country_facts, government, program_docs
from lindos.data.readers.instructions import contexts, task_texts
from lindos.data.readers.lessons import dictionary, glossary, textbook
from lindos.data.readers.plain import text
from lindos.data.readers.stories import book, five_sentences, short_story

READERS: dict[str, Reader] = {
    "book": book,
    "contexts": contexts,
    "country-facts": country_facts,
    "dictionary": dictionary,
    "five-sentences": five_sentences,
    "glossary": glossary,
    "goal-dialogue": goal_dialogue,
    "government": government,
    "program-docs": program_docs,
    "short-story": short_story,
    "task-texts": task_texts,
    "text": text,
    "textbook": textbook,
    "turns": turns,
}

__all__ = ["READERS", "Reader", "Row"]
