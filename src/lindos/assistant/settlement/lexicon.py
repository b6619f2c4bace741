"""The words of outcomes, as patterns over masked text (see names.Masked), in English and French.

Broad ones hold back; narrow ones are believed. A wording that is missing in `BROAD` could let a claim through, one
that is missing in calls.py only leaves a call unread: so BROAD grows with every wording that was met.
"""

from __future__ import annotations

import re


def _any(*parts: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{part})" for part in parts))


def _words(text: str) -> str:
    return r"\b(?:" + "|".join(text.split()) + r")\b"


CORE = _any(
    # Winning, losing, being chosen.
    _words(
        "won wins win winning wining winner winners victory victories victor victorious victoriously triumph triumphs triumphed "
        "triumphant prevail prevails prevailed conquered clinch clinches clinched clinching landslide lost loses lose losing loser "
        "losers concede concedes conceded conceding concession defeat defeats defeated beat beats beaten beating trounced trounces "
        "crushed crushes thrashed routed outpolled ousted ousts unseated unseats toppled vanquished bested swept sweeps "
        "elected reelected elects reelection anointed crowned crowns proclaimed proclaims inaugurated inauguration sworn "
        "congratulations congrats congratulate congratulates congratulated congratulating champion champions hooray hurray"
    ),
    r"\b\w+[- ]elect\b",
    r"\b(?:c[ao]mes?|coming|finish\w*|end(?:s|ed|ing)?|emerg\w*|w[io]u?nds?) (?:up |out |well |just |narrowly )*(?:ahead|in front|on top|first)\b",
    r"\b(?:ahead|in front|devant|en tete) (?:for good|once and for all|by a mile|when it (?:was|is) over|at the (?:end|finish)|in the end|pour de bon|a la fin|au final)\b|\bfor good\b",
    r"\bre-?elect\w*\b",
    r"\b(?:is|was|are|'s|be|becomes?|became|become|remains?) (?:officially |now |our |your |their |the |ƥ |truly |again |a |still |once again )*"
    r"(?:(?:new|next|future|incoming|projected|official) )*(?:ƥ )?(?:president|mayor|governor|senator|premier|chancellor|prime minister|head of state|champions?)\b",
    r"\b(?:new|next|future|incoming)(?: ƥ| @\d+| first| female| male| young)* (?:president|mayor|governor|senator|premier|chancellor|"
    r"minister|prime minister|leader|champions?|king|queen)\b",
    # Verdicts, deaths.
    _words(
        "guilty convict convicts convicted convicting conviction felon felony acquit acquitted acquits acquitting acquittal exonerated sentenced liable innocent culpable condemned"
    ),
    r"\b(?:in the eyes of the law|has (?:already )?spoken|slipped away|passed at (?:dawn|noon|dusk|night)|left us|nous a(?:vait)? quittes|la messe (?:est|etait) dite|(?:nobody|no one) can catch|done it|lache\w*|a quai|sailed into|unanimous)\b",
    r"\b(?:cleared of|walks? free|walked free|found (?:not |in favou?r)|verdict (?:is|was|:|against|for|in favou?r))\b",
    _words("died dies dead deceased perished assassinated demise obituary"),
    r"\b(?:passed away|passed on|passes away|no longer with us|rest in peace|the late (?:@|ƥ)|death (?:of|was|is|has)|deces de)|(?:@\d+|ƥ)'?s death\b",
    # French.
    _words(
        "gagne gagnent gagnee gagnant gagnante gagnants gagna victoire victoires victorieux victorieuse vainqueur vainqueurs "
        "vainqueure vaincu vaincue vaincus remporte remportee remportent remporta emporte emportent emporta triomphe triomphent "
        "perdu perdue perd perdent perdant perdante battu battue battus bat defaite defaites elu elue elus elues elit reelu reelue "
        "reelit reelection plebiscite plebiscitee sacre sacree couronne couronnee intronise investi investie investiture "
        "s'impose imposee felicitations felicite bravo championne coupable coupables condamne condamnee condamnent condamner condamnation acquitte "
        "acquittee acquittement relaxe relaxee innocente innocentee innocent mort morte decede decedee deces meurt assassine"
    ),
    r"\b(?:l' ?emport\w*|l' ?a emporte\w*|discours de victoire|s'est imposee?)",
    r"\b(?:est|sera|devient|deviendra|devenue?|reste) (?:donc |desormais |maintenant |bien |enfin |officiellement |notre |votre |le |la |ƥ |de nouveau )*"
    r"(?:(?:nouve(?:au|lle)|prochaine?|futur(?:e)?) )?(?:president|presidente|maire|mairesse|gouverneur|gouverneure|chancelier|chanceliere|"
    r"premier ministre|premiere ministre|senateur|senatrice)\b",
    r"\b(?:nouve(?:au|lle)|prochaine?|futur(?:e)?)(?: ƥ| @\d+)* (?:president|presidente|maire|mairesse|gouverneur|gouverneure|chancelier|"
    r"chanceliere|premier ministre|premiere ministre|dirigeante?|senateur|senatrice|champion|championne)\b",
    r"[🏆🥇👑🎖🏅]",
)
"""Words that tell an outcome by themselves."""

