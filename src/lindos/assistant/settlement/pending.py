"""What may be said with words of winning while nothing is settled: that it is not, how it works, what was long ago."""

from __future__ import annotations

import re
from functools import lru_cache

from lindos.assistant.settlement.lexicon import ANONYMOUS

_GAP = r"[^.,;:!?@…]"
_PARTICIPLE = (
    r"(?:called|declared|decided|certified|settled|announced|elected|won|confirmed|over|conceded|finished|known|projected|named|"
    r"chosen|reached|official|final|determined|published|clear|in)"
)

_OPEN = [
    # Not yet.
    rf"\b(?:no|neither|nobody|no one|none)\b{_GAP}{{0,60}}?\b(?:has|have|was|is|are|been|can be)\b{_GAP}{{0,40}}?\b{_PARTICIPLE}\b(?:{_GAP}{{0,20}}\byet\b)?",
    r"\b(?:there (?:is|was)|we have|has|have)(?: still| as yet)? no (?:winner|result|outcome|verdict|call|decision|official \w+|clear winner)(?: yet| so far| so soon)?",
    r"\bno (?:winner|result|outcome|verdict|call|decision)(?: yet| so far| as yet)\b",
    rf"\b(?:has|have|is|are|was|were|had)(?: ?n't|n't| not)(?: yet| been| officially| formally| so far| even)* (?:been )?{_PARTICIPLE}(?: yet| so far)?\b",
    rf"\bnot (?:yet |been |officially |formally )+{_PARTICIPLE}\b",
    r"\btoo (?:early|close|soon) to (?:call|say|tell|know|declare|announce|name)\b(?: (?:it|a winner|the winner|the race|the election|who won|who has won|who wins|anything))*",
    r"\b(?:uncalled|undecided|unsettled|up for grabs|yet to (?:be )?\w+)\b(?: a winner| the winner)?",
    rf"\b(?:will not|won't|cannot|can't) be {_PARTICIPLE}{_GAP}{{0,40}}",
    rf"\b(?:results?|winner|outcome|verdict)\b{_GAP}{{0,30}}\b(?:will|would|should|may|might|could|can|is to|are to|is expected|are expected|is due|are due)\b{_GAP}{{0,60}}",
    # Before, until, whoever.
    rf"\b(?:before|until|till|once|unless|whether|as soon as|in case|regardless of|no matter|if)\b{_GAP}{{0,90}}",
    rf"(?:^|\b(?:know|knows|known|say|tell|see|decides?|decided|determines?|determined|about|of|on|asks?|asking|question|matter|wonder|guess|learn|"
    rf"announce|predict|out|to)\b) ?(?:who|whoever|which \w+|which|what|when|where)\b{_GAP}{{0,80}}",
    rf"[,;:(] ?(?:whoever|what|when|where)\b{_GAP}{{0,80}}",
    # How it works.
    rf"\b(?:the|a|any|every|each|an) (?:eventual |next |new |future |overall |declared )*(?:winner|victor|winning \w+|elected \w+|president-elect|mayor-elect|"
    rf"loser|losing \w+|(?:new |next )(?:president|mayor|governor|senator|chancellor|premier|prime minister))s? (?:will|would|must|has to|have to|"
    rf"is expected to|needs?|serves?|may|can|should|takes|gets|receives|is (?:whoever|determined|decided|chosen|the (?:candidate|person|one|party|team|side) (?:with|who gets|that gets)))"
    rf"{_GAP}{{0,120}}",
    rf"\b(?:to|can|could|must|may|might|order to|needed to|required to|chance (?:to|of)|hop\w+ (?:to|of)|aim\w* to|trying to|way to|path to) "
    rf"(?:\w+ )?(?:win|winning|victory|be elected|elect|secure|beat|defeat|lose|losing|prevail|concede|contest)\b{_GAP}{{0,60}}",
    rf"\b(?:the|a|any|whichever) (?:candidate|party|side|team|person|list|ticket|film|movie|book|entry|nominee|player|one)s? (?:with|who gets|that gets|receiving|getting|having|gaining|scoring)"
    rf"{_GAP}{{0,80}}",
    r"\b(?:win|winning|victory) (?:condition|threshold|margin|speech is|probability|chance)s?\b|\bmargin of victory\b|\bwin[- ]probability\b",
    r"\bcall(?:ed|s|ing)? (?:for|on|upon) (?:calm|patience|a recount|an? inquiry|voters|everyone|people)\b|\bso-called\b|\bcalled an election\b",
    # The same in French.
    rf"\b(?:aucune?|personne|nul|ni l'un ni l'autre)\b{_GAP}{{0,60}}?\bn' ?(?:a|est|ont|sont)\b{_GAP}{{0,60}}",
    r"\b(?:il n'y a|on n'a|pas|sans)(?: toujours)?(?: pas)?(?: encore)? (?:de|d') ?(?:vainqueur|gagnante?|resultat|verdict|elue?|decision|annonce)\b(?: connu\w*| declare\w*| officiel\w*)*",
    r"\b(?:n' ?|ne )(?:a|est|ont|sont|sera|seront|peut)(?: \w+)?(?: toujours)? pas(?: encore)?(?: ete| etre)? \w+(?: \w+e)?",
    r"\bpas encore (?:ete )?(?:\w+e|connue?|elue?|vainqueur|fini|acquise?)\b",
    r"\btrop (?:tot|serre) pour \w+(?: (?:un vainqueur|le vainqueur|qui a gagne|quoi que ce soit))?",
    rf"\b(?:avant|jusqu'a|tant que|des que|a moins|sauf si|si|afin|pour que)\b{_GAP}{{0,90}}",
    rf"(?:^|\b(?:savoir|dire|voir|de|sait|demande\w*|decid\w+|annonc\w+|sur|predire|deviner)\b) ?(?:qui|quiconque|quel|quelle|quand|comment|pourquoi|celui qui|celle qui)\b{_GAP}{{0,80}}",
    rf"\b(?:le|la|un|une|chaque) (?:futur |future |prochain |prochaine |nouveau |nouvelle |eventuel )*(?:vainqueur|gagnant|gagnante|elue?|laureate?|perdant|president|presidente|maire) "
    rf"(?:sera|devra|doit|prendra|pretera|entrera|aura|pourra|peut|est (?:celui|celle|le candidat|la candidate|designe|determine|connu))\w*{_GAP}{{0,120}}",
    rf"\b(?:pour|peut|doit|faut|afin de|de quoi|chances? de|espoir de|besoin de) (?:\w+ )?(?:gagner|etre elue?|l'emporter|remporter|battre|perdre|elire|vaincre){_GAP}{{0,60}}",
    rf"\b(?:le|la|un|une|tout) (?:candidate?|parti|liste|equipe|personne) (?:qui (?:obtient|recueille|recoit|rassemble)|ayant|avec|arrivee? en tete){_GAP}{{0,80}}",
    rf"\bles? (?:resultats?|vainqueur|verdict)\b{_GAP}{{0,30}}\b(?:sera|seront|devrait|devraient|doit|doivent|est attendu|sont attendus)\b{_GAP}{{0,60}}",
]
_OPEN += [
    r"\b(?:plead(?:s|ed|ing)?|pled|plaid\w+)(?: \w+)? (?:not guilty|guilty|non coupable|coupable)\b",
    rf"\b(?:celui|celle) (?:qui (?:a|obtient|recueille|marque)|avec){_GAP}{{0,80}}",
]
_CONDITION = re.compile(
    r"\b(?:if|unless|should|si|s'|a moins qu')\s?(?:s?he|they|elle|ils?|elles)?\s(?:(?:were|was|is|are|be|etait|est|sont|ne soit) )?(?:convicted|found guilty|acquitted|elected|reconnue?s? coupables?|condamnee?s?|acquittee?s?|elue?s?)\b"
)
_TEMPLATES = [re.compile(pattern) for pattern in _OPEN]

