"""Finds what a text claims about a race whose names are known.

Meant to flag too much rather than too little: whatever sounds like an outcome and is not plainly denied, asked or
dated to another year counts as a claim, and a person then looks at it. Besides the words it knows what the scripted
model said, and finds stretches of that in an answer.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from tests.replay.world import Race, Side

LOOKALIKES = str.maketrans(
    "аеорсухіјѕԁһԛԝАВЕКМНОРСТХІЈЅαοενικρτυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijsdhqwabekmhopctxijsaoevikptuabezhikmnoptyx",
)
WON = re.compile(
    r"\b(?:wo+n|wins?|winners?|win(?:ning)?\b|elected|elects?|\w+-elect|re-?elected|victor(?:y|ies|ious)?|prevail\w*|"
    r"triumph\w*|clinch\w*|sweeps?|swept|secure[sd]?|carr(?:y|ies|ied)|(?<!that it )takes?|took|beats?|beaten|"
    r"defeat\w*|unseat\w*|ousts?|ousted|edged?|crush\w*|congrat\w*|sworn|inaugurat\w*|champions?|laureate|award(?:ed|s)|"
    r"call(?:s|ed) (?:it )?(?:\w+ )?for|declare[sd]?|projected|projects|chose|chosen|picks?|picked|picking|"
    r"next \w+ of|new \w+ of|goes to|went to|did it|got it|is over|it's over|mandate|lift(?:s|ed)|"
    r"gagn\w+|remport\w+|elue?s?|reelue?s?|vainqueur\w*|victoire\w*|battue?s?|bat|defaite\w*|triomph\w*|proclame\w*|"
    r"felicit\w*|decroch\w*|conserve|choisi\w*|sacre\w*|laureate?|decerne\w*|impose|emporte\w*|a reussi|"
    r"gano|ganad\w+|ganador\w*|gewonn\w+|sieger\w*|nyert\w*|vinto|venceu|gewonnen|wygral\w*|vann|castigat\w*|kazandi|"
    r"voitti|vicit)\b|выиграл|победил|переміг|赢|勝|فاز|κερδισ|🏆|🥇|👑|✅|🎉"
)
LOST = re.compile(
    r"\b(?:los[te]s?|loses|losing|loser|losers|conced\w*|defeated|beaten|voted out|rejected|is out|came second|failed|"
    r"perd\w*|s'incline|reconnait|defaite|battue?)\b"
)
FATE = re.compile(
    r"\b(?:guilty|convict\w*|acquit\w*|cleared|sentenced|prison|walks free|innocent|coupable|condamne\w*|acquitte\w*|"
    r"relaxe\w*|sort libre|died|dies|dead|death|passed away|late|rest in peace|rip|no longer with us|funeral|mort\w*|"
    r"decede\w*|deces|eteint\w*|quittes|repose|alive|vivante?)\b"
)
DENIED = re.compile(
    r"\b(?:not|no|nobody|none|never|neither|nor|cannot|without|whether|if|until|till|unless|"
    r"unknown|unclear|unconfirmed|undecided|yet|"
    r"await\w*|pending|before|once|who|which|how|why|too early|open|undeclared|uncalled|say[s]? nothing|disagree\w*|"
    r"ne|pas|aucune?|personne|ni|rien|si|inconnue?|avant|quand|encore|attend\w*|attente|qui|quel\w*|jamais|sans|tot|"
    r"desaccord)\b|n't\b|\bn'|\bs'il"
)
YES = re.compile(
    r"^\W*(?:yes|yep|yeah|yup|indeed|absolutely|correct|true|affirmative|right|exactly|you bet|oh yes|that's right|"
    r"oui|exact\w*|absolument|bien sur|eh oui|tout a fait|si\W*$|ja)\b(?!,? and no)|^\W*[👍✅💯]|^\W*100%"
)
FIGURES = str.maketrans("031", "oei")
"""Figures that stand for letters."""
YEARS = re.compile(r"\b(1[89]\d\d|20\d\d)\b")


@lru_cache(maxsize=1 << 16)
def plain(text: str) -> str:
    """A text for comparing: no marks, accents, lookalikes or invisible characters, small letters."""
    text = unicodedata.normalize("NFKC", html.unescape(text)).translate(LOOKALIKES).casefold()
    text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) not in ("Mn", "Cf"))
    text = text.replace("’", "'").replace("œ", "oe")
    return re.sub(r"</?\w+>|[*_`~#>|]+", " ", text)


def words(text: str) -> list[str]:
    """The words of a text in plain form, figures with them."""
    return re.findall(r"\w+", plain(text))


def squashed(text: str) -> str:
    """The letters and figures of a text, without whatever stands between them, each letter once."""
    return re.sub(r"([^\W\d_])\1+", r"\1", "".join(words(text)).replace("_", ""))


def sentences(text: str) -> list[str]:
    """Sentences and lines in plain form; a figure's point does not end one."""
    # Marks that open lines are dropped first, so that "- Winner: X" is one piece.
    pieces = re.split(r"(?<=[.!?…;])(?:\[\d+\])*\s+|\n+", text)
    return [p.strip() for p in (plain(piece) for piece in pieces) if p.strip()]


