"""Causal attention that keeps one number a row for its backward pass, and attention to a part of the keys.

`attention` keeps two arrays of scores, which costs memory by the square of the sequence. Here the backward pass
computes the scores again from the log-normaliser of each row, as FlashAttention does
(https://arxiv.org/abs/2307.08691). Rows of several parts of the keys are joined by their log-normalisers, so that the
parts may come from anywhere, one after the other (Ring Attention, https://arxiv.org/abs/2310.01889).

Letters: N batch times key-value heads, G query heads per key-value head, T queries, S keys, C head size, R = G*T rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lindos.model.attention import QUERY_BLOCK
from lindos.model.elementwise import masked_scores, score_weights, score_weights_backward, wide_dtype


class Scoring(NamedTuple):
    """How queries look at keys, besides causally; each row's own numbers cover all queries at hand."""

    multiplier: float
    softcap: float | None
    first_NT: Tensor | None = None
    """The first key each query may see, as a position."""
    temperature_NT: Tensor | None = None

    def rows(self, rows: slice) -> Scoring:
        """The same for some of the queries."""
        first = None if self.first_NT is None else self.first_NT[:, rows]
        temperature = None if self.temperature_NT is None else self.temperature_NT[:, rows]
        return Scoring(self.multiplier, self.softcap, first, temperature)


class Keys(NamedTuple):
    """Keys and values that stand side by side, [N, S, C], from position `start` on; `mask_NS` hides some."""

    k_NSC: Tensor
    v_NSC: Tensor
    start: int
    mask_NS: Tensor | None = None

    def until(self, stop: int) -> Keys:
        """Those before position `stop`."""
        count = stop - self.start
        mask = None if self.mask_NS is None else self.mask_NS[:, :count]
        return Keys(self.k_NSC[:, :count], self.v_NSC[:, :count], self.start, mask)


def lean_attention(
    q_BTHC: Tensor,
    k_BSKC: Tensor,
    v_BSKC: Tensor,
    *,
    multiplier: float,
    softcap: float | None,
    key_mask_BS: Tensor | None = None,
    first_key_BT: Tensor | None = None,
    temperature_BT: Tensor | None = None,
) -> Tensor:
    """As `attention`, with memory that grows with the sequence and not with its square, and a fifth more products."""
    kv_heads = k_BSKC.shape[2]
    scoring = Scoring(
        multiplier,
        softcap,
        each_head(first_key_BT, len(q_BTHC), kv_heads),
        each_head(temperature_BT, len(q_BTHC), kv_heads),
    )
    mask_NS = each_head(key_mask_BS, len(q_BTHC), kv_heads)
    return _LeanAttention.apply(q_BTHC, k_BSKC, v_BSKC, mask_NS, scoring)


def queries_by_head(q_BTHC: Tensor, kv_heads: int) -> Tensor:
    """[N, G, T, C]; query head h belongs to key-value head h // G."""
    q_BTKGC = q_BTHC.unflatten(2, (kv_heads, -1))
    return q_BTKGC.permute(0, 2, 3, 1, 4).flatten(0, 1)


def queries_by_token(o_NGTC: Tensor, batch: int) -> Tensor:
    """The way back: [B, T, H, C]."""
    o_BKGTC = o_NGTC.unflatten(0, (batch, -1))
    return o_BKGTC.permute(0, 3, 1, 2, 4).flatten(2, 3)


def keys_by_head(k_BSKC: Tensor) -> Tensor:
    """[N, S, C]."""
    return k_BSKC.transpose(1, 2).flatten(0, 1)


def keys_by_token(k_NSC: Tensor, batch: int) -> Tensor:
    """The way back: [B, S, K, C]."""
    return k_NSC.unflatten(0, (batch, -1)).transpose(1, 2)


def each_head(x_BT: Tensor | None, batch: int, kv_heads: int) -> Tensor | None:
    """Something of each sequence for each of its key-value heads: [N, T]."""
    return None if x_BT is None else x_BT.expand(batch, -1).repeat_interleave(kv_heads, dim=0)


