"""Batches are a pure function of seed and step, and a pass shows everything its number of times."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lindos.data import Batch, BatchPlan, DataError, TokenDataset, sequential_batches
from lindos.data.windows import PackedWindows
from lindos.text import ByteLevelTokenizer
from tests.data.conftest import write_set

lengths = st.lists(st.integers(2, 30), min_size=1, max_size=12)
parts_drawn = st.lists(st.tuples(lengths, st.sampled_from([0.5, 1.0, 1.3, 2.0, 3.75])), min_size=1, max_size=3)
Drawn = list[tuple[list[int], float]]


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory, tokenizer: ByteLevelTokenizer):
    def make(drawn: Drawn, **how: object) -> Path:
        folder = tmp_path_factory.mktemp("sets") / "set"
        return write_set(folder, tokenizer, [(f"p{n}", *part) for n, part in enumerate(drawn)], **how)  # type: ignore[arg-type]

    return make


def digest(batch: Batch) -> str:
    return hashlib.sha256(batch.tokens.tobytes() + batch.loss_mask.tobytes()).hexdigest()


def is_within(row: np.ndarray, ring: np.ndarray) -> bool:
    return any((np.roll(ring, -start)[: len(row)] == row).all() for start in range(len(ring)))


@given(drawn=parts_drawn, sequence=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_every_window_its_number_of_times(fresh, drawn: Drawn, sequence: int, seed: int):
    plan = BatchPlan(TokenDataset.open(fresh(drawn)), sequence=sequence, batch=3, seed=seed)
    shown: Counter[tuple[int, int]] = Counter()
    for number in range(3):  # passes
        rows = range(number * plan.windows_per_pass, (number + 1) * plan.windows_per_pass)
        shown.update(plan.locate(virtual)[:2] for virtual in rows)
        for index, (held, epochs) in enumerate(drawn):
            count, whole = max(1, sum(held) // sequence), int(epochs)
            a_pass = whole * count + max(round((epochs - whole) * count), 0 if whole else 1)
            times = [shown[index, window] for window in range(count)]
            assert sum(times) == (number + 1) * a_pass
            assert max(times) - min(times) <= (epochs != whole)


@given(drawn=parts_drawn, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_part_readings_take_turns(fresh, drawn: Drawn, seed: int):
    """A source shown half a time per pass is shown wholly in two."""
    halves = [(held, 0.5) for held, _ in drawn]
    plan = BatchPlan(TokenDataset.open(fresh(halves)), sequence=2, batch=1, seed=seed)
    shown = Counter(plan.locate(virtual)[:2] for virtual in range(2 * plan.windows_per_pass))
    for index, (held, _) in enumerate(halves):
        count = sum(held) // 2
        if count and count % 2 == 0:
            assert all(shown[index, window] == 1 for window in range(count))


@given(drawn=parts_drawn, sequence=st.integers(1, 9), step=st.integers(0, 10**6), world=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_the_global_batch_is_the_same_for_any_number_of_ranks(
    fresh, drawn: Drawn, sequence: int, step: int, world: int
):
    plan = BatchPlan(TokenDataset.open(fresh(drawn)), sequence=sequence, batch=6, seed=1)
    whole = plan.batch(step)
    assert whole.tokens.shape == (6, sequence + 1)
    assert whole.tokens.dtype == np.int64
    assert whole.loss_mask.shape == (6, sequence)
    assert whole.loss_mask.all()
    for rank in range(world):
        part = plan.batch(step, rank=rank, world=world)
        assert (part.tokens == whole.tokens[rank::world]).all()
        assert (part.loss_mask == whole.loss_mask[rank::world]).all()


def test_windows_are_cut_from_the_stream_at_changing_places(fresh):
    dataset = TokenDataset.open(fresh([([20, 13, 9], 4.0)]))
    ring = dataset.parts[0].read(0, dataset.parts[0].tokens)
    plan = BatchPlan(dataset, sequence=5, batch=1, seed=3)
    rows = [plan.batch(step).tokens[0] for step in range(plan.steps_per_pass)]
    assert len(rows) == 4 * (42 // 5)
    assert all(is_within(row, ring) for row in rows)
    assert len({tuple(row) for row in rows}) > 42 // 5


def test_a_new_process_gives_the_same_bytes(small_set: Path):
    plan = BatchPlan(TokenDataset.open(small_set), sequence=7, batch=4, seed=11)
    code = f"""
