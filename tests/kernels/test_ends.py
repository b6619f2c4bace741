"""The embedding and the logits by the kernels, and a whole step in one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lindos.kernels import twins
from lindos.kernels.choosing import available_kernels
from lindos.kernels.packing import Packed, rows_of
from lindos.kernels.quantising import packed
from tests.kernels.test_network import Case, attend, cases, exact, network, of, tables


@dataclass(repr=False)
class Ends:
    """Weights before and after the layers, and what is done beside them."""

    embedding: Packed
    head: Packed
    norm_D: Tensor
    embedding_multiplier: float
    logit_multiplier: float
    logit_cap: float

    def give(self, native: Any, kernels: str) -> None:
        native.set_ends(
            *(of(kernels).view(matrix) for matrix in (self.embedding, self.head)),
            self.norm_D,
            self.embedding_multiplier,
            self.logit_multiplier,
            self.logit_cap,
        )

    def logits(self, h_RD: Tensor, precision: Literal["fp32", "int8"]) -> Tensor:
        """By the twins."""
        x_RD = twins.norm(h_RD, self.norm_D, 1e-5)
        logits_RV = twins.multiply(x_RD, self.head, precision) * self.logit_multiplier
        return (logits_RV / self.logit_cap).tanh() * self.logit_cap if self.logit_cap else logits_RV


@st.composite
def ends_of(draw: st.DrawFn, width: int) -> Ends:
    vocabulary = draw(st.one_of(st.integers(1, 80), st.just(16384 + 17)))  # more than one piece of logits
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))
    form: Literal["bf16", "int8"] = draw(st.sampled_from(["bf16", "int8"]))

    def matrix() -> Packed:
        return packed(torch.randn(vocabulary, width, generator=generator) * width**-0.5, form)

    return Ends(
        embedding=matrix(),
        head=matrix(),
        norm_D=1 + 0.1 * torch.randn(width, generator=generator),
        embedding_multiplier=draw(st.sampled_from([1.0, 27.7])),
        logit_multiplier=draw(st.sampled_from([1.0, 0.577])),
        logit_cap=draw(st.sampled_from([0.0, 0.5, 30.0])),
    )


def logits_of(native: Any, ends: Ends, h_RD: Tensor) -> Tensor:
    out_RV = torch.full((len(h_RD), ends.head.rows), torch.nan)
    native.logits(h_RD, out_RV)
    return out_RV


def embedded(native: Any, tokens: list[int], width: int) -> Tensor:
    h_TD = torch.full((len(tokens), width), torch.nan)
    native.embed(tokens, h_TD)
    return h_TD


@pytest.mark.parametrize("kernels", available_kernels())
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_tokens_are_looked_up_and_logits_equal_their_twins(kernels: str, data: st.DataObject):
    case = data.draw(cases(min(20, exact(kernels))))
    width = case.shape["width"]
    ends = data.draw(ends_of(width))
    native = network(kernels, case)
    ends.give(native, kernels)
    tokens = data.draw(st.lists(st.integers(0, ends.head.rows - 1), min_size=1, max_size=9))
    expected = torch.from_numpy(rows_of(ends.embedding, np.array(tokens))) * ends.embedding_multiplier
    assert torch.equal(embedded(native, tokens, width), expected)

    precision = "fp32" if ends.head.format == "bf16" else "int8"
    found = logits_of(native, ends, case.h_TD)
    torch.testing.assert_close(found, ends.logits(case.h_TD, precision), rtol=2e-3, atol=2e-3)
    alone = torch.cat([logits_of(native, ends, row[None]) for row in case.h_TD])
    assert torch.equal(found, alone)


@pytest.mark.parametrize("kernels", available_kernels())
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_step_in_one_call_gives_what_its_parts_give(kernels: str, data: st.DataObject):
    case: Case = data.draw(cases(exact(kernels)))
    ends = data.draw(ends_of(case.shape["width"]))
    native = network(kernels, case)
    ends.give(native, kernels)
    rows = len(case.h_TD)
    tokens = data.draw(st.lists(st.integers(0, ends.head.rows - 1), min_size=rows, max_size=rows))
    last = sorted(data.draw(st.sets(st.integers(0, rows - 1), max_size=5)))

    h_TD = embedded(native, tokens, case.shape["width"])
    pages, own_pages = case.pages.clone(), case.pages.clone()
    case.h_TD = h_TD
    o_RI, h_RD = attend(native, case, pages, case.temperature_T)[last], h_TD[last]
    native.finish(0, o_RI, h_RD)
    expected = logits_of(native, ends, h_RD)

    native.keep_pages([own_pages])
    found = torch.full((len(last), ends.head.rows), torch.nan)
    native.forward(tokens, *tables(case), *case.phase, case.temperature_T, last, found)
    assert torch.equal(found, expected)
    assert torch.equal(own_pages.view(torch.int8), pages.view(torch.int8))


@given(st.data())
@settings(max_examples=10, deadline=None)
def test_what_does_not_fit_is_refused(data: st.DataObject):
    kernels = available_kernels()[0]
    case = data.draw(cases())
    rows, width = len(case.h_TD), case.shape["width"]
    ends = data.draw(ends_of(width))
    native = network(kernels, case)
    out = torch.empty(1, ends.head.rows)

    def forward(tokens: list[int], last: list[int]) -> None:
        native.forward(tokens, *tables(case), *case.phase, None, last, out)

    with pytest.raises(ValueError, match="without ends"):
        native.embed([0], torch.empty(1, width))
    with pytest.raises(ValueError, match="without ends"):
        native.logits(case.h_TD[:1], out)
    small = packed(torch.ones(3, width), "int4")
    with pytest.raises(ValueError, match="int4"):
        native.set_ends(of(kernels).view(small), of(kernels).view(small), ends.norm_D, 1.0, 1.0, 0.0)
    with pytest.raises(ValueError, match="norm"):
        native.set_ends(
            of(kernels).view(ends.embedding), of(kernels).view(ends.head), torch.ones(width + 1), 1.0, 1.0, 0.0
        )
    ends.give(native, kernels)
    with pytest.raises(ValueError, match="without pages"):
        forward([0] * rows, [0])
    with pytest.raises(ValueError, match="each layer has pages"):
        native.keep_pages([case.pages, case.pages])
    native.keep_pages([case.pages.clone()])
    for token in (-1, ends.head.rows):
        with pytest.raises(ValueError, match="vocabulary"):
            forward([0] * (rows - 1) + [token], [0])
    for row in (-1, rows):
        with pytest.raises(ValueError, match="goes on"):
            forward([0] * rows, [row])
    with pytest.raises(ValueError, match="an array is"):
        forward([0] * rows, [0, 0])