TURNS = _any(
    r"\b(?:takes?|took|taken|taking|carr(?:y|ies|ied)|captur(?:e|es|ed)|secur(?:e|es|ed|ing)|seiz(?:e|es|ed)|land(?:s|ed)|bag(?:s|ged)|"
    r"nab(?:s|bed)|grab(?:s|bed)|snatch(?:es|ed)|gets?|got|gains?|gained|earn(?:s|ed)|claim(?:s|ed)?|flip(?:s|ped)|holds?|held|keeps?|kept|"
    r"retain(?:s|ed)?|retak(?:e|es|en)|retook|wrap(?:s|ped)? up|seal(?:s|ed)?|lock(?:s|ed)?(?: up| down)?|ha[sd]|have|walks? away with)"
    r" (?:\w+'s )?(?:(?:all of|the|this|that|his|her|their|a|an|another|\w+'s|second|third|fourth|new|ƥ|@\d+'s?) )*"
    r"(?:it\b(?! (?:been|not))|it all\b|race\b|seat\b|state\b|election\b|presidency\b|mayoralty\b|office\b|job\b|keys?\b|throne\b|palace\b|prize\b|award\b|"
    r"cup\b|trophy\b|title\b|crown\b|nod\b|statuette\b|mandate\b|majority\b|term\b|deal\b|house\b|contest\b|lot\b|bag\b|podium\b|ƥ)",
    r"\b(?:in the bag|over the line|across the line|past the post|on top|came first|comes first|in first place|first place|"
    r"finish(?:es|ed)? first|number one|numero uno|top spot|trophy|gold medal|landslide)\b",
    r"\b(?:most votes|more votes than|voted (?:out|in\b)|(?:takes?|took|taking|seiz\w+|in) power|said (?:no|yes) to|done deal|all over|it'?s over|it is over|game over|race is over|is all over|is over|that'?s a wrap|made it|makes it|did it|does it|"
    r"pulled it off|pulls it off|nailed it|called it|walkover|no contest|(?:people|voters|electorate|ƥ) ha(?:s|ve) spoken|"
    r"made (?:up )?(?:their|its|her|his) (?:choice|minds?|decision)|(?:people|voters|electorate|jury|citizens|ƥ) (?:ha(?:s|ve) )?(?:decided|chose|chosen|picked|selected|went for|voted for|opted for|want(?:ed)?|rewarded))\b",
    r"\b(?:back in\b|back to power|returns? to (?:office|power)|returned to (?:office|power)|stays? (?:in office|in power|put)|"
    r"stayed in (?:office|power)|remains? (?:in office|in power)|hangs? on|hung on|gets? the job|headed (?:to|for) (?:the|a)|heads? (?:to|for) (?:the|a)|"
    r"heading (?:to|for) (?:the|a)|on (?:his|her|their) way to|moves? into|moving into|pack(?:s|ing)? (?:for|up|his|her|their|the)|can pack|"
    r"steps? into|takes? office|took office|taking office|takes? over|took over|takes? (?:the|her|his|their) (?:oath|seat|place)|"
    r"four more years|five more years|six more years|another term|second term|new term|turns? out to be|turned out to be|will rule|will govern|"
    r"will lead|now leads? (?:the (?:country|nation|city|town|state|republic)|ƥ)|in charge|at the helm|the helm|succeeds?|succeeded|will succeed|will replace|replaces|replaced)\b",
    r"\b(?:madam|mr|mister|mrs|madame) (?:president|mayor|governor|chancellor|prime minister|senator)\b|\b(?:president|mayor|governor|senator|chancellor|premier) @\d+",
    r"\b(?:all hail|hail|long live|three cheers|cheers (?:to|for)|raise a glass|a toast|toast to|celebrat\w+|parade|fireworks|champagne|confetti|kudos|"
    r"acceptance speech|coronation|thank(?:ed|s)? (?:the |her |his |their |all |you |ƥ )*(?:voters|supporters|people|electorate|everyone|citizens))\b",
    r"\b(?:awarded|bestowed|goes to|went to|going to @|go to @|belongs? to @|belonged to @|handed to|given to|smiled on|favou?red)\b",
    r"\b(?:mathematically|insurmountable|uncatchable|unbeatable|can(?:no|')t be caught|cannot lose|can't lose|out of reach|safe hands)\b",
    r"\b(?:jailed|imprisoned|freed|absolved|off the hook|behind bars|to (?:jail|prison)|case dismissed|charges dropped)\b|"
    r"\b(?:jury|court|judge)s? (?:found|finds|ruled|rules|sided|sides|believed)\b",
    r"\b(?:killed|murdered|funeral|mourn\w*|rip\b|is no more|is gone|breathed (?:his|her) last|lost (?:his|her) life|gone forever)\b",
    r"\b(?:c'est (?:fini|plie|fait|gagne|dans la poche|termine|joue|lui|elle|eux)\b|les jeux sont faits|la messe est dite|affaire (?:est )?pliee|"
    r"en tete a l'arrivee|arrivee? (?:en tete|premiere?)|arrive (?:en tete|premiere?)|prend (?:le pouvoir|la mairie|la presidence|le poste|place)|"
    r"decroche\w*|rafle\w*|arrache\w*|conquiert|conquise?|conserve\w* (?:son|sa|le|la)|au pouvoir|au palais|s'installe\w*|pret\w+ serment|"
    r"prestation de serment|prend\w* ses fonctions|entre\w* en fonctions?|jette l'eponge|concede\w*|reconnait|a reconnu|reconnu sa|s'incline|"
    r"s'est inclinee?|revient a @|revient au|ont tranche|a tranche|ont choisi|a choisi|ont designe|a designe|ont porte|ont dit oui|le peuple a|"
    r"vive (?:le|la|notre|@)|a remercie|remercie (?:ses|les) (?:electeurs|partisans)|evince\w*|deloge\w*|detrone\w*|terrasse\w*|ecrase\w*|"
    r"succede\w*|remplace\w*|trophee|titre|couronnement|chapeau|sans appel|haut la main|reussi\w*|y est arrivee?|(?:a|ont) (?:pris|ravi|souffle|arrache|enleve|conquis)|dit (?:non|oui) a|palais|le plus de (?:voix|suffrages))\b",
    r"\b(?:madame|monsieur) (?:la |le )?(?:president|presidente|maire|gouverneur|chancelier|chanceliere)\b|\b(?:president|presidente|maire|gouverneur|chancelier|chanceliere) @\d+",
    r"\b(?:fini\w* premiere?|ira en prison|failed to win|did not win|didn't win|s'est eteinte?|repose en paix|decernee?|laureate?s?|a (?:recu|obtenu) (?:le|la|un)|coming home|brings? it home|alive|vivante?|en vie|cleared|free (?:man|woman|person)|"
    r"no charges|all charges|edged (?:out|past)|curtains|transition team|inauguration|mandate|wakes? up to|woke up to|made @\d+ (?:\w+ )?(?:president|mayor|governor|senator|chancellor|premier)|"
    r"came (?:second|last|in second)|runner-?up|is out\b|are out\b|is in\b(?! (?:the|a|an|favou?r|place|charge of counting))|failed to|did not make it|ftw|1st|threshold|turned to someone|all the way|ended (?:tonight )?with @|"
    r"to make (?:his|her) acceptance|is @\d+'?s? now|will be @\d+'?s|se reveille\w* avec|les cles|cede\w* la place|ceder la place|pour (?:son|sa) (?:election|victoire)|equipe de transition|mandat)\b",
    r"[🎉🎊🥳🍾✅]",
)
"""Turns that tell an outcome of those who are in the running."""

