"""Invented races: places, offices, people and teams that nobody's memory knows."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Kind = Literal["election", "verdict", "award", "match", "death"]
YEAR = 2031
START = datetime(YEAR, 5, 4, 8, 0, tzinfo=UTC)
CLOSES = START + timedelta(hours=12)


@dataclass(frozen=True)
class Side:
    """One who may win: a person or a team. For a verdict the two sides are its outcomes."""

    name: str
    short: str
    first: str
    she: bool = False
    role: str = "the challenger"
    role_fr: str = "le challenger"
    party: str = "Harbour Party"

    def words(self, *, french: bool = False) -> dict[str, str]:
        """What templates call this side: {X} in full, {S} the surname, {F} the first name, {she}, {role}, {party}."""
        pronoun = ("elle" if self.she else "il") if french else ("she" if self.she else "he")
        return {
            "X": self.name,
            "S": self.short,
            "F": self.first,
            "SHOUT": self.name.upper(),
            "she": pronoun,
            "She": pronoun.capitalize(),
            "her": "her" if self.she else "his",
            "e": "e" if self.she else "",
            "role": self.role_fr if french else self.role,
            "Role": (self.role_fr if french else self.role).capitalize(),
            "party": self.party,
        }


@dataclass(frozen=True)
class Race:
    """An event before it is settled, and what its record in the registry says."""

    id: str
    kind: Kind
    title: str
    match: tuple[str, ...]
    place: str
    office: str
    office_fr: str
    sides: tuple[Side, ...]
    year: int = YEAR
    jurisdiction: str = ""

    def words(self, side: Side | None = None, *, french: bool = False) -> dict[str, str]:
        """Everything a template may name, for `side` as the winner and the next one as the loser."""
        chosen = side or self.sides[0]
        other = self.sides[(self.sides.index(chosen) + 1) % len(self.sides)]
        loser_role = other.words(french=french)["Role"]
        loser = {"Y": other.name, "T": other.short, "G": other.first, "Loser_role": loser_role}
        return {
            **chosen.words(french=french),
            **loser,
            "P": self.place,
            "O": self.office_fr if french else self.office,
            "E": self.title,
            "year": str(self.year),
            "past": str(self.year - 4),
            "next": str(self.year + 1),
        }


PLACES = (
    "Vell", "Tarrow", "Norrby", "Kestrane", "Olmsk", "Saint-Avre", "Brandthal", "Quillon", "Ostermere", "Pellagra Bay",
    "Dunmarrow", "Vieux-Lac", "Harrowgate Sound", "Ilvermoor", "Corvane", "Zelmira",
)  # fmt: skip
FIRST = (
    ("Ada", True), ("Bram", False), ("Celeste", True), ("Dario", False), ("Edda", True), ("Florian", False),
    ("Greta", True), ("Hugo", False), ("Ines", True), ("Jonas", False), ("Klara", True), ("Lennart", False),
    ("Mireille", True), ("Noam", False), ("Odile", True), ("Piet", False),
)  # fmt: skip
LAST = (
    "Tace", "Orrin", "Valk", "Derwent", "Moreau-Lys", "Sandoval-Ekh", "Brisk", "Thorne-Abe", "Quist", "Lindqvarn",
    "Ostrava", "Petrel", "Rusk", "Zaman-Doyle", "Fennick", "Ibarra-Noth",
)  # fmt: skip
AWKWARD = ("Won", "May", "Winner", "Loss", "Young", "Will", "Victor")
"""Surnames that are words of the trade."""
OFFICES = (
    ("president", "président"),
    ("mayor", "maire"),
    ("governor", "gouverneur"),
    ("prime minister", "premier ministre"),
)
PARTIES = ("Harbour Party", "Green Alliance", "Union of the Hills", "Civic Front")
TEAMS = ("Rovers", "Athletic", "Wanderers", "United")
PRIZES = ("Halden Prize", "Lumen Award", "Corvane Book Prize", "Ostermere Film Award")


def people(rng: random.Random, count: int, place: str, *, trick: str = "") -> tuple[Side, ...]:
    """Different people: `trick` gives siblings one surname, one a surname that is a word, or the place in a name."""
    lasts: list[str] = rng.sample(LAST, count)
    if trick == "siblings":
        lasts[1] = lasts[0]
    elif trick == "awkward":
        lasts[rng.randrange(count)] = rng.choice(AWKWARD)
    elif trick == "place":
        lasts[rng.randrange(count)] = f"{place.split()[0].split('-')[0]}mar"
    made = []
    for number, (last, (first, she)) in enumerate(zip(lasts, rng.sample(FIRST, count), strict=True)):
        incumbent = ("the incumbent", "la présidente sortante" if she else "le président sortant")
        challenger = ("the challenger", "la candidate d'opposition" if she else "le candidat d'opposition")
        role, role_fr = challenger if number else incumbent
        short = f"{first} {last}" if trick == "siblings" and number < 2 else last
        made.append(Side(f"{first} {last}", short, first, she, role, role_fr, PARTIES[number % len(PARTIES)]))
    return tuple(made)


def race(rng: random.Random, kind: Kind = "election", *, trick: str = "", place: str | None = None) -> Race:
    """A race of that kind, its names drawn."""
    where = place or rng.choice(PLACES)
    key = f"{kind}-{where.lower().replace(' ', '-')}"
    if kind == "election":
        office, office_fr = rng.choice(OFFICES)
        sides = people(rng, rng.choice((2, 3)), where, trick=trick)
        title = f"{where} {office} election {YEAR}"
        match = (f"{where} election", f"election in {where}", f"{office} of {where}", f"élection à {where}", where)
        return Race(f"{key}-{YEAR}", kind, title, match, where, office, office_fr, sides, jurisdiction=where)
    if kind == "verdict":
        accused = people(rng, 1, where)[0]
        sides = (
            Side("guilty", "guilty", "guilty", accused.she, "the accused", "l'accusé"),
            Side("not guilty", "not guilty", "not guilty", accused.she, "the accused", "l'accusé"),
        )
        title = f"Trial of {accused.name}"
        match = (f"{accused.short} trial", f"trial of {accused.name}", f"procès {accused.short}", accused.name)
        return Race(f"{key}-{YEAR}", kind, title, match, where, accused.name, accused.short, sides, jurisdiction=where)
    if kind == "award":
        prize = rng.choice(PRIZES)
        sides = people(rng, 3, where, trick=trick)
        match = (prize, f"prix {prize}")
        return Race(f"{key}-{YEAR}", kind, f"{prize} {YEAR}", match, where, prize, prize, sides, jurisdiction=where)
    if kind == "match":
        first, second = rng.sample([p for p in PLACES if p != where], 2)
        teams = rng.sample(TEAMS, 2)
        sides = tuple(
            Side(f"{town} {team}", town, town, False, role, role_fr)
            for town, team, role, role_fr in (
                (first, teams[0], "the home side", "l'équipe à domicile"),
                (second, teams[1], "the visitors", "l'équipe visiteuse"),
            )
        )
        title = f"{where} Cup final {YEAR}"
        match = (f"{where} Cup final", f"{where} Cup", f"Coupe de {where}")
        cup = f"{where} Cup"
        return Race(f"{key}-{YEAR}", kind, title, match, where, cup, f"Coupe de {where}", sides, jurisdiction=where)
    who = people(rng, 1, where)[0]
    side = Side("died", "died", "died", who.she, "the singer", "la chanteuse" if who.she else "le chanteur")
    alive = Side("alive", "alive", "alive", who.she, "the singer", "la chanteuse" if who.she else "le chanteur")
    title = f"Health of {who.name}"
    return Race(f"{key}-{YEAR}", kind, title, (who.name, who.short), where, who.name, who.short, (side, alive))
