"""A decode step whose tensors have sizes known beforehand: nothing of it asks the host, so that it can be captured.

Rows and blocks are rounded up to few sizes. Rows beyond those of the batch repeat the first one: they write the same
numbers to the same place, and nobody reads their logits. What a table has beyond a row's own blocks is masked.

Letters: B rows, one token of a sequence each, M blocks of the longest sequence, S = M * BLOCK keys, D width, H heads,
K key-value heads, G query heads per key-value head, C head size, N = K * B, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from lindos.engine.blocks import BLOCK
from lindos.engine.cache import Pages
from lindos.engine.network import Batch, Piece, write
from lindos.model import Transformer
from lindos.model.attention import temperatures
from lindos.model.elementwise import attention_weights
from lindos.model.experts import mix_experts, route
from lindos.model.transformer import Block

FEW_ROWS = (1, 2, 4, 8)
"""Beyond, the numbers of rows are multiples of 8 up to 32, then of 16."""

Attend = Callable[[Tensor, Tensor, Tensor, Tensor, float, float | None, int], Tensor]


class Size(NamedTuple):
    """What a step is captured for."""

    rows: int
    blocks: int

    @property
    def gathered(self) -> int:
        """Blocks that attention gathers in each layer."""
        return self.rows * self.blocks

    @classmethod
    def of(cls, batch: Batch, last: list[int]) -> Self | None:
        """The least size that a batch fits; None where it is not one visible token of each sequence, all sampled."""
        pieces = batch.pieces
        if last != list(range(len(pieces))) or any(piece.rows != 1 or piece.hidden for piece in pieces):
            return None
        return cls(_rows(len(pieces)), 1 << max(piece.start // BLOCK for piece in pieces).bit_length())


def _rows(count: int) -> int:
    fitting = next((rows for rows in FEW_ROWS if count <= rows), 0)
    step = 8 if count <= 32 else 16
    return fitting or -(-count // step) * step


class Inputs(NamedTuple):
    """What differs from step to step, int64: views of one array, so that one copy brings it all to the device.

    `slots_B` says where in the pages, counted in tokens, a row's keys and values go; `table_BM` the blocks of its keys.
    """

    tokens_B: Tensor
    positions_B: Tensor
    slots_B: Tensor
    table_BM: Tensor

    @classmethod
    def view(cls, flat: Tensor, size: Size) -> Self:
        """Of an array of `length(size)` numbers."""
        tokens_B, positions_B, slots_B, table = flat.split([size.rows] * 3 + [size.gathered])
        return cls(tokens_B, positions_B, slots_B, table.view(size))

    @staticmethod
    def length(size: Size) -> int:
        """How many numbers there are."""
        return 3 * size.rows + size.gathered

    @classmethod
    def fill(cls, batch: Batch, size: Size) -> Tensor:
        """The array for a batch, on the host."""
        rows = [_row(token, piece, size.blocks) for token, piece in zip(batch.tokens, batch.pieces, strict=True)]
        rows += rows[:1] * (size.rows - len(rows))
        columns = np.array(rows, np.int64)
        return torch.from_numpy(np.concatenate((columns[:, :3].T.ravel(), columns[:, 3:].ravel())))


def _row(token: int, piece: Piece, blocks: int) -> list[int]:
    """Token, position, slot, then the table; block 0 stands in it where there is none."""
    own = piece.blocks[: piece.start // BLOCK + 1]
    slot = own[-1] * BLOCK + piece.start % BLOCK
    return [token, piece.start, slot, *own, *[0] * (blocks - len(own))]


def attend_table(
    q_BHC: Tensor,
    pages: Tensor,
    table_BM: Tensor,
    positions_B: Tensor,
    scale: float,
    softcap: float | None,
    temperature_length: int,
) -> Tensor:
    """Attention of each row over its blocks, up to its own position: [B, H, C].

    `pages` are a layer's, [2, K, blocks, BLOCK, C]. The blocks are copied together, keys first, then values.
    """
    (rows, _, size), kv_heads = q_BHC.shape, pages.shape[1]
    q_NGC = q_BHC.view(rows, kv_heads, -1, size).transpose(0, 1).flatten(0, 1)
    keys_NSC = _gather(pages[0], table_BM)
    scores_NGS = torch.bmm(q_NGC, keys_NSC.transpose(1, 2))
    del keys_NSC
    position_N = positions_B.repeat(kv_heads)
    keys_S = torch.arange(scores_NGS.shape[2], device=q_BHC.device)
    visible_NS = keys_S <= position_N[:, None]
    temperature_NG = None
    if temperature_length:
        temperature_NG = temperatures(position_N, temperature_length)[:, None].expand(scores_NGS.shape[:2])
    # The one causal row there is stands at the last key; what a sequence does not have is hidden from it.
    last_G = keys_S[-1:].expand(scores_NGS.shape[1])
    weights_NGS, _ = attention_weights(scores_NGS, last_G, None, visible_NS, temperature_NG, scale, softcap)
    # What nobody has written yet may be anything, and nothing times NaN is NaN.
    values_NSC = _gather(pages[1], table_BM).masked_fill_(~visible_NS[..., None], 0.0)
    o_KBGC = torch.bmm(weights_NGS, values_NSC).unflatten(0, (kv_heads, rows))
    return o_KBGC.transpose(0, 1).flatten(1, 2)


def _gather(pages: Tensor, table_BM: Tensor) -> Tensor:
    """Keys or values [K, blocks, BLOCK, C] by a table: [K * B, M * BLOCK, C]."""
    heads, _, _, size = pages.shape
    return pages.index_select(1, table_BM.flatten()).view(heads * table_BM.shape[0], -1, size)


class FixedStep:
    """The step of one model over one cache."""

    def __init__(self, model: Transformer, pages: Pages, attend: Attend = attend_table) -> None:
        self._model = model
        self.pages = pages
        self._attend = attend

    def __call__(self, inputs: Inputs) -> Tensor:
        """Logits, fp32 [B, V]; keys and values go into the cache."""
        model, spec = self._model, self._model.spec
        h_BD = model.embed(inputs.tokens_B)
        phase = model.phase(inputs.positions_B)
        for block, pages in zip(model.layers, self.pages.layers, strict=True):
            assert isinstance(block, Block)
            q_BHC, k_BKC, v_BKC = block.attention.project(block.attend_input(h_BD), phase)
            write(pages, inputs.slots_B, k_BKC, v_BKC)
            o_BHC = self._attend(
                q_BHC,
                pages,
                inputs.table_BM,
                inputs.positions_B,
                spec.score_scale,
                spec.attention_softcap,
                spec.attention_temperature_length,
            )
            h_BD = _add_experts(block, block.add_attention(h_BD, block.attention.finish(o_BHC)))
        return model.logits(model.normalise(h_BD))


def _add_experts(block: Block, h_BD: Tensor) -> Tensor:
    """As `Block.add_experts`, without a question to the host on any device."""
    experts = block.experts
    assert experts is not None
    x_BD = block.experts_input(h_BD)
    routing = route(x_BD, experts.router, experts.spec)
    weights = (experts.gate, experts.up, experts.down)
    mixed_BD = mix_experts(x_BD, routing, *weights, experts.spec.activation, on_device=True)
    return block.add_mixture(h_BD, x_BD, mixed_BD)
