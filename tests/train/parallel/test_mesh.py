"""Who stands where, and what of each weight is whose."""

from __future__ import annotations

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from lindos.specs import Layout
from lindos.train.parallel.mesh import Group, place_of, rank_of
from lindos.train.parallel.pieces import Piece, chunk
from lindos.train.parallel.ring import positions
from tests.train.parallel.cases import form

DEGREES = st.tuples(*(st.integers(1, 4) for _ in range(5)))


@given(DEGREES)
def test_ranks_and_places_are_one_to_one(degrees: tuple[int, ...]):
    replicas, shards, tensor, pipeline, context = degrees
    layout = Layout(replicas=replicas, shards=shards, tensor=tensor, pipeline=pipeline, context=context)
    places = [place_of(rank, layout) for rank in range(layout.world)]
    assert len(set(places)) == layout.world
    assert [rank_of(place, layout) for place in places] == list(range(layout.world))
    assert places[0] == place_of(0, layout)
    assert all(place.tensor == rank % tensor for rank, place in enumerate(places))


@given(st.integers(0, 50), st.integers(1, 9))
def test_chunks_are_torchs(size: int, parts: int):
    whole = torch.arange(size)
    ours = [whole[each.start : each.stop].tolist() for each in (chunk(range(size), parts, i) for i in range(parts))]
    theirs = [each.tolist() for each in torch.chunk(whole, parts)]
    assert [each for each in ours if each] == [each for each in theirs if each]


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.integers(1, 4), st.integers(0, 1))
def test_pieces_of_two_groups_cover_a_weight_once(rows: int, columns: int, first: int, second: int, dim: int):
    found = torch.zeros(rows, columns)
    for one, other in itertools.product(range(first), range(second)):
        piece = Piece("w", (rows, columns))
        piece = piece.cut(dim, Group("a", tuple(range(first)), one)).cut(0, Group("b", tuple(range(second)), other))
        assert found[piece.slices].shape == piece.local_shape
        found[piece.slices] += 1
    assert bool((found == 1).all())


@given(st.integers(1, 5), st.integers(1, 6))
def test_every_position_of_a_sequence_is_one_ranks(ranks: int, size: int):
    tokens = 2 * ranks * size
    groups = [Group("context", tuple(range(ranks)), index) for index in range(ranks)]
    everybodys = torch.cat([positions(tokens, group) for group in groups])
    assert sorted(everybodys.tolist()) == list(range(tokens))
    work = [int((positions(tokens, group) + 1).sum()) for group in groups]
    assert len(set(work)) == 1  # causal attention costs all ranks the same


@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_stages_cover_all_layers_in_order(pipeline: int, virtual: int, each: int, ends: bool):
    ends = ends and pipeline > 1
    layers = pipeline * virtual * each - 2 * ends
    if layers < 1:
        return
    layout = Layout(pipeline=pipeline, virtual_stages=virtual, schedule="interleaved", ends_count=ends)
    stages = layout.stages(form("grok").model_copy(update={"layers": layers}))
    assert len(stages) == pipeline * virtual
    assert [layer for stage in stages for layer in stage] == list(range(layers))
    assert len(stages[0]) == len(stages[-1]) == (each - ends if pipeline > 1 else layers // len(stages))
