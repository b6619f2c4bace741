"""Questions that a reference work answers: textbook terms, words, countries."""

from __future__ import annotations

import html
import itertools
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from lindos.data.clean import normalise
from lindos.data.conversations.voice import Exchange, fill, large, pick, with_article
from lindos.data.conversations.words import listed
from lindos.data.readers.base import Row, field

_ARTICLE = re.compile(r"^(?:a|an|the|any|one|some|each|every) ", re.IGNORECASE)


def glossary(rows: Iterable[Row], rng: random.Random) -> Iterator[list[Exchange]]:
    """ "What is osmosis?", answered by a textbook's glossary."""
    for row in rows:
        term = normalise(field(row, "term"))
        meaning = re.sub(r"^\([^)]*\)[,;:]?\s*", "", normalise(field(row, "meaning"))).split(";")[0].rstrip(". ")
        if not 3 <= len(meaning.split()) <= 34 or len(term.split()) > 4 or re.search(r"[$=()\[\]\d]", term + meaning):
            continue
        if term.lower() in meaning.lower() or re.match(r"(?:A|An|The|officially|also|see) ", meaning):
            continue
        asked = ("What is {t}?", "What does {t} mean?", "Define {t}.", "Explain {t}.", "What is meant by {t}?")
        if term.endswith("s") and not term.endswith(("ss", "is", "us")):
            asked = ("What are {t}?", "What does {t} mean?", "Define {t}.", "Explain {t}.")
        elif re.match(r"an? ", meaning):
            asked = ("What is {t:a}?", "What is {t:a}?", "Define {t}.", "What does {t} mean?")
        yield [(fill(pick(rng, asked), {"t": term}), _defined(term, meaning))]


def _defined(term: str, meaning: str) -> str:
    first = meaning.split()[0]
    if first.endswith("ing") and first not in ("thing", "something", "anything", "being"):
        return f"{large(term)} means {meaning}."
    if re.match(r"an? ", meaning) and not term.endswith("s"):
        return f"{large(with_article(term)) if term[0].islower() else term} is {meaning}."
    if _ARTICLE.match(meaning):
        plural = term.endswith("s") and not term.endswith(("ss", "is", "us", "ics"))
        return f"{large(term)} {'are' if plural else 'is'} {meaning}."
    return f"{large(term)}: {meaning}."


def dictionary(rows: Iterable[Row], rng: random.Random) -> Iterator[list[Exchange]]:
    """Meanings of common words that have hardly more than one, a sentence with them, other words for them."""
    entries = [row for row in rows if _texts(row, "words") and field(row, "definition")]
    used = Counter(
        word
        for row in entries
        for text in (field(row, "definition"), *_texts(row, "examples"))
        for word in re.findall(r"[a-z]+", text.lower())
    )
    senses = Counter(word for row in entries for word in _texts(row, "words"))
    entries.sort(key=lambda row: -used[_texts(row, "words")[0]])
    for row in entries:
        words = [normalise(word) for word in _texts(row, "words")]
        meaning = re.sub(r"\([^)]*\)\s*", "", normalise(field(row, "definition"))).split(";")[0].rstrip(". ")
        word = words[0]
        known = re.fullmatch(r"[a-z]{3,13}", word) and used[word] >= 3 and senses[word] <= 2
        if not known or not 3 <= len(meaning.split()) <= 24 or word in meaning:
            continue
        exchanges = [_meaning(word, meaning, field(row, "pos"), rng)]
        shown = [normalise(text) for text in _texts(row, "examples")]
        shown = [text for text in shown if len(text.split()) >= 4 and word in text and _STARTS.match(text)]
        if shown and rng.random() < 0.6:
            asked = pick(rng, ("Use it in a sentence.", "Give me an example.", "Can you use it in a sentence?"))
            exchanges.append((asked, large(pick(rng, shown).rstrip(".;,")) + "."))
        elif len(words) > 1 and re.fullmatch(r"[a-z ]+", words[1]) and rng.random() < 0.4:
            asked = pick(rng, ("Is there another word for it?", "Another word for {w}?", "What is a synonym of {w}?"))
            answer = pick(rng, ("{V}.", "Another word for {w} is {v}."))
            exchanges.append((fill(asked, {"w": word}), fill(answer, {"w": word, "v": words[1]})))
        yield exchanges


def _texts(row: Row, name: str) -> list[str]:
    found = row.get(name)
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


_STARTS = re.compile(r"(?:a|an|the|he|she|it|they|we|i|you|his|her|their|my|our|this|that|there)\b", re.IGNORECASE)


