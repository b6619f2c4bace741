"""Layouts of four processes compute what one process computes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.train.parallel.cases import MUON, PACKED, case, check_equal
from tests.train.parallel.pool import Pool
from tests.train.parallel.work import Case


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    made = Pool(4, tmp_path_factory.mktemp("pool"))
    yield made
    made.close()


CASES = [
    case({"replicas": 2, "shards": 2}),
    case({"shards": 2, "tensor": 2}, optimizer=MUON),
    case({"shards": 4, "expert": 2}, "many-experts", optimizer=MUON),
    case({"shards": 4}, "qwen"),
    case({"shards": 4, "sharding": "none"}),
    case({"shards": 4, "sharding": "gradients"}, batch=16),
    case({"shards": 2, "tensor": 2}),
    case({"tensor": 4}, "four-heads"),
    case({"tensor": 2, "context": 2}, "padded", share=0.4, purpose=PACKED),
    case({"tensor": 2, "context": 2, "recompute": "full"}, "qwen"),
    case({"context": 4}, "grok-2"),
    case({"shards": 4, "expert": 2}),
    case({"shards": 4, "expert": 4}),
    case({"shards": 2, "tensor": 2, "expert": 4}),
    case({"replicas": 2, "shards": 2, "expert": 4}),
    case({"context": 2, "shards": 2, "expert": 2}),
    case({"shards": 2, "tensor": 2, "expert": 2}, "many-experts"),  # some of which nobody chooses
    case({"pipeline": 4}, "dense-first"),  # a stage without experts
    case({"pipeline": 2, "tensor": 2}, "grok-2"),
    case({"pipeline": 2, "tensor": 2, "expert": 2}, "padded", share=0.4, purpose=PACKED),
    case({"pipeline": 2, "shards": 2, "virtual_stages": 2, "schedule": "interleaved"}),
    case({"pipeline": 2, "shards": 2, "expert": 2, "schedule": "zero-bubble"}),
    case({"pipeline": 2, "context": 2, "sharding": "optimizer"}),
]


@pytest.mark.parametrize("run", CASES, ids=str)
def test_a_layout_equals_one_process(pool: Pool, run: Case):
    check_equal(pool, run)
