"""The search: every candidate is distinct and divides, the fastest is the fastest, memory only ever helps."""

from __future__ import annotations

import numpy as np
import pytest

from lindos.plan.arrays import Layouts
from lindos.plan.case import Case
from lindos.plan.choices import choices_for
from lindos.plan.constants import shipped_constants
from lindos.plan.memory import GIB, memory
from lindos.plan.search import NAMES, as_layouts, blocks, search
from lindos.plan.step import step
from lindos.plan.training import shared_case
from tests.plan.cases import DENSE, MIXTURE, cluster

CONSTANTS = shipped_constants()


def asked(model, nodes=2, batch=32, sequence=4096, precision=("bf16", "fp8")):
    on = cluster(nodes)
    shared = shared_case(model, on, sequence=sequence, batch=batch)
    choices = choices_for(model, shared.hardware, on.devices, sequence=sequence, batch=batch, precision=precision)
    return shared, choices


@pytest.mark.parametrize("model", [DENSE, MIXTURE])
def test_candidates_are_distinct_and_divide(model):
    _, choices = asked(model)
    table = np.concatenate(list(blocks(choices)), axis=1)
    assert len(np.unique(table, axis=1).T) == table.shape[1]
    every = max(1, table.shape[1] // 500)
    for column in table.T[::every]:
        layout = as_layouts([tuple(column)]).layout(0)
        layout.check(model, batch=32, sequence=4096)
        assert layout.world <= 16
        assert layout.data * layout.micro_batch <= 32


def test_every_field_varies():
    """What the search is asked to vary, it varies: degrees, stages, schedule, sharding, micro-batch, recompute, ..."""
    _, choices = asked(MIXTURE)
    table = np.concatenate(list(blocks(choices)), axis=1)
    for name in NAMES:
        if name != "ends_count":
            assert len(np.unique(table[NAMES.index(name)])) > 1, name


@pytest.mark.parametrize("model", [DENSE, MIXTURE])
def test_the_fastest_kept_is_the_fastest_of_all(model):
    shared, choices = asked(model)
    limit = 60 * GIB
    found = search(shared, choices, CONSTANTS, limit=limit)
    table = np.concatenate(list(blocks(choices)), axis=1)
    case = Case(shared.work, shared.hardware, Layouts(**dict(zip(NAMES, table, strict=True))), shared.software)
    fits = memory(case).total <= limit
    assert found.candidates == table.shape[1]
    assert found.fit == fits.sum()
    assert found.best(1)[0][0] == pytest.approx(step(case, CONSTANTS).seconds[fits].min())


def test_more_memory_never_makes_a_layout_unfit_and_never_slows_the_best():
    shared, choices = asked(MIXTURE)
    before, fastest = 0, np.inf
    for gib in (2, 4, 8, 16, 32, 80):
        found = search(shared, choices, CONSTANTS, limit=gib * GIB)
        assert found.fit >= before
        best = found.best(1)[0][0] if found.kinds else np.inf
        assert best <= fastest
        before, fastest = found.fit, best


def test_rivals_never_beat_the_winner():
    shared, choices = asked(DENSE)
    found = search(shared, choices, CONSTANTS, limit=60 * GIB)
    winner = found.best(1)[0][0]
    assert min(seconds for seconds, _ in found.rivals.values()) == winner
    assert all(seconds >= winner for seconds, _ in found.kinds.values())


def test_a_site_of_100_000_is_searched_over_a_million_layouts():
    from lindos.specs import load_cluster, load_model_spec

    grok, colossus = load_model_spec("grok-1"), load_cluster("colossus")
    shared = shared_case(grok, colossus, sequence=8192, batch=8192)
    choices = choices_for(grok, shared.hardware, colossus.devices, sequence=8192, batch=8192, precision=("bf16", "fp8"))
    assert sum(block.shape[1] for block in blocks(choices)) > 1_000_000
