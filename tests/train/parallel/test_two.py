"""Layouts of two processes compute what one process computes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.train.parallel.cases import PACKED, case, check_equal
from tests.train.parallel.pool import Pool
from tests.train.parallel.work import Case, unlike


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    made = Pool(2, tmp_path_factory.mktemp("pool"))
    yield made
    made.close()


CASES = [
    case({"shards": 2}),
    case({"replicas": 2}),
    case({"shards": 2, "sharding": "none"}),
    case({"shards": 2, "sharding": "optimizer"}, batch=16),
    case({"shards": 2, "sharding": "gradients"}, batch=16),
    case({"shards": 2, "recompute": "full"}, "padded", share=0.4, purpose=PACKED),
    case({"shards": 2, "micro_batch": 1}, share=0.02),  # micro-batches in which nothing counts
    case({"shards": 2}, "dense"),
    case({"shards": 2, "recompute": "selective"}, "grok"),
    case({"tensor": 2}),
    case({"tensor": 2, "recompute": "selective"}, "grok-2"),
    case({"pipeline": 2, "schedule": "zero-bubble", "recompute": "selective"}, "dense"),
    case({"tensor": 2}, "grok-2"),
    case({"tensor": 2}, "dense-first"),
    case({"context": 2}),
    case({"context": 2}, "padded", share=0.4, purpose=PACKED),
    case({"shards": 2, "expert": 2}),
    case({"tensor": 2, "expert": 2}, "grok-2"),
    case({"context": 2, "expert": 2}),
    case({"pipeline": 2}),
    case({"pipeline": 2}, "grok-2"),
    case({"pipeline": 2, "recompute": "full"}, "padded", share=0.4, purpose=PACKED),
    case({"pipeline": 2, "virtual_stages": 2, "schedule": "interleaved"}),
    case({"pipeline": 2, "schedule": "zero-bubble"}),
    case({"pipeline": 2, "schedule": "zero-bubble"}, "dense-first"),  # a stage with experts in one layer only
    case({"pipeline": 2, "ends_count": True}, "six-layers"),
]


@pytest.mark.parametrize("run", CASES, ids=str)
def test_a_layout_equals_one_process(pool: Pool, run: Case):
    check_equal(pool, run)


def test_ranks_that_compute_otherwise_than_the_first_are_told_so_everywhere(pool: Pool):
    for told in pool.run(unlike):
        assert "rank 1 has precision fp32, rank 0 bf16" in told
