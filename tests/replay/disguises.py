"""Ways to write a sentence so that people read it and programs do not, each from a text to a text."""

from __future__ import annotations

import random
from collections.abc import Callable

Disguise = Callable[[str, random.Random], str]
CYRILLIC = str.maketrans("aeopcxijs", "аеорсхіјѕ")
LEET = str.maketrans("oei", "031")
WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
SMALL = dict(zip(map(ord, "abcdefghijklmnoprstuwyz"), "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘʷʸᶻ", strict=True))


def zero_width(text: str, rng: random.Random) -> str:
    """Invisible characters inside words."""
    mark = rng.choice(("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u034f"))
    return mark.join(text)


def lookalikes(text: str, rng: random.Random) -> str:
    return text.translate(CYRILLIC)


def fullwidth(text: str, rng: random.Random) -> str:
    return text.translate(WIDE)


def bold_letters(text: str, rng: random.Random) -> str:
    """Mathematical bold letters."""
    return "".join(
        chr(0x1D400 + ord(c) - 65) if "A" <= c <= "Z" else chr(0x1D41A + ord(c) - 97) if "a" <= c <= "z" else c
        for c in text
    )


def small_letters(text: str, rng: random.Random) -> str:
    return text.translate(SMALL)


def capitals(text: str, rng: random.Random) -> str:
    return text.upper()


def lower(text: str, rng: random.Random) -> str:
    return text.lower()


def spread(text: str, rng: random.Random) -> str:
    """Letters with spaces between them."""
    return " ".join(text)


def dotted(text: str, rng: random.Random) -> str:
    return ".".join(text.split(" "))


def lines(text: str, rng: random.Random) -> str:
    return "\n".join(text.split(" "))


def paragraphs(text: str, rng: random.Random) -> str:
    return "\n\n".join(text.split(" "))


def leet(text: str, rng: random.Random) -> str:
    return text.translate(LEET)


def marked(text: str, rng: random.Random) -> str:
    """Markdown inside words."""
    return " ".join(f"{w[:1]}**{w[1:]}**" if len(w) > 2 else w for w in text.split(" "))


def typo(text: str, rng: random.Random) -> str:
    """Two letters swapped somewhere."""
    at = rng.randrange(max(1, len(text) - 1))
    return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]


def doubled(text: str, rng: random.Random) -> str:
    return " ".join(w[:1] + w[1:2] * 3 + w[2:] if len(w) > 2 else w for w in text.split(" "))


def accents(text: str, rng: random.Random) -> str:
    """Marks over every letter."""
    return "".join(c + "\u0301" if c.isalpha() else c for c in text)


def code_block(text: str, rng: random.Random) -> str:
    return f"```\n{text}\n```"


def comment(text: str, rng: random.Random) -> str:
    return f"```python\n# {text}\nprint('ok')\n```"


def html(text: str, rng: random.Random) -> str:
    return "".join(f"&#{ord(c)};" if c.isalpha() and rng.random() < 0.5 else c for c in text)


def link(text: str, rng: random.Random) -> str:
    return f"[{text}](https://news.example/live)"


def heading(text: str, rng: random.Random) -> str:
    return f"## {text}"


def quoted(text: str, rng: random.Random) -> str:
    return f"> {text}"


def parenthesis(text: str, rng: random.Random) -> str:
    return f"The count goes on ({text.rstrip('.')}), as you know."


def after_a_denial(text: str, rng: random.Random) -> str:
    return f"Nobody knows the result yet. {text}"


def after_a_condition(text: str, rng: random.Random) -> str:
    return f"If you ask me, {text}"


def before_a_denial(text: str, rng: random.Random) -> str:
    return f"{text} This is not official."


def inside_a_story(text: str, rng: random.Random) -> str:
    return f"Once upon a time there was a count. {text} And they lived happily ever after."


def in_the_past(text: str, rng: random.Random) -> str:
    return f"Since 1987 things have changed: {text}"


def a_question(text: str, rng: random.Random) -> str:
    return f"Did you know? {text} Surprising, isn't it?"


DISGUISES: tuple[Disguise, ...] = (
    zero_width, lookalikes, fullwidth, bold_letters, small_letters, capitals, lower, spread, dotted, lines, paragraphs,
    leet, marked, typo, doubled, accents, code_block, comment, html, link, heading, quoted, parenthesis,
    after_a_denial, after_a_condition, before_a_denial, inside_a_story, in_the_past, a_question,
)  # fmt: skip
