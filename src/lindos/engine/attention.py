"""Attention of one request's new tokens over its cache.

One new token is by far the most frequent case and goes straight through two products; several go through the model's
own blocked attention. Letters: N new tokens, S tokens in the cache with them, H heads, K key-value heads, C head size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lindos.model.attention import attention, attention_temperature
from lindos.specs import ModelSpec

MASKED = -1e30
"""What a masked logit becomes, as in the model: finite, so that a query without a visible key stays finite."""


def attend(q_NHC: Tensor, kv_2KSC: Tensor, visible_S: Tensor | None, spec: ModelSpec) -> Tensor:
    """[N, H, C]; the last query stands at the last key. `visible_S` is True where a key may be seen."""
    if q_NHC.shape[0] == 1:
        return _attend_one(q_NHC, kv_2KSC, visible_S, spec)
    positions_N = torch.arange(kv_2KSC.shape[2] - q_NHC.shape[0], kv_2KSC.shape[2], device=q_NHC.device)
    temperature_N = attention_temperature(positions_N, spec.attention_temperature_length)
    k_SKC, v_SKC = kv_2KSC.transpose(1, 2)
    o_BNHC = attention(
        q_NHC[None],
        k_SKC[None],
        v_SKC[None],
        multiplier=spec.score_scale,
        softcap=spec.attention_softcap,
        key_mask_BS=None if visible_S is None else visible_S[None],
        temperature_BT=None if temperature_N is None else temperature_N[None],
    )
    return o_BNHC[0]


def _attend_one(q_1HC: Tensor, kv_2KSC: Tensor, visible_S: Tensor | None, spec: ModelSpec) -> Tensor:
    keys_KSC, values_KSC = kv_2KSC.unbind()
    q_KGC = q_1HC.view(spec.kv_heads, -1, spec.head_size)
    logits_KGS = torch.bmm(q_KGC, keys_KSC.transpose(1, 2)).float()
    if spec.attention_softcap is None:
        logits_KGS.mul_(spec.score_scale)
    else:
        logits_KGS.mul_(spec.score_scale / spec.attention_softcap).tanh_().mul_(spec.attention_softcap)
    position, length = kv_2KSC.shape[2] - 1, spec.attention_temperature_length
    if length and position > length:
        logits_KGS.mul_(math.log2(position) / math.log2(length))
    if visible_S is not None:
        logits_KGS.masked_fill_(~visible_S, MASKED)
    weights_KGS = torch.softmax(logits_KGS, -1).to(values_KSC.dtype)
    return torch.bmm(weights_KGS, values_KSC).view(q_1HC.shape)