import sys
from lindos.data import BatchPlan, TokenDataset
from tests.data.test_batches import digest
plan = BatchPlan(TokenDataset.open({str(small_set)!r}), sequence=7, batch=4, seed=11)
print(plan.fingerprint, *(digest(plan.batch(step)) for step in (0, 5, 10**9)))
"""
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert out.split() == [plan.fingerprint, *(digest(plan.batch(step)) for step in (0, 5, 10**9))]


def test_seeds_and_passes_differ(small_set: Path):
    dataset = TokenDataset.open(small_set)
    one, two = (BatchPlan(dataset, sequence=5, batch=8, seed=seed) for seed in (1, 2))
    assert digest(one.batch(0)) != digest(two.batch(0))
    assert one.fingerprint != two.fingerprint
    orders = [[one.locate(n * one.windows_per_pass + k)[:2] for k in range(20)] for n in range(2)]
    assert orders[0] != orders[1]


def test_sizes_are_told(small_set: Path):
    dataset = TokenDataset.open(small_set)
    plan = BatchPlan(dataset, sequence=8, batch=4, seed=1)
    assert plan.tokens_per_step == 32
    windows = sum(
        int(part.epochs) * (part.tokens // 8) + round(part.epochs % 1 * (part.tokens // 8)) for part in dataset.parts
    )
    assert plan.windows_per_pass == windows
    assert plan.steps_per_pass == windows // 4


@pytest.mark.parametrize("how", [{"step": -1}, {"step": 0, "rank": 2, "world": 2}, {"step": 0, "world": 9}])
def test_impossible_batches(small_set: Path, how: dict[str, int]):
    plan = BatchPlan(TokenDataset.open(small_set), sequence=5, batch=4, seed=1)
    with pytest.raises(DataError):
        plan.batch(how.pop("step"), **how)


def test_empty_plans(fresh):
    with pytest.raises(DataError, match="at least one row"):
        BatchPlan(TokenDataset.open(fresh([([5], 1.0)])), sequence=0, batch=1, seed=1)


def test_no_source_is_forgotten(fresh):
    plan = BatchPlan(TokenDataset.open(fresh([([5], 0.01), ([90], 2.0)])), sequence=4, batch=1, seed=1)
    assert plan.windows_per_pass == 1 + 2 * (90 // 4)


@given(held=st.lists(st.integers(2, 30), min_size=1, max_size=25), sequence=st.integers(4, 20))
@settings(max_examples=25, deadline=None)
def test_conversations_are_kept_whole(fresh, held: list[int], sequence: int):
    dataset = TokenDataset.open(fresh([(held, 1.0)], masked=True, packing="whole"))
    part = dataset.parts[0]
    plan = BatchPlan(dataset, sequence=sequence, batch=1, seed=5)
    begun = counted = 0
    for step in range(plan.steps_per_pass):
        batch = plan.batch(step)
        tokens, mask = batch.tokens[0], batch.loss_mask[0]
        # Even tokens count in these sets; padding and a conversation's first token never do.
        assert ((tokens[1:][mask] % 2 == 0) & (tokens[1:][mask] != 0)).all()
        counted += int(mask.sum())
        begun += int((tokens == 1).sum())
    assert begun == len(held)
    everything = part.read(0, part.tokens)
    starts = set(part.starts[:-1].tolist())
    assert counted == sum(token % 2 == 0 for place, token in enumerate(everything.tolist()) if place not in starts)


@given(held=st.lists(st.integers(2, 40), min_size=1, max_size=30), sequence=st.integers(2, 12))
@settings(max_examples=60, deadline=None)
def test_only_a_window_begins_in_the_middle_of_a_document(fresh, held: list[int], sequence: int):
    """Every document in a window but the first has its start token, by which they are told apart."""
    dataset = TokenDataset.open(fresh([(held, 1.0)], masked=True, packing="whole"))
    windows = PackedWindows(dataset.parts[0], sequence)
    tokens, mask = np.zeros(sequence + 1, np.int64), np.zeros(sequence, bool)
    seen = 0
    for index in range(windows.count):
        windows.fill(index, 0, tokens, mask)
        text = tokens[tokens != 0]
        for piece in np.split(text, np.flatnonzero(text == 1)):
            # Within one document tokens count up by one: another piece without a start would break the row.
            assert (np.diff((piece[piece != 1] - 16) % 380) % 380 == 1).all()
        seen += len(text) - (text[0] != 1)  # pieces of a cut document share a token
    assert seen == sum(held)


def test_conversations_are_packed_tightly(fresh):
    dataset = TokenDataset.open(fresh([([10, 20, 9, 2] * 50, 1.0)], masked=True, packing="whole"))
    plan = BatchPlan(dataset, sequence=40, batch=1, seed=5)
    assert plan.windows_per_pass == 50


@given(drawn=parts_drawn, sequence=st.integers(1, 9), batch=st.integers(1, 4), masked=st.booleans())
@settings(max_examples=25, deadline=None)
def test_measuring_predicts_every_token_once(fresh, drawn: Drawn, sequence: int, batch: int, masked: bool):
    for part in TokenDataset.open(fresh(drawn, masked=masked), split="heldout").parts:
        targets: list[int] = []
        for found in sequential_batches(part, sequence=sequence, batch=batch):
            assert 1 <= len(found.tokens) <= batch
            targets += found.tokens[:, 1:][found.loss_mask].tolist()
        stream = part.read(0, part.tokens)[1:].tolist()
        assert targets == [token for token in stream if not masked or token % 2 == 0]
