"""What a question wants: how an event came out, or something that only has to do with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Literal

from lindos.assistant.settlement.event import RECENT
from lindos.assistant.settlement.harmless import (
    ANNOUNCING,
    EVER,
    FICTION,
    HISTORY,
    LANGUAGE,
    NOWADAYS,
    TRANSLATION,
    harmless_intent,
)
from lindos.assistant.settlement.language import Language, language_of
from lindos.assistant.settlement.lexicon import CORE, TURNS
from lindos.assistant.settlement.linking import link, linked, year_range
from lindos.assistant.settlement.names import COMMON, Cast, masked
from lindos.assistant.settlement.pending import without_pending
from lindos.assistant.settlement.standing import Standing
from lindos.assistant.settlement.words import fold, plain, words, years

Intent = Literal["outcome", "history", "fiction", "translation", "explanation", "exercise", "other"]


@dataclass(frozen=True)
class Topic:
    """What a question is about."""

    intent: Intent
    language: Language
    standings: tuple[Standing, ...] = ()
    """The events it is about."""
    kind: str = ""
    """Of an event it is about that is in no register; empty: none."""
    past: bool = False
    """Whether it names a year that is past."""
    quoted: bool = False
    """Whether it holds, to be translated, a claim of its own."""

    @property
    def wants_outcome(self) -> bool:
        return self.intent == "outcome" and bool(self.standings or self.kind)


def topic_of(question: str, standings: Sequence[Standing], now: datetime, earlier: Sequence[str] = ()) -> Topic:
    """What `question` is about. `earlier` are the person's questions before it, the last one last."""
    language = language_of(question)
    folded = fold(question)
    about = _about(question, standings, now)
    if not about and earlier and len(words(question)) <= 14 and not _foreign(question, standings):
        about = _about(" ".join(earlier[-3:]), standings, now)
    current = _current_years(about, now)
    named = years(plain(question))
    past = bool(named) and all(year < current.start for year in named)
    intent = _intent(folded, question, about, past)
    kind = ""
    if not about and intent == "outcome":
        about, kind = _guess(question, folded, standings, now)
        if past or not (about or kind):
            intent, about, kind = ("history" if past else "other"), (), ""
    quoted = intent == "translation" and bool(
        CORE.search(_after_command(folded))
        or TURNS.search(_after_command(folded))
        or _VERBS.search(_after_command(folded))
    )
    return Topic(intent, language, tuple(about), kind, past or intent == "history", quoted)


_VERBS = re.compile(r"\b(?:winned|gagner|perdre|battre|basculer|emporter|remporter|elire|mourir|condamner|acquitter)\b")


def _about(question: str, standings: Sequence[Standing], now: datetime) -> list[Standing]:
    best = linked(question, [(standing.event, standing.cast) for standing in standings])
    ids = {event.id for event, _, _ in best}
    found = [standing for standing in standings if standing.event.id in ids]
    if len(found) > 1 and best[0][2].strength < 3:
        # Of several that are equally likely meant, those of its kind, and of these the ones that are under way.
        kinds = _kinds(fold(question))
        found = [s for s in found if s.event.kind in kinds] or found
        found = [s for s in found if _under_way(s, now)] or found
    return found


def _under_way(standing: Standing, now: datetime) -> bool:
    return standing.event.opens <= now <= standing.event.closes + RECENT


def _current_years(about: Sequence[Standing], now: datetime) -> range:
    spans = [year_range(standing.event) for standing in about] or [range(now.year, now.year + 1)]
    return range(min(span.start for span in spans), max(span.stop for span in spans))


# Intents.

