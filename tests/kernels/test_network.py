"""A whole layer in native calls against its twins: odd sizes, several sequences, caches that are partly filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lindos.kernels import twins
from lindos.kernels.choosing import available_kernels
from lindos.kernels.packing import Packed
from lindos.kernels.products import NativeProducts
from lindos.kernels.quantising import packed
from lindos.kernels.twins import PackedExpert

made: dict[str, NativeProducts] = {}


def of(kernels: str) -> NativeProducts:
    if kernels not in made:
        made[kernels] = NativeProducts(kernels, 2, bind=False)
    return made[kernels]


@dataclass(repr=False)
class Case:
    """Sizes, weights in bf16 (so that nothing but the order of sums differs), and what a step reads."""

    shape: dict[str, Any]
    matrices: dict[str, Packed]
    experts: list[PackedExpert]
    shared: PackedExpert | None
    norms: list[Tensor | None]
    router_ED: Tensor
    h_TD: Tensor
    phase: tuple[Tensor, Tensor]
    temperature_T: Tensor | None
    sequences: list[tuple[int, int, int]]  # rows, start, capacity
    caches: list[Tensor]  # [2, J, capacity, C]

    def __repr__(self) -> str:
        return f"Case({self.shape}, {len(self.experts)} experts, sequences {self.sequences})"


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kv_heads, size = draw(st.integers(1, 3)), 2 * draw(st.integers(1, 20))
    heads, width = kv_heads * draw(st.integers(1, 3)), draw(st.integers(1, 60))
    count = draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))

    def random(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator)

    def matrix(rows: int, columns: int) -> Packed:
        return packed(random(rows, columns) * columns**-0.5, "bf16")

    def mlp(inner: int) -> PackedExpert:
        return PackedExpert(matrix(inner, width), matrix(inner, width), matrix(width, inner))

    inner, kv = heads * size, kv_heads * size
    places = draw(
        st.lists(st.tuples(st.integers(1, 12), st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=4)
    )
    rows = sum(place[0] for place in places)
    # Attention in and out, experts in and out, queries, keys; the first and third are always there.
    sizes = (width, width, width, width, size, size)
    there = (True, draw(st.booleans()), True, draw(st.booleans()), draw(st.booleans()), draw(st.booleans()))
    angles = random(rows, size // 2).repeat(1, 2)
    return Case(
        shape={
            "width": width,
            "heads": heads,
            "kv_heads": kv_heads,
            "size": size,
            "choices": draw(st.integers(1, count)),
            "eps": 1e-5,
            "score_scale": draw(st.sampled_from([size**-0.5, 1.0])),
            "attention_cap": draw(st.sampled_from([0.0, 5.0, 30.0])),
            "router_cap": draw(st.sampled_from([0.0, 2.0])),
            "renormalise": draw(st.booleans()),
            "shared_multiplier": draw(st.sampled_from([1.0, 0.7])),
            "activation": draw(st.integers(0, 1)),
        },
        matrices={
            "query": matrix(inner, width),
            "key": matrix(kv, width),
            "value": matrix(kv, width),
            "output": matrix(width, inner),
        },
        experts=[mlp(draw(st.just(24))) for _ in range(count)],
        shared=mlp(17) if draw(st.booleans()) else None,
        norms=[1 + 0.1 * random(n) if is_there else None for n, is_there in zip(sizes, there, strict=True)],
        router_ED=random(count, width),
        h_TD=random(rows, width),
        phase=(angles.cos(), angles.sin()),
        temperature_T=1 + random(rows).abs() if draw(st.booleans()) else None,
        sequences=[(tokens, start, tokens + start + spare) for tokens, start, spare in places],
        caches=[random(2, kv_heads, sum(place), size) for place in places],
    )


def network(kernels: str, case: Case) -> Any:
    products = of(kernels)
    table = products.table(len(case.experts), "silu" if case.shape["activation"] else "gelu_tanh")
    for index, expert in enumerate(case.experts):
        table.put(index, expert)
    found = products.network(case.shape)
    found.add_layer(
        *(products.view(matrix) for matrix in case.matrices.values()),
        norms=case.norms,
        router=case.router_ED,
        table=products.native_table(table),
        shared=[products.view(part) for part in case.shared or ()],
    )
    return found


def places(case: Case, caches: list[Tensor]) -> np.ndarray[Any, np.dtype[np.int64]]:
    rows, first = [], 0
    for (tokens, start, capacity), cache in zip(case.sequences, caches, strict=True):
        rows.append((first, tokens, start, capacity, cache.data_ptr()))
        first += tokens
    return np.array(rows, dtype=np.int64)


def attended(case: Case, caches: list[Tensor]) -> Tensor:
    """By the twins; fills the caches."""
    shape, norms = case.shape, case.norms
    assert norms[0] is not None
    x_TD = twins.norm(case.h_TD, norms[0], shape["eps"])
    q_THC, k_TJC, v_TJC = (
        twins.multiply(x_TD, case.matrices[name], "fp32").unflatten(1, (-1, shape["size"]))
        for name in ("query", "key", "value")
    )
    q_THC = q_THC if norms[4] is None else twins.norm(q_THC, norms[4], shape["eps"])
    k_TJC = k_TJC if norms[5] is None else twins.norm(k_TJC, norms[5], shape["eps"])
    q_THC, k_TJC = twins.turn(q_THC, *case.phase), twins.turn(k_TJC, *case.phase)
    out, first = [], 0
    for (tokens, start, _), cache in zip(case.sequences, caches, strict=True):
        rows, end = slice(first, first + tokens), start + tokens
        cache[0, :, start:end], cache[1, :, start:end] = k_TJC[rows].transpose(0, 1), v_TJC[rows].transpose(0, 1)
        temperature = None if case.temperature_T is None else case.temperature_T[rows]
        scale, cap = shape["score_scale"], shape["attention_cap"]
        keys, values = cache[0, :, :end], cache[1, :, :end]
        out.append(twins.attend(q_THC[rows], keys, values, scale=scale, cap=cap, temperature_T=temperature))
        first += tokens
    return torch.cat(out).flatten(1)


def finished(case: Case, o_TI: Tensor) -> tuple[Tensor, Tensor]:
    """By the twins: the residual stream after the layer, and which tokens' choice of experts is not a toss-up."""
    shape, norms = case.shape, case.norms
    assert norms[2] is not None
    activation = "silu" if shape["activation"] else "gelu_tanh"
    attended_TD = twins.multiply(o_TI, case.matrices["output"], "fp32")
    h_TD = case.h_TD + (attended_TD if norms[1] is None else twins.norm(attended_TD, norms[1], shape["eps"]))
    x_TD = twins.norm(h_TD, norms[2], shape["eps"])
    chosen, gates = twins.choose(
        x_TD, case.router_ED, shape["choices"], cap=shape["router_cap"], renormalise=shape["renormalise"]
    )
    count = len(case.experts)
    _, all_TE = twins.choose(x_TD, case.router_ED, count, cap=shape["router_cap"], renormalise=False)
    falling_TE = torch.cat((all_TE, torch.zeros(len(all_TE), 1)), 1)
    clear_T = falling_TE[:, shape["choices"] - 1] - falling_TE[:, shape["choices"]] > 1e-4
    clear_T |= shape["choices"] == count
    mixed_TD = twins.mix(x_TD, case.experts, chosen, gates, activation, "fp32")
    if case.shared is not None:
        one = torch.ones(len(x_TD), 1)
        beside_TD = twins.mix(x_TD, [case.shared], torch.zeros(len(x_TD), 1).int(), one, activation, "fp32")
        mixed_TD = (mixed_TD + beside_TD) * shape["shared_multiplier"]
    return h_TD + (mixed_TD if norms[3] is None else twins.norm(mixed_TD, norms[3], shape["eps"])), clear_T


