"""Which questions about an event ask for no outcome, by what they do ask for.

Whatever is about an event and is none of these is taken to want its outcome: there are more ways to ask who won than
anybody could list, and only so many things else that people ask about an election, a trial or a match.
"""

from __future__ import annotations

import re
from typing import Literal

Harmless = Literal["history", "fiction", "translation", "explanation", "exercise", "other"]

TRANSLATION = re.compile(
    r"\b(?:translat\w+|traduis\w*|traduire|traduction|how (?:do|would) (?:you|i|one) say|what(?:'s| is) the (?:french|english|spanish|german|italian) (?:for|word)|comment (?:dit|dire)\b|"
    r"(?:rephrase|proofread|correct the (?:grammar|spelling)|corrige l'orthographe)|in(?:to)? (?:french|english|spanish|german|italian)\s*[:\"“«]|en (?:francais|anglais|espagnol|allemand)\s*[:\"“«])"
)
_QUOTED = re.compile(r"[\"“«‘].*[\"”»’]|(?<!\w)'.*'(?!\w)|:.*$")
LANGUAGE = re.compile(
    r"\b(?:correct (?:the|this|my)|grammar|spelling|in the passive|(?:in|into|to) (?:the )?(?:past|present|future|plural|passive|singular)(?: tense)?\b|past tense|plural of|"
    r"what (?:does|do) .{0,20}(?:phrase|word|sentence|expression|term|[\"'“«‘]).{0,80}mean|meaning of|etymolog\w+|define|definition|synonyms?|antonyms?|rhymes? with|spell|pronounc\w+|"
    r"conjugue\w*|mets? (?:cette phrase )?(?:au|a la|en)|corrige\w*|(?:que|qu'est-ce que) (?:veut dire|signifie|ca veut dire)|que signifie|orthographe|definis|c'est quoi|qu'est-ce qu(?:e c'est|'un)|what(?:'s| is) an?|reformule\w*)"
)
_AND_TELL = re.compile(
    r"\b(?:and|et|then|puis|but|mais)\b.{0,30}\b(?:tell|say|dis|dites|whether|who|qui|fill|insert|complete|name of|if (?:he|she|they|it))\b|\bfill in\b|___"
)
"""A second wish behind the first."""

FICTION = re.compile(
    r"\b(?:write|tell|compose|invent|imagine|make up|draft|give|create|sing|continue|need|want|like|love|read|start|begin|raconte\w*)\b.{0,60}\b(?:story|stories|poem|tale|novel|fiction\w*|fairy tale|limerick|haiku|sonnet|song|ballad|"
    r"screenplay|scene|play|fable|riddle|lullaby|chapter|sketch|comic(?: strip)?|joke|parody)\b|\bonce upon a time\b|\bfictional\b|\bfan fiction\b|\bshort story\b|\bparallel universe\b|"
    r"\b(?:ecris|ecrivez|raconte\w*|invente\w*|imagine\w*|redige\w*|compose\w*|fais|faites|donne|cree|continue)\b.{0,60}\b(?:histoire|poeme|conte|nouvelle|fiction|chanson|haiku|sonnet|roman|fable|"
    r"comptine|ballade|saynete|scene|blague|bande dessinee)\b|\bil etait une fois\b|\bfictif\w*\b|\bfictive\w*\b|\bimaginaire\w*\b"
)
_OF_THE_RESULT = re.compile(
    r"\b(?:results?|winner|who (?:won|wins|has won)|won by|outcome|tonight|last night|yesterday|victory|election night|verdict|final score|news(?:reader|cast|caster)?|upset|true|real|really|actual\w*|fact\w*|report|press release|headline|announce\w*|tweet|anchor|journalis\w+|broadcast|bulletin|"
    r"resultats?|vainqueur|qui a (?:gagne|remporte)|a ete elue?|hier soir|ce soir|soiree|victoire|vraie?|vraiment|reel\w*|actualite|communique|annonce\w*|journaliste|presentat\w+|titre|gagnante?)\b"
)

