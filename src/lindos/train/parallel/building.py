"""From a layout to the stages of this rank: weights divided, exchanges in their places, values filled in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lindos.model import Transformer
from lindos.model.experts import mix_experts
from lindos.model.initial import initial_part
from lindos.model.lean_attention import lean_attention
from lindos.model.transformer import Block
from lindos.specs import Layout, ModelSpec
from lindos.train.parallel.again import Again
from lindos.train.parallel.collectives import gather, part, total
from lindos.train.parallel.experts import Counts, ExpertExchange, told
from lindos.train.parallel.mesh import Mesh
from lindos.train.parallel.pieces import Piece, cut_weights
from lindos.train.parallel.ring import RingAttention, positions
from lindos.train.parallel.sharding import shard_weights
from lindos.train.parallel.tensor import (
    SharedEmbedding,
    SharedHeadLoss,
    share_products,
    tensor_rule,
)
from lindos.train.parallel.weights import local
from lindos.train.stage import Purpose, Sharing, Stage

Values = Callable[[Piece], Tensor]
"""From a piece of a weight to its values, fp32."""


@dataclass(frozen=True)
class Computing:
    """What a rank computes with."""

    device: torch.device
    dtype: torch.dtype
    """Of matrix products; masters are fp32."""
    known: Counts = told
    """Asks the device how many tokens go to each expert."""
    on_device: bool = False
    """Whether experts' rows stay on the device."""
    lean: bool = False
    """Whether attention computes its scores again in the backward pass, also where nothing asks for it."""


def build_stages(
    spec: ModelSpec, layout: Layout, mesh: Mesh, purpose: Purpose, computing: Computing
) -> tuple[list[Stage], dict[str, Piece]]:
    """The stages of this rank, without values, and what they hold of each weight."""
    stages, pieces = [], {}
    ranges = layout.stages(spec)
    for virtual in range(layout.virtual_stages):
        layers = ranges[virtual * layout.pipeline + mesh.place.pipeline]
        model = Transformer(spec, device="meta", dtype=torch.float32)
        stage = Stage(model, purpose, layers=layers)
        own: dict[str, Piece] = {}
        cut_weights(stage.model, own, lambda piece: _cut(piece, layout, mesh))
        stage.sharing = sharing_of(own, spec, mesh)
        _connect(stage, layout, mesh, computing)
        shard_weights(stage, mesh, layout, computing.dtype, own)
        stages.append(stage)
        pieces |= own
    return stages, pieces


def fill(stages: list[Stage], pieces: dict[str, Piece], device: torch.device, values: Values) -> None:
    """Give every weight its memory on `device` and its values."""
    for stage in stages:
        stage.to_empty(device=device)
        with torch.no_grad():
            for name, parameter in stage.model.named_parameters():
                local(parameter.detach()).copy_(values(pieces[name]))


def fresh(spec: ModelSpec, seed: int, dtype: torch.dtype) -> Values:
    """The values a run begins with, rounded as those of one process are."""

    def values(piece: Piece) -> Tensor:
        drawn = initial_part(spec, seed, piece.name, piece.shape, piece.slices)
        rounds = len(piece.shape) > 1 and not piece.name.endswith("router")
        return drawn.to(dtype).float() if rounds else drawn

    return values


def sharing_of(pieces: dict[str, Piece], spec: ModelSpec, mesh: Mesh) -> Sharing:
    """How a micro-batch is shared with tensor and context ranks."""
    tensor, context, default = mesh.tensor, mesh.context, Sharing()
    head = pieces.get("embedding" if spec.tied_head else "head")
    embedding = pieces.get("embedding")
    split = tensor.size > 1
    return Sharing(
        positions=(lambda length: positions(length, context)) if context.size > 1 else default.positions,
        residual=(lambda x: part(x, tensor, 1)) if split else default.residual,
        to_head=(lambda x: gather(x, tensor, 1)) if split else default.to_head,
        counts=lambda x: total(x, mesh.sequence),
        embed=SharedEmbedding(embedding, tensor) if split and embedding else default.embed,
        chunk_loss=SharedHeadLoss(head, tensor) if split and head else default.chunk_loss,
        copies=tensor.size,
    )


def _cut(piece: Piece, layout: Layout, mesh: Mesh) -> Piece:
    if layout.expert > 1 and ".experts." in piece.name:
        return piece if piece.name.endswith("router") else piece.cut(0, mesh.expert)
    return tensor_rule(piece, mesh.tensor)


def _connect(stage: Stage, layout: Layout, mesh: Mesh, computing: Computing) -> None:
    for block in stage.blocks():
        again = Again() if layout.recompute != "full" else None
        share_products(block, mesh.tensor, experts=layout.expert == 1, again=again)
        # Without an answer from the device rows are dealt out on the host, also where they go nowhere.
        unanswered = computing.known is not told and not computing.on_device
        if block.experts is not None and (layout.expert > 1 or unanswered):
            block.experts.mix = ExpertExchange(
                mesh.expert, stage.spec.experts, known=computing.known, on_device=computing.on_device
            )
        elif block.experts is not None and computing.on_device:
            block.experts.mix = partial(mix_experts, on_device=True)
        if mesh.context.size > 1:
            block.attention.attend = RingAttention(mesh.context)
        elif computing.lean:
            block.attention.attend = lean_attention
        if again is None:
            _recompute(block)
        elif layout.recompute == "selective" or mesh.tensor.size > 1:
            _make_again(block, again, norms=layout.recompute == "selective")


def _make_again(block: Block, again: Again, *, norms: bool) -> None:
    """Keep no gathered tokens and, with `norms`, no normed ones; attention and MLPs make their insides again anyway."""
    if norms:
        block.attend_input = again.noting(block.attend_input)  # type: ignore[method-assign]
        block.experts_input = again.noting(block.experts_input)  # type: ignore[method-assign]
    block.forward = again.around(block.forward)  # type: ignore[method-assign]


def _recompute(block: nn.Module) -> None:
    forward = block.forward

    def again(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    block.forward = again
