"""What a run reads: its data, where documents begin in it, and the text held out to measure by."""

from __future__ import annotations

from pathlib import Path

from lindos.data import Batch, BatchPlan, TokenDataset
from lindos.specs import SpecError
from lindos.train.run_file import RunFile
from lindos.train.worker import Worker


def training_data(run: RunFile) -> TokenDataset:
    """What the run trains on. Raises SpecError where the network knows fewer words than the data."""
    data = TokenDataset.open(Path(run.data.path), split="train")
    if data.vocabulary > run.spec.vocabulary:
        raise SpecError(
            f"{run.data.path}: its tokenizer has {data.vocabulary} words, {run.spec.name} only {run.spec.vocabulary}"
        )
    return data


def start_token_of(run: RunFile, data: TokenDataset) -> int | None:
    """What begins every document, where those of a row are to be kept apart. Raises SpecError where nothing does."""
    if not run.data.separate:
        return None
    if data.tokenizer.bos is None:
        raise SpecError("data.separate: the tokenizer of this data has no start token to tell documents apart by")
    return data.tokenizer.bos


def held_out_batches(run: RunFile, data: TokenDataset, worker: Worker) -> list[Batch]:
    """This rank's batches of held-out text; none where `data`, what the run trains on, comes without."""
    if not any(part.split == "heldout" for part in data.meta.parts):
        return []
    held_out = TokenDataset.open(Path(run.data.path), split="heldout")
    rows, ranks = run.data.micro_batch, worker.data_ranks
    plan = BatchPlan(held_out, sequence=run.data.sequence, batch=rows, seed=0)
    # Every rank the same number of batches, and a pipeline as many as its schedule wants.
    turns = max(1, run.evaluate.sequences // (rows * ranks))
    turns = -(-turns // run.layout.pipeline) * run.layout.pipeline
    return [plan.batch(turn * ranks + worker.data_index) for turn in range(turns)]
