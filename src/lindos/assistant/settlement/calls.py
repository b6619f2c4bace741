"""Reading who a text says has won: believed only where it says so plainly, in its own words, of this very event.

What cannot be read is no call; so every doubt here errs towards "not settled".
"""

from __future__ import annotations

import re
from dataclasses import replace

from lindos.assistant.settlement.lexicon import GAME
from lindos.assistant.settlement.names import Cast, Masked, _trimmed, masked, same_name
from lindos.assistant.settlement.words import fold, is_loud, plain, sentences, words, years

_ADVERB = (
    r"(?:officially|now|just|narrowly|comfortably|clearly|also|again|duly|formally|finally|has|have|had|been|was|were|is|will be|easily|decisively|"
    r"officiellement|donc|desormais|largement|nettement|finalement|bien|ete|de justesse)"
)
_SUBJECT = rf"@(?P<n>\d+)(?: ?\((?:[^)@]{{0,40}}|@\d+)\))?(?:,[^,@.;:]{{0,60}},)?(?: {_ADVERB})*"
_OFFICE = (
    r"(?:president|mayor|governor|senator|premier|chancellor|prime minister|leader|champions?|head of state|chair\w*)"
)
_CHARGE = r"(?:presidente?|maire|mairesse|gouverneure?|chanceli\w+|premi\w+ ministre|senat\w+|champion\w*)"

