"""A whole layer in native calls against its twins: odd sizes, several sequences, caches that are partly filled."""

from __future__ import annotations

from dataclasses import dataclass, replace
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

BLOCK = 64

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
    sequences: list[tuple[int, int, list[int]]]  # rows, start, blocks
    pages: Tensor  # [2, J, blocks, BLOCK, C] as the kernels have them
    hidden: Tensor | None  # [all blocks of the sequences, BLOCK]

    def __repr__(self) -> str:
        places = [(tokens, start, len(blocks)) for tokens, start, blocks in self.sequences]
        return f"Case({self.shape}, {len(self.experts)} experts, sequences {places})"


def exact(kernels: str) -> int:
    """The most rows whose products with bf16 weights take fp32 inputs: tiles round those of more."""
    native = of(kernels)
    return next((rows - 1 for rows in range(1, 1000) if native.precision(rows) == "bf16"), 1000)


@st.composite
def cases(draw: st.DrawFn, most: int = 1000) -> Case:
    """Steps of up to `most` rows."""
    kv_heads, size = draw(st.integers(1, 3)), 2 * draw(st.integers(1, 20))
    heads, width = kv_heads * draw(st.integers(1, 3)), draw(st.integers(1, 60))
    experts = draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))

    def random(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator)

    def matrix(rows: int, columns: int) -> Packed:
        return packed(random(rows, columns) * columns**-0.5, "bf16")

    def mlp(inner: int) -> PackedExpert:
        return PackedExpert(matrix(inner, width), matrix(inner, width), matrix(width, inner))

    inner, kv = heads * size, kv_heads * size
    start = st.one_of(st.integers(0, 30), st.integers(0, 3 * BLOCK), st.integers(8 * BLOCK - 2, 17 * BLOCK))
    count = st.one_of(st.integers(1, 3), st.integers(1, 12), st.integers(50, 140))
    places = draw(st.lists(st.tuples(count, start, st.integers(0, 2)), min_size=1, max_size=4))
    while sum(place[0] for place in places) > most:
        places = places[1:] if len(places) > 1 else [(most, *places[0][1:])]
    rows = sum(place[0] for place in places)
    needed = [-(-(tokens + start) // BLOCK) + spare for tokens, start, spare in places]
    order = torch.randperm(sum(needed) + 2, generator=generator).tolist()
    blocks = [[order.pop() for _ in range(many)] for many in needed]
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16]))
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
            "choices": draw(st.integers(1, experts)),
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
        experts=[mlp(draw(st.just(24))) for _ in range(experts)],
        shared=mlp(17) if draw(st.booleans()) else None,
        norms=[1 + 0.1 * random(n) if is_there else None for n, is_there in zip(sizes, there, strict=True)],
        router_ED=random(experts, width),
        h_TD=random(rows, width),
        phase=(angles.cos(), angles.sin()),
        temperature_T=1 + random(rows).abs() if draw(st.booleans()) else None,
        sequences=[(tokens, start, mine) for (tokens, start, _), mine in zip(places, blocks, strict=True)],
        pages=random(2, kv_heads, sum(needed) + 2, BLOCK, size).to(dtype),
        hidden=torch.rand(sum(needed), BLOCK, generator=generator) < 0.3 if draw(st.booleans()) else None,
    )


def network(kernels: str, case: Case, products: NativeProducts | None = None) -> Any:
    products = products or of(kernels)
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


def attend(native: Any, case: Case, pages: Tensor, temperature_T: Tensor | None) -> Tensor:
    """By the kernels; fills the pages."""
    o_TI = torch.full((len(case.h_TD), case.shape["heads"] * case.shape["size"]), torch.nan)
    native.attend(0, case.h_TD, pages, *tables(case), *case.phase, temperature_T, o_TI)
    return o_TI


def tables(case: Case) -> tuple[Any, Any, Any]:
    rows, blocks, first = [], [], 0
    for tokens, start, mine in case.sequences:
        rows.append((first, tokens, start, len(blocks), len(mine)))
        blocks += mine
        first += tokens
    visible = None
    if case.hidden is not None:
        visible = np.packbits(~case.hidden.numpy(), axis=1, bitorder="little").view(np.uint64)[:, 0].copy()
    return np.array(rows, np.int64), np.array(blocks, np.int32), visible