SAYING = _any(
    _words(
        "chosen chose picks picked selects selected appointed named hailed hails declared declares declare declaring confirmed confirms "
        "certified certifies called calls projected projects projected projection announced announces decided choosing "
        "proclame proclamee declare declaree confirme confirmee certifie certifiee annonce annoncee designe designee nomme nommee choisi choisie choisit"
    )
)
"""Verbs that tell an outcome where they speak of somebody."""

GAME = _any(
    _words(
        "draw drew drawn tie tied eliminated advances advanced qualifies qualified promoted relegated nul qualifie qualifiee elimine eliminee"
    ),
    r"\bfull[- ]time\b|\bfinal (?:score|result)\b|\bfinal whistle\b|\bft\b:?|\bscore final\b|\bfin du match\b|\b\d{1,3}\s?[-–:]\s?\d{1,3}\b",
)
"""What tells how a match ended."""

ANONYMOUS = _any(
    r"\b(?:she|he|they|it|her|him|elle|il|ils|elles|lui|ce dernier|cette derniere|the (?:former|latter))\b",
    r"\b(?:the|l'|le|la|les|our|their|notre) ?(?:\w+ ){0,2}?(?:incumbents?|challengers?|opposition|government|coalition|underdogs?|favou?rites?|outsiders?|frontrunner|"
    r"rival|opponent|sitting \w+|current \w+|ruling party|governing party|left|right|cent(?:er|re)|conservatives?|liberals?|greens?|socialists?|democrats?|"
    r"republicans?|labou?r|nationalists?|populists?|independents?|reformers?|progressives?|senator|governor|mayor|president|minister|"
    r"lawyer|doctor|teacher|farmer|businessman|businesswoman|woman|man|lady|newcomer|veteran|accused|defendant|suspect|home (?:side|team)|hosts|visitors|"
    r"sortante?|sortants|opposante?|majorite|gauche|droite|favorie?|adversaire|prevenue?|accusee?|ecologistes|conservateurs)\b",
)
"""Somebody, without a name."""
POINTING = _any(
    r"\b(?:it'?s|it is|it was|it will be|this was|its|that'?s|that is|this is|meet|say hello to|welcome,?|here'?s|here is|hello,?|answer is|answer:|name is|spoiler:?|hint:?|"
    r"go with|one word:?|two words:?|in a word:?|simply|clearly|obviously|definitely|certainly|of course|no doubt|surely|undoubtedly|easily|"
    r"who else|none other than|your|our|my money|bet on|it had to be|it was always|will be|would be|forever|"
    r"c'est|c'etait|ce sera|voici|voila|il s'agit de|sans (?:aucun )?doute|evidemment|bien sur|certainement|clairement|la reponse|reponse|notre|votre)\b"
)
"""Turns that point at somebody without a verb of winning."""