_WON = [
    re.compile(pattern)
    for pattern in (
        rf"{_SUBJECT} (?:won|wins?|clinche[sd]|prevail(?:s|ed)|triumph(?:s|ed)|lifts?|lifted)\b(?P<o>[^.;]*)",
        rf"{_SUBJECT} (?:holds|held|hangs|hung|goes|went) on to win\b(?P<o>[^.;]*)",
        rf"{_SUBJECT} (?:flips|flipped|retains|retained|keeps|kept|holds|held) (?:the |ƥ |@\d+ )*(?:senate |council )?(?:seat|race|office|mayoralty|presidency|governorship)\b(?P<o>[^.;]*)",
        r"@(?P<n>\d+) ?\((?:re-?elected|elected|winner|elue?|reelue?|vainqueur)\)(?P<o>[^.;]*)",
        r"\bit'?s @(?P<n>\d+)[:,;] (?:she|he|they)(?:'s| is| are) the (?:winner|victor)\b(?P<o>[^.;]*)",
        rf"\b{_OFFICE}-elect @(?P<n>\d+)(?P<o>[^.;]*)",
        rf"@(?P<n>\d+), (?:re-?)?elected (?:as )?(?:the )?{_OFFICE}\b(?P<o>[^.;]*)",
        rf"\belected\b ?[:\-–—]+ ?(?:{_OFFICE}|the|of|ƥ| )* ?[:\-–—]+ ?@(?P<n>\d+)(?P<o>[^.;]*)",
        rf"@(?P<n>\d+)[^.@;]{{0,60}}\breelue? {_CHARGE}\b(?P<o>[^.;]*)",
        rf"\b(?:la |le )?nouve\w+ {_CHARGE}[^.@;]{{0,30}} s'appelle @(?P<n>\d+)(?P<o>[^.;]*)",
        rf"{_SUBJECT} (?:arrache|conserve) (?:l' ?)?(?:election|la mairie|le siege|la presidence|ƥ)(?P<o>[^.;]*)",
        r"\bface a @(?P<n>\d+), qui (?:remporte|l' ?emporte|gagne)\b(?P<o>[^.;]*)",
        rf"{_SUBJECT} (?:takes|took|captures|captured|secures|secured|carries|carried)\b(?P<o>[^.;]*)",
        rf"{_SUBJECT} (?:defeat(?:s|ed)|beat|beats|beaten|oust(?:s|ed)(?: (?:incumbent|rival|challenger|senator|mayor|governor|president))?|unseat(?:s|ed)(?: (?:incumbent|rival|challenger|senator|mayor|governor|president))?|edge(?:s|d)(?: out)?|top(?:s|ped)|overcomes?|overcame|see(?:s)? off|saw off) @\d+\b(?P<o>[^.;]*)",
        rf"{_SUBJECT} (?:(?:is|was|has been|'s|stands) )?(?:{_ADVERB} )*(?:re-?elected|elected|declared|named|called|confirmed|proclaimed|certified|projected|announced|crowned)"
        rf"(?: (?:as|the|to be|winner|victor|{_OFFICE}|new|next|of|ƥ|projected|official|overall))*(?P<o>[^.;]*)",
        rf"{_SUBJECT} (?:is|are|becomes?|became|will be|'s) (?:the |our |ƥ'?s? |officially )*(?:(?:projected |declared |official |clear )?winner|victor|{_OFFICE}-elect|(?:next|new) (?:ƥ )?{_OFFICE}|(?:the )?(?:ƥ )?champions)(?P<o>[^.;]*)",
        r"\b(?:calls?|called|calling|projects?|projected|projecting|declares?|declared) (?:[^@.;:]{0,60} )?(?:race|contest|election|vote|presidency|runoff|ƥ|it|seat|state|result)"
        r"(?: [^@.;:]{0,40})?,? for @(?P<n>\d+)(?P<o>(?! to\b|'s? ?\w)[^.;]*)",
        r"\b(?:has|have|been|is|was)(?: been)? called for @(?P<n>\d+)(?P<o>(?! to\b|'s? ?\w)[^.;]*)",
        rf"\b(?:declares?|declared|projects?|projected|projecting|confirms?|confirmed|certif(?:y|ies|ied)|names?|named|announces?|announced|proclaims?|proclaimed|rules?)"
        rf"(?: (?:that|the|this|it|race|contest|election|vote|result|presidency|presidential|ƥ|runoff|in|of|as|a|an|decision|is|{_OFFICE}|winner|winner:|victor|today|tonight|now|projected))*"
        rf"(?: winner is| the winner is|:)? @(?P<n>\d+)(?P<o> (?:as |is |to be |has been |the |ƥ'?s? |official |duly |new |next )*(?:winner|victor|elected|re-?elected|won|wins|{_OFFICE}-elect|{_OFFICE})\b[^.;]*)",
        r"\b(?:voters|people|citizens|electorate|ƥ)(?: of ƥ| have| has)* (?:re-?elect(?:ed|s)?|choose|chose|chosen|elects?|elected) @(?P<n>\d+)(?P<o>[^.;]*)",
        rf"^(?:[^@.;]{{0,60}}\b)?(?:winner|the winner|victor|victory|elected|re-?elected|race call|call|called|result|final result|official result|official|outcome|decision|projection)"
        rf"(?: (?:is|in|of|for|the|goes|to|ƥ|race|election|mayoral|presidential|gubernatorial|senate|{_OFFICE}|made|has|been))* ?[:\-–—]* ?(?:for )?@(?P<n>\d+)(?P<o>[^.;]*)",
        r"@(?P<n>\d+)'?s? (?:victory|win|election|re-?election)(?: \w+)? (?:is|was|has been|stands) (?:\w+ )?(?:confirmed|certified|official|final|declared|called|upheld)(?P<o>[^.;]*)",
        r"\b(?:victory|win) (?:for|goes to|of) @(?P<n>\d+)(?P<o>[^.;]*)",
        r"\b(?:goes|went|awarded|given|handed) to @(?P<n>\d+)(?P<o>[^.;]*)",
        r"\bwon by @(?P<n>\d+)(?P<o>[^.;]*)",
        rf"@(?P<n>\d+),? (?:is |the |now )*{_OFFICE}-elect\b(?P<o>[^.;]*)",
        r"\b(?:winner|victor|champion)s? (?:of|in|for) [^@.;:]{0,60}?(?: is| are|:| goes to) @(?P<n>\d+)(?P<o>[^.;]*)",
        rf"{_SUBJECT} (?:(?:is|was|has been) )?(?:awarded|given|presented with|honou?red with|receives?|received) (?:the|a|an|this year's|ƥ)(?P<o>[^.;]*)",
        rf"{_SUBJECT} (?:est |sont )?(?:laureate?s?|recompensee?s?|recoit|obtient)\b(?P<o>[^.;]*)",
        rf"{_SUBJECT} (?:is|are) (?:the |ƥ |cup |league |world )*champions\b(?P<o>[^.;]*)",
        r"\b(?:vainqueure?|gagnante?|laureate?|elue?)\b(?: (?:de|du|la|le|des|a|au|en|l' ?election|election|scrutin|prix|finale|match|ƥ|d'))* est (?:donc )?@(?P<n>\d+)(?P<o>[^.;]*)",
        # French.
        rf"{_SUBJECT} (?:a |ont )?(?:{_ADVERB} )*(?:remporte\w*|gagne\w*|l' ?emporte\w*|triomphe\w*|decroche\w*|s'impose\w*|conquiert)\b(?P<o>[^.;]*)",
        rf"{_SUBJECT} l' ?a (?:{_ADVERB} )*emporte\w*(?P<o>[^.;]*)",
        rf"{_SUBJECT} s'est (?:{_ADVERB} )*imposee?(?P<o>[^.;]*)",
        rf"{_SUBJECT} (?:a |ont )?(?:{_ADVERB} )*(?:bat|battu|vaincu|devance definitivement) @\d+(?P<o>[^.;]*)",
        rf"{_SUBJECT} (?:est |a ete |sort |devient |sera )?(?:{_ADVERB} )*(?:(?:declaree?|proclamee?|annoncee?|donnee?|confirmee?|nommee?) )?(?:re)?(?:elue?|vainqueure?|gagnante?|le vainqueur|la gagnante|"
        rf"le gagnant|(?:le |la )?(?:nouve\w+ |prochaine? )?{_CHARGE})\b(?P<o>[^.;]*)",
        r"\b(?:victoire|election|reelection) (?:de|d'|pour) ?@(?P<n>\d+)(?P<o>[^.;]*)",
        r"\b(?:declare|proclame|annonce|confirme|elit|reelit|donne|attribue)\w*(?: (?:que|l'|le|la|les|election|scrutin|victoire|presidentielle|de|du|ƥ|a|d'|resultat|vainqueur|:))*'? ?@(?P<n>\d+)(?P<o>[^.;]*)",
        r"^(?:[^@.;]{0,60}\b)?(?:vainqueur|elue?|reelue?|resultat(?: officiel| final)?|victoire|gagnante?)(?: (?:de|du|la|le|l'|election|scrutin|ƥ|est|officiel|d'))* ?[:\-–—]* ?@(?P<n>\d+)(?P<o>[^.;]*)",
        r"\b(?:remportee?|gagnee?) par @(?P<n>\d+)(?P<o>[^.;]*)",
        r"\b(?:revient|attribuee?|decernee?) a @(?P<n>\d+)(?P<o>[^.;]*)",
    )
]