def plain(pages: Tensor, blocks: list[int]) -> Tensor:
    """Keys and values [2, J, S, C] out of the kernels' arrangement, which native/pages.hpp describes."""
    _, heads, _, _, size = pages.shape
    keys_JNSC = pages[0, :, blocks].reshape(heads, -1, BLOCK // 16, size, 16).transpose(-1, -2).flatten(1, 3)
    values = pages[1, :, blocks].flatten(2)
    full = size // 16 * 16
    strips = values[..., : full * BLOCK].unflatten(-1, (-1, BLOCK, 16)).transpose(2, 3).flatten(3)
    rest = values[..., full * BLOCK :].unflatten(-1, (BLOCK, -1)) if size > full else strips[..., :0]
    values_JSC = torch.cat((strips, rest), -1).flatten(1, 2)
    return torch.stack((keys_JNSC.flatten(1, -2), values_JSC))


def attended(case: Case, written: Tensor) -> tuple[Tensor, list[Tensor]]:
    """By the twins: the keys and values of each sequence after it, and what is gathered from those in `written`: a
    rounding of the products before may tip one to bf16, and the softmax makes much of it."""
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
    out, caches, first, block = [], [], 0, 0
    for tokens, start, blocks in case.sequences:
        rows, end = slice(first, first + tokens), start + tokens
        cache = plain(case.pages, blocks)
        cache[0, :, start:end], cache[1, :, start:end] = k_TJC[rows].transpose(0, 1), v_TJC[rows].transpose(0, 1)
        hidden = None if case.hidden is None else case.hidden[block : block + len(blocks)].flatten()[:end]
        keys, values = plain(written, blocks)[:, :, :end].float()
        temperature = None if case.temperature_T is None else case.temperature_T[rows]
        scale, cap = shape["score_scale"], shape["attention_cap"]
        out.append(
            twins.attend(q_THC[rows], keys, values, scale=scale, cap=cap, temperature_T=temperature, hidden_S=hidden)
        )
        caches.append(cache[:, :, :end])
        first += tokens
        block += len(blocks)
    return torch.cat(out).flatten(1), caches


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


def close(found: Tensor, expected: Tensor, error: float = 2e-3) -> None:
    if found.numel():
        torch.testing.assert_close(found, expected, rtol=error, atol=error / 10 * float(expected.abs().max()))


@pytest.mark.parametrize("kernels", available_kernels())
@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_layer_equals_its_twins(kernels: str, data: st.DataObject):
    case = data.draw(cases(exact(kernels)))
    native = network(kernels, case)
    pages = case.pages.clone()
    o_TI = attend(native, case, pages, case.temperature_T)
    expected_TI, caches = attended(case, pages)
    close(o_TI, expected_TI, 2e-3)
    for (_, _, blocks), expected in zip(case.sequences, caches, strict=True):
        found = plain(pages, blocks)[:, :, : expected.shape[2]]
        close(found.float(), expected.float(), 1e-2 if pages.dtype == torch.bfloat16 else 2e-3)
    h_TD = case.h_TD.clone()
    native.finish(0, o_TI, h_TD)
    expected_TD, clear_T = finished(case, o_TI)
    close(h_TD[clear_T], expected_TD[clear_T])


@pytest.mark.parametrize("kernels", available_kernels())
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_row_ends_a_layer_the_same_to_the_bit_whoever_stands_beside_it(kernels: str, data: st.DataObject):
    case = data.draw(cases(min(exact(kernels), 12)))
    native = network(kernels, case)
    o_TI = attend(native, case, case.pages.clone(), case.temperature_T)
    together_TD = case.h_TD.clone()
    native.finish(0, o_TI, together_TD)
    for row in range(len(o_TI)):
        alone_1D = case.h_TD[row : row + 1].clone()
        native.finish(0, o_TI[row : row + 1].clone(), alone_1D)
        assert torch.equal(alone_1D[0], together_TD[row])


@given(cases())
@settings(max_examples=10, deadline=None)
def test_what_does_not_fit_is_refused(case: Case):
    native = network(available_kernels()[0], case)
    rows, inner = len(case.h_TD), case.shape["heads"] * case.shape["size"]
    o_TI = torch.empty(rows, inner)
    sequences, blocks, _ = tables(case)

    def refused(what: str, **changes: Any) -> None:
        good = {"pages": case.pages, "sequences": sequences, "blocks": blocks, "visible": None}
        phase = {"cosines": case.phase[0], "sines": case.phase[1], "temperatures": None}
        with pytest.raises(ValueError, match=what):
            native.attend(0, case.h_TD, **(good | phase | changes), out=o_TI)

    for column, value in ((1, -1), (1, 10_000), (0, 10_000), (2, -1), (3, -1), (4, 0), (4, 10_000)):
        bad = sequences.copy()
        bad[0, column] = value
        refused("sequence", sequences=bad)
    for wrong in (-1, case.pages.shape[2]):
        bad = blocks.copy()
        bad[-1] = wrong
        refused("not among the pages", blocks=bad)
    refused("one mask a block", visible=np.zeros(len(blocks) + 1, np.uint64))
    refused("pages are bf16 or fp32", pages=case.pages.half())
    refused("pages are \\[2", pages=case.pages[:, :, :, 1:].contiguous())
    refused("an array is", cosines=case.phase[0][:, :-1].contiguous())
    refused("temperature", temperatures=torch.ones(rows + 1))
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
    o_TI = attend(native, replace(case, h_TD=h_TD), case.pages.clone(), None)
    native.finish(0, o_TI, h_TD)
    assert not bool(torch.isfinite(h_TD[-1]).any())
    assert bool(torch.isfinite(h_TD[:-last]).all())


@pytest.mark.parametrize("kernels", available_kernels())
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_token_gathers_the_same_to_the_bit_however_it_is_computed(kernels: str, data: st.DataObject):
    """All in one step, or one sequence after the other and each cut into pieces, on one thread or several."""
    case = data.draw(cases(exact(kernels)))
    pages, cut_pages = case.pages.clone(), case.pages.clone()
    together_TI = attend(network(kernels, case), case, pages, case.temperature_T)
    single = NativeProducts(kernels, data.draw(st.sampled_from([1, 3])), bind=False)
    native, first, block = network(kernels, case, single), 0, 0
    for tokens, start, blocks in case.sequences:
        done = 0
        while done < tokens:
            many = data.draw(st.integers(1, tokens - done))
            rows = slice(first + done, first + done + many)
            piece = replace(
                case,
                h_TD=case.h_TD[rows],
                phase=(case.phase[0][rows], case.phase[1][rows]),
                sequences=[(many, start + done, blocks)],
                hidden=None if case.hidden is None else case.hidden[block : block + len(blocks)],
            )
            temperature_T = None if case.temperature_T is None else case.temperature_T[rows]
            assert torch.equal(attend(native, piece, cut_pages, temperature_T), together_TI[rows])
            done += many
        first += tokens
        block += len(blocks)
    assert torch.equal(pages.view(torch.int8), cut_pages.view(torch.int8))


@pytest.mark.parametrize("kernels", available_kernels())
@given(cases(), st.booleans())
@settings(max_examples=30, deadline=None)
def test_pages_in_bf16_hold_what_those_in_fp32_do_rounded_as_pytorch_does(kernels: str, case: Case, bad: bool):
    native = network(kernels, case)
    if bad:
        case.h_TD[-1, -1] = torch.nan
    wide, narrow = case.pages.float(), case.pages.bfloat16()
    expected = wide.bfloat16()
    attend(native, case, wide, None)
    attend(native, case, narrow, None)
    written = wide.bfloat16() != expected
    torch.testing.assert_close(narrow[written], wide.bfloat16()[written], rtol=0, atol=0, equal_nan=True)