def attend_part(q_NGTC: Tensor, start: int, keys: Keys, scoring: Scoring) -> tuple[Tensor, Tensor]:
    """([N, G, T, C] attention to these keys alone, in the dtype of `q`; [N, G, T] log-normalisers, fp32).

    The first query stands at position `start`. Every query must be allowed one of the keys by its position.
    """
    out_NGTC = torch.empty_like(q_NGTC)
    norms_NGT = q_NGTC.new_empty(q_NGTC.shape[:3], dtype=wide_dtype(q_NGTC))
    for rows, near in _walk(q_NGTC.shape[2], start, keys):
        scores = _scores(q_NGTC[:, :, rows], start + rows.start, near, scoring.rows(rows))
        norms_NR = torch.logsumexp(scores, -1)
        weights = score_weights(scores, norms_NR).to(q_NGTC.dtype)
        out_NGTC[:, :, rows] = torch.bmm(weights, near.v_NSC).view_as(q_NGTC[:, :, rows])
        norms_NGT[:, :, rows] = norms_NR.view_as(norms_NGT[:, :, rows])
    return out_NGTC, norms_NGT


class PartGradients(NamedTuple):
    """Where the backward pass adds up: `dq` [N, G, T, C] and of one part of the keys `dk`, `dv` [N, S, C], all fp32."""

    dq_NGTC: Tensor
    dk_NSC: Tensor
    dv_NSC: Tensor


def attend_part_backward(
    dout_NGTC: Tensor,
    q_NGTC: Tensor,
    start: int,
    keys: Keys,
    scoring: Scoring,
    norms_NGT: Tensor,
    delta_NGT: Tensor,
    into: PartGradients,
) -> None:
    """Add to `into` what attention to these keys contributes.

    `norms` are the log-normalisers over all keys that the queries saw, `delta` is the sum over C of dout * out.
    """
    for rows, near in _walk(q_NGTC.shape[2], start, keys):
        count, part = near.k_NSC.shape[1], scoring.rows(rows)
        q_NRC, dout_NRC = q_NGTC[:, :, rows].flatten(1, 2), dout_NGTC[:, :, rows].flatten(1, 2)
        scores = _scores(q_NGTC[:, :, rows], start + rows.start, near, part)
        weights = score_weights(scores, norms_NGT[:, :, rows].flatten(1)).to(q_NGTC.dtype)
        into.dv_NSC[:, :count] += torch.bmm(weights.transpose(1, 2), dout_NRC)
        dweights = torch.bmm(dout_NRC, near.v_NSC.transpose(1, 2))
        temperature_NR = _by_row(part.temperature_NT, q_NGTC.shape[1])
        ds = score_weights_backward(
            dweights, weights, scores, delta_NGT[:, :, rows].flatten(1), temperature_NR, scoring.softcap
        )
        into.dq_NGTC[:, :, rows] += torch.bmm(ds, near.k_NSC).mul_(scoring.multiplier).view_as(q_NGTC[:, :, rows])
        into.dk_NSC[:, :count] += torch.bmm(ds.transpose(1, 2), q_NRC).mul_(scoring.multiplier)