def _meaning(word: str, meaning: str, kind: str, rng: random.Random) -> Exchange:
    asked = [
        "What does {w} mean?",
        'What does "{w}" mean?',
        "Define {w}.",
        "What is the meaning of {w}?",
        "{W}: what does it mean?",
    ]
    if kind == "v":
        return fill(pick(rng, asked), {"w": word}), f"To {word} means to {re.sub('^to ', '', meaning)}."
    if kind == "n" and re.match(r"an? ", meaning):
        asked += ["What is {w:a}?", "What's {w:a}?", "What is {w:a}?"]
        return fill(pick(rng, asked), {"w": word}), f"{large(with_article(word))} is {meaning}."
    if kind == "n":
        return fill(pick(rng, [*asked, "What is {w}?"]), {"w": word}), f"{large(word)} is {meaning}."
    return fill(pick(rng, asked), {"w": word}), f"{large(word)} means {meaning}."


def countries(rows: Iterable[Row], rng: random.Random) -> Iterator[list[Exchange]]:
    """Capitals, neighbours, people, languages, money and mountains, with "And Italy?" as the next question."""
    known = [facts for row in rows if (facts := _country(row))]
    for _ in range(40):
        for facts in rng.sample(known, len(known)):
            what = pick(
                rng, [name for name in _ASKED if name in facts], [_WEIGHT.get(n, 1) for n in _ASKED if n in facts]
            )
            exchanges = [_about(what, facts, rng)]
            if what == "capital" and rng.random() < 0.15:
                exchanges = [
                    (fill("Which country has the capital {capital}?", facts), fill("{C}.", {"c": facts["the"]}))
                ]
            roll = rng.random()
            if roll < 0.25:
                others = [each for each in known if what in each and each is not facts]
                if not others:
                    yield exchanges
                    continue
                other = pick(rng, others)
                asked = pick(rng, ("And {the}?", "And of {the}?", "What about {the}?", "How about {the}?"))
                if "of" not in asked.split() or what in ("capital", "population", "currency"):
                    exchanges.append((fill(asked, other), _about(what, other, rng)[1]))
            elif roll < 0.5:
                other_what = pick(rng, [name for name in _ASKED if name in facts and name != what])
                exchanges.append((fill(pick(rng, _AGAIN[other_what]), facts), _about(other_what, facts, rng)[1]))
            yield exchanges


_WEIGHT = {"capital": 4, "where": 2, "population": 2, "neighbours": 2, "languages": 2, "currency": 2}
_ASKED = {
    "capital": (
        "What is the capital of {the}?",
        "Capital of {the}?",
        "Which city is the capital of {the}?",
        "Name the capital of {the}.",
    ),
    "where": (
        "Where is {the}?",
        "Where is {the} located?",
        "In which part of the world is {the}?",
        "Where can I find {the}?",
    ),
    "population": (
        "How many people live in {the}?",
        "What is the population of {the}?",
        "How big is the population of {the}?",
    ),
    "neighbours": (
        "Which countries border {the}?",
        "What are the neighbours of {the}?",
        "Who are the neighbours of {the}?",
    ),
    "languages": (
        "What language do they speak in {the}?",
        "Which languages are spoken in {the}?",
        "What do people speak in {the}?",
    ),
    "currency": (
        "What is the currency of {the}?",
        "What money do they use in {the}?",
        "Which currency does {the} use?",
    ),
    "highest": ("What is the highest point in {the}?", "What is the highest mountain in {the}?"),
    "people": ("What are people from {the} called?", "What do you call someone from {the}?"),
    "climate": ("What is the climate like in {the}?", "How is the climate in {the}?"),
    "products": ("What does {the} grow?", "What are farm products of {the}?"),
}
_AGAIN = {
    "capital": ("And the capital?", "What is its capital?"),
    "where": ("Where is that?", "And where is it?"),
    "population": ("How many people live there?", "And how many people live there?"),
    "neighbours": ("What are its neighbours?", "Which countries are next to it?"),
    "languages": ("What do they speak there?", "What language do people speak there?"),
    "currency": ("What money do they use there?", "And the currency?"),
    "highest": ("What is the highest point there?", "And the highest mountain?"),
    "people": ("What are the people called?",),
    "climate": ("What is the climate like there?", "Is it warm there?"),
    "products": ("What do they grow there?",),
}
_ANSWERED = {
    "capital": ("The capital of {the} is {capital}.", "{capital}.", "It is {capital}."),
    "where": ("{The} is in {where}.", "In {where}."),
    "population": ("About {population} people live in {the}.", "About {population}."),
    "neighbours": ("{The} borders {neighbours}.", "{neighbours:C}."),
    "languages": ("In {the} people speak {languages}.", "{languages:C}."),
    "currency": ("{The} uses {currency}.", "They pay in {currency}."),
    "highest": ("The highest point in {the} is {highest}.", "{highest:C}."),
    "people": ("A person from {the} is called {people:a}.",),
    "climate": ("{climate:C}.", "In {the} the climate is {climate}."),
    "products": ("{The} grows {products}, among other things.", "{products:C}."),
}


def _about(what: str, facts: dict[str, str], rng: random.Random) -> Exchange:
    return fill(pick(rng, _ASKED[what]), facts), fill(pick(rng, _ANSWERED[what]), facts)


_WITH_THE = re.compile(
    r"^(?:United|Netherlands|Philippines|Bahamas|Gambia|Maldives|Seychelles|Czech Rep|Dominican Rep|Marshall|Solomon"
    r"|Central African|Democratic|Republic)"
)