_DOUBT = re.compile(
    r"\b(?:not|n't|no|never|nobody|neither|nor|cannot|without|too (?:early|close|soon)|if|unless|whether|should|could|may|might|would|likely|unlikely|probabl\w+|"
    r"possibl\w+|perhaps|maybe|apparent\w*|reported(?:ly)?|alleged(?:ly)?|unconfirmed|unverified|purported|supposed(?:ly)?|expect\w*|poised|on track|on course|heading|"
    r"set to|about to|close to|nears?|nearing|verge|brink|leads?|leading|ahead|trail\w*|exit polls?|polls? (?:suggest|show|indicate|have)\w*|polling|survey|forecast\w*|"
    r"predict\w*|estimat\w*|early (?:results|returns)|partial|preliminary|provisional\w*|claim\w*|rumou?r\w*|fake|false\w*|hoax|debunk\w*|incorrect\w*|wrong\w*|untrue|mistak\w*|error|"
    r"retract\w*|correct(?:ion|ing|s)\b|withdr[ae]w\w*|rescind\w*|revok\w*|satire|parody|joke|hypothe\w+|imagin\w+|scenario|simulat\w*|drill|test|draft|embargo\w*|what if|suppose|"
    r"says? (?:he|she|they|his|her|it)|said (?:he|she|they|his|her|it)|according to (?:his|her|their|the) campaign|campaign (?:says|said|declares|announces)|"
    r"thinks?|believes?|hopes?|wants?|vows?|pledges?|eyes|fears?|odds|bet\w*|says? (?:one|an?|some)\b|(?:prosecut\w+|defen[cs]e|lawyers?|attorneys?|analysts?|experts?|pundits?|witness\w*|supporters?|opponents?|fans?|rumou?rs?|posts?|messages?|procureur\w*|avocate?s?|parquet|accusation) (?:says?|said|argues?|insists?|maintains?|tells?|announce\w*|annonce\w*|dit|affirme\w*|soutien\w*)|chances?|needs?|to win|will win|going to win|would win|winning|"
    r"recount|disput\w*|contest(?:s|ed) the|challenge[sd]? the|appeal\w*|overturn\w*|annul\w*|void\w*|invalid\w*|suspend\w*|pending|awaiting|await|until|before|ago|anniversary|"
    r"(?:wo|do|does|did|has|have|is|was|are|were|ca|could|would)n't|unable to|refus\w+|reports? (?:that|of)|outlets|hack\w*|compromised|ignore|mock|pupils?|students?|graders?|children|kids|readers?|listeners?|viewers?|online poll|pollsters?|debate\w*|"
    r"wrongly|prematurely|(?:rowing|chess|golf|tennis|football|book|student\w*|yacht|garden\w*|drama) (?:club|society|union|association|council)|reconnaitre que|eleves|lecteurs|auditeurs|pirat\w+|ignorez|d'autres medias|"
    r"remember\w*|last (?:time|year|election)|previous(?:ly)?|former(?:ly)?|then-|throwback|on this day|"
    r"pas|jamais|aucun\w*|sans|trop (?:tot|serre)|s'il?|si|peut-etre|probable\w*|possible\w*|serait|aurait|auraient|pourrait|devrait|estimation\w*|sondage\w*|projection\w* partiel\w*|partiels?|partielles?|"
    r"provisoire\w*|tendance\w*|en tete|mene|menent|devance|selon (?:son|sa|ses)|rumeurs?|faux|fausse\w*|dement\w*|rectificati\w*|erratum|retire\w*|annule\w*|conteste\w*|recomptage|recours|"
    r"en attente|attend\w*|avant|jusqu|il y a|ancien\w*|dernier\w* (?:fois|election)|precedent\w*|va gagner|gagnerait|espere\w*|veut|pretend\w*|revendique\w*)\b|\?"
)
# Believed words of doubt that are part of plain calls: "no longer in doubt" is not one of them.
_PLAIN = re.compile(
    r"\b(?:previous champions?|before (?:midnight|noon|dawn)|no recount|estimation definitive|(?:selon|d'apres) (?:nos|notre) estimations?|(?:reports|rumou?rs|claims) (?:are|were) false)\b|"
    r"(?<=@\d) (?:[^.@]{0,20} )?to (?:win|take|lift|claim|become)\b"
)

