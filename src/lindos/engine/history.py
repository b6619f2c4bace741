"""Which tokens a request has seen so far, in the form that penalties want. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class SeenTokens:
    """The distinct tokens of a prompt and its answer, and how often the answer has each; grows token by token."""

    def __init__(self, prompt: Sequence[int]) -> None:
        distinct = list(dict.fromkeys(prompt))
        self._place = {token: place for place, token in enumerate(distinct)}
        self._tokens = np.array(distinct, np.int64)
        self._counts = np.zeros(len(distinct), np.int32)

    @property
    def tokens(self) -> NDArray[np.int64]:
        """[N] the distinct tokens, in order of appearance."""
        return self._tokens[: len(self._place)]

    @property
    def counts(self) -> NDArray[np.int32]:
        """[N] how often each was generated; 0 for one that only the prompt has."""
        return self._counts[: len(self._place)]

    def add(self, token: int) -> None:
        """Count a generated token."""
        place = self._place.setdefault(token, len(self._place))
        if place == len(self._tokens):
            more = max(64, place)
            self._tokens = np.concatenate((self._tokens, np.zeros(more, np.int64)))
            self._counts = np.concatenate((self._counts, np.zeros(more, np.int32)))
        self._tokens[place] = token
        self._counts[place] += 1