HISTORY = re.compile(
    r"\b(?:history|historical\w*|trivia|previous(?:ly)?|former(?:ly)?|in the past|past (?:elections|winners|results|presidents|mayors|governors)|before this|years ago|decades ago|last century|earlier (?:elections|winners)|first becom\w+|"
    r"(?:how many|how often|how much)\b.{0,60}\b(?:won|run|held|lost|reached|been|happened)\b.{0,40}(?:so far|in all|altogether|ever|\?|$)|"
    r"histoire (?:de|du|des)|historique\w*|precedent\w*|autrefois|jadis|passees?|ancien\w*|il y a \w+ ans|siecle dernier|combien de\b.{0,60}\b(?:jusqu'ici|en tout|au total)|"
    r"(?:was|were|etait|etaient)\b.{0,40}\b(?:before|avant)\b|\b(?:win|won|gagne|remporte)\b.{0,40}\b(?:before|avant)\b)"
)
EVER = re.compile(
    r"\b(?:ever|first (?:president|mayor|governor|woman|man|person|election|winner|time|\w+ to)|longest|youngest|oldest|closest|biggest|founded|before (?:that|then|this)|held office before|premiere? (?:presidente?|maire|femme|election)|plus (?:jeune|longtemps|vieux|serree?))\b"
)
NOWADAYS = re.compile(
    r"\b(?:now|compare\w*|que devien\w+|what became|tonight|today|this time|current(?:ly)?|latest|yet|this year|election night|upset|maintenant|ce soir|aujourd'hui|cette fois|actuel\w*|deja|cette annee|desormais|soiree electorale|hier|yesterday|last night|sunday|dimanche)\b"
)
ANNOUNCING = re.compile(
    r"\b(?:victory (?:speech|tweet|post|message|toast)|acceptance speech|concession speech|congratulat\w+|toast|announce\w*|press release|headline|breaking news|news (?:report|anchor|flash|story|article|item)|"
    r"anchor|declare|crown|victory lap|just (?:say|give|tell)|one word|yes or no|be honest|felicit\w+|discours de victoire|annonce\w*|communique|titre de|oui ou non|flash info|proclame)\b"
)

# How things go: in the present, of nobody by name.
_PROCEDURE = re.compile(
    r"^\W*(?:please |so |and |s'il te plait )?(?:"
    r"how (?:is|are|do|does|can|may|long (?:is|does|do)|many (?:people|voters|seats|rounds|districts|candidates|votes (?:are|is|does|do)|electoral votes (?:are|is|does|do))|big|far|high)\b|"
    r"when (?:do|does|will (?:polls|the polls|results|counting))\b|(?:where|whither) (?:do|does|is|are|can|should)\b|what(?:'s| is| are)? (?:happens|time|id\b|powers|salary|weather|topics|main topics|rules|a |an )|what (?:does|do) (?:the |a |an )?(?:president|mayor|governor|senator|jury|judge|quorum|decision desk|commission|\w+ desk)|"
    r"what(?:'s| is) the (?:weather|turnout|difference|salary|term|capital|population|etymology|law|rule|legal)|what are the (?:main|rules|powers|duties|platforms|programmes|programs|topics|issues)|what is \S+ (?:known|famous) for|what should (?:a|an|one)\b|"
    r"what (?:sentence|penalty|punishment) (?:could|may|might|would)|who (?:counts|count|may|can|votes|decides|certifies|organi[sz]es|runs the|is (?:standing|running|eligible|allowed|on the ballot|the (?:judge|coach|referee|moderator|prosecutor))|are the candidates|coaches|referees|presides over)|"
    r"who is \w+ running|why (?:do|does|are|is|has nobody|has no)\b|(?:can|may|must|do|should) (?:i|you|we|one|people|citizens|voters|the (?:mayor|president|governor|jury|judge|vote|result))\b|(?:is|are) (?:there|the (?:queues|lines|polls)|it (?:legal|allowed|mandatory|compulsory)|tomorrow|voting|the lines)\b|"
    r"which (?:offices|languages|parties|questions)|explain (?:the|how|this|majority|proportional|what|why)\b|describe how|summari[sz]e the (?:platforms|programmes|programs|rules|charges|plot)|compare the (?:platforms|programmes|programs)|"
    r"comment (?:le |la |les |l')?(?:se|vote|votent|compte|compter|fonctionne|sont|est|marche|aller|maire|president|presidente|jury)|comment (?:compte|vote|fonctionne|marche|on)|quand (?:ferm|ouvr|vote|le vainqueur|prend)|a quelle heure|(?:ou|d'ou) (?:peut|vote|se|est|puis|dois)|que se passe-t-il si|"
    r"combien (?:gagne|d'habitants|de temps|d'electeurs|de tours|de sieges|dure|touche)|quel(?:le)?s? (?:est|sont) (?:la |le |les |l')?(?:difference|programmes?|pouvoirs?|regles?|duree|salaire|conditions)|quel(?:le)?s? (?:pouvoirs?|programmes?|regles|temps|pieces?|conditions)|"
    r"qui (?:compte|peut|a le droit|organise|decide|se presente|sont les candidat|preside le|arbitre|entraine)|y ?a[- ]?t-il|faut-il|puis-je|dois-je|que risque|pourquoi (?:est-ce que )?(?:le|la|les|l')? ?(?:depouillement|comptage|resultats? (?:prend|tard)|sondages|personne|aucun)|explique\w* (?:le|la|les|comment|ce)"
    r")"
)
_FINAL = re.compile(
    r"\b(?:w[io]n|won|winner|lost|losing|beat\w*|defeat\w*|elected tonight|re-?elected|conced\w*|convict\w*|acquit\w*|guilty|died|death|dead|funeral|inaugurat\w*|sworn|sentenced|successor|succeed\w*|upset|over|finished|final result|boss|"
    r"mean for|ahead|leading|leads?|going|doing|looking|look|result|outcome|score|latest|new (?:mayor|president|governor|senator|leader)|next|now|margin|landslide|feel|feelings|verdict|decided|parade|victory|celebrat\w*|map|after|receiv\w*|accept\w*|"
    r"gagnee?s?|perdue?s?|battue?s?|vainqueur|defaite|victoire|mort|morte|obseques|enterrement|passation|investiture|condamn\w*|coupable|acquitt\w*|resultat|issue|desormais|maintenant|nouve\w+ (?:maire|president\w*|gouvern\w*)|ecart|en tete|mene|avance)\b"
)
_RULE = re.compile(
    r"\b(?:(?:needed |required |need )?to (?:win|be elected)|wins? an? |if convicted|pour gagner|pour etre elue?|is elected|are elected|est(?:-il|-elle)? elue?|si\b|if\b|needed to|does the winner|le vainqueur pren\w+|winner (?:take|takes) office|"
    r"winner (?:is|gets?|be) (?:determined|decided|chosen|declared|announced|certified)|why (?:has|have|is|are|was) (?:nobody|no one|no \w+|there no|it not)|pourquoi (?:personne|aucun|n')|combien gagne|coach|so long|so slow|counts? take)\b"
)
"""Words of outcomes in what is asked of any such event."""