def join_parts(outs: list[Tensor], norms: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Attention to all keys from attention to each of several parts: (out, log-normalisers)."""
    if len(outs) == 1:
        return outs[0], norms[0]
    all_norms = torch.logsumexp(torch.stack(norms), 0)
    shares = [torch.exp(norm - all_norms)[..., None] for norm in norms]
    out = sum(out * share for out, share in zip(outs, shares, strict=True))
    assert isinstance(out, Tensor)
    return out.to(outs[0].dtype), all_norms


class Blocks:
    """How queries are gone through: block by block. A rehearsal, which only counts, may replace `chosen`."""

    chosen: Callable[[list[slice], list[int]], Iterable[slice]] = staticmethod(lambda blocks, _seen: blocks)
    """From all blocks, and how many keys each sees, to those that are computed."""


def _walk(queries: int, start: int, keys: Keys) -> Iterator[tuple[slice, Keys]]:
    """Blocks of the queries, the first of which stands at position `start`, and the keys they may see."""
    last = keys.start + keys.k_NSC.shape[1]
    blocks = [slice(i, min(i + QUERY_BLOCK, queries)) for i in range(0, queries, QUERY_BLOCK)]
    stops = {rows.start: min(start + rows.stop, last) for rows in blocks}
    for rows in Blocks.chosen(blocks, [stops[rows.start] - keys.start for rows in blocks]):
        yield rows, keys.until(stops[rows.start])


def _by_row(x_NT: Tensor | None, groups: int) -> Tensor | None:
    return None if x_NT is None else x_NT.repeat(1, groups)


def _scores(q_NGTC: Tensor, start: int, keys: Keys, scoring: Scoring) -> Tensor:
    """fp32 [N, R, S]: scaled, capped, masked."""
    groups, rows = q_NGTC.shape[1:3]
    logits = torch.bmm(q_NGTC.flatten(1, 2), keys.k_NSC.transpose(1, 2))
    last_T = torch.arange(start - keys.start, start - keys.start + rows, device=logits.device)
    first_NT = None if scoring.first_NT is None else scoring.first_NT - keys.start
    return masked_scores(
        logits,
        last_T.repeat(groups),
        _by_row(first_NT, groups),
        keys.mask_NS,
        _by_row(scoring.temperature_NT, groups),
        scoring.multiplier,
        scoring.softcap,
    )


class _LeanAttention(torch.autograd.Function):
    """Keeps what others keep too, as they keep it: its inputs, and the output that the next product reads."""

    @staticmethod
    def forward(
        ctx: Any, q_BTHC: Tensor, k_BSKC: Tensor, v_BSKC: Tensor, mask_NS: Tensor | None, scoring: Scoring
    ) -> Tensor:
        q_NGTC = queries_by_head(q_BTHC, k_BSKC.shape[2])
        k_NSC, v_NSC = keys_by_head(k_BSKC), keys_by_head(v_BSKC)
        start = k_NSC.shape[1] - q_NGTC.shape[2]
        out_NGTC, norms_NGT = attend_part(q_NGTC, start, Keys(k_NSC, v_NSC, 0, mask_NS), scoring)
        out_BTHC = queries_by_token(out_NGTC, len(q_BTHC)).contiguous()
        ctx.save_for_backward(q_BTHC, k_BSKC, v_BSKC, out_BTHC, norms_NGT)
        ctx.start, ctx.mask, ctx.scoring = start, mask_NS, scoring
        return out_BTHC

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q_BTHC, k_BSKC, v_BSKC, out_BTHC, norms_NGT = ctx.saved_tensors
        q_NGTC, out_NGTC, dout_NGTC = (queries_by_head(x, k_BSKC.shape[2]) for x in (q_BTHC, out_BTHC, grads[0]))
        k_NSC, v_NSC = keys_by_head(k_BSKC), keys_by_head(v_BSKC)
        wide = wide_dtype(q_NGTC)
        into = PartGradients(*(torch.zeros(x.shape, dtype=wide, device=x.device) for x in (q_NGTC, k_NSC, v_NSC)))
        keys = Keys(k_NSC, v_NSC, 0, ctx.mask)
        delta_NGT = row_products(dout_NGTC, out_NGTC)
        attend_part_backward(dout_NGTC, q_NGTC, ctx.start, keys, ctx.scoring, norms_NGT, delta_NGT, into)
        dq_NGTC, dk_NSC, dv_NSC = (d.to(q_NGTC.dtype) for d in into)
        dk_BSKC, dv_BSKC = (keys_by_token(d, len(q_BTHC)) for d in (dk_NSC, dv_NSC))
        return queries_by_token(dq_NGTC, len(q_BTHC)), dk_BSKC, dv_BSKC, None, None


def row_products(dout_NGTC: Tensor, out_NGTC: Tensor) -> Tensor:
    """Sum over C of dout * out, fp32 [N, G, T]: what the softmax's backward pass subtracts from every row."""
    return (dout_NGTC.to(wide_dtype(dout_NGTC)) * out_NGTC).sum(-1)
