"""A case: work, hardware, layout and software together, and the counts every part of the step model shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lindos.plan.arrays import GENERATIONS, Array, Hardware, Layouts, Mask, Software, Work, stack


@dataclass(frozen=True)
class Case:
    """Many training steps at once; every array broadcasts against the others."""

    work: Work
    hardware: Hardware
    layout: Layouts
    software: Software

    def take(self, index: object) -> Case:
        """Some of the cases."""
        return Case(
            self.work.take(index), self.hardware.take(index), self.layout.take(index), self.software.take(index)
        )

    @cached_property
    def micro_batches(self) -> Array:
        """Forward passes of one data rank in a step."""
        return self.work.batch / (self.layout.data * self.layout.micro_batch)

    @cached_property
    def tokens(self) -> Array:
        """Tokens of one micro-batch on one context rank; tensor ranks share them."""
        return self.layout.micro_batch * self.work.sequence / self.layout.context

    @cached_property
    def split_tokens(self) -> Array:
        """Tokens of one micro-batch where tensor ranks split them (sequence parallel)."""
        return self.tokens / np.where(self.software.sequence_parallel > 0, self.layout.tensor, 1.0)

    @cached_property
    def whole_experts(self) -> Mask:
        """Whether experts lie whole on their ranks (True), or are split over the tensor ranks."""
        return self.layout.expert > 1

    @cached_property
    def expert_rows(self) -> Array:
        """Token-expert pairs one rank computes in one layer and micro-batch, on average."""
        tokens = np.where(self.whole_experts, self.tokens / self.layout.tensor, self.tokens)
        return tokens * self.work.chosen

    @cached_property
    def local_experts(self) -> Array:
        return self.work.experts / self.layout.expert

    @cached_property
    def expert_split(self) -> Array:
        """Over how many ranks one expert's width is split."""
        return np.where(self.whole_experts, 1.0, self.layout.tensor)

    @cached_property
    def dense_layers(self) -> Array:
        return self.work.layers - self.work.mixture_layers

    @cached_property
    def trained_mixture(self) -> Array:
        """Layers with experts that are trained, those for further tokens included."""
        return self.work.mixture_layers + np.where(self.work.mixture_layers > 0, self.work.mtp_layers, 0)

    @cached_property
    def dense_rank_parameters(self) -> Array:
        """Parameters of one rank that are no experts: the fullest stage's (it holds an embedding or the head)."""
        work, layout = self.work, self.layout
        layers = self.trained_mixture * work.layer_fixed + self.dense_layers * work.dense_layer_parameters
        ends = np.where(layout.pipeline > 1, work.embedding_parameters / (2 - work.tied), work.embedding_parameters)
        return (layers / layout.pipeline + ends) / layout.tensor

    @cached_property
    def expert_rank_parameters(self) -> Array:
        """Parameters of one rank's experts."""
        per_stage = self.trained_mixture * self.work.experts * self.work.expert_parameters / self.layout.pipeline
        return per_stage / (self.layout.expert * self.expert_split)

    @cached_property
    def dense_copies(self) -> Array:
        """Ranks that hold, or share, the same dense weights."""
        return self.layout.data * self.layout.context

    @cached_property
    def expert_copies(self) -> Array:
        """Ranks that hold, or share, the same experts."""
        return self.layout.stage_ranks / (self.layout.expert * self.expert_split)

    @cached_property
    def dense_shards(self) -> Array:
        """Ranks over which the optimiser state of dense weights is spread."""
        return np.where(self.layout.sharding > 0, self.layout.shards * self.layout.context, 1.0)

    @cached_property
    def expert_shards(self) -> Array:
        """Ranks over which the optimiser state of experts is spread."""
        within = self.layout.shards * self.layout.context * self.layout.tensor
        return np.where(
            self.layout.sharding > 0, np.maximum(within / (self.layout.expert * self.expert_split), 1.0), 1.0
        )

    @cached_property
    def model_flops(self) -> Array:
        """Floating-point operations of one step by the model's own count (no recompute, causal attention)."""
        work = self.work
        chosen = work.chosen * work.expert_width + work.shared_width
        products = work.layers * work.attention_matrices + work.width * work.vocabulary
        products = products + self.dense_layers * (work.ways_in + 1) * work.width * work.dense_width
        products = products + work.mixture_layers * work.width * ((work.ways_in + 1) * chosen + work.experts)
        per_token = 2 * products + 2 * work.heads * (work.query_key_size + work.value_size) * self.pairs * work.layers
        return 3 * per_token * work.sequence * work.batch

    @cached_property
    def scored_pairs(self) -> Array:
        """As `pairs`, with those that are computed and masked: attention goes through queries in blocks."""
        stretch = self.work.sequence / np.where(self.layout.context > 1, 2 * self.layout.context, 1.0)
        return self.pairs + np.minimum(self.software.query_block, stretch) / 2

    @cached_property
    def pairs(self) -> Array:
        """Tokens one token attends to, averaged over a sequence and the layers."""
        half = self.work.sequence / 2
        return self.work.full_share * half + (1 - self.work.full_share) * np.minimum(half, self.work.window)


def stack_cases(cases: list[Case]) -> Case:
    """Cases of one number each as one case of many."""
    return Case(
        stack([c.work for c in cases]),
        stack([c.hardware for c in cases]),
        stack([c.layout for c in cases]),
        stack([c.software for c in cases]),
    )


def by_generation(case: Case, constants: Mapping[str, float], name: str) -> Array:
    """The constant `name_<generation>` of each case."""
    values = np.array([constants[f"{name}_{generation}"] for generation in GENERATIONS])
    return values[case.hardware.generation.astype(int)]
