"""Own exchanges about numbers: small sums, counting, comparing, and short problems in words."""

from __future__ import annotations

import random

from lindos.data.conversations.voice import Exchange, VoiceName, fill, large, pick
from lindos.data.conversations.words import number_word

_ASK = (
    "What is {q}?",
    "What's {q}?",
    "How much is {q}?",
    "{q}?",
    "{q} =",
    "Calculate {q}.",
    "Can you work out {q}?",
    "{q}",
    "What does {q} make?",
)
_DIRECT = (
    "{a}.",
    "{a}.",
    "{a}. I used all my fingers. I have none.",
    "That makes {a}.",
    "{a}. Checked twice, trusted once.",
    "It's {a}.",
    "{a}, and no calculator was harmed.",
    "{q} is {a}.",
)
_SOBER = ("{q} is {a}.", "{a}.", "It is {a}.", "The answer is {a}.")
_PEOPLE = ("Tom", "Anna", "Ben", "Mia", "Sam", "Lucy", "Max", "Nora", "Leo", "Ella")
_GOODS = ("apples", "books", "coins", "eggs", "pens", "cakes", "stones", "cards", "balls", "plums")


def sums(rng: random.Random, voice: VoiceName) -> Exchange:
    """One small sum, difference, product, quotient, half or double."""
    kind = pick(rng, ("+", "-", "x", "/", "half", "double", "square"), (34, 24, 18, 10, 4, 4, 2))
    top = pick(rng, (10, 20, 50, 100), (5, 4, 2, 2))
    if kind == "+":
        a, b = _two(rng, top)
        asked, found = (
            pick(rng, (f"{a} + {b}", f"{a} plus {b}", f"{a}+{b}", f"{number_word(a)} plus {number_word(b)}")),
            a + b,
        )
    elif kind == "-":
        b, a = sorted(_two(rng, top))
        asked, found = pick(rng, (f"{a} - {b}", f"{a} minus {b}", f"{a}-{b}", f"{a} take away {b}")), a - b
    elif kind == "x":
        a, b = 1 + int(rng.random() * 12), 1 + int(rng.random() * 10)
        asked, found = pick(rng, (f"{a} x {b}", f"{a} times {b}", f"{a} * {b}", f"{a} multiplied by {b}")), a * b
    elif kind == "/":
        b, found = 1 + int(rng.random() * 10), 1 + int(rng.random() * 10)
        asked = pick(rng, (f"{b * found} / {b}", f"{b * found} divided by {b}"))
    elif kind == "square":
        a = 1 + int(rng.random() * 12)
        asked, found = f"{a} squared", a * a
    else:
        a = 2 * (1 + int(rng.random() * 30))
        asked, found = (f"half of {a}", a // 2) if kind == "half" else (f"double {a}", 2 * a)
    answer = pick(rng, _DIRECT if voice == "direct" else _SOBER)
    return fill(pick(rng, _ASK), {"q": asked}), large(fill(answer, {"q": asked, "a": str(found)}))


def counting(rng: random.Random, voice: VoiceName) -> Exchange:
    """Counting, neighbours, larger or smaller, even or odd, and rows of numbers."""
    kind = pick(rng, ("to", "from", "back", "next", "larger", "even", "row"), (4, 2, 2, 5, 5, 4, 4))
    if kind == "to" and rng.random() < 0.3:
        end = 3 + int(rng.random() * 8)
        words = ", ".join(number_word(n) for n in range(1, end + 1))
        return f"Count to {number_word(end)}.", large(words) + "."
    if kind in ("to", "from", "back"):
        start = 1 if kind == "to" else 1 + int(rng.random() * 12)
        end = start + 2 + int(rng.random() * 7)
        numbers = [str(n) for n in range(start, end + 1)]
        if kind == "back":
            asked, numbers = f"Count down from {end} to {start}.", numbers[::-1]
        else:
            asked = f"Count to {end}." if kind == "to" else f"Count from {start} to {end}."
        aside = pick(rng, ("", "", " And I could go on. I won't.", " Riveting.")) if voice == "direct" else ""
        return asked, ", ".join(numbers) + "." + aside
    if kind == "next":
        a, way = 1 + int(rng.random() * 99), pick(rng, ("after", "before"))
        asked = pick(rng, (f"What number comes {way} {a}?", f"What comes {way} {a}?", f"Which number is {way} {a}?"))
        return asked, f"{a + 1 if way == 'after' else a - 1}."
    if kind == "larger":
        a, b = _two(rng, 100)
        b += a == b
        word = pick(rng, ("bigger", "larger", "smaller", "greater"))
        found = min(a, b) if word == "smaller" else max(a, b)
        asked = pick(rng, (f"Which is {word}, {a} or {b}?", f"What is {word}: {a} or {b}?"))
        return asked, pick(rng, (f"{found}.", f"{found} is {word}."))
    if kind == "even":
        a = 1 + int(rng.random() * 60)
        asked = pick(rng, (f"Is {a} even or odd?", f"Is {a} an even number?", f"Is {a} odd?"))
        truth = "odd" if a % 2 else "even"
        if "or" in asked.split():
            return asked, f"{a} is {truth}."
        wanted = "even" if "even" in asked else "odd"
        return asked, f"{'Yes' if wanted == truth else 'No'}, {a} is {truth}."
    start, step = 1 + int(rng.random() * 10), 1 + int(rng.random() * 5)
    row = ", ".join(str(start + step * n) for n in range(4))
    asked = pick(rng, ("What comes next: {r}?", "Continue: {r} ...", "What is the next number: {r}?"))
    return fill(asked, {"r": row}), f"{start + 4 * step}."


def problem(rng: random.Random, voice: VoiceName) -> Exchange:
    """A sum told as a tiny story."""
    name, goods = pick(rng, _PEOPLE), pick(rng, _GOODS)
    a, b = 2 + int(rng.random() * 10), 1 + int(rng.random() * 9)
    kind = pick(rng, ("more", "less", "each", "share"))
    if kind == "more":
        told = f"{name} has {a} {goods} and gets {b} more. How many {goods} does {name} have?"
        found = a + b
    elif kind == "less":
        a += b
        told = f"{name} has {a} {goods} and gives away {b}. How many are left?"
        found = a - b
    elif kind == "each":
        b += b == 1
        told = f"{name} has {a} boxes with {b} {goods} in each. How many {goods} are there?"
        found = a * b
    else:
        b += b == 1
        told = f"{a} children share {a * b} {goods}. How many does each get?"
        found = b
    goods = goods if found != 1 else goods[:-1]
    direct = ("{n}.", "{n} {g}.", "{n} {g}. {p} should open a shop.", "{n} {g}, if nobody ate any.")
    answer = pick(rng, direct if voice == "direct" else ("{n} {g}.", "The answer is {n}.", "{n}."))
    return told, fill(answer, {"n": str(found), "g": goods, "p": name})


def _two(rng: random.Random, top: int) -> tuple[int, int]:
    return int(rng.random() * (top + 1)), int(rng.random() * (top + 1))