_TRUE = re.compile(
    r"\b(?:true|real|really|actual\w*|fact\w*|news|report|press release|headline|announce\w*|tweet|anchor|journalis\w+|reporter|broadcast|bulletin|vraie?|vraiment|reel\w*|actualite|communique|annonce\w*|journaliste|presentat\w+|titre)\b"
)
_EXPLANATION = re.compile(
    r"\b(?:how (?:do|does|is|are|can|would|did|was|were|many|much|long|old|big|far)|what(?:'s| is| are| was| were) (?:an? |the (?!result|outcome|score|winner|verdict|status|latest|"
    r"news|call|count|standing|situation|state of|update|lead|margin|tally|final|official|name|answer|word))|what (?:does|do|did)\b.{0,40}\b(?:mean|stand for|do)\b|what happens|"
    r"explain|why|(?:which|what) party|who (?:is|are|was) (?:standing|running|on the ballot|a candidate|the candidates)|quel parti|qui se presente|define|definition|meaning of|difference between|describe|summari[sz]e|why (?:do|does|is|are|did)|"
    r"who (?:can|may|is allowed|is eligible|counts|decides|runs|organi[sz]es|is running|are the candidates)|when (?:do|does|did|are|is|will)|where (?:do|does|can|is|are|did)|"
    r"which (?:offices|languages|parties)|can (?:i|you|people|one|citizens)|"
    r"comment|qu'est-ce qu(?:e c'est|'un)|c'est quoi|explique\w*|definition|definis|difference entre|decris|resume|pourquoi|qui (?:peut|a le droit|organise|compte|decide|sont les candidat)|"
    r"quand|ou (?:peut|sont|est|vote)|combien|a quoi|quel(?:le)?s? (?:est|sont|etait) (?:la |le |les |l')(?!resultat|issue|score|vainqueur|verdict|gagnant|situation|dernier|nom|reponse))\b"
)
_OFFICE = r"(?:president|mayor|governor|senator|premier|chancellor|prime minister|leader|champions?|presidente?|maire|mairesse|gouverneure?|chanceli\w+)"
_OVER = (
    r"(?:w[io]n|won|wins|winner|elected|re-?elected|lost|lose|over|called|decided|settled|official|final|guilty|convict(?:ed)?|acquit(?:ted)?|cleared|innocent|keep|kept|held|hold|receive[ds]?|recue?|obtenue?|eu|died|dead|alive|declared|conceded?|certified|"
    rf"confirmed|get|got|passed|approved|true|beaten|defeated|out|{_OFFICE}|elue?|reelue?|gagne|perdu|battue?|vainqueur|mort|morte|decedee?|coupable|acquittee?|finie?|terminee?|emporte|remporte|plie|jouee?)"
)
_ASKING = re.compile(
    rf"\b(?:who|which|whom|whose|who's)\b.{{0,60}}\b(?:won|wins?|winning|winner|elected|take[sn]?|took|got|gets?|lead(?:s|ing)?|ahead|beat|lost|loses|victor\w*|next|new|champion|prevail\w*|triumph\w*|on top|succeeds?|"
    rf"came out|first place|it|{_OFFICE})\b|\b(?:qui|quel(?:le)?|lequel|laquelle)\b.{{0,60}}\b(?:gagne\w*|gagnant\w*|remporte\w*|emporte\w*|elue?|vainqueur|perdu|en tete|battu\w*|mene|dirige\w*|{_OFFICE})\b|"
    rf"\b(?:did|has|have|is|was|are|will|does|do|can|could|has it|'s|est-ce que|est|a|ont)\b.{{0,60}}\b{_OVER}\b|"
    r"\bwhich way did\b.{0,60}\bgo\b|\bwho'?s in\b|\bvoted (?:off|out)\b|\breach(?:ed)? (?:a|its) (?:decision|verdict)\b|\boui ou non\b|\byes or no\b|\best-(?:il|elle) passee?\b|"
    r"\b(?:results?|outcome|winner|verdict|score|standings?|tally|state of play|status of|latest|update|news|how did .{0,40}\b(?:go|end|do)|how is .{0,40}\bgoing|what happened|what's happening|call it|final count|"
    r"any (?:news|word|result)|resultats?|issue|vainqueur|gagnant\w*|victoire|en est|ou en|alors\b.{0,20}\?|depouillement|donne quoi)\b"
)
_FIRST_PERSON = re.compile(
    r"\b(?:i|we|my|our|me|je|j'ai|nous|mon|ma|mes) (?:have |just |ai |avons )?(?:lost|won|beat|perdu|gagne|keys)\b|\bshould i\b|\bdois-je\b|\bcan i\b|\bmy (?:plant|dog|cat|team|phone|keys|game)\b"
)
_SKILL = re.compile(
    r"\b(?:function|code|script|python|javascript|sql|regex|program|class|algorithm|spreadsheet|formula|recipe|synonyms?|antonyms?|rhymes? with|spell|conjugat\w+|plural of|meaning of|noun|verb|adjective|"
    r"fonction|programme qui|synonymes?|contraire|orthographe|conjugue\w*|rime avec|recette|packing list|in a sentence|example sentence|dans une phrase|thank-you note|invitation|to-do list|itinerary|checklist|note to|letter to|email to|lettre a|"
    r"fable|board game|novel|film|movie|video game|chess|conte|roman|jeu de)\b"
)
_PRIZES = re.compile(r"\b(?:awards?|prizes?|oscars?|cesars?|palme|prix)\b")
"""Of a film: that is no exercise."""
_NAMELY = re.compile(
    r"\b(?:just|only|simply|give|tell|say|name|answer|one word|two words|juste|seulement|donne|dis|nomme|reponds)\b.{0,30}\b(?:name|nom|who|qui|it|le|word|mot|answer|reponse)\b"
)


