"""Causal attention with grouped queries and a soft cap on its logits, with its own forward and backward.

No ready kernel has the cap on a CPU (PyTorch's fused attention has none, FlexAttention has no backward there), and
autograd over the plain formula keeps six copies of the score matrix. Here scores live in blocks of query rows, keys
beyond a block's last row are never computed, and two arrays a block are kept for the backward pass.

Letters: N batch times key-value heads, G query heads per key-value head, T queries, S keys, C head size.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lindos.model.elementwise import attention_weights, attention_weights_backward, wide_dtype

QUERY_BLOCK = 128


def attention(
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
    """softmax(mask(temperature * cap(multiplier * q·k))) · v, causal; the last query stands at the last key.

    `key_mask_BS` is True where a key may be seen; `first_key_BT` (int64) is the first key each query may see: the
    beginning of its document; `temperature_BT` (fp32, B may be 1) is explained at `attention_temperature`. Query head
    h reads key-value head h // (H / K). Returns [B, T, H, C] in the dtype of `q`. Differentiable in q, k and v.
    """
    batch, queries, heads, size = q_BTHC.shape
    keys, kv_heads = k_BSKC.shape[1:3]
    group = heads // kv_heads
    q_NGTC = q_BTHC.view(batch, queries, kv_heads, group, size).permute(0, 2, 3, 1, 4)
    q_NGTC = q_NGTC.reshape(batch * kv_heads, group, queries, size)
    k_NSC = k_BSKC.transpose(1, 2).reshape(batch * kv_heads, keys, size)
    v_NSC = v_BSKC.transpose(1, 2).reshape(batch * kv_heads, keys, size)
    mask_NS = None if key_mask_BS is None else key_mask_BS.repeat_interleave(kv_heads, dim=0)
    first_NT = None if first_key_BT is None else first_key_BT.repeat_interleave(kv_heads, dim=0)
    temperature_NT = None
    if temperature_BT is not None:
        temperature_NT = temperature_BT.expand(batch, -1).repeat_interleave(kv_heads, dim=0)
    o_NGTC = _Attention.apply(q_NGTC, k_NSC, v_NSC, mask_NS, first_NT, temperature_NT, multiplier, softcap)
    o_BKGTC = o_NGTC.view(batch, kv_heads, group, queries, size)
    return o_BKGTC.permute(0, 3, 1, 2, 4).reshape(batch, queries, heads, size)


def attention_temperature(positions: Tensor, length: int) -> Tensor | None:
    """What the capped scores of the query at each position are multiplied with, fp32: log2(p) / log2(length) beyond
    `length`, else 1. None where that is 1 everywhere, and for length 0, which stands for none.

    Source: SGLang, layers/attention/triton_ops (`xai_temperature_len`), which counts positions from 0.
    """
    if not length or int(positions.max()) <= length:
        return None
    return temperatures(positions, length)


def temperatures(positions: Tensor, length: int) -> Tensor:
    """As `attention_temperature`, for a length that is not 0, and without a look at the numbers by the host."""
    return torch.where(positions > length, positions.float().clamp(min=1).log2() / math.log2(length), 1.0)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q_NGTC: Tensor,
        k_NSC: Tensor,
        v_NSC: Tensor,
        mask_NS: Tensor | None,
        first_NT: Tensor | None,
        temperature_NT: Tensor | None,
        multiplier: float,
        softcap: float | None,
    ) -> Tensor:
        out_NGTC = torch.empty_like(q_NGTC)
        keep = any(ctx.needs_input_grad)
        saved: list[Tensor] = []
        blocks = _blocks(q_NGTC.shape[2], k_NSC.shape[1], first_NT)
        for rows, keys in blocks:
            mask = None if mask_NS is None else mask_NS[:, keys]
            first = None if first_NT is None else first_NT[:, rows]
            temperature = _by_row(temperature_NT, rows, q_NGTC.shape[1])
            probabilities, tanh = _probabilities(
                q_NGTC[:, :, rows], k_NSC[:, keys], keys, mask, first, temperature, multiplier, softcap
            )
            out = torch.bmm(probabilities, v_NSC[:, keys])
            out_NGTC[:, :, rows] = out.view(q_NGTC[:, :, rows].shape)
            if keep:
                saved += [probabilities, tanh]
        ctx.save_for_backward(q_NGTC, k_NSC, v_NSC, *saved)
        ctx.blocks, ctx.multiplier, ctx.softcap, ctx.temperature = blocks, multiplier, softcap, temperature_NT
        return out_NGTC

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dout_NGTC = grads[0]
        q_NGTC, k_NSC, v_NSC, *saved = ctx.saved_tensors
        dq_NGTC = torch.empty_like(q_NGTC)
        wide = wide_dtype(k_NSC)
        dk_NSC = torch.zeros(k_NSC.shape, dtype=wide, device=k_NSC.device)
        dv_NSC = torch.zeros(v_NSC.shape, dtype=wide, device=v_NSC.device)
        for index, (rows, keys) in enumerate(ctx.blocks):
            p, tanh = saved[2 * index : 2 * index + 2]
            q = q_NGTC[:, :, rows].flatten(1, 2)
            dout = dout_NGTC[:, :, rows].flatten(1, 2)
            dv_NSC[:, keys] += torch.bmm(p.transpose(1, 2), dout)
            dp = torch.bmm(dout, v_NSC[:, keys].transpose(1, 2))
            temperature = _by_row(ctx.temperature, rows, q_NGTC.shape[1])
            ds = attention_weights_backward(dp, p, tanh, temperature, ctx.softcap is not None)
            dq = torch.bmm(ds, k_NSC[:, keys]).mul_(ctx.multiplier)
            dq_NGTC[:, :, rows] = dq.view(q_NGTC[:, :, rows].shape)
            dk_NSC[:, keys] += torch.bmm(ds.transpose(1, 2), q).mul_(ctx.multiplier)
        return dq_NGTC, dk_NSC.to(k_NSC.dtype), dv_NSC.to(v_NSC.dtype), None, None, None, None, None


def _by_row(x_NT: Tensor | None, rows: slice, groups: int) -> Tensor | None:
    """A number a query for one block's rows, once for each query head of a group: [N, G*T]."""
    return None if x_NT is None else x_NT[:, rows].repeat(1, groups)


