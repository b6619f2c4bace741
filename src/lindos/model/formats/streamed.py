"""The one Transformer over weights that stay on disk: for a few tokens of a model larger than memory.

Attention, norms and shared branch of one layer are in memory at a time, of the experts only the one being computed,
of the embedding one block of rows. Every pass reads the weights anew, so this is for verifying a checkpoint, not for
talking to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from lindos.model.elementwise import gated_forward
from lindos.model.experts import Routing, route
from lindos.model.formats.source import TensorSource
from lindos.model.transformer import Block, Transformer
from lindos.specs.computable import check_computable

Progress = Callable[[int, int], None]
"""Called with the layers done and the layers there are."""


class StreamedTransformer(Transformer):
    """A Transformer without weights of its own. Only `forward` without a cache is of use; nothing is differentiable."""

    def __init__(
        self,
        source: TensorSource,
        *,
        dtype: torch.dtype = torch.float32,
        bf16_constants: bool = False,
        progress: Progress | None = None,
    ) -> None:
        check_computable(source.spec)
        super().__init__(source.spec, dtype=dtype, device="meta", bf16_constants=bf16_constants)
        self._source, self._dtype = source, dtype
        self.layers = _Layers(source, dtype, progress)
        self.final_norm = nn.Parameter(_whole(source, "final_norm", torch.float32), requires_grad=False)

    def embed(self, tokens: Tensor) -> Tensor:
        """Looked-up and scaled embeddings, [..., D]; reads the whole embedding once."""
        rows = torch.zeros(*tokens.shape, self.spec.width, dtype=self._dtype)
        for block, values in _blocks(self._source, "embedding", self._dtype):
            here = (tokens >= block.start) & (tokens < block.stop)
            rows[here] = values[tokens[here] - block.start]
        return rows * self.embedding_multiplier

    def head_products(self, x: Tensor) -> Tensor:
        """`x` times every row of the head, [..., V]."""
        name = "embedding" if self.spec.tied_head else "head"
        return torch.cat([x @ values.t() for _, values in _blocks(self._source, name, self._dtype)], -1)


class _Layers(nn.ModuleList):
    """Layers that are read when they are come to, and forgotten after."""

    def __init__(self, source: TensorSource, dtype: torch.dtype, progress: Progress | None) -> None:
        super().__init__()
        self._source, self._dtype, self._progress = source, dtype, progress

    def __iter__(self) -> Iterator[nn.Module]:
        for number in range(self._source.spec.layers):
            yield self._layer(number)
            if self._progress is not None:
                self._progress(number + 1, self._source.spec.layers)

    def _layer(self, number: int) -> Block:
        block = Block(self._source.spec, dtype=self._dtype, device="meta")
        block.experts = _StreamedExperts(self._source, f"layers.{number}.experts", self._dtype)  # type: ignore[assignment]
        for name, parameter in list(block.named_parameters()):
            values = _whole(self._source, f"layers.{number}.{name}", parameter.dtype)
            owner, _, leaf = name.rpartition(".")
            setattr(block.get_submodule(owner), leaf, nn.Parameter(values, requires_grad=False))
        return block


class _StreamedExperts(nn.Module):
    """Router and experts of one layer, an expert in memory at a time; those nobody chose are not read."""

    def __init__(self, source: TensorSource, name: str, dtype: torch.dtype) -> None:
        super().__init__()
        self._source, self._name, self._dtype = source, name, dtype

    def route(self, x_TD: Tensor) -> Routing:
        return route(x_TD, _whole(self._source, f"{self._name}.router", torch.float32), self._source.spec)

    def forward(self, x_TD: Tensor, routing: Routing) -> Tensor:
        activation = self._source.spec.activation
        mixed_TD = torch.zeros_like(x_TD)
        for expert in sorted(set(routing.chosen.flatten().tolist())):
            chosen_Tk = routing.chosen == expert
            tokens = chosen_Tk.any(-1)
            gates_T1 = (routing.gates * chosen_Tk).sum(-1, keepdim=True)[tokens].to(x_TD.dtype)
            inner = gated_forward(
                x_TD[tokens] @ self._matrix("gate", expert), x_TD[tokens] @ self._matrix("up", expert), activation
            )
            mixed_TD[tokens] += (inner @ self._matrix("down", expert)) * gates_T1
        return mixed_TD

    def _matrix(self, name: str, expert: int) -> Tensor:
        return self._source.read(f"{self._name}.{name}", slice(expert, expert + 1))[0].to(self._dtype)


def streamed_bytes(source: TensorSource, dtype: torch.dtype) -> int:
    """About how much memory a pass over a few tokens takes."""
    spec = source.spec
    # One matrix as it is read (widened to fp32) and its copy in `dtype`, beside the layer's attention.
    largest = max(spec.width * max(spec.expert_width, spec.shared_width), spec.width * spec.heads * spec.head_size)
    held = spec.attention_parameters + 3 * spec.width * spec.shared_width
    return largest * (4 + dtype.itemsize) + held * dtype.itemsize + (512 << 20)


def _whole(source: TensorSource, name: str, dtype: torch.dtype) -> Tensor:
    return torch.cat([values for _, values in _blocks(source, name, dtype)])


def _blocks(source: TensorSource, name: str, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    for rows in source.tensors[name].blocks():
        yield rows, source.read(name, rows).to(dtype)