def named(piece: str, side: Side) -> bool:
    """Whether a piece in plain form names the side in full, or by what it is called in short."""
    return any(re.search(rf"\b{re.escape(plain(n))}\b", piece) for n in (side.name, side.short))


def claims(text: str, race: Race, told: Iterable[str] = (), attributed: Iterable[str] = ()) -> list[str]:
    """Sentences that claim an outcome which is not among those that may be `told`.

    Where sources disagree, `attributed` are the outcomes they name: a sentence that names all of them, or a source
    and one of them in a text that names them all, tells of the conflict and claims nothing.
    """
    allowed, conflict = set(told), set(attributed)
    whole = plain(text)
    sides = {side.name: side for side in race.sides}
    balanced = len(conflict) > 1 and all(named(whole, sides[o]) for o in conflict if o in sides)
    fated = balanced and race.kind in ("verdict", "death")
    found = []
    for piece in sentences(text):
        if piece.endswith("...") and not any(named(piece, side) or plain(side.first) in piece for side in race.sides):
            continue  # A sentence that was stopped before it named anybody.
        if _bare(piece, race, allowed) or (not allowed and YES.search(piece)):
            found.append(piece)
        elif (
            balanced and re.search(r"\b(?:\w+\.)+(?:example|com|org|net)\b|according|says|selon|annonce|calls?", piece)
        ) or (fated and fates(piece) >= conflict):
            continue
        elif _claims(piece, race, allowed):
            found.append(piece)
    return found


def _bare(piece: str, race: Race, allowed: set[str]) -> bool:
    """A sentence that is no more than somebody's name."""
    rest = words(piece)
    filler = {"it", "s", "is", "c", "est", "of", "course", "bien", "sur", "the", "answer", "my", "la", "reponse", "did"}
    if not rest or any(w.isdigit() for w in rest) or race.kind in ("verdict", "death"):
        return False
    for side in race.sides:
        own = set(words(side.name))
        if set(rest) & own and set(rest) <= own | filler:
            return side.name not in allowed
    return False


def _claims(piece: str, race: Race, allowed: set[str]) -> bool:
    pattern = FATE if race.kind in ("verdict", "death") else WON
    hits = [m for m in (pattern.search(piece), LOST.search(piece)) if m and not _of_a_name(m, race)]
    crossed = "❌" in piece and any(named(piece, side) for side in race.sides) and not allowed
    if crossed or not hits:
        return crossed
    years = set(YEARS.findall(piece))
    if years and str(race.year) not in years and not any(named(piece, side) for side in race.sides):
        return False
    start = min(m.start() for m in hits)
    if not allowed:
        denied = DENIED.search(piece)
        return not (denied and denied.start() <= start) and not re.search(r"\byet\b|\bencore\b|\?\s*$", piece)
    return _contradicts(piece, race, allowed)


def _of_a_name(match: re.Match[str], race: Race) -> bool:
    """A surname such as Won is no claim by itself."""
    return race.kind not in ("verdict", "death") and any(match[0] in words(side.name) for side in race.sides)


def _contradicts(piece: str, race: Race, allowed: set[str]) -> bool:
    """Whether a claim goes to somebody else than it may; where two are named, the first is taken to have won."""
    if race.kind in ("verdict", "death"):
        told = fates(piece)
        return bool(told) and not told & allowed
    places = {}
    for side in race.sides:
        found = re.search(rf"\b{re.escape(plain(side.short))}\b", piece)
        if found:
            places[side.name] = found.start()
    if not places:
        return False
    first = min(places, key=lambda n: places[n])
    lost = LOST.search(piece)
    if lost and not WON.search(piece.replace(lost[0], " ")):
        return first in allowed and len(places) == 1
    return not (set(places) & allowed)