_ELSEWHERE = re.compile(
    r"^(?: (?:in|the|at|of|a|an|his|her|their|party's|ƥ|many|several|some|all|most|rural|urban|local|first|second|early|postal|absentee|mail|le|la|les|du|de|dans|au|aux|en|l'|un|une|premier))*"
    r" (?:@\d+|(?:\w+ )?(?:town|village|city|borough|suburb|island|commune|ville) (?:of|de) (?:\w+ )?@|(?:\w+ )?(?:county|counties|district|precinct|province|region|ward)\b|county|counties|precincts?|districts?|wards?|provinces?|regions?|debate|endorsement|lawsuit|court|appeal|straw|bet|lottery|primary|primaries|nomination|(?:city |town |county )?council(?: seat)?s?\b|chair(?:man|woman|person)? of|club|association|society|board|des (?:voix|sieges)|du terrain|votes\b|ground|quartiers?|"
    r"round|set|half|toss|coin|leg|quarter|period|vote in|votes? from|votes? of|backing|support|approval|praise|postal|ballots?|delegates?|seats? in|most of|majority of|part of|some of|"
    r"comtes?|cantons?|circonscriptions?|arrondissements?|departements?|debat|primaire|investiture|tour|manche|mi-temps|soutien|bureaux?)\b"
)
_RETRACTION = re.compile(
    r"\b(?:not (?:yet )?call(?:ed|ing)|not (?:yet )?made (?:a|any|the) (?:call|projection)|no call|haven't called|does not call|do not call|uncalled|undecided|unsettled|takes? back|took back|taken back|(?:is|are) false(?!: \w)|has not (?:yet )?(?:been )?called|too (?:early|close) to call|retract\w*|withdraw\w*|withdrew|rescind\w*|correction|we were wrong|"
    r"call(?:ed)? (?:was )?(?:in error|wrong|premature)|n'a pas (?:ete|encore)|trop (?:tot|serre)|rectificatif|nous retirons|annule son annonce|retire son annonce|indecis|erratum)\b"
)

