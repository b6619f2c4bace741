"""Context parallelism: a sequence divided over ranks, whose keys and values travel around a ring.

Causal attention gives the last tokens most of the work, so the sequence is cut into twice as many stretches as there
are ranks, and each rank takes one from either end (the problem: Striped Attention, https://arxiv.org/abs/2311.09431;
the cut: Llama 3, https://arxiv.org/abs/2407.21783, section 3.3.2).

Letters: N batch times key-value heads, G query heads per key-value head, T tokens of this rank, S of them in a stretch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lindos.model.elementwise import wide_dtype
from lindos.model.lean_attention import (
    Keys,
    PartGradients,
    Scoring,
    attend_part,
    attend_part_backward,
    each_head,
    join_parts,
    keys_by_head,
    queries_by_head,
    queries_by_token,
    row_products,
)
from lindos.train.parallel.mesh import Group


def stretches(tokens: int, ranks: int, index: int) -> tuple[range, range]:
    """The two stretches of a sequence that a rank has. `tokens` must be a multiple of `2 * ranks`."""
    size = tokens // (2 * ranks)
    last = 2 * ranks - 1 - index
    return range(index * size, (index + 1) * size), range(last * size, (last + 1) * size)


def positions(tokens: int, group: Group) -> Tensor:
    """The positions of a sequence that this rank computes, int64 [T]."""
    return torch.cat([torch.arange(each.start, each.stop) for each in stretches(tokens, group.size, group.index)])


class RingAttention:
    """`attention` over a context group: queries stay, keys and values come by."""

    def __init__(self, group: Group) -> None:
        self.group = group

    def __call__(
        self,
        q_BTHC: Tensor,
        k_BTKC: Tensor,
        v_BTKC: Tensor,
        *,
        multiplier: float,
        softcap: float | None,
        key_mask_BS: Tensor | None = None,
        first_key_BT: Tensor | None = None,
        temperature_BT: Tensor | None = None,
    ) -> Tensor:
        """As `attention`, of this rank's part of the sequence; `key_mask_BS` is about the whole sequence."""
        batch, kv_heads = len(q_BTHC), k_BTKC.shape[2]
        scoring = Scoring(
            multiplier, softcap, each_head(first_key_BT, batch, kv_heads), each_head(temperature_BT, batch, kv_heads)
        )
        mask_NS = each_head(key_mask_BS, batch, kv_heads)
        kv_2NTC = torch.stack((keys_by_head(k_BTKC), keys_by_head(v_BTKC)))
        return _Ring.apply(q_BTHC, kv_2NTC, mask_NS, scoring, self.group)


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q_BTHC: Tensor, kv_2NTC: Tensor, mask_NS: Tensor | None, scoring: Scoring, group: Group
    ) -> Tensor:
        batch = len(q_BTHC)
        q_NGTC = queries_by_head(q_BTHC, kv_2NTC.shape[1] // batch)
        pairs = _Pairs(q_NGTC.shape[2], group, mask_NS)
        outs: list[Tensor | None] = [None, None]
        norms: list[Tensor | None] = [None, None]
        passing = kv_2NTC
        for step in range(group.size):
            arriving = None if step == group.size - 1 else _Passing(passing, group, forward=True)
            for half, start, keys in pairs.of(passing, (group.index - step) % group.size):
                rows = pairs.rows(half)
                out, norm = attend_part(q_NGTC[:, :, rows], start, keys, scoring.rows(rows))
                before_out, before_norm = outs[half], norms[half]
                if before_out is not None and before_norm is not None:
                    out, norm = join_parts([before_out, out], [before_norm, norm])
                outs[half], norms[half] = out.to(wide_dtype(out)), norm
            if arriving is not None:
                passing = arriving.wait()
        out_NGTC = torch.cat([each for each in outs if each is not None], 2).to(q_NGTC.dtype)
        out_BTHC = queries_by_token(out_NGTC, batch).contiguous()
        norms_NGT = torch.cat([each for each in norms if each is not None], 2)
        # The keys that came last are kept: from there they go back, and their gradients with them, which are home when
        # they are complete.
        ctx.save_for_backward(q_BTHC, passing, out_BTHC, norms_NGT)
        ctx.pairs, ctx.scoring, ctx.group = pairs, scoring, group
        return out_BTHC

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q_BTHC, passing, out_BTHC, norms_NGT = ctx.saved_tensors
        batch, kv_heads = len(q_BTHC), passing.shape[1] // len(q_BTHC)
        q_NGTC, out_NGTC, dout_NGTC = (queries_by_head(x, kv_heads) for x in (q_BTHC, out_BTHC, grads[0]))
        pairs, scoring, group = ctx.pairs, ctx.scoring, ctx.group
        wide = wide_dtype(q_NGTC)
        delta_NGT = row_products(dout_NGTC, out_NGTC)
        dq_NGTC = torch.zeros(q_NGTC.shape, dtype=wide, device=q_NGTC.device)
        gradient = torch.zeros(passing.shape, dtype=wide, device=passing.device)
        for step in range(group.size):
            arriving = None if step == group.size - 1 else _Passing(passing, group, forward=False)
            for half, start, keys in pairs.of(passing, (group.index + 1 + step) % group.size):
                rows, stretch = pairs.rows(half), pairs.stretch_of(keys)
                into = PartGradients(dq_NGTC[:, :, rows], gradient[0][:, stretch], gradient[1][:, stretch])
                attend_part_backward(
                    dout_NGTC[:, :, rows], q_NGTC[:, :, rows], start, keys, scoring.rows(rows),
                    norms_NGT[:, :, rows], delta_NGT[:, :, rows], into,
                )  # fmt: skip
            if arriving is not None:
                passing = arriving.wait()
                gradient = _Passing(gradient, group, forward=False).wait()
        return queries_by_token(dq_NGTC.to(q_NGTC.dtype), batch), gradient.to(passing.dtype), None, None, None


class _Pairs:
    """Which of this rank's stretches see which of another's."""

    def __init__(self, tokens: int, group: Group, mask_NS: Tensor | None) -> None:
        self.size, self.group, self.mask_NS = tokens // 2, group, mask_NS
        self.mine = self._starts(group.index)

    def _starts(self, index: int) -> tuple[int, int]:
        first, second = stretches(2 * self.size * self.group.size, self.group.size, index)
        return first.start, second.start

    def rows(self, half: int) -> slice:
        return slice(half * self.size, (half + 1) * self.size)

    def stretch_of(self, keys: Keys) -> slice:
        """Where these keys lie among those of the rank they came from: in its first half or its second."""
        return self.rows(0 if keys.start < self.size * self.group.size else 1)

    def of(self, kv_2NTC: Tensor, owner: int) -> list[tuple[int, int, Keys]]:
        """(half of the queries, their first position, keys they see) for all that `owner`'s keys are seen by."""
        found = []
        for part, key_start in enumerate(self._starts(owner)):
            rows = self.rows(part)
            mask = None if self.mask_NS is None else self.mask_NS[:, key_start : key_start + self.size]
            keys = Keys(kv_2NTC[0][:, rows], kv_2NTC[1][:, rows], key_start, mask)
            found += [(half, start, keys) for half, start in enumerate(self.mine) if key_start <= start]
        return found


class _Passing:
    """A tensor on its way to the next rank of the ring, and one from the rank before on its way here; or back."""

    def __init__(self, sent: Tensor, group: Group, *, forward: bool) -> None:
        self.sent, self.received = sent.contiguous(), torch.empty_like(sent)
        way = 1 if forward else -1
        following = group.ranks[(group.index + way) % group.size]
        before = group.ranks[(group.index - way) % group.size]
        self.work = dist.batch_isend_irecv(
            [
                dist.P2POp(dist.isend, self.sent, following, group.handle),
                dist.P2POp(dist.irecv, self.received, before, group.handle),
            ]
        )

    def wait(self) -> Tensor:
        for work in self.work:
            work.wait()
        return self.received