def _intent(folded: str, question: str, about: Sequence[Standing], past: bool) -> Intent:
    now = NOWADAYS.search(folded)
    if about and (language_of(question) == "other" or _COMPLETE.search(folded)):
        return "outcome"
    if _FILL_IN.search(folded) and _kinds(folded):
        return "outcome"
    if about:
        return _intent_about(folded, question, about, past)
    if TRANSLATION.search(folded) or LANGUAGE.search(folded):
        return "translation"
    if FICTION.search(folded) and not _TRUE.search(folded):
        return "fiction"
    if (past or HISTORY.search(folded) or EVER.search(folded)) and not now and not ANNOUNCING.search(folded):
        return "history"
    shape = masked(question, Cast(), first=False)
    if (_SKILL.search(folded) or _FIRST_PERSON.search(folded)) and not _PRIZES.search(folded):
        return "exercise"
    if _WHO_IS.search(shape.text):
        return "other"
    if ANNOUNCING.search(folded) or _NAMELY.search(folded):
        return "outcome" if CORE.search(folded) or _ASKING.search(folded) else "other"
    if _EXPLANATION.search(folded):
        came_out = _kinds(folded) and _CAME_OUT.search(folded) and not _GENERIC_RULE.search(folded)
        return "outcome" if came_out or _asks_how_it_came_out(folded) else "explanation"
    asks = _ASKING.search(folded) or CORE.search(shape.text) or _misspelt(folded)
    lone = re.fullmatch(r"\W*(?:so|and|well|now|alors|et|donc)\W*@0\W*\?", shape.text)
    return "outcome" if asks or lone else "other"


def _intent_about(folded: str, question: str, about: Sequence[Standing], past: bool) -> Intent:
    shape = masked(question, about[0].cast, first=False)
    own = {word for standing in about for phrase in standing.event.phrases for word in words(phrase)}
    names = any(len(name) > 2 and not name.isupper() and not set(words(name)) <= own for name in shape.names)
    harmless = harmless_intent(folded, shape.text, past=past, names=names)
    if harmless is not None:
        return harmless
    named = any(link(question, standing.event, standing.cast).strength > 1 for standing in about)
    if named or names:
        return "outcome"
    # Of a place alone people ask much else.
    asks = _ASKING.search(folded) or CORE.search(shape.text) or TURNS.search(shape.text) or _misspelt(folded)
    bare = set(words(question)) <= own | _FILLING
    if any(standing.event.kind in _kinds(folded) for standing in about):
        return "outcome"
    if asks or bare or ANNOUNCING.search(folded) or _NAMELY.search(folded) or asks_of_the_world(question):
        return "outcome"
    return "exercise" if _SKILL.search(folded) or _FIRST_PERSON.search(folded) else "other"


_FILLING = frozenset(["so", "and", "well", "now", "alors", "et", "donc", "the", "in", "of", "election", "race", "vote"])
_CAME_OUT = re.compile(
    r"\b(?:which|what|quel(?:le)?) (?:party|side|team|film|parti|camp|equipe)\b.{0,20}\b(?:won|wins|win|took|gagne|remporte|emporte)|\bhow did .{0,60}\bgo\b"
)
_FILL_IN = re.compile(
    r"\b(?:fill in|fill the|complete (?:the|this)|insert the|finish (?:the|this) sentence|complete\w* la phrase|termine\w* la phrase)\b|___"
)
_COMPLETE = re.compile(_FILL_IN.pattern + r"|…|\.\.\.")
_WHO_IS = re.compile(
    r"^\W*(?:so |and |et )?(?:who|qui)(?: is| are| was|'s| est| sont| etait) (?:@\d+|the candidates?|les candidats?)(?: (?:and|et) @\d+)?\W*$"
)
_SPELLINGS = (
    "prez",
    "winner",
    "winning",
    "elected",
    "election",
    "results",
    "victory",
    "president",
    "vainqueur",
    "gagnant",
    "resultat",
)