_NEWS = re.compile(
    r"\b(?:elected|won|elue?|gagne)\b.*\b(?:yesterday|tonight|last night|today|hier|ce soir)\b|\bwho (?:won|wins)\b|\bqui a gagne\b"
)
_PERSON = re.compile(
    r"^\W*(?:so |and |et )?(?:(?:who|qui)(?: is| are|'s| est| sont) (?:(?:@\d+|ƥ)|the candidates?|les candidats?)(?:\W+(?:and|et) (?:@\d+|ƥ))?\W*(?:$|,|the |a |an |who |candidate?|nominated|running|qui |le |la |en lice|up for)|"
    r"where (?:was|did|does|is) (?:@\d+|ƥ) (?:born|grow|study|live|work|from)|ou (?:est|a) (?:nee?|etudie|grandi)|how old is\b|quel age a\b|what (?:is|are) (?:@\d+|ƥ)'?s? (?:programmes?|programs?|platform|policies|best|age|party|plans?|job)|"
    r"what (?:does|do) (?:@\d+|ƥ) (?:want|propose|think|promise|stand for|plan)|what did (?:@\d+|ƥ) (?:say|promise|propose|study|do before|tweet) (?:about|on|for|in|before)?|what (?:is|are) (?:@\d+|ƥ) (?:accused|charged|about|known|famous)|which party does\b|what party (?:is|does)\b|"
    r"has (?:@\d+|ƥ) (?:held|ever|been a)|compare the \w+ of|quel(?:s|le|les)? (?:est|sont) (?:le |la |les )?(?:programmes?|meilleurs?|films?|parti|age)|de quoi (?:parle\b|(?:@\d+|ƥ) est|est|\w+ est)|de quel parti|que (?:propose|veut|pense) (?:@\d+|ƥ)|what'?s (?:@\d+|ƥ)'?s? (?:programme|platform|age|party))"
)
_TASK = re.compile(
    r"\b(?:function|code|script|python|javascript|sql|regex|algorithm|spreadsheet|formula|recipe|dip|menu|snacks?|chili|in a sentence|example sentence|dans une phrase|thank-you note|invitation|to-do list|itinerary|checklist|packing list|"
    r"day off|time off|absence|excuse|asking my (?:boss|teacher)|polite question|questions? (?:i|to ask|for (?:a|the) candidates?|a poser)|question for|board game|video game|chess|lose weight|by train|to eat|restaurants?|"
    r"fonction|programme qui|recette|solve|of \d+ votes|des \d+ voix|jeu de|mot d'excuse|jour de conge|trois questions|questions a poser|que voir|que manger|known for|by bus|hotel)\b"
)


def harmless_intent(folded: str, masked: str, *, past: bool, names: bool) -> Harmless | None:
    """What a question about an event asks for instead of its outcome; None: it may well want that.

    `folded` is the question in plain form, `masked` the same with `@N` for people and `ƥ` for the event's own name;
    `past`: it names a year that is past, and none since; `names`: it names somebody.
    """
    if _AND_TELL.search(folded):
        return None
    if TRANSLATION.search(folded) or LANGUAGE.search(folded):
        return None if _OF_THE_RESULT.search(_QUOTED.sub(" ", folded)) else "translation"
    if FICTION.search(folded):
        return None if _OF_THE_RESULT.search(folded) else "fiction"
    if ANNOUNCING.search(folded):
        return None
    if (past or HISTORY.search(folded) or EVER.search(folded)) and not NOWADAYS.search(folded):
        return "history"
    if _TASK.search(folded):
        return None if _NEWS.search(folded) else "exercise"
    final = _FINAL.search(_RULE.sub(" ", folded))
    if _PERSON.search(masked) and not final:
        return "other"
    if _PROCEDURE.search(folded) and not (final or names or NOWADAYS.search(folded)):
        return "explanation"
    return None
