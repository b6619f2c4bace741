"""Attention that keeps one number a row is attention; parts of the keys, joined, are all of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.model.attention import attention
from lindos.model.lean_attention import (
    Keys,
    Scoring,
    attend_part,
    join_parts,
    keys_by_head,
    lean_attention,
    queries_by_head,
)

WIDE = torch.float64


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 300), st.sampled_from([None, 5.0, 30.0]), st.booleans(), st.booleans(), st.booleans(),
    st.integers(0, 1 << 30),
)  # fmt: skip
def test_it_is_attention_forward_and_backward(
    tokens: int, softcap: float | None, masked: bool, packed: bool, tempered: bool, seed: int
):
    torch.manual_seed(seed)
    q, k, v = (torch.randn(2, tokens, heads, 4, dtype=WIDE, requires_grad=True) for heads in (6, 2, 2))
    special: dict[str, torch.Tensor] = {}
    if masked:
        special["key_mask_BS"] = torch.rand(2, tokens) > 0.2
    if packed:
        special["first_key_BT"] = torch.cummax(torch.randint(0, tokens, (2, tokens)), 1).values.minimum(
            torch.arange(tokens)
        )
    if tempered:
        special["temperature_BT"] = torch.rand(1, tokens) + 0.5
    found = []
    for function in (attention, lean_attention):
        out = function(q * 3, k, v, multiplier=1.3, softcap=softcap, **special)
        found.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
    seen = special.get("key_mask_BS", torch.ones(2, tokens, dtype=torch.bool))
    first = special.get("first_key_BT", torch.zeros(2, tokens, dtype=torch.int64))
    counts = seen.cumsum(1) - torch.nn.functional.pad(seen.cumsum(1), (1, 0)).gather(1, first)
    if bool((counts > 0).all()):  # a query that sees nothing has no attention to speak of
        for name, one, other in zip(("out", "dq", "dk", "dv"), *found, strict=True):
            torch.testing.assert_close(other, one, atol=1e-9, rtol=1e-7, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("cut", [1, 50, 129])
def test_parts_joined_by_their_normalisers_are_the_whole(cut: int):
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 200, heads, 4, dtype=WIDE) for heads in (4, 2, 2))
    q, k, v = queries_by_head(q, 2), keys_by_head(k), keys_by_head(v)
    scoring = Scoring(0.7, 30.0)
    whole, _ = attend_part(q, 0, Keys(k, v, 0), scoring)
    late = q[:, :, cut:]  # all of these see the first `cut` keys
    parts = [
        attend_part(late, cut, Keys(k[:, :cut], v[:, :cut], 0), scoring),
        attend_part(late, cut, Keys(k[:, cut:], v[:, cut:], cut), scoring),
    ]
    joined, _ = join_parts([out for out, _ in parts], [norm for _, norm in parts])
    torch.testing.assert_close(joined, whole[:, :, cut:])
