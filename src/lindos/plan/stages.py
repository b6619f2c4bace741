"""What lies on one pipeline stage: layers, ends, and how many micro-batches are in flight there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lindos.plan.arrays import Array
from lindos.plan.case import Case


@dataclass(frozen=True)
class StageShare:
    """Layers of one pipeline rank, and the ends it has (1, 0, or a share where ranks are averaged)."""

    dense: Array
    """Layers without experts."""
    mixtures: Array
    embeds: Array
    heads: Array
    flight: Array
    """Micro-batches whose activations are held at once, in stages' worth of them."""

    def ends(self, case: Case) -> Array:
        """Parameters of embedding and head here."""
        work = case.work
        untied = (self.embeds + self.heads) / 2
        return work.embedding_parameters * np.where(work.tied > 0, np.maximum(self.embeds, self.heads), untied)


def average_stage(case: Case) -> StageShare:
    """What pipeline ranks have on average."""
    p = case.layout.pipeline
    return StageShare(case.dense_layers / p, case.trained_mixture / p, 1 / p, 1 / p, np.ones(1))


def stage_of(case: Case, index: int | Array) -> StageShare:
    """What lies on pipeline rank `index`, all stages having as many layers as the others.

    Layers without experts are a model's first ones.
    """
    p = case.layout.pipeline
    index = np.asarray(index, np.float64)
    layers = (case.dense_layers + case.trained_mixture) / p
    dense = np.clip(case.dense_layers - index * layers, 0, layers)
    embeds, heads = (index == 0).astype(float), (index == p - 1).astype(float)
    return StageShare(dense, layers - dense, embeds, heads, in_flight(case, index))


def in_flight(case: Case, index: int | Array) -> Array:
    """Micro-batches that pipeline rank `index` has taken forward and not yet back, in whole stages' worth.

    One-forward-one-backward holds as many as there are stages from here to the end; interleaving starts more of them
    before the first comes back (Narayanan et al. 2021, https://arxiv.org/abs/2104.04473, section 2.2). Zero-bubble
    schedules hold as many as there are stages everywhere: what comes back waits for its weight gradients (Qi et al.,
    https://arxiv.org/abs/2401.10241, section 2.2, as little memory as they describe for ZB-H1 on the first stage).
    """
    p, v = case.layout.pipeline, case.layout.virtual_stages
    after = p - 1 - np.asarray(index, np.float64)
    parts = np.where(v > 1, (v - 1) * p + 2 * after + 1, np.where(case.layout.schedule == 2, p, after + 1))
    # With fewer micro-batches than stages there is nothing to alternate with: all go ahead, on every rank.
    few = (case.software.late_gradients > 0) & (case.micro_batches < p * v)
    parts = np.where(few, p * v, parts)
    return np.minimum(parts / v, np.maximum(case.micro_batches, 1))