def _blocks(queries: int, keys: int, first_NT: Tensor | None) -> list[tuple[slice, slice]]:
    """Blocks of query rows, each with the keys that at least one of them may see.

    Where documents end, a block's first key is rounded down to a block's border: products of few shapes.
    """
    past = keys - queries
    rows = [slice(i, min(i + QUERY_BLOCK, queries)) for i in range(0, queries, QUERY_BLOCK)]
    if first_NT is None:
        return [(r, slice(0, past + r.stop)) for r in rows]
    lowest = [int(first) for first in torch.stack([first_NT[:, r].min() for r in rows]).tolist()]
    return [(r, slice(low // QUERY_BLOCK * QUERY_BLOCK, past + r.stop)) for r, low in zip(rows, lowest, strict=True)]


def _probabilities(
    q_NGTC: Tensor,
    k_NSC: Tensor,
    keys: slice,
    mask_NS: Tensor | None,
    first_NT: Tensor | None,
    temperature_NR: Tensor | None,
    multiplier: float,
    softcap: float | None,
) -> tuple[Tensor, Tensor]:
    """([N, G*T, S] attention weights, tanh of the scaled logits or an empty tensor without a cap) over some `keys`."""
    groups, rows = q_NGTC.shape[1:3]
    logits = torch.bmm(q_NGTC.flatten(1, 2), k_NSC.transpose(1, 2))
    last_R = torch.arange(k_NSC.shape[1] - rows, k_NSC.shape[1], device=logits.device).repeat(groups)
    first_NR = None if first_NT is None else (first_NT - keys.start).repeat(1, groups)
    return attention_weights(logits, last_R, first_NR, mask_NS, temperature_NR, multiplier, softcap)