_GUILTY = re.compile(r"\b(?:guilty|convicted|convicts|conviction|coupables?|condamnee?|condamne)\b")
_CLEARED = re.compile(
    r"\b(?:not guilty|acquitted|acquits|acquittal|cleared of|innocent|non[- ]coupables?|acquittee?|acquitte|relaxee?|relaxe)\b"
)
_DEAD = re.compile(
    r"\b(?:has died|have died|died|dies|is dead|was (?:found )?dead|passed away|death of|est morte?|est decedee?|a ete tuee?|mort de|deces de|meurt)\b"
)
_ALIVE = re.compile(r"\b(?:is alive|alive and well|is not dead|is very much alive|est (?:bien )?vivante?|est en vie)\b")
_SCORE = re.compile(
    r"@(?P<a>\d+) (?P<x>\d{1,3})\s?[-–:]\s?(?P<y>\d{1,3}) @(?P<b>\d+)|@(?P<c>\d+) (?P<z>\d{1,3}),? @(?P<d>\d+) (?P<w>\d{1,3})"
)
_OVER = re.compile(
    r"\b(?:full[- ]time|ft|final score|final result|final|final whistle|final:|fin du match|score final|termine|resultat final)\b"
)


def takes_back(text: str) -> bool:
    """Whether a source says that it has made no call, or makes it no longer."""
    return bool(_RETRACTION.search(fold(text)))


def own_words(text: str) -> str:
    """A post without what it quotes: the words of others are not its author's. A short quotation without a verb may
    be a name, and stays."""

    def judged(found: re.Match[str]) -> str:
        inside = found.group(1)
        titled = len(words(inside)) <= 6 and sum(w[:1].isupper() for w in inside.split()) * 2 >= len(inside.split())
        return f" {inside} " if titled and not re.search(r"[.!?]", inside) and not _is_statement(inside) else " "

    text = re.sub(r"(?m)^\s*>.*$|^\s*(?:RT|via) @?\S+.*$", " ", text)
    return re.sub(r"[\"“”«»„]([^\"“”«»„]{1,600})[\"“”«»„]", judged, text)


def _is_statement(text: str) -> bool:
    return bool(
        re.search(
            r"\b(?:wins?|won|elected|victory|leads|is|are|has|have|guilty|beats?|gagne|remporte|elue?|est|a)\b",
            fold(text),
        )
    )


def read_call(text: str, kind: str, cast: Cast, current: range) -> str | None:
    """The outcome that a post by an authoritative source states as a fact, or None.

    `current` are the years that may stand in it. The outcome is a name as it is written there, or `guilty`,
    `not guilty`, `died`, `draw`.
    """
    if takes_back(text):
        return None
    found: list[str] = []
    for sentence in sentences(own_words(text)):
        outcome = read_statement(sentence, kind, cast, current)
        if outcome is not None and not any(same_outcome(outcome, other) for other in found):
            found.append(outcome)
    return found[0] if len(found) == 1 else None


def read_statement(sentence: str, kind: str, cast: Cast, current: range) -> str | None:
    """The outcome that one sentence plainly states; see `read_call`."""
    if any(year not in current for year in years(plain(sentence))):
        return None
    sentence = _spoken(sentence)
    shape = masked(sentence, cast)
    if kind == "verdict":
        return _read_verdict(shape)
    if kind == "death":
        return _read_death(shape)
    if kind == "match" and (drawn := _read_score(shape)) is not None:
        return drawn
    doubtful = _PLAIN.sub(" ", _settled_projection(masked(sentence, cast, first=False).text))
    if _DOUBT.search(doubtful):
        return None
    return _read_winner(replace(shape, text=_settled_projection(shape.text)), cast)


def _spoken(sentence: str) -> str:
    """A headline all in capitals as one whose capitals tell names."""
    return sentence.title() if is_loud(sentence) else sentence


_PROJECTION = re.compile(
    r"\b(?:we|desk|press|agency|news|network|@\d+|wire|commission|television|tv|radio)?\b ?(?:can |now |is |are |also )*project(?:s|ed|ing|ion)?(?: that|:)*"
    r" (?P<who>@\d+(?: ?\([^)@]{0,40}\))?) (?:will|to|is going to|is set to) (?:win|take|carry|defeat|beat|be(?: re-?)?elected)\b"
)
_OTHERS = re.compile(
    r"\b(?:analysts?|experts?|pundits?|models?|markets?|polls?|pollsters?|strategists?|forecast\w*|bookmakers?|campaign|party|supporters?|early)\b"
)


def _settled_projection(text: str) -> str:
    """A race that a newsroom calls by projecting it: "we project that X will win" is its way to say "X wins"."""
    return text if _OTHERS.search(text) else _PROJECTION.sub(r"\g<who> wins", text)


