"""How sure a share is: Wilson's interval (E. B. Wilson, 1927)."""

from __future__ import annotations

import math

Z95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95% interval."""


def wilson(hits: int, count: int, z: float = Z95) -> tuple[float, float]:
    """The interval (low, high) within [0, 1] for `hits` of `count`. Raises ValueError where there is nothing to count.

    Unlike hits/count +- z*s it never leaves [0, 1] and keeps its width at 0 and at `count` hits.
    """
    if count <= 0 or not 0 <= hits <= count:
        raise ValueError(f"{hits} hits of {count} is no share")
    share, spread = hits / count, z * z / count
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))
