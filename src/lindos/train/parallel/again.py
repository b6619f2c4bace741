"""What a backward pass makes again instead of keeping it: gathered tokens, normed tokens.

Cheap to make and large to keep (Korthikanti et al., https://arxiv.org/abs/2205.05198, sections 4.2.2 and 5). autograd
asks what to keep for every tensor it saves; those that lie in memory noted here are replaced by the way to make them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

Make = Callable[[], Tensor]


class Again:
    """The notes of one block, which last as long as its forward pass."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Tensor, _Anew]] = {}

    def note(self, made: Tensor, make: Make) -> None:
        """`make()` gives what `made` is, laid out alike."""
        if not torch.is_grad_enabled():
            return
        self._made[_memory(made)] = made, _Anew(make)

    def way_to(self, x: Tensor) -> Make:
        """How to have `x` in the backward pass: by keeping it, or by the note there is of it."""
        found = self._made.get(_memory(x))
        if found is None or found[0].numel() != x.numel():
            kept = x.detach()
            return lambda: kept
        make, shape = found[1].make, x.shape
        return lambda: make().view(shape)

    def noting(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """`function`, whose results are made again from its input."""

        def noted(x: Tensor) -> Tensor:
            made, kept = function(x), x.detach()
            self.note(made, lambda: function(kept))
            return made

        return noted

    def around(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """A block's forward pass in which notes count."""

        def noted(*args: Any, **kwargs: Any) -> Any:
            try:
                with torch.autograd.graph.saved_tensors_hooks(self._pack, _unpack):
                    return forward(*args, **kwargs)
            finally:
                self._made.clear()  # what is noted must live no longer than the pass, though the hooks do

        return noted

    def _pack(self, tensor: Tensor) -> Tensor | _Use:
        found = self._made.get(_memory(tensor))
        if found is None:
            return tensor.detach()  # an operation that keeps its own result would else keep itself
        found[1].uses += 1
        return _Use(found[1], tensor.shape, tensor.stride(), int(tensor.storage_offset()))


class _Anew:
    """Something made again: once for all that want it, and let go with the last of them."""

    def __init__(self, make: Make) -> None:
        self.make, self.uses, self.served = make, 0, 0
        self.whole: Tensor | None = None

    def use(self) -> Tensor:
        with torch.no_grad():
            whole = self.make() if self.whole is None else self.whole
        self.served = (self.served + 1) % self.uses  # a backward pass in two halves asks twice
        self.whole = whole if self.served else None
        return whole


class _Use(NamedTuple):
    """One that wants it, as it saw it."""

    anew: _Anew
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int


def _unpack(held: Tensor | _Use) -> Tensor:
    return held.anew.use().as_strided(held.shape, held.stride, held.offset) if isinstance(held, _Use) else held


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