def _read_winner(shape: Masked, cast: Cast) -> str | None:
    winners: list[str] = []
    for pattern in _WON:
        for found in pattern.finditer(shape.text):
            if _ELSEWHERE.match(found.group("o") or ""):
                return None
            winners.append(full_name(shape.names[int(found.group("n"))], cast))
    distinct: list[str] = []
    for name in winners:
        if not any(same_outcome(name, other) for other in distinct):
            distinct.append(name)
    if len(distinct) != 1 or _ambiguous(distinct[0], cast):
        return None
    return distinct[0]


def full_name(name: str, cast: Cast) -> str:
    """A name in full where exactly one longer one of the cast may be meant."""
    name = " ".join(re.sub(r"^(?:[dl]['’])|['’]s?$", "", name.strip()).split())
    exact = [known for known in cast.names if words(known) == words(name)]
    if exact:
        return exact[0]
    longer = {known for known in cast.names if same_name(known, name) and len(words(known)) > len(words(name))}
    distinct = {" ".join(words(known)): known for known in longer}
    return next(iter(distinct.values())) if len(distinct) == 1 else _trimmed(name) or name


def _ambiguous(name: str, cast: Cast) -> bool:
    """Whether several of the cast may be meant: two with one surname."""
    alike = {" ".join(words(known)) for known in cast.names if same_name(known, name) and len(words(known)) > 1}
    if " ".join(words(name)) in alike:
        return False
    return len(alike) > 1


def _read_verdict(shape: Masked) -> str | None:
    if _DOUBT.search(re.sub(r"\bnot guilty\b|\bnon[- ]coupables?\b|\bcourt of appeal\b", " ", shape.text)):
        return None
    cleared = bool(_CLEARED.search(shape.text))
    guilty = bool(_GUILTY.search(re.sub(r"\bnot guilty\b|\bnon[- ]coupables?\b", " ", shape.text)))
    if re.search(r"\b(?:pleads?|pleaded|pled|plaide\w*|plead)\b", shape.text) or guilty == cleared:
        return None
    return "guilty" if guilty else "not guilty"


def _read_death(shape: Masked) -> str | None:
    dead, alive = bool(_DEAD.search(shape.text)), bool(_ALIVE.search(shape.text))
    doubtful = _DOUBT.search(_PLAIN.sub(" ", re.sub(r"\bis not dead\b", " ", shape.text)))
    return None if doubtful or dead == alive else "died" if dead else "alive"


def _read_score(shape: Masked) -> str | None:
    """Who has more points in a final score; None where none stands there."""
    if not _OVER.search(shape.text) or not GAME.search(shape.text):
        return None
    found = _SCORE.search(shape.text)
    if found is None:
        return None
    first, second = (found.group("a"), found.group("b")) if found.group("a") else (found.group("c"), found.group("d"))
    points = (int(found.group("x") or found.group("z")), int(found.group("y") or found.group("w")))
    if points[0] == points[1]:
        return "draw" if not re.search(r"\b(?:penalt\w+|pens|shootout|extra time|tirs au but)\b", shape.text) else None
    return shape.names[int(first if points[0] > points[1] else second)]


_FIXED = {
    "guilty": "guilty", "convicted": "guilty", "coupable": "guilty", "condamne": "guilty", "condamnee": "guilty", "conviction": "guilty",
    "not guilty": "not guilty", "acquitted": "not guilty", "acquittal": "not guilty", "non coupable": "not guilty", "acquitte": "not guilty",
    "acquittee": "not guilty", "relaxe": "not guilty", "innocent": "not guilty",
    "died": "died", "dead": "died", "death": "died", "deceased": "died", "mort": "died", "morte": "died", "decede": "died", "decedee": "died",
    "alive": "alive", "vivant": "alive", "vivante": "alive", "draw": "draw", "tie": "draw", "match nul": "draw", "nul": "draw",
}  # fmt: skip


def same_outcome(one: str, other: str) -> bool:
    """Whether two outcomes are the same: equal up to spelling, a fixed one in other words, or two ways to name one."""
    first, second = " ".join(words(one.replace("-", " "))), " ".join(words(other.replace("-", " ")))
    if first == second:
        return bool(first)
    if first in _FIXED or second in _FIXED:
        return _FIXED.get(first, first) == _FIXED.get(second, second)
    return same_name(one, other)
