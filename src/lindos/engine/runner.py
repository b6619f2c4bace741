"""One step of a network: the tokens of many requests as one flat pass.

Letters: T tokens of this step over all requests, D width, H heads, C head size, V vocabulary, R requests that sample
after this step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lindos.engine.cache import Pages
from lindos.engine.network import Batch, Network, Piece
from lindos.engine.scheduler import Work


class Runner:
    """Runs steps of one network. Keeps nothing between steps but what stands in the cache, of `blocks` blocks."""

    def __init__(self, network: Network, blocks: int) -> None:
        self._network = network
        self._pages = Pages(network.spec, blocks, dtype=network.kv_dtype, device=network.device)

    @torch.inference_mode()
    def run(self, work: Sequence[Work]) -> Tensor:
        """Compute the work and extend the cache; fp32 logits [R, V] of those that sample, in the order of the work,
        each with as many more rows as it has guesses.

        Running the same work again is harmless: everything is written to the position it belongs to.
        """
        batch = self._batch(work)
        last = [
            row
            for piece, item in zip(batch.pieces, work, strict=True)
            if item.samples
            for row in range(piece.first + item.end - item.start - 1, piece.first + piece.rows)
        ]
        return self._network.forward(batch, last)

    def _batch(self, work: Sequence[Work]) -> Batch:
        """The tokens and where they stand. Each request holds the blocks for them."""
        network = self._network
        tokens: list[int] = []
        positions: list[int] = []
        pieces: list[Piece] = []
        for request, start, end, guesses in work:
            hidden = request.hidden(network.spec.pad_token)
            rows = end - start + len(guesses)
            pieces.append(Piece(len(tokens), rows, start, request.blocks, hidden))
            tokens += [*request.tokens[start:end], *guesses]
            positions += range(start, start + rows)
        return Batch(tokens, positions, pieces, self._pages, network.phase)
