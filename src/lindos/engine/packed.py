"""The network of a quantised model, computed by the kernels on packed matrices; what a step needs of it.

The residual stream is fp32. Letters: T tokens, D width, H heads, K key-value heads, C head size, R tokens sampled from,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lindos.engine.native import NativeNetwork, PackedEnds, PackedLayer
from lindos.engine.network import Batch, attend_pieces, forward_by_layers
from lindos.engine.store import ExpertStore
from lindos.kernels.directfile import DirectReader
from lindos.kernels.packing import Packed, rows_of
from lindos.kernels.products import ExpertTable, NativeProducts, Products
from lindos.kernels.twins import PackedExpert, activate
from lindos.model.experts import route
from lindos.model.formats.packedfiles import PackedSource
from lindos.model.norm import rms_norm
from lindos.model.rope import rotary_phase, rotate

Report = Callable[[int], None]
"""Called with the bytes just read."""


class PackedNetwork:
    """A quantised model: its experts in memory, or as many of them as there is room for.

    The kernels read a KV cache in bf16 or fp32; the twins, in fp32.
    """

    device = torch.device("cpu")

    def __init__(
        self,
        source: PackedSource,
        products: Products,
        report: Report = lambda _: None,
        *,
        slots: int | None = None,
    ) -> None:
        """`slots` experts in memory, None for all; fewer than all take the native kernels.

        Raises ReadError and FormatError.
        """
        self.spec = source.spec
        self.weights = source.weights
        self._products = products
        self._read = Reader(source, report)
        self._embedding = self._read.matrix("embedding")
        self._head = self._embedding if self.spec.tied_head else self._read.matrix("head")
        self._final_norm = self._read.plain("final_norm")
        self._layers = [self._layer(f"layers.{index}") for index in range(self.spec.layers)]
        tables = [layer.experts for layer in self._layers]
        self.store = self._read.experts(tables, slots)
        self._native = None
        if isinstance(products, NativeProducts):
            ends = PackedEnds(self._embedding, self._head, self._final_norm)
            self._native = NativeNetwork(self.spec, products, self._layers, ends, self.store)
        elif not self.store.complete:
            raise ValueError("experts on the disk are for the native kernels")
        self.kv_dtype = torch.float32 if self._native is None else torch.bfloat16

    def phase(self, positions_T: Tensor) -> tuple[Tensor, Tensor]:
        return rotary_phase(positions_T, self.spec.head_size, self.spec.rope_base, self.spec.rope_scaling)

    def forward(self, batch: Batch, last: list[int]) -> Tensor:
        if self._native is not None and self.store.complete:
            return self._native.forward(batch, last)
        return forward_by_layers(self, batch, last)

    def embed(self, tokens: list[int]) -> Tensor:
        """The residual stream [T, D] of tokens."""
        if self._native is not None:
            return self._native.embed(tokens)
        rows = torch.from_numpy(rows_of(self._embedding, np.asarray(tokens)))
        return rows * self.spec.embedding_multiplier

    def attend(self, layer: int, h_TD: Tensor, batch: Batch) -> Tensor:
        if self._native is not None:
            return self._native.attend(layer, h_TD, batch)
        weights = self._layers[layer]
        x_TD = self._norm(layer, "norm_attention_in", h_TD)
        products = self._products.multiply(x_TD, [weights.query, weights.key, weights.value])
        q_THC, k_TKC, v_TKC = (y.unflatten(-1, (-1, self.spec.head_size)) for y in products)
        if self.spec.query_key_norms:
            q_THC = self._norm(layer, "attention.query_norm", q_THC)
            k_TKC = self._norm(layer, "attention.key_norm", k_TKC)
        turned = rotate(q_THC, batch.phase), rotate(k_TKC, batch.phase)
        return attend_pieces(layer, *turned, v_TKC, batch, self.spec)

    def finish(self, layer: int, h_TD: Tensor, o_THC: Tensor) -> Tensor:
        if self._native is not None:
            return self._native.finish(layer, h_TD, o_THC)
        weights = self._layers[layer]
        (attended_TD,) = self._products.multiply(o_THC.flatten(1), [weights.output])
        h_TD = h_TD + self._norm(layer, "norm_attention_out", attended_TD)
        x_TD = self._norm(layer, "norm_experts_in", h_TD)
        routing = route(x_TD, weights.router_DE, self.spec)
        mixed_TD = self._products.mix(weights.experts, x_TD, routing.chosen.to(torch.int32), routing.gates)
        if weights.shared is not None:
            mixed_TD = (mixed_TD + self._shared(x_TD, weights.shared)) * self.spec.shared_multiplier
        return h_TD + self._norm(layer, "norm_experts_out", mixed_TD)

    def logits(self, h_RD: Tensor) -> Tensor:
        """fp32 [R, V]."""
        if self._native is not None:
            return self._native.logits(h_RD)
        x_RD = rms_norm(h_RD, self._final_norm, self.spec.norm_eps)
        logits_RV = self._products.multiply(x_RD, [self._head])[0].mul_(self.spec.logit_multiplier)
        cap = self.spec.logit_softcap
        return logits_RV if cap is None else logits_RV.div_(cap).tanh_().mul_(cap)

    def _norm(self, layer: int, name: str, x: Tensor) -> Tensor:
        """Normed; as it is where the spec has no such norm."""
        scale = self._layers[layer].norms.get(name)
        return x if scale is None else rms_norm(x, scale, self.spec.norm_eps)

    def _shared(self, x_TD: Tensor, mlp: PackedExpert) -> Tensor:
        gate_TF, up_TF = self._products.multiply(x_TD, [mlp.gate, mlp.up])
        return self._products.multiply(activate(gate_TF, self._activation) * up_TF, [mlp.down])[0]

    @property
    def _activation(self):
        assert self.spec.activation != "relu2"  # such a spec is not computable
        return self.spec.activation

    def _layer(self, prefix: str) -> PackedLayer:
        read, spec = self._read, self.spec
        names = ["norm_attention_in", "norm_experts_in"]
        names += ["norm_attention_out", "norm_experts_out"] if spec.norms_per_layer == 4 else []
        names += ["attention.query_norm", "attention.key_norm"] if spec.query_key_norms else []
        shared = None
        if spec.shared_width:
            shared = PackedExpert(*(read.matrix(f"{prefix}.shared.{part}") for part in ("gate", "up", "down")))
        return PackedLayer(
            query=read.matrix(f"{prefix}.attention.query"),
            key=read.matrix(f"{prefix}.attention.key"),
            value=read.matrix(f"{prefix}.attention.value"),
            output=read.matrix(f"{prefix}.attention.output"),
            shared=shared,
            router_DE=read.plain(f"{prefix}.experts.router"),
            experts=self._products.table(spec.experts, self._activation),
            norms={name: read.plain(f"{prefix}.{name}") for name in names},
        )


class Reader:
    """What a source holds, past the system's cache; says how much it has read."""

    def __init__(self, source: PackedSource, report: Report) -> None:
        self._source, self._report = source, report
        self._reader = DirectReader()

    def plain(self, name: str) -> Tensor:
        return self._source.read(name, slice(0, self._source.tensors[name].shape[0]))

    def matrix(self, name: str) -> Packed:
        (matrix,) = self._source.matrices(name)
        place = self._source.place(matrix)
        self._report(matrix.bytes)
        data = self._reader.fetch(place.path, place.offset, matrix.bytes)
        return Packed(matrix.format, matrix.rows, matrix.columns, data, matrix.multiplier)

    def experts(self, tables: list[ExpertTable], slots: int | None) -> ExpertStore:
        """The store of all experts, `slots` of them (None: all) read."""
        numbers = range(self._source.spec.experts)
        places = [[self._source.expert(layer, expert) for expert in numbers] for layer in range(len(tables))]
        store = ExpertStore(self._reader, places, tables, len(tables) * len(numbers) if slots is None else slots)
        store.load(self._report)
        return store