# What turns any of these into its opposite, or lets it speak of somebody after all.
_SPOILT = re.compile(
    r"\b(?:doubt\w*|den(?:y|ies|ied|ying)|question(?:s|ed)? that|disput\w+|argu\w+|surpris\w+|secret|mistak\w+|but|except|other than|apart from|besides|"
    r"stop\w*|catch\w*|only|already|anymore|any more|longer|wonder that|doute|nier|nie|secret|surprise|sauf|hormis|deja|mais|plus aucun|seule?)\b"
)


@lru_cache(maxsize=4096)
def without_pending(masked: str) -> str:
    """The masked sentence without those of its parts that say, in so many words, that nothing is settled or how such
    things are settled; a part that names somebody, or speaks of somebody without a name, stays."""
    rest = _CONDITION.sub(" … ", masked)
    for template in _TEMPLATES:
        rest = template.sub(_unless_spoilt, rest)
    return rest


def _unless_spoilt(found: re.Match[str]) -> str:
    part = found.group()
    if _AFTER_ALL.search(found.string[: found.start()].rstrip() + " "):
        return part
    anonymous = ANONYMOUS.search(re.sub(r"\b(?:it|its|il y a|il n'y a)\b", " ", part))
    spoilt = _SPOILT.search(part) or "@" in part or (anonymous and not _GENERIC.search(part))
    return part if spoilt else " … "


