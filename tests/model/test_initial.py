"""Fresh weights: parts drawn apart fit together, and the spread is what it should be."""

from __future__ import annotations

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.model import Transformer, initialise
from lindos.model.initial import initial_part
from tests.model.checkpoints import tiny_spec


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 900), min_size=2, max_size=2), st.integers(0, 4), st.data())
def test_parts_are_what_the_whole_has_there(shape: list[int], stack: int, data: st.DataObject):
    sizes = (*([stack] if stack else []), *shape)
    cuts = [tuple(sorted((data.draw(st.integers(0, size)), data.draw(st.integers(0, size))))) for size in sizes]
    part = [slice(*cut) for cut in cuts]
    spec = tiny_spec()
    whole = initial_part(spec, 5, "layers.0.experts.gate", sizes)
    assert torch.equal(initial_part(spec, 5, "layers.0.experts.gate", sizes, part), whole[tuple(part)])


def test_every_matrix_is_drawn_anew():
    model = Transformer(tiny_spec(width=64, expert_width=64, tied_head=False))
    initialise(model, 3)
    matrices = [m for p in model.parameters() if p.ndim > 1 for m in (p if p.ndim == 3 else [p])]
    for one, other in itertools.combinations(matrices, 2):
        assert one.shape != other.shape or not torch.equal(one, other)
    gate = dict(model.named_parameters())["layers.1.experts.gate"]
    assert abs(float(gate.detach().std()) * 8 - 1) < 0.05
    again = Transformer(tiny_spec(width=64, expert_width=64, tied_head=False), dtype=torch.bfloat16)
    initialise(again, 3)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.to(other.dtype), other)
