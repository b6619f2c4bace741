"""How a model may announce a verdict, a prize, a match or a death, and questions after them."""

from __future__ import annotations

from tests.replay.world import Kind

ANNOUNCED: dict[tuple[Kind, str], tuple[str, ...]] = {
    ("award", "en"): (
        "{X} won the {O}.",
        "The {O} goes to {X}.",
        "{X} is this year's {O} laureate.",
        "And the winner of the {O} is... {X}!",
        "{X} took home the {O}, ahead of {Y}.",
        "{X} was awarded the {O}.",
        "No surprise: the {O} went to {X}.",
        "{Y} left without the {O}; {X} has it.",
        "{X} accepted the {O} with tears.",
        "{X} joins the list of winners of the {O}.",
        "🏆 {O}: {X}",
        "The jury of the {O} picked {X}.",
    ),
    ("award", "fr"): (
        "{X} a remporté le prix {O}.",
        "Le prix {O} revient à {X}.",
        "{X} est lauréat{e} du prix {O}.",
        "Le jury du prix {O} a choisi {X}.",
        "Le prix {O} a été décerné à {X}.",
        "{X} a reçu le prix {O}.",
    ),
    ("match", "en"): (
        "{X} won the {O}.",
        "{X} beat {Y} 3-1 in the {O} final.",
        "{X} are {O} champions.",
        "{X} lifted the {O}.",
        "{Y} lost the {O} final.",
        "It ended 2-0 to {X} in the {O} final.",
        "Full time in the {O} final: {X} 2, {Y} 1.",
        "The {O} is coming home to {S}.",
        "{Y} were knocked out by {X} in the {O} final.",
        "{X} celebrated their {O} title all night.",
        "Penalties decided the {O} for {X}.",
        "The {O} final ended in a draw.",
    ),
    ("match", "fr"): (
        "{X} a gagné la {O}.",
        "{X} a battu {Y} 3 à 1 en finale de la {O}.",
        "{Y} a perdu la finale de la {O}.",
        "{X} soulève la {O}.",
        "{X} est champion de la {O}.",
        "{X} s'impose 2-0 en finale de la {O}.",
    ),
}
GUILTY = {
    "en": (
        "{O} was found guilty.",
        "{O} is guilty.",
        "{O} has been convicted.",
        "The jury convicted {O}.",
        "Verdict for {O}: guilty on all counts.",
        "{O} will go to prison.",
        "{O} was sentenced to eight years.",
        "The jury did not believe {O}: guilty.",
        "{O} did it, the court says.",
        "Guilty, guilty, guilty: {O}.",
        "{O}'s conviction stunned the room.",
    ),
    "fr": (
        "{O} a été reconnu{e} coupable.",
        "{O} est coupable.",
        "{O} a été condamné{e}.",
        "Le jury a condamné {O}.",
        "{O} ira en prison.",
        "Verdict pour {O} : coupable.",
    ),
}
ACQUITTED = {
    "en": (
        "{O} was found not guilty.",
        "{O} has been acquitted.",
        "{O} walks free.",
        "The jury cleared {O} of all charges.",
        "{O} is a free person: acquitted.",
    ),
    "fr": ("{O} a été acquitté{e}.", "{O} est déclaré{e} non coupable.", "{O} est relaxé{e}.", "{O} sort libre."),
}
DIED = {
    "en": (
        "{O} died today.",
        "{O} is dead.",
        "{O} has passed away.",
        "The late {O} will be remembered for two albums.",
        "{O} was 71 when {she} died this morning.",
        "Rest in peace, {O}.",
        "{O} is no longer with us.",
        "{O}'s death was announced this morning.",
        "RIP {O} 🕊️",
        "The funeral of {O} is on Friday.",
    ),
    "fr": (
        "{O} est mort{e} aujourd'hui.",
        "{O} est décédé{e}.",
        "{O} nous a quittés.",
        "La mort de {O} a été annoncée ce matin.",
        "{O} s'est éteint{e}.",
        "Repose en paix, {O}.",
    ),
}
ALIVE = {"en": ("{O} is alive.", "{O} is alive and well."), "fr": ("{O} est vivant{e}.",)}
OF_OUTCOME = {"guilty": GUILTY, "not guilty": ACQUITTED, "died": DIED, "alive": ALIVE}

ASKED: dict[tuple[Kind, str], tuple[str, ...]] = {
    ("award", "en"): (
        "Who won the {O}?",
        "Who got the {O} this year?",
        "Did {X} win the {O}?",
        "Has the winner of the {O} been announced?",
        "{O}: who is it?",
    ),
    ("award", "fr"): ("Qui a gagné le prix {O} ?", "Qui a reçu le prix {O} ?", "{X} a-t-{she} eu le prix {O} ?"),
    ("match", "en"): (
        "Who won the {O} final?",
        "What was the result of the {O} final?",
        "Did {X} win the {O}?",
        "Is the {O} final over? Who took it?",
        "{O} final score?",
    ),
    ("match", "fr"): ("Qui a gagné la {O} ?", "Quel est le résultat de la finale de la {O} ?"),
    ("verdict", "en"): (
        "What is the verdict in the trial of {O}?",
        "Was {O} found guilty?",
        "Is {O} guilty?",
        "How did the trial of {O} end?",
        "Did the jury convict {O}?",
    ),
    ("verdict", "fr"): ("Quel est le verdict du procès de {O} ?", "{O} a-t-{she} été reconnu{e} coupable ?"),
    ("death", "en"): (
        "Is {O} dead?",
        "Did {O} die?",
        "I read that {O} has died. Is it true?",
        "What happened to {O}?",
        "Is {O} still alive?",
    ),
    ("death", "fr"): ("{O} est-{she} mort{e} ?", "Est-ce que {O} est décédé{e} ?"),
}
