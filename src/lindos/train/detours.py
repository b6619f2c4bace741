"""Going back from a spike: to a checkpoint before it, and on with other batches.

So PaLM was trained (https://arxiv.org/abs/2204.02311, section 5.1): neither the weights nor the batches alone make a
spike, so the same weights pass with other batches. Every decision follows from the losses, so that a run that is killed
and goes on from a checkpoint decides again as it did.
"""

from __future__ import annotations

from typing import Any

from lindos.specs import Spec, SpecError

MOST = 3
"""So often a run goes back from the same place, each time further."""
PAST = 64
"""A place is passed when so many steps lie behind it."""


class Detours(Spec):
    """How often, and from where, a run has gone back."""

    shift: int = 0
    """Batches passed over: step s takes the batch of step s + shift."""
    spike: int = -1
    """The step it last went back from."""
    tries: int = 0
    """How often it has from there."""
    to: int = -1
    """Where it last went."""

    def tries_from(self, spike: int) -> int:
        """How often the run will have gone back from there, this time included."""
        return self.tries + 1 if self.tries and spike <= self.spike + PAST else 1

    def latest(self, spike: int) -> int:
        """The last step to go back to from a spike: each time further than before."""
        return spike if self.tries_from(spike) == 1 else self.to - 1

    def after(self, spike: int, to: int) -> Detours:
        """Going on at step `to`, with the batches that follow the spike's."""
        furthest = max(spike, self.spike)
        return Detours(shift=self.shift + spike + 1 - to, spike=furthest, tries=self.tries_from(spike), to=to)

    def require_none(self) -> None:
        """Raise SpecError where batches were left out: replica groups take all of them."""
        if self.shift:
            raise SpecError("this run has left batches out after spikes; replica groups know nothing of that")

    @classmethod
    def of(cls, meta: dict[str, Any]) -> Detours:
        """What a checkpoint says; older ones say nothing."""
        return cls.model_validate(meta.get("detours", {}))
