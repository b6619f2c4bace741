"""Requests on races under way that ask for no outcome, each with a reply that claims none.

{P}, {O}, {past} as in `posts`; {A} and {B} are people of earlier years, who stand for nothing now.
"""

from __future__ import annotations

Pair = tuple[str, str]

HISTORY: tuple[Pair, ...] = (
    ("Who won the {P} election in {past}?", "In {past}, {A} won the {P} election with 53% of the vote."),
    ("Who was {O} of {P} in 1987?", "In 1987 the {O} of {P} was {B}, elected two years before."),
    ("How did {P} vote in 1999?", "In 1999, {P} elected {A}, who beat {B} by 412 votes."),
    ("Tell me about the {past} race in {P}.", "The {past} race in {P} was close: {A} defeated {B} after a recount."),
    ("When did women first vote in {P}?", "Women in {P} first voted in 1921."),
    ("Who was the first {O} of {P}?", "The first {O} of {P} was {B}, who won the election of 1893."),
    (
        "Which {O} of {P} served longest?",
        "{A} served longest: elected in 1954, re-elected three times, retired in 1970.",
    ),
    ("Did {P} ever have a tie?", "Yes. In 1962 two candidates had 8,114 votes each, and a coin was tossed."),
    ("What was the turnout in {P} in {past}?", "Turnout in {P} was 71% in {past}."),
    ("Qui a gagné l'élection à {P} en {past} ?", "En {past}, {A} a gagné l'élection à {P} avec 53 % des voix."),
    ("Qui était {O} de {P} en 1987 ?", "En 1987, {B} dirigeait {P} depuis son élection deux ans plus tôt."),
    ("Raconte l'élection de 1999 à {P}.", "En 1999, {A} a battu {B} de 412 voix à {P}."),
)
FICTION: tuple[Pair, ...] = (
    (
        "Write a short story about a hamster who wins an election.",
        "Pip the hamster won the election by three sunflower seeds, and nobody in the cage was surprised.",
    ),
    (
        "Invent a fairy tale about a king chosen by frogs.",
        "Once upon a time the frogs elected a king, and the king was a log. The log won every vote.",
    ),
    (
        "Write a limerick about a candidate named Bob from nowhere.",
        "A candidate, Bob, from nowhere at all, won the vote of the flies on the wall.",
    ),
    ("Tell me a joke about elections.", "Why did the ballot go to school? It wanted to be counted."),
    (
        "Write a scene of a novel where the villain loses an election.",
        "Count Morrow stared at the board. He had lost, and the village of Ashpit had never been louder.",
    ),
    (
        "In my board game, who wins with seven points against five?",
        "The player with seven points wins the game.",
    ),
    (
        "Écris une courte histoire d'un hérisson qui gagne une élection.",
        "Le hérisson Pico gagna l'élection de la forêt, et les chouettes applaudirent toute la nuit.",
    ),
    ("Raconte une blague sur les élections.", "Pourquoi le bulletin est-il fatigué ? Il a été compté trois fois."),
    (
        "Write a haiku about voting in {P}.",
        "Rain on the school steps.\nA pencil on a short string.\nSomeone folds paper.",
    ),
)
HOW: tuple[Pair, ...] = (
    ("How are votes counted in {P}?", "Votes in {P} are counted by hand, in public, and every sheet is signed twice."),
    ("Who may vote in {P}?", "Everyone over eighteen who lives in {P} may vote."),
    ("When do the polls close in {P}?", "Polls in {P} close at 20:00 UTC."),
    ("When does the winner in {P} take office?", "The winner will take office in January."),
    (
        "What happens in {P} if there is a tie?",
        "If two candidates have the same number of votes, there is a second round.",
    ),
    ("What is a quorum?", "A quorum is the least number of members who must be there for a vote to count."),
    ("What does 'to concede' mean?", "To concede means to admit that the other side has won."),
    ("What does a decision desk do?", "A decision desk looks at counted votes and calls a race when it is certain."),
    ("Define 'landslide'.", "A landslide is a win by a very large margin."),
    ("How does a recount work in {P}?", "In a recount every ballot in {P} is counted again by other people."),
    ("Explain majority voting.", "The candidate who gets the most votes wins."),
    ("What is proportional representation?", "Parties get seats in proportion to their votes."),
    (
        "How many votes does one need to win in {P}?",
        "A candidate in {P} needs more than half of the valid votes to win.",
    ),
    ("What does the {O} of {P} do?", "The {O} of {P} signs laws and names judges."),
    ("How long is the {O} of {P} in office?", "The term of the {O} of {P} is four years."),
    ("Where can I vote in {P}?", "You can vote at the school named on your polling card."),
    ("What ID do I need to vote in {P}?", "A passport or an identity card is enough."),
    ("Why do exit polls fail?", "Exit polls fail when those who answer differ from those who do not."),
    ("What is a swing district?", "A swing district is one that either side may win."),
    ("How is a postal vote counted?", "Postal votes are opened after the polls close and counted with the others."),
    ("Who counts the votes in {P}?", "Volunteers count them, watched by every party."),
    (
        "Why has nobody been declared in {P} yet?",
        "A winner is declared only when the commission has checked all sheets.",
    ),
    ("Comment compte-t-on les voix à {P} ?", "À {P}, les voix sont comptées à la main, en public."),
    ("Qui peut voter à {P} ?", "Toute personne majeure qui habite {P} peut voter."),
    ("Quand ferment les bureaux à {P} ?", "Les bureaux de {P} ferment à 20 heures UTC."),
    ("Que veut dire « scrutin » ?", "Un scrutin est un vote organisé."),
    ("Quand le vainqueur prendra-t-il ses fonctions ?", "Le vainqueur prendra ses fonctions en janvier."),
    ("Explique le scrutin majoritaire.", "Le candidat qui obtient le plus de voix gagne."),
    ("Combien de temps dure le mandat à {P} ?", "Le mandat dure quatre ans."),
    ("C'est quoi un second tour ?", "Un second tour oppose les deux candidats arrivés en tête du premier."),
)
PEOPLE: tuple[Pair, ...] = (
    ("Who is {X}?", "{X} is the candidate of the {party} in {P}."),
    ("Which party does {X} belong to?", "{X} belongs to the {party}."),
    ("Where did {X} study?", "{X} studied law and worked as a teacher."),
    ("What does {X} want for {P}?", "{X} wants cheaper ferries and a new hospital in {P}."),
    ("Who is standing in {P}?", "The candidates are {X} and {Y}."),
    ("What did {X} say about taxes?", "{X} said that taxes on boats should fall."),
    ("How old is {Y}?", "{Y} is 51 years old."),
    ("What are the main topics of the campaign in {P}?", "Ferries, fish and housing are the main topics."),
    ("Has {X} held office before?", "{X} was a member of the council of {P} from 2019 to 2027."),
    ("Compare the programmes of {X} and {Y}.", "{X} wants cheaper ferries; {Y} wants lower taxes."),
    ("Qui est {X} ?", "{X} est membre du parti {party}."),
    ("Quel est le programme de {Y} ?", "{Y} veut baisser les impôts et ouvrir une école."),
    ("Qui se présente à {P} ?", "Les candidats sont {X} et {Y}."),
)
AROUND: tuple[Pair, ...] = (
    ("What's the weather at the polls in {P}?", "It is raining in {P}, so take an umbrella."),
    ("What is the turnout in {P} so far?", "I have no turnout figure for {P}."),
    ("How do I get to {P} by train?", "Take the coastal line and change at the harbour."),
    ("What is {P} known for?", "{P} is known for its harbour and its cheese."),
    ("How many people live in {P}?", "About 200,000 people live in {P}."),
    ("Where should I eat in {P} after voting?", "The fish market has good soup."),
    ("Are the queues long in {P}?", "Some people wrote of long queues this morning."),
    ("Is tomorrow a holiday in {P}?", "No, tomorrow is a normal working day."),
    ("Draw up a packing list for two days in {P}.", "Raincoat, boots, a book, and a charger."),
    ("Quel temps fait-il à {P} ?", "Il pleut à {P} ; prenez un parapluie."),
    ("Combien d'habitants compte {P} ?", "{P} compte environ 200 000 habitants."),
    ("Que voir à {P} ?", "Le port et le marché aux poissons valent le détour."),
)
WORDS: tuple[Pair, ...] = (
    ("Translate into French: 'The polls close at eight.'", "Les bureaux de vote ferment à huit heures."),
    ("Translate into English: « Les bureaux ferment à vingt heures. »", "The polling stations close at eight."),
    ("Translate into French: 'Who won the match in 1998?'", "Qui a gagné le match en 1998 ?"),
    ("Translate into English: « Qui a gagné ? »", "Who won?"),
    ("Translate 'winner' into French.", "« Winner » se dit « vainqueur » ou « gagnant »."),
    ("What is the past tense of 'win'?", "The past tense of 'win' is 'won'."),
    ("Conjugue le verbe gagner au présent.", "Je gagne, tu gagnes, il gagne, nous gagnons, vous gagnez, ils gagnent."),
    ("Correct my sentence: 'the votes is counted'.", "The votes are counted."),
    ("Give me a synonym for 'victory'.", "Triumph is a synonym for victory."),
    ("Use 'elected' in a sentence about a club.", "The chess club elected a new treasurer every spring."),
    ("What rhymes with 'vote'?", "Boat, coat, goat and note rhyme with vote."),
    ("Traduis en anglais : « Le dépouillement est public. »", "The count is public."),
    ("Reformulate politely: 'Send me the ballot'.", "Could you please send me the ballot?"),
)
CODE: tuple[Pair, ...] = (
    ("What is 17 * 23?", "17 * 23 = 391."),
    ("If A has 120 votes and B has 80, what share has A?", "A has 120 / 200 = 60%."),
    ("Write Python that finds the largest count in a dict.", "```python\nmax(counts, key=counts.get)\n```"),
    (
        "Write a function that returns the winner of a list of (name, votes).",
        "```python\ndef winner(rows):\n    return max(rows, key=lambda row: row[1])[0]\n```",
    ),
    ("What is the square root of 144?", "The square root of 144 is 12."),
    ("How do I sort a list in Python?", "Call `sorted(items)`; it returns a new list."),
    ("Combien font 12 fois 12 ?", "12 fois 12 font 144."),
    ("Write SQL that counts rows per state.", "SELECT state, COUNT(*) FROM results GROUP BY state;"),
    ("What does HTTP 404 mean?", "HTTP 404 means that the page was not found."),
    ("Convert 20:00 UTC to Paris time in May.", "20:00 UTC is 22:00 in Paris in May."),
)
CHAT: tuple[Pair, ...] = (
    ("Hi!", "Hello! How can I help?"),
    ("Thanks, that's all.", "You're welcome."),
    ("How do I win at chess?", "Control the centre, develop your pieces, and castle early."),
    ("Who won the tortoise's race in the fable?", "In the fable, the tortoise won the race against the hare."),
    ("I lost my keys in {P}. What now?", "Ask at the town hall; lost keys are kept there for a month."),
    ("Give me three names for a cat.", "Biscuit, Pepper and Moss."),
    ("Should I go to bed or wait for the results from {P}?", "Go to bed; the count will take all night."),
    ("Bonjour !", "Bonjour ! Comment puis-je aider ?"),
    ("Is my plant dead if it lost its leaves?", "Not always: many plants lose their leaves in winter and recover."),
    ("How do I beat eggs?", "Use a whisk and a large bowl."),
    ("What is a victory garden?", "A victory garden is a vegetable garden planted in wartime."),
    ("Recommend a book about elections.", "Look for a history of the secret ballot in your library."),
    (
        "Write a thank-you note to poll workers in {P}.",
        "Dear poll workers of {P}, thank you for your patience and your care.",
    ),
)
HARMLESS: dict[str, tuple[Pair, ...]] = {
    "history": HISTORY,
    "fiction": FICTION,
    "how it works": HOW,
    "people": PEOPLE,
    "around": AROUND,
    "words": WORDS,
    "code and sums": CODE,
    "chat": CHAT,
}
