"""What one accelerator computes in a layer: matrix products, attention, everything bound by memory, the host.

Times are seconds of one layer and one micro-batch on one rank. Products follow a roofline whose ceiling depends on
their shape: an accelerator works through the result in tiles, its last wave of tiles is half empty on average, and a
short inner dimension leaves little to hide the start and end of a tile behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lindos.plan.arrays import Array
from lindos.plan.case import Case, by_generation

BF16 = 2.0


@dataclass(frozen=True)
class LayerTimes:
    """Seconds of one layer and micro-batch, forward and backward apart; recompute not counted."""

    products: Array
    products_backward: Array
    attention: Array
    attention_backward: Array
    pointwise: Array
    pointwise_backward: Array

    @property
    def forward(self) -> Array:
        return self.products + self.attention + self.pointwise

    @property
    def backward(self) -> Array:
        return self.products_backward + self.attention_backward + self.pointwise_backward


class Compute:
    """The rates of one set of cases, and the times that follow from them."""

    def __init__(self, case: Case, constants: Mapping[str, float]):
        self.case, self.constants = case, constants
        hardware = case.hardware
        clock = (hardware.watts / USUAL_WATTS[hardware.generation.astype(int)]) ** constants["power_exponent"]
        self.clock = np.where(hardware.watts > 0, np.minimum(clock, 1.2), 1.0)
        self.rate16 = hardware.peak16 * by_generation(case, constants, "product") * self.clock * case.software.site
        low = by_generation(case, constants, "product8") * self.clock * case.software.site
        rate8 = np.maximum(hardware.peak8 * low, 1.0)
        rate4 = hardware.peak4 * constants["product4"] * self.clock * case.software.site
        precision = case.layout.precision
        self.narrow = precision >= 3
        self.rate = np.where(precision == 4, rate4, np.where(precision == 3, rate8, self.rate16))
        self.rate = np.where(precision == 0, self.rate16 / 2, self.rate)
        self.memory = hardware.memory_bandwidth * constants["memory_share"]
        self.tail = constants["wave_outputs"]
        self.edge = constants["tile_edge"]

    def product(
        self, rows: Array, inner: Array, columns: Array, *, wide: bool = False, groups: Array | float = 1.0
    ) -> Array:
        """Seconds of `groups` products [rows, inner] x [inner, columns] launched as one."""
        rate = self.rate16 if wide else self.rate
        outputs = groups * rows * columns
        flops = 2 * outputs * inner
        shape = (1 + self.tail / np.maximum(outputs, 1)) * (1 + self.edge / np.maximum(inner, 1))
        moved = BF16 * groups * (rows * inner + inner * columns + rows * columns) / self.memory
        return np.maximum(flops / rate * shape, moved)

    def _three(self, rows: Array, inner: Array, columns: Array, **how: object) -> tuple[Array, Array]:
        """Forward, and backward's two: the gradient of the input and of the weight."""
        forward = self.product(rows, inner, columns, **how)  # type: ignore[arg-type]
        inputs = self.product(rows, columns, inner, **how)  # type: ignore[arg-type]
        weights = self.product(inner, rows, columns, **how)  # type: ignore[arg-type]
        return forward, inputs + weights

    def attention_products(self) -> tuple[Array, Array]:
        """The projections around attention."""
        work, tensor, rows = self.case.work, self.case.layout.tensor, self.case.tokens
        queries = work.heads * work.query_key_size
        values = work.heads * work.value_size
        plain = self._three(rows, work.width, (queries + 2 * work.kv_heads * work.head_size) / tensor)
        down = self._three(rows, work.width, np.maximum(work.query_rank + work.kv_rank + work.rope_size, 1))
        up_query = self._three(rows, np.where(work.query_rank > 0, work.query_rank, work.width), queries / tensor)
        keys_values = work.heads * (work.head_size + work.value_size) / tensor
        up_keys = self._three(rows, np.maximum(work.kv_rank, 1), keys_values)
        out = self._three(rows, values / tensor, work.width)
        latent = work.kv_rank > 0
        inputs = [np.where(latent, down[i] + up_query[i] + up_keys[i], plain[i]) for i in (0, 1)]
        return inputs[0] + out[0], inputs[1] + out[1]

    def mlp_products(self, inner: Array) -> tuple[Array, Array]:
        """A plain MLP of this inner width (the dense layers', or the shared experts')."""
        work, tensor, rows = self.case.work, self.case.layout.tensor, self.case.tokens
        up = self._three(rows, work.width, work.ways_in * inner / tensor)
        down = self._three(rows, np.maximum(inner / tensor, 1), work.width)
        return tuple(np.where(inner > 0, a + b, 0.0) for a, b in zip(up, down, strict=True))  # type: ignore[return-value]

    def expert_products(self) -> tuple[Array, Array]:
        """The chosen experts of all rows of one rank, as grouped products, and the router."""
        case, work = self.case, self.case.work
        share = by_generation(case, self.constants, "grouped")
        experts = np.maximum(case.local_experts, 1e-9)
        # Each expert's last tile is half empty; the busiest rank of an exchange sets the pace.
        rows = case.expert_rows / experts + self.constants["tile_rows"] / 2
        uneven = self.constants["imbalance"] * (1 - case.software.token_drop)
        imbalance = np.where(case.layout.expert > 1, 1 + uneven, 1.0)
        inner = work.expert_width / case.expert_split
        up = self._three(rows, work.width, work.ways_in * inner, groups=experts)
        down = self._three(rows, np.maximum(inner, 1), work.width, groups=experts)
        router = self._three(case.split_tokens, work.width, np.maximum(work.experts, 1), wide=True)
        grouped = [(a + b) * imbalance / share for a, b in zip(up, down, strict=True)]
        return grouped[0] + router[0], grouped[1] + router[1]

    def attention_core(self) -> tuple[Array, Array]:
        """q·k, softmax and p·v: fused (FlashAttention), or through memory where the software is older."""
        case, work, layout = self.case, self.case.work, self.case.layout
        heads = work.heads / layout.tensor
        flops = 2 * case.tokens * case.scored_pairs * heads * (work.query_key_size + work.value_size)
        peak = case.hardware.peak16 * self.clock
        share = by_generation(case, self.constants, "attention")
        share = share * np.where(case.hardware.ultra > 0, self.constants["attention_ultra"], 1.0)
        size = (work.query_key_size + work.value_size) / 2
        share = share * np.minimum(1.0, (size / 128) ** self.constants["head_exponent"])
        flash = case.software.flash
        early = np.where((flash < 3) & (case.hardware.generation >= 1), self.constants["attention_early"], 1.0)
        early = early * np.where(flash == 1, self.constants["attention_first"], 1.0)
        fused = flops / (peak * share * early)
        fused_backward = 2.5 * fused / self.constants["attention_backward"]
        # Unfused: all S*S scores, written and read by mask, softmax, dropout and the second product.
        scores = case.tokens * work.sequence * heads
        unfused = 2 * flops / self.rate16 + scores * BF16 * self.constants["score_passes"] / self.memory
        fuses = case.software.flash > 0
        return np.where(fuses, fused, unfused), np.where(fuses, fused_backward, 2 * unfused)

    def pointwise(self, *, mixture: bool) -> tuple[Array, Array]:
        """Norms, residuals, rotary turns, activations, casts, and the sorting of tokens by expert."""
        case, work, layout = self.case, self.case.work, self.case.layout
        passes = np.where(case.software.compiled > 0, 1.0, self.constants["eager_passes"])
        stream = (4 + 2 * work.norms) * work.width * case.split_tokens
        turned = 2 * (work.heads * work.query_key_size + work.kv_heads * work.head_size) / layout.tensor * case.tokens
        inner = np.where(mixture, work.shared_width, work.dense_width) / layout.tensor * case.tokens
        if mixture:
            inner = inner + work.expert_width / case.expert_split * case.expert_rows
            sorted_apart = np.where(case.software.fused_sort > 0, self.constants["fused_sort"], 1.0)
            stream = stream + self.constants["sort_passes"] * sorted_apart * work.width * case.expert_rows
        acted = (2 * work.ways_in + 1) * inner
        if mixture:
            acted = acted * np.where(work.plain_experts > 0, self.constants["plain_experts"], 1.0)
        cast = np.where(self.narrow, self.constants["cast_bytes"], 0.0) * (work.width * case.tokens * 2 + inner)
        moved = BF16 * passes * self.constants["pointwise"] * (stream + turned + acted)
        forward = (moved + cast) / self.memory
        return forward, 2 * moved / self.memory + 2 * cast / self.memory

    def layer(self, *, mixture: bool) -> LayerTimes:
        """One layer with experts, or one without."""
        projections = self.attention_products()
        mlp = self.mlp_products(self.case.work.shared_width if mixture else self.case.work.dense_width)
        products = [projections[i] + mlp[i] for i in (0, 1)]
        if mixture:
            experts = self.expert_products()
            products = [products[i] + experts[i] for i in (0, 1)]
        core, moved = self.attention_core(), self.pointwise(mixture=mixture)
        return LayerTimes(products[0], products[1], core[0], core[1], moved[0], moved[1])

    def head(self) -> tuple[Array, Array]:
        """Logits and loss; the loss reads and writes the logits a few times in fp32."""
        case, work = self.case, self.case.work
        columns = work.vocabulary / case.layout.tensor
        forward, backward = self._three(case.tokens, work.width, columns, wide=True)
        loss = 16.0 * case.tokens * columns / self.memory
        times = 1 + work.mtp_layers
        return times * (forward + loss / 2), times * (backward + loss / 2)


USUAL_WATTS = np.array([400.0, 700.0, 1000.0])
"""Board power of the usual part of a generation (A100, H100, B200 by their data sheets)."""