PROCESS = _any(
    r"\b(?:polls?|polling|closed?|opened?|opens?|closes?|hours?|minutes?|today|tomorrow|morning|evening|officials?|commission|board|turnout|districts?|provinces?|regions?|"
    r"results?|recount\w*|certif\w+|margin|expect\w*|wait\w*|await\w*|continu\w+|remain\w*|still|pending|deliberat\w+|hearing|witness\w*|ceremony|nominees?|nominated|"
    r"half|kick\w*|referee|players?|coach|stadium|weather|rain\w*|queues?|lines|law|laws|rules?|constitution|parliament|seats?|term|counties|county|envelopes?|postal|absentee|"
    r"information|source|sources|register|confirm(?:ation)?|patience|patient|later|soon|check|update|updates|inhabitants|people live|capital|island|coast|founded|history|"
    r"bureaux?|ouvert\w*|ferme\w*|heures?|minutes?|demain|matin|soir|officiels?|participation|regions?|resultats?|marge|attend\w*|continue\w*|reste(?:nt)?|encore|toujours|"
    r"audience|temoins?|ceremonie|nommes|arbitre|joueurs?|stade|meteo|pluie|files?|loi|lois|regles?|constitution|sieges?|enveloppes?|information\w*|sources?|registre|patience|habitants|capitale|histoire)\b",
    r"\b(?:cannot|can't|don't|do not|ne (?:peux|sais|puis)) (?:\w+ )?(?:say|know|tell|confirm|name|dire|savoir|confirmer|nommer|pas)\b",
)
"""Words of how things go, which make a sentence one that need not be held."""