_AFTER_ALL = re.compile(
    r"\b(?:fail\w*|manag\w+|goes on|went on|going|able|unable|happy|proud|thrilled|honou?red|delighted|set|sure|bound|certain|destined|come back|came back|lived|"
    r"reussi\w*|parvenue?|parvient|heureu\w+|fiere?|sure?|va|vont|vient|viennent|echoue\w*) $"
)
"""Failed to win, managed to win: what follows happened, or will."""

# The new president will be sworn in: that is an office, not somebody.
_GENERIC = re.compile(
    r"\b(?:the|a|le|la|un|une) (?:eventual |next |new |future |futur |future |prochain |prochaine |nouveau |nouvelle )+(?:president|presidente|mayor|maire|governor|senator|minister|government)\b"
    r"|\bwhoever\b|\bquiconque\b"
)

_LIVE = re.compile(
    r"\b(?:now|tonight|today|just|this time|this year|again|finally|at last|breaking|currently|new|latest|moments ago|minutes ago|hours ago|yesterday|last night|"
    r"has|have|'ve|is|are|will|officially|live|"
    r"maintenant|ce soir|aujourd'hui|enfin|cette fois|cette annee|a l'instant|hier|actuellement|desormais|vient de|officiellement|est (?!ne)|sera)\b"
)
_PAST_YEAR = re.compile(
    r"\b(?:in|of|the|during|for|back in|en|de|d'|des|du|lors de|circa|around|by|from|\()\s?(?:the |l'annee |early |late |mid-)?(?:19|20|1[0-8])\d\d\b|(?:[:,]|\b(?:cup|coupe|monde|championship|final|finale|olympics)) ?(?:19|20|1[0-8])\d\d\b|\b(?:19|20|1[0-8])\d\d's?\b(?= (?:election|race|vote|contest|final|runoff|edition|award|ceremony|trial|campaign|scrutin))"
)
_SINCE = re.compile(
    r"\b(?:since|than in|unlike|like in|as in|after|depuis|comme en|contrairement)\b[^.]{0,25}\b(?:19|20|1[0-8])\d\d\b"
)
_LONG_AGO = re.compile(
    r"\b(?:(?:two|three|four|five|six|seven|eight|ten|twelve|twenty|\d{1,3}|many|several|some) (?:years|decades|terms|elections|seasons|cycles) (?:ago|earlier|before)|"
    r"(?:a|an?other) (?:decade|century|generation) (?:ago|earlier)|previous(?:ly)?|in the past|historically|back then|at the time|"
    r"(?:the |her |his |its )?(?:(?:last|previous|earlier|prior) (?:election|term|time|race|campaign|contest|edition|ceremony)|first (?:election|term|race|campaign|contest|edition|ceremony))|in (?:antiquity|the middle ages|ancient \w+)|"
    r"il y a (?:\w+ )?(?:ans|annees|decennies|siecles)|a l'epoque|autrefois|jadis|precedente?s?|la derniere fois|par le passe|historiquement)\b"
)


def long_ago(masked: str, named: tuple[int, ...], current: range) -> bool:
    """Whether a masked sentence tells something of another time: a year that is past, or words to that end, and
    nothing that brings it to the present. `named` are the years in it, `current` those of the event."""
    if any(year in current or year >= current.stop for year in named):
        return False
    rest = _SINCE.sub(" ", masked)
    dated = bool(_PAST_YEAR.search(rest)) and any(year < current.start for year in named)
    return (dated or bool(_LONG_AGO.search(rest))) and not _LIVE.search(_harmless_present(rest))


def _harmless_present(masked: str) -> str:
    """Without the present tenses that history is told in."""
    return re.sub(
        r"\b(?:has|have) (?:won|lost|reached|held) (?:(?:it|them|this|that|the \w+) )?(?:\w+ )?times\b|\b(?:has been|have been|is (?:remembered|known|considered|seen|still|one|often|recorded|regarded)|are (?:remembered|known|considered)|"
        r"the (?:19|20|1[0-8])\d\d (?:\w+ )?(?:is|has)|new (?:law|rules|century|constitution)|again in (?:19|20|1[0-8])\d\d)\b",
        " ",
        masked,
    )
