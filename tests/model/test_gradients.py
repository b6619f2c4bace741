"""Hand-written backward passes against numerical differentiation and autograd over the plain formulas."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.model import KVCache, Transformer, document_starts, initialise
from lindos.model import attention as attend
from lindos.model.attention import QUERY_BLOCK
from lindos.model.experts import Routing, grouped_product, grouped_weight_gradient, mix_experts, route
from lindos.model.norm import rms_norm
from lindos.specs import ModelSpec


def plain_attention(q, k, v, multiplier, softcap, mask, first=None):
    """The formula, written for reading."""
    group = q.shape[2] // k.shape[2]
    k, v = (t.repeat_interleave(group, dim=2) for t in (k, v))
    logits = torch.einsum("bthc,bshc->bhts", q, k) * multiplier
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    queries, keys = q.shape[1], k.shape[1]
    future = torch.ones(queries, keys, dtype=torch.bool).triu_(keys - queries + 1)
    logits = logits.masked_fill(future, -1e30)
    if mask is not None:
        logits = logits.masked_fill(~mask[:, None, None], -1e30)
    if first is not None:
        logits = logits.masked_fill((torch.arange(keys) < first[..., None])[:, None], -1e30)
    return torch.einsum("bhts,bshc->bthc", torch.softmax(logits, -1), v)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 2),
    queries=st.integers(1, 9),
    past=st.integers(0, 4),
    kv_heads=st.integers(1, 2),
    group=st.integers(1, 3),
    half=st.integers(1, 3),
    softcap=st.sampled_from([None, 0.5, 30.0]),
    masked=st.booleans(),
    apart=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_attention_forward_and_gradients_equal_the_formula(
    batch, queries, past, kv_heads, group, half, softcap, masked, apart, seed
):
    torch.manual_seed(seed)
    keys = queries + past
    q = torch.randn(batch, queries, kv_heads * group, 2 * half, dtype=torch.float64, requires_grad=True)
    k = torch.randn(batch, keys, kv_heads, 2 * half, dtype=torch.float64, requires_grad=True)
    v = torch.randn(batch, keys, kv_heads, 2 * half, dtype=torch.float64, requires_grad=True)
    mask = None
    if masked:
        mask = torch.rand(batch, keys) < 0.7
        mask[:, 0] = True  # every query sees something
    first = (torch.rand(batch, queries) * (torch.arange(queries) + past + 1)).long() if apart else None
    if mask is not None and first is not None:
        mask.scatter_(1, first, True)
    out = attend(q, k, v, multiplier=0.7, softcap=softcap, key_mask_BS=mask, first_key_BT=first)
    expected = plain_attention(q, k, v, 0.7, softcap, mask, first)
    torch.testing.assert_close(out, expected)
    weight = torch.randn_like(out)
    got = torch.autograd.grad((out * weight).sum(), (q, k, v))
    wanted = torch.autograd.grad((expected * weight).sum(), (q, k, v))
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("apart", [False, True])
def test_attention_over_several_query_blocks(apart):
    torch.manual_seed(0)
    length = 3 * QUERY_BLOCK + 5
    q = torch.randn(2, length, 2, 4, dtype=torch.float64, requires_grad=True)
    k = torch.randn(2, length, 1, 4, dtype=torch.float64, requires_grad=True)
    v = torch.randn(2, length, 1, 4, dtype=torch.float64, requires_grad=True)
    tokens = (torch.rand(2, length) < 0.02).long()
    tokens[:, 2 * QUERY_BLOCK + 3] = 1  # the last blocks need none of the first keys
    first = document_starts(tokens, 1) if apart else None
    out = attend(q, k, v, multiplier=0.5, softcap=2.0, first_key_BT=first)
    expected = plain_attention(q, k, v, 0.5, 2.0, None, first)
    torch.testing.assert_close(out, expected)
    got = torch.autograd.grad(out.square().sum(), (q, k, v))
    wanted = torch.autograd.grad(expected.square().sum(), (q, k, v))
    torch.testing.assert_close(got, wanted)


def test_a_prompt_in_several_pieces_of_several_query_blocks_equals_one_pass(tiny_spec):
    """Query blocks with a cache behind them, as when a long prompt is read in parts."""
    model = Transformer(tiny_spec)
    initialise(model, 0)
    length = 2 * QUERY_BLOCK + 40
    tokens = torch.randint(1, tiny_spec.vocabulary, (2, length), generator=torch.Generator().manual_seed(4))
    tokens[0, 7] = tiny_spec.pad_token or 0
    cache = KVCache(tiny_spec, 2, length)
    with torch.inference_mode():
        whole = model(tokens)
        cuts = [0, 30, 30 + QUERY_BLOCK + 9, length]
        parts = [model(tokens[:, a:b], cache=cache) for a, b in itertools.pairwise(cuts)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-4, rtol=1e-4)


def test_documents_packed_apart_compute_what_each_computes_alone(tiny_spec):
    torch.manual_seed(3)
    model = Transformer(tiny_spec)
    initialise(model, 0)
    lengths = [5, 130, 9, 70]
    documents = [torch.cat([torch.tensor([1]), torch.randint(2, tiny_spec.vocabulary, (n - 1,))]) for n in lengths]
    packed = torch.cat(documents)[None]
    starts = document_starts(packed, 1)
    assert starts[0].tolist() == [first for n, first in zip(lengths, (0, 5, 135, 144), strict=True) for _ in range(n)]
    together, _ = model.hidden(packed, first_key_BT=starts)
    alone = torch.cat([model.hidden(document[None])[0] for document in documents], 1)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    mixed, _ = model.hidden(packed)
    assert not torch.allclose(mixed, alone, atol=1e-2)


def test_attention_backward_by_finite_differences():
    torch.manual_seed(1)
    q, k, v = (torch.randn(1, 5, heads, 4, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2))
    assert torch.autograd.gradcheck(lambda *a: attend(*a, multiplier=0.5, softcap=1.5), (q, k, v))


@pytest.mark.parametrize("activation", ["gelu_tanh", "silu"])
def test_experts_backward_by_finite_differences(activation):
    torch.manual_seed(2)
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    gates = torch.rand(6, 2, dtype=torch.float64, requires_grad=True)
    chosen = torch.tensor([[0, 2], [2, 0], [0, 2], [3, 0], [2, 3], [0, 3]])  # expert 1 gets no token
    weights = [torch.randn(4, *s, dtype=torch.float64, requires_grad=True) for s in ((4, 3), (4, 3), (3, 4))]

    def f(x, gates, *w):
        return mix_experts(x, Routing(x, x, gates, chosen), w[0], w[1], w[2], activation)

    assert torch.autograd.gradcheck(f, (x, gates, *weights))


@settings(max_examples=20, deadline=None)
@given(tokens=st.integers(1, 12), experts=st.integers(1, 5), data=st.data(), seed=st.integers(0, 99))
def test_experts_equal_the_loop_over_tokens(tokens, experts, data, seed):
    chosen_count = data.draw(st.integers(1, experts))
    torch.manual_seed(seed)
    spec = ModelSpec(
        name="t", layers=1, width=4, vocabulary=8, sequence=4, heads=1, kv_heads=1, head_size=2, experts=experts,
        experts_per_token=chosen_count, expert_width=6, attention_multiplier=1.0,
    )  # fmt: skip
    x, router = torch.randn(tokens, 4), torch.randn(4, experts)
    gate, up, down = torch.randn(experts, 4, 6), torch.randn(experts, 4, 6), torch.randn(experts, 6, 4)
    routing = route(x, router, spec)
    got = mix_experts(x, routing, gate, up, down, "gelu_tanh")
    for t in range(tokens):
        expected = torch.zeros(4)
        for weight, e in zip(routing.gates[t], routing.chosen[t], strict=True):
            hidden = torch.nn.functional.gelu(x[t] @ gate[e], approximate="tanh") * (x[t] @ up[e])
            expected += weight * (hidden @ down[e])
        torch.testing.assert_close(got[t], expected, atol=1e-4, rtol=1e-4)


def test_norm_backward_by_finite_differences():
    torch.manual_seed(3)
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    scale = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, s: rms_norm(x, s, 1e-5), (x, scale))


@pytest.mark.gpu
def test_grouped_products_on_an_accelerator_equal_those_on_the_processor():
    torch.manual_seed(7)
    sizes = [16, 0, 40, 8]
    x, dy = torch.randn(64, 32).bfloat16(), torch.randn(64, 48).bfloat16()
    w = torch.randn(4, 32, 48).bfloat16()
    there = [t.cuda() for t in (x, dy, w)]
    ends = torch.tensor(sizes, device="cuda").cumsum(0, dtype=torch.int32)
    found = grouped_product(there[0], there[2], ends), grouped_weight_gradient(there[0], there[1], ends)
    wanted = grouped_product(x, w, sizes), grouped_weight_gradient(x, dy, sizes)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.cpu(), b, atol=0.05, rtol=0.02)
