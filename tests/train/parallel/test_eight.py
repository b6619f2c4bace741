"""Layouts of eight processes compute what one process computes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.train.parallel.cases import case, check_equal
from tests.train.parallel.pool import Pool
from tests.train.parallel.work import Case


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    made = Pool(8, tmp_path_factory.mktemp("pool"))
    yield made
    made.close()


CASES = [
    case({"replicas": 2, "shards": 2, "tensor": 2}),
    case({"replicas": 2, "shards": 2, "expert": 4, "tensor": 2}, "many-experts"),
    case({"shards": 2, "tensor": 2, "context": 2, "expert": 4}, "grok-2"),
    case({"shards": 4, "expert": 8, "tensor": 2}, "many-experts"),
    case({"tensor": 8}, "eight-heads"),
    case({"shards": 8, "micro_batch": 1}, "dense"),
    case({"pipeline": 2, "tensor": 2, "context": 2}),
    case({"pipeline": 2, "shards": 2, "tensor": 2, "expert": 4, "virtual_stages": 2, "schedule": "interleaved"}),
    case({"pipeline": 2, "shards": 2, "context": 2, "expert": 2, "schedule": "zero-bubble"}),
    case({"pipeline": 4, "replicas": 2, "sharding": "optimizer", "micro_batch": 1}, "eight-layers"),
    case({"pipeline": 8}, "eight-layers"),  # fewer micro-batches than stages
    case({"pipeline": 8, "micro_batch": 1, "schedule": "zero-bubble"}, "eight-layers"),
]


@pytest.mark.parametrize("run", CASES, ids=str)
def test_a_layout_equals_one_process(pool: Pool, run: Case):
    check_equal(pool, run)