def _misspelt(folded: str) -> bool:
    """Whether a word of outcomes stands there with a slip of the keyboard."""
    return any(
        get_close_matches(word, _SPELLINGS, n=1, cutoff=0.84)
        for word in words(folded)
        if len(word) > 4 and word not in _SPELLINGS and word not in COMMON
    )


_GENERIC_RULE = re.compile(
    r"\bgood losers?\b|\bbons? perdants?\b|\b(?:winner|vainqueur|gagnant|president|mayor|maire|votes?|ballots?|results?|resultats?) (?:is|are|est|sont|get|gets|be) (?:determined|decided|chosen|counted|certified|elected|announced|declared|published|designee?|determinee?s?|elue?s?|choisie?s?|comptee?s?)\b|"
    r"\b(?:to win|to be elected|pour gagner|pour etre elue?|what happens|que se passe|when (?:do|does|did|will) (?:polls|counting|the polls|the count|voting|results)|who (?:counts|certifies|decides|is running|is standing)|how many (?:voters|people|seats|rounds|candidates|districts|votes (?:are|does|do|is))|"
    r"why (?:has|have|is|are|was) (?:nobody|no one|no \w+|there no|it not|the \w+ not)|pourquoi (?:personne|aucun|n'))\b"
)


def _asks_how_it_came_out(folded: str) -> bool:
    """Whether what looks like a question for an explanation, about no event of the register, asks how something came
    out all the same."""
    if _GENERIC_RULE.search(folded) or re.search(r"\bdifferences? (?:between|entre)\b", folded):
        return False
    if re.search(
        r"\b(?:how (?:is|are|did|was|were)|what(?:'s| is| was)?|comment|quel(?:le)? est)\b.{0,40}\b(?:going|doing|do\b|looking|end|turn out|come out|status|state of play|latest|result|score|outcome|verdict|winner|call|standing|resultat|vainqueur|finie?|en est|se passe|passee?)",
        folded,
    ):
        return not re.search(r"\bwhat (?:does|do) (?:the|a|an)\b", folded)
    live = _kinds(folded) and NOWADAYS.search(folded)
    return bool(live and re.search(r"\b(?:summari[sz]e|resume|recap|tonight|ce soir|soiree)\b", folded))


def _after_command(folded: str) -> str:
    """What is to be translated: what stands in quotes or behind a colon, else all of it."""
    found = re.search(r"[\"“«:](.+)$", folded)
    return found.group(1) if found else folded


# Events that no phrase names.

_KINDS = {
    "election": r"election\w*|prez|elected|re-?elected|vote\w*|ballots?|president\w*|mayor\w*|governor\w*|senat\w*|parliament\w*|runoff|race|referendum|primar(?:y|ies)|constituenc\w+|seat|congress\w*|elue?|scrutin|maire|municipales?|legislatives?|by-election|censure|no-confidence|preside|cheffe?s? d\w+ parti|presidentielle\w*|electoral\w*|candidate?s?|challengers?|incumbents?|sortante?s?",
    "verdict": r"verdict|trial|jury|guilty|convict\w*|acquit\w*|court|sentenc\w*|proces|coupable|condamn\w*|relaxe\w*|tribunal",
    "award": r"award\w*|prize|oscars?|grammys?|emmys?|nobel|golden \w+|best (?:picture|actor|actress|director|film|album|song)|pulitzer|booker|palme|cesars?|prix|laureate?",
    "match": r"match|game|cup|final|championship|league|series|super bowl|tournament|vs?|grand prix|medal|score|derby|coupe|finale|tournoi|championnat",
    "death": r"funeral|obseques|funerailles|enterrement|died|dead|death|alive|passed away|mort|morte|decede\w*|deces|vivante?",
}


def _kinds(folded: str) -> set[str]:
    return {kind for kind, pattern in _KINDS.items() if re.search(rf"\b(?:{pattern})\b", folded)}


