"""Regular expressions that end: those whose search could take long are refused before they are used."""

from __future__ import annotations

import re
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MAX_WAYS = 8192
"""In how many ways an expression may match from one place, as an upper bound: each costs a step of backtracking."""
MAX_REPEAT = 200
MAX_LENGTH = 4000

_REPEATS = (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT)


def compiled(pattern: str) -> re.Pattern[str]:
    """The expression, compiled. Raises ValueError that says why it is none, or may take too long."""
    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"it has {len(pattern):,} characters; {MAX_LENGTH:,} are the most")
    try:
        tree = parser.parse(pattern)
        ways = _ways(tree)
        found = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"it cannot be read: {error}") from None
    if ways > MAX_WAYS:
        raise ValueError(f"it may take too long: its repeats multiply to {ways:,} ways ({MAX_WAYS:,} are the most)")
    if found.match("") is not None:
        raise ValueError("it matches the empty text, so everything")
    return found


def _ways(tree: Any) -> int:
    """How many ways there are to match a sequence: repeats multiply, of alternatives the one with the most counts."""
    ways = 1
    for op, arguments in tree:
        ways = min(ways * _item(op, arguments), MAX_WAYS**2)
    return ways


def _item(op: Any, arguments: Any) -> int:
    if op in _REPEATS:
        least, most, body = arguments
        if most > MAX_REPEAT:
            raise ValueError(f"a repeat without an end (*, +) or of more than {MAX_REPEAT}; bound it, as in .{{0,40}}")
        inner = _ways(body)
        # A group that can match in several ways does so anew each time.
        free = inner > 1 or (most > 1 and _branches(body))
        return (most - least + 1) * max(inner, 2) ** most if free and most > 1 else most - least + inner
    if op is ops.SUBPATTERN:
        return _ways(arguments[3])
    if op is ops.BRANCH:
        return max(_ways(branch) for branch in arguments[1])
    if op in (ops.ASSERT, ops.ASSERT_NOT):
        return _ways(arguments[1])
    if op is ops.GROUPREF or op is ops.GROUPREF_EXISTS:
        raise ValueError("back references are not taken")
    return 1


def _branches(tree: Any) -> bool:
    return any(
        op is ops.BRANCH
        or (op is ops.SUBPATTERN and _branches(arguments[3]))
        or (op in _REPEATS and _branches(arguments[2]))
        for op, arguments in tree
    )
