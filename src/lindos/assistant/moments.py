"""Moments: what the register itself says of an event, its names and when it opens and closes, as it stands in
sentences. It carries these and nothing else: that 20:00 is in the register makes 20 no count of anything."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

from lindos.assistant.evidence import carries_names, numbers_in
from lindos.assistant.settlement.names import Cast
from lindos.assistant.settlement.standing import Standing
from lindos.assistant.settlement.words import fold, words

_SPELLED = "one two three four five six seven eight nine ten eleven twelve"
_MONTHS = {
    name: number
    for listed in (
        "january february march april may june july august september october november december",
        "janvier fevrier mars avril mai juin juillet aout septembre octobre novembre decembre",
        "jan feb mar apr may jun jul aug sep oct nov dec",
    )
    for number, name in enumerate(listed.split(), 1)
}
_HOURS = {name: number for number, name in enumerate(_SPELLED.split(), 1)}
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})\b\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th|er)?"
_YEAR = r"(?P<year>\d{4})"
_HALF = r"(?P<half>[ap])\.?m\b\.?"
_HOUR = r"(?P<hour>\d{1,2})"
_MINUTE = r"(?P<minute>\d{2})"
_COUNTED = (
    r"(?! ?(?:%|per ?cent|pour ?cent|points?|votes?|voix|ballots?|bulletins?|seats?|sieges?|(?:out )?of\b|sur\b))"
)
_DATES = [
    re.compile(pattern)
    for pattern in (
        rf"\b{_YEAR}-(?P<month>\d{{2}})-(?P<day>\d{{2}})\b",
        rf"\b{_DAY} (?:of |de )?{_MONTH}(?:,? {_YEAR}\b)?{_COUNTED}",
        rf"\b{_MONTH} {_DAY}\b(?:,? {_YEAR}\b)?{_COUNTED}",
        rf"\b(?:in|of|since|the|for|this|en|de|du|depuis|l') ?{_YEAR}\b{_COUNTED}",
    )
]
_CLOCKS = [
    re.compile(pattern)
    for pattern in (
        rf"\b{_HOUR}:{_MINUTE}(?::00)?\b(?: ?{_HALF})?",
        rf"\b{_HOUR} ?h(?:eures?)?\b(?: ?{_MINUTE}\b)?",
        rf"\b{_HOUR}h{_MINUTE}\b",
        rf"\b{_HOUR}(?:[.:]{_MINUTE})? ?{_HALF}",
        rf"\b{_HOUR} ?(?:o'clock|utc|gmt)\b",
        rf"\b(?P<spelled>{'|'.join(_HOURS)}) ?(?:o'clock|{_HALF}|utc|gmt|tonight|in the \w+)",
        r"\b(?:clos\w+|open\w*|ends?|starts?|begins?|ferm\w+|ouvr\w+) (?:\w+ )?(?:at|until|till|a|jusqu'a) "
        rf"(?:{_HOUR}|(?P<spelled>{'|'.join(_HOURS)}))(?=$|[.,;!?])",
    )
]


def carried_by_register(standing: Standing, sentence: str, cast: Cast, now: datetime) -> bool:
    """Whether the register has every name of a sentence as one of an event's, and every number as a part of one of
    its names, or of its times or of `now` in the form of a date or a clock."""
    event = standing.event
    said = (event.title, event.jurisdiction, *event.phrases, *event.authoritative, standing.outcome)
    if not carries_names("\n".join(said), sentence, cast):
        return False
    return not numbers_in(_without_times(_without_names(fold(sentence), said), (event.opens, event.closes, now)))


def _without_names(text: str, names: Iterable[str]) -> str:
    """`text` without the numbers that stand in it as in one of the names: the 12 of District 12."""
    for name in names:
        for numbered in _numbered(name):
            text = numbered.sub(" ", text)
    return text


@lru_cache(maxsize=1024)
def _numbered(name: str) -> tuple[re.Pattern[str], ...]:
    listed = words(name)
    pairs = [pair for pair in itertools.pairwise(listed) if any(one[0].isdigit() for one in pair)]
    return tuple(re.compile(rf"\b{re.escape(one)}\W{{1,2}}{re.escape(other)}\b{_COUNTED}") for one, other in pairs)


def _without_times(text: str, moments: tuple[datetime, ...]) -> str:
    """`text` without the dates and clock times that are those of one of the moments."""
    for pattern in _CLOCKS:
        text = pattern.sub(lambda found: " " if any(_is_time(found, at) for at in moments) else found.group(), text)
    for pattern in _DATES:
        text = pattern.sub(lambda found: " " if any(_is_date(found, at) for at in moments) else found.group(), text)
    return text


def _is_date(found: re.Match[str], at: datetime) -> bool:
    parts = found.groupdict()
    month = parts.get("month") or ""
    return (
        (not parts.get("year") or int(parts["year"]) == at.year)
        and (not parts.get("day") or int(parts["day"]) == at.day)
        and (not month or (int(month) if month.isdigit() else _MONTHS[month]) == at.month)
    )


def _is_time(found: re.Match[str], at: datetime) -> bool:
    parts = found.groupdict()
    spelled, half = parts.get("spelled"), parts.get("half")
    hour = _HOURS[spelled] if spelled else int(parts["hour"])
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    same = hour == at.hour or (bool(spelled) and not half and hour % 12 == at.hour % 12)
    return same and int(parts.get("minute") or 0) == at.minute