def _guess(question: str, folded: str, standings: Sequence[Standing], now: datetime) -> tuple[list[Standing], str]:
    """The events under way that a question without names means, or else the kind of the one that nobody registered."""
    kinds = _kinds(folded)
    if re.fullmatch(r"\W*(?:so|and|well|now|alors|et|donc)?\W*@0\W*", masked(question, Cast()).text):
        return [], "election"
    live = [
        s
        for s in standings
        if _under_way(s, now) and (s.event.kind in kinds or not kinds or s.event.kind not in _KINDS)
    ]
    if live and not _foreign(question, live):
        return live, ""
    names = masked(question, Cast()).names
    if "death" in kinds:
        return [], "death" if names and _IS_DEAD.search(folded) else ""
    for kind in ("verdict", "award", "match", "election"):
        if kind in kinds:
            return [], kind
    shape = masked(question, Cast())
    winning = _WINNING.search(folded) or CORE.search(shape.text)
    return [], "election" if names and winning and not _WARS.search(folded) else ""


_WINNING = re.compile(r"\b(?:w[io]n|won|wins|winner|elected|gagne|remporte|elue?|vainqueur)\b")
_WARS = re.compile(r"\b(?:battles?|wars?|siege|revolution|crusades?|batailles?|guerres?|croisades?)\b")


def names_in_question(topic: Topic, question: str) -> tuple[str, ...]:
    """Whom and what a question names of which it may want to know how it came out, if posts speak of it; see `tells_of`."""
    if topic.wants_outcome or topic.standings or topic.past:
        return ()
    folded, shape = fold(question), masked(question, Cast())
    if topic.language == "other":
        return shape.names  # nobody knows what is asked
    if _WARS.search(folded) or _GENERIC_RULE.search(folded):
        return ()
    if harmless_intent(folded, shape.text, past=False, names=False) is not None:
        return ()
    asks = CORE.search(without_pending(shape.text)) or TURNS.search(shape.text) or _ASKING.search(folded)
    return shape.names if asks or _kinds(folded) or _misspelt(folded) else ()


def tells_of(text: str, names: Sequence[str]) -> bool:
    """Whether a text tells how something came out for one of `names`, or of an election, a trial or an award there."""
    said = set(words(text))
    if not any(set(words(name)) <= said for name in names):
        return False
    return bool(CORE.search(masked(text, Cast()).text) or _kinds(fold(text)) & {"election", "verdict", "award"})


_IS_DEAD = re.compile(
    r"\b(?:is|has|did|was|est|a)\b.{0,60}\b(?:dead|died|die|alive|passed away|killed|mort|morte|decede\w*|vivante?)\b|\b(?:est-il|est-elle)\b"
)


def _yes_no(folded: str) -> bool:
    return bool(
        re.match(
            r"\W*(?:so |and |ok |okay |hey |please |alors |et |donc )?(?:did|has|have|is|was|are|were|will|does|do|can|could|est-ce|a-t-|est-|il a|elle a)",
            folded,
        )
    )


def is_yes_no(question: str) -> bool:
    """Whether a question can be answered by yes."""
    return _yes_no(fold(question)) or bool(
        re.search(r"\b(?:right|yes or no|correct|n'est-ce pas|oui ou non|non)\s*\?*$", fold(question))
    )


def _foreign(question: str, standings: Sequence[Standing]) -> bool:
    """Whether a place is named that none of the events has."""
    for standing in standings:
        shape = masked(question, standing.cast)
        if not re.search(
            r"\b(?:in|at|of|for|from|en|a|au|aux|de|du|d')\s?@\d+|@\d+'?s? (?:\w+ )?(?:election|race|trial|vote|match|cup|award|final|referendum|runoff|mayor\w*|president\w*|governor\w*)|"
            r"\b(?:election|race|proces|scrutin|presidentielle|trial)(?: \w+)? (?:de|du|en|a|of|in) @\d+",
            shape.text,
        ):
            return False
    return bool(standings)


_WORLD = re.compile(
    r"\b(?:what (?:are|do|did) (?:people|they|folks|users) (?:say|saying|post|posting|think|thinking|talk)\w*|people (?:are )?(?:saying|posting|talking)|posts? (?:about|on|by|from)|posted|"
    r"latest|news|trending|what'?s (?:new|happening|going on|up with)|what is (?:new|happening|going on)|happening (?:in|at|now|today)|"
    r"on (?:bluesky|mastodon|twitter|x|hacker news)|que (?:dit|disent|pense)\w*|que se passe|quoi de neuf|actualites?|derniere heure|messages? (?:sur|de)|publications?)\b"
)


def asks_of_the_world(question: str) -> bool:
    """Whether a question is about what goes on, so that posts are looked for."""
    return bool(_WORLD.search(fold(question)))