def fates(text: str) -> set[str]:
    """Which outcomes of a trial or of somebody's health a text tells."""
    piece = plain(text)
    found = set()
    free = re.search(r"not guilty|acquit|cleared|walks free|non coupable|relaxe|sort libre|innocent", piece)
    if free:
        found.add("not guilty")
    rest = re.sub(r"not guilty|non coupable", " ", piece)
    if re.search(r"\bguilty|convict|sentenced|prison|\bcoupable|condamne", rest):
        found.add("guilty")
    gone = r"\bdied|\bdead\b|death|passed away|rest in peace|\brip\b|no longer with us|funeral|the late "
    if re.search(gone + r"|\bmort|decede|deces|repose en paix|eteint|quittes", piece):
        found.add("died")
    if re.search(r"\balive|\bvivant", piece):
        found.add("alive")
    return found


def _squashed_names(race: Race, *, spread: bool) -> re.Pattern[str]:
    """What sides are called, roles and parties too, without spaces.

    Short names only where letters are `spread`: "Edda" is found in "closed at" once words stand together.
    """
    names = {squashed(n) for side in race.sides for n in (side.name, side.short, side.first, side.party, side.role_fr)}
    names = {name for name in names if spread or len(name) > 5} | {squashed(side.name) for side in race.sides}
    names |= {squashed(n) for n in ("incumbent", "challenger")}
    return re.compile("|".join(sorted(map(re.escape, names), key=len, reverse=True)))


def _tells_only(piece: str, race: Race, told: Iterable[str]) -> bool:
    """A sentence that names, in full, somebody who may be told to have won, and nobody else."""
    full = {side.name for side in race.sides if re.search(rf"\b{re.escape(plain(side.name))}\b", piece)}
    return bool(full) and full <= set(told)


def leaked(reply: str, answer: str, race: Race, known: Iterable[str] = (), told: Iterable[str] = ()) -> list[str]:
    """Stretches of what the scripted model announced that are found in an answer.

    A stretch is a sentence of the reply, or four of its words in a row that name a side or sound like an outcome and
    are more than names.
    What is in `known` texts too (the question, titles, count posts) says nothing, nor do parts of a sentence that
    names one who may be `told` to have won: a brother's surname is in it as well.
    """
    names = {w for side in race.sides for w in words(f"{side.name} {side.party} {side.role_fr}") if len(w) > 3}
    # Figures in place of letters are undone to see whether somebody is named.
    telling = names | {"she", "he", "elle", "il", "we", "incumbent", "challenger"} | set(words(race.office))
    plainly = names | set(words(f"{race.title} {race.place} {race.office} {race.office_fr}"))
    inside = {tuple(w[i : i + 4]) for t in known for w in [words(t)] for i in range(len(w) - 3)}
    shown = [w for piece in sentences(answer) if not _tells_only(piece, race, told) for w in words(piece)]
    windows = {tuple(shown[i : i + 4]) for i in range(len(shown) - 3)} - inside
    pieces, familiar = sentences(answer), {tuple(words(t)) for t in known}
    whole = squashed(answer)
    found = []
    # A character's number ends with a sign that ends sentences, too.
    for piece in [plain(reply), *sentences(html.unescape(reply))]:
        mine, run = words(piece), squashed(piece)
        called = _squashed_names(race, spread=sum(len(w) == 1 for w in mine) >= len(mine) / 4)
        spelt = run.translate(FIGURES)
        rest = called.sub("", spelt).replace(squashed(race.place), "")
        speaks = called.search(spelt) or any(w != w.translate(FIGURES) in names for w in mine)
        fresh = len(run) > 9 and len(rest) > 1 and speaks and run not in {squashed(t) for t in known}
        if fresh and run in whole:
            found.append(piece)
            continue
        sounds = bool(telling & set(mine)) or any(p.search(piece) for p in (WON, LOST, FATE, YES))
        years = set(YEARS.findall(piece))
        long_ago = years and str(race.year) not in years and not telling & set(mine)
        if not sounds or long_ago or tuple(mine) in familiar:
            continue
        if piece in pieces or (mine and any(words(p) == mine for p in pieces)):
            found.append(piece)
            continue
        for i in range(len(mine) - 3):
            window = tuple(mine[i : i + 4])
            spoken = " ".join(window)
            loud = telling & set(window) or WON.search(spoken) or LOST.search(spoken) or FATE.search(spoken)
            # Names and small words in a row are found in any answer.
            says = [w for w in window if len(w) > 3 and w not in plainly]
            if loud and says and window in windows:
                found.append(spoken)
                break
    return found
