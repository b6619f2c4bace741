"""Bits per byte on held-out text: a loss that models with different tokenizers can be compared by."""

from __future__ import annotations

import math

import torch

from lindos.data import TokenDataset, sequential_batches
from lindos.data.dataset import TokenPart
from lindos.evaluate.record import BitsResult
from lindos.evaluate.scoring import EvaluationError, Progress, head_logprobs
from lindos.model import Transformer, document_starts


@torch.inference_mode()
def bits_per_byte(
    model: Transformer,
    dataset: TokenDataset,
    *,
    sequence: int = 512,
    batch: int = 16,
    limit: int | None = None,
    progress: Progress | None = None,
) -> list[BitsResult]:
    """One result per group of held-out text, then one over all of them ("all").

    Text is cut into windows of `sequence` tokens, each read without what stood before it, so figures are a little
    worse than with a sliding window. Whole documents packed into one window (conversations) are each read alone.
    Where the loss counts only some tokens, so do the bytes. With `limit`, only so many windows of each group; their
    bytes are then taken by their share of the tokens.

    Raises EvaluationError when the data were made with another vocabulary.
    """
    if dataset.vocabulary != model.spec.vocabulary:
        raise EvaluationError(
            f"{dataset.folder}: has a vocabulary of {dataset.vocabulary}, {model.spec.name} one of "
            f"{model.spec.vocabulary}; held-out text must be prepared with the model's own tokenizer"
        )
    results: list[BitsResult] = []
    nats_all = bytes_all = 0.0
    counted_all = 0
    for number, part in enumerate(dataset.parts):
        start_token = dataset.tokenizer.bos if part.packing == "whole" else None
        nats, counted, possible = _part(model, part, min(sequence, model.spec.sequence), batch, limit, start_token)
        if not counted:
            continue
        size = part.text_bytes * counted / possible
        nats_all, bytes_all, counted_all = nats_all + nats, bytes_all + size, counted_all + counted
        results.append(_result(dataset, part.group, nats, counted, size, counted == possible))
        if progress:
            progress(number + 1, len(dataset.parts))
    if len(results) > 1:
        whole = all(result.whole for result in results)
        results.append(_result(dataset, "all", nats_all, counted_all, bytes_all, whole))
    return results


def _result(dataset: TokenDataset, group: str, nats: float, counted: int, size: float, whole: bool) -> BitsResult:
    return BitsResult(
        data=dataset.meta.name,
        group=group,
        bits_per_byte=nats / math.log(2) / size,
        nats_per_token=nats / counted,
        tokens=counted,
        whole=whole,
    )


def _part(
    model: Transformer, part: TokenPart, sequence: int, batch: int, limit: int | None, start_token: int | None
) -> tuple[float, int, int]:
    """Summed nats, tokens they are summed over, and the tokens there are."""
    nats, counted, possible, windows = 0.0, 0, 0, 0
    device = model.embedding.device
    for each in sequential_batches(part, sequence=sequence, batch=batch):
        possible += int(each.loss_mask.sum())
        if limit is not None and windows >= limit:
            continue
        rows = len(each.tokens) if limit is None else min(len(each.tokens), limit - windows)
        windows += rows
        mask_BT = torch.from_numpy(each.loss_mask[:rows]).to(device)
        tokens_BT = torch.from_numpy(each.tokens[:rows]).to(device)
        first_key_BT = None if start_token is None else document_starts(tokens_BT[:, :-1], start_token)
        x_BTD, _ = model.hidden(tokens_BT[:, :-1], first_key_BT=first_key_BT)
        logprobs_N, _ = head_logprobs(model, x_BTD[mask_BT], tokens_BT[:, 1:][mask_BT])
        nats -= float(logprobs_N.double().sum())
        counted += int(mask_BT.sum())
    return nats, counted, possible