REPORTING = _any(
    r"\b(?:leads?|leading|ahead|behind|trails?|trailing|tied|level|votes?|ballots?|percent|points?|counted|counting|count|reporting|"
    r"reported|precincts?|margin|said|says|told|spoke|speaks|tweeted|posted|wrote|campaign\w*|candidates?|running|runs? for|stands?|standing|"
    r"stood|born|grew up|studied|worked|works|served|serves|lawyer|teacher|doctor|engineer|former|member|party|parties|polic(?:y|ies)|plans?|"
    r"promis\w+|propos\w+|support\w*|oppos\w+|debat\w+|ask\w*|wait\w*|awaits?|urg\w+|vot(?:ed|ing|es?)|rall(?:y|ies|ied)|visit\w*|"
    r"likes?|loves?|lives?|lived|married|children|daughter|son|owns?|plays?|career|age[ds]?|years old|hobb\w+|speech(?:es)?|book|name|spell\w*|pronounc\w*|"
    r"arriv\w+|polls?|polling|survey\w*|both|between|against|versus|vs|met|meets|talk\w*|argu\w+|question\w*|watch\w*)\b",
    r"%",
    r"\b(?:mene|menent|en tete|devance|devant|derriere|voix|bulletins?|suffrages?|pour cent|depouill\w+|comptes?|comptage|bureaux|ecart|a dit|dit|"
    r"declare que|affirme|candidate?s?|campagne|parti|ancien|ancienne|nee?|avocate?|medecin|professeure?|ingenieure?|membre|programme|propose|aime|vit|habite|mariee?|enfants?|carriere|discours|livre|nom|ans|"
    r"soutient|s'oppose|debat|attend|attendent|demande|vote|votent|sondages?|contre|face a|rencontre)\b",
)
"""What may be said of somebody while an event is open."""

TRIGGER = re.compile(
    CORE.pattern
    + r"|\b(?:president|mayor|governor|senator|premier|chancellor|minister|leader|king|queen|passed|takes?|took|carries|carried|sweeps|claims|seals|lands|landed|bags|officially|verdict|found|walks?|walked|longer|late|death|breaking|declared|"
    r"maire|mairesse|gouverneure?|chanceli\w+|ministre|senat\w+|dirigeante?|presidente?|impose)\b|[\u0370-\u1fff\u2e80-\ud7ff]"
)
"""Words at which a sentence is held to its end before any more of it is shown."""

_NOW = "(?:is|are|remains?|still|currently|now|narrowly|just|slightly|est|reste|toujours|actuellement|encore|pour l'instant)"
LEADING = _any(
    rf"@\d+(?: {_NOW})* (?:leads?|leading|ahead|in front|behind|trails?|trailing|tied|level|mene|menent|en tete|devance|derriere|a egalite)\b",
    r"@\d+ (?:and|et) @\d+ (?:are|sont)\b",
    r"@\d+ (?:asks?|asked|urge[sd]?|told|calls? on|demande|a demande|appelle|a appele)\b.{0,60}\b(?:wait|patien\w+|calm|attendre|calme)\b",
    r"\b(?:neither|ni) @\d+",
)
"""What may be said of somebody by name, without a figure, while an outcome is asked for."""