def close(found: Tensor, expected: Tensor) -> None:
    if found.numel():
        torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("kernels", available_kernels())
@given(cases())
@settings(max_examples=80, deadline=None)
def test_a_layer_equals_its_twins(kernels: str, case: Case):
    native = network(kernels, case)
    caches, expected_caches = [cache.clone() for cache in case.caches], [cache.clone() for cache in case.caches]
    o_TI = torch.empty(len(case.h_TD), case.shape["heads"] * case.shape["size"])
    native.attend(0, case.h_TD, places(case, caches), *case.phase, case.temperature_T, o_TI)
    close(o_TI, attended(case, expected_caches))
    for found, expected in zip(caches, expected_caches, strict=True):
        close(found, expected)
    h_TD = case.h_TD.clone()
    native.finish(0, o_TI, h_TD)
    expected_TD, clear_T = finished(case, o_TI)
    close(h_TD[clear_T], expected_TD[clear_T])


@given(cases())
@settings(max_examples=10, deadline=None)
def test_what_does_not_fit_is_refused(case: Case):
    native = network(available_kernels()[0], case)
    rows, inner = len(case.h_TD), case.shape["heads"] * case.shape["size"]
    o_TI = torch.empty(rows, inner)
    good = places(case, case.caches)
    for change in ((0, 1, -1), (0, 1, 1), (0, 0, 1), (0, 2, -1), (0, 3, 0)):
        bad = good.copy()
        row, column, value = change
        bad[row, column] = value if column in (2, 3) else bad[row, column] + value * 100
        with pytest.raises(ValueError, match=r"sequence"):
            native.attend(0, case.h_TD, bad, *case.phase, None, o_TI)
    with pytest.raises(ValueError, match="an array is"):
        native.attend(0, case.h_TD, good, case.phase[0][:, :-1].contiguous(), case.phase[1], None, o_TI)
    with pytest.raises(ValueError, match="temperature"):
        native.attend(0, case.h_TD, good, *case.phase, torch.ones(rows + 1), o_TI)
    with pytest.raises(ValueError, match="an array is"):
        native.finish(0, torch.empty(rows, inner + 1), case.h_TD.clone())
    with pytest.raises(IndexError):
        native.finish(1, o_TI, case.h_TD.clone())
    products = of(available_kernels()[0])
    with pytest.raises(ValueError, match="make no model"):
        products.network(case.shape | {"size": case.shape["size"] + 1})
    views = [products.view(case.matrices[name]) for name in ("query", "key", "value")]
    wrong = products.view(packed(torch.randn(case.shape["width"] + 1, inner), "bf16"))
    table = products.native_table(products.table(len(case.experts), "silu"))
    empty = products.network(case.shape)
    with pytest.raises(ValueError, match="a matrix is"):
        empty.add_layer(*views, wrong, norms=case.norms, router=case.router_ED, table=table, shared=[])


@pytest.mark.parametrize("kernels", available_kernels())
@given(cases(), st.sampled_from([float("nan"), float("inf")]))
@settings(max_examples=20, deadline=None)
def test_an_input_that_is_not_finite_never_gives_a_number(kernels: str, case: Case, bad: float):
    """Neither in its own row, nor does it spoil those of other sequences."""
    native = network(kernels, case)
    h_TD = case.h_TD.clone()
    last = case.sequences[-1][0]
    h_TD[-1, 0] = bad
    o_TI = torch.empty(len(h_TD), case.shape["heads"] * case.shape["size"])
    caches = [cache.clone() for cache in case.caches]
    native.attend(0, h_TD, places(case, caches), *case.phase, None, o_TI)
    native.finish(0, o_TI, h_TD)
    assert not bool(torch.isfinite(h_TD[-1]).any())
    assert bool(torch.isfinite(h_TD[:-last]).all())
