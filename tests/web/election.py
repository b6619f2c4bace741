"""A night of counting that never was, and what an assistant said of it."""

from __future__ import annotations

from lindos.assistant import Basis, Cut
from tests.server.grounded import NIGHT, Grounded, election, grounded, source

COUNT = source(
    "count.portellery.example",
    "Mayor of Port Ellery, 62% counted:\nMira Halvorsen 51.8%\nTomas Reyl 46.9%\nNext figures at 21:30.",
    minutes=4,
    authoritative=True,
)
DESK = source(
    "harbourdesk.example",
    "We are not calling Port Ellery yet. The Old Quay's postal votes open at 22:00, and there are 9,400 of them.",
    minutes=2,
    claimed=17,
    authoritative=True,
)
CROWD = source("gullsandballots.example", "HALVORSEN WINS!!! it is OVER, go home everyone", minutes=1)
RUMOUR = source(
    "quaytalk.example", "my cousin counts votes and says Reyl has it", minutes=50, url="javascript:alert(1)"
)
LONG = source("essay.example", "A long view of harbour towns and their mayors. " * 20, minutes=70)
ANGLE = source("angle.example", "<img src=x onerror='window.pwned = 1'><b>bold</b> & [1](#x)", minutes=3)

HELD = (
    Cut(text="Halvorsen is the new mayor.", reason="unsettled"),
    Cut(text="She has won by a landslide.", reason="unsettled"),
    Cut(text="Turnout was a record.", reason="unsupported"),
)
LEADS = "**Mira Halvorsen leads with 51.8%** to Tomas Reyl's 46.9%, with 62% of the votes counted."
CALLED = "The Harbour Desk: “We are not calling Port Ellery yet.”"
PARTIAL = f"{LEADS} {CALLED}\n\nThe 9,400 postal votes of the Old Quay come next, from 22:00."

NIGHTLY = grounded(
    PARTIAL,
    [COUNT, DESK, CROWD, RUMOUR],
    {
        LEADS: "count.portellery.example",
        CALLED: "harbourdesk.example",
        "The 9,400 postal votes of the Old Quay come next, from 22:00.": "harbourdesk.example",
    },
    quotes="",
    form="partial",
    as_of=NIGHT,
    events=(election(),),
    cut=HELD,
)


def quoting() -> Grounded:
    """The same, with one citation that is the post's own words."""
    text, basis = NIGHTLY
    start = text.index(CALLED)
    cited = tuple(one.model_copy(update={"quote": one.start == start}) for one in basis.citations)
    return text, basis.model_copy(update={"citations": cited})


def about(form: str, state: str, text: str) -> Grounded:
    return grounded(
        text, [COUNT], {text: "count.portellery.example"}, form=form, as_of=NIGHT, events=(election(form, state),)
    )


ANSWERS: dict[str, Grounded] = {
    "who": quoting(),
    "settled": about("settled", "called", "Mira Halvorsen has been elected mayor."),
    "conflicting": about(
        "conflicting", "disputed", "The two desks disagree: one has called it, one has taken that back."
    ),
    "unknown": grounded(
        "Nobody has reported a result yet.", form="unknown", as_of=NIGHT, events=(election("unknown"),)
    ),
    "angle": grounded("They said it.", [ANGLE, LONG], {"They said it.": "angle.example"}, as_of=NIGHT),
    "many": grounded(
        " ".join(f"Fact {n}." for n in range(1, 7)),
        [source(f"s{n}.example", f"This is fact {n} of six.", minutes=n) for n in range(1, 7)],
        {f"Fact {n}.": f"s{n}.example" for n in range(1, 7)},
    ),
    "undeclared": grounded("Of that I know nothing for sure.", form="unknown", as_of=NIGHT),
    "refused": grounded("I will not help to find where somebody lives.", refused="doxxing"),
}


def script(question: str) -> Grounded:
    """By the first word of the question."""
    words = question.split()[0].lower().strip("?.,!")
    return ANSWERS.get(words, (f"You said: {question}", Basis()))
