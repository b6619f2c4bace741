"""What a step asks of a network, and the Transformer as one.

Letters: T tokens, D width, H heads, K key-value heads, C head size, R tokens sampled from, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lindos.engine.attention import attend
from lindos.engine.blocks import BLOCK
from lindos.engine.cache import Pages
from lindos.model import Transformer
from lindos.model.experts import route
from lindos.model.transformer import Block
from lindos.specs import ModelSpec

Phase = tuple[Tensor, Tensor]


class Piece(NamedTuple):
    """The rows [first, first + rows) of a step: tokens of one request, from its position `start` on.

    `blocks` are those of the cache that hold it, in order; `hidden` the positions that no query may see.
    """

    first: int
    rows: int
    start: int
    blocks: list[int]
    hidden: list[int]


@dataclass(frozen=True)
class Batch:
    """Whose tokens a step computes, and where they stand. `phase_of` is the network's."""

    tokens: list[int]
    positions: list[int]
    pieces: list[Piece]
    pages: Pages
    phase_of: Callable[[Tensor], Phase]

    @cached_property
    def at(self) -> Tensor:
        """[T] the positions."""
        return torch.tensor(self.positions, device=self.pages.device)

    @cached_property
    def phase(self) -> Phase:
        """What queries and keys are turned by, fp32 [T, C] twice."""
        return self.phase_of(self.at)

    @cached_property
    def slots(self) -> Tensor:
        """[T] where in the pages, counted in tokens, each row's keys and values go."""
        slots = [
            piece.blocks[position // BLOCK] * BLOCK + position % BLOCK
            for piece in self.pieces
            for position in range(piece.start, piece.start + piece.rows)
        ]
        return torch.tensor(slots, device=self.pages.device)

    @cached_property
    def gathers(self) -> list[Gather]:
        """How each piece's keys are read."""
        return [Gather(piece, self.pages.device) for piece in self.pieces]

    @cached_property
    def tables(self) -> Tables:
        """The pieces as the native kernels read them."""
        return Tables.of(self.pieces)


class Gather:
    """Reads the keys and values of one piece out of the pages."""

    def __init__(self, piece: Piece, device: torch.device) -> None:
        self.end = piece.start + piece.rows
        blocks = piece.blocks[: -(-self.end // BLOCK)]
        self._first = blocks[0]
        consecutive = blocks == list(range(self._first, self._first + len(blocks)))
        self._table = None if consecutive else torch.tensor(blocks, device=device)
        self.visible: Tensor | None = None
        """[end] True where a key may be seen; None when all may."""
        if hidden := [position for position in piece.hidden if position < self.end]:
            self.visible = torch.ones(self.end, dtype=torch.bool, device=device)
            self.visible[hidden] = False

    def __call__(self, layer: Tensor) -> Tensor:
        """[2, K, end, C]: a view where the blocks follow each other, else a copy."""
        if self._table is None:
            start = self._first * BLOCK
            return layer.flatten(2, 3)[:, :, start : start + self.end]
        return layer.index_select(2, self._table).flatten(2, 3)[:, :, : self.end]


@dataclass(frozen=True)
class Tables:
    """Pieces as arrays: `sequences` a row [first, rows, start, where its blocks begin in `blocks`, how many] each.

    `visible` has a bit for each token of a block, set where it may be seen; None where all may.
    """

    sequences: NDArray[np.int64]
    blocks: NDArray[np.int32]
    visible: NDArray[np.uint64] | None

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Tables:
        sequences, blocks = [], []
        hidden: list[int] = []
        for piece in pieces:
            sequences.append((piece.first, piece.rows, piece.start, len(blocks), len(piece.blocks)))
            hidden += [len(blocks) * BLOCK + position for position in piece.hidden]
            blocks += piece.blocks
        visible = None
        if hidden:
            bits = np.ones(len(blocks) * BLOCK, np.bool_)
            bits[hidden] = False
            visible = np.packbits(bits, bitorder="little").view("<u8").astype(np.uint64)
        return cls(np.array(sequences, np.int64), np.array(blocks, np.int32), visible)


class Network(Protocol):
    """A network: a step as a whole, and its parts, of each layer attention over the cache and the rest."""

    spec: ModelSpec
    kv_dtype: torch.dtype
    """Of the cache."""
    device: torch.device

    def phase(self, positions_T: Tensor) -> Phase:
        """What queries and keys at these positions are turned by."""
        ...

    def forward(self, batch: Batch, last: list[int]) -> Tensor:
        """Logits, fp32 [R, V], of the rows `last`; keys and values of all rows go into the cache."""
        ...

    def embed(self, tokens: list[int]) -> Tensor:
        """The residual stream [T, D] of tokens."""
        ...

    def attend(self, layer: int, h_TD: Tensor, batch: Batch) -> Tensor:
        """What attention gathers for each token, [T, H, C]; their keys and values go into the cache."""
        ...

    def finish(self, layer: int, h_TD: Tensor, o_THC: Tensor) -> Tensor:
        """The residual stream after the layer, given what attention gathered; may be `h_TD` itself, changed."""
        ...

    def logits(self, h_RD: Tensor) -> Tensor:
        """fp32 [R, V]."""
        ...


def attend_pieces(layer: int, q_THC: Tensor, k_TKC: Tensor, v_TKC: Tensor, batch: Batch, spec: ModelSpec) -> Tensor:
    """Attention request by request, [T, H, C]; keys and values go into the cache first."""
    pages = batch.pages.layers[layer]
    write(pages, batch.slots, k_TKC, v_TKC)
    o_THC = torch.empty_like(q_THC)
    for piece, gather in zip(batch.pieces, batch.gathers, strict=True):
        rows = slice(piece.first, piece.first + piece.rows)
        o_THC[rows] = attend(q_THC[rows], gather(pages), gather.visible, spec)
    return o_THC


def write(pages: Tensor, slots_T: Tensor, k_TKC: Tensor, v_TKC: Tensor) -> None:
    """Put keys and values where they belong in a layer's pages."""
    pages.flatten(2, 3).index_copy_(2, slots_T, torch.stack((k_TKC, v_TKC)).transpose(1, 2))


def forward_by_layers(network: Network, batch: Batch, last: list[int]) -> Tensor:
    """`Network.forward`, of its parts."""
    h_TD = network.embed(batch.tokens)
    for layer in range(network.spec.layers):
        o_THC = network.attend(layer, h_TD, batch)
        if layer == network.spec.layers - 1:
            # After the last attention only the tokens that are sampled from matter.
            h_TD, o_THC = h_TD[last], o_THC[last]
        if len(h_TD):
            h_TD = network.finish(layer, h_TD, o_THC)
    return network.logits(h_TD)


class TorchNetwork:
    """A Transformer, by PyTorch's own products, on any device."""

    def __init__(self, model: Transformer) -> None:
        self._model = model.eval()
        self.spec = model.spec
        self.kv_dtype = model.embedding.dtype
        self.device = model.embedding.device

    def phase(self, positions_T: Tensor) -> Phase:
        return self._model.phase(positions_T)

    def forward(self, batch: Batch, last: list[int]) -> Tensor:
        return forward_by_layers(self, batch, last)

    def embed(self, tokens: list[int]) -> Tensor:
        return self._model.embed(torch.tensor(tokens, device=self.device))

    def attend(self, layer: int, h_TD: Tensor, batch: Batch) -> Tensor:
        block = self._block(layer)
        projected = block.attention.project(block.attend_input(h_TD), batch.phase)
        return attend_pieces(layer, *projected, batch, self.spec)

    def finish(self, layer: int, h_TD: Tensor, o_THC: Tensor) -> Tensor:
        block = self._block(layer)
        return _add_experts(block, block.add_attention(h_TD, block.attention.finish(o_THC)))

    def logits(self, h_RD: Tensor) -> Tensor:
        return self._model.logits(self._model.normalise(h_RD))

    def _block(self, layer: int) -> Block:
        block = self._model.layers[layer]
        assert isinstance(block, Block)
        return block


def _add_experts(block: Block, h_TD: Tensor) -> Tensor:
    """The residual stream with the result of experts and shared branch added.

    On a CPU, for one token, sorting by expert and counting (the model's way) cost as much as the products.
    """
    if h_TD.shape[0] != 1 or h_TD.is_cuda:
        return block.add_experts(h_TD)[0]
    experts = block.experts
    assert experts is not None
    x_1D = block.experts_input(h_TD)
    routing = route(x_1D, experts.router, experts.spec)
    gates_k = routing.gates[0].to(x_1D.dtype)
    mixed_1D = torch.zeros_like(x_1D)
    for gate, index in zip(gates_k, routing.chosen[0].tolist(), strict=True):
        inner_1F = _activate(x_1D @ experts.gate[index], experts.spec.activation).mul_(x_1D @ experts.up[index])
        mixed_1D.add_((inner_1F @ experts.down[index]).mul_(gate))
    return block.add_mixture(h_TD, x_1D, mixed_1D)


def _activate(x: Tensor, activation: str) -> Tensor:
    return functional.gelu(x, approximate="tanh") if activation == "gelu_tanh" else functional.silu(x)
