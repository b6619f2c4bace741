"""What a step asks of a network, and the Transformer as one.

Letters: T tokens, D width, H heads, K key-value heads, C head size, R tokens sampled from, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from lindos.engine.attention import attend
from lindos.engine.cache import RequestCache
from lindos.model import Transformer
from lindos.model.experts import route
from lindos.model.transformer import Block
from lindos.specs import ModelSpec

Phase = tuple[Tensor, Tensor]


class Piece(NamedTuple):
    """The rows [first, first + rows) of a step: tokens of one request, from its position `start` on."""

    cache: RequestCache
    first: int
    rows: int
    start: int


@dataclass(frozen=True)
class Batch:
    """Whose tokens a step computes. `phase` is what queries and keys are turned by, fp32 [T, C] twice."""

    tokens: list[int]
    positions_T: Tensor
    phase: Phase
    pieces: list[Piece]


class Network(Protocol):
    """A network, a layer in two parts: attention over the caches, and the rest."""

    spec: ModelSpec
    kv_dtype: torch.dtype
    """Of the caches."""
    device: torch.device

    def phase(self, positions_T: Tensor) -> Phase:
        """What queries and keys at these positions are turned by."""
        ...

    def embed(self, tokens: list[int]) -> Tensor:
        """The residual stream [T, D] of tokens."""
        ...

    def attend(self, layer: int, h_TD: Tensor, batch: Batch) -> Tensor:
        """What attention gathers for each token, [T, H, C]; their keys and values go into the caches."""
        ...

    def finish(self, layer: int, h_TD: Tensor, o_THC: Tensor) -> Tensor:
        """The residual stream after the layer, given what attention gathered; may be `h_TD` itself, changed."""
        ...

    def logits(self, h_RD: Tensor) -> Tensor:
        """fp32 [R, V]."""
        ...


def attend_pieces(
    layer: int, q_THC: Tensor, k_TKC: Tensor, v_TKC: Tensor, pieces: list[Piece], spec: ModelSpec
) -> Tensor:
    """Attention request by request, [T, H, C]; keys and values go into the caches first."""
    o_THC = torch.empty_like(q_THC)
    kv_2TKC = torch.stack((k_TKC, v_TKC))
    for cache, first, rows, start in pieces:
        stop, end = first + rows, start + rows
        cached_2KSC = cache.layers[layer]
        cached_2KSC[:, :, start:end] = kv_2TKC[:, first:stop].transpose(1, 2)
        o_THC[first:stop] = attend(q_THC[first:stop], cached_2KSC[:, :, :end], cache.visible(end), spec)
    return o_THC


class TorchNetwork:
    """A Transformer, by PyTorch's own products, on any device."""

    def __init__(self, model: Transformer) -> None:
        self._model = model.eval()
        self.spec = model.spec
        self.kv_dtype = model.embedding.dtype
        self.device = model.embedding.device

    def phase(self, positions_T: Tensor) -> Phase:
        return self._model.phase(positions_T)

    def embed(self, tokens: list[int]) -> Tensor:
        return self._model.embed(torch.tensor(tokens, device=self.device))

    def attend(self, layer: int, h_TD: Tensor, batch: Batch) -> Tensor:
        block = self._block(layer)
        projected = block.attention.project(block.attend_input(h_TD), batch.phase)
        return attend_pieces(layer, *projected, batch.pieces, self.spec)

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