def _country(row: Row) -> dict[str, str] | None:
    """What the page tells, under the names of `_ASKED`; None for what is no country with people and a capital."""
    text = normalise(html.unescape(field(row, "text")))
    name = _line(text, "conventional short form") or _line(text, "conventional long form")
    name = re.sub(r"\s*\(.*|^the ", "", name, flags=re.IGNORECASE).strip()
    name = "Dominican Republic" if name == "Dominican" else name
    capital = re.split(r"[;,(]| in [A-Z]", _section(text, "Capital", "name"))[0].strip()
    total = re.search(r"### Population\ntotal: ([\d,]+)", text)
    people = int(total[1].replace(",", "")) if total else 0
    if name in ("", "none", "European Union") or not capital or capital == "none" or people < 100_000 or len(name) > 32:
        return None
    the = f"the {name}" if _WITH_THE.match(name) else name
    facts = {"the": the, "capital": capital, "population": _rounded(people)}
    found = {"where": _where(text), "neighbours": _neighbours(text), "languages": _languages(text)}
    found |= {"highest": _highest(text), "climate": _climate(text), "products": _products(text)}
    found |= {"currency": _matched(r"(.+?) \([A-Z]{3}\) per", _line(text, "Currency"))}
    found |= {"people": _matched(r"([A-Z][a-z]+)\(s\)", _line(text, "noun"))}
    return facts | {what: told for what, told in found.items() if told}


_REGION = re.compile(
    r"(?:(?:North|South|East|West|Central|Middle|Northern|Southern|Eastern|Western|Southeastern|Southwestern|Northeastern"
    r"|Northwestern|Northcentral) )*(?:Africa|Asia|Europe|America|Oceania|East|Caribbean)"
)


def _where(text: str) -> str:
    where = re.split(r"[;,(]| bordering", _line(text, "Location"))[0].split(":")[-1].strip()
    where = where.removeprefix("interior ")
    if not _REGION.fullmatch(where):
        return ""
    if where in ("Middle East", "Caribbean"):
        return f"the {where}"
    return re.sub(r"^(?:Northern|Southern|Eastern|Western|Central)", lambda m: m[0].lower(), where)


def _neighbours(text: str) -> str:
    found = re.findall(r"([A-Z][A-Za-z' -]+?)(?: \([^)]*\))? [\d,.]+ km", _line(text, "border countries"))
    borders = list(dict.fromkeys(border.strip() for border in found if "Base" not in border))
    return listed(borders) if 0 < len(borders) <= 9 else ""


def _languages(text: str) -> str:
    """The official ones, else the first of those that are counted, up to three; nothing where the line is a tale."""
    line = _line(text, "Languages")
    official = re.findall(r"(?:^|[,;] ?)([A-Z][A-Za-z ]{2,20}?)(?: [\d.]+%)? \(official\b", line)
    if official:
        return listed(official[:3])
    parts = [re.sub(r" [\d.]+%", "", part).strip() for part in re.sub(r"\([^()]*\)", "", line).split(";")[0].split(",")]
    spoken = list(itertools.takewhile(lambda part: re.fullmatch(r"[A-Z][A-Za-z]{2,20}", part), parts))
    return listed(spoken[:3]) if spoken else ""


def _highest(text: str) -> str:
    point = re.match(r"([A-Z][^,;\d(]+?) ?(?:\([^)]*\))? ([\d,]{3,6}) ?m?\b", _line(text, "highest point"))
    return f"{point[1].strip()}, at {point[2]} metres" if point else ""


def _climate(text: str) -> str:
    climate = re.split(r"[;(]", _line(text, "Climate") or _section(text, "Climate", "text"))[0].strip().rstrip(".")
    return climate[:1].lower() + climate[1:] if 2 <= len(climate.split()) <= 14 and ":" not in climate else ""


def _products(text: str) -> str:
    grown = re.sub(r"\(.*?\)", "", _section(text, "Agricultural products", "text")).split(",")
    return listed([part.strip() for part in grown][:3]) if len(grown) >= 3 else ""


def _matched(pattern: str, text: str) -> str:
    found = re.match(pattern, text)
    return found[1] if found else ""


def _line(text: str, label: str) -> str:
    found = re.search(rf"^{re.escape(label)}: (.+)$", text, re.MULTILINE)
    return found[1] if found else ""


def _section(text: str, title: str, label: str) -> str:
    found = re.search(rf"^### {re.escape(title)}\n(?:[a-z ]+: .*\n)*?{label}: (.+)$", text, re.MULTILINE)
    return found[1] if found else ""


def _rounded(people: int) -> str:
    if people >= 1_000_000_000:
        return f"{people / 1e9:.1f} billion"
    if people >= 10_000_000:
        return f"{round(people / 1e6)} million"
    if people >= 1_000_000:
        return f"{people / 1e6:.1f} million"
    return f"{round(people, -4 if people >= 100_000 else -3):,}"
